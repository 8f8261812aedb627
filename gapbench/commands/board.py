"""Puts many runs on one board: models by benchmarks, with intervals, and ranks with the range that the data allow.

    import gapbench
    board = gapbench.board(["runs"], out="board")
    board.frame()[["run", "benchmark", "gap", "gap_low", "gap_high"]]

`board` writes `board.html`, `board.md`, `board.json` (every key: `reports/BOARD_SCHEMA.md`) and `board.csv`. It reads
manifests and records alone. Runs that were asked other samples or prompts are kept apart or left out, and the board
says so.

Limits: one row per run. `gapbench merge` makes one run of those that measured one model on several benchmarks.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.analysis.anatomy.cures import beside_trained
from gapbench.analysis.board.asked import slim
from gapbench.analysis.board.standing import LOST, MEASURES, SCHEMA_VERSION, standing, verdict
from gapbench.analysis.comparison.runs import LoadedRun
from gapbench.commands.compare import open_run
from gapbench.errors import GapbenchError, RunError, SettingError
from gapbench.runs.listing import find_runs, labelled
from gapbench.runs.run import naming, read_json
from gapbench.runs.shards import shard_label
from gapbench.util.files import relative_link, write_json, write_text

if TYPE_CHECKING:
    import pandas as pd

MEAN, MEAN_MODEL = "mean", "mean (regions made by a model)"
"""What the rows of means have as `benchmark` in `board.csv` and `Board.frame`."""
COUNTS = ("_n", "_clusters", "_rank", "_best", "_worst")
"""Endings of the columns of whole numbers."""


@dataclass(frozen=True)
class Board:
    """A board on disk: its folder and the content of its `board.json`."""

    path: Path
    summary: dict[str, Any]

    def __repr__(self) -> str:
        runs, benchmarks = len(self.summary["runs"]), len(self.summary["benchmarks"])
        return f"Board({str(self.path)!r}, {runs} runs, {benchmarks} benchmarks)"

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self.path / "board.html"

    def frame(self) -> pd.DataFrame:
        """One row per run and benchmark, and per run and mean, as in `board.csv`: numbers are fractions."""
        import pandas as pd

        frame = pd.DataFrame(rows(self.summary))
        counts = [name for name in frame if f"_{name}".endswith(COUNTS)]
        return frame.astype(dict.fromkeys(counts, "Int64"))  # else those that are missing in a row make them floats


def board(
    runs: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    baseline: str | Path = "",
    labels: Mapping[str, str] | None = None,
    figures: str | Path | None = None,
) -> Board:
    """Put `runs` on a board, and write it to the folder `out`.

    `runs` are folders of runs, folders that hold runs at any depth, or patterns (`runs/*`). `labels` maps a run's
    folder, or the name of its model, to the name that it has on the board; the default is the model's name. `baseline`
    is the folder or the label of a run, with which all others are compared; if it was measured in views that cure
    (`--views cures`), they stand beside the other runs. `figures` is a folder for the figures as files.

    Raises RunError if no run is found or none has answered enough, and SettingError for a label or a baseline that fits
    no run. A run that cannot be read or has no answers is left out, and the board says why.
    """
    from gapbench.report.board.page import write_board
    from gapbench.report.board.plots import write_figures

    folder = Path(out)
    found_runs = find_runs([runs] if isinstance(runs, str | Path) else runs)
    loaded, unread = _load(found_runs)
    if not loaded:
        reasons = "; ".join(f"{one['run']}: {one['reason']}" for one in unread[:3])
        raise RunError(f"board: no run has answers that can be read. {reasons}")
    loaded = _named(loaded, labels or {})
    base = _find(loaded, str(baseline), "--baseline").label if baseline else ""
    found = standing(loaded, base)
    if not found["benchmarks"]:
        reasons = "; ".join(f"{one['run']} on {one['benchmark']}: {one['reason']}" for one in found["left_out"][:3])
        raise RunError(f"board: no run has enough answers to a benchmark. {reasons}.")
    compared = _comparisons(folder, loaded)
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict(found, len(loaded)),
        "baseline": base or None,
        "runs": [_run_entry(run, folder) for run in loaded],
        **found,
        "left_out": [*unread, *found["left_out"]],
        "alerts": [alert for run in loaded for alert in run.alerts],
        "cures": _cures(loaded, base, found["benchmarks"]) if base else {},
        "comparisons": compared,
    }
    write_json(folder / "board.json", summary)
    write_text(folder / "board.csv", Board(folder, summary).frame().to_csv(index=False, lineterminator="\n"))
    write_board(folder, summary)
    if figures:
        write_figures(Path(figures), summary)
    return Board(folder, summary)


def rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `board.csv`: one per run and benchmark, and one per run and mean of several benchmarks."""
    models = {run["label"]: run["model"] for run in summary["runs"]}
    means = [(name, mean) for name, mean in ((MEAN, summary["mean"]), (MEAN_MODEL, summary["mean_model"])) if mean]
    blocks = [*summary["benchmarks"].items(), *((name, mean) for name, mean in means if len(mean["benchmarks"]) > 1)]
    return [
        {
            "run": label,
            "model": models[label],
            "benchmark": name,
            "n": block.get("n"),
            "clusters": block.get("clusters"),
            **dict(_cells(entry)),
        }
        for name, block in blocks
        for label, entry in block["models"].items()
    ]


