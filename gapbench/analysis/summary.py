"""The summary of a run: all its records in, one JSON-ready dictionary out.

    from gapbench.analysis import summary; from gapbench.runs import records
    summary.summarise(records.read_frame(Path("runs/glance")), model="glance")

`reports/SUMMARY_SCHEMA.md` describes every key. Only the verdict has rounded numbers. An undefined quantity is None.
The same records give the same summary, whatever their order.

How records become numbers: `failed` records are in no score; their rate is reported. `unparsed` and `judge_failed`
records score 0; their rates are reported too. A sample's score in a view is the mean over its answered repeats. The gap
uses only samples answered in both `full` and `crop`; its bound counts what is missing (`gapbench.analysis.faults`).
Samples that share a declared cluster or an image hash are one cluster. Gaps over regions that a model made are a family
of their own: their mean, correction and sentence are kept apart from those of annotated evidence.

Limits: numbers per category are exploratory, since nothing corrects for looking at many categories. They use fewer
flips, to bound the time. The gap compares `full` and `crop` only; what the
other views say of it is the anatomy (`gapbench.analysis.anatomy`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.analysis import metrics, statistics
from gapbench.analysis.aggregate import (
    PAIR,
    RIGHT,
    THOROUGH,
    Effort,
    Json,
    by_evidence,
    by_groups,
    in_mean,
    lost_in_full,
    mean_of,
    mean_scores,
    samples_of,
    tally,
)
from gapbench.analysis.anatomy.dissection import dissect
from gapbench.analysis.faults import THOUGHT_CUT_OFF, faults, mark_alerts, mean_bound
from gapbench.analysis.scorings import JUDGE, scorings
from gapbench.analysis.verdict import verdict
from gapbench.errors import RunError
from gapbench.types import NO_BOX, TOO_LONG

SCHEMA_VERSION = 4
KEY = ["benchmark", "sample", "view", "repeat"]
OUTCOMES = ("right", "wrong", "unparsed", "judge_failed", "failed")
MEANS = ("images", "sent_pixels", "image_tokens", "output_tokens")
"""Fields of a record that each view reports as the mean over its answers, under the field's name and `_mean`."""
SHARE = ("estimate", "ci", "n", "clusters", "method")
"""What is reported of a share that is not tested."""


def summarise(
    frame: pd.DataFrame,
    *,
    model: str = "",
    notices: Mapping[str, str] | None = None,
    named: Mapping[str, Sequence[str]] | None = None,
    official: Mapping[str, str] | None = None,
) -> Json:
    """The summary of a run.

    `frame` has one row per record; its columns are fields of `gapbench.types.Record`, of which `benchmark`, `sample`,
    `view`, `repeat`, `outcome` and `score` are required. `notices` maps a benchmark to the remark reported beside it.
    `named` maps a benchmark to the names of its metrics (`gapbench.analysis.metrics`), the headline first; the default
    is the accuracy alone. `official` maps a benchmark to the name of its official rule (`gapbench.scoring.official`).
    Raises RunError for a missing column, a key that occurs twice, an unknown outcome, an answer without a score, an
    unknown metric, and a benchmark that mixes annotated evidence with regions that a model made.
    """
    frame = _checked(frame)
    benchmarks: dict[str, Json] = {}
    gaps: dict[str, statistics.Estimate] = {}
    shares_lost: dict[str, statistics.Estimate] = {}
    for name, records in frame.groupby("benchmark", sort=True, observed=True):
        metric_names = (named or {}).get(str(name)) or (metrics.HEADLINE,)
        benchmarks[str(name)], gap, lost = _benchmark(
            str(name), records, metric_names, (official or {}).get(str(name), "")
        )
        benchmarks[str(name)]["notice"] = (notices or {}).get(str(name), "")
        if gap is not None and lost is not None:
            gaps[str(name)], shares_lost[str(name)] = gap, lost
    families = [{name: gaps[name] for name in family if name in gaps} for family in by_evidence(benchmarks)]
    for family in families:
        p_values = {name: gap.p_value for name, gap in family.items() if gap.p_value is not None}
        for name, p in statistics.holm(p_values).items():
            benchmarks[name]["gap"]["p_value_holm"] = p
    mark_alerts(benchmarks)
    means = [_means(benchmarks, family, shares_lost) for family in families]
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "verdict": verdict(model, benchmarks, means),
        "views": _views(frame),
        "benchmarks": benchmarks,
        "macro": means[0],
        "macro_model": means[1],
    }


