"""Run an event loop in a thread, so that the engine is a plain iterator.

    make_client = lambda: RetryingClient(policy, limit, counts)
    for chat_request, (answer, fault) in stream_replies(requests, encode, make_client, lambda: limit.now): ...

One thread pulls the requests, a pool encodes them in parallel, and a thread with an event loop admits and sends them.
The caller's thread takes the replies. To bound memory, the requests between the pull and the caller are limited in
number (`room`) and in bytes (`HELD_BYTES`): a request counts the bytes of its decoded images, and once encoded those of
its payload. When the caller stops, by an error, an interrupt or by closing the iterator, the
connections close, the threads end, and the pulling thread closes `requests`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
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
ENCODERS = min(8, os.cpu_count() or 1)
"""Requests encoded at once, each in a thread. numpy and zlib release the interpreter lock."""

Reply = tuple[Answer, Fault | None]
_END = object()


def stream_replies(
    requests: Iterable[Request],
    encode: Callable[[Request], ChatRequest],
    make_client: Callable[[], RetryingClient],
    room: Callable[[], int],
) -> Generator[tuple[ChatRequest, Reply], None, None]:
    """Chat requests with their replies, as they come. Raises what `requests` or the client raise."""
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    loop = runner.get_loop()
    work = _Work(requests, encode, room)
    main = loop.create_task(work.serve(make_client))

    def serve() -> None:
        with work.puller, work.encoders:
            try:
                with runner:
                    runner.run(asyncio.wait([main]))
            finally:
                work.done.put(_END if main.cancelled() else main.exception() or _END)
                if inspect.isgenerator(requests):  # closed in the thread that may still be running it
                    work.puller.submit(requests.close)

    thread = threading.Thread(target=serve, name="gapbench-server", daemon=True)
    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(SHORT_TURN)  # else the event loop waits 5 ms for the lock whenever an image is decoded
    thread.start()
    try:
        while (item := work.done.get()) is not _END:
            if isinstance(item, BaseException):
                raise item.exceptions[0] if isinstance(item, BaseExceptionGroup) else item
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(work.change, -1, -item[0].held)
            yield item
    finally:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(main.cancel)
        thread.join(timeout=10)
        sys.setswitchinterval(switch_interval)


class _Work:
    """Pulls, encodes and sends requests; `done` gets each with its reply. All but `done` belongs to the event loop."""

    def __init__(
        self, requests: Iterable[Request], encode: Callable[[Request], ChatRequest], room: Callable[[], int]
    ) -> None:
        self.done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.puller = ThreadPoolExecutor(1, "gapbench-pull")
        self.encoders = ThreadPoolExecutor(ENCODERS, "gapbench-encode")
        self._iterator, self._encode, self._room = iter(requests), encode, room
        self._count = self._bytes = 0
        self._changed, self._encoder = asyncio.Event(), asyncio.Semaphore(ENCODERS)

    async def serve(self, make_client: Callable[[], RetryingClient]) -> None:
        """Send every request, and return after the last reply."""
        async with make_client() as client, asyncio.TaskGroup() as tasks:
            while True:
                await self._wait_for_room(0)
                request = await asyncio.get_running_loop().run_in_executor(self.puller, next, self._iterator, None)
                if request is None:
                    break
                decoded = RGB * request.pixels
                await self._encoder.acquire()  # else many could be admitted before the first has its final weight
                await self._wait_for_room(decoded)
                self.change(1, decoded)
                tasks.create_task(self._send(client, request, decoded))
                del request  # free its images once they are encoded: the next request may take long
            client.limit.close()

    async def _send(self, client: RetryingClient, request: Request, decoded: int) -> None:
        if request.images:  # text takes less time than the change of thread
            encoding = asyncio.get_running_loop().run_in_executor(self.encoders, self._encode, request)
            del request
            chat_request = await encoding
        else:
            chat_request = self._encode(request)
        self._encoder.release()
        self.change(0, chat_request.held - decoded)
        if chat_request.error:
            self.done.put((chat_request, (Answer(images=chat_request.images, error=chat_request.error), None)))
        else:
            self.done.put((chat_request, await client.ask(chat_request)))

    async def _wait_for_room(self, weight: int) -> None:
        while self._count >= self._room() or (self._bytes and self._bytes + weight > HELD_BYTES):
            self._changed.clear()
            await self._changed.wait()

    def change(self, count: int, weight: int) -> None:
        """Add to the requests held, and to their bytes."""
        self._count += count
        self._bytes += weight
        self._changed.set()
