"""The comparison in one or two sentences that claim no more than the intervals allow.

    verdict(benchmarks, macro, ("before", "after"), trained=True)

A gap can shrink because the crop is read worse, so the changes of full and crop are always said beside the gap's, and
what an interval does not show is called not shown, never absent. `benchmarks` and `macro` are those of
`comparison.json`. A change counts as shown when its 95 % interval excludes zero.

Changes over regions that a model made are told in a sentence of their own.

Limits: causes are arithmetic (which of the two accuracies moved more), not mechanisms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapbench.analysis.aggregate import by_evidence
from gapbench.analysis.verdict import MODEL_MADE
from gapbench.util.text import percent_in_words, points_in_words

NAMED = 3
"""Benchmarks listed by name before the rest are counted."""


@dataclass(frozen=True)
class Words:
    """A training changes one model; two models differ."""

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
) -> str:
    """What the second run changed against the first. `labels` name the two where no training joins them.

    `macro` is the mean over gaps of annotated evidence, `macro_model` the one over regions that a model made.
    """
    words = TRAINING if trained else MODELS
    head = "" if trained else f"{labels[1]} against {labels[0]}: "
    with_gap = {name: entry for name, entry in benchmarks.items() if entry["delta"]["gap"]}
    told: list[tuple[str, list[str]]] = []
    for mean, family, regions in zip((macro, macro_model), by_evidence(with_gap), ("", MODEL_MADE), strict=True):
        if mean is not None:
            text, more = _family(family, mean, words)
            told.append((regions + text, more))
    if not told:
        told = [(_without_gap(benchmarks, words), [])]
    else:
        told[-1][1].append(_guard(benchmarks, with_gap, words))
    sentences = [text for one, more in told for text in (one, "; ".join(filter(None, more))) if text]
    first, *others = sentences
    return ". ".join([head + first if head else _capital(first), *map(_capital, others)]) + "."


def _family(with_gap: Mapping[str, Mapping[str, Any]], macro: Mapping[str, Any], words: Words) -> tuple[str, list[str]]:
    """What became of the gap over some benchmarks, and what has to be known beside it."""
    # One benchmark with a gap beside hold-outs is named; of a lone benchmark the page says which it is.
    over = f" over {len(with_gap)} benchmarks" if len(with_gap) > 1 else f" on {next(iter(with_gap))}"
    side = next(iter(with_gap.values())) if len(with_gap) == 1 else macro
    closed = side.get("gap_closed") if len(with_gap) == 1 else None
    return _gap_sentence(side, closed, over, words), [_why(side, words), _apart(with_gap, macro, words)]


def direction(change: Mapping[str, Any] | None) -> int:
    """-1 or 1 where the interval of a change lies below or above zero, else 0: not shown."""
    ci = (change or {}).get("ci")
    return 0 if ci is None else -1 if ci[1] < 0 else 1 if ci[0] > 0 else 0


def _gap_sentence(entry: Mapping[str, Any], closed: Mapping[str, Any] | None, over: str, words: Words) -> str:
    delta = entry["delta"]
    digits = _digits(delta["gap"]["ci"])
    levels = words.levels.format(
        *(points_in_words(entry[side]["gap"]["estimate"], digits) for side in ("before", "after"))
    )
    parts = f"full {change(delta['full'])}, crop {change(delta['crop'])}"
    way = direction(delta["gap"])
    if way == 0:
        return f"{words.a_change} of the gap{over} is not shown: {levels}, {change(delta['gap'])}; {parts}"
    # Where the crop lost more than the full image gained, a share closed would praise the wrong thing.
    share = ""
    if way < 0 and closed and closed["ci"] and not entry["crop_lost_more"]:
        low, high = closed["ci"]
        share = f" ({percent_in_words(closed['estimate'])} [{100 * low:.0f}, {100 * high:.0f}] {words.closed})"
    moved = words.shrank if way < 0 else words.grew
    return f"the gap{over} {moved}, {levels}: {change(delta['gap'])}{share}; {parts}"


def _why(entry: Mapping[str, Any], words: Words) -> str:
    """What the change of the gap is made of, where the gap's own number would mislead."""
    delta, lost = entry["delta"], entry["crop_lost_more"]
    shown = {view: direction(delta[view]) for view in ("full", "crop")}
    match direction(delta["gap"]):
        case -1 if lost:
            also = "" if shown["full"] > 0 else ", and better reading of the full image is not shown"
            also = ", and full accuracy " + words.fell + " too" if shown["full"] < 0 else also
            return f"the gap {words.shrank} mainly because crop accuracy {words.fell}{also}"
        case -1 if shown["crop"] < 0:
            return f"crop accuracy {words.fell}, which is part of it"
        case -1 if shown["full"] <= 0:
            return "a gain of full accuracy by itself is not shown"
        case 1 if shown["full"] < 0:
            return f"full accuracy {words.fell}"
        case 0 if shown["full"] or shown["crop"]:
            verbs = {-1: words.fell, 1: words.rose}
            return " and ".join(f"{view} accuracy {verbs[way]}" for view, way in shown.items() if way)
    return ""


