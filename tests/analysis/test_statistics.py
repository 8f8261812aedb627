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
    share_closed,
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
    ci = (value - 2 * se, value + 2 * se)
    return Estimate(value, ci, 0.5, 3 * se, clusters, clusters, se, method, clusters, clusters - 1)


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


def test_one_question_per_image_is_the_interval_of_agresti_and_coull_but_for_t() -> None:
    """70 of 100 right: two pseudo-values at either end, each as heavy as (1 + 0.4**2) / 2 of an image."""
    found = mean_interval(np.repeat([0, 1], [30, 70]), np.arange(100))
    weight, total = 0.58, 100 + 4 * 0.58
    centre = (70 + 2 * weight) / total
    residuals = [*[-centre] * 30, *[1 - centre] * 70, *[-weight * centre] * 2, *[weight * (1 - centre)] * 2]
    sizes = np.array([1.0] * 100 + [weight] * 4)
    se = math.sqrt(sum(np.square(residuals) / (1 - sizes / total))) / total
    margin = stats.t.ppf(0.975, 99) * se
    assert (found.method, found.n, found.clusters, found.effective) == ("cluster-t", 100, 100, 100)
    assert (found.estimate, found.df) == (0.7, pytest.approx(99))
    assert found.se == pytest.approx(se * total / 100)
    assert found.ci == pytest.approx((centre - margin, centre + margin))


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, 0.5]), min_size=100, max_size=160))
@settings(deadline=None, max_examples=50)
def test_with_many_questions_of_their_own_images_it_is_the_textbook_t_interval(values: list[float]) -> None:
    """But for the pull of the pseudo-values towards the middle, which is of the order of the mean over n."""
    found = mean_difference(values, range(len(values)), flips=100)
    assume(np.var(values) > 0.2)
    mean = np.mean(values)
    textbook = stats.t.interval(0.95, len(values) - 1, loc=mean, scale=stats.sem(values))
    pull = (1 + 2 * abs(mean)) / len(values)  # 0.74 of it is the most in 1,500 random lists
    assert found.ci == pytest.approx(np.clip(textbook, -1, 1), abs=pull)


def test_the_standard_error_is_that_of_bell_and_mccaffrey_for_a_mean() -> None:
    """Three images of 1, 2 and 300 samples about a mean: the largest one's residual counts more, as it has leverage."""
    clusters = np.repeat(np.arange(40), [1, 2, 300, *[3] * 37])
    values = (np.random.default_rng(2).random(len(clusters)) < 0.5).astype(float)
    found = mean_interval(values, clusters)
    sums, sizes = np.bincount(clusters, weights=values), np.bincount(clusters)
    plain = math.sqrt(np.square(sums - values.mean() * sizes).sum()) / len(values)
    reduced = math.sqrt((np.square(sums - values.mean() * sizes) / (1 - sizes / len(values))).sum()) / len(values)
    assert reduced > 1.2 * plain
    assert found.se == pytest.approx(reduced, rel=0.06)


def test_a_few_large_images_leave_few_degrees_of_freedom() -> None:
    equal = mean_interval(np.tile([0.0, 1.0], 120), np.repeat(np.arange(24), 10))
    clusters = np.repeat(np.arange(24), [100, 90, *[2] * 20, 5, 5])
    whole = (clusters % 2).astype(float)  # all samples of an image score alike
    uneven = mean_interval(whole, clusters)
    assert (equal.effective, equal.df) == (pytest.approx(24), pytest.approx(23))
    assert uneven.effective == pytest.approx(240**2 / (100**2 + 90**2 + 20 * 4 + 50))
    assert uneven.df is not None
    assert uneven.df < 3


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
def test_asking_every_question_twice_adds_hardly_any_certainty(scores: Scores) -> None:
    full, crop, clusters = scores
    assume(len(set(clusters)) > 5)
    a = paired_gap(full, crop, clusters, flips=500)
    b = paired_gap(np.tile(full, 2), np.tile(crop, 2), np.tile(clusters, 2), flips=500)
    assert (a.p_value, 2 * a.n) == (b.p_value, b.n)
    assert a.se is not None
    assert b.se is not None
    assert 0.7 * a.se < b.se < 1.2 * a.se


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
    if a.ci and b.ci:
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


@pytest.mark.parametrize("clusters", [10, 60, 300, 2000])
def test_all_right_is_not_certainty(clusters: int) -> None:
    """With none of C wrong, Clopper and Pearson's lower limit is 0.025**(1/C); this one is at most 1.4 times as far."""
    found = mean_interval(np.ones(clusters), range(clusters))
    exact = 0.025 ** (1 / clusters)
    assert found.ci is not None
    assert found.ci[1] == 1
    assert 1 - 1.5 * (1 - exact) < found.ci[0] < exact


def test_images_that_were_all_right_count_as_images_not_as_samples() -> None:
    """None of 200 images with four questions each is wrong: as wide as for 200 questions, not as for 800."""
    shared = mean_interval(np.ones(800), np.repeat(np.arange(200), 4))
    assert shared.ci == pytest.approx(mean_interval(np.ones(200), range(200)).ci)


