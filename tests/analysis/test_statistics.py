"""What the intervals and tests promise, against scipy, textbook formulas and hand-computed numbers."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from gapbench.analysis.statistics import (
    Estimate,
    change_of_ratio,
    flip_rate,
    holm,
    macro_mean,
    mean_difference,
    mean_interval,
    mean_of_means,
    merge_clusters,
    paired_gap,
    sign_flip_test,
)
from gapbench.errors import SettingError

Scores = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


@st.composite
def paired_scores(draw: st.DrawFn, largest: int = 60) -> Scores:
    """Full scores, crop scores and clusters; soft scores included, as `vqa` and `anls` give them."""
    n = draw(st.integers(2, largest))
    score = st.sampled_from([0.0, 1.0, 0.3, 0.6, 1 / 3])
    column = st.lists(score, min_size=n, max_size=n)
    clusters = draw(st.lists(st.integers(0, n), min_size=n, max_size=n))
    return np.array(draw(column)), np.array(draw(column)), np.array(clusters)


def estimate(value: float, se: float, clusters: int = 50, method: str = "cluster-t") -> Estimate:
    return Estimate(value, (value - 2 * se, value + 2 * se), 0.5, 3 * se, clusters, clusters, se, method)


def same(a: Estimate, b: Estimate) -> bool:
    """Equal but for the last bits of floating sums."""
    assert a.ci is not None
    assert b.ci is not None
    numbers = [(a.estimate, b.estimate), (a.se, b.se), (a.p_value, b.p_value), *zip(a.ci, b.ci, strict=True)]
    return all(x == y or x == pytest.approx(y, abs=1e-9) for x, y in numbers) and a.method == b.method


# --- the test --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("crop_only", "full_only", "p"), [(9, 2, 0.0654), (6, 0, 0.0313), (5, 0, 0.0625)])
def test_sign_flip_gives_the_published_mcnemar_values(crop_only: int, full_only: int, p: float) -> None:
    differences = [1] * crop_only + [-1] * full_only + [0] * 30
    assert sign_flip_test(differences, range(len(differences))) == pytest.approx(p, abs=6e-5)


@given(st.integers(0, 14), st.integers(0, 6), st.integers(0, 20))
@settings(deadline=None, max_examples=60)
def test_sign_flip_with_one_question_per_image_is_exact_mcnemar(plus: int, minus: int, zero: int) -> None:
    assume(plus + minus > 0)
    differences = [1.0] * plus + [-1.0] * minus + [0.0] * zero
    expected = stats.binomtest(plus, plus + minus, 0.5).pvalue
    assert sign_flip_test(differences, range(len(differences))) == pytest.approx(expected, abs=1e-12)


def test_sign_flip_beyond_twenty_clusters_agrees_with_exact_mcnemar_within_monte_carlo_error() -> None:
    differences = [1.0] * 28 + [-1.0] * 14
    exact = stats.binomtest(28, 42, 0.5).pvalue
    error = math.sqrt(exact * (1 - exact) / 100_000)
    assert sign_flip_test(differences, range(42)) == pytest.approx(exact, abs=5 * error)


def test_monte_carlo_p_value_is_never_zero() -> None:
    assert sign_flip_test(np.ones(200), range(200)) == pytest.approx(1 / 100_001)


def test_monte_carlo_agrees_with_enumeration_on_sums_that_all_differ() -> None:
    sums = np.linspace(0.2, 1.0, 20) * np.where(np.arange(20) % 3 == 0, -1, 1)
    exact = sign_flip_test(sums, range(20))
    padded = sign_flip_test([*sums, 1e-7], range(21))  # one negligible cluster more tips it into Monte Carlo
    assert padded == pytest.approx(exact, abs=0.01)


def test_sign_flip_counts_ties_of_fractional_sums() -> None:
    """0.1 + 0.2 is not 0.3 in floating point: a total that is off by a last bit must still count as equal."""
    assert sign_flip_test([0.1, 0.2, -0.3], [0, 1, 2]) == 1.0
    assert sign_flip_test([0.1, 0.2, 0.3], ["a", "a", "b"]) == 0.5


def test_whole_images_are_flipped_not_questions() -> None:
    """Twelve wins in three images are three independent wins: p = 2 / 2**3."""
    assert sign_flip_test([1] * 12, np.repeat([0, 1, 2], 4)) == 0.25


def test_no_difference_at_all_has_p_one() -> None:
    assert sign_flip_test(np.zeros(10), range(10)) == 1.0


# --- the interval ----------------------------------------------------------------------------------------------


def test_cluster_t_interval_by_hand() -> None:
    """100 images of two questions, half of them right twice: mean 0.5, se = sqrt(100/99 * 100 * 1) / 200."""
    found = mean_interval(np.repeat([0, 1] * 50, 2), np.repeat(np.arange(100), 2))
    se = math.sqrt(100 / 99 * 100) / 200
    margin = stats.t.ppf(0.975, 99) * se
    assert found.method == "cluster-t"
    assert (found.n, found.clusters) == (200, 100)
    assert (found.estimate, found.se) == (0.5, pytest.approx(se))
    assert found.ci == pytest.approx((0.5 - margin, 0.5 + margin))


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, 0.5]), min_size=100, max_size=160))
@settings(deadline=None, max_examples=50)
def test_one_question_per_image_is_the_textbook_t_interval(values: list[float]) -> None:
    found = mean_difference(values, range(len(values)), flips=100)
    assume(found.method == "cluster-t")
    mean, sem = np.mean(values), stats.sem(values)
    assert found.se == pytest.approx(sem)
    assert found.ci == pytest.approx(stats.t.interval(0.95, len(values) - 1, loc=mean, scale=sem))


def test_fewer_than_a_hundred_images_use_the_bootstrap() -> None:
    values = np.tile([0.0, 1.0, 1.0], 33)
    assert mean_interval(values, range(99)).method == "cluster-bootstrap"
    assert mean_interval([*values, 0.0], range(100)).method == "cluster-t"


def test_bootstrap_agrees_with_the_t_interval_where_both_are_good() -> None:
    values = np.tile([0.0, 1.0, 1.0], 33)
    found = mean_interval(values, range(99))
    assert found.ci == pytest.approx(stats.t.interval(0.95, 98, values.mean(), stats.sem(values)), abs=0.012)


def test_bootstrap_is_the_plain_resampling_of_rows() -> None:
    """Drawing kinds of clusters instead of clusters must not change the distribution."""
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 5, 40)
    clusters = np.repeat(np.arange(40), sizes)
    values = (rng.random(len(clusters)) < 0.4).astype(float)
    sums = np.bincount(clusters, weights=values)
    picked = rng.integers(0, 40, (20_000, 40))
    means = sums[picked].sum(1) / sizes[picked].sum(1)
    tail = stats.norm.cdf(math.sqrt(40 / 39) * stats.t.ppf(0.025, 39))
    assert mean_interval(values, clusters).ci == pytest.approx(np.quantile(means, [tail, 1 - tail]), abs=0.01)


def test_the_expanded_percentiles_are_wider_than_plain_ones() -> None:
    values = np.tile([0.0, 1.0], 6)
    low, high = mean_interval(values, range(12)).ci or (0, 0)
    plain = np.random.default_rng(0).binomial(12, 0.5, 100_000) / 12
    assert high - low > np.subtract(*np.quantile(plain, [0.975, 0.025]))


def test_the_seed_alone_decides_the_bootstrap() -> None:
    values, clusters = np.random.default_rng(1).random(50), range(50)
    first, again, other = (mean_interval(values, clusters, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.ci != other.ci


@given(paired_scores(), st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_row_order_does_not_matter(scores: Scores, shuffle: int) -> None:
    full, crop, clusters = scores
    assume(len(set(clusters)) > 1)
    order = np.random.default_rng(shuffle).permutation(len(full))
    a = paired_gap(full, crop, clusters, flips=500)
    assert same(a, paired_gap(full[order], crop[order], clusters[order], flips=500))


def test_a_gap_of_zero_has_one_interval_whatever_its_last_bits_are() -> None:
    full = np.array([0.0, 0.6, 0.6, 0.3, 0.6, 0.3, 0.6, 0.0, 0.6, 0.0, 0.3, 1.0, 0.6, 0.0])
    crop = np.array([0.6, 0.6, 1.0, 0.6, 0.3, 0.3, 0.0, 0.0, 0.6, 0.6, 0.0, 0.6, 0.3, 0.0])
    clusters = np.array([4, 4, 3, 3, 0, 0, 0, 1, 0, 0, 3, 0, 4, 2])
    gap = paired_gap(full, crop, clusters, flips=500)
    assert gap.estimate == pytest.approx(0, abs=1e-15)
    assert gap.ci is not None
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(full))
        assert same(gap, paired_gap(full[order], crop[order], clusters[order], flips=500))
    mirrored = paired_gap(crop, full, clusters, flips=500)
    assert mirrored.ci == pytest.approx((-gap.ci[1], -gap.ci[0]))


@given(paired_scores())
@settings(deadline=None, max_examples=60)
def test_names_of_clusters_do_not_matter(scores: Scores) -> None:
    full, crop, clusters = scores
    assume(len(set(clusters)) > 1)
    names = [f"image-{hash(int(c) * 7919) % 1009}-{c}" for c in clusters]
    assert same(paired_gap(full, crop, clusters, flips=500), paired_gap(full, crop, names, flips=500))


@given(paired_scores())
@settings(deadline=None, max_examples=60)
def test_asking_every_question_twice_adds_no_certainty(scores: Scores) -> None:
    full, crop, clusters = scores
    assume(len(set(clusters)) > 1)
    a = paired_gap(full, crop, clusters, flips=500)
    b = paired_gap(np.tile(full, 2), np.tile(crop, 2), np.tile(clusters, 2), flips=500)
    assert same(a, b)
    assert b.n == 2 * a.n


@given(paired_scores(largest=130))
@settings(deadline=None, max_examples=60)
def test_swapping_the_views_mirrors_the_gap(scores: Scores) -> None:
    full, crop, clusters = scores
    a = paired_gap(full, crop, clusters, flips=500)
    b = paired_gap(crop, full, clusters, flips=500)
    assert a.estimate is not None
    assert b.estimate is not None
    assert a.estimate == pytest.approx(-b.estimate, abs=1e-12)
    assert (a.p_value, a.method) == (b.p_value, b.method)
    if a.ci and b.ci and (a.method != "cluster-bootstrap" or abs(a.estimate) > 1e-9):
        assert a.ci == pytest.approx((-b.ci[1], -b.ci[0]), abs=1e-9)


@given(paired_scores())
@settings(deadline=None, max_examples=80)
def test_the_interval_holds_the_estimate_and_stays_within_what_is_possible(scores: Scores) -> None:
    full, crop, clusters = scores
    for found, lowest in ((paired_gap(full, crop, clusters, flips=50), -1), (mean_interval(crop, clusters), 0)):
        if found.ci is not None and found.estimate is not None:
            low, high = found.ci
            assert lowest <= low <= found.estimate + 1e-9
            assert found.estimate - 1e-9 <= high <= 1


# --- hardly any variance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("clusters", [2, 10, 60, 300])
def test_all_right_is_not_certainty(clusters: int) -> None:
    """The exact binomial interval: with none of C wrong, up to 1 - 0.025**(1/C) could be."""
    found = mean_interval(np.ones(clusters), range(clusters))
    expected = stats.binomtest(clusters, clusters).proportion_ci(0.95, "exact")
    assert found.method == "cluster-exact"
    assert found.se == 0
    assert found.ci == pytest.approx((expected.low, expected.high))


@given(st.integers(0, 5), st.integers(12, 200), st.booleans())
@settings(deadline=None, max_examples=60)
def test_few_departures_give_the_clopper_pearson_interval(few: int, clusters: int, right: bool) -> None:
    values = np.r_[np.ones(few), np.zeros(clusters - few)]
    found = mean_interval(1 - values if right else values, range(clusters))
    hits = clusters - few if right else few
    expected = stats.binomtest(hits, clusters).proportion_ci(0.95, "exact")
    assert found.method == "cluster-exact"
    assert found.ci == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_no_observed_difference_is_bounded_on_both_sides() -> None:
    found = paired_gap(np.ones(40), np.ones(40), range(40))
    share = 1 - 0.025 ** (1 / 40)
    assert found.ci == pytest.approx((-share, share))
    assert (found.estimate, found.p_value, found.se, found.mde) == (0, 1, 0, None)


def test_more_evidence_of_a_difference_never_lowers_the_upper_limit() -> None:
    """With plain resampling, one discordant pair would give a narrower interval than none at all."""
    uppers = []
    for crop_only in range(12):
        crop = np.r_[np.ones(crop_only), np.zeros(60 - crop_only)]
        uppers.append((paired_gap(np.zeros(60), crop, range(60)).ci or (0, 0))[1])
    # From five to six departures the method changes from exact to bootstrap; the step may not be large.
    steps = np.diff(uppers)
    assert (np.delete(steps, 5) > 0).all()
    assert steps[5] > -0.05


def test_with_five_discordant_pairs_interval_and_test_agree_that_nothing_is_shown() -> None:
    found = paired_gap(np.zeros(150), np.r_[np.ones(5), np.zeros(145)], range(150))
    assert found.ci is not None
    assert found.ci[0] < 0
    assert found.p_value == 0.0625


def test_images_that_all_score_alike_inside_have_no_certainty_either() -> None:
    """Every image has one right and one wrong answer: variance between images is zero, knowledge is not."""
    found = mean_interval(np.tile([0.0, 1.0], 30), np.repeat(np.arange(30), 2))
    share = 1 - 0.025 ** (1 / 30)
    assert found.ci == pytest.approx((0.5 - share / 2, 0.5 + share / 2))


def test_one_huge_image_counts_as_few() -> None:
    sizes = [50, *[1] * 9]
    found = mean_interval(np.ones(59), np.repeat(np.arange(10), sizes))
    effective = 59**2 / (50**2 + 9)
    assert found.ci == pytest.approx((0.025 ** (1 / effective), 1.0))


# --- undefined quantities, faulty input ------------------------------------------------------------------------


def test_nothing_measured_is_none_throughout_and_json_ready() -> None:
    found = paired_gap([], [], [])
    assert found == Estimate(None, None, None, None, 0, 0, None, "empty")
    assert json.loads(json.dumps(dataclasses.asdict(found), allow_nan=False))["ci"] is None


def test_a_single_image_has_a_mean_but_no_interval() -> None:
    found = paired_gap([0, 0, 1], [1, 1, 1], ["a", "a", "a"])
    assert found.estimate == pytest.approx(2 / 3)
    assert found.p_value == 1.0
    assert (found.ci, found.se, found.mde, found.method) == (None, None, None, "single-cluster")


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([0, math.nan], [0, 1], "value nan in row 1"),
        ([0, 1.5], [0, 1], "value 1.5 in row 1: expected a number from 0.0 to 1.0"),
        ([0, 1], [0], "equal length"),
    ],
)
def test_faulty_values_are_refused(values: list[float], clusters: list[int], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        mean_interval(values, clusters)


def test_unpaired_scores_are_refused() -> None:
    with pytest.raises(SettingError, match="2 full scores and 3 crop scores"):
        paired_gap([0, 1], [0, 1, 1], [0, 1, 2])


def test_differences_of_differences_need_their_own_bounds() -> None:
    values = np.tile([2.0, -1.0, 0.0], 40)
    found = mean_difference(values, range(120), bounds=(-2, 2), flips=100)
    assert found.estimate == pytest.approx(1 / 3)
    assert found.method == "cluster-t"
    with pytest.raises(SettingError, match=r"value 2\.0 in row 0"):
        mean_difference(values, range(120))


def test_minimum_detectable_effect_by_hand() -> None:
    values = np.tile([1.0, 0.0, 0.0, -1.0], 50)
    found = mean_difference(values, range(200), flips=100)
    assert found.se == pytest.approx(math.sqrt(0.5 * 200 / 199 / 200))
    assert found.mde == pytest.approx((stats.t.ppf(0.975, 199) + stats.t.ppf(0.8, 199)) * found.se)


# --- several benchmarks ----------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.9 times 4, 3, 2, 1; each at least the one before."""
    assert holm({"c": 0.03, "a": 0.01, "d": 0.9, "b": 0.02}) == pytest.approx(
        {"c": 0.06, "a": 0.04, "d": 0.9, "b": 0.06}
    )


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_is_monotone_and_never_below_the_raw_value(raw: dict[str, float]) -> None:
    adjusted = holm(raw)
    assert list(adjusted) == list(raw)
    assert all(raw[k] <= adjusted[k] <= min(1.0, len(raw) * raw[k]) for k in raw)
    assert all(adjusted[a] <= adjusted[b] for a in raw for b in raw if raw[a] < raw[b])


