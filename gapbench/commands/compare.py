"""Two or more finished runs, compared on the questions they share: before and after a training, or several models.

    import gapbench.commands.compare
    done = gapbench.commands.compare.compare("runs/x/before", "runs/x/after", out="runs/x")
    done.summary["verdict"]; done.report

Written are `comparison.json` (every key: `reports/COMPARISON_SCHEMA.md`), `comparison.html` and `comparison.md`, from
the records alone: no model, no engine, no benchmark.

Limits: the sampling unit is the image, so an interval says what other questions of the same kind would give. It says
nothing about another training seed or prompt. A comparison of two models does not say why they differ.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path, PurePath
from typing import Any

from gapbench.analysis.comparison.conclusion import verdict
from gapbench.analysis.comparison.deltas import against
from gapbench.analysis.comparison.differences import differences, setting_alerts
from gapbench.analysis.comparison.runs import LoadedRun
from gapbench.analysis.comparison.training_log import LOG, log_of, ranges, read_steps
from gapbench.commands.report import load_run
from gapbench.errors import RunError, SettingError
from gapbench.util.files import write_json

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Comparison:
    """A written comparison: its folder and the contents of its `comparison.json`."""

    path: Path
    summary: dict[str, Any]

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "comparison.html"

    def _repr_html_(self) -> str:
        """The verdict and the headline table, for a notebook."""
        from gapbench.report.comparison.tables import headline_table
        from gapbench.report.families import families

        tables = []
        for family in families(self.summary):
            table = headline_table(family.summary)
            head = "".join(f"<th>{escape(column.title)}</th>" for column in table.columns)
            cells = (
                "".join(f"<td>{escape(f'{cell.text} {cell.note}'.strip())}</td>" for cell in row) for row in table.rows
            )
            body = "".join(f"<tr>{row}</tr>" for row in cells)
            tables.append(f"<table><caption>{escape(family.title)}</caption><tr>{head}</tr>{body}</table>")
        return f"<p>{escape(self.summary['verdict'])}</p>{''.join(tables)}"


def compare(
    before: str | Path,
    after: str | Path,
    *more: str | Path,
    out: str | Path,
    labels: Sequence[str] = (),
    images: bool = True,
) -> Comparison:
    """Compare `after`, and each of `more`, with `before`; write the comparison to the folder `out`.

    `labels` names the runs, one for each. By default they are `before` and `after` where the two runs are siblings of
    a `train.jsonl`, as `gapbench distill` leaves them, and else the models' names. `images=False` leaves images out
    of the report.

    Raises RunError for a folder that is no run, when the runs share no answered question, and when a question of the
    same id is another question; SettingError for labels that do not fit the runs.
    """
    from gapbench.report.comparison.page import write_comparison

    folders, folder = [Path(path) for path in (before, after, *more)], Path(out)
    runs, trained = load(folders, labels)
    log = log_of(folders[1], folder)
    steps = read_steps(log) if log else []
    pairs = [against(runs[0], other) for other in runs[1:]]
    verdicts = [
        verdict(
            pair.benchmarks,
            pair.macro,
            (runs[0].label, other.label),
            trained=trained and other is runs[1],
            macro_model=pair.macro_model,
        )
        for pair, other in zip(pairs, runs[1:], strict=True)
    ]
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "training" if trained else "models",
        "verdict": verdicts[0],
        "runs": [_described(run, folder) for run in runs],
        "benchmarks": pairs[0].benchmarks,
        "macro": pairs[0].macro,
        "macro_model": pairs[0].macro_model,
        "more": [
            {
                "label": run.label,
                "verdict": text,
                "benchmarks": pair.benchmarks,
                "macro": pair.macro,
                "macro_model": pair.macro_model,
            }
            for run, text, pair in zip(runs[2:], verdicts[1:], pairs[1:], strict=True)
        ],
        "alerts": [alert for run in runs for alert in run.alerts]
        + [alert for pair in pairs for alert in pair.alerts]
        + setting_alerts(runs),
        "settings": differences(runs),
        "train": {"path": _relative(log, folder), **ranges(steps)} if log else None,
    }
    write_json(folder / "comparison.json", summary)
    write_comparison(folder, summary=summary, runs=runs, steps=steps, images=images)
    return Comparison(folder, summary)


def _described(run: LoadedRun, out: Path) -> dict[str, Any]:
    return {"label": run.label, "model": run.model, "path": _relative(run.path, out), "identity": run.identity}


def _relative(path: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # another drive
        return path.name


def load(folders: Sequence[Path], labels: Sequence[str]) -> tuple[list[LoadedRun], bool]:
    """The runs in order, and whether the first two are before and after one training.

    Raises RunError for a folder that is no run or is given twice, SettingError for labels that do not fit.
    """
    twice = [path for path, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if twice:
        raise RunError(f"{twice[0]}: given twice, so nothing could differ. Compare the folders of two different runs.")
    runs = [_load(folder) for folder in folders]
    before, after = (folder.resolve().parent for folder in folders[:2])
    trained = before == after and (after / LOG).is_file()
    names = list(labels) if labels else _labels(runs, trained)
    if len(names) != len(runs):
        raise SettingError(f"labels: found {len(names)} for {len(runs)} runs ({', '.join(names)}); expected one each.")
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise SettingError(f"labels: found {', '.join(map(repr, names))}; expected a different name for each run.")
    return [replace(run, label=name) for run, name in zip(runs, names, strict=True)], trained


def _load(folder: Path) -> LoadedRun:
    run = load_run(folder)
    frame = run.frame()
    if frame.empty:
        raise RunError(f"{folder}: no answers yet, so there is nothing to compare. Finish the run first.")
    manifest = {key: value for key, value in run.manifest.items() if key != "judge" or run.judged}
    return LoadedRun("", folder, manifest, frame, str(run.manifest.get("model") or ""))


def _labels(runs: Sequence[LoadedRun], trained: bool) -> list[str]:
    """`before`, `after` and models' names; runs of one name are told apart by their folders, then by number."""
    names = [_short(run.model) or run.path.resolve().name for run in runs]
    if trained:
        names[:2] = ["before", "after"]
    for extra in ([run.path.resolve().name for run in runs], [str(place + 1) for place in range(len(runs))]):
        counts = Counter(names)
        names = [f"{name} ({add})" if counts[name] > 1 else name for name, add in zip(names, extra, strict=True)]
    return names


def _short(model: str) -> str:
    """A folder is named by its last two parts, as a model on the Hub is, and says nothing of the machine it lies on."""
    return "/".join(PurePath(model).parts[-2:]).removeprefix("//") if len(PurePath(model).parts) > 2 else model
