"""One progress bar for all work, with rate and time left; without a terminal, plain lines.

    with progress(total=2000, done=0, label="glance", quiet=False) as advance:
        advance("", 12)      # one answer, with its error (here none) and its number of tokens

Without a `total` no time left is shown.

Limits: the rate is the mean since the bar was started. Answers of earlier sessions count as done, but not in the rate.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from gapbench.util.terminal import clean, say
from gapbench.util.text import shorten

MEGABYTE = 1_000_000
EVERY = 10.0
"""Seconds between two plain lines."""


class Advance(Protocol):
    """The function that counts one unit."""

    def __call__(self, error: str, tokens: int = 0, /) -> None:
        """`error` is empty unless the unit failed. `tokens` is added to the shown rate of tokens."""


Numbers = Callable[[], tuple[int, float, str, str]]
"""Gives the units counted, the seconds passed, and the rate and the failures as text."""


@contextmanager
def progress(
    total: int | None, done: int, label: str, quiet: bool, unit: str = "answers", about: Callable[[], str] = str
) -> Iterator[Advance]:
    """Yield a function that counts one `unit` and updates the progress on standard error.

    `about` returns a text to show beside it, such as the projection for a larger run.
    """
    if quiet:
        yield lambda error, tokens=0: None
        return
    started, count, failed, tokens_so_far = time.monotonic(), 0, 0, 0

    def numbers() -> tuple[int, float, str, str]:
        seconds = max(1e-9, time.monotonic() - started)
        rate = f"{count / seconds:.1f}/s" + (f", {tokens_so_far / seconds:,.0f} tokens/s" if tokens_so_far else "")
        return count, seconds, rate, f"{failed} failed" if failed else ""

    bar = sys.stderr.isatty()
    with _bar(numbers, total, done, label, about) if bar else _lines(numbers, total, done, label, unit, about) as show:

        def advance(error: str, tokens: int = 0, /) -> None:
            nonlocal count, failed, tokens_so_far
            count, failed, tokens_so_far = count + 1, failed + bool(error), tokens_so_far + tokens
            show()

        yield advance


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


@contextmanager
def _bar(
    numbers: Numbers, total: int | None, done: int, label: str, about: Callable[[], str]
) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[rate]} {task.fields[failures]}"), TimeRemainingColumn(),
               TextColumn("{task.fields[about]}", markup=False))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(shorten(clean(label), 80), total=total, completed=done, rate="", failures="", about="")

        def show() -> None:
            count, _, rate, failures = numbers()
            bar.update(task, completed=done + count, rate=rate, failures=failures, about=clean(about()))

        yield show


@contextmanager
def _lines(
    numbers: Numbers, total: int | None, done: int, label: str, unit: str, about: Callable[[], str]
) -> Iterator[Callable[[], None]]:
    last = 0.0

    def show(pause: float = EVERY) -> None:
        nonlocal last
        count, seconds, rate, failures = numbers()
        if count and seconds - last >= pause:
            last, of_total, left = seconds, "", ""
            if total is not None:
                rest = timedelta(seconds=round((total - done - count) * seconds / count))
                of_total, left = f"/{total}", f", {rest} left"
            notes = (f", {failures}" if failures else "") + (f" ({text})" if (text := about()) else "")
            say(f"{label}: {done + count}{of_total} {unit}, {rate}{left}{notes}")

    try:
        yield show
    finally:  # an interrupted run reports its progress, too
        show(0.0)