def test_macro_mean_by_hand() -> None:
    found = macro_mean([estimate(0.4, 0.03), estimate(0.2, 0.04)])
    df = (0.03**2 + 0.04**2) ** 2 / (0.03**4 / 49 + 0.04**4 / 49)
    margin = stats.t.ppf(0.975, df) * 0.025
    assert (found.estimate, found.se) == (pytest.approx(0.3), pytest.approx(0.025))
    assert found.ci == pytest.approx((0.3 - margin, 0.3 + margin))
    assert found.p_value == pytest.approx(2 * stats.t.sf(12, df))
    assert (found.n, found.clusters) == (100, 100)


def test_macro_mean_gives_every_benchmark_the_same_weight() -> None:
    small, large = estimate(0.6, 0.05, clusters=30), estimate(0.2, 0.01, clusters=3000)
    assert macro_mean([small, large]).estimate == pytest.approx(0.4)


def test_macro_mean_of_one_is_that_one() -> None:
    found = macro_mean([estimate(0.2, 0.02, clusters=150)])
    margin = stats.t.ppf(0.975, 149) * 0.02
    assert (found.estimate, found.se) == (0.2, 0.02)
    assert found.ci == pytest.approx((0.2 - margin, 0.2 + margin))


def test_a_benchmark_without_observed_variance_brings_its_interval_to_the_macro_mean() -> None:
    certain = paired_gap(np.ones(40), np.ones(40), range(40))
    found = macro_mean([certain, certain])
    share = 1 - 0.025 ** (1 / 40)
    assert found.se == pytest.approx(share / stats.norm.ppf(0.975) / math.sqrt(2))


