"""Intervals and tests for paired, clustered scores: the only place where gapbench computes uncertainty.

    from gapbench.analysis.statistics import paired_gap
    paired_gap(full=[0, 1, 0, 0], crop=[1, 1, 1, 0], clusters=["a", "a", "b", "c"])

Samples about one image, or declared to belong together, are not independent. The sampling unit is therefore the
cluster, not the sample, everywhere (Miller 2024, "Adding Error Bars to Evals", arXiv:2411.00640). One method serves all
numbers, so that the intervals of one row agree with each other:

`cluster-t`   Student t with a bias-reduced cluster-robust standard error and the degrees of freedom that the sizes of
              the clusters leave. Two pseudo-clusters at the ends of the range keep the interval honest where hardly a
              sample departs from the others (`mean_interval`).
`macro-t`     joins such estimates into a mean over benchmarks, or over the categories of one benchmark.
`fieller`     the ratio of two means; `ratio-t`: a ratio of sums, and the change of one.

Limits: `tests/analysis/test_statistics_simulations.py` measures coverage. Below `FEW_CLUSTERS` effective clusters it
holds where clusters are about equal; where a few large ones hold most samples and all departures go one way, it can
fall to 85 %. No interval covers the variance between training seeds or between prompts. Undefined quantities are None,
never NaN.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import accumulate
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, stats

from gapbench.errors import SettingError

Floats: TypeAlias = NDArray[np.float64]
Bounds: TypeAlias = tuple[float, float]
K = TypeVar("K", bound=Hashable)

LEVEL = 0.95
"""Confidence level of every interval."""

FEW_CLUSTERS = 20
"""Effective number of clusters below which an interval is only a rough guide."""

FEW = 5
"""Number of departing clusters up to which no two-sided sign-flip test can reach 5 % (2 / 2**5 = 0.0625)."""

CLOSED_FROM = 3.0
"""Standard errors that a gap before must have for the share of it that was closed to be stated."""

POWER = 0.8
"""The power to which the minimum detectable effect refers."""


@dataclass(frozen=True)
class Estimate:
    """A mean or a gap with its uncertainty.

    `ci` is the two-sided interval, clipped to the possible range; `se` the standard error; `mde` the minimum detectable
    effect. All three are on the scale of `estimate` (fractions, not points). `n` counts values, `clusters` independent
    units. `effective` is Kish's number of clusters: of equal ones, so many would be as good. `df` are the degrees of
    freedom. `ci`, `se` and `df` are None for a single cluster; without any value `estimate` is None too.
    """

    estimate: float | None
    ci: tuple[float, float] | None
    p_value: float | None
    mde: float | None
    n: int
    clusters: int
    se: float | None
    method: str
    effective: float | None = None
    df: float | None = None

    def json(self, *keys: str) -> dict[str, Any]:
        """A JSON-ready dictionary of the fields `keys`, by default of all; the interval is a list."""
        fields = asdict(self) | {"ci": None if self.ci is None else [float(bound) for bound in self.ci]}
        return {key: fields[key] for key in keys or fields}


@dataclass(frozen=True)
class _Spread:
    """What a mean's uncertainty is made of.

    `centre` is the mean with the pseudo-clusters, `residuals` (shape (C,)) are the clusters' weighted residuals from
    it, each over the total weight and the root of one minus its leverage. `shrinkage` is the share of the weight that
    the pseudo-clusters do not have. `units` is the effective number of independent values, `square` the mean square of
    the values about the middle of their range.
    """

    centre: float
    se: float
    df: float
    effective: float
    units: float
    square: float
    residuals: Floats
    shrinkage: float


def mean_interval(
    values: ArrayLike, clusters: ArrayLike, *, weights: ArrayLike | None = None, bounds: Bounds = (0.0, 1.0)
) -> Estimate:
    """The mean of `values` (shape (n,), within `bounds`) and its interval; `clusters` holds n keys.

    With `weights` (shape (n,), above zero) the mean is sum(weights * values) / sum(weights), so any ratio of two sums
    can be written as such a mean. The weights may depend on the answers.

    Standard error: that of Liang and Zeger 1986, each cluster's residual divided by the root of one minus its share of
    the weight (the bias-reduced CR2 of Bell and McCaffrey 2002, for a mean). With one value per cluster and without
    pseudo-clusters it is the textbook s / sqrt(n). Degrees of freedom: (sum of v)**2 / (sum of v**2) - 1 by
    Satterthwaite 1946, where v is the variance of a cluster's sum for the correlation within clusters that the
    standard error implies; C - 1 for clusters of one size.

    Pseudo-clusters: for a share, two at either end of the range (Agresti and Coull 1998); for a difference, one at
    -1 and one at 1 (Bonett and Price 2012). Each weighs as much as one effectively independent value, and half of that
    where departures balance out. As long as departing samples have not shown that the rest of their cluster stays, that
    value is a whole cluster. Without departures the interval is thus about as wide as Clopper and Pearson's.

    The interval lies about the mean with the pseudo-clusters, so it is not `estimate` plus or minus a multiple of `se`.
    The order of the rows changes at most its last bits. Raises SettingError for unequal lengths, values that are not
    numbers, and values outside `bounds`.
    """
    return _mean(values, clusters, bounds, weights)[0]


def _mean(
    values: ArrayLike, clusters: ArrayLike, bounds: Bounds, weights: ArrayLike | None = None
) -> tuple[Estimate, _Spread | None]:
    """The estimate of `mean_interval`, and what its uncertainty is made of; None for fewer than two clusters."""
    x, sums, sizes = _cluster_sums(values, clusters, bounds, weights)
    n, count = len(x), len(sizes)
    if count == 0:
        return Estimate(None, None, None, None, 0, 0, None, "empty"), None
    mean = float(np.clip(sums.sum() / sizes.sum(), *bounds))
    if count == 1:
        return Estimate(mean, None, None, None, n, 1, None, "single-cluster", 1.0), None
    w = np.ones(n) if weights is None else np.asarray(weights, float)
    single = np.bincount(np.unique(np.asarray(clusters), return_inverse=True)[1], weights=w * w).astype(float)
    spread = _spread(mean, float(w @ np.square(x - mean)) / float(w.sum()), sums, sizes, single, bounds, n)
    margin = _quantile(spread.df) * spread.se
    low, high = min(spread.centre - margin, mean), max(spread.centre + margin, mean)
    ci = _within(bounds, low, high)
    return Estimate(
        mean, ci, None, None, n, count, spread.se / spread.shrinkage, "cluster-t", spread.effective, spread.df
    ), spread


def _spread(
    mean: float, variance: float, sums: Floats, sizes: Floats, single: Floats, bounds: Bounds, n: int
) -> _Spread:
    """See `mean_interval`. `single` holds the sum of squared weights of each cluster."""
    total, squares, singles = float(sizes.sum()), np.square(sizes), float(single.sum())
    middle, reach = (bounds[0] + bounds[1]) / 2, min((bounds[1] - bounds[0]) / 2, 1.0)
    kish = total**2 / float(squares.sum())
    robust = float((np.square(sums - mean * sizes) / (1 - sizes / total)).sum()) / total**2
    # Until the data show otherwise, a departing cluster departs whole: two such samples are added to what was seen.
    unseen = 2 / n
    units = min((variance + unseen) / (robust + unseen / kish), total**2 / singles)
    room = float(squares.sum()) - singles
    correlation = float(np.clip((total**2 / units - singles) / room, 0, 1)) if room > 1e-9 * singles else 0.0
    v = single + correlation * (squares - single)
    df = max(float(v.sum()) ** 2 / float(np.square(v).sum()) - 1, 1.0)
    square = variance + (mean - middle) ** 2
    one_way = min(abs(mean - middle) * reach / square, 1.0) if square > 1e-12 else 1.0
    ends = np.tile([-1.0, 1.0], 1 if reach == 1 else 2)
    pseudo = np.full(len(ends), (1 + one_way**2) / 2 * float(v.sum()) / total)
    all_sizes = np.concatenate([sizes, pseudo])
    all_sums = np.concatenate([sums - middle * sizes, reach * ends * pseudo])
    whole = float(all_sizes.sum())
    centre = float(all_sums.sum()) / whole
    residuals = (all_sums - centre * all_sizes) / np.sqrt(1 - all_sizes / whole) / whole
    se = float(np.sqrt(np.square(residuals).sum()))
    return _Spread(middle + centre, se, df, kish, units, square, residuals[: len(sizes)], total / whole)


def paired_gap(full: ArrayLike, crop: ArrayLike, clusters: ArrayLike, **effort: int) -> Estimate:
    """The gap: mean of `crop - full` over n pairs of scores in 0..1, with interval, p-value and MDE.

    `effort` is the `seed` and `flips` of `mean_difference`. Row i of both must be the same sample. Pairing removes the
    variance that both views share. The gap is therefore computed from differences, never from two separate accuracies
    (Miller 2024).
    """
    full_scores, crop_scores = np.asarray(full, float), np.asarray(crop, float)
    if full_scores.shape != crop_scores.shape:
        raise SettingError(
            f"a gap needs pairs: found {full_scores.size} full scores and {crop_scores.size} crop scores, "
            "expected equal numbers; drop samples that lack one of the two"
        )
    return mean_difference(crop_scores - full_scores, clusters, bounds=(-1.0, 1.0), **effort)


def mean_difference(
    differences: ArrayLike, clusters: ArrayLike, *, bounds: Bounds = (-1.0, 1.0), seed: int = 0, flips: int = 100_000
) -> Estimate:
    """`mean_interval` of paired differences (shape (n,)), with the sign-flip p-value and the MDE.

    For differences of differences (gap after a training minus gap before) pass `bounds=(-2, 2)`. MDE: see
    `detectable_effect`, here with the observed mean square as background and as many units as the clusters are worth.
    It describes a repetition of this run; it is not evidence about the observed difference. It is None below six
    clusters, which no sign-flip test can find.
    """
    mean, spread = _mean(differences, clusters, bounds)
    if mean.n == 0:
        return mean
    p_value = sign_flip_test(differences, clusters, seed=seed, flips=flips)
    mde = None
    if spread is not None and mean.clusters > FEW:
        many_sums = mean.clusters >= FEW_CLUSTERS and spread.units > 1.05 * mean.clusters
        mde = detectable_effect(spread.square, spread.units, smooth=many_sums)
    return replace(mean, p_value=p_value, mde=mde)


def detectable_effect(background: float, units: float, smooth: bool = False) -> float:
    """The true mean difference that the sign-flip test finds in 80 % of runs at 5 %: the MDE, 0..1.

    `units` pairs of right or wrong answers are independent. A share of them, the larger of `background` and the effect,
    is discordant: an effect needs at least as many discordant pairs, however few were seen. The test is exact McNemar's
    (Bloom 1995, "Minimum detectable effects", for the idea; the power is summed over the number of discordant pairs).
    The normal approximation takes its place beyond 200 discordant pairs, and if the test is `smooth`: many clusters
    whose samples depart one by one have sums of many values, so it loses little by being discrete. `units` below six
    count as six.
    """
    count = max(round(units), FEW + 1)

    def power(effect: float) -> float:
        discordant = float(np.clip(max(background, effect), 1e-12, 1.0))
        if smooth or count * discordant > 200:
            shift = effect * np.sqrt(count / max(discordant - effect**2, 1e-12))
            return float(stats.norm.cdf(shift - stats.norm.ppf((1 + LEVEL) / 2)))
        spread = 6 * np.sqrt(count * discordant) + 6
        pairs = np.arange(max(0, int(count * discordant - spread)), min(count, int(count * discordant + spread)) + 1)
        needed = _mcnemar_limits()[pairs]
        share = min((discordant + effect) / 2 / discordant, 1.0)
        found = stats.binom.sf(needed - 1, pairs, share) + stats.binom.cdf(pairs - needed, pairs, share)
        return float(stats.binom.pmf(pairs, count, discordant) @ found)

    low, high = 0.0, 1.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle) < POWER else (low, middle)
    return high


@cache
def _mcnemar_limits() -> Floats:
    """For 0 to 400 discordant pairs, the smallest number on one side for which McNemar's exact test reaches 5 %."""
    return np.asarray(stats.binom.isf((1 - LEVEL) / 2, np.arange(401), 0.5) + 1, float)


