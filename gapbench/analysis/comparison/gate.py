"""A gate: fails when a change is shown to be worse than a limit, with the whole interval and not the estimate alone.

    gates = [parse_gate("full < -2"), parse_gate("signs: gap > 3")]
    [text for gate in gates for met, text in judged(gate, comparison.summary) if met]

`METRIC < LIMIT` is met if the upper end of the change's interval lies below the limit, `METRIC > LIMIT` if its lower
end lies above. Changes are those of `changes`, after minus before, in percentage points.

Limits: an interval covers other samples of the same kind, not another training seed. With several benchmarks, each is
tested by itself; nothing corrects for their number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gapbench.errors import SettingError
from gapbench.util.text import interval, listed, points

METRICS = {"full": "full", "crop": "crop", "gap": "gap", "lost": "lost_in_full", "lost_in_full": "lost_in_full"}
"""Names of measures in a condition, and as `comparison.json` has them."""


@dataclass(frozen=True)
class Gate:
    """A condition on the change of a measure (`limit` in percentage points), of one benchmark or (empty) of each."""

    benchmark: str
    measure: str
    below: bool
    limit: float
    text: str


def parse_gate(text: str) -> Gate:
    """`[BENCHMARK:] METRIC < LIMIT`, or with `>`. Raises SettingError for another form or an unknown metric."""
    form = re.fullmatch(r"\s*(?:(.+):)?\s*([\w-]+)\s*([<>])\s*([-+\u2212]?\d+(?:\.\d+)?)\s*(?:points?|pp)?\s*", text)
    if form is None:
        raise SettingError(f'--fail-if {text!r}: expected METRIC < LIMIT in percentage points, such as "full < -2".')
    benchmark, metric, sign, limit = form.groups()
    if metric.replace("-", "_") not in METRICS:
        raise SettingError(f"--fail-if {text!r}: the metric {metric!r} is unknown. Known are {', '.join(METRICS)}.")
    measure = METRICS[metric.replace("-", "_")]
    return Gate((benchmark or "").strip(), measure, sign == "<", float(limit.replace("\u2212", "-")), text.strip())


def changes(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per run after the first, benchmark and measure: `before`, `after`, and `change` with its interval.

    `summary` is the content of `comparison.json`. Proportions are in 0..1; an end of an interval may be None.
    """
    runs = [(summary["runs"][1]["label"], summary["benchmarks"])]
    runs += [(run["label"], run["benchmarks"]) for run in summary["more"]]
    seeds = (summary.get("seeds") or {}).get("changes", [])
    return [*(row for label, benchmarks in runs for row in changes_of(label, benchmarks)), *seeds]


def changes_of(label: str, benchmarks: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of `changes` of one run, by the name `label`."""
    for name, entry in benchmarks.items():
        for measure, delta in entry["delta"].items():
            if delta:
                low, high = delta["ci"] or (None, None)
                before, after = (entry[side][measure]["estimate"] for side in ("before", "after"))
                yield {"run": label, "benchmark": name, "measure": measure, "n": entry["n"], "before": before,
                       "after": after, "change": delta["estimate"], "low": low, "high": high,
                       "p_value": delta["p_value"]}  # fmt: skip


def judged(gate: Gate, summary: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Whether the gate's condition is met, and the numbers in words, for each run and benchmark that it speaks of.

    Raises SettingError if it cannot be evaluated: no such benchmark or measure, or a change without an interval where
    no other meets the condition.
    """
    every = changes(summary)
    rows = [row for row in every if row["measure"] == gate.measure and gate.benchmark in ("", row["benchmark"])]
    known = [row for row in rows if row["low"] is not None]
    found = []
    for row in known:
        ends = [100 * end < gate.limit if gate.below else 100 * end > gate.limit for end in (row["low"], row["high"])]
        met = all(ends)
        numbers = f"change {points(row['change'])} {interval((row['low'], row['high']), signed=True)} points"
        doubt = f"; not excluded by {row['n']:,} samples" if any(ends) and not met else ""
        found.append((met, f"{gate.text}: {row['run']} on {row['benchmark']}: {numbers}{doubt}"))
    if not rows:
        measured = dict.fromkeys(f"{row['benchmark']}: {row['measure']}" for row in every)
        raise SettingError(f"--fail-if {gate.text!r}: not compared here. Compared are {listed(measured, 12)}.")
    if any(met for met, _ in found):
        return found
    lacks = summary.get("not_compared") or {}
    for run in dict.fromkeys([*(row["run"] for row in every), *lacks]):
        names = [gate.benchmark or gate.measure] if run not in {row["run"] for row in rows} else []
        names += [name for name in lacks.get(run, ()) if gate.benchmark in ("", name)]
        if names:
            raise SettingError(
                f"--fail-if {gate.text!r}: {run} has no answers to compare for {listed(dict.fromkeys(names))}. Measure "
                "it as the first run was measured, or name a benchmark that all runs have (NAME: full < -2)."
            )
    if len(known) < len(rows):
        lacking = next(row["benchmark"] for row in rows if row["low"] is None)
        raise SettingError(
            f"--fail-if {gate.text!r}: the change on {lacking} has no interval, because its samples are too few "
            "clusters. Measure more images, or name a benchmark that has some (NAME: full < -2)."
        )
    return found
