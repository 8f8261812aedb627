"""One prompt for every view: question, options, and how to answer."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from gapbench.errors import BenchmarkError
from gapbench.types import AnswerType, Sample
from gapbench.views.prompts import SUFFIXES, prompt

CHOICE = Sample("1", None, "Which letter?", ("A",), options=("K", "M"), answer_type="letter")


def test_options_are_lettered_on_lines_of_their_own() -> None:
    assert prompt(CHOICE) == (
        "Which letter?\n(A) K\n(B) M\nAnswer with the option's letter from the given choices directly."
    )


@pytest.mark.parametrize("kind", get_args(AnswerType))
def test_every_answer_type_says_how_to_answer(kind: AnswerType) -> None:
    assert prompt(Sample("1", None, "What?", ("x",), answer_type=kind)) == f"What?\n{SUFFIXES[kind]}"


def test_a_card_s_template_is_used() -> None:
    template = "Q: {question}\nChoices:{options}\n{{answer}} only."
    assert prompt(CHOICE, template) == "Q: Which letter?\nChoices:\n(A) K\n(B) M\n{answer} only."


def test_braces_of_questions_and_options_stay_as_they_are() -> None:
    sample = dataclasses.replace(CHOICE, question="What is {question}?", options=("{0}", "{suffix}"))
    assert prompt(sample).startswith("What is {question}?\n(A) {0}\n(B) {suffix}\n")


def test_letters_reach_from_a_to_z_and_no_option_is_lost() -> None:
    sample = dataclasses.replace(CHOICE, options=tuple(map(str, range(26))))
    assert "\n(Z) 25\n" in prompt(sample)
    with pytest.raises(BenchmarkError, match=r"sample '1'.*27 options.*at most 26"):
        prompt(dataclasses.replace(CHOICE, options=tuple(map(str, range(27)))))


@pytest.mark.parametrize(
    "template", ["{questoin}", "{}", "{question", "}", "{question.x}", "{question[a]}", "{suffix!q}"]
)
def test_a_template_that_cannot_be_filled_is_shown_with_what_it_may_use(template: str) -> None:
    with pytest.raises(BenchmarkError, match=r"\{question\}, \{options\}, \{dotted\}, \{suffix\} and \{published\}"):
        prompt(CHOICE, template)


def test_an_unknown_answer_type_is_not_blamed_on_the_template() -> None:
    with pytest.raises(BenchmarkError, match=r"answer_type is 'words'; expected one of letter"):
        prompt(dataclasses.replace(CHOICE, answer_type="words"))  # type: ignore[arg-type]