def _apart(with_gap: Mapping[str, Mapping[str, Any]], macro: Mapping[str, Any], words: Words) -> str:
    """Benchmarks that a mean over several would hide: the gap went the other way, or shrank with the crop."""
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
    """Benchmarks whose full accuracy fell; where hold-outs were measured and none fell, that much."""
    holdouts = {name: entry for name, entry in benchmarks.items() if name not in with_gap and entry["delta"]["full"]}
    watched = {**holdouts, **(with_gap if len(with_gap) > 1 else {})}
    fallen = [name for name, entry in watched.items() if direction(entry["delta"]["full"]) < 0]
    if fallen:
        listed = [
            f"{name} ({'hold-out, ' if name in holdouts else ''}{change(watched[name]['delta']['full'])})"
            for name in fallen
        ]
        return f"full accuracy {words.fell} on {_names(listed)}"
    if not holdouts:
        return ""
    return f"{words.a_fall} on the hold-out{'s' * (len(holdouts) > 1)} {_names(list(holdouts))} is not shown"


def _without_gap(benchmarks: Mapping[str, Mapping[str, Any]], words: Words) -> str:
    """Only one view was measured, in all benchmarks: its changes, benchmark by benchmark."""
    told: list[str] = []
    for view in ("full", "crop"):
        found = {name: e["delta"][view] for name, e in benchmarks.items() if e["delta"][view]}
        for way, verb in ((-1, words.fell), (1, words.rose)):
            names = [f"{name} ({change(one)})" for name, one in found.items() if direction(one) == way]
            told += [f"{view} accuracy {verb} on {_names(names)}"] if names else []
        open_ = [f"{name} ({change(one)})" for name, one in found.items() if not direction(one)]
        told += [f"{words.a_change} of {view} accuracy is not shown on {_names(open_)}"] if open_ else []
    return f"no gap was compared. {_capital('; '.join(told))}"


def change(one: Mapping[str, Any] | None) -> str:
    """A change in points with its interval, signed: whole points, or tenths where whole ones would hide something."""
    if one is None or one["estimate"] is None:
        return "not measured"
    digits = _digits(one["ci"])
    if one["ci"] is None:
        return f"{_signed(one['estimate'], digits)} points (no interval: one cluster)"
    low, high = (_signed(bound, digits) for bound in one["ci"])
    return f"{_signed(one['estimate'], digits)} points [{low}, {high}]"


def _digits(ci: Sequence[float] | None) -> int:
    """As in the verdict of `summary.json`: tenths where a whole number would look like zero or hide the width."""
    return 0 if ci is None or (all(abs(x) >= 0.01 or x == 0 for x in ci) and ci[1] - ci[0] >= 0.02) else 1


def _signed(share: float, digits: int) -> str:
    text = points_in_words(share, digits)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"


def _names(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
