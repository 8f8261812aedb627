"""Named metrics: the numbers that published protocols report for one view, each with an interval.

    rows = rows_of(records, samples)                  # view -> one row per sample
    measure("cluster_accuracy", rows["full"]).estimate.ci

`METRICS` holds them by name. A sample's score is first averaged over its answered repeats. Samples without an answer
are left out and counted. A mean over categories is None if a category has no answer. A cluster with an unanswered
sample has no value and is left out.

Limits: a sample without a record (`--limit`, an unfinished run) does not exist for these metrics. A metric has an
interval but no p-value: only the gap of the accuracy is tested. An unparsed answer to a yes-or-no question never counts
as yes, so it misses an object that is there. Other tools treat unparsed answers differently, and agree where all
answers are parsed: POPE's script reads every answer without "No", "not" or "no" as yes; lmms-eval leaves unparsed
answers out of the recall; Vision-OPD also counts them as yes where the truth is no. The yes ratio of lmms-eval and of
Vision-OPD is the share of yes among the accepted answers, not among the model's answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.analysis.aggregate import RIGHT, mean_scores
from gapbench.analysis.statistics import Estimate, change_of_ratio, mean_interval, mean_of_means
from gapbench.errors import RunError
from gapbench.scoring.yes_no import yes_or_no

HEADLINE = "accuracy"
"""The headline metric of the neutral protocol, and of every protocol that names no metric."""


@dataclass(frozen=True)
class Metric:
    """A metric in words, and the function that gives its units.

    `units` turns a table of samples into a table with one row per unit: `value` (0..1), `weight` (at least zero) and
    `cluster`. `unit` names what a row stands for. The metric is the weighted mean of the values. If the table has
    columns `group` and `share`, it is the mean of the groups' means instead, weighted by `share`; the shares of the
    groups sum to 1.
    """

    title: str
    meaning: str
    units: Callable[[pd.DataFrame], pd.DataFrame]
    unit: str = "samples"


@dataclass(frozen=True)
class MetricEstimate:
    """An estimate over `estimate.n` units; `left_out` counts the units without a value."""

    estimate: Estimate
    left_out: int

    def json(self) -> dict[str, Any]:
        return {**self.estimate.json("estimate", "ci", "method", "n", "clusters"), "left_out": self.left_out}


def rows_of(records: pd.DataFrame, samples: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each view of one benchmark, a table with one row per row of `samples` and the same index.

    `samples` has the columns `cluster` (int, the unit of the statistics), `category`, `declared` (the cluster that the
    benchmark declares) and `image_hash` (str). Each table adds `score` (0..1), `yes_share` (share of yes among the
    answered repeats) and `truth` (1.0 for yes, 0.0 for no). `score` and `yes_share` are NaN for an unanswered sample.
    `yes_share` and `truth` are NaN for a sample that is no yes-or-no question.
    """
    scores, empty = mean_scores(records), pd.Series(np.nan, samples.index)
    truth, yes_shares = empty, pd.DataFrame()
    if "answer_type" in records and (records["answer_type"] == "yes_no").any():
        yes_no = records[records["answer_type"] == "yes_no"]
        accepted_answers = yes_no.groupby("sample", observed=True)["answers"].first()
        truth = accepted_answers.map(lambda accepted: float(yes_or_no(accepted[0]) == "yes")).reindex(samples.index)
        yes_shares = mean_scores(yes_no.assign(score=(yes_no["parsed"] == "yes").astype(float)))
    return {
        str(view): samples.assign(
            score=scores[view].reindex(samples.index) if view in scores else empty,
            yes_share=yes_shares[view].reindex(samples.index) if view in yes_shares else empty,
            truth=truth,
        )
        for view in records["view"].unique()
    }


def measure(name: str, rows: pd.DataFrame) -> MetricEstimate:
    """A metric over the `rows` of one view. Raises RunError for a name that is not in `METRICS`."""
    units = find(name).units(rows)
    used, left_out = _usable(units)
    if "group" in units:
        return MetricEstimate(mean_of_means(used["value"], used["cluster"], used["group"], _shares(units)), left_out)
    weighted = used[used["weight"] > 0]
    estimate = mean_interval(weighted["value"], weighted["cluster"], weights=weighted["weight"])
    return MetricEstimate(replace(estimate, n=len(used)), left_out)


def change(name: str, before: pd.DataFrame, after: pd.DataFrame) -> MetricEstimate:
    """The metric in `after` minus the metric in `before`, paired over the samples answered in both.

    The two tables are views of one run, or one view of two runs; rows as for `measure`. Raises RunError for a name that
    is not in `METRICS`.
    """
    both = before["score"].notna() & after["score"].notna()
    units = [find(name).units(answers_of(rows, both)) for rows in (before, after)]
    (first, left_out), (second, _) = (_usable(side) for side in units)
    differences = second["value"] - first["value"]
    if "group" in first:
        estimate = mean_of_means(differences, first["cluster"], first["group"], _shares(units[0]), bounds=(-1.0, 1.0))
    elif (first["weight"] == 1).all() and (second["weight"] == 1).all():
        estimate = mean_interval(differences, first["cluster"], bounds=(-1.0, 1.0))
    else:
        sides = [(side["value"] * side["weight"], side["weight"]) for side in (first, second)]
        estimate = change_of_ratio(sides[0], sides[1], first["cluster"])
    return MetricEstimate(estimate, left_out)


