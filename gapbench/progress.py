"""One progress bar over all work, with rate and time left; plain lines where there is no terminal.

    with progress(total=2000, done=0, label="glance", quiet=False) as advance:
        advance("")          # one more answer; the argument is its error, if it failed

Limits: the rate is the mean since the start of this process; answers of an earlier session count as done, not as fast.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

MEGABYTE = 1_000_000
EVERY = 10.0
"""Seconds between plain lines."""


@contextmanager
def progress(total: int, done: int, label: str, quiet: bool, unit: str = "answers") -> Iterator[Callable[[str], None]]:
    """A context in which the yielded function counts one `unit`. Writes to standard error."""
    if quiet:
        yield lambda error: None
    elif sys.stderr.isatty():
        yield from _bar(total, done, label)
    else:
        yield from _lines(total, done, label, unit)


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


def _bar(total: int, done: int, label: str) -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("{task.fields[rate]} {task.fields[failures]}"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=done, rate="", failures="")
        started, count, failed = time.monotonic(), 0, 0

        def advance(error: str) -> None:
            nonlocal count, failed
            count, failed = count + 1, failed + bool(error)
            rate = f"{count / max(1e-9, time.monotonic() - started):.1f}/s"
            bar.update(task, advance=1, rate=rate, failures=f"{failed} failed" if failed else "")

        yield advance


def _lines(total: int, done: int, label: str, unit: str) -> Iterator[Callable[[str], None]]:
    started = last = time.monotonic()
    count = failed = 0

    def say(now: float) -> None:
        rate = count / max(1e-9, now - started)
        left = timedelta(seconds=round((total - done - count) / rate))
        print(
            f"{label}: {done + count}/{total} {unit}, {rate:.1f}/s, {left} left"
            + (f", {failed} failed" if failed else ""),
            file=sys.stderr,
            flush=True,
        )

    def advance(error: str) -> None:
        nonlocal count, failed, last
        count, failed = count + 1, failed + bool(error)
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            say(now)

    try:
        yield advance
    finally:  # an interrupted run says how far it came, too
        if count:
            say(time.monotonic())
