"""What changed between two runs, in numbers: every key is described in `reports/COMPARISON_SCHEMA.md`.

    pair = against(before, after)
    pair.benchmarks["signs"]["delta"]["gap"]["ci"]

Changes are paired: each question's score after minus its score before, the mean over questions with clusters of
pictures as the sampling unit. The change of the gap is a difference in differences, in -2..2.

Limits: groups (categories, evidence areas) are exploratory and corrected for nothing. Several further runs are each
compared with the first and not corrected for one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gapbench.comparison.left_out import left_out
from gapbench.comparison.questions import SIDES, Shared, share
from gapbench.comparison.runs import Alert, LoadedRun
from gapbench.statistics import (
    Estimate,
    Floats,
    holm,
    macro_mean,
    mean_difference,
    mean_interval,
    ratio_of_means,
)

RIGHT = 0.5
"""Mean score from which an answer counts as right where only right or wrong can be shown."""
BINS = 6
MEASURES = ("full", "crop", "gap")

Json = dict[str, Any]
Effort = Mapping[str, int]
"""`resamples` and `flips` for the statistics."""

THOROUGH: Effort = {"resamples": 10_000, "flips": 100_000}
GROUPS: Effort = {"resamples": 10_000, "flips": 19_999}
MANY_GROUPS: Effort = {"resamples": 1_000, "flips": 1_999}


@dataclass(frozen=True)
class Pair:
    """One run against another: an entry per shared benchmark, their mean, and what a reader has to be told."""

    benchmarks: dict[str, Json]
    macro: Json | None
    alerts: list[Alert]


def against(before: LoadedRun, after: LoadedRun) -> Pair:
    """`after` compared with `before`. Raises RunError as `gapbench.comparison.questions.share` does."""
    shared = share(before.records, after.records, (before.label, after.label))
    notices = {**after.notices, **before.notices}
    benchmarks, tested = {}, {}
    changes: dict[str, dict[str, Estimate]] = {}
    for name, found in shared.items():
        benchmarks[name], changes[name] = _benchmark(found, notices.get(name, ""))
        p_value = benchmarks[name]["p_value"]
        if p_value is not None:
            tested[name] = p_value
    for name, p_value in holm(tested).items():
        benchmarks[name]["p_value_holm"] = p_value
    # What was measured in both views comes first, hold-outs after it; within each, by name.
    ordered = dict(sorted(benchmarks.items(), key=lambda one: (one[1]["delta"]["gap"] is None, one[0])))
    return Pair(ordered, _macro(benchmarks, changes), left_out(before, after, shared))


def _benchmark(shared: Shared, notice: str) -> tuple[Json, dict[str, Estimate]]:
    table = shared.table
    numbers, changes = _numbers(table, shared.views, THOROUGH)
    main = "gap" if "gap" in changes else shared.views[0]
    moved = {view: _transitions(table, view) for view in shared.views}
    full: Mapping[str, int | None] = moved.get("full", {})
    entry = {
        **numbers,
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
        "by_evidence_area": _by_evidence_area(table, shared.views),
        "notice": notice,
    }
    return entry, changes


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
            found[side][measure] = {"estimate": level.estimate, "ci": _pair(level.ci)}
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
    before, after = (table[f"{side}_{view}"].to_numpy(float) >= RIGHT for side in SIDES)
    return {
        "both": int((before & after).sum()),
        "fixed": int((~before & after).sum()),
        "broken": int((before & ~after).sum()),
        "neither": int((~before & ~after).sum()),
    }


def _changed(table: pd.DataFrame) -> dict[str, list[str]]:
    """The ids behind `fixed` and `broken`, full view."""
    before, after = (table[f"{side}_full"] >= RIGHT for side in SIDES)
    return {"fixed": list(table.index[~before & after]), "broken": list(table.index[before & ~after])}


def _by_category(table: pd.DataFrame, views: Sequence[str]) -> Json:
    groups = table[table["category"] != ""].groupby("category", sort=True)
    effort = MANY_GROUPS if len(groups) > 100 else GROUPS
    return {str(name): {**_group(part, views, effort), "exploratory": True} for name, part in groups}


def _by_evidence_area(table: pd.DataFrame, views: Sequence[str]) -> list[Json]:
    """At most six bins (from, to] of about equally many questions, cut as in `summary.json`."""
    sized = table.dropna(subset=["evidence_area"])
    if sized.empty:
        return []
    area: NDArray[np.float64] = sized["evidence_area"].to_numpy(float)
    edges = np.unique(np.quantile(area, np.linspace(0, 1, BINS + 1)))
    number = np.clip(np.searchsorted(edges, area, side="left") - 1, 0, max(len(edges) - 2, 0))
    return [
        {
            "from": float(edges[i]),
            "to": float(edges[min(i + 1, len(edges) - 1)]),
            **_group(sized[number == i], views, GROUPS),
        }
        for i in np.unique(number)
    ]


def _group(part: pd.DataFrame, views: Sequence[str], effort: Effort) -> Json:
    return {"n": len(part), "clusters": int(part["cluster"].nunique()), **_numbers(part, views, effort)[0]}


def _macro(benchmarks: Mapping[str, Json], changes: Mapping[str, Mapping[str, Estimate]]) -> Json | None:
    """The unweighted mean over the benchmarks that have a gap, or None where none has."""
    used = {name: found for name, found in changes.items() if "gap" in found}
    if not used:
        return None
    means: dict[str, Estimate] = {}
    for measure in MEASURES:
        parts = [found[measure] for found in used.values()]
        bounds = (-2.0, 2.0) if measure == "gap" else (-1.0, 1.0)
        means[measure] = parts[0] if len(parts) == 1 else macro_mean(parts, bounds=bounds)
    levels = {
        side: {m: {"estimate": _mean(benchmarks[name][side][m]["estimate"] for name in used)} for m in MEASURES}
        for side in SIDES
    }
    return {
        "benchmarks": len(used),
        **levels,
        "delta": {measure: _as_json(found) for measure, found in means.items()},
        "crop_lost_more": _crop_lost_more(means),
    }


def _as_json(e: Estimate) -> Json:
    return {
        "estimate": e.estimate,
        "ci": _pair(e.ci),
        "p_value": e.p_value,
        "mde": _mde(e),
        "se": e.se,
        "method": e.method,
    }


def _mde(e: Estimate) -> float | None:
    """None where so few pictures changed that no test of a repetition with their variance could reach 5 %."""
    return None if e.method == "cluster-exact" else e.mde


def _pair(ci: tuple[float, float] | None) -> list[float] | None:
    return None if ci is None else [float(ci[0]), float(ci[1])]


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))
