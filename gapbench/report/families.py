"""Gaps over annotated evidence and gaps over regions that a model made: two families that never share a table.

    for family in families(summary):
        gap_table(family.summary), family.title        # '' for annotated evidence, alone or first

Serves `summary.json` and `comparison.json` alike: each family looks like a whole summary of its own benchmarks.
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
    "These regions were not annotated by people. A region that misses the evidence can make the gap smaller, or "
    "negative, so such a gap says as much of the locator as of the model. It is never averaged, tabulated or corrected "
    "together with gaps over annotated evidence."
)
VALUE_LIMIT = 200


@dataclass(frozen=True)
class Family:
    """The benchmarks of one kind of evidence as a summary; title and remark are empty for annotated evidence."""

    summary: Mapping[str, Any]
    title: str = ""
    remark: str = ""

    def captioned(self, table: Table) -> Table:
        """The table with the family in its caption."""
        return replace(table, caption=self.marked(table.caption))

    def marked(self, name: str) -> str:
        """A name or caption that says so where a model made the regions."""
        return f"{name}: {self.title.lower()}" if self.title else name


def families(summary: Mapping[str, Any], manifest: Mapping[str, Any] | None = None) -> list[Family]:
    """One or two families; `manifest` is the `run.json` that says where regions come from."""
    annotated, made = by_evidence(summary.get("benchmarks") or {})
    found = [Family({**_of(summary, 0), "benchmarks": annotated})] if annotated or not made else []
    if made:
        own = {**_of(summary, 1), "benchmarks": made, "macro": summary.get("macro_model")}
        found.append(Family(own, TITLE, f"{_locator(manifest or {})}{REMARK}"))
    return found


def _of(summary: Mapping[str, Any], which: int) -> dict[str, Any]:
    """The summary with the further runs of a comparison, if it has any, reduced to one kind of evidence."""
    more = summary.get("more")
    reduced = [{**run, "benchmarks": by_evidence(run["benchmarks"])[which]} for run in more or ()]
    return {**summary} if more is None else {**summary, "more": reduced}


def _locator(manifest: Mapping[str, Any]) -> str:
    """Where the regions come from, as `run.json` has it (`gapbench.data.region_file`)."""
    regions = manifest.get("regions")
    if not isinstance(regions, Mapping):
        return ""
    methods, models = (", ".join(map(str, regions.get(key) or ())) for key in ("methods", "models"))
    origin = " with ".join(filter(None, (methods, models)))
    missed = regions.get("without_box")
    told = f"From {regions.get('file', 'a region file')}{f', made by {origin}' if origin else ''}"
    told += (
        f"; nothing was found for {missed:,} sample{'s' * (missed != 1)}" if isinstance(missed, int) and missed else ""
    )
    return f"{clip(told, VALUE_LIMIT)}. "
