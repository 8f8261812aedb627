"""Options and accepted answers: where they come from, how they may be written, and what is an error."""

from __future__ import annotations

import pytest

from gapbench.errors import BenchmarkError
from gapbench.scoring import score

COLOURS = ("red", "green", "blue", "yellow")


def test_without_options_the_letters_a_to_k_are_allowed() -> None:
    assert score("L", ["K"], "letter").rule == "outside-options"
    assert score("L", ["M"], "letter").outcome == "wrong"


def test_options_lettered_in_the_question_count_as_options() -> None:
    question = "What colour is the car?\n(A) blue\n(B) red\nAnswer with the letter."
    assert score("C", ["B"], "letter", question=question).rule == "outside-options"
    assert score("red", ["B"], "letter", question=question).rule == "option-text"
    assert score("Red.", ["B"], "letter", question="What colour? A. blue B. red").outcome == "right"


def test_lettering_in_the_question_that_is_not_understood_is_no_error() -> None:
    assert score("C", ["C"], "letter", question="What colour? A. blue B. red C.green").outcome == "right"


@pytest.mark.parametrize("gold", ["B", "b", "(B)", "B.", "green", "Green.", "(B) green", "B. green"])
def test_the_accepted_answer_is_a_letter_or_an_options_text(gold: str) -> None:
    assert score("B", [gold], "letter", COLOURS).outcome == "right"
    assert score("A", [gold], "letter", COLOURS).outcome == "wrong"


def test_any_of_several_accepted_answers_is_right() -> None:
    assert score("C", ["B", "blue"], "letter", COLOURS).outcome == "right"


def test_labels_in_the_options_are_read_over() -> None:
    assert score("green", ["B"], "letter", ("(A) red", "(B) green")).outcome == "right"


@pytest.mark.parametrize("gold", ["E", "purple", "A. green", "?"])
def test_an_accepted_answer_that_is_no_option_is_an_error(gold: str) -> None:
    with pytest.raises(BenchmarkError, match="no option") as error:
        score("A", [gold], "letter", COLOURS)
    assert repr(gold) in str(error.value)


def test_more_than_26_options_are_an_error() -> None:
    with pytest.raises(BenchmarkError, match="27 options"):
        score("A", ["A"], "letter", [str(n) for n in range(27)])
