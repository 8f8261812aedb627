"""Errors wait until a model has answered anything; a run that is given up before leaves none of them behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gapbench.engines.local import KeyedAnswer, hold_leading_errors
from gapbench.errors import ModelError
from gapbench.types import Answer

BAD, GOOD = Answer(error="no"), Answer("yes")


def keys(*answers: Answer) -> list[int]:
    return [key for key, _ in hold_leading_errors(pair for pair in enumerate(answers))]  # type: ignore[misc]


@pytest.mark.parametrize("answers", [(), (BAD, BAD), (GOOD, BAD), (BAD, BAD, GOOD, BAD), (BAD, GOOD, GOOD)])
def test_every_answer_is_handed_out_once_and_errors_at_the_beginning_before_the_first_without(
    answers: tuple[Answer, ...],
) -> None:
    assert keys(*answers) == list(range(len(answers)))


def test_nothing_is_left_of_a_model_that_is_given_up() -> None:
    def answers() -> Iterator[KeyedAnswer]:
        yield 0, BAD
        yield 1, BAD
        raise ModelError("hopeless")

    got = []
    with pytest.raises(ModelError):
        got.extend(hold_leading_errors(answers()))  # type: ignore[arg-type]
    assert got == []
