"""A proxy on loopback that lets some requests through and does to the others what real networks do.

    with Stub() as stub, FaultProxy(stub, choose=lambda number: "500" if number % 3 == 0 else "") as proxy:
        engine = server.load("stub", base_urls=[proxy.url])
    proxy.done                                     # Counter({"": 200, "500": 100})

The faults are the names in `FAULTS`. "late" and "lost answer" reach the server; the others do not.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from engines.stub_server import HttpRequest, Loopback, Response, Stub, chat, error

POISON = "POISON: this text is no answer of the model"
"""Stands in every faulty body, so that a test can see whether it was taken for an answer."""
PAUSE = 0.3
"""Seconds of a delay."""

BODY = chat(POISON).body
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
FAULTS: dict[str, Response] = {
    "429": error(429, POISON, **{"Retry-After": "0.05"}),
    "429 without": error(429, POISON),
    "500": error(500, POISON),
    "503": Response(503, f"<html>{POISON}</html>".encode(), {"Content-Type": "text/html"}),
    "closed": Response(raw=b""),
    "half a head": Response(raw=b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "half a body": Response(raw=HEAD.format(len(BODY)).encode() + BODY[:-40]),
    "truncated JSON": Response(body=BODY[:-40]),
    "empty body": Response(),
    "web page": Response(body=f"<html>{POISON}</html>".encode(), headers={"Content-Type": "text/html"}),
    "plain text": Response(body=POISON.encode(), headers={"Content-Type": "text/plain"}),
    "error with 200": Response(body=b'{"error": {"message": "%s", "code": 502}}' % POISON.encode()),
    "no choices": Response(body=b'{"choices": [], "note": "%s"}' % POISON.encode()),
    "not HTTP": Response(raw=f"SSH-2.0-{POISON}\r\n".encode()),
    "slow loris": Response(raw=HEAD.format(len(BODY)).encode() + BODY, pace=0.05),
    "never": Response(),
}


class FaultProxy(Loopback):
    """`choose` gives each chat request, by its number, a fault's name, "late", "lost answer", or "" for none."""

    def __init__(self, upstream: Stub, choose: Callable[[int], str]) -> None:
        super().__init__(self._answer)
        self._upstream, self._choose = upstream, choose
        self.done: Counter[str] = Counter()
        self._number = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    async def _answer(self, request: HttpRequest) -> Response:
        if request.method != "POST":
            return await self._forward(request)
        with self._lock:
            fault = self._choose(self._number)
            self._number += 1
        self.done[fault] += 1
        if fault == "never":
            await asyncio.sleep(60)
        if fault == "late":
            await asyncio.sleep(PAUSE)
        if fault in FAULTS:
            return FAULTS[fault]
        response = await self._forward(request)
        return replace(response, raw=b"") if fault == "lost answer" else response

    async def _forward(self, request: HttpRequest) -> Response:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream.port)
        try:
            request_head = (
                f"{request.method} {request.path} HTTP/1.1\r\nHost: stub\r\nContent-Length: {len(request.body)}\r\n\r\n"
            )
            writer.write(request_head.encode() + request.body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(next(line for line in head.splitlines() if line.startswith("Content-Length"))[16:])
            return Response(int(head.split()[1]), await reader.readexactly(length))
        finally:
            writer.close()