def sign_flip_test(differences: ArrayLike, clusters: ArrayLike, *, seed: int = 0, flips: int = 100_000) -> float:
    """Two-sided p-value of "the n paired `differences` are symmetric about zero", flipping whole clusters.

    Randomisation test of Fisher 1935 on cluster sums: without a gap, each cluster's sum is as likely negative as
    positive. For k <= 20 non-zero clusters the test is exact over all 2**k flips; with one 0/1 pair per cluster it is
    the exact McNemar test. For more clusters it makes `flips` seeded draws, and p = (b + 1) / (m + 1) never understates
    (Phipson and Smyth 2010). Tests over samples are wrong here: with four samples per image McNemar rejects a true null
    far too often.
    """
    _, sums, _ = _cluster_sums(differences, clusters, None)
    size = np.abs(sums)
    # The order of addition changes the last bits of sums of fractions such as 1/3; equal sums must compare as equal.
    tolerance = 1e-9 * max(1.0, float(size.sum()))
    size = np.sort(size[size > tolerance])
    threshold = abs(float(sums.sum())) - tolerance
    if len(size) == 0:
        return 1.0
    if len(size) <= 20:
        totals = size[:1]  # the first sign stays fixed: flipping all signs leaves |total| as it is
        for s in size[1:]:
            totals = np.concatenate([totals + s, totals - s])
        return float((np.abs(totals) >= threshold).mean())
    rng = np.random.default_rng(seed)
    drawn = np.zeros(flips)
    # Clusters of one size are exchangeable, so the number of positive ones is drawn instead of each sign.
    for s, k in zip(*np.unique(np.round(size, 12), return_counts=True), strict=True):
        positive = rng.integers(0, 2, flips, dtype=np.int8) if k == 1 else rng.binomial(k, 0.5, flips)
        drawn += s * (2.0 * positive - k)
    return float((np.count_nonzero(np.abs(drawn) >= threshold) + 1) / (flips + 1))


