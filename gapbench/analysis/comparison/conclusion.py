"""The verdict of a comparison: one or two sentences that claim no more than the intervals allow.

    verdict(benchmarks, macro, ("before", "after"), trained=True)

A gap can also shrink because the model reads the crop worse. The verdict therefore states the changes of full and crop
beside the change of the gap. A change is shown if its 95 % interval excludes zero; every other change is called "not
shown", never absent. Changes over regions that a model made get a sentence of their own. `benchmarks` and `macro` are
those of `comparison.json`.

Limits: causes are arithmetic (which of the two accuracies moved more), not mechanisms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapbench.analysis.aggregate import by_evidence
from gapbench.analysis.verdict import MODEL_MADE, digits_of
from gapbench.util.text import listed, percent_in_words, points_in_words

NAMED = 3
"""Number of benchmarks listed by name; the rest are counted."""


@dataclass(frozen=True)
class Words:
    """The verdict's vocabulary: one for a model changed by a training, one for two models that differ."""

    fell: str
    rose: str
    shrank: str
    grew: str
    a_fall: str
    a_change: str
    closed: str
    levels: str


TRAINING = Words("fell", "rose", "shrank", "grew", "a fall", "a change", "of it closed", "from {0} to {1} points")
MODELS = Words(
    "is lower", "is higher", "is smaller", "is larger", "a loss", "a difference", "smaller", "{1} against {0} points"
)


def verdict(
    benchmarks: Mapping[str, Mapping[str, Any]],
    macro: Mapping[str, Any] | None,
    labels: tuple[str, str],
    *,
    trained: bool,
    macro_model: Mapping[str, Any] | None = None,
    lacking: Sequence[str] = (),
) -> str:
    """The verdict on the second run against the first. `labels` name the runs if no training joins them.

    `macro` is the mean over gaps of annotated evidence, `macro_model` the mean over regions that a model made.
    `lacking` names the runs of which missing answers can have made or hidden a gap.
    """
    words = TRAINING if trained else MODELS
    head = "" if trained else f"{labels[1]} against {labels[0]}: "
    with_gap = {name: entry for name, entry in benchmarks.items() if entry["delta"]["gap"]}
    statements: list[tuple[str, list[str]]] = []
    for mean, family, regions in zip((macro, macro_model), by_evidence(with_gap), ("", MODEL_MADE), strict=True):
        if mean is not None:
            claim, remarks = _family(family, mean, words)
            statements.append((regions + claim, remarks))
    if not statements:
        statements = [(_without_gap(benchmarks, words), [])]
    else:
        statements[-1][1].append(_guard(benchmarks, with_gap, words))
    sentences = [text for claim, remarks in statements for text in (claim, "; ".join(filter(None, remarks))) if text]
    if lacking:
        sentences.append(f"but missing answers of {_names(lacking)} can have made or hidden a gap")
    first, *others = sentences
    return ". ".join([head + first if head else _capital(first), *map(_capital, others)]) + "."


def _family(with_gap: Mapping[str, Mapping[str, Any]], macro: Mapping[str, Any], words: Words) -> tuple[str, list[str]]:
    """The change of the gap over one kind of evidence, and the remarks that belong beside it."""
    over = f" over {len(with_gap)} benchmarks" if len(with_gap) > 1 else f" on {next(iter(with_gap))}"
    entry = next(iter(with_gap.values())) if len(with_gap) == 1 else macro
    closed = entry.get("gap_closed") if len(with_gap) == 1 else None
    return _gap_sentence(entry, closed, over, words), [_cause(entry, words), _exceptions(with_gap, macro, words)]


def direction(change: Mapping[str, Any] | None) -> int:
    """-1 if the interval of a change lies below zero, 1 if it lies above, 0 if the change is not shown."""
    ci = (change or {}).get("ci")
    return 0 if ci is None else -1 if ci[1] < 0 else 1 if ci[0] > 0 else 0


def _gap_sentence(entry: Mapping[str, Any], closed: Mapping[str, Any] | None, over: str, words: Words) -> str:
    delta = entry["delta"]
    digits = digits_of(delta["gap"]["ci"])
    levels = words.levels.format(
        *(points_in_words(entry[side]["gap"]["estimate"], digits) for side in ("before", "after"))
    )
    parts = f"full {change_in_words(delta['full'])}, crop {change_in_words(delta['crop'])}"
    way = direction(delta["gap"])
    if way == 0:
        return f"{words.a_change} of the gap{over} is not shown: {levels}, {change_in_words(delta['gap'])}; {parts}"
    # If the crop lost more than the full image gained, the closed share of the gap would look like a success.
    share = ""
    if way < 0 and closed and closed["ci"] and not entry["crop_lost_more"]:
        low, high = closed["ci"]
        share = f" ({percent_in_words(closed['estimate'])} [{100 * low:.0f}, {100 * high:.0f}] {words.closed})"
    verb = words.shrank if way < 0 else words.grew
    return f"the gap{over} {verb}, {levels}: {change_in_words(delta['gap'])}{share}; {parts}"


