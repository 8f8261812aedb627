"""Read-ahead: threads prepare the next items, so that the model need not wait for images.

for batch in read_ahead(prepared_batches, depth=3):       # an iterator that runs in a thread
    model(batch)
for image in map_ahead(decode, paths, workers=8):         # a function that runs in several
    show(image)
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

SHORT_TURN = 1e-4
"""Seconds for which one thread may keep the interpreter lock while another waits for it."""

_END = object()


@dataclass
class WaitingTime:
    """Seconds spent waiting for images."""

    seconds: float = 0.0


def read_ahead(
    items: Iterator[Any],
    depth: int = 3,
    wait: Callable[[], bool] = lambda: True,
    waited: WaitingTime | None = None,
    weight: Callable[[Any], int] = lambda item: 0,
    most: int = 1,
) -> Iterator[Any]:
    """Yield the items of an iterator that runs in a thread, `depth` items ahead.

    The items that wait weigh `most` together, or are a single one; the thread may hold one more. Exceptions of the
    iterator are raised here; when this generator is closed, the thread stops. If no item is ready and `wait()` is
    false, None is yielded, so that a caller with other work need not wait. The time spent waiting is added to `waited`.
    """
    ready: deque[tuple[Any, int]] = deque()
    changed = threading.Condition()
    stopped = False

    def put(item: Any, heavy: int = 0) -> bool:
        def room() -> bool:
            return stopped or not ready or (len(ready) < depth and sum(w for _, w in ready) + heavy <= most)

        with changed:
            changed.wait_for(room)
            ready.append((item, heavy))
            changed.notify_all()
        return not stopped

    def take() -> Any:
        started = time.perf_counter()
        with changed:
            if wait():
                changed.wait_for(lambda: ready)
            item = ready.popleft()[0] if ready else None
            changed.notify_all()
        if waited is not None:
            waited.seconds += time.perf_counter() - started
        return item

    def work() -> None:
        try:
            for item in items:
                if not put(item, weight(item)):
                    break
            else:
                put(_END)
        except BaseException as error:
            put(error)
        finally:
            if inspect.isgenerator(items):
                items.close()

    # A generating model takes the interpreter lock after every operation. With Python's default of 5 ms per thread it
    # would mostly wait for the preparing thread.
    default_turn = sys.getswitchinterval()
    sys.setswitchinterval(SHORT_TURN)
    thread = threading.Thread(target=work, name="gapbench-prepare", daemon=True)
    thread.start()
    try:
        while (item := take()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        with changed:
            stopped = True
            changed.notify_all()
        thread.join(timeout=10)
        sys.setswitchinterval(default_turn)


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    weight: Callable[[Result], int] = lambda result: 0,
    most: int = 1,
) -> Generator[Result, None, None]:
    """Yield function(item) for each item, in order, computed by `workers` threads, two items ahead for each.

    No new item is begun while the results that wait weigh `most` or more. A result that is not there yet counts as much
    as the last one that was taken. Threads help where the function leaves the interpreter lock, as Pillow does.
    """
    remaining = iter(items)
    begun: deque[Future[Result]] = deque()
    usual = most // workers

    def ahead() -> int:
        return sum(weight(f.result()) if f.done() and f.exception() is None else usual for f in begun)

    with ThreadPoolExecutor(workers, thread_name_prefix="gapbench-prepare") as pool:
        try:
            while True:
                while len(begun) < 2 * workers and (not begun or ahead() < most):
                    if (item := next(remaining, _END)) is _END:
                        break
                    begun.append(pool.submit(function, item))  # type: ignore[arg-type]  # not the end
                if not begun:
                    return
                usual = weight(begun[0].result())
                yield begun.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
