"""What is read ahead is bounded, in number and in weight."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from gapbench.util.ahead import WaitingTime, read_ahead


def numbers(count: int, taken: list[int]) -> Iterator[int]:
    for number in range(count):
        taken.append(number)
        yield number


def settled(taken: list[int]) -> int:
    """How many items the thread took before it had to wait."""
    before = -1
    while before != len(taken):
        before = len(taken)
        time.sleep(0.05)
    return before


@pytest.mark.parametrize(("weight", "waiting"), [(0, 3), (3, 3), (4, 2), (6, 1), (1000, 1)])
def test_no_more_waits_than_the_depth_and_the_weight_allow_and_one_at_least(weight: int, waiting: int) -> None:
    taken: list[int] = []
    ahead = read_ahead(numbers(20, taken), depth=3, weight=lambda _: weight, most=10)
    assert next(ahead) == 0
    assert settled(taken) == 1 + waiting + 1, "the one handed out, those that wait, and one in the thread's hands"
    assert list(ahead) == list(range(1, 20))


def test_a_caller_with_other_work_need_not_wait() -> None:
    go = threading.Event()

    def late() -> Iterator[int]:
        go.wait(5)
        yield 1

    ahead = read_ahead(late(), wait=go.is_set)
    assert next(ahead) is None
    go.set()
    assert [item for item in ahead if item is not None] == [1]


def test_errors_come_after_what_was_made_before_them_and_waiting_is_counted() -> None:
    def broken() -> Iterator[int]:
        yield 1
        time.sleep(0.2)
        raise ZeroDivisionError

    waited = WaitingTime()
    ahead = read_ahead(broken(), waited=waited)
    assert next(ahead) == 1
    with pytest.raises(ZeroDivisionError):
        next(ahead)
    assert waited.seconds >= 0.1


def test_closing_ends_the_thread_and_closes_the_iterator() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    ahead = read_ahead(endless())
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    assert closed.wait(5)
