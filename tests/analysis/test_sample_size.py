"""What `gapbench power` predicts is what simulated runs find."""

from __future__ import annotations

import numpy as np
import pytest

from gapbench.analysis.sample_size import ICC, KEPT, needed, shown, worth
from gapbench.analysis.statistics import sign_flip_test

DESIGNS = [(191, 191, 0.2), (800, 200, 0.2), (400, 100, 0.1), (845, 845, 0.3)]


def found(n: int, clusters: int, discordant: float, effect: float, runs: int, change: bool = False) -> float:
    """The share of simulated runs in which the sign-flip test finds a gap, or a change of it, of `effect`.

    A sample copies its cluster's outcome with probability sqrt(ICC); a cluster keeps its outcomes after a training with
    probability KEPT. A change turns a gap of half the effect round.
    """
    rng = np.random.default_rng(n + clusters)
    of = np.arange(n) % clusters
    hits = 0
    for seed in range(runs):
        u = [np.where(rng.random(n) < np.sqrt(ICC), rng.random(clusters)[of], rng.random(n)) for _ in range(2)]
        second = np.where(rng.random(clusters)[of] < KEPT, *u)
        gaps = (effect / 2, -effect / 2) if change else (effect, 0.0)
        drawn = [
            (one < (discordant + gap) / 2).astype(float) - (one >= 1 - (discordant - gap) / 2)
            for one, gap in zip((u[0], second), gaps, strict=True)
        ]
        hits += sign_flip_test(drawn[0] - drawn[1] * change, of, seed=seed, flips=1_999) <= 0.05
    return hits / runs


def effect_of_power(n: int, clusters: int, discordant: float, runs: int, change: bool = False) -> float:
    """The effect that 80 % of simulated runs find, between 0.8 and 1.25 times the predicted one."""
    power = shown(n, clusters, discordant)
    predicted = power.change if change else power.gap
    times = np.array([0.8, 0.9, 1.0, 1.1, 1.25])
    powers = [found(n, clusters, discordant, at * predicted, runs, change) for at in times]
    slope, start = np.polyfit(times, powers, 1)
    return float((0.8 - start) / slope) * predicted


@pytest.mark.parametrize("change", [False, True], ids=["gap", "change"])
def test_a_tenth_more_than_the_predicted_effect_is_found_more_often_than_promised_a_fifth_less_rarer(
    change: bool,
) -> None:
    power = shown(400, 100, 0.2)
    predicted = power.change if change else power.gap
    assert (
        found(400, 100, 0.2, 1.15 * predicted, 200, change) > 0.8 > found(400, 100, 0.2, 0.8 * predicted, 200, change)
    )


@pytest.mark.evidence
@pytest.mark.parametrize("change", [False, True], ids=["gap", "change"])
@pytest.mark.parametrize(("n", "clusters", "discordant"), DESIGNS)
def test_the_predicted_effect_is_the_simulated_one_within_a_tenth(
    n: int, clusters: int, discordant: float, change: bool
) -> None:
    power = shown(n, clusters, discordant)
    predicted, simulated = power.change if change else power.gap, effect_of_power(n, clusters, discordant, 1000, change)
    print(f"{n} in {clusters}, {discordant:.0%}: predicted {predicted:.4f}, simulated {simulated:.4f}")
    assert simulated == pytest.approx(predicted, rel=0.1)


@pytest.mark.parametrize("change", [False, True])
def test_what_a_gap_needs_shows_it_and_a_cluster_less_does_not(change: bool) -> None:
    sizes = needed(0.05, 0.2, per_cluster=4, change=change)
    assert sizes is not None
    n, clusters = sizes
    assert n == 4 * clusters

    def effect(n: int, clusters: int) -> float:
        power = shown(n, clusters, 0.2)
        return power.change if change else power.gap

    assert effect(n, clusters) <= 0.05 < effect(n - 16, clusters - 4)


def test_samples_of_a_cluster_are_worth_less_than_independent_ones() -> None:
    assert worth(100, 100) == 100
    assert 25 < worth(100, 25) < 100
    assert shown(100, 25, 0.2).gap > shown(100, 100, 0.2).gap


def test_a_gap_that_no_one_can_show_has_no_number() -> None:
    assert needed(1e-4, 1.0) is None
