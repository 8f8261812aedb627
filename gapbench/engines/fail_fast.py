"""Fail fast: hold back errors until a model has given its first answer.

    yield from hold_leading_errors(answers)

Until then the model itself may be at fault, not the samples. If the engine fails fast, the held errors are dropped.
They leave no record, so the same command asks those samples again.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable
from contextlib import closing

from gapbench.types import Answer

FAIL_FAST_AFTER = 16
"""Failed requests before the first answer after which an engine fails fast."""

KeyedAnswer = tuple[Hashable, Answer]


def hold_leading_errors(answers: Generator[KeyedAnswer, None, None]) -> Generator[KeyedAnswer, None, None]:
    """The same answers, with leading errors held back until the first answer without one, or the end."""
    held: list[KeyedAnswer] = []
    answered = False
    with closing(answers):
        for key, answer in answers:
            held.append((key, answer))
            answered = answered or not answer.error
            if answered:
                yield from held
                held.clear()
        yield from held
