"""A gate speaks of the whole interval: it fails only what is shown to be worse than the limit."""

from __future__ import annotations

from typing import Any

import pytest

from gapbench.analysis.comparison.gate import judged, parse_gate
from gapbench.errors import SettingError


def comparison(**benchmarks: dict[str, tuple[float, float] | None]) -> dict[str, Any]:
    def entry(intervals: dict[str, tuple[float, float] | None]) -> dict[str, Any]:
        level = {measure: {"estimate": 0.5} for measure in intervals}
        delta = {
            measure: {"estimate": sum(ci) / 2 if ci else 0.0, "ci": ci and list(ci), "p_value": 0.5}
            for measure, ci in intervals.items()
        }
        return {"n": 100, "before": level, "after": level, "delta": {**delta, "lost_in_full": None}}

    entries = {name: entry(intervals) for name, intervals in benchmarks.items()}
    return {"runs": [{"label": "before"}, {"label": "after"}], "benchmarks": entries, "more": []}


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("full < -2", True),
        ("full < -3.5", False),  # the estimate, -4, lies below; the upper end does not
        ("full<\u22122 points", True),
        ("signs: full < -2", True),
        ("full > -6", True),
        ("full > -4", False),
        ("crop < 0", False),
    ],
)
def test_the_far_end_of_the_interval_decides(condition: str, met: bool) -> None:
    summary = comparison(signs={"full": (-0.05, -0.03), "crop": (-0.01, 0.01)})
    assert [found for found, _ in judged(parse_gate(condition), summary)] == [met]


def test_each_benchmark_is_tested_by_itself_unless_one_is_named() -> None:
    summary = comparison(a={"full": (-0.05, -0.03)}, b={"full": (-0.01, 0.01)}, c={"crop": (0.0, 0.1)})
    assert [met for met, _ in judged(parse_gate("full < -2"), summary)] == [True, False]
    assert [met for met, _ in judged(parse_gate("b: full < -2"), summary)] == [False]


def test_every_seed_is_judged_and_what_a_run_lacks_is_no_pass() -> None:
    summary = comparison(a={"full": (-0.01, 0.01)}, b={"full": (-0.01, 0.01)})
    seed = {"run": "after-2", "benchmark": "a", "measure": "full", "n": 9, "change": -0.4, "low": -0.5, "high": -0.3}
    assert any(met for met, _ in judged(parse_gate("full < -2"), {**summary, "seeds": {"changes": [seed]}}))
    lacking = {**summary, "not_compared": {"after": ["c"]}}
    with pytest.raises(SettingError, match="after has no answers to compare for c"):
        judged(parse_gate("full < -2"), lacking)
    assert judged(parse_gate("a: full < -2"), lacking), "which it has"
    third = {"label": "third", "benchmarks": comparison(a={"crop": (0.0, 0.1)})["benchmarks"]}
    with pytest.raises(SettingError, match="third has no answers to compare for full"):
        judged(parse_gate("full < -2"), {**summary, "more": [third]})


def test_what_holds_but_is_not_shown_to_hold_is_said() -> None:
    summary = comparison(few={"full": (-0.30, 0.10)}, many={"full": (-0.01, 0.01)})
    said = [(met, text.partition("points")[2]) for met, text in judged(parse_gate("full < -2"), summary)]
    assert said == [(False, "; not excluded by 100 samples"), (False, "")]


@pytest.mark.parametrize("text", ["full", "full < x", "speed < 2", "full <= 2", "", "full < 2 < 3"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="--fail-if"):
        parse_gate(text)


def test_what_cannot_be_evaluated_is_refused_and_not_passed() -> None:
    summary = comparison(a={"full": None}, b={"full": (-0.01, 0.01)})
    with pytest.raises(SettingError, match="has no interval"):
        judged(parse_gate("full < -2"), summary)
    with pytest.raises(SettingError, match="not compared here"):
        judged(parse_gate("lost > 2"), summary)
    with pytest.raises(SettingError, match="not compared here"):
        judged(parse_gate("c: full < 2"), summary)
