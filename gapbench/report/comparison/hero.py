"""The big numbers of a comparison's report.

hero(summary).figures    (Figure('full', 'Full image', '+38.3', '46.0% → 84.3%', '[33.0, 43.7]'), …)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gapbench.report.families import families
from gapbench.report.tables import benchmarks_of
from gapbench.util.text import clip, interval, percent, points

MEASURES = (("full", "Full image"), ("crop", "Crop"), ("gap", "Gap"))


@dataclass(frozen=True)
class Figure:
    """One big number: the change, the levels before and after, and the interval of the change."""

    kind: str
    title: str
    change: str
    levels: str
    ci: str


@dataclass(frozen=True)
class Hero:
    """The big numbers, and the benchmark or mean to which they belong."""

    scope: str
    figures: tuple[Figure, ...]


def hero(summary: Mapping[str, Any]) -> Hero:
    """The numbers of the only benchmark with a gap, or the means over several.

    Without a gap: the numbers of the only benchmark, or none if there are several. Annotated evidence comes first;
    regions made by a model count only if annotated evidence has no gap.
    """
    parts = families(summary)
    family = next((family for family in parts if family.summary["macro"]), parts[0])
    benchmarks = benchmarks_of(family.summary)
    with_gap = {name: entry for name, entry in benchmarks.items() if entry["delta"]["gap"]}
    used = with_gap or benchmarks
    if len(used) == 1:
        (scope, entry), *_ = used.items()
    elif with_gap:
        scope, entry = f"mean of {len(with_gap)} benchmarks", family.summary["macro"]
    else:
        return Hero("", ())
    figures = [_figure(entry, kind, title) for kind, title in MEASURES if entry["delta"][kind]]
    closed = entry.get("gap_closed") or {}
    if closed.get("ci") and not entry["crop_lost_more"]:
        figures.append(Figure("closed", "Gap closed", percent(closed["estimate"], 0), "", _percents(closed["ci"])))
    return Hero(" · ".join(filter(None, (clip(scope, 80), family.title.lower()))), tuple(figures))


def _figure(entry: Mapping[str, Any], kind: str, title: str) -> Figure:
    show, change = points if kind == "gap" else percent, entry["delta"][kind]
    levels = " → ".join(show(entry[side][kind]["estimate"]) for side in ("before", "after"))
    return Figure(kind, title, points(change["estimate"]), levels, interval(change["ci"], signed=True))


def _percents(ci: list[float]) -> str:
    return f"[{percent(ci[0], 0)}, {percent(ci[1], 0)}]"