def _cells(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for measure in (*MEASURES, LOST):
        found = entry[measure] or {}
        low, high = found.get("ci") or (None, None)
        yield from ((measure, found.get("estimate")), (f"{measure}_low", low), (f"{measure}_high", high))
        if measure in MEASURES:
            for place in ("rank", "best", "worst"):
                yield f"{measure}_{place}", found.get(place)
        else:
            yield f"{measure}_n", found.get("n")


def _load(folders: Sequence[Path]) -> tuple[list[LoadedRun], list[dict[str, str]]]:
    """The runs without their texts, and those that are left out (`run`, `benchmark`, `reason`)."""
    loaded, left_out = [], []
    for path in folders:
        try:
            with naming(path):
                run = open_run(path)
                records = slim(run.records)
            if shard := shard_label(run.manifest.get("shard")):
                raise RunError(f"it is shard {shard} of a run; gapbench merge puts the shards together")
            loaded.append(replace(run, records=records))
        except GapbenchError as error:
            left_out.append({"run": str(path), "benchmark": "", "reason": str(error).removeprefix(f"{path}: ")})
    return loaded, left_out


def _named(runs: Sequence[LoadedRun], labels: Mapping[str, str]) -> list[LoadedRun]:
    """The runs with their labels. Raises SettingError for a label that fits no run or is given twice."""
    default = labelled([(run.path, run.model) for run in runs])
    named = [replace(run, label=name) for run, name in zip(runs, default, strict=True)]
    given = {_find(named, key, "--label").path: name for key, name in labels.items()}
    names = [given.get(run.path, run.label) for run in named]
    twice = sorted({name for name in names if names.count(name) > 1 or not name.strip()})
    if twice:
        raise SettingError(f"--label: {twice[0]!r} names several runs or none; expected a different name for each run.")
    return [replace(run, label=name) for run, name in zip(runs, names, strict=True)]


def _find(runs: Sequence[LoadedRun], given: str, flag: str) -> LoadedRun:
    """The run that a folder, a label or a model's name means. Raises SettingError unless it is one."""
    folder = Path(given).resolve()
    found = [run for run in runs if given == run.label or run.path.resolve() == folder]
    found = found or [run for run in runs if run.model == given]
    if len(found) != 1:
        raise SettingError(f"{flag} {given}: no such run here. The board has {', '.join(run.label for run in runs)}.")
    return found[0]


def _run_entry(run: LoadedRun, folder: Path) -> dict[str, Any]:
    sessions = run.manifest.get("sessions") or []
    started = [str(session["started"]) for session in sessions if session.get("started")]
    report = run.path / "report.html"
    return {
        "label": run.label,
        "model": run.model,
        "path": relative_link(run.path, folder),
        "report": relative_link(report, folder) if report.exists() else None,
        "engine": run.manifest.get("engine") or "",
        "started": min(started, default=None),
        "fingerprint": run.manifest.get("fingerprint"),
        "identity": run.identity,
        "verdict": run.summary.get("verdict") or "",
    }


def _cures(runs: Sequence[LoadedRun], baseline: str, benchmarks: Mapping[str, Any]) -> dict[str, Any]:
    """What the baseline's own cures recover, and what the full view of each run that was asked the same recovers."""
    frames = {}
    for run in runs:
        names = [name for name, one in benchmarks.items() if {baseline, run.label} <= set(one["models"])]
        frames[run.label] = run.records[run.records["benchmark"].isin(names)]
    return beside_trained(frames.pop(baseline), frames)


def _comparisons(folder: Path, runs: Sequence[LoadedRun]) -> dict[str, Any]:
    """`made`: the comparisons in the board's folder, as [label, label, path]; `command`: how to make another one.

    The command has the words {a} and {b} for the folders of the runs, and {out}; `folders` maps labels to folders.
    """
    by_path = {run.path.resolve(): run.label for run in runs}
    made = []
    for file in sorted(folder.glob("*/comparison.json")):
        try:
            entries = read_json(file).get("runs") or []
        except RunError:
            continue
        labels = [by_path.get((file.parent / str(entry.get("path"))).resolve(), "") for entry in entries[:2]]
        if all(labels) and len(labels) == 2:
            made.append([*labels, f"{file.parent.name}/comparison.html"])
    return {
        "made": made,
        "command": "gapbench compare {a} {b} --out {out}",
        "folders": {run.label: shlex.quote(relative_link(run.path, Path.cwd())) for run in runs},
        "out": shlex.quote(relative_link(folder, Path.cwd())),
    }
