"""What a run means: all its records in, one JSON-ready dictionary out.

    from gapbench import records, summary
    summary.summarise(records.read_frame(Path("runs/glance")), model="glance")

Every key is described in `reports/SUMMARY_SCHEMA.md`. Numbers are rounded nowhere but in the verdict, a
quantity that is undefined is None, and the same records give the same summary in whatever order they come.

How records become numbers: `failed` records are left out of every score, counted and shown; `unparsed` ones
score 0 and their rate is shown. A sample's score in a view is the mean over its answered repeats. The gap
uses only samples answered in both `full` and `crop`. Samples that share a declared cluster or an image hash
are one cluster.

Limits: category rows are exploratory. Many are looked at and none is corrected for that; they use fewer flips, and
beyond 100 categories fewer resamples, to bound the time. The gap compares `full` and `crop`; other views are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.errors import RunError
from gapbench.statistics import (
    Estimate,
    flip_rate,
    holm,
    macro_mean,
    mean_interval,
    merge_clusters,
    paired_gap,
)

SCHEMA_VERSION = 1
KEY = ["benchmark", "sample", "view", "repeat"]
HEADLINE = ("full", "crop")
OUTCOMES = ("right", "wrong", "unparsed", "failed")
RIGHT = 0.5
"""Mean score from which a side counts as right where only right or wrong can be shown."""

Json = dict[str, Any]
Effort = Mapping[str, int]
"""`seed`, `resamples` and `flips` for the statistics."""


def summarise(frame: pd.DataFrame, *, model: str = "", notices: Mapping[str, str] | None = None, seed: int = 0) -> Json:
    """The summary of a run.

    `frame` has one row per record and columns named as the fields of `gapbench.types.Record`; `benchmark`,
    `sample`, `view`, `repeat`, `outcome` and `score` are required. `notices` maps a benchmark to a remark
    shown beside it. Raises RunError for a missing column, a key that occurs twice, an unknown outcome, and an
    answer without a score.
    """
    frame = _checked(frame)
    benchmarks: dict[str, Json] = {}
    gaps: dict[str, Estimate] = {}
    for name, records in frame.groupby("benchmark", sort=True, observed=True):
        benchmarks[str(name)], gap = _benchmark(records, (notices or {}).get(str(name), ""), seed)
        if gap is not None:
            gaps[str(name)] = gap
    for name, p in holm({k: g.p_value for k, g in gaps.items() if g.p_value is not None}).items():
        benchmarks[name]["gap"]["p_value_holm"] = p
    # Of one benchmark the mean is that benchmark, with its own interval and test.
    macro = next(iter(gaps.values())) if len(gaps) == 1 else macro_mean(list(gaps.values())) if gaps else None
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "verdict": verdict(model, benchmarks, macro),
        "views": _views(frame),
        "benchmarks": benchmarks,
        "macro": {"gap": None if macro is None else {**_as_json(macro), "benchmarks": len(gaps)}},
    }


def verdict(model: str, benchmarks: Mapping[str, Json], macro: Estimate | None) -> str:
    """One sentence that claims no more than the interval allows. `benchmarks` as in the summary."""
    who = model or "the model"
    measured = {name: b["gap"] for name, b in benchmarks.items() if b["gap"]}
    if macro is None or macro.estimate is None:
        return _without_gap(who, benchmarks)
    crop, full = (float(np.mean([gap[side] for gap in measured.values()])) for side in ("crop", "full"))
    over = f"over {len(measured)} benchmarks " if len(measured) > 1 else f"on {next(iter(measured))} "
    over = over if len(benchmarks) > 1 else ""
    left_out = len(benchmarks) - len(measured)
    note = f" ({left_out} benchmark{'s' * (left_out > 1)} without a gap left out)" if left_out else ""
    answers = f"{over}{who} answers {_percent(crop)} from the crop and {_percent(full)} from the full image"
    if macro.ci is None:
        points = _points(macro.estimate, 0)
        return f"{answers}: gap {points} points, without an interval as all questions share one picture{note}"
    low, high = macro.ci
    size = _interval(macro.estimate, low, high)
    if low <= 0 <= high:
        return f"no gap shown: {answers}, gap {size}{note}"
    return f"{answers}: gap {size}{', in favour of the full image' if high < 0 else ''}{note}"


def _without_gap(who: str, benchmarks: Mapping[str, Json]) -> str:
    views = [(view, v) for b in benchmarks.values() for view, v in b["views"].items()]
    answered = sorted({view for view, v in views if v["n"]})
    if not views:
        return "nothing was measured: there are no records"
    if not answered:
        return f"nothing was answered: every request to {who} failed"
    missing = [view for view in HEADLINE if view not in answered]
    if not missing:
        return f"no gap measured: {who} answered no sample in both the full image and the crop"
    means = [
        (view, float(np.mean([v["accuracy"] for name, v in views if name == view and v["n"]]))) for view in answered
    ]
    known = ", ".join(f"{_percent(accuracy)} in view {view}" for view, accuracy in means)
    return f"no gap measured: {who} answers {known}, but has no answers in view {' or '.join(missing)}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _points(share: float, digits: int) -> str:
    return f"{round(100 * share, digits) + 0.0:.{digits}f}"


def _interval(estimate: float, low: float, high: float) -> str:
    """Whole points, or tenths where whole ones would make a limit look like zero or hide the width."""
    digits = 0 if all(abs(x) >= 0.01 or x == 0 for x in (low, high)) and high - low >= 0.02 else 1
    return f"{_points(estimate, digits)} points [{_points(low, digits)}, {_points(high, digits)}]"


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


def _benchmark(records: pd.DataFrame, notice: str, seed: int) -> tuple[Json, Estimate | None]:
    samples = _samples(records)
    answered = records[records["outcome"] != "failed"]
    cells = answered.groupby(["sample", "view"], observed=True)["score"].mean()
    # Rows of `samples` are sorted by id, so that the order of the records cannot reach any number.
    scores = cells.unstack("view").reindex(samples.index)
    effort = {"seed": seed, "resamples": 10_000, "flips": 100_000}
    views = {v: _view(records[records["view"] == v], scores.get(v), samples, effort) for v in _views(records)}
    both = [view for view in HEADLINE if view in views and view in scores]
    shown = scores[both].dropna() if both else scores.iloc[:0]
    clusters = samples.loc[shown.index, "cluster"].to_numpy()
    gap, pairs = None, None
    if len(both) == 2 and len(shown):
        full, crop = shown["full"].to_numpy(float), shown["crop"].to_numpy(float)
        gap = paired_gap(full, crop, clusters, **effort)
        asked = [set(records.loc[records["view"] == view, "sample"]) for view in HEADLINE]
        pairs = {
            "both": int(((full >= RIGHT) & (crop >= RIGHT)).sum()),
            "crop_only": int(((full < RIGHT) & (crop >= RIGHT)).sum()),
            "full_only": int(((full >= RIGHT) & (crop < RIGHT)).sum()),
            "neither": int(((full < RIGHT) & (crop < RIGHT)).sum()),
        }
    found: Json = {
        "n": len(samples),
        "clusters": int(samples["cluster"].nunique()),
        "records": len(records),
        "views": views,
        "gap": None,
        "pairs": pairs,
        "by_category": _by_category(shown, samples, effort),
        "by_evidence_area": _by_evidence_area(shown, samples, effort),
        "notice": notice,
    }
    if gap is not None:
        found["gap"] = {
            **_as_json(gap),
            "p_value_holm": None,
            "full": float(full.mean()),
            "crop": float(crop.mean()),
            "dropped": len(asked[0] & asked[1]) - len(shown),
            "unpaired": len(asked[0] ^ asked[1]),
        }
    return found, gap


def _samples(records: pd.DataFrame) -> pd.DataFrame:
    """One row per sample, sorted by id: `cluster` (int), `category` (str), `evidence_area` (float or NaN)."""
    columns = ["cluster", "image_hash", "category", "evidence_area"]
    # A record that failed early may lack what its siblings know, so the first value that is there counts.
    known = records[["sample", "view", "repeat"]].join(records.reindex(columns=columns).replace("", None))
    first = known.sort_values(["sample", "view", "repeat"]).groupby("sample", observed=True)[columns].first()
    text = {c: first[c].astype(object).where(first[c].notna(), "") for c in columns[:3]}
    return pd.DataFrame(
        {
            "cluster": merge_clusters(list(text["cluster"]), list(text["image_hash"])),
            "category": text["category"].astype(str),
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
        "ci": _pair(accuracy.ci),
        "method": accuracy.method,
        "records": len(records),
        "unparsed": _mean(answered["outcome"] == "unparsed"),
        "failed": _mean(records["outcome"] == "failed"),
    }
    for column in ("image_tokens", "output_tokens"):
        row[f"{column}_mean"] = _mean(answered[column]) if column in answered else None
    if "sent_size" in answered:
        sizes = answered["sent_size"].dropna()
        row["sent_pixels_mean"] = _mean(pd.Series(np.array(sizes.tolist(), float).reshape(-1, 2).prod(axis=1)))
    row["flip_rate"] = flip_rate(answered["score"] >= RIGHT, answered["sample"].cat.codes)
    return row


def _by_category(shown: pd.DataFrame, samples: pd.DataFrame, effort: Effort) -> Json:
    category = samples.loc[shown.index, "category"]
    groups = shown[category != ""].groupby(category[category != ""], sort=True)
    if len(groups) > 100:
        effort = {**effort, "resamples": 1_000, "flips": 1_999}
    return {str(name): {**_parts(part, samples, effort), "exploratory": True} for name, part in groups}


def _by_evidence_area(shown: pd.DataFrame, samples: pd.DataFrame, effort: Effort) -> list[Json]:
    """At most six bins (from, to] of about equally many samples, the first one with its lower edge.

    Samples without evidence boxes have no area and are in no bin; equal areas never fall into two bins.
    """
    area = samples.loc[shown.index, "evidence_area"].dropna()
    if area.empty:
        return []
    edges = np.unique(np.quantile(area, np.linspace(0, 1, 7)))
    number = np.clip(np.searchsorted(edges, area, side="left") - 1, 0, max(len(edges) - 2, 0))
    return [
        {
            "from": float(edges[i]),
            "to": float(edges[min(i + 1, len(edges) - 1)]),
            **_parts(shown.loc[area.index[number == i]], samples, effort),
        }
        for i in np.unique(number)
    ]


def _parts(shown: pd.DataFrame, samples: pd.DataFrame, effort: Effort) -> Json:
    """Accuracies and gap of some of the shown samples; a view without answers is None."""
    clusters: NDArray[np.int64] = samples.loc[shown.index, "cluster"].to_numpy()
    row: Json = {"n": len(shown), "clusters": len(np.unique(clusters)), "full": None, "crop": None, "gap": None}
    for view in shown.columns:
        found = mean_interval(shown[view], clusters, seed=effort["seed"], resamples=effort["resamples"])
        row[str(view)] = {"estimate": found.estimate, "ci": _pair(found.ci)}
    if len(shown.columns) == 2:
        few = {**effort, "flips": min(effort["flips"], 19_999)}
        row["gap"] = _as_json(paired_gap(shown["full"], shown["crop"], clusters, **few))
    return row


def _views(records: pd.DataFrame) -> list[str]:
    """`full` and `crop` first, the others by name."""
    names = {str(view) for view in records["view"].unique()}
    return [v for v in HEADLINE if v in names] + sorted(names - set(HEADLINE))


def _as_json(e: Estimate) -> Json:
    return {
        "estimate": e.estimate,
        "ci": _pair(e.ci),
        "p_value": e.p_value,
        "mde": e.mde,
        "se": e.se,
        "method": e.method,
        "n": e.n,
        "clusters": e.clusters,
    }


def _pair(ci: tuple[float, float] | None) -> list[float] | None:
    return None if ci is None else [float(ci[0]), float(ci[1])]


def _mean(column: pd.Series[Any]) -> float | None:
    mean = float(pd.to_numeric(column).mean()) if len(column) else float("nan")
    return None if np.isnan(mean) else mean
