"""Intervals and tests for paired, clustered scores: the only place where gapbench computes uncertainty.

    from gapbench.analysis.statistics import paired_gap
    paired_gap(full=[0, 1, 0, 0], crop=[1, 1, 1, 0], clusters=["a", "a", "b", "c"])

Samples about one image, or declared to belong together, are not independent. The sampling unit is therefore the
cluster, not the sample, everywhere (Miller 2024, "Adding Error Bars to Evals", arXiv:2411.00640). Three methods give
intervals:

`cluster-t`          C >= 100 clusters: cluster-robust standard error, Student t with C - 1 degrees of freedom.
`cluster-bootstrap`  fewer: resampled clusters, percentile interval expanded for small C.
`cluster-exact`      at most five clusters depart from all the others: both methods above would be far too narrow, down
                     to a width of zero. This one uses binomial limits on the share of departing clusters.

`macro-t` joins such estimates into a mean over benchmarks, or over the categories of one benchmark.

Limits: with fewer than about twenty clusters every method here is only a rough guide. No interval covers the variance
between training seeds or between prompts. Undefined quantities are None, never NaN.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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

LARGE = 100
"""Number of clusters from which the t interval is used; Bowyer et al. 2025 (arXiv:2503.01747) find it too narrow for
small sets."""

FEW = 5
"""Number of departing clusters up to which no two-sided sign-flip test can reach 5 % (2 / 2**5 = 0.0625)."""


@dataclass(frozen=True)
class Estimate:
    """A mean or a gap with its uncertainty.

    `ci` is the two-sided interval, clipped to the possible range; `se` the clustered standard error; `mde` the minimum
    detectable effect. All three are on the scale of `estimate` (fractions, not points). `n` counts values, `clusters`
    independent units. `ci` and `se` are None for a single cluster; without any value `estimate` is None too.
    """

    estimate: float | None
    ci: tuple[float, float] | None
    p_value: float | None
    mde: float | None
    n: int
    clusters: int
    se: float | None
    method: str

    def json(self, *keys: str) -> dict[str, Any]:
        """A JSON-ready dictionary of the fields `keys`, by default of all; the interval is a list."""
        fields = asdict(self) | {"ci": None if self.ci is None else [float(bound) for bound in self.ci]}
        return {key: fields[key] for key in keys or fields}


def mean_interval(
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    resamples: int = 10_000,
) -> Estimate:
    """The mean of `values` (shape (n,), within `bounds`) and its interval; `clusters` holds n keys.

    With `weights` (shape (n,), above zero) the mean is sum(weights * values) / sum(weights), so any ratio of two sums
    can be written as such a mean. The weights may depend on the answers.

    Standard error: sqrt(C / (C - 1) * sum over clusters of (sum of residuals)**2) / n, the sandwich estimate of Liang
    and Zeger 1986 with the usual finite-cluster factor. With one value per cluster it is the textbook s / sqrt(n).
    Interval: for C >= 100 clusters Student t with C - 1 degrees of freedom, as in Inspect AI; for fewer clusters
    `_bootstrap`; for hardly any variance `_exact`. The same input and `seed` give the same interval, whatever the order
    of the rows. Raises SettingError for unequal lengths, values that are not numbers, and values outside `bounds`.
    """
    x, sums, sizes = _cluster_sums(values, clusters, bounds, weights)
    n, count, total = len(x), len(sizes), float(sizes.sum())
    if count == 0:
        return Estimate(None, None, None, None, 0, 0, None, "empty")
    mean = float(np.clip(sums.sum() / total, *bounds))
    if count == 1:
        return Estimate(mean, None, None, None, n, 1, None, "single-cluster")
    residuals = sums - mean * sizes
    se = float(np.sqrt(count / (count - 1) * np.square(residuals).sum()) / total)
    if np.allclose(residuals, 0, rtol=0, atol=1e-9):
        se = 0.0
    means = sums / sizes
    typical = float(np.median(means))
    departing = int((np.abs(means - typical) > 1e-9).sum())
    if departing <= FEW and 2 * departing < count:
        low, high, method = *_exact(means, sizes, typical, bounds), "cluster-exact"
    elif count < LARGE:
        low, high, method = *_bootstrap(sums, sizes, seed, resamples), "cluster-bootstrap"
    else:
        low, high, method = *_student(mean, se, count - 1), "cluster-t"
    return Estimate(mean, _within(bounds, low, high), None, None, n, count, se, method)


def paired_gap(full: ArrayLike, crop: ArrayLike, clusters: ArrayLike, **effort: int) -> Estimate:
    """The gap: mean of `crop - full` over n pairs of scores in 0..1, with interval, p-value and MDE.

    `effort` is the `seed`, `resamples` and `flips` of `mean_difference`.
    Row i of both must be the same sample. Pairing removes the variance that both views share. The gap is therefore
    computed from differences, never from two separate accuracies (Miller 2024).
    """
    full_scores, crop_scores = np.asarray(full, float), np.asarray(crop, float)
    if full_scores.shape != crop_scores.shape:
        raise SettingError(
            f"a gap needs pairs: found {full_scores.size} full scores and {crop_scores.size} crop scores, "
            "expected equal numbers; drop samples that lack one of the two"
        )
    return mean_difference(crop_scores - full_scores, clusters, bounds=(-1.0, 1.0), **effort)


def mean_difference(
    differences: ArrayLike,
    clusters: ArrayLike,
    *,
    bounds: Bounds = (-1.0, 1.0),
    seed: int = 0,
    resamples: int = 10_000,
    flips: int = 100_000,
) -> Estimate:
    """`mean_interval` of paired differences (shape (n,)), with the sign-flip p-value and the MDE.

    For differences of differences (gap after a training minus gap before) pass `bounds=(-2, 2)`. MDE: (t_.975 + t_.8) *
    se, the true mean difference that a two-sided 5 % test finds in 80 % of runs (Bloom 1995, "Minimum detectable
    effects"). It uses the *observed* variance, so it describes a repetition of this run; it is not evidence about the
    observed difference. It is None where the observed standard error is zero or undefined.
    """
    mean = mean_interval(differences, clusters, bounds=bounds, seed=seed, resamples=resamples)
    if mean.n == 0:
        return mean
    p_value = sign_flip_test(differences, clusters, seed=seed, flips=flips)
    return replace(mean, p_value=p_value, mde=_mde(mean.se, mean.clusters - 1))


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
    from the C - 1 of each benchmark. A `cluster-exact` estimate has hardly any observed variance, so its variance is
    recovered from its interval (the MOVER principle, Zou and Donner 2008). Estimates that are None are left out.
    """
    parts = [e for e in estimates if e.estimate is not None]
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
        # One resample is enough: only fields that do not depend on resamples are used.
        part = mean_interval(x[inside], keys[inside], bounds=bounds, resamples=1)
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
    errors = [_implied_se(e) for e in parts]
    defined = np.array([error for error in errors if error is not None])
    if len(defined) < len(parts) or not defined.any():
        return Estimate(mean, None, None, None, n, clusters, None, "macro-t")
    variance = np.square(shares * defined)
    df = float(variance.sum() ** 2 / (variance**2 / [e.clusters - 1 for e in parts]).sum())
    se = float(np.sqrt(variance.sum() + covariance))
    p_value = float(2 * stats.t.sf(abs(mean) / se, df))
    return Estimate(mean, _within(bounds, *_student(mean, se, df)), p_value, _mde(se, df), n, clusters, se, "macro-t")


def ratio_of_means(
    numerators: ArrayLike, denominators: ArrayLike, clusters: ArrayLike, *, seed: int = 0, resamples: int = 10_000
) -> Estimate:
    """Mean of `numerators` over mean of `denominators` (both shape (n,), paired, within -1..1): gap after over before.

    Fieller's interval by MOVER (Fieller 1954; Donner and Zou 2012, "Closed-form confidence intervals for functions of
    the normal mean and standard deviation"): variances are recovered from the two intervals of `mean_interval` and
    joined with the cluster-robust correlation. With `cluster-t` on both sides this is Fieller's interval. The estimate
    and `ci` are None unless the denominator's interval lies above zero; if it does, `ci` is bounded.

    Coverage of nominal 95 % (`tests/commands/test_compare.py`): 94 to 96 % at 60 to 300 images and 94 to 98 % at 20.
    This also holds where the denominator is so small that only a quarter to two thirds of the runs give an interval.
    Where a training leaves hardly a sample with a gap, plain Fieller and the cluster bootstrap are far too narrow (10
    to 80 % coverage); this interval stays conservative.
    """
    above, below = (
        mean_interval(values, clusters, bounds=(-1.0, 1.0), seed=seed, resamples=resamples)
        for values in (numerators, denominators)
    )
    empty = Estimate(None, None, None, None, above.n, above.clusters, None, "undefined")
    if above.estimate is None or above.ci is None or not below.estimate or below.ci is None or below.ci[0] <= 0:
        return empty
    sums = []
    for values, mean in ((numerators, above.estimate), (denominators, below.estimate)):
        _, total, sizes = _cluster_sums(values, clusters, None)
        sums.append(total - mean * sizes)
    scale = float(np.sqrt((sums[0] @ sums[0]) * (sums[1] @ sums[1])))
    correlation = float(np.clip(sums[0] @ sums[1] / scale, -1, 1)) if scale > 1e-12 else 0.0

    def limit(x: float, y: float, side: int) -> float:
        """Root r of (x - r y)**2 = x_margin**2 + r**2 y_margin**2 - 2 r correlation x_margin y_margin on one side."""
        assert above.ci is not None
        assert below.ci is not None
        end = above.ci[side]
        if abs(end) < 1e-12:
            return 0.0
        # The sign of this limit, which is the sign of `end`, decides which margin of the denominator matters.
        y_margin = y - below.ci[0] if (end >= 0) == (side == 1) else below.ci[1] - y
        x_margin = abs(x - end)
        a, b, c = y**2 - y_margin**2, x * y - correlation * x_margin * y_margin, x**2 - x_margin**2
        root = float(np.sqrt(max(b * b - a * c, 0.0)))
        if side == 0:
            return (b - root) / a if b <= 0 else c / (b + root)
        return (b + root) / a if b >= 0 else c / (b - root)

    x, y = above.estimate, below.estimate
    method = "fieller" if {above.method, below.method} == {"cluster-t"} else "mover"
    return replace(empty, estimate=x / y, ci=(limit(x, y, 0), limit(x, y, 1)), method=method)


def change_of_ratio(
    before: tuple[ArrayLike, ArrayLike], after: tuple[ArrayLike, ArrayLike], clusters: ArrayLike
) -> Estimate:
    """Change of a ratio of sums, such as an F1 score: the ratio after minus the ratio before.

    Each side is (numerators, denominators), both of shape (n,); row i of both sides is the same sample. The ratio is
    linearised per cluster and paired: Student t with C - 1 degrees of freedom for the cluster-robust standard error
    (the delta method; Liang and Zeger 1986). `ci` is None where at most `FEW` clusters moved, since the method would be
    far too narrow. The estimate is None where a denominator sums to zero.
    """
    keys = np.asarray(clusters)
    count, moved, ratios = len(np.unique(keys)), np.zeros(len(keys)), []
    for sign, (above, below) in ((-1.0, before), (1.0, after)):
        top, bottom = np.asarray(above, float), np.asarray(below, float)
        if bottom.sum() <= 0:
            return Estimate(None, None, None, None, len(keys), count, None, "undefined")
        ratios.append(float(top.sum() / bottom.sum()))
        moved += sign * (top - ratios[-1] * bottom) / bottom.sum()
    estimate = Estimate(ratios[1] - ratios[0], None, None, None, len(keys), count, None, "ratio-t")
    differing = np.abs(np.asarray(before, float) - np.asarray(after, float)).sum(axis=0)
    if int((_cluster_sums(differing, keys, None)[1] > 1e-9).sum()) <= FEW:
        return estimate
    sums = _cluster_sums(moved, keys, None)[1]
    se = float(np.sqrt(count / (count - 1) * np.square(sums).sum()))
    return replace(estimate, ci=_within((-1.0, 1.0), *_student(ratios[1] - ratios[0], se, count - 1)), se=se)


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


def _student(mean: float, se: float, df: float) -> Bounds:
    margin = float(stats.t.ppf((1 + LEVEL) / 2, df)) * se
    return mean - margin, mean + margin


def _within(bounds: Bounds, low: float, high: float) -> Bounds:
    return max(low, bounds[0]), min(high, bounds[1])


def _bootstrap(sums: Floats, sizes: Floats, seed: int, resamples: int) -> Bounds:
    """Expanded percentile interval of the cluster bootstrap.

    Whole clusters are drawn with replacement (Davison and Hinkley 1997). Plain percentiles lack the t quantile and the
    C / (C - 1) factor, so they are too narrow for small C. The percentiles are therefore moved out to
    Phi(-sqrt(C / (C - 1)) * t_{alpha/2, C-1}) (Hesterberg 2015, "What Teachers Should Know About the Bootstrap",
    arXiv:1411.5279, "expanded percentile interval"). Coverage: `tests/analysis/test_statistics_simulations.py`.
    """
    # Clusters are drawn with a non-negative total, so that swapping the two views mirrors the interval exactly. A total
    # of zero is one up to the last bits, which depend on the order of the rows; then the clusters themselves decide.
    total, ordered = round(float(sums.sum()), 9), np.sort(np.round(sums, 10))
    sign = -1.0 if (total, *ordered) < (-total, *np.sort(-ordered)) else 1.0
    # Equal clusters are exchangeable, so drawing the number of each kind is the same bootstrap, but cheaper.
    kinds, counts = np.unique(np.round(np.column_stack([sign * sums, sizes]), 10), axis=0, return_counts=True)
    count = len(sums)
    drawn = np.random.default_rng(seed).multinomial(count, counts / count, size=resamples)
    means = sign * (drawn @ kinds[:, 0]) / (drawn @ kinds[:, 1])
    tail = float(stats.norm.cdf(np.sqrt(count / (count - 1)) * stats.t.ppf((1 - LEVEL) / 2, count - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _exact(means: Floats, sizes: Floats, typical: float, bounds: Bounds) -> Bounds:
    """Interval when nearly all clusters have the same mean, `typical`.

    Unseen departures may be as large as `bounds` allow, so the mean lies between typical - U_below * (typical - lowest)
    and typical + U_above * (highest - typical), where U is the upper limit of Clopper and Pearson 1934 on the share of
    clusters that depart to that side. If none of C clusters departs, U = 1 - (alpha / 2)**(1 / C), about 3.7 / C: the
    two-sided form of the "rule of three" (Hanley and Lippman-Hand 1983). If `typical` is an end of the range, clusters
    can depart to one side only, and the lower limit of their share is used too: with one 0/1 value per cluster this is
    the Clopper-Pearson interval. For unequal sizes C is replaced by Kish's effective number (sum of sizes)**2 /
    (sum of sizes**2), as Korn and Graubard 1998 do for clustered proportions. Conservative by construction.
    """
    weight, effective = sizes / sizes.sum(), float(sizes.sum() ** 2 / np.square(sizes).sum())
    alpha, (lowest, highest) = (1 - LEVEL) / 2, bounds

    def limit(share: float, side: float, end: float) -> float:
        a, b = share * effective, (1 - share) * effective
        a, b = (a + 1, b) if side > 0.5 else (a, b + 1)
        return float(stats.beta.ppf(side, a, b)) if a > 1e-9 and b > 1e-9 else end

    departure = means - typical
    above, below = (float(weight[side].sum()) for side in (departure > 1e-9, departure < -1e-9))
    moved = float(abs(weight @ departure)) / (highest - lowest)
    low = typical - limit(below, 1 - alpha, 1.0) * (typical - lowest)
    high = typical + limit(above, 1 - alpha, 1.0) * (highest - typical)
    if typical - lowest < 1e-9:
        low = lowest + limit(moved, alpha, 0.0) * (highest - lowest)
    if highest - typical < 1e-9:
        high = highest - limit(moved, alpha, 0.0) * (highest - lowest)
    return low, high


def _implied_se(estimate: Estimate) -> float | None:
    """The standard error; that of a `cluster-exact` estimate is recovered from its interval."""
    if estimate.method != "cluster-exact" or estimate.ci is None:
        return estimate.se
    return (estimate.ci[1] - estimate.ci[0]) / 2 / float(stats.norm.ppf((1 + LEVEL) / 2))


def _mde(se: float | None, df: float) -> float | None:
    return float((stats.t.ppf(0.975, df) + stats.t.ppf(0.8, df)) * se) if se else None
