"""Before a run: which gap, or change of it, would so many samples and clusters show?

    shown(191, 191, 0.2)                    # Power(gap=0.093, change=0.105): in 80 % of runs, at 5 %
    needed(0.05, 0.2, per_cluster=4)        # (samples, clusters) that show a gap of 5 points

The effect is the minimum detectable one that reports print under a gap (`detectable_effect`), for what is assumed here:
a share of samples is discordant (right in one view only), and gaps within a cluster, and their changes, correlate with
`ICC`. Between two measurements, the share `KEPT` of the samples keep their answers but for what the change changes, and
the others answer anew: without a change, their gaps correlate with `KEPT`.

Limits: clusters of one size. Reports show the discordant share of a run; before the first run it is a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

from gapbench.analysis.statistics import FEW_CLUSTERS, detectable_effect

ICC = 0.5
KEPT = 0.5
MOST = 10_000_000
"""Samples beyond which no number is looked for."""


@dataclass(frozen=True)
class Power:
    """The smallest gap and change of a gap (fractions) that are found in 80 % of runs, two-sided at 5 %."""

    gap: float
    change: float


def worth(n: int, clusters: int) -> float:
    """How many independent samples n samples in so many clusters are worth (Kish 1965, the design effect)."""
    return n / (1 + (n / clusters - 1) * ICC)


def shown(n: int, clusters: int, discordant: float) -> Power:
    """What `n` samples in `clusters` clusters show if the share `discordant` (0..1) is right in one view only."""
    units = worth(n, clusters)
    several = clusters >= FEW_CLUSTERS and units > 1.05 * clusters
    change = 0.0
    for _ in range(6):  # the mean square of the differences depends on the change
        square = min(KEPT * change + (1 - KEPT) * 2 * discordant, 1.0)
        change = detectable_effect(square, units, smooth=several)
    return Power(detectable_effect(discordant, units, smooth=several), change)


def needed(effect: float, discordant: float, per_cluster: float = 1.0, change: bool = False) -> tuple[int, int] | None:
    """The (samples, clusters) from which a gap, or a change of it, of `effect` (0..1) is shown; None beyond `MOST`."""

    def enough(clusters: int) -> bool:
        power = shown(round(clusters * per_cluster), clusters, discordant)
        return (power.change if change else power.gap) <= effect

    high = 8
    while not enough(high):
        high *= 2
        if high * per_cluster > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return round(high * per_cluster), high
