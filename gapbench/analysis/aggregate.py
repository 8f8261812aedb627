"""What a run's summary and a comparison of runs count in the same way: scores, right or wrong, bins of evidence area.

scores = mean_scores(records)                     # one row per sample, one column per view
tally(scores["full"], scores["crop"])             # PairedCounts(both=3, first_only=1, second_only=4, neither=2)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RIGHT = 0.5
"""Mean score from which an answer counts as right where only right or wrong can be shown."""
BINS = 6
PAIR = ("full", "crop")
"""The headline views: the gap is the second's score minus the first's."""

Json = dict[str, Any]
Entries = dict[str, Mapping[str, Any]]
Effort = Mapping[str, int]
"""`seed`, `resamples` and `flips` for the statistics."""


@dataclass(frozen=True)
class PairedCounts:
    """Samples by what was right in two columns of scores."""

    both: int
    first_only: int
    second_only: int
    neither: int


def mean_scores(records: pd.DataFrame) -> pd.DataFrame:
    """Mean score over answered repeats: one row per answered sample, one column per view, NaN where not answered."""
    answered = records[records["outcome"] != "failed"]
    scores = answered.assign(score=pd.to_numeric(answered["score"]))
    return scores.groupby(["sample", "view"], observed=True)["score"].mean().unstack("view")


def tally(first: pd.Series[float], second: pd.Series[float]) -> PairedCounts:
    """Counts over paired scores without gaps."""
    one, other = first.to_numpy(float) >= RIGHT, second.to_numpy(float) >= RIGHT
    return PairedCounts(*(int(found.sum()) for found in (one & other, one & ~other, ~one & other, ~one & ~other)))


def area_bins(area: pd.Series[float]) -> Iterator[tuple[float, float, pd.Index]]:
    """(from, to, labels) of at most six bins (from, to] of about equally many samples, the first with its lower edge.

    Samples without evidence boxes (NaN) are in no bin; equal areas never fall into two bins.
    """
    known = area.dropna()
    if known.empty:
        return
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)))
    found = np.searchsorted(edges, known.to_numpy(float), side="left") - 1
    number: NDArray[np.int64] = np.clip(found, 0, max(len(edges) - 2, 0))
    for i in np.unique(number):
        yield float(edges[i]), float(edges[min(i + 1, len(edges) - 1)]), known.index[number == i]


def by_evidence(benchmarks: Mapping[str, Mapping[str, Any]]) -> tuple[Entries, Entries]:
    """Entries of a summary or a comparison apart: annotated evidence or none, and regions that a model made."""
    made = {name: entry for name, entry in benchmarks.items() if entry.get("evidence") == "model"}
    return {name: entry for name, entry in benchmarks.items() if name not in made}, made
