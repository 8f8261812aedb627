"""Ctrl-C that is never lost.

    with remember_interrupt() as check:
        for answer in answers:
            check()

Python drops a KeyboardInterrupt that is raised inside a destructor or a callback from C ("Exception ignored in ..."),
and libraries run both all the time. Here the signal is remembered too, and `check` raises what was dropped.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def remember_interrupt() -> Iterator[Callable[[], None]]:
    """A context whose `check()` raises KeyboardInterrupt if one was dropped; not in other threads."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    caught = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        caught = True
        raise KeyboardInterrupt

    def check() -> None:
        if caught:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
