"""Scores by view, and contrasts between views: what every part of the anatomy is computed from.

    measured = gather(scores, clusters, records)                 # of one benchmark
    contrast(measured, {"crop": 1, "full": -1}).estimate         # the gap

A contrast is a mean over samples of a weighted sum of their scores in several views. It is paired: only samples that
were answered in all of its views count, and its interval is that of a mean of one number a sample
(`gapbench.analysis.statistics`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from gapbench.analysis.aggregate import Json
from gapbench.analysis.statistics import Estimate, mean_interval

SHORT = ("estimate", "ci")


AMOUNTS = ("image_tokens", "evidence_tokens", "seconds", "evidence_area", "region_area", "sent_pixels")
"""Fields of records of which means are taken."""


@dataclass(frozen=True)
class Measured:
    """One benchmark of a run.

    `scores` has a row per sample and a column per view (NaN if not answered), `clusters` the cluster of each sample,
    `records` a row per answer. `amounts` has the means of `AMOUNTS` over the answers of each sample, by (field, view).
    """

    scores: pd.DataFrame
    clusters: pd.Series[int]
    records: pd.DataFrame
    amounts: pd.DataFrame

    @cached_property
    def views(self) -> list[str]:
        """The views with at least one answer."""
        return [str(view) for view in self.scores if self.scores[view].notna().any()]

    def among(self, rows: pd.Series[bool]) -> Measured:
        """The same for the samples where `rows` is true."""
        return replace(self, scores=self.scores[rows], clusters=self.clusters[rows])

    def complete(self, views: Sequence[str]) -> Measured:
        """The same for the samples that were answered in all of `views`."""
        return self.among(self.scores[list(views)].notna().all(axis=1))

    def per_sample(self, column: str, view: str) -> pd.Series[float]:
        """One of `AMOUNTS` in a view, by sample; NaN where it is missing."""
        if (column, view) not in self.amounts:
            return pd.Series(np.nan, index=self.scores.index)
        amounts: pd.Series[float] = self.amounts[column, view].reindex(self.scores.index)
        return amounts


def gather(scores: pd.DataFrame, clusters: pd.Series[int], records: pd.DataFrame) -> Measured:
    """The benchmark, with the means of `AMOUNTS` taken once."""
    answered = records[records["outcome"] != "failed"]
    numbers = answered.reindex(columns=[*AMOUNTS]).apply(pd.to_numeric)
    keys = [answered[key].astype(str) for key in ("sample", "view")]
    return Measured(scores, clusters, records, numbers.groupby(keys).mean().unstack("view"))


def kind_of(view: str) -> str:
    """The kind of a view: `crop:factor=2` is a `crop`."""
    return view.partition(":")[0]


def find(measured: Measured, *kinds: str) -> str | None:
    """The first measured view of the first of `kinds` that has one; a view without parameters comes first."""
    found = (sorted(view for view in measured.views if kind_of(view) == kind) for kind in kinds)
    return next((views[0] for views in found if views), None)


def contrast(measured: Measured, weights: Mapping[str, float]) -> Estimate:
    """The mean of the weighted sum of the scores in the views of `weights`, with its interval."""
    complete = measured.complete([*weights])
    values = complete.scores[[*weights]].to_numpy(float) @ np.array([*weights.values()])
    up, down = (float(sum(max(sign * w, 0.0) for w in weights.values())) for sign in (1, -1))
    reach = float(np.ceil(max(up, down)))
    bounds = (0.0, 1.0) if not down else (-reach, reach)
    return mean_interval(values, complete.clusters.to_numpy(), bounds=bounds)


def level(measured: Measured, view: str) -> Estimate:
    """The accuracy in one view."""
    return contrast(measured, {view: 1})


def short(estimate: Estimate, **more: Any) -> Json:
    """`estimate` and `ci` alone, and whatever else is given."""
    return {**estimate.json(*SHORT), **more}


def counted(estimate: Estimate, **more: Any) -> Json:
    """`estimate`, `ci`, and on how much they rest."""
    return {**estimate.json(*SHORT, "n", "clusters"), **more}
