"""The changes between two runs, in numbers; `reports/COMPARISON_SCHEMA.md` describes every key.

    pair = compare_pair(before, after)
    pair.benchmarks["signs"]["delta"]["gap"]["ci"]

Changes are paired: the mean over samples of the score after minus the score before, with clusters as the sampling unit.
The change of the gap is a difference in differences, in -2..2. "Lost in full" is a share of the samples that are right
in the crop, which differ between the runs; its change is that of a ratio, and it is not tested.

Limits: groups (categories, evidence areas) are exploratory and not corrected for their number. Further runs are each
compared with the first run and not corrected for their number either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from gapbench.analysis import metrics
from gapbench.analysis.aggregate import (
    RIGHT,
    THOROUGH,
    Effort,
    Json,
    by_evidence,
    by_groups,
    in_mean,
    lost_in_full,
    tally,
)
from gapbench.analysis.comparison.drift import drift, in_words, mark_large
from gapbench.analysis.comparison.left_out import left_out
from gapbench.analysis.comparison.runs import Alert, LoadedRun
from gapbench.analysis.comparison.shared import SIDES, SharedSamples, shared_samples, values_of
from gapbench.analysis.statistics import (
    CLOSED_FROM,
    Estimate,
    change_of_ratio,
    holm,
    macro_mean,
    mean_difference,
    mean_interval,
    share_closed,
)

SHARES, CHANGES, CHANGES_OF_GAPS = (0.0, 1.0), (-1.0, 1.0), (-2.0, 2.0)
LOST = "lost_in_full"
MEASURES = {
    "full": (SHARES, CHANGES),
    "crop": (SHARES, CHANGES),
    "gap": (CHANGES, CHANGES_OF_GAPS),
    LOST: (SHARES, CHANGES),
}
"""The bounds of each measure and of its changes."""


@dataclass(frozen=True)
class RunPair:
    """One run against another: its numbers for `comparison.json`, and the alerts.

    `numbers` are the `benchmarks` (an entry per shared benchmark), `macro` (the mean over gaps of annotated evidence)
    and `macro_model` (the mean over regions that a model made); each mean may be None. `not_compared` names the
    benchmarks of the first run for which the second has no answers.
    """

    numbers: Json
    alerts: list[Alert]
    not_compared: list[str]


def compare_pair(before: LoadedRun, after: LoadedRun) -> RunPair:
    """Compare `after` with `before`. Raises RunError as `gapbench.analysis.comparison.shared.shared_samples` does."""
    shared = shared_samples(before.records, after.records, (before.label, after.label))
    notices = {**after.card_texts("notice"), **before.card_texts("notice")}
    benchmarks: dict[str, Json] = {}
    changes: dict[str, dict[str, Estimate]] = {}
    for name, samples in shared.items():
        benchmarks[name], changes[name] = _benchmark(samples, notices.get(name, ""))
        metric_names = tuple(dict.fromkeys((*before.metrics(name), *after.metrics(name))))
        of_both = [run.records[run.records["benchmark"] == name] for run in (before, after)]
        benchmarks[name] |= {
            "headline_metric": metric_names[0],
            "metrics": _metrics(name, metric_names, samples, before, after),
            "drift": drift(of_both[0], of_both[1], samples.samples),
        }
    mark_large(benchmarks)
    families = by_evidence(benchmarks)
    for family in families:
        p_values = {name: entry["p_value"] for name, entry in family.items() if entry["p_value"] is not None}
        for name, p_value in holm(p_values).items():
            benchmarks[name]["p_value_holm"] = p_value
    # Benchmarks with a gap come first, then hold-outs, both by name.
    ordered = dict(sorted(benchmarks.items(), key=lambda item: (item[1]["delta"]["gap"] is None, item[0])))
    macro, macro_model = (_macro(family, changes) for family in families)
    numbers = {"benchmarks": ordered, "macro": macro, "macro_model": macro_model}
    not_compared = sorted({str(name) for name in before.records["benchmark"].unique()} - set(shared))
    drifted = [{"benchmark": name, "text": text} for name, one in ordered.items() if (text := in_words(one["drift"]))]
    return RunPair(numbers, [*left_out(before, after, shared), *drifted], not_compared)


def _benchmark(shared: SharedSamples, notice: str) -> tuple[Json, dict[str, Estimate]]:
    """The entry of one benchmark, and the changes of its measures."""
    table = shared.table
    numbers, changes = _numbers(table, shared.views, THOROUGH)
    main = "gap" if "gap" in changes else shared.views[0]
    transitions = {
        view: tally(table[f"after_{view}"], table[f"before_{view}"], "fixed", "broken") for view in shared.views
    }
    entry = {
        **numbers,
        "evidence": shared.evidence,
        "gap_closed": _gap_closed(table) if main == "gap" else None,
        "crop_lost_more": _crop_lost_more(changes),
        "tested": main,
        "p_value": changes[main].p_value,
        "p_value_holm": None,
        "mde": changes[main].mde,
        "fixed": transitions.get("full", {}).get("fixed"),
        "broken": transitions.get("full", {}).get("broken"),
        "changed": _changed(table) if "full" in transitions else {"fixed": [], "broken": []},
        "transitions": {view: transitions.get(view) for view in ("full", "crop")},
        "n": len(table),
        "clusters": int(table["cluster"].nunique()),
        "dropped": shared.dropped,
        "only_before": shared.only[0],
        "only_after": shared.only[1],
        **by_groups(table, lambda rows, effort: _numbers(rows, shared.views, effort)[0]),
        "notice": notice,
    }
    return entry, changes


def _metrics(
    benchmark: str, metric_names: Sequence[str], shared: SharedSamples, before: LoadedRun, after: LoadedRun
) -> Json:
    """Every metric before and after, and its paired change, over the compared views and samples."""
    compared = shared.samples.index.isin(shared.table.index)
    sides = []
    for run in (before, after):
        by_view = metrics.rows_of(run.records[run.records["benchmark"] == benchmark], shared.samples)
        sides.append({view: metrics.answers_of(by_view[view], compared) for view in shared.views})
    entries: Json = {}
    for metric in metric_names:
        levels = [{view: metrics.measure(metric, rows).json() for view, rows in side.items()} for side in sides]
        delta = {view: metrics.change(metric, *(side[view] for side in sides)).json() for view in shared.views}
        entries[metric] = {"before": levels[0], "after": levels[1], "delta": delta}
    return entries


def _numbers(table: pd.DataFrame, views: Sequence[str], effort: Effort) -> tuple[Json, dict[str, Estimate]]:
    """`before`, `after` and `delta` of every measure over the rows of `table`; None for an unmeasured one."""
    clusters = table["cluster"].to_numpy()
    numbers: Json = {key: dict.fromkeys(MEASURES) for key in (*SIDES, "delta")}
    changes: dict[str, Estimate] = {}
    for measure in (*views, *(["gap"] if len(views) == 2 else [])):
        of_levels, of_changes = MEASURES[measure]
        before, after = (values_of(table, side, measure) for side in SIDES)
        for side, values in zip(SIDES, (before, after), strict=True):
            level = mean_interval(values, clusters, bounds=of_levels)
            numbers[side][measure] = level.json("estimate", "ci")
        changes[measure] = mean_difference(after - before, clusters, bounds=of_changes, **effort)
        numbers["delta"][measure] = _as_json(changes[measure])
    if len(views) == 2:
        for side in SIDES:
            level = lost_in_full(table[f"{side}_full"], table[f"{side}_crop"], table["cluster"])
            numbers[side][LOST] = level.json("estimate", "ci", "n") if level.n else None
        change = change_of_ratio(_lost(table, "before"), _lost(table, "after"), clusters)
        if change.estimate is not None:
            changes[LOST], numbers["delta"][LOST] = change, _as_json(change)
    return numbers, changes


def _lost(table: pd.DataFrame, side: str) -> tuple[pd.Series[bool], pd.Series[bool]]:
    """Numerators and denominators of "lost in full": right in the crop and wrong in full; right in the crop."""
    full, crop = (table[f"{side}_{view}"] >= RIGHT for view in ("full", "crop"))
    return crop & ~full, crop


def _gap_closed(table: pd.DataFrame) -> Json:
    """1 - gap after / gap before; None, with a reason, unless the gap before is large against its standard error."""
    before, after = (values_of(table, side, "gap") for side in SIDES)
    closed = share_closed(before, after, table["cluster"].to_numpy())
    reason = ""
    if closed.clusters < 2:
        reason = "all samples are one cluster"
    elif not closed.ci and before.mean() <= 0:
        reason = "the gap before is not above zero"
    elif not closed.ci:
        reason = f"the gap before is less than {CLOSED_FROM:g} times its standard error"
    return {**closed.json("estimate", "ci"), "reason": reason}


def _crop_lost_more(changes: Mapping[str, Estimate]) -> bool:
    """Whether the crop lost more than the full image gained; if so, a smaller gap is no success."""
    if "gap" not in changes:
        return False
    full, crop = (changes[view].estimate or 0.0 for view in ("full", "crop"))
    return crop < 0 and -crop > full


def _changed(table: pd.DataFrame) -> dict[str, list[str]]:
    """The ids of the samples that are fixed and broken in the full view."""
    before, after = (table[f"{side}_full"] >= RIGHT for side in SIDES)
    return {"fixed": list(table.index[~before & after]), "broken": list(table.index[before & ~after])}


def _macro(benchmarks: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Mapping[str, Estimate]]) -> Json | None:
    """The unweighted mean over the benchmarks that have a gap, or None if none has."""
    with_gap = {name: changes[name] for name in in_mean({n: one["delta"]["gap"] for n, one in benchmarks.items()})}
    if not with_gap:
        return None
    means: dict[str, Estimate] = {}
    levels: dict[str, Json] = {side: {} for side in SIDES}
    for measure, (_, bounds) in MEASURES.items():
        parts = {name: change[measure] for name, change in with_gap.items() if measure in change}
        if parts:
            means[measure] = macro_mean([*parts.values()], bounds=bounds)
        for side, level in levels.items():
            estimates = [benchmarks[name][side][measure]["estimate"] for name in parts]
            level[measure] = {"estimate": float(np.mean(estimates))} if parts else None
    if LOST in means:
        means[LOST] = replace(means[LOST], p_value=None, mde=None)
    delta = {**dict.fromkeys(MEASURES), **{measure: _as_json(mean) for measure, mean in means.items()}}
    return {"benchmarks": len(with_gap), **levels, "delta": delta, "crop_lost_more": _crop_lost_more(means)}


def _as_json(estimate: Estimate) -> Json:
    return estimate.json("estimate", "ci", "p_value", "mde", "se", "method")