def test_macro_mean_leaves_out_the_undefined_and_admits_an_unknown_error() -> None:
    nothing = paired_gap([], [], [])
    single = paired_gap([0.0], [1.0], ["a"])
    assert macro_mean([nothing]).estimate is None
    assert macro_mean([nothing, estimate(0.2, 0.02)]).estimate == 0.2
    found = macro_mean([single, estimate(0.2, 0.02)])
    assert found.estimate == pytest.approx(0.6)
    assert found.ci is None
    assert found.p_value is None


# --- repeats and clusters --------------------------------------------------------------------------------------


def test_flip_rate_by_hand() -> None:
    """Sample a: 1 of 2 right, its two answers differ. b: always right. c: 1 of 3, 2 of 3 pairs differ. d: once."""
    right = [True, False, True, True, True, False, False, True]
    found = flip_rate(right, ["a", "a", "b", "b", "c", "c", "c", "d"])
    assert found == pytest.approx((1 + 0 + 2 / 3) / 3)


def test_flip_rate_of_a_single_run_is_unknown() -> None:
    assert flip_rate([True, False], ["a", "b"]) is None
    assert flip_rate([], []) is None


def test_clusters_join_through_either_key() -> None:
    """p and q share an image; q and r share a declared cluster, so all three are one; s stands alone."""
    declared = ["p", "q", "q", "s"]
    hashes = ["h1", "h1", "h2", "h3"]
    assert merge_clusters(declared, hashes).tolist() == [0, 0, 0, 1]


