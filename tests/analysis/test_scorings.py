"""The same answers under every scoring: what changes the gap, and when the verdict says so."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from gapbench.analysis.scorings import dependence
from gapbench.analysis.summary import summarise
from gapbench.errors import SettingError

LETTER = {"rule": "letter-bare", "output": "B"}
TEXT = {"rule": "option-text", "output": "It is blue."}
NOTHING = {"rule": "no-letter", "output": "A house.", "outcome": "unparsed", "score": 0.0}
WRONG = {"rule": "letter-bare", "output": "A", "outcome": "wrong", "score": 0.0}
JUDGED = {"rule": "judge", "output": "Perhaps the second."}


def answer(sample: int, view: str, **given: Any) -> dict[str, Any]:
    key = {"benchmark": "signs", "sample": f"s{sample:03d}", "view": view, "repeat": 0, "cluster": f"c{sample}"}
    fields = {"answers": ["B"], "options": ["red", "blue"], "answer_type": "letter", "category": "", "image_hash": ""}
    return {**key, **fields, "outcome": "right", "score": 1.0, **given}


def records(*pairs: tuple[int, dict[str, Any], dict[str, Any]], **given: Any) -> pd.DataFrame:
    """`(number, full, crop)`: that many samples with these answers."""
    sides = [(full, crop) for number, full, crop in pairs for _ in range(number)]
    rows = [
        answer(i, view, **one, **given)
        for i, side in enumerate(sides)
        for view, one in zip(("full", "crop"), side, strict=True)
    ]
    return pd.DataFrame(rows)


def scorings_of(frame: pd.DataFrame, **given: Any) -> dict[str, Any]:
    found: dict[str, Any] = summarise(frame, **given)["benchmarks"]["signs"]["scorings"]
    return found


def test_a_gap_that_only_inferred_answers_make_is_said_to_depend_on_the_rule() -> None:
    """By the rules 10 of 40 are wrong in full and right in the crop; strictly, none of these 10 is an answer."""
    summary = summarise(records((30, LETTER, LETTER), (10, WRONG, TEXT)), model="m")
    rows = summary["benchmarks"]["signs"]["scorings"]
    assert rows["gapbench"]["gap"]["estimate"] == pytest.approx(0.25)
    assert rows["strict"]["gap"]["estimate"] == 0.0
    assert rows["strict"]["unparsed"] == {"full": 0.0, "crop": 0.25}
    low, high = (f"{100 * end:+.1f}" for end in rows["strict"]["gap"]["ci"])
    clause = f"; the gap depends on the scoring rule: 0.0 points [{low}, {high}] under strict"
    assert summary["verdict"].endswith(clause)


def test_a_gap_of_the_opposite_sign_is_named_even_where_neither_is_significant() -> None:
    """Two samples gain in the crop by a letter, three lose by an inferred answer."""
    frame = records((20, LETTER, LETTER), (2, WRONG, LETTER), (3, TEXT, WRONG))
    summary = summarise(frame)
    rows = summary["benchmarks"]["signs"]["scorings"]
    assert rows["gapbench"]["gap"]["estimate"] == pytest.approx(-0.04)
    assert rows["strict"]["gap"]["estimate"] == pytest.approx(0.08)
    assert "the gap depends on the scoring rule: +8.0 points [" in summary["verdict"]


def test_equal_scores_give_equal_rows_which_are_the_reported_gap() -> None:
    summary = summarise(records((30, LETTER, LETTER), (10, WRONG, LETTER)))
    entry = summary["benchmarks"]["signs"]
    assert set(entry["scorings"]) == {"strict", "gapbench"}
    assert entry["scorings"]["strict"] == entry["scorings"]["gapbench"]
    gap = entry["scorings"]["strict"]["gap"]
    assert gap == {key: entry["gap"][key] for key in gap}
    assert "depends" not in summary["verdict"]


def test_the_official_rule_reads_the_same_outputs() -> None:
    """The first capital from A to E: "It is blue." has none and is no option, "A house." is an A."""
    frame = records((10, TEXT, LETTER), (10, NOTHING, LETTER), (10, WRONG, LETTER))
    row = scorings_of(frame, official={"signs": "mme-realworld"})["official"]
    assert (row["name"], row["full"]["estimate"], row["crop"]["estimate"]) == ("mme-realworld", 0.0, 1.0)
    assert row["unparsed"] == {"full": pytest.approx(1 / 3), "crop": 0.0}
    assert row["source"].startswith("yfzhang114/MME-RealWorld evaluation/eval_your_results.py")
    with pytest.raises(SettingError, match="no official rule 'mine'"):
        summarise(frame, official={"signs": "mine"})


def test_without_the_judge_its_answers_are_unparsed() -> None:
    """The judge finds 10 of 30 right in full that no rule reads, and fails on one in the crop."""
    failed = {**NOTHING, "outcome": "judge_failed"}
    rows = scorings_of(records((10, JUDGED, LETTER), (19, LETTER, LETTER), (1, LETTER, failed)))
    assert list(rows) == ["strict", "gapbench", "judge"]
    assert rows["judge"]["full"]["estimate"] == 1.0
    assert rows["gapbench"]["full"]["estimate"] == rows["strict"]["full"]["estimate"] == pytest.approx(2 / 3)
    assert rows["gapbench"]["unparsed"] == {"full": pytest.approx(1 / 3), "crop": pytest.approx(1 / 30)}
    assert rows["judge"]["unparsed"] == {"full": 0.0, "crop": pytest.approx(1 / 30)}


def test_all_scorings_cover_the_samples_of_the_gap() -> None:
    failed = {"outcome": "failed", "score": None, "rule": "", "output": ""}
    rows = scorings_of(records((8, LETTER, LETTER), (2, failed, TEXT)), official={"signs": "mmstar"})
    assert {row["gap"]["n"] for row in rows.values()} == {8}
    assert {row["unparsed"]["crop"] for row in rows.values()} == {0.0}


def test_repeats_are_averaged_and_one_view_alone_has_no_gap() -> None:
    full = records((10, LETTER, LETTER)).query("view == 'full'")
    twice = pd.concat([full, full.assign(repeat=1, **TEXT)])
    rows = scorings_of(twice)
    assert rows["strict"]["full"]["estimate"] == 0.5
    assert (rows["strict"]["crop"], rows["strict"]["gap"]) == (None, None)
    assert rows["strict"]["unparsed"] == {"full": 0.5}
    assert dependence({"signs": {"scorings": rows}}) == ""


def test_records_and_summaries_without_the_fields_are_no_error() -> None:
    frame = records((10, WRONG, LETTER))[["benchmark", "sample", "view", "repeat", "outcome", "score"]]
    assert list(scorings_of(frame, official={"signs": "pope"})) == ["gapbench"]
    assert dependence({"signs": {"gap": {"estimate": 0.1}}}) == ""


def test_two_benchmarks_are_named_and_the_others_counted() -> None:
    gaps = {
        "strict": {"gap": {"estimate": 0.1, "ci": [0.05, 0.15]}},
        "gapbench": {"gap": {"estimate": 0.0, "ci": None}},
    }
    said = dependence({name: {"scorings": gaps} for name in "abcd"})
    assert said.startswith(
        "; the gap on a depends on the scoring rule: +10.0 points [+5.0, +15.0] under strict; the gap on b"
    )
    assert said.endswith("; so does that on 2 more benchmarks")
