"""The top of a report: big numbers, warnings and plots.

    alerts(summary, manifest)    [('signs', '3 samples are left out of the gap: one of the two views has no score.')]
    headline(summary)    {'scope': 'signs', 'full': 0.41, 'crop': 0.93, 'gap': 0.52, …}
    forest(summary, "forest").plot    '<svg …>'

Numbers that the summary does not hold are None, lists of them empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gapbench.analysis.faults import UNPARSED_WORTH_A_WARNING, alerted, wide_bound
from gapbench.analysis.verdict import bound_in_words, faults_in_words
from gapbench.report import cells
from gapbench.report.cells import nested
from gapbench.report.families import families
from gapbench.report.plots import Effect, forest_plot, narrow_forest_plot
from gapbench.report.run.data_section import first, repairs_of
from gapbench.report.tables import benchmarks_of, has_gap, macro_gap
from gapbench.runs.run import level_of
from gapbench.util.text import capital, clip, interval, missing, p_in_words, percent
from gapbench.views.images import EXIF_IGNORED
from gapbench.views.prepare import ORIENTATION_IGNORED

FOREST_BENCHMARKS = 40
FOREST_CATEGORIES = 12
FOREST_ROWS = 60
REMEDIES = {
    "too_long": "Lower --max-pixels, or measure a model with a longer context.",
    "failed": "records.jsonl gives the reasons and what helps. The same command with --retry-failed asks again, which "
    "helps against faults of the engine, not of the data (no box, an unreadable image).",
    "cut_off": "Raise --max-new-tokens.",
    "judge_failed": "The same command with --retry-failed asks the judge again.",
    "unparsed": "Check the prompt and the outputs, or let a judge read the answers (--judge).",
}
"""What helps against each kind of fault."""
NOT_OFF, CHOSEN = "cannot be switched off", "as chosen"
"""Beginnings of the setting `thinking` of a model that thinks, and of one that does what the user chose."""
FULL_VIEW = ("full-view", "hold-out")
"""Roles (`gapbench.types.Role`) of benchmarks without evidence of their own."""

FAULTY_BOXES = {
    "outside": (
        "evidence box leaves",
        "evidence boxes leave",
        "the image by more than 2 px and had to be clipped or dropped: is the box format right?",
    ),
    "swapped": (
        "evidence box has",
        "evidence boxes have",
        "inverted corners or a negative side, which were swapped: is the box format right (xyxy or xywh)?",
    ),
}
"""Repairs of boxes that a card must expect, else they are alerts: in one box, in several, and what it means."""


def headline(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the only benchmark with a gap, or the unweighted means over several.

    `full`, `crop`, `gap` and `lost` (in full) are numbers, None if no benchmark has them; `full_ci`, `crop_ci`,
    `gap_ci`, `lost_ci`, `bound` and `p` are texts, and `scope` says of what they are. `bound` is empty if the interval
    covers it. Benchmarks with annotated evidence come first; those with regions made by a model count only if no other
    has a gap.

    Accuracies are those of the paired samples if the summary has them, so that their difference is the gap.
    """
    with_gap = (family for family in families(summary) if any(map(has_gap, benchmarks_of(family.summary).values())))
    family = next(with_gap, None)
    benchmarks = benchmarks_of(family.summary if family else summary)
    used = {name: entry for name, entry in benchmarks.items() if has_gap(entry)} or benchmarks
    single = next(iter(used.values())) if len(used) == 1 else {}
    scope = clip(next(iter(used)), 80) if single else f"mean of {len(used)} benchmarks" if used else ""
    means = single or nested(family.summary if family else summary, "macro") or {}
    gap, lost = means.get("gap") or {}, means.get("lost_in_full") or {}
    numbers = {
        "scope": " · ".join(filter(None, (scope, family.title.lower() if family else ""))),
        "gap": gap.get("estimate"),
        "gap_ci": interval(gap.get("ci"), signed=True),
        "lost": lost.get("estimate"),
        "lost_ci": cells.lost()(lost).note,
        "bound": interval(wide_bound(gap), signed=True),
        "p": "" if missing(gap.get("p_value")) else p_in_words(gap["p_value"]),
    }
    for view in ("full", "crop"):
        levels = [level_of(entry, view)["estimate"] for entry in used.values()]
        known = [level for level in levels if level is not None]
        numbers[view] = sum(known) / len(known) if known else None
        numbers[f"{view}_ci"] = interval(level_of(single, view)["ci"]) if single else ""
    return numbers


