"""Threads around an event loop, so that the engine is a plain iterator.

    for question, (answer, fault) in run(requests, prepare, lambda: Asker(setup, limit, tally), lambda: limit.now): ...

Feeders pull requests, one at a time, and encode them side by side; a thread with an event loop sends them; the caller's
thread takes what comes back. What was pulled and not yet taken back is bounded, by number (`room`) and by its bytes
(`HELD_BYTES`), and so is memory: a request weighs what its decoded images do, and once encoded what its message does.
However the caller stops, by an error, an interrupt or by closing the iterator, the threads stop, connections are closed
and `requests` is closed in the thread that it ran in.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import Any

from gapbench.engines.server.image_urls import ChatRequest
from gapbench.engines.server.responses import Fault
from gapbench.engines.server.retries import Asker
from gapbench.types import Answer, Request
from gapbench.util.ahead import SHORT_TURN

HELD_BYTES = 1_500_000_000
"""Bytes of questions in hand above which the next one waits, unless it would be the only one."""
RGB = 3
"""Bytes of a decoded pixel."""
FEEDERS = min(8, os.cpu_count() or 1)
"""Threads that encode images; Pillow lets go of the interpreter lock while it does."""

Reply = tuple[Answer, Fault | None]
_END = object()


class Gate:
    """Counts what is in hand, questions and their bytes; whoever would bring too much waits."""

    def __init__(self, room: Callable[[], int]) -> None:
        self._room = room
        self._change = threading.Condition()
        self._count = self._bytes = 0
        self.stopped = False

    def enter(self) -> bool:
        """Wait until one more question has room; False once stopped."""
        with self._change:
            while not self.stopped and self._count >= self._room():
                self._change.wait(0.5)  # `room` changes by itself
            self._count += 1
            return not self.stopped

    def weigh(self, weight: int) -> None:
        """Wait until that many bytes have room; what is too large by itself goes alone."""
        with self._change:
            while not self.stopped and self._bytes and self._bytes + weight > HELD_BYTES:
                self._change.wait()
            self._bytes += weight

    def trade(self, before: int, after: int) -> None:
        """What weighed `before` weighs `after` from here on; nobody waits."""
        with self._change:
            self._bytes += after - before
            self._change.notify_all()

    def leave(self, weight: int) -> None:
        """A question is done with."""
        with self._change:
            self._count -= 1
            self._bytes -= weight
            self._change.notify_all()

    def stop(self) -> None:
        """Let everyone through, to their end."""
        with self._change:
            self.stopped = True
            self._change.notify_all()


def run(
    requests: Iterable[Request],
    prepare: Callable[[Request], ChatRequest],
    asker: Callable[[], Asker],
    room: Callable[[], int],
) -> Generator[tuple[ChatRequest, Reply], None, None]:
    """Questions and replies, as they come. Raises what `requests` or the asker raise."""
    work = _Work(requests, prepare, asker, Gate(room))
    thread = threading.Thread(target=work.serve, name="gapbench-server", daemon=True)
    turn = sys.getswitchinterval()
    sys.setswitchinterval(SHORT_TURN)  # else the event loop waits 5 ms for the lock whenever an image is decoded
    thread.start()
    try:
        while (item := work.done.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            work.gate.leave(item[0].held)
            yield item
    finally:
        work.stop()
        thread.join(timeout=10)
        sys.setswitchinterval(turn)


class _Work:
    """What the three kinds of threads share."""

    def __init__(
        self,
        requests: Iterable[Request],
        prepare: Callable[[Request], ChatRequest],
        asker: Callable[[], Asker],
        gate: Gate,
    ) -> None:
        self.done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.gate = gate
        self._requests, self._iterator, self._prepare, self._asker = requests, iter(requests), prepare, asker
        self._pull = threading.Lock()
        self._exhausted = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None

    def serve(self) -> None:
        """The body of the thread with the event loop."""
        try:
            asyncio.run(self._serve())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.done.put(error)
        finally:
            self.gate.stop()
            self.done.put(_END)

    def stop(self) -> None:
        """From the caller's thread: end everything."""
        self.gate.stop()
        if self._loop is not None and self._main is not None:
            with suppress(RuntimeError):  # closed by itself
                self._loop.call_soon_threadsafe(self._main.cancel)

    async def _serve(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        if self.gate.stopped:
            return
        inbox: asyncio.Queue[ChatRequest | None] = asyncio.Queue()
        feeders = [threading.Thread(target=self._feed, args=(inbox,), name="gapbench-feed", daemon=True)
                   for _ in range(FEEDERS)]  # fmt: skip
        open_ = len(feeders)
        async with self._asker() as asker, asyncio.TaskGroup() as tasks:
            for feeder in feeders:
                feeder.start()
            while open_:
                question = await inbox.get()
                if question is None:
                    open_ -= 1
                    asker.nothing_more()
                else:
                    tasks.create_task(self._ask(asker, question))

    async def _ask(self, asker: Asker, question: ChatRequest) -> None:
        try:
            self.done.put((question, await asker.ask(question)))
        except Exception as error:  # the caller's thread raises it and stops us
            self.done.put(error)

    def _feed(self, inbox: asyncio.Queue[ChatRequest | None]) -> None:
        """The body of a feeding thread."""
        try:
            while self.gate.enter():
                with self._pull:
                    request = _END if self._exhausted else next(self._iterator, _END)
                    if not isinstance(request, Request):
                        self._end_requests()
                        break
                    decoded = RGB * request.pixels
                    self.gate.weigh(decoded)
                question = self._prepare(request)
                del request  # with its images: the next turn may be long in coming
                self.gate.trade(decoded, question.held)
                if question.error:
                    self.done.put((question, (Answer(images=question.images, error=question.error), None)))
                else:
                    self._send(inbox, question)
            else:
                with self._pull:
                    self._end_requests()
        except BaseException as error:
            self.done.put(error)
        self._send(inbox, None)

    def _end_requests(self) -> None:
        """Closed here, where no other thread can be running it."""
        self._exhausted = True
        if inspect.isgenerator(self._iterator):
            self._iterator.close()

    def _send(self, inbox: asyncio.Queue[ChatRequest | None], item: ChatRequest | None) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed: nobody waits for it
            self._loop.call_soon_threadsafe(inbox.put_nowait, item)