def is_shown(ci: Sequence[float] | None, p_value: float | None) -> bool:
    """Whether interval and test both say that an effect is not zero. None for `p_value`: there is no test."""
    return ci is not None and not ci[0] <= 0 <= ci[1] and (p_value is None or p_value <= 1 - LEVEL)


def holm(p_values: Mapping[K, float]) -> dict[K, float]:
    """Adjusted p-values (Holm 1979), which keep the chance of any false finding over all keys at its nominal level.

    Holm is never less powerful than Bonferroni and is valid under any dependence between the benchmarks.
    """
    ranked = sorted(p_values, key=lambda key: (p_values[key], str(key)))
    raised = (min(1.0, (len(ranked) - rank) * p_values[name]) for rank, name in enumerate(ranked))
    adjusted = dict(zip(ranked, accumulate(raised, max), strict=True))
    return {name: adjusted[name] for name in p_values}


def macro_mean(estimates: Sequence[Estimate], *, bounds: Bounds = (-1.0, 1.0)) -> Estimate:
    """Unweighted mean over benchmarks: a small benchmark counts as much as a large one.

    SE = sqrt(sum of SE**2) / B, for independent benchmarks treated as fixed: the interval is about these benchmarks,
    not about others. The t interval and the p-value use Welch-Satterthwaite degrees of freedom (Satterthwaite 1946)
    from those of each benchmark. Estimates that are None are left out. Of one estimate it is that one.
    """
    parts = [e for e in estimates if e.estimate is not None]
    if len(parts) == 1:
        return parts[0]
    return _joined(parts, np.full(len(parts), 1 / max(len(parts), 1)), 0.0, bounds)


