"""The form of answers before and after: what is counted, what is called large, and what it is said to mean."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from gapbench.analysis.comparison.drift import drift, in_words, mark_large

PLAIN = {"outcome": "right", "output": "red", "output_tokens": 2, "cut_off": False, "rule": "text-exact"}


def records(count: int = 40, view: str = "full", **changes: Any) -> pd.DataFrame:
    """One answer to each of `count` samples; a callable change gets the sample's number."""
    rows = []
    for number in range(count):
        made = {key: value(number) if callable(value) else value for key, value in changes.items()}
        rows.append({"sample": f"{number:03d}", "view": view, "repeat": 0, **PLAIN, **made})
    return pd.DataFrame(rows)


def compared(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, Any]:
    names = sorted({*before["sample"], *after["sample"]})
    samples = pd.DataFrame({"cluster": range(len(names))}, index=pd.Index(names))
    entry = drift(before, after, samples)
    mark_large({"mine": {"drift": entry}})
    return entry


def test_levels_are_means_over_the_samples_of_both_runs() -> None:
    before = records(4, output=lambda n: "a" * n, output_tokens=lambda n: n, cut_off=lambda n: n == 3)
    found = compared(
        before, records(3, outcome=lambda n: "unparsed" if n else "right", rule=lambda n: "" if n else "x")
    )
    assert found["full"]["n"] == 3, "the fourth sample is in one run alone"
    assert found["full"]["before"] == {"characters": 1.0, "tokens": 1.0, "cut_off": 0.0, "unparsed": 0.0, "failed": 0.0,
                                       "rules": {"text-exact": 1.0}}  # fmt: skip
    assert found["full"]["after"]["rules"] == {"none": pytest.approx(2 / 3), "x": pytest.approx(1 / 3)}
    assert found["full"]["after"]["unparsed"] == pytest.approx(2 / 3)
    assert found["crop"] is None


def test_failed_answers_have_no_length_and_no_rule_and_count_as_failed() -> None:
    failing = records(4, outcome=lambda n: "failed" if n % 2 else "right", output=lambda n: "" if n % 2 else "red")
    found = compared(records(4), failing)["full"]["after"]
    assert (found["failed"], found["characters"], found["rules"]) == (0.5, 3.0, {"text-exact": 1.0})


def test_repeats_of_a_sample_count_once() -> None:
    repeated = pd.concat([records(2), records(1, output="reddish", repeat=1)])
    assert compared(repeated, records(2))["full"]["before"]["characters"] == (5 + 3) / 2


def test_unknown_token_counts_are_no_zero() -> None:
    found = compared(records(3, output_tokens=None), records(3))["full"]
    assert (found["before"]["tokens"], found["after"]["tokens"], found["large"]) == (None, 2.0, [])


def test_equal_runs_show_no_change() -> None:
    found = compared(records(), records())
    assert found["full"]["large"] == []
    assert in_words(found) == ""


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("characters", {"output": "The sign is red."}, "3.0 → 16.0 characters on average"),
        ("tokens", {"output_tokens": 9}, "2.0 → 9.0 tokens on average"),
        ("cut_off", {"cut_off": lambda n: n < 10}, "cut off 0.0% → 25.0%"),
        ("unparsed", {"outcome": lambda n: "unparsed" if n < 10 else "wrong"}, "unparsed 0.0% → 25.0%"),
        ("failed", {"outcome": lambda n: "failed" if n < 10 else "right"}, "failed 0.0% → 25.0%"),
        ("rules.last", {"rule": lambda n: "last" if n < 10 else "text-exact"}, "read by rule last 0.0% → 25.0%"),
    ],
)
def test_a_large_change_is_named_and_said(name: str, changes: dict[str, Any], said: str) -> None:
    for view in ("full", "crop"):
        found = compared(records(view=view), records(view=view, **changes))
        assert name in found[view]["large"]
        assert f"(in {view}: " in in_words(found)
        assert said in in_words(found)
        back = compared(records(view=view, **changes), records(view=view))
        assert name in back[view]["large"]


@pytest.mark.parametrize(
    "changes",
    [
        {"cut_off": lambda n: n < 4},  # 10 points, which four samples do not show
        {"output": lambda n: "red" + "d" * (n % 2)},  # shown, and a sixth longer
        {"output": lambda n: "red" if n else "red" * 99},  # one runaway answer
    ],
)
def test_small_changes_and_chance_are_not_called_large(changes: dict[str, Any]) -> None:
    found = compared(records(), records(**changes))
    assert found["full"]["large"] == []
    assert found["full"]["before"] != found["full"]["after"]


def test_many_measures_are_corrected_together() -> None:
    """Six of 40 differ: p = 0.03 alone, and no finding among the measures of twenty benchmarks."""
    names = sorted(records()["sample"])
    samples = pd.DataFrame({"cluster": range(40)}, index=pd.Index(names))
    one = {"one": {"drift": drift(records(), records(cut_off=lambda n: n < 6), samples)}}
    many = {f"b{i}": {"drift": drift(records(), records(cut_off=lambda n: n < 6), samples)} for i in range(20)}
    for benchmarks in (one, many):
        mark_large(benchmarks)
    assert one["one"]["drift"]["full"]["large"] == ["cut_off"]
    assert all(entry["drift"]["full"]["large"] == [] for entry in many.values())