def test_empty_keys_link_nothing() -> None:
    assert len(set(merge_clusters(["", "", ""], ["", None, "h"]).tolist())) == 3
    assert merge_clusters(["", "", "x"], ["h", "h", ""]).tolist() == [0, 0, 1]


def test_equal_keys_of_different_columns_are_different_things() -> None:
    assert len(set(merge_clusters(["a", "b"], ["b", "a"]).tolist())) == 2


def test_merging_no_rows_or_uneven_columns() -> None:
    assert merge_clusters([]).tolist() == []
    with pytest.raises(SettingError, match=r"\[2, 1\]"):
        merge_clusters(["a", "b"], ["a"])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20))
@settings(deadline=None)
def test_merged_clusters_are_the_finest_partition_that_keeps_keys_together(rows: list[tuple[int, int]]) -> None:
    """Against repeated relabelling until nothing changes."""
    labels = list(range(len(rows)))
    for _ in rows:
        for i, a in enumerate(rows):
            for j, b in enumerate(rows):
                if a[0] == b[0] or a[1] == b[1]:
                    labels[i] = labels[j] = min(labels[i], labels[j])
    found = merge_clusters([a for a, _ in rows], [b for _, b in rows])
    assert len(set(zip(labels, found.tolist(), strict=True))) == len(set(labels)) == len(set(found.tolist()))