def answers_of(rows: pd.DataFrame, kept: pd.Series[bool] | NDArray[np.bool_]) -> pd.DataFrame:
    """The rows of a view, with NaN as `score` and `yes_share` of every sample that is not `kept`."""
    return rows.assign(score=rows["score"].where(kept), yes_share=rows["yes_share"].where(kept))


def find(name: str) -> Metric:
    """The metric called `name`. Raises RunError, which lists the known names, if there is none."""
    if name not in METRICS:
        raise RunError(f"there is no metric {name!r}. Known are {', '.join(METRICS)}; correct the benchmark's card.")
    return METRICS[name]


def names_of(entry: Mapping[str, Any], protocol: str) -> tuple[str, ...]:
    """Names of the metrics to report for a benchmark's entry in the manifest, without repetitions.

    In order: the metric of `protocol` (the headline), the accuracy, the metrics of the benchmark's card.
    """
    card = entry.get("card") or {}
    card_protocol = (card.get("protocols") or {}).get(protocol) or {}
    return tuple(dict.fromkeys([card_protocol.get("metric") or HEADLINE, HEADLINE, *(card.get("metrics") or ())]))


def _usable(units: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Units that have a value, and the number of those that have none."""
    has_value = units["value"].notna()
    return units[has_value], int((~has_value).sum())


def _shares(units: pd.DataFrame) -> dict[Any, float]:
    """Weight of each group."""
    return dict(zip(units["group"], units["share"].astype(float), strict=True))


def _accuracy(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(value=rows["score"], weight=1.0)


def _levels(rows: pd.DataFrame) -> pd.DataFrame:
    """Each sample's category, split at its first slash into the columns `first` and `second`."""
    return rows["category"].str.partition("/")[[0, 2]].set_axis(["first", "second"], axis=1)


def _category_mean(rows: pd.DataFrame) -> pd.DataFrame:
    first = _levels(rows)["first"]
    return _accuracy(rows).assign(group=first, share=1 / max(first.nunique(), 1))


def _nested_mean(rows: pd.DataFrame) -> pd.DataFrame:
    levels = _levels(rows)
    within = levels.groupby("first")["second"].transform("nunique")
    return _accuracy(rows).assign(group=rows["category"], share=1 / (levels["first"].nunique() * within))


def _cluster_accuracy(rows: pd.DataFrame) -> pd.DataFrame:
    """One unit per declared cluster, or per image where none is declared; NaN if a sample of it has no answer."""
    key = rows["declared"].where(rows["declared"] != "", rows["image_hash"])
    key = key.where(key != "", pd.Series(rows.index.astype(str), rows.index))
    grouped = rows.groupby(key)
    lowest = grouped["score"].min()
    value = (lowest >= RIGHT).astype(float).where(grouped["score"].count() == grouped.size())
    return pd.DataFrame({"value": value, "weight": 1.0, "cluster": grouped["cluster"].first()})


def _yes_f1(rows: pd.DataFrame) -> pd.DataFrame:
    """2 TP / (2 TP + FP + FN) as a weighted mean: true positives have value 1 and weight 2, errors 0 and 1."""
    yes_no = rows[rows["truth"].notna()]
    yes_share, truth = yes_no["yes_share"], yes_no["truth"]
    weight = yes_share + truth
    value = (2 * yes_share * truth / weight.where(weight > 0, 1.0)).where(yes_share.notna())
    return yes_no.assign(value=value, weight=weight)


def _yes_ratio(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["truth"].notna()].assign(value=rows["yes_share"], weight=1.0)


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("Accuracy", "Mean score over all samples.", _accuracy),
    "category_mean": Metric(
        "Mean of categories",
        "Unweighted mean over the first-level categories, so that a large one does not speak for a small one.",
        _category_mean,
    ),
    "nested_mean": Metric(
        "Mean of category means",
        "Unweighted mean over the first-level categories of the unweighted means over their second-level categories.",
        _nested_mean,
    ),
    "cluster_accuracy": Metric(
        "All of a cluster right",
        "Share of clusters, such as pairs or option orders of one question, in which every sample is right. Clusters "
        "with an unanswered sample are left out.",
        _cluster_accuracy,
        unit="clusters",
    ),
    "yes_f1": Metric(
        "F1 of yes",
        "Harmonic mean of precision and recall of the answer yes. An unparsed answer does not count as yes.",
        _yes_f1,
    ),
    "yes_ratio": Metric(
        "Yes ratio",
        "Share of the model's answers that are yes: one half for an unbiased model on a balanced benchmark.",
        _yes_ratio,
    ),
}
"""The metrics by name.

Sources: `category_mean`, CV-Bench over 2D and 3D in Vision-OPD's eval/cal_acc.py; `nested_mean`, CV-Bench: half of the
mean of ADE20K and COCO plus half of Omni3D (Tong et al. 2024, arXiv:2406.16860); `cluster_accuracy`, MMVP over pairs
(Tong et al. 2024, arXiv:2401.06209); `yes_f1` and `yes_ratio`, POPE (Li et al. 2023, arXiv:2305.10355; evaluate.py of
AoiDragon/POPE), here over all samples at once.
"""
