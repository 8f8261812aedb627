"""The words of a comparison's report: its big numbers, its contents, and what its terms mean.

hero(summary)    (Figure('full', 'Full image', '+38.3', '46.0% → 84.3%', '[33.0, 43.7]'), …)
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
    """One big number: the change, from where to where, and its interval."""

    kind: str
    title: str
    change: str
    levels: str
    ci: str


@dataclass(frozen=True)
class Hero:
    """What the big numbers speak about, and the numbers."""

    scope: str
    figures: tuple[Figure, ...]


def hero(summary: Mapping[str, Any]) -> Hero:
    """The lone benchmark with a gap, or the mean over several, or the lone benchmark of any kind; else no numbers.

    Of annotated evidence, and only where that has no gap, of regions that a model made.
    """
    parts = families(summary)
    family = next((part for part in parts if part.summary["macro"]), parts[0])
    benchmarks = benchmarks_of(family.summary)
    with_gap = {name: entry for name, entry in benchmarks.items() if entry["delta"]["gap"]}
    chosen = with_gap or benchmarks
    if len(chosen) == 1:
        (scope, entry), *_ = chosen.items()
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
        ("changed", "Fixed and broken" if page["trained"] else "Who is right", True),
        ("categories", "Categories", page["category_tables"]),
        ("area", "Evidence area", page["area_tables"]),
        ("training", "Training", page["train"]),
        ("settings", "Settings", True),
        ("reading", "How to read this", True),
    )
    return [(anchor, title) for anchor, title, there in possible if there]


def terms(sides: tuple[str, ...], *, trained: bool) -> tuple[tuple[str, str], ...]:
    """What the numbers mean, and what they do not."""
    before, after = sides
    seeds = (
        "One training run is compared with its start. Another seed of the same training may end elsewhere, and no "
        "interval here knows about that: train several seeds and report all of them."
        if trained
        else "Two models differ in many things at once. A comparison says that they differ, not why."
    )
    return (
        (
            "Same questions",
            f"Every number stands on the questions that {before} and {after} share and that both answered in every "
            "view compared. What was left out is counted in a warning above.",
        ),
        (
            "Change",
            f"Each question's score in {after} minus its score in {before}, averaged, in percentage points. The change "
            "of the gap is the change of the crop minus the change of the full image (a difference in differences).",
        ),
        (
            "95% interval",
            "Where the true change plausibly lies for questions of this kind. Clusters are the unit, not questions: "
            "samples that share an image form one. An interval that includes zero means that a change is not "
            "shown, which is not the same as no change; look at the MDE.",
        ),
        (
            "p",
            "How often a change at least this large, in either direction, would arise if the two runs were "
            "interchangeable: a sign-flip test over clusters. One row of each benchmark, its gap or else its full "
            "accuracy, is corrected over the benchmarks after Holm; the other rows are not corrected.",
        ),
        (
            "MDE",
            "Minimum detectable effect: the smallest true change, in points, that a comparison of this size finds with "
            "80% power at the 5% level. A loss below it can go unnoticed. A dash stands where so few clusters changed "
            "that it cannot be told: the interval then says what is possible.",
        ),
        (
            "Gap closed",
            f"1 minus the gap in {after} over the gap in {before}, with Fieller's interval. Given only where the gap "
            f"in {before} is shown to be above zero. It also rises when the crop gets worse, so read it beside the "
            "change of the crop.",
        ),
        (
            "Fixed and broken" if trained else f"Right only in {after}, right only in {before}",
            "Questions that one of the two runs answers correctly from the full image and the other does not. Some "
            "differ by chance wherever two models do; the p-value asks whether one kind outweighs the other.",
        ),
        (
            "Hold-outs",
            "Benchmarks without a crop, here as a guard: has something been lost that the gap does not show? A fall "
            "that is not shown may still be there.",
        ),
        (
            "Exploratory",
            "Categories and evidence areas are many and small and corrected for nothing: a starting point for looking "
            "at samples, not a finding.",
        ),
        ("What this cannot say", seeds),
    )
