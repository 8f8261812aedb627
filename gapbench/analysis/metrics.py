"""Named metrics: what a published protocol reports of one view, computed exactly, with an interval.

    rows = rows_of(records, samples)                  # view -> one row per sample
    measure("cluster_accuracy", rows["full"]).estimate.ci

`METRICS` holds them by name. Scores of a sample are averaged over its answered repeats first; samples without an answer
are left out and counted. What a number of records cannot give is None: a category of which nothing was answered, a
cluster of which a question was not.

Limits: a question that was never asked (`--limit`, an unfinished run) is unknown here. A metric has an interval, but no
p-value: only the gap of the accuracy is tested. Unparsed answers of yes-or-no questions are no yes, whatever is asked:
they miss an object that is there. Others differ on just these answers, and agree where all are parsed: POPE's script
reads every answer without "No", "not" or "no" as yes, lmms-eval leaves them out of the recall, Vision-OPD also takes
them for a yes where the truth is no. The yes ratio of lmms-eval and of Vision-OPD is that of the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gapbench.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

    from gapbench.analysis.statistics import Estimate

HEADLINE = "accuracy"
"""The headline metric of the neutral protocol, and of one that names none."""


@dataclass(frozen=True)
class Metric:
    """A metric in words, and its units: a table with `value` (0..1), `weight` (above zero) and `cluster`, one row each.

    `unit` says what such a row is. The metric is the weighted mean of the values or, where the units have a `group`,
    the mean of the groups' means with weights `share`, which sum to 1.
    """

    title: str
    meaning: str
    units: Callable[[pd.DataFrame], pd.DataFrame]
    unit: str = "samples"


@dataclass(frozen=True)
class Measured:
    """An estimate over `estimate.n` samples (clusters for `cluster_accuracy`), and how many could not be used."""

    estimate: Estimate
    left_out: int

    def json(self) -> dict[str, Any]:
        return {**self.estimate.json("estimate", "ci", "method", "n", "clusters"), "left_out": self.left_out}


def rows_of(records: pd.DataFrame, samples: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each view of one benchmark a table with one row per sample asked in any view, indexed as `samples`.

    `samples` has `cluster` (int, what the statistics treat as one unit), `category`, `declared` (the benchmark's own
    cluster) and `image_hash` (str). Columns: those, `score` (0..1), `said` (share of yes among the answered repeats)
    and `truth` (1.0 for yes, 0.0 for no); NaN where there is no answer or where no yes or no was asked.
    """
    import numpy as np
    import pandas as pd

    from gapbench.analysis.aggregate import mean_scores
    from gapbench.scoring.yes_no import yes_or_no

    scores = mean_scores(records)
    truth, said = pd.Series(np.nan, samples.index), pd.DataFrame()
    if "answer_type" in records and (records["answer_type"] == "yes_no").any():
        asked = records[records["answer_type"] == "yes_no"]
        answers = asked.groupby("sample", observed=True)["answers"].first()
        truth = answers.map(lambda accepted: float(yes_or_no(accepted[0]) == "yes")).reindex(samples.index)
        yes = asked.assign(score=(asked["parsed"] == "yes").astype(float))
        said = mean_scores(yes)
    empty = pd.Series(np.nan, samples.index)
    return {
        str(view): samples.assign(
            score=scores[view].reindex(samples.index) if view in scores else empty,
            said=said[view].reindex(samples.index) if view in said else empty,
            truth=truth,
        )
        for view in records["view"].unique()
    }


def measure(name: str, rows: pd.DataFrame, *, seed: int = 0, resamples: int = 10_000) -> Measured:
    """A metric over one view's `rows`. Raises RunError for a name that is none of `METRICS`."""
    from gapbench.analysis.statistics import mean_interval, mean_of_means

    units = find(name).units(rows)
    used, left_out = _usable(units)
    if "group" in units:
        return Measured(mean_of_means(used["value"], used["cluster"], used["group"], _shares(units)), left_out)
    weighted = used[used["weight"] > 0]
    found = mean_interval(
        weighted["value"], weighted["cluster"], weights=weighted["weight"], seed=seed, resamples=resamples
    )
    return Measured(replace(found, n=len(used)), left_out)


def change(name: str, before: pd.DataFrame, after: pd.DataFrame, *, seed: int = 0, resamples: int = 10_000) -> Measured:
    """`after` minus `before`, paired over the samples answered in both: two views, or two runs; rows as for `measure`.

    Raises RunError for a name that is none of `METRICS`.
    """
    from gapbench.analysis.statistics import change_of_ratio, mean_interval, mean_of_means

    units = [find(name).units(rows) for rows in answered_in_both(before, after)]
    (first, left_out), (second, _) = (_usable(one) for one in units)
    differences = second["value"] - first["value"]
    if "group" in first:
        found = mean_of_means(differences, first["cluster"], first["group"], _shares(units[0]), bounds=(-1.0, 1.0))
    elif (first["weight"] == 1).all() and (second["weight"] == 1).all():
        found = mean_interval(differences, first["cluster"], bounds=(-1.0, 1.0), seed=seed, resamples=resamples)
    else:
        sides = [(one["value"] * one["weight"], one["weight"]) for one in (first, second)]
        found = change_of_ratio(sides[0], sides[1], first["cluster"])
    return Measured(found, left_out)


