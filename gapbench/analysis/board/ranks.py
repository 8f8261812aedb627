"""Ranks with the range that the data allow, from paired differences between all models.

    differences = pairwise(scores, clusters, bounds=(-1, 1))
    ranks([0.5, 0.6, 0.61], differences)          # [Rank(3, 3, 3), Rank(2, 1, 2), Rank(1, 1, 2)]

Two models differ if interval and test of their paired difference agree, with the p-values corrected over all pairs by
Holm's method (`gapbench.analysis.statistics`). A rank's range is then 1 plus the number of models that are better, to
the number of models minus those that are worse. All models have answered the same samples, so no difference between
benchmarks or samples enters.

Limits: the ranges hold together at 95 % for one column; nothing is corrected for the number of columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gapbench.analysis.statistics import Bounds, Estimate, holm, is_shown, macro_mean, mean_interval, sign_flip_test

Pair = tuple[int, int]
Differences = Mapping[Pair, Estimate]
"""First model minus second, for every pair of numbers of models, the smaller number first."""

TIE = 1e-12


@dataclass(frozen=True)
class Rank:
    """The place by the estimate, counted from 1, and the best and the worst place that the data allow."""

    rank: int
    best: int
    worst: int


def difference(values: NDArray[np.float64], clusters: NDArray[np.int64], bounds: Bounds, flips: int) -> Estimate:
    """The mean of paired differences with its interval and sign-flip test, without an MDE."""
    mean = mean_interval(values, clusters, bounds=bounds)
    return replace(mean, p_value=sign_flip_test(values, clusters, flips=flips) if mean.n else None)


def pairwise(
    scores: Mapping[int, NDArray[np.float64]], clusters: NDArray[np.int64], bounds: Bounds
) -> dict[Pair, Estimate]:
    """The paired difference of every two models. `scores` maps a model's number to its scores (shape (n,))."""
    pairs = [*combinations(sorted(scores), 2)]
    flips = max(19_999, 100 * len(pairs))  # so that the smallest p-value stays below 5 % when corrected over all pairs
    return {(a, b): difference(scores[a] - scores[b], clusters, bounds, flips) for a, b in pairs}


def mean_differences(columns: Sequence[Differences], bounds: Bounds) -> dict[Pair, Estimate]:
    """The mean over columns of the difference of every two models that are in all of them."""
    shared = set.intersection(*(set(column) for column in columns)) if columns else set()
    return {pair: macro_mean([column[pair] for column in columns], bounds=bounds) for pair in sorted(shared)}


def ranks(
    estimates: Mapping[int, float], differences: Differences, *, lower_is_better: bool = False
) -> dict[int, Rank]:
    """The rank of each model by its estimate, with its range."""
    sign = -1.0 if lower_is_better else 1.0
    corrected = holm({pair: found.p_value for pair, found in differences.items() if found.p_value is not None})
    better: dict[int, int] = dict.fromkeys(estimates, 0)  # how many models are shown to be better
    worse = dict(better)
    for (a, b), found in differences.items():
        if found.estimate is None or not is_shown(found.ci, corrected.get((a, b))):
            continue
        winner, loser = (a, b) if sign * found.estimate > 0 else (b, a)
        worse[winner] += 1
        better[loser] += 1
    return {
        model: Rank(
            1 + sum(sign * (other - estimate) > TIE for other in estimates.values()),
            1 + better[model],
            len(estimates) - worse[model],
        )
        for model, estimate in estimates.items()
    }
