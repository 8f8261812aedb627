"""The verdict of a comparison: a few sentences that claim no more than intervals and corrected tests allow.

    verdict(benchmarks, macro, ("before", "after"), trained=True)

A gap can also shrink because the model reads the crop worse. The verdict therefore states the changes of full and crop
beside the change of the gap. A change is claimed if its 95 % interval excludes zero and its corrected test agrees;
every other change is called "not shown", never absent. Changes over regions that a model made get a sentence of their
own. `benchmarks` and `macro` are those of `comparison.json`.

The correction (`claims`): the change of the gap, or of its mean over benchmarks, is tested at 5 %. All else that the
sentence could name (full and crop, single benchmarks, hold-outs) is corrected together by Holm's method: at 5 % if the
gap changed, else at 1 %, as in the fallback procedure of Wiens and Dmitrienko 2005. So where nothing changed, at most
6 % of sentences claim a change.

Limits: causes are arithmetic (which of the two accuracies moved more), not mechanisms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from gapbench.analysis.aggregate import by_evidence, in_mean
from gapbench.analysis.statistics import holm
from gapbench.analysis.verdict import MODEL_MADE, dissent
from gapbench.util.text import capital, listed, percent_in_words, points_in_words, signed_in_words

NAMED = 3
"""Number of benchmarks listed by name; the rest are counted."""

ERRORS, ERRORS_BESIDES = 0.05, 0.01
"""Chance of a false claim about the gap, and of one about anything else where a change of the gap is not shown."""

Scope: TypeAlias = tuple[str | int, str]
Ways: TypeAlias = dict[Scope, int]


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
    subject: str = "this checkpoint",
    macro_model: Mapping[str, Any] | None = None,
    lacking: Sequence[str] = (),
) -> str:
    """The verdict on the second run against the first. `labels` name the runs if no training joins them, and else the
    `subject` what was trained: one training says nothing about another seed.

    `macro` is the mean over gaps of annotated evidence, `macro_model` the mean over regions that a model made.
    `lacking` names the runs of which missing answers can have made or hidden a gap.
    """
    words = TRAINING if trained else MODELS
    head = f"{capital(subject)}: " if trained else f"{labels[1]} against {labels[0]}: "
    with_gap = {name: entry for name, entry in benchmarks.items() if entry["delta"]["gap"]}
    families = []
    for mean, entries, regions in zip((macro, macro_model), by_evidence(with_gap), ("", MODEL_MADE), strict=True):
        family = {name: entries[name] for name in in_mean({name: one["delta"]["gap"] for name, one in entries.items()})}
        if mean is not None:
            families.append((mean if len(family) > 1 else next(iter(family.values())), family, regions))
    alone = {name for _, family, _ in families if len(family) == 1 for name in family}
    ways = claims({name: one for name, one in benchmarks.items() if name not in alone}, [mean for mean, *_ in families])
    statements: list[tuple[str, list[str]]] = []
    for number, (mean, family, regions) in enumerate(families):
        claim, remarks = _family(family, mean, {m: ways[number, m] for m in ("full", "crop", "gap")}, ways, words)
        statements.append((regions + claim, remarks))
    if not statements:
        statements = [(_without_gap(benchmarks, ways, words), [])]
    else:
        statements[-1][1].append(_guard(benchmarks, with_gap, ways, words))
    sentences = [text for claim, remarks in statements for text in (claim, "; ".join(filter(None, remarks))) if text]
    if lacking:
        sentences.append(f"but missing answers of {_names(lacking)} can have made or hidden a gap")
    first, *others = sentences
    return ". ".join([head + first, *map(capital, others)]) + "."


def claims(benchmarks: Mapping[str, Mapping[str, Any]], means: Sequence[Mapping[str, Any]]) -> Ways:
    """-1 or 1 for a change that may be claimed, 0 for one that is not shown, by (scope, measure).

    A scope is the name of a benchmark or the number of a mean. `benchmarks` lacks those that are a mean by themselves.
    See the module for the correction.
    """
    first: dict[Scope, Any] = {(number, "gap"): mean["delta"]["gap"] for number, mean in enumerate(means)}
    second: dict[Scope, Any] = {
        (number, view): mean["delta"][view] for number, mean in enumerate(means) for view in ("full", "crop")
    }
    # A sentence about gaps names the crop of the mean only.
    measures = ("full", "gap") if means else ("full", "crop")
    for name, entry in benchmarks.items():
        second |= {(name, measure): entry["delta"][measure] for measure in measures if entry["delta"][measure]}
    ways = _ways(first, ERRORS)
    return ways | _ways(second, ERRORS if any(ways.values()) or not means else ERRORS_BESIDES)


def _ways(changes: Mapping[Scope, Mapping[str, Any]], level: float) -> Ways:
    """The claims about changes that are corrected together."""
    corrected = holm({scope: change["p_value"] for scope, change in changes.items() if change["p_value"] is not None})
    return {scope: direction(change, corrected.get(scope), level) for scope, change in changes.items()}


def direction(change: Mapping[str, Any], p: float | None, level: float = ERRORS) -> int:
    """-1 or 1 if the interval of a change lies below or above zero and its corrected `p` is at most `level`, else 0."""
    ci = change["ci"]
    if ci is None or p is None or p > level:
        return 0
    return -1 if ci[1] < 0 else 1 if ci[0] > 0 else 0


def _family(
    with_gap: Mapping[str, Mapping[str, Any]],
    entry: Mapping[str, Any],
    way: Mapping[str, int],
    ways: Ways,
    words: Words,
) -> tuple[str, list[str]]:
    """The change of the gap over one kind of evidence, and the remarks that belong beside it.

    `way` has the claims about the `entry`, which is the mean over benchmarks or the only benchmark.
    """
    over = f" over {len(with_gap)} benchmarks" if len(with_gap) > 1 else f" on {next(iter(with_gap))}"
    remarks = [_cause(way, entry["crop_lost_more"], words)]
    if len(with_gap) > 1:
        remarks.append(_exceptions(with_gap, way["gap"], ways, words))
    return _gap_sentence(entry, over, way["gap"], words), remarks


def _gap_sentence(entry: Mapping[str, Any], over: str, way: int, words: Words) -> str:
    delta = entry["delta"]
    levels = words.levels.format(*(points_in_words(entry[side]["gap"]["estimate"]) for side in ("before", "after")))
    parts = f"full {change_in_words(delta['full'])}, crop {change_in_words(delta['crop'])}"
    if way == 0:
        doubt = dissent(delta["gap"]["ci"], delta["gap"]["p_value"])
        change = change_in_words(delta["gap"]) + doubt.replace("; ", ", ", 1)
        return f"{words.a_change} of the gap{over} is not shown: {levels}, {change}; {parts}"
    # If the crop lost more than the full image gained, the closed share of the gap would look like a success.
    share, closed = "", entry.get("gap_closed")
    if way < 0 and closed and closed["ci"] and not entry["crop_lost_more"]:
        low, high = closed["ci"]
        share = f" ({percent_in_words(closed['estimate'])} [{100 * low:.1f}, {100 * high:.1f}] {words.closed})"
    verb = words.shrank if way < 0 else words.grew
    return f"the gap{over} {verb}, {levels}: {change_in_words(delta['gap'])}{share}; {parts}"


def _cause(way: Mapping[str, int], lost: bool, words: Words) -> str:
    """The accuracies behind a change of the gap, where the gap alone would mislead; else an empty string."""
    match way["gap"]:
        case -1 if lost and way["crop"] >= 0:
            return "by the estimates, the crop lost more than the full image gained; neither is shown"
        case -1 if lost:
            also = "" if way["full"] > 0 else ", and better reading of the full image is not shown"
            also = ", and full accuracy " + words.fell + " too" if way["full"] < 0 else also
            return f"the gap {words.shrank} mainly because crop accuracy {words.fell}{also}"
        case -1 if way["crop"] < 0:
            return f"crop accuracy {words.fell}, which is part of it"
        case -1 if way["full"] <= 0:
            return "a gain of full accuracy by itself is not shown"
        case 1 if way["full"] < 0:
            return f"full accuracy {words.fell}"
        case 0 if way["full"] or way["crop"]:
            verbs = {-1: words.fell, 1: words.rose}
            return " and ".join(f"{view} accuracy {verbs[way[view]]}" for view in ("full", "crop") if way[view])
    return ""


def _exceptions(with_gap: Mapping[str, Mapping[str, Any]], mean: int, ways: Ways, words: Words) -> str:
    """Benchmarks that the mean hides: their gap moved the other way, or shrank because the crop got worse."""
    way = {name: ways[name, "gap"] for name in with_gap}
    grew = [name for name in with_gap if way[name] > 0 and mean <= 0]
    shrank = [name for name in with_gap if way[name] < 0 and mean >= 0]
    lost = [name for name, entry in with_gap.items() if way[name] < 0 and entry["crop_lost_more"]]
    parts = [f"on {_names(names)} it {verb}" for names, verb in ((grew, words.grew), (shrank, words.shrank)) if names]
    if lost:
        parts.append(f"on {_names(lost)} the crop, by the estimates, lost more than the full image gained")
    return "; ".join(parts)


def _guard(
    benchmarks: Mapping[str, Mapping[str, Any]], with_gap: Mapping[str, Mapping[str, Any]], ways: Ways, words: Words
) -> str:
    """Names the benchmarks whose full accuracy fell, or says that no hold-out shows a fall; empty without hold-outs."""
    holdouts = {name: entry for name, entry in benchmarks.items() if name not in with_gap and entry["delta"]["full"]}
    watched = {**holdouts, **(with_gap if len(with_gap) > 1 else {})}
    fallen = [name for name in watched if ways.get((name, "full"), 0) < 0]
    if fallen:
        changes = [
            f"{name} ({'hold-out, ' if name in holdouts else ''}{change_in_words(watched[name]['delta']['full'])})"
            for name in fallen
        ]
        return f"full accuracy {words.fell} on {_names(changes)}"
    if not holdouts:
        return ""
    return f"{words.a_fall} on the hold-out{'s' * (len(holdouts) > 1)} {_names(list(holdouts))} is not shown"


def _without_gap(benchmarks: Mapping[str, Mapping[str, Any]], ways: Ways, words: Words) -> str:
    """The changes of the accuracies where no benchmark has a gap."""
    clauses: list[str] = []
    for view in ("full", "crop"):
        deltas = {name: entry["delta"][view] for name, entry in benchmarks.items() if entry["delta"][view]}
        for way, clause in (
            (-1, f"{view} accuracy {words.fell}"),
            (1, f"{view} accuracy {words.rose}"),
            (0, f"{words.a_change} of {view} accuracy is not shown"),
        ):
            names = [f"{name} ({change_in_words(delta)})" for name, delta in deltas.items() if ways[name, view] == way]
            clauses += [f"{clause} on {_names(names)}"] if names else []
    return f"no gap was compared. {capital('; '.join(clauses))}"


def change_in_words(change: Mapping[str, Any] | None) -> str:
    """A change and its interval in signed points with tenths."""
    if change is None or change["estimate"] is None:
        return "not measured"
    estimate = signed_in_words(change["estimate"])
    if change["ci"] is None:
        return f"{estimate} points (no interval)"
    low, high = map(signed_in_words, change["ci"])
    return f"{estimate} points [{low}, {high}]"


def _names(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return listed(names, NAMED)
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
