"""Do the test, the interval and the MDE keep their promises? 10,000 simulated benchmarks a cell, as a table.

    python tests/analysis/coverage.py            # about 15 minutes; --sets 1000 for a first look

Rows: false positives without a gap, coverage with one, coverage near the ceiling, power at the MDE, sentences of
comparisons in which nothing changed. A value outside its goal has an exclamation mark, and the exit code is then 1.

A sample is discordant with the given share. Samples of a cluster go together: either each copies its cluster's outcome
with probability sqrt(ICC) ("copy"), or the clusters' shares are drawn from a Dirichlet distribution with that ICC
("dirichlet").

Limits: right or wrong answers only.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.analysis.comparison import deltas
from gapbench.analysis.comparison.conclusion import verdict
from gapbench.analysis.statistics import mean_difference, mean_interval, sign_flip_test

Array = NDArray[np.float64]
Sizes = NDArray[np.int64]

SHAPES: dict[str, Callable[[], Sizes]] = {
    "81": lambda: np.ones(81, np.int64),
    "191": lambda: np.ones(191, np.int64),
    "300": lambda: np.ones(300, np.int64),
    "845": lambda: np.ones(845, np.int64),
    "200 x 4": lambda: np.full(200, 4),
    "391 of 1-4": lambda: np.random.default_rng(1).integers(1, 5, 391),
    "20 x 10": lambda: np.full(20, 10),
    "40 x 5": lambda: np.full(40, 5),
    "25 of 1-120": lambda: np.round(np.exp(np.random.default_rng(3).uniform(0, np.log(120), 25))).astype(np.int64),
}
"""Sizes of clusters; the last are log-uniform."""

MANY, FEW = ("81", "191", "300", "845", "200 x 4", "391 of 1-4"), ("20 x 10", "40 x 5", "25 of 1-120")


def simulate(sizes: Sizes, shares: tuple[float, float], icc: float, kind: str, rng: np.random.Generator) -> Array:
    """Differences -1, 0, 1 of one benchmark; `shares` are those of crop only and full only."""
    of = np.repeat(np.arange(len(sizes)), sizes)
    crop, full = (np.full(len(of), share) for share in shares)
    u = rng.random(len(of))
    if icc and kind == "copy":
        u = np.where(rng.random(len(of)) < np.sqrt(icc), rng.random(len(sizes))[of], u)
    elif icc:
        alpha = np.maximum(np.array([shares[0], 1 - sum(shares), shares[1]]) * (1 - icc) / icc, 1e-9)
        drawn = rng.gamma(alpha, size=(len(sizes), 3)) + 1e-300
        drawn /= drawn.sum(1, keepdims=True)
        crop, full = drawn[of, 0], drawn[of, 2]
    return np.where(u < crop, 1.0, np.where(u > 1 - full, -1.0, 0.0))


def cells(shapes: tuple[str, ...]) -> Iterator[tuple[str, float, str]]:
    """Shape, ICC and kind; single samples have no correlation."""
    for shape in shapes:
        for icc in (0.0, 0.3, 0.8) if not shape.isdigit() else (0.0,):
            for kind in ("copy", "dirichlet") if icc else ("copy",):
                yield shape, icc, kind


class Table:
    """Prints the rows, and counts those that miss their goal."""

    def __init__(self) -> None:
        self.rows = self.missed = 0

    def add(self, row: str, value: float, low: float, high: float, more: str = "") -> None:
        missed = not low <= value <= high
        self.rows, self.missed = self.rows + 1, self.missed + missed
        print(f"{row:74s} {100 * value:6.2f} %{' !' if missed else '  '} {more}", flush=True)


def false_positives(sets: int, table: Table) -> None:
    print("\nNo gap, 20 % discordant: p <= 0.05 (at most 5.5 %), and the interval excludes 0 (at most 6 %)")
    for shape, icc, kind in cells(MANY):
        sizes, rng = SHAPES[shape](), np.random.default_rng(17)
        of = np.repeat(np.arange(len(sizes)), sizes)
        by_test = by_interval = 0
        for seed in range(sets):
            differences = simulate(sizes, (0.1, 0.1), icc, kind, rng)
            ci = mean_interval(differences, of, bounds=(-1.0, 1.0)).ci
            assert ci is not None
            by_test += sign_flip_test(differences, of, seed=seed, flips=999) <= 0.05
            by_interval += not ci[0] <= 0 <= ci[1]
        name = f"{shape}, ICC {icc} {kind if icc else ''}"
        table.add(f"  test      {name}", by_test / sets, 0, 0.055)
        table.add(f"  interval  {name}", by_interval / sets, 0, 0.06)


def coverage(sets: int, table: Table) -> None:
    print("\nA gap: the interval covers it in 93 to 97 %")
    for shape, icc, kind in cells(MANY + FEW):
        for gap, discordant in ((0.05, 0.2), (0.2, 0.2), (0.2, 0.3), (0.5, 0.5), (0.5, 0.6)):
            covered, width = covers(shape, ((discordant + gap) / 2, (discordant - gap) / 2), icc, kind, sets)
            name = f"{shape}, ICC {icc} {kind if icc else ''}, gap {gap}, discordant {discordant}"
            table.add(f"  {name}", covered, 0.93, 0.97, f"width {100 * width:.1f}")


def near_the_ceiling(sets: int, table: Table) -> None:
    print("\nNear the ceiling: the interval covers in at least 93 %; of the gap, then of an accuracy")
    for shape, icc, kind in cells(MANY + FEW):
        for shares in ((0.03, 0.0), (0.05, 0.01), (0.01, 0.0)):
            covered, width = covers(shape, shares, icc, kind, sets)
            name = f"{shape}, ICC {icc} {kind if icc else ''}, crop only {shares[0]}, full only {shares[1]}"
            table.add(f"  {name}", covered, 0.93, 1, f"width {100 * width:.1f}")
        for accuracy in (0.9, 0.95, 0.99):
            covered, width = covers(shape, (accuracy, 0.0), icc, kind, sets, (0.0, 1.0))
            name = f"{shape}, ICC {icc} {kind if icc else ''}, accuracy {accuracy}"
            table.add(f"  {name}", covered, 0.93, 1, f"width {100 * width:.1f}")


def covers(
    shape: str, shares: tuple[float, float], icc: float, kind: str, sets: int, bounds: tuple[float, float] = (-1.0, 1.0)
) -> tuple[float, float]:
    """How often the interval holds the true mean, and its mean width."""
    sizes, rng = SHAPES[shape](), np.random.default_rng(19)
    of, truth, held, width = np.repeat(np.arange(len(sizes)), sizes), shares[0] - shares[1], 0, 0.0
    for _ in range(sets):
        ci = mean_interval(simulate(sizes, shares, icc, kind, rng), of, bounds=bounds).ci
        assert ci is not None
        held += ci[0] - 1e-9 <= truth <= ci[1] + 1e-9
        width += (ci[1] - ci[0]) / sets
    return held / sets, width


def power(sets: int, table: Table) -> None:
    print(
        "\nPower of the sign-flip test at the MDE that a run reports: 75 to 85 %; at least 75 % where images are shared"
    )
    print("and hardly a sample departs, as nothing shows then whether images depart whole (a fifth as many sets)")
    for shape, icc, kind in cells(("81", "191", "300", "845", "200 x 4", "391 of 1-4", "40 x 5")):
        for background in (0.0, 0.05, 0.2, 0.4):
            sizes, rng = SHAPES[shape](), np.random.default_rng(23)
            of = np.repeat(np.arange(len(sizes)), sizes)
            pilots = [
                mean_difference(simulate(sizes, (background / 2,) * 2, icc, kind, rng), of, flips=9).mde or 0
                for _ in range(40)
            ]
            effect = float(np.median(pilots))
            discordant = max(background, effect)
            shares, found = ((discordant + effect) / 2, (discordant - effect) / 2), 0
            for seed in range(sets // 5):
                differences = simulate(sizes, shares, icc, kind, rng)
                found += sign_flip_test(differences, of, seed=seed, flips=999) <= 0.05
            name = f"{shape}, ICC {icc} {kind if icc else ''}, background {background}: MDE {100 * effect:.1f}"
            unseen = not shape.isdigit() and background < 0.1
            table.add(f"  {name}", found / (sets // 5), 0.75, 1.0 if unseen else 0.85)
    one_of_81 = mean_difference(np.r_[1.0, np.zeros(80)], range(81)).mde or 0
    print(f"  81 pairs, one discordant: MDE {100 * one_of_81:.1f} points")


CLAIM = re.compile(r"\b(shrank|grew|fell|rose)\b")


def sentences(sets: int, table: Table) -> None:
    print("\nSentences of a comparison over six benchmarks and a hold-out (a fifth as many sets)")
    sizes, rng = ("81", "191", "300", "845", "200 x 4", "40 x 5"), np.random.default_rng(29)
    told = [sentence(sizes, rng, 0.0)[0] for _ in range(sets // 5)]
    table.add("  nothing changed: claims a change (at most 6.5 %)", claimed(told, CLAIM), 0, 0.065)
    effect = float(np.median([sentence(sizes, rng, 0.0)[1] for _ in range(20)]))
    told = [sentence(sizes, rng, effect)[0] for _ in range(sets // 5)]
    found = claimed(told, re.compile("^This checkpoint: the gap over 6 benchmarks shrank"))
    table.add(f"  each gap shrank by the MDE, {100 * effect:.1f} points: finds it", found, 0.75, 0.88)


def claimed(told: list[str], words: re.Pattern[str]) -> float:
    return sum(bool(words.search(text)) for text in told) / len(told)


def sentence(shapes: tuple[str, ...], rng: np.random.Generator, closed: float) -> tuple[str, float]:
    """The verdict of a simulated comparison and the MDE of its mean; full accuracy rises by `closed`."""
    entries, changes = {}, {}
    for shape in (*shapes, "300"):
        of = np.repeat(np.arange(len(SHAPES[shape]())), SHAPES[shape]())
        columns = {"cluster": of}
        views = {"full": 0.55, "crop": 0.8}
        if len(entries) == len(shapes):
            del views["crop"]  # the hold-out
        for view, accuracy in views.items():
            luck = rng.random(len(of))
            later = np.where(rng.random(len(of)) < 0.7, luck, rng.random(len(of)))
            gain = closed if len(views) == 2 and view == "full" else 0.0
            columns |= {f"before_{view}": luck < accuracy, f"after_{view}": later < accuracy + gain}
        name = f"b{len(entries)}"
        numbers, changes[name] = deltas._numbers(pd.DataFrame(columns).astype(float), [*views], {"flips": 999})
        lost = deltas._crop_lost_more(changes[name])
        entries[name] = {**numbers, "crop_lost_more": lost, "gap_closed": None}
    macro = deltas._macro(entries, changes)
    assert macro is not None
    return verdict(entries, macro, ("a", "b"), trained=True), macro["delta"]["gap"]["mde"]


PARTS = {
    "false-positives": false_positives, "coverage": coverage, "ceiling": near_the_ceiling, "power": power,
    "sentences": sentences,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--sets", type=int, default=10_000, help="simulated benchmarks a cell (default: 10000)")
    arguments = parser.parse_args()
    table = Table()
    for name in arguments.parts or PARTS:
        PARTS[name](arguments.sets, table)
    print(f"\n{table.rows} cells of {arguments.sets:,} data sets, {table.missed} miss their goal")
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
