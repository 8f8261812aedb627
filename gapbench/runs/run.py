"""A run: the folder with what was asked (`run.json`), answered (`records.jsonl`) and what it means (`summary.json`).

    run = gapbench.load_run("runs/glance")
    run.summary["verdict"]; run.frame().groupby("view").score.mean()

Summary and reports are rebuilt from the records alone, without a model, an engine or a benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.errors import RunError
from gapbench.runs import records

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """One run folder, read when it was opened."""

    path: Path
    summary: dict[str, Any]
    asked: dict[str, Any]

    @property
    def judged(self) -> bool:
        """Whether its numbers are those with the judge's verdicts."""
        return "judge" in self.summary

    def frame(self) -> pd.DataFrame:
        """One row per record; columns are the fields of `gapbench.types.Record`. Judged as the summary is."""
        from gapbench.runs import judgements

        return judgements.read_frame(self.path) if self.judged else records.read_frame(self.path)

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    def _repr_html_(self) -> str:
        """The verdict and the numbers behind it, for a notebook."""
        from gapbench.report.families import families

        tables = []
        for family in families(self.summary):
            rows = "".join(_row(name, bench) for name, bench in family.summary["benchmarks"].items())
            tables.append(f"<table><caption>{family.title}</caption><tr>{_HEAD}</tr>{rows}</table>")
        return f"<p>{escape(self.summary['verdict'])}</p>{''.join(tables)}"


_HEAD = "".join(f"<th>{h}</th>" for h in ("benchmark", "n", "clusters", "full", "crop", "gap", "95 % interval"))


def _row(name: str, bench: Mapping[str, Any]) -> str:
    gap = bench["gap"] or {}
    cells = [name, bench["n"], bench["clusters"]]
    cells += [_percent(bench["views"].get(view, {}).get("accuracy")) for view in ("full", "crop")]
    low, high = gap.get("ci") or (None, None)
    cells += [_percent(gap.get("estimate")), f"[{_percent(low)}, {_percent(high)}]"]
    return "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"


def load_run(path: str | Path) -> Run:
    """Open a run folder; its summary is made if it is missing. Raises RunError if it is no run."""
    folder = Path(path)
    if not (folder / "summary.json").exists():
        return write_results(folder)
    return Run(folder, read_json(folder / "summary.json"), read_json(folder / "run.json"))


def write_results(folder: Path, images: bool = True, judged: bool = True) -> Run:
    """(Re)build `summary.json`, `report.html` and `report.md` from the records alone.

    In a run that has a judge, its verdicts count, unless `judged` is False: then all is as if there were none.
    """
    from gapbench.analysis.metrics import names_of
    from gapbench.analysis.summary import summarise
    from gapbench.report import write_report
    from gapbench.runs import judgements
    from gapbench.runs.shards import described, is_empty
    from gapbench.util.files import write_json

    asked = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
    judge = asked.get("judge") if judged else None
    frame = judgements.read_frame(folder) if judge else records.read_frame(folder)
    if frame.empty and not is_empty(asked):
        raise RunError(
            f"{folder}: no answers yet, so there is nothing to report. Run gapbench measure … --out {folder}."
        )
    # Answers come in any order; sorted, sums and tables are the same however often a run was interrupted.
    frame = frame.sort_values(["benchmark", "sample", "view", "repeat"], ignore_index=True)
    entries = asked.get("benchmarks", {})
    notices = {name: entry.get("card", {}).get("notice", "") for name, entry in entries.items()}
    named = {name: names_of(entry, str(asked.get("protocol", ""))) for name, entry in entries.items()}
    summary = summarise(frame, model=str(asked.get("model", "")), notices=notices, named=named)
    if part := described(asked, len(frame)):
        summary |= {"part": part, "verdict": f"{part}: {summary['verdict']}"}
    if judge:
        summary["judge"] = {**judge, "verdicts": judgements.counted(records.read(folder), judgements.read(folder))}
    shown = asked if judge else _without_judge(asked)
    write_json(folder / "summary.json", summary)
    write_report(folder, summary=summary, run=shown, records=frame, images=images)
    return Run(folder, summary, asked)


def _without_judge(asked: dict[str, Any]) -> dict[str, Any]:
    """What was asked, as if no judge had been."""
    if "judge" not in asked:
        return asked
    from gapbench.runs.manifest import fingerprint_of

    plain = {key: value for key, value in asked.items() if key != "judge"}
    return {**plain, "fingerprint": fingerprint_of(plain)}


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        remedy = "Check the path." if path.name == "run.json" else "gapbench report rebuilds it."
        raise RunError(f"{path}: cannot be read ({reason}). Expected the folder of a run. {remedy}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: found {type(value).__name__}; expected a JSON object.")
    return value


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