def test_single_departures_show_that_images_do_not_depart_whole() -> None:
    """Eight of 800 samples are wrong, each in an image of its own, or all of two images: the first says more."""
    clusters = np.repeat(np.arange(200), 4)
    apart, whole = np.ones(800), np.ones(800)
    apart[:32:4] = whole[:8] = 0
    (low, _), (lower, _) = (mean_interval(values, clusters).ci or (0, 0) for values in (apart, whole))
    assert lower < low - 0.005
    assert low == pytest.approx(mean_interval(np.r_[np.zeros(8), np.ones(792)], range(800)).ci[0], abs=0.004)  # type: ignore[index]


def test_no_observed_difference_is_bounded_on_both_sides() -> None:
    found = paired_gap(np.ones(40), np.ones(40), range(40))
    assert found.ci is not None
    assert found.ci[1] == pytest.approx(-found.ci[0])
    assert 0.05 < found.ci[1] < 1 - 0.025 ** (1 / 40)
    assert (found.estimate, found.p_value) == (0, 1)


def test_more_evidence_of_a_difference_never_lowers_the_upper_limit() -> None:
    """With plain resampling, one discordant pair would give a narrower interval than none at all."""
    uppers = []
    for crop_only in range(30):
        crop = np.r_[np.ones(crop_only), np.zeros(60 - crop_only)]
        uppers.append((paired_gap(np.zeros(60), crop, range(60)).ci or (0, 0))[1])
    assert (np.diff(uppers) > 0).all()


@pytest.mark.parametrize("pairs", [60, 150, 800])
@pytest.mark.parametrize("crop_only", range(4, 9))
def test_interval_and_test_hardly_ever_disagree_about_a_handful_of_discordant_pairs(pairs: int, crop_only: int) -> None:
    found = paired_gap(np.zeros(pairs), np.r_[np.ones(crop_only), np.zeros(pairs - crop_only)], range(pairs))
    assert found.ci is not None
    if crop_only != 5:  # the exact p of five is 0.0625
        assert (found.ci[0] > 0) == ((found.p_value or 1) < 0.05) == (crop_only > 5)


def test_images_that_all_score_alike_inside_have_no_certainty_either() -> None:
    """Every image has one right and one wrong answer: variance between images is zero, knowledge is not."""
    found = mean_interval(np.tile([0.0, 1.0], 30), np.repeat(np.arange(30), 2))
    assert found.ci is not None
    assert found.ci[0] < 0.49
    assert found.ci[1] > 0.51


def test_one_huge_image_counts_as_few() -> None:
    sizes = [50, *[1] * 9]
    found = mean_interval(np.ones(59), np.repeat(np.arange(10), sizes))
    assert found.effective == pytest.approx(59**2 / (50**2 + 9))
    assert found.ci is not None
    assert found.ci[0] < 0.05


# --- one row's intervals agree with each other -----------------------------------------------------------------


@given(st.lists(st.sampled_from([(0, 0), (0, 1), (1, 0), (1, 1), (1, 1), (1, 1)]), min_size=30, max_size=120))
@settings(deadline=None, max_examples=100)
def test_the_interval_of_the_gap_lies_within_what_full_and_crop_allow(pairs: list[tuple[int, int]]) -> None:
    """The standard error of a difference is at most the sum of both; a few points are left for the pseudo-clusters."""
    full, crop = np.array(pairs, float).T
    clusters = range(len(pairs))
    a, b, gap = mean_interval(full, clusters), mean_interval(crop, clusters), paired_gap(full, crop, clusters, flips=9)
    assert a.ci
    assert b.ci
    assert gap.ci
    assert gap.ci[1] <= b.ci[1] - a.ci[0] + 0.03
    assert gap.ci[0] >= b.ci[0] - a.ci[1] - 0.03


def test_the_widths_of_full_and_crop_do_not_contradict_each_other_near_the_ceiling() -> None:
    """Seen in a report: crop 95.0 % [57.7, 99.9] beside full 55.0 % [47.1, 64.3], from 20 images of 10 questions."""
    clusters = np.repeat(np.arange(20), 10)
    crop = np.ones(200)
    crop[:10] = 0  # one image is wrong throughout
    low, high = mean_interval(crop, clusters).ci or (0, 0)
    assert high - low < 0.35
    assert low > 0.7


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_share_closed_excludes_zero_exactly_if_the_change_of_the_gap_does(data: st.DataObject) -> None:
    clusters = data.draw(st.integers(10, 130))
    score = st.sampled_from([-1.0, 0.0, 0.0, 0.5, 1.0, 1.0])
    before = np.array(data.draw(st.lists(score, min_size=clusters, max_size=clusters)))
    after = np.where(np.array(data.draw(st.lists(st.booleans(), min_size=clusters, max_size=clusters))), before, 0.0)
    found, change = (
        share_closed(before, after, range(clusters)),
        mean_interval(before - after, range(clusters), bounds=(-2, 2)),
    )
    if found.ci is None or change.ci is None:
        return
    assert found.estimate == pytest.approx((before - after).mean() / before.mean())
    assert found.ci[0] - 1e-9 <= found.estimate <= found.ci[1] + 1e-9
    assert (found.ci[0] > 1e-9) == (change.ci[0] > 1e-9)
    assert (found.ci[1] < -1e-9) == (change.ci[1] < -1e-9)


