"""What stands at the top of a report: big numbers, notices, warnings and plots.

    alerts(summary, run)    [('signs', '3 samples are left out of the gap: one of the two views has no score.')]
    headline(summary)    Headline('signs', full=0.41, crop=0.93, gap=…)
    forest(summary, "forest").plot    '<svg …>'

None and empty lists stand for what the summary does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gapbench.report.families import families
from gapbench.report.plots import Bin, Effect, PlottedEstimate, area_plot, forest_plot
from gapbench.report.run.data_section import repairs_of
from gapbench.report.tables import benchmarks_of, has_gap, macro_gap, part
from gapbench.util.text import clip, interval, missing, p_value, percent, points

FOREST_BENCHMARKS = 40
FOREST_CATEGORIES = 12
FOREST_ROWS = 60
AREA_PLOTS = 12
UNPARSED_WORTH_A_WARNING = 0.1
MESSAGES = 12
FULL_VIEW = ("full-view", "hold-out")
"""Roles (`gapbench.types.Role`) of benchmarks without evidence of their own."""


@dataclass(frozen=True)
class Headline:
    """The three big numbers; accuracies are None when no benchmark has the view."""

    scope: str
    full: float | None
    crop: float | None
    gap: float | None
    full_text: str
    full_ci: str
    crop_text: str
    crop_ci: str
    gap_text: str
    gap_ci: str
    p: str


def headline(summary: Mapping[str, Any]) -> Headline:
    """The only benchmark's numbers, or unweighted means over the benchmarks that have a gap.

    Those of annotated evidence, and only where there are none, those over regions that a model made.

    Accuracies are those of the paired samples where the summary has them, so that their difference is the gap; an
    interval is shown only where it belongs to the very number above it.
    """
    family = next((one for one in families(summary) if any(map(has_gap, benchmarks_of(one.summary).values()))), None)
    benchmarks = benchmarks_of(family.summary if family else summary)
    used = {name: entry for name, entry in benchmarks.items() if has_gap(entry)} or benchmarks
    alone = next(iter(used.values())) if len(used) == 1 else {}
    scope = clip(next(iter(used)), 80) if alone else f"mean of {len(used)} benchmarks" if used else ""
    gap = (alone.get("gap") if alone else macro_gap(family.summary if family else summary)) or {}
    full, crop = (_mean([_paired_accuracy(entry, view) for entry in used.values()]) for view in ("full", "crop"))
    return Headline(
        scope=" · ".join(filter(None, (scope, family.title.lower() if family else ""))),
        full=full,
        crop=crop,
        gap=gap.get("estimate"),
        full_text=percent(full),
        full_ci=_interval_of(alone, "full", full),
        crop_text=percent(crop),
        crop_ci=_interval_of(alone, "crop", crop),
        gap_text=points(gap.get("estimate")),
        gap_ci=interval(gap.get("ci"), signed=True),
        p="" if missing(gap.get("p_value")) else p_value(gap.get("p_value")),
    )


def _paired_accuracy(entry: Mapping[str, Any], view: str) -> float | None:
    paired: float | None = part(entry, "gap", view)
    accuracy: float | None = part(entry, "views", view, "accuracy")
    return accuracy if paired is None else paired


def _interval_of(entry: Mapping[str, Any], view: str, shown: float | None) -> str:
    accuracy = part(entry, "views", view, "accuracy")
    same = accuracy is not None and shown is not None and abs(accuracy - shown) < 1e-9
    return interval(part(entry, "views", view, "ci")) if same else ""


def alerts(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(benchmark, text) for what a reader must know before trusting a number."""
    found = []
    if summary.get("part"):
        found.append(("", "These numbers are of a part of a run. gapbench merge puts all shards together."))
    for name, check in (part(manifest, "selfcheck", "checks") or {}).items():
        if part(check, "outcome") == "failed":
            text = f"The engine's self-check failed: {name}: {part(check, 'found')}. {part(check, 'remedy')}"
            found.append(("", clip(text, 600)))
    who = sorted({name for one in part(manifest, "sessions") or () for name in part(one, "answered_by") or ()})
    if len(who) > 1:
        text = f"The answers come from several models: {', '.join(who)}. Their mean is that of none of them."
        found.append(("", clip(text, 600)))
    views = [view for entry in benchmarks_of(summary).values() for view in (part(entry, "views") or {}).values()]
    if lost := round(sum((part(view, "failed") or 0) * (part(view, "records") or 0) for view in views)):
        text = "question was not answered" if lost == 1 else "questions were not answered"
        remedy = "and left out; records.jsonl says why, and the same command with --retry-failed asks again"
        found.append(("", f"{lost:,} {text} {remedy}."))
    verdicts = part(summary, "judge", "verdicts") or {}
    if failed := verdicts.get("failed"):
        text = "answer has no verdict" if failed == 1 else "answers have no verdict"
        remedy = "count as wrong; the same command with --retry-failed asks it again"
        found.append(("", f"{failed:,} {text} because the judge failed, and {remedy}."))
    if waiting := verdicts.get("waiting"):
        text = "answer waits" if waiting == 1 else "answers wait"
        found.append(("", f"{waiting:,} {text} for the judge and count as wrong until the same command asks it."))
    benchmarks = benchmarks_of(summary)
    roles = {name: part(manifest, "benchmarks", name, "card", "role") for name in benchmarks}
    # A hold-out is there for its full view; that it has no gap is no news beside benchmarks that have one.
    expected = {n for n, role in roles.items() if role in FULL_VIEW} if any(map(has_gap, benchmarks.values())) else ()
    without = [name for name, entry in benchmarks.items() if not has_gap(entry) and name not in expected]
    if without:
        found.append((_names(without), "No gap: no sample has a score in both the full and the crop view."))
    dropped = {name: count for name, entry in benchmarks.items() if (count := part(entry, "gap", "dropped"))}
    if dropped:
        total = sum(dropped.values())
        text = "sample is" if total == 1 else "samples are"
        found.append((_names(dropped), f"{total:,} {text} left out of the gap: one of the two views has no score."))
    unpaired = {name: count for name, entry in benchmarks.items() if (count := part(entry, "gap", "unpaired"))}
    if unpaired:
        total = sum(unpaired.values())
        text = "sample was" if total == 1 else "samples were"
        found.append(
            (_names(unpaired), f"{total:,} {text} asked in one of the two views only and cannot enter the gap.")
        )
    for name, entry in benchmarks.items():
        for view in ("full", "crop"):
            unparsed = part(entry, "views", view, "unparsed") or 0.0
            if unparsed >= UNPARSED_WORTH_A_WARNING:
                text = f"{percent(unparsed)} of the {view} answers could not be parsed and count as wrong"
                found.append((_names([name]), f"{text}: look at the prompt and at the outputs before reading the gap."))
    for name, kind, count in repairs_of(manifest):
        if kind == "outside" and "repair: outside" not in (
            part(manifest, "benchmarks", name, "card", "expected") or {}
        ):
            text = f"{count:,} evidence box{'es leave' if count > 1 else ' leaves'} the image by more than 2 px"
            found.append((_names([name]), f"{text} and had to be clipped or dropped: is the box format right?"))
    return _few(found, ("", f"{len(found) - MESSAGES} more warnings are left out here; see the tables."))


