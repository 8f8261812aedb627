"""What a run means: all its records in, one JSON-ready dictionary out.

    from gapbench.analysis import summary; from gapbench.runs import records
    summary.summarise(records.read_frame(Path("runs/glance")), model="glance")

Every key is described in `reports/SUMMARY_SCHEMA.md`. Numbers are rounded nowhere but in the verdict, a
quantity that is undefined is None, and the same records give the same summary in whatever order they come.

How records become numbers: `failed` records are left out of every score, counted and shown; `unparsed` and
`judge_failed` ones score 0 and their rates are shown. A sample's score in a view is the mean over its answered
repeats. The gap uses only samples answered in both `full` and `crop`. Samples that share a declared cluster or an
image hash are one cluster. Gaps whose regions a model made are a family of their own: their mean, their correction and
their sentence are never joined with those of annotated evidence.

Limits: category rows are exploratory. Many are looked at and none is corrected for that; they use fewer flips, and
beyond 100 categories fewer resamples, to bound the time. The gap compares `full` and `crop`; other views are listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.analysis import metrics
from gapbench.analysis.aggregate import PAIR, RIGHT, Effort, Json, area_bins, by_evidence, mean_scores, tally
from gapbench.analysis.statistics import (
    Estimate,
    flip_rate,
    holm,
    macro_mean,
    mean_interval,
    merge_clusters,
    paired_gap,
)
from gapbench.analysis.verdict import verdict
from gapbench.errors import RunError

SCHEMA_VERSION = 3
KEY = ["benchmark", "sample", "view", "repeat"]
OUTCOMES = ("right", "wrong", "unparsed", "judge_failed", "failed")


def summarise(
    frame: pd.DataFrame,
    *,
    model: str = "",
    notices: Mapping[str, str] | None = None,
    named: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> Json:
    """The summary of a run.

    `frame` has one row per record and columns named as the fields of `gapbench.types.Record`; `benchmark`,
    `sample`, `view`, `repeat`, `outcome` and `score` are required. `notices` maps a benchmark to a remark
    shown beside it, `named` to its metrics (`gapbench.analysis.metrics`), the headline first; by default the accuracy
    alone.
    Raises RunError for a missing column, a key that occurs twice, an unknown outcome, an answer without a score, an
    unknown metric, and a benchmark in which annotated evidence is mixed with regions that a model made.
    """
    frame = _checked(frame)
    benchmarks: dict[str, Json] = {}
    gaps: dict[str, Estimate] = {}
    for name, records in frame.groupby("benchmark", sort=True, observed=True):
        wanted = (named or {}).get(str(name)) or (metrics.HEADLINE,)
        benchmarks[str(name)], gap = _benchmark(str(name), records, wanted, (notices or {}).get(str(name), ""), seed)
        if gap is not None:
            gaps[str(name)] = gap
    families = [{name: gaps[name] for name in family if name in gaps} for family in by_evidence(benchmarks)]
    for family in families:
        for name, p in holm({name: gap.p_value for name, gap in family.items() if gap.p_value is not None}).items():
            benchmarks[name]["gap"]["p_value_holm"] = p
    macro, macro_model = (_macro(list(family.values())) for family in families)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "verdict": verdict(model, benchmarks, macro, macro_model),
        "views": _views(frame),
        "benchmarks": benchmarks,
        "macro": {"gap": macro and {**macro.json(), "benchmarks": len(families[0])}},
        "macro_model": {"gap": macro_model and {**macro_model.json(), "benchmarks": len(families[1])}},
    }


def _macro(gaps: list[Estimate]) -> Estimate | None:
    """Of one benchmark the mean is that benchmark, with its own interval and test."""
    return None if not gaps else gaps[0] if len(gaps) == 1 else macro_mean(gaps)


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    absent = [c for c in (*KEY, "outcome", "score") if c not in frame.columns]
    if absent and len(frame):
        raise RunError(
            f"the records have no column {', '.join(absent)}: found {', '.join(map(str, frame.columns))}; "
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
            "remove the second one from records.jsonl, or summarise the two runs apart"
        )
    for wrong, what in (
        (~frame["outcome"].isin(OUTCOMES), f"an outcome other than {', '.join(OUTCOMES)}"),
        ((frame["outcome"] != "failed") & ~frame["score"].between(0, 1), "an answer without a score in 0..1"),
    ):
        if wrong.any():
            row = frame[wrong].iloc[0]
            key = ", ".join(f"{c} {row[c]}" for c in KEY)
            raise RunError(
                f"the record of {key} has {what}: outcome {row['outcome']}, score {row['score']}; score the run again"
            )
    return frame


def _benchmark(
    name: str, records: pd.DataFrame, wanted: Sequence[str], notice: str, seed: int
) -> tuple[Json, Estimate | None]:
    samples = _samples(records)
    # Rows of `samples` are sorted by id, so that the order of the records cannot reach any number.
    scores = mean_scores(records).reindex(samples.index)
    effort = {"seed": seed, "resamples": 10_000, "flips": 100_000}
    views = {v: _view(records[records["view"] == v], scores.get(v), samples, effort) for v in _views(records)}
    both = [view for view in PAIR if view in views and view in scores]
    shown = scores[both].dropna() if both else scores.iloc[:0]
    clusters = samples.loc[shown.index, "cluster"].to_numpy()
    gap, pairs = None, None
    if len(both) == 2 and len(shown):
        full, crop = shown["full"].to_numpy(float), shown["crop"].to_numpy(float)
        gap = paired_gap(full, crop, clusters, **effort)
        asked = [set(records.loc[records["view"] == view, "sample"]) for view in PAIR]
        counted = tally(shown["crop"], shown["full"])
        pairs = {
            "both": counted.both,
            "crop_only": counted.first_only,
            "full_only": counted.second_only,
            "neither": counted.neither,
        }
    found: Json = {
        "n": len(samples),
        "clusters": int(samples["cluster"].nunique()),
        "records": len(records),
        "evidence": _evidence(name, records),
        "views": views,
        "gap": None,
        "pairs": pairs,
        "headline_metric": wanted[0],
        "metrics": _metrics(wanted, records, samples, seed),
        "by_category": _by_category(shown, samples, effort),
        "by_evidence_area": [
            {"from": low, "to": high, **_parts(shown.loc[labels], samples, effort)}
            for low, high, labels in area_bins(samples.loc[shown.index, "evidence_area"])
        ],
        "notice": notice,
    }
    if gap is not None:
        found["gap"] = {
            **gap.json(),
            "p_value_holm": None,
            "full": float(full.mean()),
            "crop": float(crop.mean()),
            "dropped": len(asked[0] & asked[1]) - len(shown),
            "unpaired": len(asked[0] ^ asked[1]),
        }
    return found, gap


def _evidence(name: str, records: pd.DataFrame) -> str:
    """`annotated`, `model`, or empty where no record has a region."""
    kinds = sorted({str(kind) for kind in records["evidence"].unique() if kind}) if "evidence" in records else []
    if len(kinds) > 1:
        raise RunError(
            f"{name}: its records have evidence of {len(kinds)} kinds ({', '.join(kinds)}); expected one. A gap over "
            "both would mean nothing: measure annotated evidence and model-made regions in two runs."
        )
    return kinds[0] if kinds else ""


def _metrics(wanted: Sequence[str], records: pd.DataFrame, samples: pd.DataFrame, seed: int) -> Json:
    """Every metric in every view, and its paired change from full to crop under `gap`."""
    rows = metrics.rows_of(records, samples)
    found: Json = {}
    for name in wanted:
        measured = {view: metrics.measure(name, rows[view], seed=seed) for view in _views(records)}
        if all(view in rows for view in PAIR):
            measured["gap"] = metrics.change(name, rows["full"], rows["crop"], seed=seed)
        found[name] = {key: one.json() for key, one in measured.items()}
    return found


def _samples(records: pd.DataFrame) -> pd.DataFrame:
    """One row per sample, sorted by id: `cluster` (int), `category`, `declared` and `image_hash` (str), `evidence_area`
    (float or NaN)."""
    columns = ["cluster", "image_hash", "category", "evidence_area"]
    # A record that failed early may lack what its siblings know, so the first value that is there counts.
    known = records[["sample", "view", "repeat"]].join(records.reindex(columns=columns).replace("", None))
    first = known.sort_values(["sample", "view", "repeat"]).groupby("sample", observed=True)[columns].first()
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


def _view(records: pd.DataFrame, scores: pd.Series[float] | None, samples: pd.DataFrame, effort: Effort) -> Json:
    answered = records[records["outcome"] != "failed"]
    known = scores.dropna() if scores is not None else pd.Series(dtype=float)
    clusters = samples.loc[known.index, "cluster"].to_numpy() if len(known) else []
    accuracy = mean_interval(known.to_numpy(float), clusters, seed=effort["seed"], resamples=effort["resamples"])
    row: Json = {
        "n": accuracy.n,
        "accuracy": accuracy.estimate,
        "ci": accuracy.json()["ci"],
        "method": accuracy.method,
        "records": len(records),
        "unparsed": _mean(answered["outcome"] == "unparsed"),
        "judge_failed": _mean(answered["outcome"] == "judge_failed"),
        "judged": _mean(answered["rule"] == "judge") if "rule" in answered else None,
        "failed": _mean(records["outcome"] == "failed"),
    }
    for column in ("images", "sent_pixels", "image_tokens", "output_tokens"):
        row[f"{column}_mean"] = _mean(answered[column]) if column in answered else None
    row["flip_rate"] = flip_rate(answered["score"] >= RIGHT, answered["sample"].cat.codes)
    return row


def _by_category(shown: pd.DataFrame, samples: pd.DataFrame, effort: Effort) -> Json:
    category = samples.loc[shown.index, "category"]
    groups = shown[category != ""].groupby(category[category != ""], sort=True)
    if len(groups) > 100:
        effort = {**effort, "resamples": 1_000, "flips": 1_999}
    return {str(name): {**_parts(part, samples, effort), "exploratory": True} for name, part in groups}


def _parts(shown: pd.DataFrame, samples: pd.DataFrame, effort: Effort) -> Json:
    """Accuracies and gap of some of the shown samples; a view without answers is None."""
    clusters: NDArray[np.int64] = samples.loc[shown.index, "cluster"].to_numpy()
    row: Json = {"n": len(shown), "clusters": len(np.unique(clusters)), "full": None, "crop": None, "gap": None}
    for view in shown.columns:
        found = mean_interval(shown[view], clusters, seed=effort["seed"], resamples=effort["resamples"])
        row[str(view)] = found.json("estimate", "ci")
    if len(shown.columns) == 2:
        few = {**effort, "flips": min(effort["flips"], 19_999)}
        row["gap"] = paired_gap(shown["full"], shown["crop"], clusters, **few).json()
    return row


def _views(records: pd.DataFrame) -> list[str]:
    """`full` and `crop` first, the others by name."""
    names = {str(view) for view in records["view"].unique()}
    return [v for v in PAIR if v in names] + sorted(names - set(PAIR))


def _mean(column: pd.Series[Any]) -> float | None:
    mean = float(pd.to_numeric(column).mean()) if len(column) else float("nan")
    return None if np.isnan(mean) else mean
