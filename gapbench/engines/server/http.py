"""HTTP exchanges with one server: send a body, get an answer or a fault.

    connections = Connections("http://localhost:8000/v1", key, timeout=600)
    reply = await connections.exchange(body)

Connections are kept alive. Each has its own HTTP client, because httpx2's pool checks all its connections for every
request: with 256 connections, a request took 3 ms of processor time instead of 1 ms (httpx2 2.16).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import httpx2

from gapbench.engines.server.api_key import ApiKey
from gapbench.engines.server.endpoints import is_loopback
from gapbench.engines.server.responses import Fault, Remedy, read
from gapbench.types import Answer

CONNECT = 10.0
"""Seconds in which a connection must open."""
LARGEST = 8_000_000
"""Most bytes in a response."""


class Connections:
    """Connections to one server, as many as there are requests in flight; for use within one event loop.

    `note` is called with finish reasons that are not known (`read`).
    """

    def __init__(self, url: str, key: ApiKey, timeout: float, note: Callable[[str], object]) -> None:
        self._url, self._timeout = f"{url}/chat/completions", timeout
        self._redact, self._note = key.redact, note
        self._new = partial(
            httpx2.AsyncClient,
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity", **key.headers},
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=30),
            timeout=httpx2.Timeout(None, connect=CONNECT),
            verify=httpx2.create_ssl_context(),
            trust_env=not is_loopback(url),  # no proxy for servers on this machine
        )
        self._idle: list[httpx2.AsyncClient] = []

    async def exchange(self, body: bytes) -> Answer | Fault:
        """Send a request and read the response. Every failure becomes a fault."""
        client = self._idle.pop() if self._idle else self._new()
        try:
            async with asyncio.timeout(self._timeout), client.stream("POST", self._url, content=body) as response:
                received = bytearray()
                async for part in response.aiter_bytes():
                    received += part
                    if len(received) > LARGEST:
                        return Fault("too long", f"more than {LARGEST:,} bytes in one answer", Remedy.RETRY)
                return read(response.status_code, response.headers, bytes(received), self._redact, self._note)
        except (TimeoutError, httpx2.HTTPError) as error:
            text = self._redact(f"{type(error).__name__}: {error}".rstrip(": "))[:200]
            match error:
                case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.ProxyError():
                    return Fault("not reached", f"not reached ({text})", Remedy.ELSEWHERE)
                case TimeoutError() | httpx2.TimeoutException():
                    return Fault("timeout", f"no answer within {self._timeout:g} s", Remedy.RETRY, busy=True)
                case httpx2.TransportError():
                    return Fault("disconnected", f"the connection broke ({text})", Remedy.RETRY)
                case _:
                    return Fault("unreadable", f"the response cannot be read ({text})", Remedy.RETRY)
        finally:
            self._idle.append(client)

    async def close(self) -> None:
        """Close all connections. No exchange may be under way."""
        for client in self._idle:
            await client.aclose()
