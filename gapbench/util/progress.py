"""One progress bar for all work, with rate and time left; without a terminal, plain lines.

    with progress(total=2000, done=0, label="glance", quiet=False) as advance:
        advance("", 12)      # one answer, with its error (here none) and its number of tokens

Limits: the rate is the mean since the bar was started. Answers of earlier sessions count as done, but not in the rate.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

MEGABYTE = 1_000_000
EVERY = 10.0
"""Seconds between two plain lines."""


class Advance(Protocol):
    """The function that counts one unit."""

    def __call__(self, error: str, tokens: int = 0, /) -> None:
        """`error` is empty unless the unit failed. `tokens` is added to the shown rate of tokens."""


@contextmanager
def progress(
    total: int,
    done: int,
    label: str,
    quiet: bool,
    unit: str = "answers",
    about: Callable[[], str] = str,
) -> Iterator[Advance]:
    """Yield a function that counts one `unit` and updates the progress on standard error.

    `about` returns a text to show beside it, such as the projection for a larger run.
    """
    if quiet:
        yield lambda error, tokens=0: None
    elif sys.stderr.isatty():
        yield from _bar(total, done, label, about)
    else:
        yield from _lines(total, done, label, unit, about)


@contextmanager
def megabytes(label: str, size: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that counts bytes. Shows nothing if the Hub's progress bars are disabled, as by `--quiet`."""
    from huggingface_hub.utils import are_progress_bars_disabled

    total, read = max(1, size // MEGABYTE), 0
    with progress(total, 0, label, are_progress_bars_disabled(), unit="MB") as advance:

        def count(size_read: int) -> None:
            nonlocal read
            for _ in range(read // MEGABYTE, min(total, (read + size_read) // MEGABYTE)):
                advance("")
            read += size_read

        yield count


def _bar(total: int, done: int, label: str, about: Callable[[], str]) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[rate]} {task.fields[failures]}"), TimeRemainingColumn(),
               TextColumn("{task.fields[about]}"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=done, rate="", failures="", about="")
        started, count, failed, tokens_so_far = time.monotonic(), 0, 0, 0

        def advance(error: str, tokens: int = 0, /) -> None:
            nonlocal count, failed, tokens_so_far
            count, failed, tokens_so_far = count + 1, failed + bool(error), tokens_so_far + tokens
            rate = _rate(count, tokens_so_far, time.monotonic() - started)
            bar.update(task, advance=1, rate=rate, failures=f"{failed} failed" if failed else "", about=about())

        yield advance


def _lines(total: int, done: int, label: str, unit: str, about: Callable[[], str]) -> Iterator[Advance]:
    started = last = time.monotonic()
    count = failed = tokens_so_far = 0

    def print_line(now: float) -> None:
        left = timedelta(seconds=round((total - done - count) * (now - started) / count))
        print(
            f"{label}: {done + count}/{total} {unit}, {_rate(count, tokens_so_far, now - started)}, {left} left"
            + (f", {failed} failed" if failed else "")
            + (f" ({text})" if (text := about()) else ""),
            file=sys.stderr,
            flush=True,
        )

    def advance(error: str, tokens: int = 0, /) -> None:
        nonlocal count, failed, last, tokens_so_far
        count, failed, tokens_so_far = count + 1, failed + bool(error), tokens_so_far + tokens
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            print_line(now)

    try:
        yield advance
    finally:  # an interrupted run reports its progress, too
        if count:
            print_line(time.monotonic())


def _rate(count: int, tokens: int, seconds: float) -> str:
    seconds = max(1e-9, seconds)
    return f"{count / seconds:.1f}/s" + (f", {tokens / seconds:,.0f} tokens/s" if tokens else "")
