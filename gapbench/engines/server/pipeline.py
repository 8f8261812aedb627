"""Run an event loop in a thread, so that the engine is a plain iterator.

    for chat_request, (answer, fault) in stream_replies(requests, client): ...

Feeder threads pull requests one at a time and encode them in parallel. A thread with an event loop sends them. The
caller's thread takes the replies. To bound memory, the requests between the pull and the caller are limited in number
(`READ_AHEAD` more than may be in flight) and in bytes (`HELD_BYTES`): a request counts the bytes of its decoded images,
and once encoded those of its payload. When the caller stops, by an error, an interrupt or by closing the iterator, the
connections close, the threads end, and a feeder thread closes `requests`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from gapbench.engines.server.image_urls import ChatRequest, encode_request
from gapbench.engines.server.responses import Fault
from gapbench.engines.server.retries import RetryingClient
from gapbench.types import Answer, Request
from gapbench.util.ahead import SHORT_TURN

READ_AHEAD = 8
"""Requests that wait to be sent: this many, or a quarter of the concurrency limit if that is more."""
HELD_BYTES = 1_500_000_000
"""Bytes held above which the next request waits, unless it is the only one."""
RGB = 3
"""Bytes per decoded pixel."""
FEEDERS = min(8, os.cpu_count() or 1)
"""Feeder threads. numpy and zlib release the interpreter lock while they encode images."""

_END = object()


def stream_replies(
    requests: Iterable[Request], client: RetryingClient
) -> Generator[tuple[ChatRequest, tuple[Answer, Fault | None]], None, None]:
    """Chat requests with their replies, as they come. Raises what `requests` or the client raise."""
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    work = _Work(client, runner.get_loop())
    main = work.loop.create_task(work.serve(iter(requests)))

    def serve() -> None:
        try:
            with work.feeders, runner:
                runner.run(asyncio.wait([main]))
        finally:
            work.done.put(_END if main.cancelled() else main.exception() or _END)

    thread = threading.Thread(target=serve, name="gapbench-server", daemon=True)
    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(SHORT_TURN)  # else the event loop waits 5 ms for the lock whenever an image is decoded
    thread.start()
    try:
        while (item := work.done.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            work.change(-1, -item[0].held)
            yield item
    finally:
        work.stopped = True
        work.change(0, 0)  # wakes the feeders
        with suppress(RuntimeError):  # the loop has ended
            work.loop.call_soon_threadsafe(main.cancel)
        thread.join(timeout=10)
        sys.setswitchinterval(switch_interval)


class _Work:
    """The state that the three kinds of threads share. `done` gets each request with its reply, and errors.

    Once `stopped`, no further request is pulled or sent.
    """

    def __init__(self, client: RetryingClient, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self._client, self._tasks = loop, client, asyncio.TaskGroup()
        self.done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.feeders = ThreadPoolExecutor(FEEDERS, "gapbench-feed")
        self._pulling, self._change = threading.Lock(), threading.Condition()
        self._count = self._bytes = 0
        self.stopped = False

    async def serve(self, requests: Iterator[Request]) -> None:
        """Send every request, and return after the last reply."""
        async with self._client, self._tasks:
            feeds = (self.loop.run_in_executor(self.feeders, self._feed, requests) for _ in range(FEEDERS))
            await asyncio.gather(*feeds)
            self._client.limit.close()

    def change(self, count: int, weight: int) -> None:
        """Add to the requests held, and to their bytes."""
        with self._change:
            self._count += count
            self._bytes += weight
            self._change.notify_all()

    def _feed(self, requests: Iterator[Request]) -> None:
        """Body of a feeder thread."""
        try:
            while True:
                with self._pulling:
                    request = next(requests, None) if self._wait_for_room(0) else None
                    if request is None or not self._wait_for_room(decoded := RGB * request.pixels):
                        break
                    self.change(1, decoded)
                chat_request = encode_request(request, self._client.escape)
                del request  # free its images: the next request may take long
                self.change(0, chat_request.held - decoded)
                self.loop.call_soon_threadsafe(self._start, chat_request)
        except BaseException as error:  # the caller's thread raises it and stops the others
            self.done.put(error)
        finally:
            if inspect.isgenerator(requests):
                with self._pulling:
                    requests.close()

    def _wait_for_room(self, weight: int) -> bool:
        """Wait for room for `weight` bytes in one request; a request above the bound goes alone. False once stopped."""
        limit = self._client.limit
        with self._change:
            while not self.stopped and (
                self._count >= limit.now + max(READ_AHEAD, limit.now // 4)
                or (self._bytes and self._bytes + weight > HELD_BYTES)
            ):
                self._change.wait()
            return not self.stopped

    def _start(self, chat_request: ChatRequest) -> None:
        if not self.stopped:
            self._tasks.create_task(self._send(chat_request))

    async def _send(self, chat_request: ChatRequest) -> None:
        try:
            self.done.put((chat_request, await self._client.ask(chat_request)))
        except Exception as error:
            self.done.put(error)
