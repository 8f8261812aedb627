"""An interrupt that Python drops in a destructor is raised by the next check."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from gapbench.util.interrupt import remember_interrupt


class Unlucky:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the handler runs between two of these steps, inside the destructor
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dropped_interrupt_is_raised_at_the_next_check() -> None:
    before = signal.getsignal(signal.SIGINT)
    with remember_interrupt() as check:
        check()
        Unlucky()  # Python says "Exception ignored in ..." and goes on
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with remember_interrupt() as check:
            check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