def answered_in_both(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two tables of rows without the scores of samples that only one of them has answers for."""
    both = one["score"].notna() & other["score"].notna()
    found = [rows.assign(score=rows["score"].where(both), said=rows["said"].where(both)) for rows in (one, other)]
    return found[0], found[1]


def find(name: str) -> Metric:
    """The metric of a name. Raises RunError naming those that exist."""
    if name not in METRICS:
        raise RunError(f"there is no metric {name!r}. Known are {', '.join(METRICS)}; correct the benchmark's card.")
    return METRICS[name]


def names_of(entry: Mapping[str, Any], protocol: str) -> tuple[str, ...]:
    """The metrics of one benchmark in `run.json`, the headline first: its protocol's, the accuracy, and its card's."""
    card = entry.get("card") or {}
    chosen = (card.get("protocols") or {}).get(protocol) or {}
    return tuple(dict.fromkeys([chosen.get("metric") or HEADLINE, HEADLINE, *(card.get("metrics") or ())]))


def _usable(units: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    known = units["value"].notna()
    return units[known], int((~known).sum())


def _shares(units: pd.DataFrame) -> dict[Any, float]:
    return dict(zip(units["group"], units["share"].astype(float), strict=True))


def _accuracy(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(value=rows["score"], weight=1.0)


def _levels(rows: pd.DataFrame) -> pd.DataFrame:
    """First and second level of each sample's category."""
    return rows["category"].str.partition("/")[[0, 2]].set_axis(["first", "second"], axis=1)


def _category_mean(rows: pd.DataFrame) -> pd.DataFrame:
    first = _levels(rows)["first"]
    return _accuracy(rows).assign(group=first, share=1 / max(first.nunique(), 1))


def _nested_mean(rows: pd.DataFrame) -> pd.DataFrame:
    levels = _levels(rows)
    within = levels.groupby("first")["second"].transform("nunique")
    return _accuracy(rows).assign(group=rows["category"], share=1 / (levels["first"].nunique() * within))


def _cluster_accuracy(rows: pd.DataFrame) -> pd.DataFrame:
    """One unit per declared cluster, or else per image; without a value where one of its samples has no answer."""
    import pandas as pd

    from gapbench.analysis.aggregate import RIGHT

    key = rows["declared"].where(rows["declared"] != "", rows["image_hash"])
    key = key.where(key != "", pd.Series(rows.index.astype(str), rows.index))
    grouped = rows.groupby(key)
    lowest = grouped["score"].min()
    value = (lowest >= RIGHT).astype(float).where(grouped["score"].count() == grouped.size())
    return pd.DataFrame({"value": value, "weight": 1.0, "cluster": grouped["cluster"].first()})


def _yes_f1(rows: pd.DataFrame) -> pd.DataFrame:
    """2 TP / (2 TP + FP + FN) as a weighted mean: a true positive is worth 1 and counts twice, an error 0 and once."""
    asked = rows[rows["truth"].notna()]
    weight = asked["said"] + asked["truth"]
    value = (2 * asked["said"] * asked["truth"] / weight.where(weight > 0, 1.0)).where(asked["said"].notna())
    return asked.assign(value=value, weight=weight)


def _yes_ratio(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["truth"].notna()].assign(value=rows["said"], weight=1.0)


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("Accuracy", "Mean score over all samples.", _accuracy),
    "category_mean": Metric(
        "Mean of categories",
        "Unweighted mean over the first-level categories, so that a large one does not speak for a small one.",
        _category_mean,
    ),
    "nested_mean": Metric(
        "Mean of category means",
        "Unweighted mean over the first-level categories of the unweighted mean over their second-level ones.",
        _nested_mean,
    ),
    "cluster_accuracy": Metric(
        "All of a cluster right",
        "Share of clusters, such as pairs or option orders of one question, of which every sample is right; clusters "
        "with an unanswered sample are left out.",
        _cluster_accuracy,
        unit="clusters",
    ),
    "yes_f1": Metric(
        "F1 of yes",
        "Harmonic mean of precision and recall of the answer yes; an unparsed answer is no yes.",
        _yes_f1,
    ),
    "yes_ratio": Metric(
        "Yes ratio", "Share of the model's answers that are yes: one half where nothing pulls to one side.", _yes_ratio
    ),
}
"""By name. Sources: `category_mean`, CV-Bench over 2D and 3D in Vision-OPD's eval/cal_acc.py; `nested_mean`, CV-Bench:
half of the mean of ADE20K and COCO plus half of Omni3D (Tong et al. 2024, arXiv:2406.16860); `cluster_accuracy`, MMVP
over pairs (Tong et al. 2024, arXiv:2401.06209); `yes_f1` and `yes_ratio`, POPE (Li et al. 2023, arXiv:2305.10355;
evaluate.py of AoiDragon/POPE), here over all samples at once."""
