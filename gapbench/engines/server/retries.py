"""Send a request with retries and backoff, each try to the endpoint with the least in flight.

    async with RetryingClient(policy, limit, counts) as client:
        answer, fault = await client.ask(chat_request)      # fault: that of the last try, None for an answer

These are retried, with exponential backoff and full jitter: 408, 429 (after `Retry-After`), 5xx, timeouts, closed
connections and unreadable responses. Any other 4xx is not retried. An `OPTIONAL` field is left out of all later
requests once a server refuses it by name and accepts the request without it. If no answer has come after a minute, a
warning names the servers; if none has come after `TIMEOUTS` timeouts, the run ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gapbench.engines.server.api_key import ApiKey
from gapbench.engines.server.concurrency import AdaptiveLimit
from gapbench.engines.server.endpoints import Endpoints
from gapbench.engines.server.http import Connections
from gapbench.engines.server.image_urls import ChatRequest
from gapbench.engines.server.responses import Fault, Remedy
from gapbench.errors import ModelError
from gapbench.types import Answer

OPTIONAL = ("chat_template_kwargs", "repetition_penalty", "top_k", "seed", "response_format", "max_tokens")
"""Fields that a server may refuse."""
RENAMED = {"max_tokens": "max_completion_tokens"}
"""The field that replaces one that was refused."""
REFUSED_TEMPERATURE = re.compile(r"support.{0,40}temperature|temperature.{0,40}(support|only)", re.IGNORECASE)
GREEDY = (
    " (gapbench asks for greedy answers, temperature 0, and this model does not support them: it cannot judge, and can "
    "only be measured with sampled answers, --temperature 1.)"
)
LONGEST_PAUSE = 60.0
"""Longest backoff in seconds, unless the server asks for a longer wait."""
SILENCE = 60.0
"""Seconds without a first answer until the warning."""
TIMEOUTS = 16
"""Timeouts before the first answer after which the run ends."""


@dataclass(frozen=True)
class RequestPolicy:
    """How every request is sent. `settings` are the payload's fields beside the messages; times are in seconds."""

    urls: tuple[str, ...]
    key: ApiKey
    settings: Mapping[str, Any]
    timeout: float
    tries: int
    backoff: float
    patience: float


@dataclass
class RequestCounts:
    """Counts so far. `faults` counts faults by kind; `left_out` are the fields that servers refused."""

    tries: int = 0
    answered: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    left_out: set[str] = field(default_factory=set)