def mean_of_means(
    values: ArrayLike, clusters: ArrayLike, groups: ArrayLike, shares: Mapping[Any, float], bounds: Bounds = (0.0, 1.0)
) -> Estimate:
    """Sum over groups (categories) of share times the mean of the group's values; the shares sum to 1.

    `values`, `clusters` and `groups` have shape (n,). Groups are fixed, as benchmarks are in `macro_mean`. Here a
    cluster may have rows in several groups: the covariance of the groups' means, from the products of the clusters'
    residuals, is added to the variance if positive, but never subtracted. `ci` is None if a group has a single cluster.
    The estimate is None if a group of `shares` has no value.
    Coverage: `tests/analysis/test_statistics_simulations.py`.
    """
    x, keys, labels = np.asarray(values, float), np.asarray(clusters), np.asarray(groups)
    names, number = np.unique(labels, return_inverse=True)
    empty = Estimate(None, None, None, None, len(x), len(np.unique(keys)), None, "empty")
    if not shares or set(names) != set(shares):
        return empty
    parts, residuals, variance_within = [], np.zeros(len(x)), 0.0
    for place, name in enumerate(names):
        inside = number == place
        part = mean_interval(x[inside], keys[inside], bounds=bounds)
        residuals[inside] = shares[name] * (x[inside] - x[inside].mean()) / part.n
        variance_within += float(np.square(_cluster_sums(residuals[inside], keys[inside], None)[1]).sum())
        parts.append(part)
    covariance = float(np.square(_cluster_sums(residuals, keys, None)[1]).sum()) - variance_within
    joined = _joined(parts, np.array([shares[name] for name in names]), max(covariance, 0.0), bounds)
    return replace(joined, clusters=empty.clusters)