def test_no_change_at_all_is_no_sharp_zero_percent_closed() -> None:
    """Seen in a report: gap change 0.0 [-33, +33] beside "0 % [-1, 1] closed"; both say the same now."""
    gap = np.r_[np.ones(40), np.zeros(60)]
    closed, change = share_closed(gap, gap, range(100)), mean_interval(np.zeros(100), range(100), bounds=(-2, 2))
    assert change.ci == pytest.approx((-0.0277, 0.0277), abs=1e-3)
    assert closed.ci == pytest.approx((-0.0277 / 0.4, 0.0277 / 0.4), rel=0.1)


def test_the_share_closed_is_stated_only_for_a_gap_of_three_standard_errors() -> None:
    small, large = np.r_[np.ones(12), -np.ones(4), np.zeros(84)], np.r_[np.ones(18), -np.ones(2), np.zeros(80)]
    assert share_closed(small, np.zeros(100), range(100)).ci is None
    assert share_closed(large, np.zeros(100), range(100)).ci is not None


# --- the minimum detectable effect -----------------------------------------------------------------------------


def test_an_effect_needs_its_own_discordant_pairs() -> None:
    """Of 81 pairs one is discordant. Six one-sided pairs reach 5 %; P(Binomial(81, g) >= 6) = 0.8 at g = 0.096."""
    crop = np.r_[1.0, np.zeros(80)]
    found = paired_gap(np.zeros(81), crop, range(81))
    assert found.mde == pytest.approx(0.0959, abs=0.002)
    assert stats.binom.sf(5, 81, found.mde) == pytest.approx(0.8, abs=0.02)


def test_with_much_background_the_mde_is_the_textbook_one() -> None:
    values = np.tile([1.0, 0.0, 0.0, -1.0], 500)
    found = mean_difference(values, range(2000), flips=100)
    textbook = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * math.sqrt(0.5 / 2000)
    assert found.mde == pytest.approx(textbook, rel=0.02)


def test_repeating_every_row_does_not_lower_the_mde() -> None:
    """Clusters whose samples depart together have the very test of single samples."""
    once = np.r_[np.ones(2), np.zeros(18)]
    single = mean_difference(once, range(20), flips=9).mde
    assert mean_difference(np.repeat(once, 4), np.repeat(range(20), 4), flips=9).mde == pytest.approx(single, abs=0.02)


def test_a_mean_that_cannot_show_anything_possible_has_no_mde() -> None:
    two = paired_gap([0, 0], [1, 1], [0, 1], flips=9)
    assert macro_mean([two, paired_gap([0] * 100, [1] * 100, range(100), flips=9)]).mde is None


@pytest.mark.parametrize("clusters", [2, 5, 6, 12])
def test_below_six_clusters_no_effect_is_detectable(clusters: int) -> None:
    found = mean_difference(np.zeros(4 * clusters), np.repeat(np.arange(clusters), 4))
    assert (found.mde is None) == (clusters < 6)
    if found.mde is not None:
        assert 0 < found.mde <= 1


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
    one = estimate(0.2, 0.02, clusters=150)
    assert macro_mean([one]) == macro_mean([one, paired_gap([], [], [])]) == one


def test_a_benchmark_without_observed_variance_brings_its_standard_error_to_the_macro_mean() -> None:
    certain = paired_gap(np.ones(40), np.ones(40), range(40))
    assert certain.se
    assert macro_mean([certain, certain]).se == pytest.approx(certain.se / math.sqrt(2))


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


def test_a_change_of_a_ratio_over_three_samples_is_as_uncertain_as_three_samples_are() -> None:
    none, three = np.zeros(100), np.r_[np.ones(3), np.zeros(97)]
    found = change_of_ratio((none, three), (none, three), range(100))
    assert found.ci is not None
    assert found.ci[0] < -0.3
    assert found.ci[1] > 0.3


def test_a_change_of_a_ratio_by_hand() -> None:
    """Denominators of one make it a mean: then the interval is that of paired differences."""
    rng = np.random.default_rng(4)
    before, after = (rng.random(240) < p for p in (0.5, 0.7))
    ones, clusters = np.ones(240), np.arange(240) // 2
    found = change_of_ratio((before, ones), (after, ones), clusters)
    expected = mean_difference(after * 1.0 - before, clusters, flips=99)
    assert found.estimate == pytest.approx(expected.estimate)
    assert found.ci == pytest.approx(expected.ci, abs=0.002)
    assert change_of_ratio((before, 0 * ones), (after, ones), clusters).estimate is None
