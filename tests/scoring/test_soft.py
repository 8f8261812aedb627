"""VQA accuracy and ANLS against values worked out by hand and a plain edit distance."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapbench.scoring import score
from gapbench.scoring.soft import anls, levenshtein, vqa_accuracy, vqa_normal


@pytest.mark.parametrize(("matches", "expected"), enumerate([0.0, 0.3, 0.6, 0.9, 1.0, 1.0, 1.0]))
def test_ten_references_give_three_tenths_for_each_match(matches: int, expected: float) -> None:
    references = ["stop"] * matches + ["halt"] * (10 - matches)
    assert vqa_accuracy("stop", references) == pytest.approx(expected)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 12))
def test_full_agreement_is_one_for_any_number_of_references(references: int) -> None:
    assert vqa_accuracy("Stop.", ["stop"] * references) == 1
    assert vqa_accuracy("go", ["stop"] * references) == 0


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The Stop sign.", "stop sign"),
        ("dont walk", "don't walk"),
        ("couldn'tve", "couldn't've"),
        ("oclock", "o'clock"),
        ("its well", "its well"),
        ("two dogs", "2 dogs"),
        ("none", "0"),
        ("1,000", "1000"),
        ("$3.50", "$3.50"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("yes!", "yes"),
    ],
)
def test_official_normalisation(text: str, normalised: str) -> None:
    assert vqa_normal(text) == normalised


def test_vqa_outcome_is_right_from_one_half() -> None:
    one, two = (score("stop", ["stop"] * n + ["halt"] * (10 - n), "vqa") for n in (1, 2))
    assert (one.outcome, one.score) == ("wrong", pytest.approx(0.3))
    assert (two.outcome, two.score) == ("right", pytest.approx(0.6))


@pytest.mark.parametrize("output", ["The answer is stop.", r"\boxed{stop}", "<think>halt</think>stop", "Answer: Stop"])
def test_vqa_reads_the_statement(output: str) -> None:
    assert score(output, ["stop"] * 10, "vqa").score == 1


@pytest.mark.parametrize(
    ("said", "answers", "expected"),
    [
        ("stop sign", ["STOP  SIGN"], 1.0),
        ("stop sing", ["stop sign"], 1 - 2 / 9),
        ("abcd", ["abxy"], 0.0),  # a distance of one half is already too far
        ("abcd", ["abcx"], 0.75),
        ("xyz", ["abc"], 0.0),
        ("x", ["a much longer answer"], 0.0),
        ("stop", ["go", "stop"], 1.0),
    ],
)
def test_anls(said: str, answers: list[str], expected: float) -> None:
    assert anls(said, answers) == pytest.approx(expected)
    verdict = score(said, answers, "anls")
    assert verdict.score == pytest.approx(expected)
    assert verdict.outcome == ("right" if expected else "wrong")


def test_soft_scores_are_unparsed_where_there_is_no_one_answer() -> None:
    for answer_type in ("vqa", "anls"):
        assert score("", ["stop"], answer_type).outcome == "unparsed"
        assert score("The answer is stop. The answer is go.", ["stop"], answer_type).rule == "conflict"


@settings(deadline=None, max_examples=300)
@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_edit_distance_equals_the_textbook_recurrence(a: str, b: str) -> None:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    assert levenshtein(a, b) == row[-1]
