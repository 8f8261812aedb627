"""Do the tests and intervals that `coverage.py` leaves out keep their promises? Measured on simulated benchmarks.

Each row copies its image's outcome with probability `shared`, else has its own. Seeds are fixed; the number of
simulated sets makes the Monte-Carlo error small against the limits.

Measured with these seeds: rejection 4.5 % (a discrete test stays below 5 %) against 24 % for row-level McNemar; means
over categories 94 to 97 %, also where images have questions in all of them; F1 and its change 94 to 97 %; the share of
a gap that was closed 94 to 97 % where the gap before has three standard errors in at least a quarter of the runs.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gapbench.analysis.statistics import change_of_ratio, mean_interval, mean_of_means, share_closed, sign_flip_test

pytestmark = pytest.mark.evidence


def simulate(
    seed: int, sets: int, images: int, rows: int, crop_only: float, full_only: float, shared: float = 0.8
) -> NDArray[np.float64]:
    """Differences -1, 0, 1, shape (sets, images * rows), with true gap `crop_only - full_only`."""
    rng = np.random.default_rng(seed)
    own, common = rng.random((sets, images, rows)), rng.random((sets, images, 1))
    u = np.where(rng.random(own.shape) < shared, common, own)
    return np.where(u < crop_only, 1.0, np.where(u > 1 - full_only, -1.0, 0.0)).reshape(sets, -1)


def test_without_a_gap_the_clustered_test_rejects_five_percent_and_row_level_mcnemar_far_more() -> None:
    differences = simulate(seed=1, sets=8_000, images=200, rows=4, crop_only=0.15, full_only=0.15)
    clusters = np.repeat(np.arange(200), 4)
    clustered = np.mean([sign_flip_test(d, clusters, seed=i, flips=999) <= 0.05 for i, d in enumerate(differences)])
    plus, minus = (differences > 0).sum(1), (differences < 0).sum(1)
    mcnemar = np.mean(2 * stats.binom.cdf(np.minimum(plus, minus), plus + minus, 0.5) <= 0.05)
    assert 0.04 <= clustered <= 0.06
    assert mcnemar > 0.15


def test_row_level_mcnemar_is_right_once_questions_are_independent() -> None:
    """The control: the same machinery with nothing shared, so that the excess above is due to clustering."""
    differences = simulate(seed=2, sets=8_000, images=200, rows=4, crop_only=0.15, full_only=0.15, shared=0)
    plus, minus = (differences > 0).sum(1), (differences < 0).sum(1)
    assert np.mean(2 * stats.binom.cdf(np.minimum(plus, minus), plus + minus, 0.5) <= 0.05) < 0.055


@pytest.mark.parametrize(
    ("images", "accuracies"),
    [((100, 30), (0.7, 0.5)), ((300, 20), (0.8, 0.4)), ((20, 20), (0.7, 0.7)), ((30,) * 14, (0.9, 0.5) * 7)],
)
def test_the_interval_of_a_mean_over_categories_covers(images: tuple[int, ...], accuracies: tuple[float, ...]) -> None:
    rng, covered = np.random.default_rng(10), []
    groups = np.repeat(np.arange(len(images)), 2 * np.array(images))
    clusters, shares = np.repeat(np.arange(sum(images)), 2), dict.fromkeys(range(len(images)), 1 / len(images))
    for _ in range(700):
        common, own = rng.random((sum(images), 1)), rng.random((sum(images), 2))
        right = np.where(rng.random(own.shape) < 0.8, common, own).ravel() < np.array(accuracies)[groups]
        ci = mean_of_means(right, clusters, groups, shares).ci
        covered.append(ci is not None and ci[0] <= np.mean(accuracies) <= ci[1])
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("images", [20, 60, 200])
def test_images_with_questions_in_every_category_are_no_independent_evidence(images: int) -> None:
    """The control: taken for independent, the categories' means would cover far less."""
    rng, covered, apart = np.random.default_rng(11), [], []
    accuracies = np.array([0.8, 0.6, 0.7, 0.5])
    clusters, groups = np.repeat(np.arange(images), 4), np.tile(np.arange(4), images)
    shares = dict.fromkeys(range(4), 0.25)
    for _ in range(700):
        common, own = rng.random((images, 1)), rng.random((images, 4))
        right = (np.where(rng.random(own.shape) < 0.8, common, own) < accuracies).ravel()
        for keys, found in ((clusters, covered), (np.arange(4 * images), apart)):
            ci = mean_of_means(right, keys, groups, shares).ci
            found.append(ci is not None and ci[0] <= accuracies.mean() <= ci[1])
    assert np.mean(covered) >= 0.925
    assert np.mean(apart) < 0.85


