"""An interrupt (Ctrl-C) that is never lost.

    with remember_interrupt() as check_interrupt:
        for answer in answers:
            check_interrupt()

Python drops a KeyboardInterrupt that is raised inside a destructor or a callback from C ("Exception ignored in ..."),
and libraries run both often. The context also remembers the signal, and the check raises KeyboardInterrupt again.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def remember_interrupt() -> Iterator[Callable[[], None]]:
    """Yield a function that raises KeyboardInterrupt if there was an interrupt.

    Outside the main thread, which alone receives signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    interrupted = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def check() -> None:
        if interrupted:
            raise KeyboardInterrupt

    previous_handler = signal.signal(signal.SIGINT, remember)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous_handler)
