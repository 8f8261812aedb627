"""The verdict of a run: what was measured, in one sentence that claims no more than its intervals allow.

    verdict("glance", benchmarks, macro)
    # 'glance answers 94 % from the crop and 52 % from the full image: gap 42 points [35, 49]'

If the interval includes zero, the verdict is "no gap shown". Gaps over annotated evidence and gaps over regions that a
model made get a clause each and are never averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gapbench.analysis.aggregate import PAIR, Json, by_evidence
from gapbench.analysis.statistics import Estimate
from gapbench.util.text import percent_in_words, points_in_words

MODEL_MADE = "from regions that a model made, "


def verdict(
    model: str, benchmarks: Mapping[str, Json], macro: Estimate | None, macro_model: Estimate | None = None
) -> str:
    """The verdict; without a gap it says what failed or was not measured.

    `benchmarks` are those of the summary. `macro` is the mean gap over annotated evidence, `macro_model` the mean gap
    over regions that a model made.
    """
    model_name = model or "the model"
    clauses = []
    for mean, entries, regions in zip((macro, macro_model), by_evidence(benchmarks), ("", MODEL_MADE), strict=True):
        gaps = {name: entry["gap"] for name, entry in entries.items() if entry["gap"]}
        if mean is not None and mean.estimate is not None:
            clauses.append(_family(model_name, gaps, mean, regions, alone=len(benchmarks) == 1))
    if not clauses:
        return _without_gap(model_name, benchmarks)
    left_out = sum(not entry["gap"] for entry in benchmarks.values())
    note = f" ({left_out} benchmark{'s' * (left_out > 1)} without a gap left out)" if left_out else ""
    return "; ".join(clauses) + note


def _family(model: str, gaps: Mapping[str, Json], macro: Estimate, regions: str, alone: bool) -> str:
    """The clause about the gaps over one kind of evidence. `alone`: the run has a single benchmark."""
    assert macro.estimate is not None
    crop, full = (float(np.mean([gap[side] for gap in gaps.values()])) for side in ("crop", "full"))
    over = f"over {len(gaps)} benchmarks " if len(gaps) > 1 else "" if alone else f"on {next(iter(gaps))} "
    shares = f"{percent_in_words(crop)} from the crop and {percent_in_words(full)} from the full image"
    answers = f"{regions}{over}{model} answers {shares}"
    if macro.ci is None:
        points = points_in_words(macro.estimate, 0)
        return f"{answers}: gap {points} points, without an interval as all samples are one cluster"
    (low, high), digits = macro.ci, digits_of(macro.ci)
    point, *ends = (points_in_words(value, digits) for value in (macro.estimate, low, high))
    size = f"{point} points [{', '.join(ends)}]"
    if low <= 0 <= high:
        return f"no gap shown: {answers}, gap {size}"
    return f"{answers}: gap {size}{', in favour of the full image' if high < 0 else ''}"


def _without_gap(model: str, benchmarks: Mapping[str, Json]) -> str:
    views = [(view, v) for b in benchmarks.values() for view, v in b["views"].items()]
    answered = sorted({view for view, v in views if v["n"]})
    if not views:
        return "nothing was measured: there are no records"
    if not answered:
        return f"nothing was answered: every request to {model} failed"
    missing = [view for view in PAIR if view not in answered]
    if not missing:
        return f"no gap measured: {model} answered no sample in both the full image and the crop"
    means = [
        (view, float(np.mean([v["accuracy"] for name, v in views if name == view and v["n"]]))) for view in answered
    ]
    accuracies = ", ".join(f"{percent_in_words(accuracy)} in view {view}" for view, accuracy in means)
    return f"no gap measured: {model} answers {accuracies}, but has no answers in view {' or '.join(missing)}"


def digits_of(ci: Sequence[float] | None) -> int:
    """Decimals of points in a sentence: 1 where whole points would hide the interval's width or show a limit as 0."""
    return 0 if ci is None or (all(abs(x) >= 0.01 or x == 0 for x in ci) and ci[1] - ci[0] >= 0.02) else 1
