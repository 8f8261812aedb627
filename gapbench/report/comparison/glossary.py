"""The big numbers, the contents and the terms of a comparison's report.

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


def sections(page: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(anchor, title) of the sections this page has."""
    possible = (
        ("results", "Results", True),
        ("runs", "All runs", page["runs_tables"]),
        ("holdouts", "Hold-outs", True),
        ("changed", "Fixed and broken" if page["trained"] else "Where the runs disagree", True),
        ("categories", "Categories", page["category_tables"]),
        ("area", "Evidence area", page["area_tables"]),
        ("training", "Training", page["train"]),
        ("settings", "Settings", True),
        ("reading", "How to read this", True),
    )
    return [(anchor, title) for anchor, title, present in possible if present]


def terms(sides: tuple[str, ...], *, trained: bool) -> tuple[tuple[str, str], ...]:
    """(term, meaning) of the numbers, and the limits of a comparison."""
    before, after = sides
    limits = (
        "The comparison covers one training run and its start. Another seed of the same training may give another "
        "result, and no interval here includes this variation: train several seeds and report all of them."
        if trained
        else "Two models differ in many things at once. A comparison says that they differ, not why."
    )
    changed = (
        f"Fixed samples are wrong in {before} and right in {after}, both from the full image. Broken samples are "
        f"right in {before} and wrong in {after}."
        if trained
        else "Samples that only the named run answers correctly from the full image."
    )
    return (
        (
            "Samples compared",
            f"Every number covers only the samples that {before} and {after} share and that both runs answered in "
            "every compared view. A warning above counts the samples left out.",
        ),
        (
            "Change",
            f"The score in {after} minus the score in {before}, in percentage points, averaged over the samples. The "
            "change of the gap is the change of the crop minus the change of the full image (a difference in "
            "differences).",
        ),
        (
            "95% interval",
            "The range in which the true change for samples of this kind plausibly lies. Samples that share an image "
            "form one cluster, and each cluster counts as one independent unit. If the interval includes zero, a "
            "change is not shown. This does not mean that there is no change: look at the MDE.",
        ),
        (
            "p",
            "The probability of a change at least this large, in either direction, if the two runs were "
            "interchangeable. It comes from a sign-flip test over clusters; for the mean over benchmarks it comes "
            "from a t-test. Holm's method corrects one row per benchmark: the gap, or the full accuracy of a "
            "benchmark without a gap. The other rows are not corrected.",
        ),
        (
            "MDE",
            "Minimum detectable effect: the smallest true change, in points, that a comparison of this size detects "
            "with 80% power at the 5% level. A smaller loss can go unnoticed. A dash means that too few clusters "
            "changed to compute it; the interval then shows which changes are possible.",
        ),
        (
            "Gap closed",
            f"1 minus the gap in {after} divided by the gap in {before}, with Fieller's interval. It is given only if "
            f"the 95% interval of the gap in {before} lies above zero. It also rises when the crop gets worse, so "
            "read it together with the change of the crop.",
        ),
        (
            "Fixed and broken" if trained else f"Right only in {after}, right only in {before}",
            f"{changed} Any two runs differ on some samples by chance; the p-value tests whether one kind outweighs "
            "the other.",
        ),
        (
            "Hold-outs",
            "Benchmarks without a crop. They can show a loss that the gap does not show. A loss that is not shown may "
            "still exist.",
        ),
        (
            "Exploratory",
            "Results for categories and for bins of evidence area. They are many, they rest on few samples, and they "
            "are not corrected for their number. Use them to choose samples to look at, not as findings.",
        ),
        ("What this cannot say", limits),
    )