def _cause(entry: Mapping[str, Any], words: Words) -> str:
    """The accuracies behind a change of the gap, where the gap alone would mislead; else an empty string."""
    delta, lost = entry["delta"], entry["crop_lost_more"]
    directions = {view: direction(delta[view]) for view in ("full", "crop")}
    match direction(delta["gap"]):
        case -1 if lost:
            also = "" if directions["full"] > 0 else ", and better reading of the full image is not shown"
            also = ", and full accuracy " + words.fell + " too" if directions["full"] < 0 else also
            return f"the gap {words.shrank} mainly because crop accuracy {words.fell}{also}"
        case -1 if directions["crop"] < 0:
            return f"crop accuracy {words.fell}, which is part of it"
        case -1 if directions["full"] <= 0:
            return "a gain of full accuracy by itself is not shown"
        case 1 if directions["full"] < 0:
            return f"full accuracy {words.fell}"
        case 0 if directions["full"] or directions["crop"]:
            verbs = {-1: words.fell, 1: words.rose}
            return " and ".join(f"{view} accuracy {verbs[way]}" for view, way in directions.items() if way)
    return ""


def _exceptions(with_gap: Mapping[str, Mapping[str, Any]], macro: Mapping[str, Any], words: Words) -> str:
    """Benchmarks that the mean hides: their gap moved the other way, or shrank because the crop got worse."""
    if len(with_gap) < 2:
        return ""
    way = direction(macro["delta"]["gap"])
    deltas = {name: entry["delta"] for name, entry in with_gap.items()}
    grew = [name for name, delta in deltas.items() if direction(delta["gap"]) > 0 and way <= 0]
    shrank = [name for name, delta in deltas.items() if direction(delta["gap"]) < 0 and way >= 0]
    lost = [name for name, delta in deltas.items() if direction(delta["gap"]) < 0 and with_gap[name]["crop_lost_more"]]
    parts = [f"on {_names(names)} it {verb}" for names, verb in ((grew, words.grew), (shrank, words.shrank)) if names]
    if lost:
        parts.append(f"on {_names(lost)} it {words.shrank} mainly because crop accuracy {words.fell}")
    return "; ".join(parts)


def _guard(benchmarks: Mapping[str, Mapping[str, Any]], with_gap: Mapping[str, Mapping[str, Any]], words: Words) -> str:
    """Names the benchmarks whose full accuracy fell, or says that no hold-out shows a fall; empty without hold-outs."""
    holdouts = {name: entry for name, entry in benchmarks.items() if name not in with_gap and entry["delta"]["full"]}
    watched = {**holdouts, **(with_gap if len(with_gap) > 1 else {})}
    fallen = [name for name, entry in watched.items() if direction(entry["delta"]["full"]) < 0]
    if fallen:
        changes = [
            f"{name} ({'hold-out, ' if name in holdouts else ''}{change_in_words(watched[name]['delta']['full'])})"
            for name in fallen
        ]
        return f"full accuracy {words.fell} on {_names(changes)}"
    if not holdouts:
        return ""
    return f"{words.a_fall} on the hold-out{'s' * (len(holdouts) > 1)} {_names(list(holdouts))} is not shown"


def _without_gap(benchmarks: Mapping[str, Mapping[str, Any]], words: Words) -> str:
    """The changes of the accuracies where no benchmark has a gap."""
    clauses: list[str] = []
    for view in ("full", "crop"):
        deltas = {name: entry["delta"][view] for name, entry in benchmarks.items() if entry["delta"][view]}
        for way, clause in (
            (-1, f"{view} accuracy {words.fell}"),
            (1, f"{view} accuracy {words.rose}"),
            (0, f"{words.a_change} of {view} accuracy is not shown"),
        ):
            names = [f"{name} ({change_in_words(delta)})" for name, delta in deltas.items() if direction(delta) == way]
            clauses += [f"{clause} on {_names(names)}"] if names else []
    return f"no gap was compared. {_capital('; '.join(clauses))}"


def change_in_words(change: Mapping[str, Any] | None) -> str:
    """A change and its interval in signed points: whole points, or tenths where whole points would hide something."""
    if change is None or change["estimate"] is None:
        return "not measured"
    digits = digits_of(change["ci"])
    estimate = _signed(change["estimate"], digits)
    if change["ci"] is None:
        return f"{estimate} points (no interval: one cluster)"
    low, high = (_signed(bound, digits) for bound in change["ci"])
    return f"{estimate} points [{low}, {high}]"


def _signed(share: float, digits: int) -> str:
    text = points_in_words(share, digits)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"


def _names(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return listed(names, NAMED)
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
