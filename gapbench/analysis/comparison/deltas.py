"""What changed between two runs, in numbers: every key is described in `reports/COMPARISON_SCHEMA.md`.

    pair = against(before, after)
    pair.benchmarks["signs"]["delta"]["gap"]["ci"]

Changes are paired: each question's score after minus its score before, the mean over questions, with clusters as
the sampling unit. The change of the gap is a difference in differences, in -2..2.

Limits: groups (categories, evidence areas) are exploratory and corrected for nothing. Several further runs are each
compared with the first and not corrected for one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gapbench.analysis import metrics
from gapbench.analysis.aggregate import RIGHT, Effort, Json, area_bins, by_evidence, tally
from gapbench.analysis.comparison.left_out import left_out
from gapbench.analysis.comparison.runs import Alert, LoadedRun
from gapbench.analysis.comparison.shared import SIDES, Shared, share
from gapbench.analysis.statistics import (
    Estimate,
    Floats,
    holm,
    macro_mean,
    mean_difference,
    mean_interval,
    ratio_of_means,
)

MEASURES = ("full", "crop", "gap")


THOROUGH: Effort = {"resamples": 10_000, "flips": 100_000}
GROUPS: Effort = {"resamples": 10_000, "flips": 19_999}
MANY_GROUPS: Effort = {"resamples": 1_000, "flips": 1_999}


@dataclass(frozen=True)
class RunPair:
    """One run against another: an entry per shared benchmark, their means, and what a reader has to be told.

    `macro` is over gaps of annotated evidence, `macro_model` over those of regions that a model made.
    """

    benchmarks: dict[str, Json]
    macro: Json | None
    macro_model: Json | None
    alerts: list[Alert]


def against(before: LoadedRun, after: LoadedRun) -> RunPair:
    """`after` compared with `before`. Raises RunError as `gapbench.analysis.comparison.shared.share` does."""
    shared = share(before.records, after.records, (before.label, after.label))
    notices = {**after.notices, **before.notices}
    benchmarks: dict[str, Json] = {}
    changes: dict[str, dict[str, Estimate]] = {}
    for name, found in shared.items():
        benchmarks[name], changes[name] = _benchmark(found, notices.get(name, ""))
        named = tuple(dict.fromkeys((*before.metrics(name), *after.metrics(name))))
        benchmarks[name] |= {"headline_metric": named[0], "metrics": _metrics(name, named, found, before, after)}
    families = by_evidence(benchmarks)
    for family in families:
        tested = {name: entry["p_value"] for name, entry in family.items() if entry["p_value"] is not None}
        for name, p_value in holm(tested).items():
            benchmarks[name]["p_value_holm"] = p_value
    # What was measured in both views comes first, hold-outs after it; within each, by name.
    ordered = dict(sorted(benchmarks.items(), key=lambda one: (one[1]["delta"]["gap"] is None, one[0])))
    macro, macro_model = (_macro(family, changes) for family in families)
    return RunPair(ordered, macro, macro_model, left_out(before, after, shared))


def _benchmark(shared: Shared, notice: str) -> tuple[Json, dict[str, Estimate]]:
    table = shared.table
    numbers, changes = _numbers(table, shared.views, THOROUGH)
    main = "gap" if "gap" in changes else shared.views[0]
    moved = {view: _transitions(table, view) for view in shared.views}
    full: Mapping[str, int | None] = moved.get("full", {})
    entry = {
        **numbers,
        "evidence": shared.evidence,
        "gap_closed": _gap_closed(table) if main == "gap" else None,
        "crop_lost_more": _crop_lost_more(changes),
        "tested": main,
        "p_value": changes[main].p_value,
        "p_value_holm": None,
        "mde": _mde(changes[main]),
        "fixed": full.get("fixed"),
        "broken": full.get("broken"),
        "changed": _changed(table) if "full" in moved else {"fixed": [], "broken": []},
        "transitions": {view: moved.get(view) for view in ("full", "crop")},
        "n": len(table),
        "clusters": int(table["cluster"].nunique()),
        "dropped": shared.dropped,
        "only_before": shared.only[0],
        "only_after": shared.only[1],
        "by_category": _by_category(table, shared.views),
        "by_evidence_area": [
            {"from": low, "to": high, **_group(table.loc[labels], shared.views, GROUPS)}
            for low, high, labels in area_bins(table["evidence_area"])
        ],
        "notice": notice,
    }
    return entry, changes


def _metrics(name: str, named: Sequence[str], shared: Shared, before: LoadedRun, after: LoadedRun) -> Json:
    """Every metric before and after, in the views compared and on the questions compared, and its paired change."""
    compared = shared.asked.index.isin(shared.table.index)
    sides = []
    for run in (before, after):
        rows = metrics.rows_of(run.records[run.records["benchmark"] == name], shared.asked)
        each = {view: rows[view] for view in shared.views}
        sides.append(
            {v: r.assign(score=r["score"].where(compared), said=r["said"].where(compared)) for v, r in each.items()}
        )
    return {
        metric: {
            **{
                side: {view: metrics.measure(metric, rows[view]).json() for view in shared.views}
                for side, rows in zip(SIDES, sides, strict=True)
            },
            "delta": {v: metrics.change(metric, sides[0][v], sides[1][v]).json() for v in shared.views},
        }
        for metric in named
    }


def _numbers(table: pd.DataFrame, views: Sequence[str], effort: Effort) -> tuple[Json, dict[str, Estimate]]:
    """`before`, `after` and `delta` of full, crop and gap over the rows of `table`; None for what was not measured."""
    clusters = table["cluster"].to_numpy()
    found: Json = {key: dict.fromkeys(MEASURES) for key in (*SIDES, "delta")}
    changes: dict[str, Estimate] = {}
    for measure in (*views, *(["gap"] if len(views) == 2 else [])):
        signed = measure == "gap"
        before, after = (_values(table, side, measure) for side in SIDES)
        for side, values in zip(SIDES, (before, after), strict=True):
            level = mean_interval(
                values, clusters, bounds=(-1.0, 1.0) if signed else (0.0, 1.0), resamples=effort["resamples"]
            )
            found[side][measure] = level.json("estimate", "ci")
        changes[measure] = mean_difference(
            after - before, clusters, bounds=(-2.0, 2.0) if signed else (-1.0, 1.0), **effort
        )
        found["delta"][measure] = _as_json(changes[measure])
    return found, changes


def _values(table: pd.DataFrame, side: str, measure: str) -> Floats:
    if measure == "gap":
        return _values(table, side, "crop") - _values(table, side, "full")
    return table[f"{side}_{measure}"].to_numpy(float)


def _gap_closed(table: pd.DataFrame) -> Json:
    """1 - gap after / gap before, where the gap before is shown to be above zero."""
    before, after = (_values(table, side, "gap") for side in SIDES)
    ratio = ratio_of_means(after, before, table["cluster"].to_numpy())
    if ratio.estimate is None or ratio.ci is None:
        return {"estimate": None, "ci": None, "reason": "the gap before is not shown to be above zero"}
    return {"estimate": 1 - ratio.estimate, "ci": [1 - ratio.ci[1], 1 - ratio.ci[0]], "reason": ""}


def _crop_lost_more(changes: Mapping[str, Estimate]) -> bool:
    """The crop lost more than the full image gained: a smaller gap is then no success."""
    if "gap" not in changes:
        return False
    full, crop = (changes[view].estimate or 0.0 for view in ("full", "crop"))
    return crop < 0 and -crop > full


def _transitions(table: pd.DataFrame, view: str) -> dict[str, int | None]:
    found = tally(table[f"before_{view}"], table[f"after_{view}"])
    return {"both": found.both, "fixed": found.second_only, "broken": found.first_only, "neither": found.neither}


def _changed(table: pd.DataFrame) -> dict[str, list[str]]:
    """The ids behind `fixed` and `broken`, full view."""
    before, after = (table[f"{side}_full"] >= RIGHT for side in SIDES)
    return {"fixed": list(table.index[~before & after]), "broken": list(table.index[before & ~after])}


def _by_category(table: pd.DataFrame, views: Sequence[str]) -> Json:
    groups = table[table["category"] != ""].groupby("category", sort=True)
    effort = MANY_GROUPS if len(groups) > 100 else GROUPS
    return {str(name): {**_group(part, views, effort), "exploratory": True} for name, part in groups}


def _group(part: pd.DataFrame, views: Sequence[str], effort: Effort) -> Json:
    return {"n": len(part), "clusters": int(part["cluster"].nunique()), **_numbers(part, views, effort)[0]}


def _macro(benchmarks: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Mapping[str, Estimate]]) -> Json | None:
    """The unweighted mean over the benchmarks that have a gap, or None where none has."""
    used = {name: changes[name] for name in benchmarks if "gap" in changes[name]}
    if not used:
        return None
    means: dict[str, Estimate] = {}
    for measure in MEASURES:
        parts = [found[measure] for found in used.values()]
        bounds = (-2.0, 2.0) if measure == "gap" else (-1.0, 1.0)
        means[measure] = parts[0] if len(parts) == 1 else macro_mean(parts, bounds=bounds)
    levels = {
        side: {
            m: {"estimate": float(np.mean([benchmarks[name][side][m]["estimate"] for name in used]))} for m in MEASURES
        }
        for side in SIDES
    }
    return {
        "benchmarks": len(used),
        **levels,
        "delta": {measure: _as_json(found) for measure, found in means.items()},
        "crop_lost_more": _crop_lost_more(means),
    }


def _as_json(e: Estimate) -> Json:
    return e.json("estimate", "ci", "p_value", "se", "method") | {"mde": _mde(e)}


def _mde(e: Estimate) -> float | None:
    """None where so few clusters changed that no test of a repetition with their variance could reach 5 %."""
    return None if e.method == "cluster-exact" else e.mde
