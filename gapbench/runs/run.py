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
from gapbench.util.text import percent_in_words

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """One run folder, read when it was opened."""

    path: Path
    summary: dict[str, Any]
    manifest: dict[str, Any]

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
        rows: dict[str, list[str]] = {"": [], "Regions made by a model": []}  # never in one table
        for name, bench in self.summary["benchmarks"].items():
            rows["Regions made by a model" if bench.get("evidence") == "model" else ""].append(_row(name, bench))
        tables = (
            f"<table><caption>{title}</caption><tr>{_HEAD}</tr>{''.join(found)}</table>"
            for title, found in rows.items()
            if found
        )
        return f"<p>{escape(self.summary['verdict'])}</p>{''.join(tables)}"


_HEAD = "".join(f"<th>{h}</th>" for h in ("benchmark", "n", "clusters", "full", "crop", "gap", "95 % interval"))


def _row(name: str, bench: Mapping[str, Any]) -> str:
    gap = bench["gap"] or {}
    cells = [name, bench["n"], bench["clusters"]]
    cells += [percent_in_words(bench["views"].get(view, {}).get("accuracy"), 1) for view in ("full", "crop")]
    low, high = gap.get("ci") or (None, None)
    cells += [percent_in_words(gap.get("estimate"), 1), f"[{percent_in_words(low, 1)}, {percent_in_words(high, 1)}]"]
    return "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"


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
