"""What summaries and comparisons share: mean scores, counts of right answers, what is lost in full, bins of area.

scores = mean_scores(records)                     # one row per sample, one column per view
tally(scores["full"], scores["crop"], "full_only", "crop_only")
# {"both": 3, "full_only": 1, "crop_only": 4, "neither": 2}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.analysis.statistics import Estimate, mean_interval, merge_clusters

RIGHT = 0.5
"""A mean score of at least this counts as right wherever a table knows only right and wrong."""
BINS = 6
PAIR = ("full", "crop")
"""The two views of the gap, which is the second view's score minus the first view's."""

Json = dict[str, Any]
Entries = dict[str, Mapping[str, Any]]
Effort = Mapping[str, int]
"""The `flips` of `gapbench.analysis.statistics.sign_flip_test`."""

THOROUGH: Effort = {"flips": 100_000}
GROUPS: Effort = {"flips": 19_999}
MANY_GROUPS: Effort = {"flips": 1_999}


def mean_scores(records: pd.DataFrame) -> pd.DataFrame:
    """Mean score over answered repeats: one row per answered sample, one column per view; NaN if not answered."""
    answered = records[records["outcome"] != "failed"]
    scores = answered.assign(score=pd.to_numeric(answered["score"]))
    return scores.groupby(["sample", "view"], observed=True)["score"].mean().unstack("view")


def samples_of(records: pd.DataFrame) -> pd.DataFrame:
    """One row per sample, sorted by id: `cluster` (int), `category`, `declared` and `image_hash` (str), `evidence_area`
    (float or NaN)."""
    columns = ["cluster", "image_hash", "category", "evidence_area"]
    # A record that failed early may lack fields that the sample's other records have: the first value present counts.
    fields = records[["sample", "view", "repeat"]].join(records.reindex(columns=columns).replace("", None))
    first = fields.sort_values(["sample", "view", "repeat"]).groupby("sample", observed=True)[columns].first()
    text = {c: first[c].astype(object).where(first[c].notna(), "") for c in columns[:3]}
    return pd.DataFrame(
        {
            "cluster": merge_clusters(list(text["cluster"]), list(text["image_hash"])),
            "category": text["category"].astype(str),
            "declared": text["cluster"].astype(str),
            "image_hash": text["image_hash"].astype(str),
            "evidence_area": pd.to_numeric(first["evidence_area"]),
        },
        index=first.index,
    )


def mean_of(column: pd.Series[Any]) -> float | None:
    """The mean of the values that are there; None without any."""
    mean = float(pd.to_numeric(column).mean()) if len(column) else float("nan")
    return None if np.isnan(mean) else mean


def tally(first: pd.Series[float], second: pd.Series[float], first_only: str, second_only: str) -> dict[str, int]:
    """How many samples are right in both of two paired score columns, in one only (under the names given), in neither.

    Neither column may hold NaN.
    """
    a, b = first.to_numpy(float) >= RIGHT, second.to_numpy(float) >= RIGHT
    cells = {"both": a & b, first_only: a & ~b, second_only: ~a & b, "neither": ~a & ~b}
    return {name: int(right.sum()) for name, right in cells.items()}


def lost_in_full(full: pd.Series[float], crop: pd.Series[float], clusters: pd.Series[int]) -> Estimate:
    """Of the samples that are right in the crop, the share that is wrong in full; its `estimate` is None without any.

    Row i of all three is the same sample, and neither score may be NaN. A model can only lose what it reads in the
    crop, so this share, unlike the gap, has no ceiling at the crop's accuracy.
    """
    read = crop.to_numpy(float) >= RIGHT
    lost = full.to_numpy(float)[read] < RIGHT
    return mean_interval(lost, clusters.to_numpy()[read])


def by_groups(table: pd.DataFrame, numbers: Callable[[pd.DataFrame, Effort], Json]) -> Json:
    """`by_category` and `by_evidence_area`: the `numbers` of each group of rows.

    `table` has one row per sample, with the columns `cluster`, `category` and `evidence_area`.
    """

    def group(rows: pd.DataFrame, effort: Effort) -> Json:
        return {"n": len(rows), "clusters": int(rows["cluster"].nunique()), **numbers(rows, effort)}

    categories = table[table["category"] != ""].groupby("category", sort=True)
    effort = MANY_GROUPS if len(categories) > 100 else GROUPS
    return {
        "by_category": {str(name): {**group(rows, effort), "exploratory": True} for name, rows in categories},
        "by_evidence_area": [
            {"from": low, "to": high, **group(table.loc[labels], GROUPS)}
            for low, high, labels in area_bins(table["evidence_area"])
        ],
    }


def area_bins(area: pd.Series[float]) -> Iterator[tuple[float, float, pd.Index]]:
    """Yield (from, to, labels) for at most six bins with about equally many samples each.

    A bin holds areas above `from` up to and including `to`; the first bin also holds `from`. Samples without evidence
    boxes (NaN) are in no bin. Equal areas share a bin.
    """
    areas = area.dropna()
    if areas.empty:
        return
    edges = np.unique(np.quantile(areas, np.linspace(0, 1, BINS + 1)))
    below = np.searchsorted(edges, areas.to_numpy(float), side="left") - 1
    bins: NDArray[np.int64] = np.clip(below, 0, max(len(edges) - 2, 0))
    for i in np.unique(bins):
        yield float(edges[i]), float(edges[min(i + 1, len(edges) - 1)]), areas.index[bins == i]


def by_evidence(benchmarks: Mapping[str, Mapping[str, Any]]) -> tuple[Entries, Entries]:
    """Split entries of a summary or comparison: annotated or no evidence first, regions that a model made second."""
    model_made = {name: entry for name, entry in benchmarks.items() if entry.get("evidence") == "model"}
    return {name: entry for name, entry in benchmarks.items() if name not in model_made}, model_made


def in_mean(gaps: Mapping[str, Any]) -> list[str]:
    """The names of the gaps that enter a mean: those with an interval, or all that exist if none has one.

    A benchmark of a single cluster has no interval, and would leave the mean without one.
    """
    with_interval = [name for name, gap in gaps.items() if gap and gap["ci"]]
    return with_interval or [name for name, gap in gaps.items() if gap]
