"""The verdict of a run: what was measured, in one sentence that claims no more than its intervals and tests allow.

    verdict("glance", benchmarks, [macro, macro_model])
    # 'glance answers 94.0 % from the crop and 52.0 % from the full image: gap 42.0 points [35.1, 48.9] (200 samples,
    #  150 clusters), lost in full 44.7 % [37.9, 51.7]'

A gap is shown if its interval excludes zero and its test agrees; else the verdict is "no gap shown", and says so where
the two disagree. So it is if the views differ in a fault that has an alert and the bound of the gap includes zero
(`gapbench.analysis.faults`). The faults that differ most are named beside the gap. The bound is given beside them, and
wherever it goes beyond the interval. Gaps over annotated evidence and gaps over regions that a model made get a clause
each and are never averaged. Benchmarks and samples without a gap are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gapbench.analysis.aggregate import PAIR, Json, by_evidence
from gapbench.analysis.faults import alerted, wide_bound
from gapbench.analysis.scorings import dependence
from gapbench.analysis.statistics import FEW_CLUSTERS, LEVEL
from gapbench.util.text import p_value, percent_in_words, points_in_words

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
        with_gap = {name: entry for name, entry in entries.items() if entry["gap"]}
        if mean["gap"]:
            clause = _family(model_name, with_gap, mean, regions, alone=len(benchmarks) == 1)
            clauses.append(_qualified(clause, mean["gap"], [*with_gap.values()]))
    if not clauses:
        return _without_gap(model_name, benchmarks)
    left_out = [entry for entry in benchmarks.values() if not entry["gap"]]
    reasons = _failures(left_out)[1]
    why = f": {reasons}" if reasons else ""
    note = f" ({len(left_out)} benchmark{'s' * (len(left_out) > 1)} without a gap left out{why})" if left_out else ""
    return "; ".join(clauses) + note + dependence(benchmarks)


def _family(
    model: str, entries: Mapping[str, Mapping[str, Any]], mean: Json, regions: str, alone: bool
) -> tuple[str, str]:
    """The answers and the gap over one kind of evidence, as two texts. `alone`: the run has a single benchmark."""
    gap, lost = mean["gap"], mean["lost_in_full"]
    crop, full = (float(np.mean([entry["gap"][side] for entry in entries.values()])) for side in ("crop", "full"))
    over = f"over {len(entries)} benchmarks " if len(entries) > 1 else "" if alone else f"on {next(iter(entries))} "
    answers = f"{regions}{over}{model} answers {percent_in_words(crop)} from the crop and {percent_in_words(full)} "
    points = f"gap {points_in_words(gap['estimate'])} points"
    if gap["ci"] is None:
        return f"{answers}from the full image", f"{points}, without an interval as all samples are one cluster"
    way = ", in favour of the full image" if gap["ci"][1] < 0 else ""
    text = f"{points} {_ends(gap)}{way} ({_basis(gap, entries)})"
    if lost and lost["ci"]:
        text += f", lost in full {percent_in_words(lost['estimate'])} {_ends(lost)}"
    return f"{answers}from the full image", text


def _ends(estimate: Mapping[str, Any]) -> str:
    return f"[{', '.join(points_in_words(end) for end in estimate['ci'])}]"


def _basis(mean: Json, entries: Mapping[str, Mapping[str, Any]]) -> str:
    """What a gap rests on: samples, clusters, what was left out, and a warning where the clusters are few."""
    gaps = [entry["gap"] for entry in entries.values()]
    left_out = sum(gap["dropped"] + gap["unpaired"] for gap in gaps)
    parts = [f"{mean['n']:,} samples", f"{mean['clusters']:,} clusters"]
    parts += [f"{left_out:,} samples without both answers left out"] if left_out else []
    fewest = min(gap["effective"] for gap in gaps)
    if fewest < FEW_CLUSTERS:
        on_one = " on one benchmark" if len(gaps) > 1 else ""
        parts.append(f"worth only {fewest:.1f} equal clusters{on_one}, so the interval is rough")
    return ", ".join(parts)


def _qualified(clause: tuple[str, str], mean: Json, entries: Sequence[Mapping[str, Any]]) -> str:
    """The clause about a gap, with the faults that have an alert and the bound: all that forbids to take it plainly."""
    differences: Counter[str] = Counter()
    for entry in entries:
        differences.update({kind: abs(fault["difference"]) for kind, fault in alerted(entry).items()})
    kinds, bound = [kind for kind, _ in differences.most_common()], mean["bound"]
    excluded, dissent = excludes_zero(mean["ci"], mean["p_value"])
    shown = (excluded or mean["ci"] is None) and not (kinds and bound[0] <= 1e-9 and bound[1] >= -1e-9)
    text = ": ".join(clause) if shown else f"no gap shown: {', '.join(clause)}{dissent}"
    if not kinds and not wide_bound(mean):
        return text
    named = faults_in_words(entries, kinds or _commonest(entries))
    return f"{text}{', but' if kinds else ';'} {named}; {bound_in_words(bound)}"


def excludes_zero(ci: Sequence[float] | None, p: float | None) -> tuple[bool, str]:
    """Whether interval and p-value both say that an effect is not zero, and a clause if only one of them does."""
    by_interval = ci is not None and not ci[0] <= 0 <= ci[1]
    by_test = p is None or p <= 1 - LEVEL
    test = f"p = {p_value(p)}".replace("= <", "<")
    if by_interval and not by_test:
        return False, f"; the interval excludes zero, but {test}"
    if by_test and p is not None and ci is not None and not by_interval:
        return False, f"; {test}, but the interval includes zero"
    return by_interval and by_test, ""


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
