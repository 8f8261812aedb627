"""Work ahead in a thread, so that the model need not wait for images."""

from __future__ import annotations

import inspect
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

SHORT_TURN = 1e-4
"""Seconds one thread may keep the interpreter lock while another one waits."""

_END = object()


@dataclass
class Waited:
    """Seconds for which somebody had nothing to do but wait for images."""

    seconds: float = 0.0


def ahead(
    items: Iterator[Any], depth: int = 3, wait: Callable[[], bool] = lambda: True, waited: Waited | None = None
) -> Iterator[Any]:
    """Run an iterator in a thread, `depth` items ahead; its exceptions are raised here, and it stops when we do.

    While `wait()` is false, None comes instead of an item that is not ready: the caller has something else to do.
    `waited` grows by the time in which the caller had not.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def take() -> Any:
        started = time.perf_counter()
        try:
            return ready.get(block=wait())
        except queue.Empty:
            return None
        finally:
            if waited is not None:
                waited.seconds += time.perf_counter() - started

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    break
            else:
                put(_END)
        except BaseException as error:
            put(error)
        finally:
            if inspect.isgenerator(items):
                items.close()

    # A generating model asks for the interpreter lock after every operation; at Python's 5 ms per turn it would wait
    # for the preparing thread most of the time.
    turn = sys.getswitchinterval()
    sys.setswitchinterval(SHORT_TURN)
    thread = threading.Thread(target=work, name="gapbench-prepare", daemon=True)
    thread.start()
    try:
        while (item := take()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join(timeout=10)
        sys.setswitchinterval(turn)
