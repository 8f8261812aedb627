"""Run an event loop in a thread, so that the engine is a plain iterator.

    make_client = lambda: RetryingClient(policy, limit, counts)
    for chat_request, (answer, fault) in stream_replies(requests, prepare, make_client, lambda: limit.now): ...

Feeder threads pull requests one at a time and encode them in parallel. A thread with an event loop sends them. The
caller's thread takes the replies. To bound memory, the requests between the first pull and the caller are limited in
number (`room`) and in bytes (`HELD_BYTES`): a request counts the bytes of its decoded images, and once encoded those of
its payload. When the caller stops, by an error, an interrupt or by closing the iterator, the threads stop, the
connections close, and a feeder thread closes `requests`.
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
from gapbench.engines.server.retries import RetryingClient
from gapbench.types import Answer, Request
from gapbench.util.ahead import SHORT_TURN

HELD_BYTES = 1_500_000_000
"""Bytes held above which the next request waits, unless it is the only one."""
RGB = 3
"""Bytes per decoded pixel."""
FEEDERS = min(8, os.cpu_count() or 1)
"""Feeder threads. Pillow releases the interpreter lock while it encodes images."""

Reply = tuple[Answer, Fault | None]
_END = object()


class Gate:
    """Bounds the requests that are held, and their bytes: a feeder thread waits until its request fits."""

    def __init__(self, room: Callable[[], int]) -> None:
        self._room = room
        self._change = threading.Condition()
        self._count = self._bytes = 0
        self.stopped = False

    def enter(self) -> bool:
        """Wait for room for one more request. Returns False once stopped."""
        with self._change:
            while not self.stopped and self._count >= self._room():
                self._change.wait(0.5)  # `room` changes without a notification
            self._count += 1
            return not self.stopped

    def weigh(self, weight: int) -> None:
        """Wait for room for `weight` bytes, and add them. A request above the bound goes alone."""
        with self._change:
            while not self.stopped and self._bytes and self._bytes + weight > HELD_BYTES:
                self._change.wait()
            self._bytes += weight

    def trade(self, before: int, after: int) -> None:
        """Replace `before` bytes by `after` bytes, without waiting."""
        with self._change:
            self._bytes += after - before
            self._change.notify_all()

    def leave(self, weight: int) -> None:
        """Remove one request and its bytes."""
        with self._change:
            self._count -= 1
            self._bytes -= weight
            self._change.notify_all()

    def stop(self) -> None:
        """Wake all feeder threads so that they end."""
        with self._change:
            self.stopped = True
            self._change.notify_all()


def stream_replies(
    requests: Iterable[Request],
    prepare: Callable[[Request], ChatRequest],
    make_client: Callable[[], RetryingClient],
    room: Callable[[], int],
) -> Generator[tuple[ChatRequest, Reply], None, None]:
    """Chat requests with their replies, as they come. Raises what `requests` or the client raise."""
    work = _Work(requests, prepare, make_client, Gate(room))
    thread = threading.Thread(target=work.serve, name="gapbench-server", daemon=True)
    switch_interval = sys.getswitchinterval()
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
        sys.setswitchinterval(switch_interval)


class _Work:
    """The state that the three kinds of threads share."""

    def __init__(
        self,
        requests: Iterable[Request],
        prepare: Callable[[Request], ChatRequest],
        make_client: Callable[[], RetryingClient],
        gate: Gate,
    ) -> None:
        self.done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.gate = gate
        self._requests, self._iterator = requests, iter(requests)
        self._prepare, self._make_client = prepare, make_client
        self._pull_lock = threading.Lock()
        self._exhausted = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None

    def serve(self) -> None:
        """Body of the thread with the event loop."""
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
        """Stop all threads. Called from the caller's thread."""
        self.gate.stop()
        if self._loop is not None and self._main is not None:
            with suppress(RuntimeError):  # the loop has already closed
                self._loop.call_soon_threadsafe(self._main.cancel)

    async def _serve(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        if self.gate.stopped:
            return
        inbox: asyncio.Queue[ChatRequest | None] = asyncio.Queue()
        feeders = [threading.Thread(target=self._feed, args=(inbox,), name="gapbench-feed", daemon=True)
                   for _ in range(FEEDERS)]  # fmt: skip
        running_feeders = len(feeders)
        async with self._make_client() as client, asyncio.TaskGroup() as tasks:
            for feeder in feeders:
                feeder.start()
            while running_feeders:
                chat_request = await inbox.get()
                if chat_request is None:
                    running_feeders -= 1
                    client.no_more_requests()
                else:
                    tasks.create_task(self._send(client, chat_request))

    async def _send(self, client: RetryingClient, chat_request: ChatRequest) -> None:
        try:
            self.done.put((chat_request, await client.ask(chat_request)))
        except Exception as error:  # the caller's thread raises it and stops this one
            self.done.put(error)

    def _feed(self, inbox: asyncio.Queue[ChatRequest | None]) -> None:
        """Body of a feeder thread."""
        try:
            while self.gate.enter():
                with self._pull_lock:
                    request = _END if self._exhausted else next(self._iterator, _END)
                    if not isinstance(request, Request):
                        self._end_requests()
                        break
                    decoded = RGB * request.pixels
                    self.gate.weigh(decoded)
                chat_request = self._prepare(request)
                del request  # free its images: the next request may take long
                self.gate.trade(decoded, chat_request.held)
                if chat_request.error:
                    self.done.put((chat_request, (Answer(images=chat_request.images, error=chat_request.error), None)))
                else:
                    self._enqueue(inbox, chat_request)
            else:
                with self._pull_lock:
                    self._end_requests()
        except BaseException as error:
            self.done.put(error)
        self._enqueue(inbox, None)

    def _end_requests(self) -> None:
        """Close the generator of requests. The caller holds the lock, so no other thread is running it."""
        self._exhausted = True
        if inspect.isgenerator(self._iterator):
            self._iterator.close()

    def _enqueue(self, inbox: asyncio.Queue[ChatRequest | None], item: ChatRequest | None) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has closed, and nobody waits for the item
            self._loop.call_soon_threadsafe(inbox.put_nowait, item)
