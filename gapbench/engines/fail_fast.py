"""Until a model has answered anything, what goes wrong may be the model's fault and not the question's.

    yield from after_an_answer(answers)

Answers with an error are held back until one without comes, or the end. A run that is given up before leaves no record
of them, so the same command asks them again.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable

from gapbench.types import Answer

HOPELESS = 16
"""Requests that may fail before anything is answered; then the run is given up."""

Answered = tuple[Hashable, Answer]


def after_an_answer(answers: Generator[Answered, None, None]) -> Generator[Answered, None, None]:
    """The same answers, errors at the beginning later."""
    held: list[Answered] | None = []
    try:
        for key, answer in answers:
            if held is not None and answer.error:
                held.append((key, answer))
                continue
            if held is not None:
                yield from held
                held = None
            yield key, answer
        yield from held or ()
    finally:
        answers.close()