@pytest.mark.parametrize("images", [60, 200])
def test_the_intervals_of_f1_and_of_its_change_cover(images: int) -> None:
    """Six questions an image, half of them about what is there; 90 % of those get a yes, then 94 %; 10 %, then 8 %."""
    rng, covered, changed = np.random.default_rng(12), [], []
    there, clusters = np.tile([0.0, 1.0], 3 * images), np.repeat(np.arange(images), 6)
    rates = ((0.9, 0.1), (0.94, 0.08))
    truths = [2 * hit / (hit + false + 1) for hit, false in rates]
    for _ in range(500):

        def difficulty() -> NDArray[np.float64]:
            common, own = rng.random((images, 1)), rng.random((images, 6))
            return np.where(rng.random(own.shape) < 0.8, common, own).ravel()

        first = difficulty()
        kept = np.where(rng.random(first.shape) < 0.7, first, difficulty())
        said = [
            (u < np.where(there, hit, false)).astype(float)
            for u, (hit, false) in zip((first, kept), rates, strict=True)
        ]
        weight, counted = said[0] + there, said[0] + there > 0
        values = 2 * said[0] * there / np.where(counted, weight, 1)
        ci = mean_interval(values[counted], clusters[counted], weights=weight[counted]).ci
        covered.append(ci is not None and ci[0] <= truths[0] <= ci[1])
        sides = [(2 * yes * there, yes + there) for yes in said]
        ci = change_of_ratio(sides[0], sides[1], clusters).ci
        changed.append(ci is not None and ci[0] <= truths[1] - truths[0] <= ci[1])
    assert np.mean(covered) >= 0.925
    assert np.mean(changed) >= 0.925


@pytest.mark.parametrize(
    ("crop", "lost"), [(0.1, (0.1, 0.05)), (0.2, (0.05, 0.02)), (0.5, (0.05, 0.02)), (0.9, (0.3, 0.2))]
)
def test_the_interval_of_a_change_of_lost_in_full_covers(crop: float, lost: tuple[float, float]) -> None:
    """100 samples; few of them are right in the crop, and other ones before and after."""
    rng, covered = np.random.default_rng(13), []
    for _ in range(800):
        sides = []
        for share in lost:
            read = rng.random(100) < crop
            sides.append((read & (rng.random(100) < share), read))
        if all(read.any() for _, read in sides):
            ci = change_of_ratio(*sides, range(100)).ci
            covered.append(ci is not None and ci[0] <= lost[1] - lost[0] <= ci[1])
    assert np.mean(covered) >= 0.93


def gaps(
    rng: np.random.Generator, samples: int, gap: float, closed: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Differences before and after a training that closes a share of the gap; 70 % of the samples keep their luck."""
    luck = rng.random(samples)
    later = np.where(rng.random(samples) < 0.7, luck, rng.random(samples))
    sides = []
    for u, true in ((luck, gap), (later, gap * (1 - closed))):
        discordant = max(0.2, true)
        sides.append(np.where(u < (discordant + true) / 2, 1.0, np.where(u > 1 - (discordant - true) / 2, -1.0, 0.0)))
    return sides[0], sides[1]


@pytest.mark.parametrize("closed", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("samples", [81, 191, 845])
@pytest.mark.parametrize(("errors", "lowest"), [(2.5, 0.91), (3.5, 0.935), (7.0, 0.935)])
def test_the_share_closed_covers_wherever_it_is_stated(
    samples: int, closed: float, errors: float, lowest: float
) -> None:
    """`errors`: the true gap before in standard errors. The rule picks the runs whose gap before came out large."""
    rng, covered = np.random.default_rng(14), []
    gap = errors * (0.2 / samples) ** 0.5
    for _ in range(2_000):
        ci = share_closed(*gaps(rng, samples, gap, closed), range(samples)).ci
        if ci is not None:
            covered.append(ci[0] <= closed <= ci[1])
    assert len(covered) > 400
    assert np.mean(covered) >= lowest


def test_without_the_rule_a_small_gap_would_seem_to_close_by_itself() -> None:
    """Nothing changes; stated from 2.2 standard errors on, a true gap of 1.5 errors is "closed" by 10 % or more."""
    rng, shares = np.random.default_rng(15), []
    gap = 1.5 * (0.2 / 300) ** 0.5
    for _ in range(3_000):
        before, after = gaps(rng, 300, gap, 0.0)
        if before.mean() > 2.2 * before.std() / 300**0.5:
            shares.append(1 - after.mean() / before.mean())
    assert np.median(shares) > 0.1
