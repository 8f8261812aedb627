"""Two families of gaps that never share a table: over annotated evidence, and over regions made by a model.

    for family in families(summary):
        gap_table(family.summary), family.title        # the title of annotated evidence is ''

Works for `summary.json` and `comparison.json`. Each family has the shape of a complete summary of its benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gapbench.analysis.aggregate import by_evidence
from gapbench.analysis.metrics import HEADLINE, METRICS
from gapbench.report.tables import Summary, Table, benchmarks_of
from gapbench.util.text import EVIDENCE_CAPTIONS, clip

ANNOTATED = "Annotated evidence"
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

    def marked(self, name: str) -> str:
        """The name or caption, followed by the title of the family if it has one."""
        return f"{name}: {self.title.lower()}" if self.title else name

    def results(self, **tables: Callable[[Summary], Table]) -> dict[str, Any]:
        """What the results section shows of the family: title, remark, the terms of its metrics, and `tables`."""
        made = {key: table(self.summary) for key, table in tables.items()}
        captioned = {key: replace(table, caption=self.marked(table.caption)) for key, table in made.items()}
        return {"title": self.title, "remark": self.remark, "metric_terms": metric_terms(self.summary), **captioned}


def tables_of_families(tables: Callable[[Summary], Iterable[Table]], parts: Sequence[Family]) -> list[Table]:
    """The tables of all families, each with its family in the caption."""
    return [replace(table, caption=part.marked(table.caption)) for part in parts for table in tables(part.summary)]


def families(summary: Mapping[str, Any], manifest: Mapping[str, Any] | None = None) -> list[Family]:
    """One or two families, annotated evidence first. `manifest` (`run.json`) names the source of the regions."""
    annotated, model_made = by_evidence(summary.get("benchmarks") or {})
    result = []
    if annotated or not model_made:
        result.append(Family({**_with_reduced_runs(summary, 0), "benchmarks": annotated}))
    if model_made:
        reduced = _with_reduced_runs(summary, 1)
        reduced |= {"benchmarks": model_made, "macro": summary.get("macro_model")}
        result.append(
            Family(reduced, EVIDENCE_CAPTIONS["model"], f"{region_source((manifest or {}).get('regions'))}{REMARK}")
        )
    return result


def _with_reduced_runs(summary: Mapping[str, Any], kind: int) -> dict[str, Any]:
    """The summary, in which the further runs of a comparison keep one kind of evidence (index in `by_evidence`)."""
    more = summary.get("more")
    reduced = [{**run, "benchmarks": by_evidence(run["benchmarks"])[kind]} for run in more or ()]
    return {**summary} if more is None else {**summary, "more": reduced}


def region_source(regions: Any) -> str:
    """A sentence on the source of regions, from their entry in `run.json` (see `gapbench.data.region_file`)."""
    if not isinstance(regions, Mapping):
        return ""
    methods, models = (", ".join(map(str, regions.get(key) or ())) for key in ("methods", "models"))
    origin = " with ".join(filter(None, (methods, models)))
    missed = regions.get("without_box")
    sentence = f"The regions come from {regions.get('file', 'a region file')}{f', made by {origin}' if origin else ''}"
    if isinstance(missed, int) and missed:
        sentence += f"; no box was found for {missed:,} sample{'s' * (missed != 1)}"
    return f"{clip(sentence, VALUE_LIMIT)}. "


def metric_terms(summary: Summary) -> tuple[tuple[str, str], ...]:
    """(title, meaning) of the metrics that `metric_table` shows."""
    names = dict.fromkeys(
        name for entry in benchmarks_of(summary).values() for name in entry.get("metrics") or {} if name in METRICS
    )
    return tuple((METRICS[name].title, METRICS[name].meaning) for name in names) if set(names) - {HEADLINE} else ()