class RetryingClient:
    """See the module. An asynchronous context that holds the connections, for use within one event loop."""

    def __init__(self, policy: RequestPolicy, limit: AdaptiveLimit, counts: RequestCounts) -> None:
        self._policy, self.limit, self._counts = policy, limit, counts
        self._endpoints = Endpoints(policy.urls, policy.patience)
        self._connections = {url: Connections(url, policy.key, policy.timeout) for url in policy.urls}

    async def __aenter__(self) -> RetryingClient:
        self.limit.restart()
        self._silence_watch = asyncio.get_running_loop().call_later(SILENCE, self._warn_if_silent)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._silence_watch.cancel()
        for connections in self._connections.values():
            await connections.close()

    def _warn_if_silent(self) -> None:
        """Warn if no answer has come: a silent server looks like a working one."""
        if not self._counts.answered:
            faults = ", ".join(f"{kind} {count} times" for kind, count in self._counts.faults.most_common())
            warnings.warn(
                f"{', '.join(self._policy.urls)}: no answer in {SILENCE:.0f} s{f' ({faults})' if faults else ''}. "
                f"The server may still be starting; a request is tried {self._policy.tries} times and may take "
                f"{self._policy.timeout:g} s (--timeout) each time. Ctrl-C ends this.",
                stacklevel=1,
            )

    async def ask(self, chat_request: ChatRequest) -> tuple[Answer, Fault | None]:
        """The answer and None, or an answer with `error` and the fault of the last try. Raises ModelError.

        A request with `error` is not sent: its answer has this error, and there is no fault.
        """
        if chat_request.error:
            return Answer(images=chat_request.images, error=chat_request.error), None
        tries = 0
        while True:
            async with self.limit:
                url, reply, seconds = await self._try(chat_request)
                if isinstance(reply, Answer):
                    self._counts.answered += 1
                    self.limit.count_answer()
                    return replace(
                        reply,
                        seconds=seconds / self.limit.inside,
                        images=chat_request.images,
                        sent_size=chat_request.sent_size,
                        sent_pixels=chat_request.sent_pixels,
                    ), None
            self._counts.faults[reply.kind] += 1
            if reply.remedy is Remedy.RETRY and (reply.busy or reply.kind.startswith("HTTP")):
                self.limit.count_error(time.perf_counter() - seconds, reply.busy)
            if reply.remedy in (Remedy.ELSEWHERE, Remedy.REFUSED):
                continue
            tries += 1
            if not self._counts.answered and self._counts.faults["timeout"] >= TIMEOUTS:
                raise ModelError(
                    f"{url}: {reply.message}, {TIMEOUTS} times from the first on. If the server is only slow, allow "
                    "more time (--timeout) or send fewer requests at once (--concurrency 1); else look at its log."
                )
            if reply.remedy is Remedy.GIVE_UP or tries >= self._policy.tries:
                times = f" ({tries} tries)" if tries > 1 else ""
                error = f"{url}{times}: {reply.message}{_greedy_hint(self._policy.settings, reply)}"
                return Answer(images=chat_request.images, error=error), reply
            await self.limit.rest(random.uniform(0, min(LONGEST_PAUSE, self._policy.backoff * 2 ** (tries - 1))))

    async def _try(self, chat_request: ChatRequest) -> tuple[str, Answer | Fault, float]:
        """One try: the endpoint's URL, the reply and its seconds. Sends again without fields refused by name."""
        omitted: set[str] = set()
        while True:
            endpoint = await self._endpoints.take()
            omitted |= self._counts.left_out
            fields = _fields(self._policy.settings, omitted, chat_request)
            payload = b'{"messages":' + chat_request.messages + b"," + fields[1:]
            self._counts.tries += 1
            started = time.perf_counter()
            reply = await self._connections[endpoint.url].exchange(payload)
            self._endpoints.release(endpoint, reply)
            if isinstance(reply, Answer):
                self._counts.left_out |= omitted
            elif refused := self._refused_fields(reply, omitted):
                omitted |= refused
                continue
            return endpoint.url, reply, time.perf_counter() - started

    def _refused_fields(self, fault: Fault, omitted: set[str]) -> set[str]:
        """The optional fields of the payload that a 400 or 422 names."""
        if fault.kind not in ("HTTP 400", "HTTP 422"):
            return set()
        return {name for name in OPTIONAL if name in self._policy.settings and name in fault.message} - omitted


def _greedy_hint(settings: Mapping[str, Any], fault: Fault) -> str:
    """The explanation for a server that refuses temperature 0; empty for other faults."""
    refused = fault.kind in ("HTTP 400", "HTTP 422") and REFUSED_TEMPERATURE.search(fault.message)
    return GREEDY if refused and settings["temperature"] == 0 else ""


def _fields(settings: Mapping[str, Any], omitted: set[str], chat_request: ChatRequest) -> bytes:
    """The payload's fields beside the messages. When sampling, each request has its own seed: repeats differ."""
    if settings["temperature"] > 0:
        digest = hashlib.sha256(f"{settings['seed']} {chat_request.key!r}".encode()).digest()
        settings = {**settings, "seed": int.from_bytes(digest[:4], "big") >> 1}
    sent = {k: v for k, v in settings.items() if k not in omitted}
    renamed = {RENAMED[k]: settings[k] for k in RENAMED if k in omitted}
    return json.dumps({**sent, **renamed}).encode()
