"""A run: a folder with the manifest (`run.json`), the records (`records.jsonl`) and the results (`summary.json`).

    run = gapbench.load_run("runs/glance")
    run.summary["verdict"]; run.frame().groupby("view").score.mean()

Summary and reports can be rebuilt from manifest and records, without a model, an engine or a benchmark.
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
from gapbench.util.text import EVIDENCE_CAPTIONS, percent_in_words

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """A run's folder, with its summary and manifest as they were when it was opened."""

    path: Path
    summary: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def judged(self) -> bool:
        """Whether the summary includes the judge's verdicts."""
        return "judge" in self.summary

    def frame(self) -> pd.DataFrame:
        """One row per record and one column per field of `gapbench.types.Record`. Verdicts apply as in the summary."""
        from gapbench.runs import judgements

        return judgements.read_frame(self.path) if self.judged else records.read_frame(self.path)

    @property
    def report(self) -> Path:
        """The path of the HTML report."""
        return self.path / "report.html"

    def _repr_html_(self) -> str:
        """The verdict and the numbers behind it, for a notebook."""
        # Kinds of evidence must not share a table. Annotated evidence comes first.
        rows_by_caption: dict[str, list[str]] = {}
        for name, bench in self.summary["benchmarks"].items():
            caption = EVIDENCE_CAPTIONS.get(bench.get("evidence", ""), "")
            rows_by_caption.setdefault(caption, []).append(_row(name, bench))
        tables = (
            f"<table><caption>{caption}</caption><tr>{_HEAD}</tr>{''.join(rows)}</table>"
            for caption, rows in sorted(rows_by_caption.items())
        )
        return f"<p>{escape(self.summary['verdict'])}</p>{''.join(tables)}"


_HEAD = "".join(
    f"<th>{h}</th>"
    for h in ("benchmark", "n", "clusters", "full", "crop", "gap", "95 % interval", "lost in full", "95 % interval")
)


def _row(name: str, bench: Mapping[str, Any]) -> str:
    cells = [name, bench["n"], bench["clusters"]]
    cells += [percent_in_words(bench["views"].get(view, {}).get("accuracy")) for view in ("full", "crop")]
    for estimate in (bench["gap"] or {}, bench.get("lost_in_full") or {}):
        ends = ", ".join(percent_in_words(end) for end in estimate.get("ci") or (None, None))
        cells += [percent_in_words(estimate.get("estimate")), f"[{ends}]"]
    return "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run's folder. Raises RunError if the file is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        remedy = "Check the path." if path.name == "run.json" else "gapbench report rebuilds it."
        raise RunError(f"{path}: cannot be read ({reason}). Expected the folder of a run. {remedy}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: found {type(value).__name__}; expected a JSON object.")
    return value
