"""The verdict of a run: what was measured, in one sentence that claims no more than its intervals and tests allow.

    verdict("glance", benchmarks, [macro, macro_model])
    # 'glance answers 94.0 % from the crop and 52.0 % from the full image: gap +42.0 points [+35.1, +48.9] (200 samples,
    #  150 clusters), lost in full 44.7 % [37.9, 51.7]'

A gap is shown if its interval excludes zero and its test agrees; else the verdict is "no gap shown", and says so where
the two disagree. So it is if the views differ in a fault that has an alert and the bound of the gap includes zero
(`gapbench.analysis.faults`). The faults that differ most are named beside the gap. The bound is given beside them, and
wherever it goes beyond the interval. Gaps over annotated evidence and gaps over regions that a model made get a clause
each and are never averaged. Benchmarks and samples without a gap are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gapbench.analysis.aggregate import PAIR, Json, by_evidence, in_mean
from gapbench.analysis.faults import alerted, wide_bound
from gapbench.analysis.scorings import dependence
from gapbench.analysis.statistics import FEW_CLUSTERS, LEVEL, is_shown
from gapbench.util.text import counted, p_in_words, percent_in_words, points_in_words, signed_in_words

MODEL_MADE = "from regions that a model made, "
FAULTS = {
    "too_long": "{0} prompts are longer than the model's context",
    "failed": "{0} requests failed",
    "cut_off": "{0} answers are cut off",
    "judge_failed": "{0} answers got no verdict from the judge",
    "unparsed": "{0} answers are unparsed",
}
FAILURES = ("too_long", "failed")
NAMED = 2
"""Faults that the verdict names; the others are alerts in the report."""


def verdict(model: str, benchmarks: Mapping[str, Json], means: Sequence[Json]) -> str:
    """The verdict; without a gap it says what failed or was not measured.

    `benchmarks` are those of the summary; `means` its `macro`, over annotated evidence, and `macro_model`, over regions
    that a model made.
    """
    model_name = model or "the model"
    clauses = []
    for mean, entries, regions in zip(means, by_evidence(benchmarks), ("", MODEL_MADE), strict=True):
        with_gap = {name: entries[name] for name in in_mean({name: entry["gap"] for name, entry in entries.items()})}
        if mean["gap"]:
            clause = _family(model_name, with_gap, mean, regions, alone=len(benchmarks) == 1)
            clauses.append(_qualified(clause, mean["gap"], [*with_gap.values()]))
    if not clauses:
        return _without_gap(model_name, benchmarks)
    left_out = [entry for entry in benchmarks.values() if not entry["gap"]]
    reasons = _failures(left_out)[1]
    notes = (
        [f"{counted(len(left_out), 'benchmark')} without a gap left out" + (f": {reasons}" if reasons else "")]
        if left_out
        else []
    )
    gaps = {name: entry["gap"] for family in by_evidence(benchmarks) for name, entry in family.items() if entry["gap"]}
    single = [gap for name, gap in gaps.items() if gap["ci"] is None] if any(gap["ci"] for gap in gaps.values()) else []
    notes += [f"{counted(len(single), 'benchmark')} of a single cluster left out of the mean"] if single else []
    return "; ".join(clauses) + "".join(f" ({note})" for note in notes) + dependence(benchmarks)


def _family(
    model: str, entries: Mapping[str, Mapping[str, Any]], mean: Json, regions: str, alone: bool
) -> tuple[str, str]:
    """The answers and the gap over one kind of evidence, as two texts. `alone`: the run has a single benchmark."""
    gap, lost = mean["gap"], mean["lost_in_full"]
    crop, full = (float(np.mean([entry["gap"][side] for entry in entries.values()])) for side in ("crop", "full"))
    over = f"over {len(entries)} benchmarks " if len(entries) > 1 else "" if alone else f"on {next(iter(entries))} "
    answers = f"{regions}{over}{model} answers {percent_in_words(crop)} from the crop and {percent_in_words(full)} "
    points = f"gap {signed_in_words(gap['estimate'])} points"
    if gap["ci"] is None:
        return f"{answers}from the full image", f"{points}, without an interval as all samples are one cluster"
    way = ", in favour of the full image" if gap["ci"][1] < 0 else ""
    text = f"{points} {_ends(gap, signed_in_words)}{way} ({_basis(gap, entries)})"
    if lost and lost["ci"] and gap["ci"][0] > 0:
        text += f", lost in full {percent_in_words(lost['estimate'])} {_ends(lost, points_in_words)}"
    return f"{answers}from the full image", text


def _ends(estimate: Mapping[str, Any], show: Callable[[float], str]) -> str:
    return f"[{', '.join(map(show, estimate['ci']))}]"


def _basis(mean: Json, entries: Mapping[str, Mapping[str, Any]]) -> str:
    """What a gap rests on: samples, clusters, what was left out, and a warning where the clusters are few."""
    gaps = [entry["gap"] for entry in entries.values()]
    left_out = sum(gap["dropped"] + gap["unpaired"] for gap in gaps)
    parts = [counted(mean["n"], "sample"), counted(mean["clusters"], "cluster")]
    parts += [f"{counted(left_out, 'sample')} without both answers left out"] if left_out else []
    fewest = min(gaps, key=lambda gap: float(gap["effective"]))
    if fewest["effective"] < FEW_CLUSTERS:
        equal = fewest["effective"] > 0.99 * fewest["clusters"]
        worth = "few" if equal and len(gaps) == 1 else f"worth only {fewest['effective']:.1f} equal clusters"
        parts.append(f"{worth}{' on one benchmark' * (len(gaps) > 1)}, so the interval is rough")
    return ", ".join(parts)


def _qualified(clause: tuple[str, str], mean: Json, entries: Sequence[Mapping[str, Any]]) -> str:
    """The clause about a gap, with the faults that have an alert and the bound: all that forbids to take it plainly."""
    differences: Counter[str] = Counter()
    for entry in entries:
        differences.update({kind: abs(fault["difference"]) for kind, fault in alerted(entry).items()})
    kinds, bound = [kind for kind, _ in differences.most_common()], mean["bound"]
    shown = is_shown(mean["ci"], mean["p_value"]) and not (kinds and bound[0] <= 1e-9 and bound[1] >= -1e-9)
    text = ": ".join(clause) if shown else f"no gap shown: {', '.join(clause)}{dissent(mean['ci'], mean['p_value'])}"
    if not kinds and not wide_bound(mean):
        return text
    named = faults_in_words(entries, kinds or _commonest(entries))
    return f"{text}{', but' if kinds else ';'} {named}; {bound_in_words(bound)}"


def dissent(ci: Sequence[float] | None, p: float | None) -> str:
    """A clause if only one of interval and test says that an effect is not zero; else no text."""
    if ci is None or p is None:
        return ""
    test = p_in_words(p)
    excluded, significant = not ci[0] <= 0 <= ci[1], p <= 1 - LEVEL
    if excluded and not significant:
        return f"; the interval excludes zero, but {test}"
    return f"; {test}, but the interval includes zero" if significant and not excluded else ""


def _commonest(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """The kind of fault that most answers have, in a list: what is missing where no kind has an alert."""
    shares: Counter[str] = Counter()
    for entry in entries:
        shares.update({kind: fault["full"] + fault["crop"] for kind, fault in entry["faults"].items()})
    return [kind for kind, _ in shares.most_common(1)]


def faults_in_words(entries: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> str:
    """The share of each kind of fault in both views, as the mean over the entries of benchmarks."""
    texts = []
    for kind in kinds[:NAMED]:
        found = [entry["faults"].get(kind, {"full": 0.0, "crop": 0.0}) for entry in entries]
        full, crop = (float(np.mean([fault[view] for fault in found])) for view in PAIR)
        shares = f"{percent_in_words(full)} of the full and {percent_in_words(crop)} of the crop"
        texts.append(FAULTS[kind].format(shares))
    return ", and ".join(texts)


def _failures(entries: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    """The kinds of failures in the entries of benchmarks, and their shares in words."""
    failing = [entry for entry in entries if set(FAILURES) & set(entry["faults"])]
    kinds = [kind for kind in FAILURES if any(kind in entry["faults"] for entry in failing)]
    return kinds, faults_in_words(failing, kinds)


def bound_in_words(bound: Sequence[float]) -> str:
    """What the bound of a gap means, as a clause."""
    low, high = (points_in_words(end) for end in bound)
    return f"counting the missing answers as right or wrong puts the gap between {low} and {high} points"


def _without_gap(model: str, benchmarks: Mapping[str, Json]) -> str:
    views = [(view, v) for b in benchmarks.values() for view, v in b["views"].items()]
    answered = sorted({view for view, v in views if v["n"]})
    kinds, reasons = _failures([*benchmarks.values()])
    if not views:
        return "nothing was measured: there are no records"
    if not answered:
        return f"nothing was answered: {reasons if 'too_long' in kinds else f'every request to {model} failed'}"
    missing = [view for view in PAIR if view not in answered]
    if not missing:
        sentence = f"no gap measured: {model} answered no sample in both the full image and the crop"
        return f"{sentence}: {reasons}" if reasons else sentence
    means = [
        (view, float(np.mean([v["accuracy"] for name, v in views if name == view and v["n"]]))) for view in answered
    ]
    accuracies = ", ".join(f"{percent_in_words(accuracy)} in view {view}" for view, accuracy in means)
    if reasons:
        return f"no gap measured: {reasons}; {model} answers {accuracies}"
    return f"no gap measured: {model} answers {accuracies}, but has no answers in view {' or '.join(missing)}"