def alerts(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(benchmark, text) of every fact that a reader must know before trusting a number."""
    messages = [*_alerts_of_the_run(summary, manifest), *_alerts_of_benchmarks(summary, manifest)]
    return first(messages, "more warnings are left out here; see the tables.")


def _alerts_of_the_run(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if summary.get("part"):
        yield "", "These numbers cover only a part of the run. gapbench merge joins the records of all shards."
    for name, check in (nested(manifest, "selfcheck", "checks") or {}).items():
        if nested(check, "outcome") == "failed":
            text = f"The engine's self-check failed: {name}: {nested(check, 'found')}. {nested(check, 'remedy')}"
            yield "", clip(text, 600)
    sessions = nested(manifest, "sessions") or ()
    models = sorted({name for session in sessions for name in nested(session, "answered_by") or ()})
    if len(models) > 1:
        text = f"The answers come from several models: {', '.join(models)}. The numbers describe none of them."
        yield "", clip(text, 600)
    views = [view for entry in benchmarks_of(summary).values() for view in (nested(entry, "views") or {}).values()]
    failed, too_long = (
        round(sum((nested(view, key) or 0) * (nested(view, "records") or 0) for view in views))
        for key in ("failed", "too_long")
    )
    if too_long:
        text = _counted(
            too_long,
            "prompt is longer than the model's context and is",
            "prompts are longer than the model's context and are",
        )
        yield "", f"{text} left out. {REMEDIES['too_long']}"
    if failures := failed - too_long:
        text = _counted(failures, "answer failed and is left out", "answers failed and are left out")
        yield "", f"{text}. {REMEDIES['failed']}"
    thinking = clip(nested(manifest, "generation", "thinking") or "", 300)
    thought = max((nested(view, "thought") or 0.0 for view in views), default=0.0)
    risk = "A thought uses up new tokens, so an answer can be cut off before it begins."
    if thinking.startswith(NOT_OFF):
        yield "", f"Thinking is not off: {thinking}. {risk}"
    elif thought and not thinking.startswith(CHOSEN):
        text = f"Up to {percent(thought)} of the answers in a view have a thought"
        yield "", f"{text}{f' (thinking: {thinking})' if thinking else ''}. {risk}"
    verdicts = nested(summary, "judge", "verdicts") or {}
    if failed := verdicts.get("failed"):
        text = _counted(failed, "answer has", "answers have") + " no verdict because the judge failed."
        remedy = "the same command with --retry-failed asks the judge again"
        yield "", f"{text} {'It counts' if failed == 1 else 'They count'} as wrong; {remedy}."
    if waiting := verdicts.get("waiting"):
        text = _counted(waiting, "answer waits for the judge. It counts", "answers wait for the judge. They count")
        yield "", f"{text} as wrong until it decides. Run the same command again to ask it."


def _alerts_of_benchmarks(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    benchmarks = benchmarks_of(summary)
    roles = {name: nested(manifest, "tasks", name, "card", "role") for name in benchmarks}
    # A hold-out is measured in its full view only, so beside benchmarks with a gap it needs no warning.
    any_gap = any(map(has_gap, benchmarks.values()))
    expected = {name for name, role in roles.items() if role in FULL_VIEW} if any_gap else ()
    without = [name for name, entry in benchmarks.items() if not has_gap(entry) and name not in expected]
    if without:
        yield _names(without), "No gap: no sample has a score in both the full and the crop view."
    for key, one, many, text in (
        ("dropped", "sample is", "samples are", "left out of the gap: one of the two views has no score."),
        ("unpaired", "sample was", "samples were", "measured in only one of the two views and cannot enter the gap."),
    ):
        counts = {name: n for name, entry in benchmarks.items() if (n := nested(entry, "gap", key))}
        if counts:
            yield _names(counts), f"{_counted(sum(counts.values()), one, many)} {text}"
    for name, entry in benchmarks.items():
        if bare := nested(entry, "without_evidence"):
            one, many = "sample has no evidence box: it counts", "samples have no evidence box: they count"
            yield _names([name]), f"{_counted(bare, one, many)} in full alone."
    for name, entry in benchmarks.items():
        kinds = alerted(entry)
        yield from ((_names([name]), _fault(entry, kind)) for kind in kinds)
        if bound := wide_bound(nested(entry, "gap")):
            text = f"{capital(bound_in_words(bound))}. The interval does not cover what is missing."
            yield _names([name]), text
        for view in ("full", "crop") if kinds.keys().isdisjoint({"unparsed", "cut_off"}) else ():
            unparsed = nested(entry, "views", view, "unparsed") or 0.0
            if unparsed >= UNPARSED_WORTH_A_WARNING:
                text = f"{percent(unparsed)} of the {view}-view answers could not be parsed and count as wrong"
                yield _names([name]), f"{text}. Check the prompt and the outputs before you interpret the gap."
        task = nested(manifest, "tasks", name) or {}
        asked = () if nested(manifest, "shard") else nested(task, "views") or ()
        for view in asked:
            whole = (nested(task, "samples") or 0) * (nested(task, "repeats") or 1)
            missing = whole - (nested(entry, "views", view, "records") or 0)
            if missing > 0:
                text = f"{missing:,} of {whole:,} answers in the {view} view are missing"
                yield _names([name]), f"{text}. Run the command that measures this view again."
    for name, kind, n in repairs_of(manifest):
        known = nested(manifest, "tasks", name, "card", "expected") or {}
        if kind in FAULTY_BOXES and f"repair: {kind}" not in known:
            one, many, text = FAULTY_BOXES[kind]
            yield _names([name]), f"{_counted(n, one, many)} {text}"
        meant = nested(manifest, "tasks", name, "parameters", "orientation") == "stored" or f"repair: {kind}" in known
        if kind == EXIF_IGNORED and nested(benchmarks, name, "evidence") and not meant:
            counted = _counted(n, "sample has an image with", "samples have an image with")
            yield _names([name]), f"{counted} {ORIENTATION_IGNORED}"


def _fault(entry: Mapping[str, Any], kind: str) -> str:
    """The shares of a fault that has an alert, its p-value and what helps."""
    p = p_in_words(entry["faults"][kind]["p_value_holm"])
    text = f"{capital(faults_in_words([entry], [kind]))} (corrected {p})"
    return f"{text}. Such a difference can make a gap. {REMEDIES[kind]}"


def _counted(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def forest(summary: Mapping[str, Any], name: str) -> dict[str, Any]:
    """`plot`, an inline SVG of the gaps of benchmarks, their categories and their mean (None without gaps), the same as
    `narrow` for small screens, and `left_out`, the number of rows left out. `name` prefixes the ids of the plots."""
    effects, left_out = effects_of(summary)
    return {
        "plot": forest_plot(effects, name=name) if effects else None,
        "narrow": narrow_forest_plot(effects, name=f"{name}-narrow") if effects else None,
        "left_out": left_out,
    }


def effects_of(summary: Mapping[str, Any]) -> tuple[list[Effect], int]:
    """The rows of the forest plot, and the number of rows left out."""
    benchmarks = benchmarks_of(summary)
    effects: list[Effect] = []
    left_out = max(0, len(benchmarks) - FOREST_BENCHMARKS)
    for benchmark, entry in list(benchmarks.items())[:FOREST_BENCHMARKS]:
        gap = entry.get("gap") or {}
        effects.append(Effect(benchmark, gap.get("estimate"), gap.get("ci"), gap.get("n", entry.get("n"))))
        categories = [
            Effect(category, group["gap"]["estimate"], group["gap"].get("ci"), group.get("n"), part=True)
            for category, group in (entry.get("by_category") or {}).items()
            if has_gap(group)
        ]
        categories.sort(key=lambda effect: -(effect.n or 0))
        room = max(0, min(FOREST_CATEGORIES, FOREST_ROWS - len(effects)))
        left_out += max(0, len(categories) - room)
        effects += categories[:room]
    macro = macro_gap(summary)
    if macro is not None and sum(map(has_gap, benchmarks.values())) > 1:
        effects.append(Effect("Macro mean", macro.get("estimate"), macro.get("ci")))
    return effects, left_out


def _names(names: Iterable[str]) -> str:
    return clip(", ".join(clip(name, 80) for name in names), 200)