def _means(
    benchmarks: Mapping[str, Json],
    gaps: Mapping[str, statistics.Estimate],
    shares_lost: Mapping[str, statistics.Estimate],
) -> Json:
    """The mean gap and the mean share lost in full over the benchmarks of one kind of evidence; None without any.

    With one benchmark they are that benchmark's own, with their interval and test. A benchmark of a single cluster,
    whose gap has no interval, is left out of a mean over others.
    """
    if not gaps:
        return {"gap": None, "lost_in_full": None}
    gaps = {name: gaps[name] for name in in_mean({name: benchmarks[name]["gap"] for name in gaps})}
    bound = mean_bound(benchmarks[name]["gap"] for name in gaps)
    gap = statistics.macro_mean([*gaps.values()])
    return {
        "gap": {**gap.json(), "bound": bound, "benchmarks": len(gaps)},
        "lost_in_full": _mean_lost(shares_lost[name] for name in gaps),
    }


def _mean_lost(shares: Iterable[statistics.Estimate]) -> Json | None:
    """The mean of "lost in full" over the benchmarks that have it, or None."""
    known = [share for share in shares if share.estimate is not None]
    if not known:
        return None
    mean = statistics.macro_mean(known, bounds=(0.0, 1.0))
    return {**mean.json(*SHARE), "benchmarks": len(known)}


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    """The records with numeric scores. Raises RunError where they break the rules of `summarise`."""
    missing_columns = [c for c in (*KEY, "outcome", "score") if c not in frame.columns]
    if missing_columns and len(frame):
        raise RunError(
            f"the records have no column {', '.join(missing_columns)}: found {', '.join(map(str, frame.columns))}; "
            "expected the fields of gapbench.types.Record, as records.jsonl has them"
        )
    if not len(frame):
        return frame.reindex(columns=[*KEY, "outcome", "score"])
    frame = frame.reset_index(drop=True)
    frame = frame.assign(score=pd.to_numeric(frame["score"]), **{c: frame[c].astype("category") for c in KEY[:3]})
    twice = frame.duplicated(KEY)
    if twice.any():
        first = ", ".join(f"{c} {frame.loc[twice, c].iloc[0]}" for c in KEY)
        raise RunError(
            f"{int(twice.sum())} record(s) occur twice, the first is {first}: expected one record per key; "
            "gapbench report RUN --repair keeps the first of each"
        )
    for wrong, what in (
        (~frame["outcome"].isin(OUTCOMES), f"an outcome other than {', '.join(OUTCOMES)}"),
        ((frame["outcome"] != "failed") & ~frame["score"].between(0, 1), "an answer without a score in 0..1"),
    ):
        if wrong.any():
            row = frame[wrong].iloc[0]
            key = ", ".join(f"{c} {row[c]}" for c in KEY)
            raise RunError(
                f"the record of {key} has {what}: outcome {row['outcome']}, score {row['score']}; restore "
                "records.jsonl, or delete the line and go on by the command that began the run"
            )
    return frame


def _benchmark(
    name: str, records: pd.DataFrame, metric_names: Sequence[str], official: str
) -> tuple[Json, statistics.Estimate | None, statistics.Estimate | None]:
    """The entry of one benchmark, its gap, and the share lost in full."""
    samples = samples_of(records)
    # `samples` is sorted by id, so that the order of the records cannot change any number.
    scores = mean_scores(records).reindex(samples.index)
    views = {v: _view(records[records["view"] == v], scores.get(v), samples) for v in _views(records)}
    answered_views = [view for view in PAIR if view in views and view in scores]
    paired = scores[answered_views].dropna() if answered_views else scores.iloc[:0]
    gap, gap_entry, lost, pairs = None, None, None, None
    table, numbers = paired.join(samples), partial(_group, answered_views)
    bare = set(records.loc[records["rule"] == NO_BOX, "sample"]) if "rule" in records else set()
    found_faults, bound = faults(records[~records["sample"].isin(bare)], samples)
    if len(answered_views) == 2 and len(paired):
        full, crop = paired["full"].to_numpy(float), paired["crop"].to_numpy(float)
        clusters = samples.loc[paired.index, "cluster"].to_numpy()
        gap = statistics.paired_gap(full, crop, clusters, **THOROUGH)
        lost = lost_in_full(paired["full"], paired["crop"], samples.loc[paired.index, "cluster"])
        in_full, in_crop = (set(records.loc[records["view"] == view, "sample"]) for view in PAIR)
        pairs = tally(paired["crop"], paired["full"], "crop_only", "full_only")
        gap_entry = {
            **gap.json(),
            "bound": bound,
            "p_value_holm": None,
            "full": float(full.mean()),
            "crop": float(crop.mean()),
            "full_ci": statistics.mean_interval(full, clusters).json("ci")["ci"],
            "crop_ci": statistics.mean_interval(crop, clusters).json("ci")["ci"],
            "dropped": len((in_full & in_crop) - bare) - len(paired),
            "unpaired": len(in_full ^ in_crop),
        }
    entry = {
        "n": len(samples),
        "clusters": int(samples["cluster"].nunique()),
        "records": len(records),
        "evidence": _evidence(name, records),
        "views": views,
        "gap": gap_entry,
        "lost_in_full": lost.json(*SHARE) if lost and lost.n else None,
        "pairs": pairs,
        "faults": found_faults,
        "headline_metric": metric_names[0],
        "metrics": _metrics(metric_names, records, samples),
        "scorings": scorings(records, table, numbers, official),
        **by_groups(table, numbers),
    }
    if bare:
        entry["without_evidence"] = len(bare)
    if anatomy := dissect(records, scores, samples):
        entry["anatomy"] = anatomy
    return entry, gap, lost


