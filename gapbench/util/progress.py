"""One progress bar over all work, with rate and time left; plain lines where there is no terminal.

    with progress(total=2000, done=0, label="glance", quiet=False) as advance:
        advance("", 12)      # one more answer: its error, if it failed, and its tokens, if it has any

Limits: the rate is the mean since the start of this process; answers of an earlier session count as done, not as fast.
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
"""Seconds between plain lines."""


class Advance(Protocol):
    """Counts one unit."""

    def __call__(self, error: str, tokens: int = 0, /) -> None:
        """`error` says why it failed, or is empty; `tokens` are how many it has, where that is shown."""


@contextmanager
def progress(
    total: int,
    done: int,
    label: str,
    quiet: bool,
    unit: str = "answers",
    about: Callable[[], str] = str,
) -> Iterator[Advance]:
    """A context in which the yielded function counts one `unit`. Writes to standard error.

    `about` is called for what else to say now, such as how long a larger job would take.
    """
    if quiet:
        yield lambda error, tokens=0: None
    elif sys.stderr.isatty():
        yield from _bar(total, done, label, about)
    else:
        yield from _lines(total, done, label, unit, about)


@contextmanager
def megabytes(label: str, size: int) -> Iterator[Callable[[int], None]]:
    """A context in which the yielded function counts bytes; quiet where the bars of the Hub are (`--quiet`)."""
    from huggingface_hub.utils import are_progress_bars_disabled

    total, read = max(1, size // MEGABYTE), 0
    with progress(total, 0, label, are_progress_bars_disabled(), unit="MB") as advance:

        def count(more: int) -> None:
            nonlocal read
            for _ in range(read // MEGABYTE, min(total, (read + more) // MEGABYTE)):
                advance("")
            read += more

        yield count


def _bar(total: int, done: int, label: str, about: Callable[[], str]) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[rate]} {task.fields[failures]}"), TimeRemainingColumn(),
               TextColumn("{task.fields[about]}"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=done, rate="", failures="", about="")
        started, count, failed, written = time.monotonic(), 0, 0, 0

        def advance(error: str, tokens: int = 0, /) -> None:
            nonlocal count, failed, written
            count, failed, written = count + 1, failed + bool(error), written + tokens
            rate = _rate(count, written, time.monotonic() - started)
            bar.update(task, advance=1, rate=rate, failures=f"{failed} failed" if failed else "", about=about())

        yield advance


def _lines(total: int, done: int, label: str, unit: str, about: Callable[[], str]) -> Iterator[Advance]:
    started = last = time.monotonic()
    count = failed = written = 0

    def say(now: float) -> None:
        left = timedelta(seconds=round((total - done - count) * (now - started) / count))
        print(
            f"{label}: {done + count}/{total} {unit}, {_rate(count, written, now - started)}, {left} left"
            + (f", {failed} failed" if failed else "")
            + (f" ({what})" if (what := about()) else ""),
            file=sys.stderr,
            flush=True,
        )

    def advance(error: str, tokens: int = 0, /) -> None:
        nonlocal count, failed, last, written
        count, failed, written = count + 1, failed + bool(error), written + tokens
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            say(now)

    try:
        yield advance
    finally:  # an interrupted run says how far it came, too
        if count:
            say(time.monotonic())


def _rate(count: int, tokens: int, seconds: float) -> str:
    seconds = max(1e-9, seconds)
    return f"{count / seconds:.1f}/s" + (f", {tokens / seconds:,.0f} tokens/s" if tokens else "")
