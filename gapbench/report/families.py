"""Two families of gaps that never share a table: over annotated evidence, and over regions made by a model.

    for family in families(summary):
        gap_table(family.summary), family.title        # the title of annotated evidence is ''

Works for `summary.json` and `comparison.json`. Each family has the shape of a complete summary of its benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gapbench.analysis.aggregate import by_evidence
from gapbench.report.tables import Table
from gapbench.util.text import clip

ANNOTATED = "Annotated evidence"
TITLE = "Regions made by a model"
REMARK = (
    "These regions were not annotated by people. A region that misses the evidence can make the gap smaller or even "
    "negative, so the gap depends on the locator as much as on the model. Gaps over such regions are never averaged, "
    "tabulated or corrected together with gaps over annotated evidence."
)
VALUE_LIMIT = 200


@dataclass(frozen=True)
class Family:
    """The summary of the benchmarks with one kind of evidence. Annotated evidence has an empty title and remark."""

    summary: Mapping[str, Any]
    title: str = ""
    remark: str = ""

    def captioned(self, table: Table) -> Table:
        """The table with the family in its caption."""
        return replace(table, caption=self.marked(table.caption))

    def marked(self, name: str) -> str:
        """The name or caption, followed by the title of the family if it has one."""
        return f"{name}: {self.title.lower()}" if self.title else name


def families(summary: Mapping[str, Any], manifest: Mapping[str, Any] | None = None) -> list[Family]:
    """One or two families, annotated evidence first. `manifest` (`run.json`) names the source of the regions."""
    annotated, model_made = by_evidence(summary.get("benchmarks") or {})
    result = []
    if annotated or not model_made:
        result.append(Family({**_with_reduced_runs(summary, 0), "benchmarks": annotated}))
    if model_made:
        reduced = _with_reduced_runs(summary, 1)
        reduced |= {"benchmarks": model_made, "macro": summary.get("macro_model")}
        result.append(Family(reduced, TITLE, f"{_region_source(manifest or {})}{REMARK}"))
    return result


def _with_reduced_runs(summary: Mapping[str, Any], kind: int) -> dict[str, Any]:
    """The summary, in which the further runs of a comparison keep one kind of evidence (index in `by_evidence`)."""
    more = summary.get("more")
    reduced = [{**run, "benchmarks": by_evidence(run["benchmarks"])[kind]} for run in more or ()]
    return {**summary} if more is None else {**summary, "more": reduced}


def _region_source(manifest: Mapping[str, Any]) -> str:
    """A sentence on the source of the regions, from `run.json` (see `gapbench.data.region_file`)."""
    regions = manifest.get("regions")
    if not isinstance(regions, Mapping):
        return ""
    methods, models = (", ".join(map(str, regions.get(key) or ())) for key in ("methods", "models"))
    origin = " with ".join(filter(None, (methods, models)))
    missed = regions.get("without_box")
    sentence = f"The regions come from {regions.get('file', 'a region file')}{f', made by {origin}' if origin else ''}"
    if isinstance(missed, int) and missed:
        sentence += f"; no box was found for {missed:,} sample{'s' * (missed != 1)}"
    return f"{clip(sentence, VALUE_LIMIT)}. "