def _joined(parts: Sequence[Estimate], shares: Floats, covariance: float, bounds: Bounds) -> Estimate:
    """The mean of estimates weighted by `shares`. `covariance` is added to its variance; 0 if they are independent."""
    n, clusters = sum(e.n for e in parts), sum(e.clusters for e in parts)
    if not parts:
        return Estimate(None, None, None, None, 0, 0, None, "empty")
    mean = float(shares @ [e.estimate for e in parts])
    defined = np.array([e.se for e in parts if e.se is not None])
    if len(defined) < len(parts) or not defined.any():
        return Estimate(mean, None, None, None, n, clusters, None, "macro-t")
    variance = np.square(shares * defined)
    df = float(variance.sum() ** 2 / (variance**2 / [e.df for e in parts]).sum())
    se = float(np.sqrt(variance.sum() + covariance))
    p_value = float(2 * stats.t.sf(abs(mean) / se, df))
    ci, mde = _within(bounds, *_student(mean, se, df)), float((_quantile(df) + stats.t.ppf(POWER, df)) * se)
    possible = mde if mde <= bounds[1] else None
    return Estimate(mean, ci, p_value, possible, n, clusters, se, "macro-t", df=df)


def share_closed(before: ArrayLike, after: ArrayLike, clusters: ArrayLike) -> Estimate:
    """The mean of `before - after` over the mean of `before` (both shape (n,), paired, within -1..1): the gap closed.

    Fieller's interval (Fieller 1954), from the same two standard errors and the same t as the intervals of the change
    and of the gap before, with their cluster-robust covariance. So it excludes 0 exactly if the interval of the change
    does. The estimate and `ci` are None unless the gap before is at least `CLOSED_FROM` standard errors.

    Coverage and bias: `tests/analysis/test_statistics_simulations.py`.
    """
    first, last = np.asarray(before, float), np.asarray(after, float)
    below, of_gap = _mean(first, clusters, (-1.0, 1.0))
    above, of_change = _mean(first - last, clusters, (-2.0, 2.0))
    empty = Estimate(None, None, None, None, below.n, below.clusters, None, "undefined", below.effective)
    if of_gap is None or of_change is None or not below.estimate or of_gap.centre < CLOSED_FROM * of_gap.se:
        return empty
    assert above.estimate is not None
    t, x, y = _quantile(of_change.df), of_change.centre, of_gap.centre
    covariance = float(of_change.residuals @ of_gap.residuals)
    a, b, c = y**2 - (t * of_gap.se) ** 2, x * y - t**2 * covariance, x**2 - (t * of_change.se) ** 2
    if a <= 0:
        return empty
    root = float(np.sqrt(max(b * b - a * c, 0.0)))
    estimate = above.estimate / below.estimate
    low, high = min((b - root) / a, estimate), max((b + root) / a, estimate)
    return replace(empty, estimate=estimate, ci=(low, high), method="fieller", df=of_change.df)