@dataclass(frozen=True)
class Forest:
    """The gaps of one family as inline SVG, or None where there are none, and how many rows had no room."""

    plot: str | None
    left_out: int


def forest(summary: Mapping[str, Any], name: str) -> Forest:
    """All gaps of the benchmarks given, with their categories and their mean; `name` keeps the ids of plots apart."""
    effects, hidden = _effects(summary)
    return Forest(forest_plot(effects, name=name) if effects else None, hidden)


def area_figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """`plots`, a list of (benchmark, inline SVG), and `left_out`, how many benchmarks have no room."""
    binned = [
        (family.marked(clip(name, 80)), bins)
        for family in families(summary)
        for name, entry in benchmarks_of(family.summary).items()
        if (bins := _bins(entry))
    ]
    return {
        "plots": [
            (name, area_plot(bins, name=f"area{index}", label=name))
            for index, (name, bins) in enumerate(binned[:AREA_PLOTS])
        ],
        "left_out": max(0, len(binned) - AREA_PLOTS),
    }


def _effects(summary: Mapping[str, Any]) -> tuple[list[Effect], int]:
    benchmarks = benchmarks_of(summary)
    effects: list[Effect] = []
    hidden = max(0, len(benchmarks) - FOREST_BENCHMARKS)
    for name, entry in list(benchmarks.items())[:FOREST_BENCHMARKS]:
        gap = entry.get("gap") or {}
        effects.append(Effect(name, gap.get("estimate"), gap.get("ci"), gap.get("n", entry.get("n"))))
        parts = [Effect(key, one["gap"]["estimate"], one["gap"].get("ci"), one.get("n"), part=True)
                 for key, one in (entry.get("by_category") or {}).items() if has_gap(one)]  # fmt: skip
        parts.sort(key=lambda effect: -(effect.n or 0))
        room = max(0, min(FOREST_CATEGORIES, FOREST_ROWS - len(effects)))
        hidden += max(0, len(parts) - room)
        effects += parts[:room]
    macro = macro_gap(summary)
    if macro is not None and sum(map(has_gap, benchmarks.values())) > 1:
        effects.append(Effect("Macro mean", macro.get("estimate"), macro.get("ci")))
    return effects, hidden


def _bins(entry: Mapping[str, Any]) -> list[Bin]:
    bins = []
    for one in entry.get("by_evidence_area") or []:
        low, high = one.get("from"), one.get("to")
        if low is not None and high:
            curves = (_estimate(one.get(key)) for key in ("full", "crop", "gap"))
            bins.append(Bin(low, high, one.get("n") or 0, *curves))
    return bins


def _estimate(value: Mapping[str, Any] | None) -> PlottedEstimate:
    return ((value or {}).get("estimate"), (value or {}).get("ci"))


def _names(names: Iterable[str]) -> str:
    return clip(", ".join(clip(name, 80) for name in names), 200)


def _mean(values: list[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _few(messages: list[tuple[str, str]], rest: tuple[str, str]) -> list[tuple[str, str]]:
    return messages if len(messages) <= MESSAGES else [*messages[:MESSAGES], rest]