# --- weights, means of means, ratios ---------------------------------------------------------------------------------


def test_a_weight_of_two_is_the_value_twice_in_the_same_cluster() -> None:
    values, clusters = [1.0, 0.0, 0.5, 1.0, 0.0, 1.0], [0, 1, 1, 2, 3, 4]
    weighted = mean_interval(values, clusters, weights=[2, 1, 1, 2, 1, 1])
    repeated = mean_interval([*values, 1.0, 1.0], [*clusters, 0, 2])
    assert weighted.estimate == pytest.approx(repeated.estimate)
    assert weighted.ci == pytest.approx(repeated.ci)
    assert weighted.se == pytest.approx(repeated.se)


@pytest.mark.parametrize("weights", [[1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(SettingError, match="weights must be 2 numbers above zero"):
        mean_interval([1.0, 0.0], [0, 1], weights=weights)


def test_a_mean_of_means_with_own_images_in_each_group_is_the_macro_mean_of_the_groups() -> None:
    rng = np.random.default_rng(3)
    values, groups = rng.random(90), np.repeat([0, 1, 2], [20, 30, 40])
    found = mean_of_means(values, np.arange(90) // 2, groups, dict.fromkeys(range(3), 1 / 3))
    parts = [mean_interval(values[groups == g], (np.arange(90) // 2)[groups == g]) for g in range(3)]
    expected = macro_mean(parts, bounds=(0, 1))
    assert found.estimate == pytest.approx(expected.estimate)
    assert found.ci == pytest.approx(expected.ci)
    assert (found.n, found.clusters) == (90, 45)


def test_shared_images_widen_a_mean_of_means_to_that_of_the_clusters_means() -> None:
    """Each image has one question in both groups, with the same score: two questions say as much as one."""
    score = np.repeat([1.0, 0.0], [70, 50])
    found = mean_of_means(
        np.tile(score, 2), np.tile(np.arange(120), 2), np.repeat(["a", "b"], 120), {"a": 0.5, "b": 0.5}
    )
    assert found.se == pytest.approx(mean_interval(score, range(120)).se, rel=1e-2)


def test_a_group_without_values_leaves_the_mean_of_means_undefined() -> None:
    assert mean_of_means([1.0, 0.0], [0, 1], ["a", "a"], {"a": 0.5, "b": 0.5}).estimate is None
    assert mean_of_means([], [], [], {}).estimate is None


def test_a_change_of_a_ratio_by_hand() -> None:
    """Denominators of one make it a mean: then the interval is that of paired differences."""
    rng = np.random.default_rng(4)
    before, after = (rng.random(240) < p for p in (0.5, 0.7))
    ones, clusters = np.ones(240), np.arange(240) // 2
    found = change_of_ratio((before, ones), (after, ones), clusters)
    expected = mean_difference(after * 1.0 - before, clusters, flips=99)
    assert found.estimate == pytest.approx(expected.estimate)
    assert found.ci == pytest.approx(expected.ci)
    assert change_of_ratio((before, 0 * ones), (after, ones), clusters).estimate is None