def change_of_ratio(
    before: tuple[ArrayLike, ArrayLike], after: tuple[ArrayLike, ArrayLike], clusters: ArrayLike
) -> Estimate:
    """Change of a ratio of sums, such as an F1 score: the ratio after minus the ratio before.

    Each side is (numerators, denominators), both of shape (n,); row i of both sides is the same sample. The ratio is
    linearised per cluster and paired (the delta method); the standard error, the pseudo-clusters and the degrees of
    freedom are those of a mean (`mean_interval`). `ci` is None for a single cluster. The estimate is None where a
    denominator sums to zero.
    """
    keys = np.asarray(clusters)
    n, count, moved, ratios = len(keys), len(np.unique(keys)), np.zeros(len(keys)), []
    for sign, (above, below) in ((-1.0, before), (1.0, after)):
        top, bottom = np.asarray(above, float), np.asarray(below, float)
        if bottom.sum() <= 0:
            return Estimate(None, None, None, None, n, count, None, "undefined")
        ratios.append(float(top.sum() / bottom.sum()))
        moved += sign * n * (top - ratios[-1] * bottom) / bottom.sum()
    change = ratios[1] - ratios[0]
    estimate = Estimate(change, None, None, None, n, count, None, "ratio-t")
    if count == 1:
        return estimate
    # One sample can move a ratio by one part of its denominator, which is more than one part of n.
    reach = n / min(float(np.asarray(below, float).sum()) for _, below in (before, after))
    _, sums, sizes = _cluster_sums(moved / reach, keys, None)
    spread = _spread(0.0, float(np.square(moved / reach).mean()), sums, sizes, sizes, (-1.0, 1.0), n)
    se = reach * spread.se / spread.shrinkage
    ci = _within((-1.0, 1.0), *_student(change, se, spread.df))
    return replace(estimate, ci=ci, se=se, effective=spread.effective, df=spread.df)


def ratio_of_sums(above: ArrayLike, below: ArrayLike, clusters: ArrayLike) -> Estimate:
    """sum(above) / sum(below) of paired amounts without a range, such as tokens: how many times as much (both shape
    (n,)).

    Linearised per cluster (the delta method), with the factor C / (C - 1) and Student's t with C - 1 degrees of
    freedom. The estimate is None if `below` does not sum to more than zero, `ci` for a single cluster.
    """
    top, bottom, keys = np.asarray(above, float), np.asarray(below, float), np.asarray(clusters)
    n, count, total = len(keys), len(np.unique(keys)), float(bottom.sum())
    if not total > 0:
        return Estimate(None, None, None, None, n, count, None, "undefined")
    ratio = float(top.sum()) / total
    estimate = Estimate(ratio, None, None, None, n, count, None, "ratio-t")
    if count == 1:
        return estimate
    _, sums, _ = _cluster_sums(top - ratio * bottom, keys, None)
    se = float(np.sqrt(count / (count - 1) * np.square(sums).sum())) / total
    low, high = _student(ratio, se, count - 1)
    return replace(estimate, ci=(max(low, 0.0), high), se=se, df=count - 1)


