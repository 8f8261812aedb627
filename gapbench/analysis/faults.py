"""Faults: records without a complete answer that a rule could read, compared between the full image and the crop.

    found, bound = faults(records, samples)    # {"cut_off": {"full": 0.98, "crop": 0.0, …}}, [-0.02, 1.0]
    mark_alerts(benchmarks)                    # adds "p_value_holm" and "alert" to the faults of all benchmarks

A fault that grows with the length of a prompt or an answer hits the full image more than the crop. Unparsed answers
score 0 and failed ones leave the pairs, so such a fault makes a gap where none is. The share of a fault does not show
this: 2 % in one view alone can be the whole gap, and 15 % in both views can be none of it. So the difference of the
shares is tested, and the gap is bounded.

Test: per sample, the share of a view's repeats with the fault; then the same paired, clustered sign-flip test as for
the gap. A record has one kind of fault at most, so no fault is tested twice. Holm's method corrects over all kinds and
benchmarks. A kind that never occurs can never be rejected, so it is left out of the correction.

Alert: the corrected p-value is below 5 %. A handful of cases can make a gap without being significant. So the kinds
above 5 % that differ in the direction of the gap have an alert too if the interval of the gap excludes zero and the
kinds above 5 % together differ between the views by at least the gap.

Bound (Manski 1989, "Anatomy of the Selection Problem"; no assumption about what is missing): the gap over all samples
with records in both views, with missing scores of the full image counted as 1 and of the crop as 0, and the reverse.
A record's score is missing if it has a fault, unless it was read as right: the limit of new tokens can hide an answer,
but it hardly makes a right one.

Limits: the bound holds for these samples; it does not include the sampling error that the interval describes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gapbench.analysis.aggregate import PAIR, THOROUGH, Json
from gapbench.analysis.statistics import LEVEL, holm, mean_interval, sign_flip_test
from gapbench.types import TOO_LONG

KINDS = ("too_long", "failed", "cut_off", "judge_failed", "unparsed")
"""The first that applies to a record is its kind, so `failed` holds the failures that are not `too_long`, and
`unparsed` the complete answers that no rule could read."""
UNPARSED_WORTH_A_WARNING = 0.1
"""Share in one view that is worth a warning by itself. A difference between the views is tested."""
THOUGHT_CUT_OFF = "thought-cut-off"
"""A rule of `gapbench.types.Record`."""


def faults(records: pd.DataFrame, samples: pd.DataFrame) -> tuple[Json, list[float] | None]:
    """The kinds of faults that occur in the records of one benchmark, and the bound of its gap.

    Each kind has its share in `full` and `crop`, their `difference` (full minus crop) with its `ci`, and the `p_value`.
    All cover the samples with records in both views; without one there is no kind and the bound is None. `samples` has
    the `cluster` of each sample.
    """
    kind = _kind(records)
    missing = (kind != "") & (records["outcome"] != "right")
    values = {"least": records["score"].mask(missing, 0.0), "most": records["score"].mask(missing, 1.0)}
    occurring = [name for name in KINDS if (kind == name).any()]
    values |= {name: (kind == name).astype(float) for name in occurring}
    means = (
        pd.DataFrame(values)
        .join(records[["sample", "view"]])
        .pivot_table(index="sample", columns="view", aggfunc="mean", observed=True)
    )
    asked = means.reindex(columns=pd.MultiIndex.from_product([values, PAIR])).dropna().sort_index()
    if asked.empty:
        return {}, None
    clusters = samples.loc[asked.index, "cluster"].to_numpy()
    found = {}
    for name in occurring:
        full, crop = (asked[name, view].to_numpy(float) for view in PAIR)
        if full.any() or crop.any():
            difference = mean_interval(full - crop, clusters, bounds=(-1.0, 1.0))
            found[name] = {
                "full": float(full.mean()),
                "crop": float(crop.mean()),
                "difference": difference.estimate,
                **difference.json("ci"),
                "p_value": sign_flip_test(full - crop, clusters, **THOROUGH),
            }
    low, high = (
        float((asked[crop, "crop"] - asked[full, "full"]).mean())
        for crop, full in (("least", "most"), ("most", "least"))
    )
    return found, [low, high]


def _kind(records: pd.DataFrame) -> pd.Series[Any]:
    """The kind of fault of each record, or an empty string. A column that older records lack shows no fault."""
    fields = records.reindex(columns=["outcome", "rule", "cut_off"])
    failed = fields["outcome"] == "failed"
    applies = [
        failed & (fields["rule"] == TOO_LONG),
        failed,
        fields["cut_off"].eq(True),
        fields["outcome"] == "judge_failed",
        fields["outcome"] == "unparsed",
    ]
    return pd.Series(np.select(applies, KINDS, ""), index=records.index)


def mark_alerts(benchmarks: Mapping[str, Mapping[str, Any]]) -> None:
    """Add `p_value_holm` and `alert` to the `faults` of the entries of a summary."""
    p_values = {(name, kind): fault["p_value"] for name, b in benchmarks.items() for kind, fault in b["faults"].items()}
    for (name, kind), p in holm(p_values).items():
        benchmarks[name]["faults"][kind] |= {"p_value_holm": p, "alert": p < 1 - LEVEL}
    for entry in benchmarks.values():
        gap, others = entry["gap"], [fault for fault in entry["faults"].values() if not fault["alert"]]
        if gap is not None and not (gap["ci"] and gap["ci"][0] <= 0 <= gap["ci"][1]):
            sign = np.sign(gap["estimate"])
            towards = [float(sign * fault["difference"]) for fault in others]
            for fault, difference in zip(others, towards, strict=True):
                fault["alert"] = difference > 0 and sum(towards) >= abs(gap["estimate"]) - 1e-9


def alerted(entry: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The faults of a benchmark that have an alert, the largest difference first; none in an older summary."""
    kinds = {kind: fault for kind, fault in (entry.get("faults") or {}).items() if fault["alert"]}
    return dict(sorted(kinds.items(), key=lambda item: -abs(item[1]["difference"])))


def mean_bound(gaps: Iterable[Mapping[str, Any]]) -> list[float]:
    """The bound of the mean over the gaps of benchmarks: the mean of their bounds."""
    return [float(end) for end in np.mean([gap["bound"] for gap in gaps], axis=0)]


def wide_bound(gap: Mapping[str, Any] | None) -> Sequence[float] | None:
    """The bound of a gap if it goes beyond the interval at either end, else None; None in an older summary."""
    low, high = (gap or {}).get("bound") or (None, None)
    if gap is None or low is None or high is None:
        return None
    interval = gap.get("ci") or ((low + high) / 2,) * 2
    return (low, high) if low < interval[0] - 1e-9 or high > interval[1] + 1e-9 else None