def _evidence(name: str, records: pd.DataFrame) -> str:
    """Kind of evidence: `annotated`, `model`, or empty if no record has a region."""
    kinds = sorted({str(kind) for kind in records["evidence"].unique() if kind}) if "evidence" in records else []
    if len(kinds) > 1:
        raise RunError(
            f"{name}: its records have evidence of {len(kinds)} kinds ({', '.join(kinds)}); expected one kind. A gap "
            "over both would mean nothing: measure annotated evidence and model-made regions in two runs."
        )
    return kinds[0] if kinds else ""


def _metrics(metric_names: Sequence[str], records: pd.DataFrame, samples: pd.DataFrame) -> Json:
    """Every metric in every view; `gap` is its paired change from full to crop."""
    rows = metrics.rows_of(records, samples)
    entries: Json = {}
    for name in metric_names:
        estimates = {view: metrics.measure(name, rows[view]) for view in _views(records)}
        if all(view in rows for view in PAIR):
            estimates["gap"] = metrics.change(name, rows["full"], rows["crop"])
        entries[name] = {key: estimate.json() for key, estimate in estimates.items()}
    return entries


def _view(records: pd.DataFrame, scores: pd.Series[float] | None, samples: pd.DataFrame) -> Json:
    answered = records[records["outcome"] != "failed"]
    values = scores.dropna() if scores is not None else pd.Series(dtype=float)
    clusters = samples.loc[values.index, "cluster"].to_numpy() if len(values) else []
    accuracy = statistics.mean_interval(values.to_numpy(float), clusters)
    entry: Json = {
        "n": accuracy.n,
        "accuracy": accuracy.estimate,
        "ci": accuracy.json()["ci"],
        "method": accuracy.method,
        "records": len(records),
        "unparsed": mean_of(answered["outcome"] == "unparsed"),
        "judge_failed": mean_of(answered["outcome"] == "judge_failed"),
        "judged": mean_of(answered["rule"] == JUDGE) if "rule" in answered else None,
        "failed": mean_of((records["outcome"] == "failed") & (records.get("rule") != NO_BOX)),
        "too_long": mean_of(records["rule"] == TOO_LONG) if "rule" in records else None,
        "cut_off": mean_of(answered["cut_off"]) if "cut_off" in answered else None,
        "thought": mean_of(_thoughts(answered)) if "thought" in answered else None,
    }
    for column in MEANS:
        entry[f"{column}_mean"] = mean_of(answered[column]) if column in answered else None
    entry["flip_rate"] = statistics.flip_rate(answered["score"] >= RIGHT, answered["sample"].cat.codes)
    return entry


def _thoughts(answered: pd.DataFrame) -> pd.Series[bool]:
    """Whether the model thought before it answered, or thought until it was cut off."""
    return answered["thought"].fillna("").ne("") | (answered.get("rule") == THOUGHT_CUT_OFF)


def _group(views: Sequence[str], rows: pd.DataFrame, effort: Effort) -> Json:
    """Accuracies and gap over samples answered in all of `views`; None for another view."""
    clusters: NDArray[np.int64] = rows["cluster"].to_numpy()
    entry: Json = {"full": None, "crop": None, "gap": None, "lost_in_full": None}
    for view in views:
        accuracy = statistics.mean_interval(rows[view], clusters)
        entry[view] = accuracy.json("estimate", "ci")
    if len(views) == 2:
        entry["gap"] = statistics.paired_gap(rows["full"], rows["crop"], clusters, **effort).json()
        lost = lost_in_full(rows["full"], rows["crop"], rows["cluster"])
        entry["lost_in_full"] = lost.json("estimate", "ci", "n") if lost.n else None
    return entry


def _views(records: pd.DataFrame) -> list[str]:
    """The views of the records: `full` and `crop` first, the others by name."""
    names = {str(view) for view in records["view"].unique()}
    return [v for v in PAIR if v in names] + sorted(names - set(PAIR))