def flip_rate(right: ArrayLike, samples: ArrayLike) -> float | None:
    """How often two repeats of one sample disagree on right or wrong: the noise floor, 0..1.

    `right` (bool) and `samples` (ids) have one row per answer. If k of a sample's r answers are right, two of them
    disagree with probability 2 k (r - k) / (r (r - 1)). The result is the mean over samples with r >= 2, or None if
    there is no such sample.
    """
    hit = np.asarray(right, float)
    _, index = np.unique(np.asarray(samples), return_inverse=True)
    k, r = np.bincount(index, weights=hit), np.bincount(index).astype(float)
    k, r = k[r > 1], r[r > 1]
    return float((2 * k * (r - k) / (r * (r - 1))).mean()) if len(r) else None


def merge_clusters(*keys: Sequence[Hashable]) -> NDArray[np.int64]:
    """Cluster number per row (shape (n,)): rows that share a key, directly or through other rows, are one cluster.

    Every argument is a column of n keys, such as the declared cluster or the hash of the image. An empty key or None
    links nothing. Clusters are connected components, because an image listed under two names is still one image.
    Raises SettingError for columns of unequal length.
    """
    if len({len(column) for column in keys}) != 1:
        raise SettingError(
            f"cluster keys must have one entry per row: found columns of "
            f"{[len(k) for k in keys]}, expected one or more columns of equal length"
        )
    n = nodes = len(keys[0])
    rows, links = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for column in keys:
        numbers: dict[Hashable, int] = {}
        code = np.array([-1 if k in ("", None) else numbers.setdefault(k, len(numbers)) for k in column], np.int64)
        rows.append(np.flatnonzero(code >= 0))
        links.append(nodes + code[code >= 0])
        nodes += len(numbers)
    row, link = np.concatenate(rows), np.concatenate(links)
    graph = sparse.coo_array((np.ones(len(row), np.int8), (row, link)), shape=(nodes, nodes))
    _, labels = sparse.csgraph.connected_components(graph, directed=False)
    return np.unique(labels[:n], return_inverse=True)[1].astype(np.int64)


def _cluster_sums(
    values: ArrayLike, clusters: ArrayLike, bounds: Bounds | None, weights: ArrayLike | None = None
) -> tuple[Floats, Floats, Floats]:
    """The values, their sum per cluster, and the size per cluster; with `weights`, sums and sizes are weighted."""
    x, keys = np.asarray(values, float), np.asarray(clusters)
    if x.ndim != 1 or x.shape != keys.shape:
        raise SettingError(
            f"values and clusters must be two columns of equal length: found shapes {x.shape} "
            f"and {keys.shape}; pass one cluster key per value"
        )
    low, high = bounds or (-np.inf, np.inf)
    bad = np.flatnonzero(~np.isfinite(x) | (x < low - 1e-9) | (x > high + 1e-9))
    if len(bad):
        raise SettingError(
            f"value {x[bad[0]]} in row {bad[0]}: expected a number from {low} to {high}; drop "
            "failed records before computing statistics"
        )
    _, index = np.unique(keys, return_inverse=True)
    if weights is None:
        return x, np.bincount(index, weights=x).astype(float), np.bincount(index).astype(float)
    w = np.asarray(weights, float)
    if w.shape != x.shape or not (np.isfinite(w) & (w > 0)).all():
        raise SettingError(f"weights must be {len(x)} numbers above zero, one per value; leave out rows without weight")
    return x, np.bincount(index, weights=w * x).astype(float), np.bincount(index, weights=w).astype(float)


def _quantile(df: float) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, df))


def _student(mean: float, se: float, df: float) -> Bounds:
    margin = _quantile(df) * se
    return mean - margin, mean + margin


def _within(bounds: Bounds, low: float, high: float) -> Bounds:
    return max(low, bounds[0]), min(high, bounds[1])
