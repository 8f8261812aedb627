"""Fail fast: hold back errors until a model has given its first answer.

    yield from hold_leading_errors(answers)

Until then the model itself may be at fault, not the samples. If the engine fails fast, the held errors are dropped.
They leave no record, so the same command asks those samples again.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable

from gapbench.types import Answer

FAIL_FAST_AFTER = 16
"""Failed requests before the first answer after which an engine fails fast."""

KeyedAnswer = tuple[Hashable, Answer]


def hold_leading_errors(answers: Generator[KeyedAnswer, None, None]) -> Generator[KeyedAnswer, None, None]:
    """The same answers, with leading errors held back until the first answer without one, or the end."""
    held: list[KeyedAnswer] | None = []
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
