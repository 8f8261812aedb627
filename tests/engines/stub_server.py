"""A small OpenAI-compatible server on loopback, which answers `echo: PROMPT` or whatever a test says.

    with Stub() as stub:
        engine = server.load("stub", base_urls=[stub.url])
    stub.requests                                  # every chat request that came, in order
    python stub_server.py --delay 0.02             # prints its URL; GET /stats counts the requests

Limits: HTTP/1.1 with Content-Length; no model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def prompt(self) -> str:
        content = self.json["messages"][0]["content"]
        return content if isinstance(content, str) else content[-1]["text"]

    @property
    def urls(self) -> list[str]:
        content = self.json["messages"][0]["content"]
        return [] if isinstance(content, str) else [part["image_url"]["url"] for part in content[:-1]]


@dataclass(frozen=True)
class Response:
    """What goes back. `raw` is written as it is in place of all else; `pace` is seconds before each of its bytes."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    pace: float = 0.0

    @property
    def bytes(self) -> bytes:
        if self.raw is not None:
            return self.raw
        headers = {"Content-Type": "application/json", **self.headers, "Content-Length": str(len(self.body))}
        lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        return f"HTTP/1.1 {self.status} Said\r\n{lines}\r\n".encode() + self.body


def chat(text: Any, finish: str | None = "stop", **message: Any) -> Response:
    """A chat completion."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    value = {"id": "x", "object": "chat.completion", "model": "stub", "choices": [choice], "usage": usage}
    return Response(body=json.dumps(value).encode())


def error(status: int, message: str, **headers: str) -> Response:
    """An error as OpenAI's servers word it."""
    return Response(status, json.dumps({"error": {"message": message}}).encode(), headers)


class Loopback:
    """An HTTP server in a thread of its own. Once left, its port is closed and its connections are cut."""

    def __init__(self, handle: Callable[[HttpRequest], Awaitable[Response]], port: int = 0) -> None:
        self._handle, self._port = handle, port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def __enter__(self) -> Any:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._talks: set[asyncio.Task[Any]] = set()
        server = await asyncio.start_server(self._talk, "127.0.0.1", self._port, limit=1 << 28, backlog=1024)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            while request := await read_request(reader):
                response = await self._handle(request)
                if response.pace:
                    for byte in response.bytes:
                        await asyncio.sleep(response.pace)
                        writer.write(bytes([byte]))
                        await writer.drain()
                elif response.bytes:
                    writer.write(response.bytes)
                    await writer.drain()
                if response.raw is not None:
                    break
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._talks.discard(task)
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> HttpRequest | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except (asyncio.IncompleteReadError, OSError):
        return None
    method, path, _ = head[0].split(" ")
    return HttpRequest(method, path, headers, body)


class Stub(Loopback):
    """`reply` is called with each chat request and its number, from 0; `delay` is in seconds.

    `models` are listed; `requests` are the chat requests; `most` is the most in flight at once.
    """

    def __init__(
        self,
        reply: Callable[[HttpRequest, int], Response] | None = None,
        delay: float = 0.0,
        port: int = 0,
        models: Response | None = None,
    ) -> None:
        super().__init__(self._answer, port)
        self.reply = reply or (lambda request, number: chat(f"echo: {request.prompt}"))
        self.delay, self.models = delay, models or Response(body=json.dumps(MODELS).encode())
        self.version = Response(body=b'{"version": "1.2.3"}')
        self.requests: list[HttpRequest] = []
        self.counts: Counter[str] = Counter()
        self.keep = True
        self.in_flight = self.most = 0

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    async def _answer(self, request: HttpRequest) -> Response:
        if request.path == "/v1/models":
            return self.models
        if request.path == "/version":
            return self.version
        if request.path == "/stats":
            return Response(body=json.dumps({"asked": sum(self.counts.values()), "prompts": len(self.counts)}).encode())
        if request.path != "/v1/chat/completions" or request.method != "POST":
            return error(404, "no such path")
        number = sum(self.counts.values()) if self.keep else 0
        if self.keep:
            self.requests.append(request)
        self.counts[request.prompt] += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
            return self.reply(request, number)
        finally:
            self.in_flight -= 1


MODELS = {"object": "list", "data": [{"id": "stub", "object": "model", "max_model_len": 4096, "root": "stub"}]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    stub = Stub(delay=options.delay, port=options.port)
    stub.keep = False
    with stub:
        print(stub.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
