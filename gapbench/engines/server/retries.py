"""One question through as many tries as it needs, to whichever server is free.

    async with Asker(setup, limit) as asker:
        answer, fault = await asker.ask(question)       # fault: what the last try met, None for an answer

Retried, with exponential backoff and full jitter: 408, 429 (after what `Retry-After` says), 5xx, timeouts, closed
connections, and answers that cannot be read. Not retried: any other 4xx. A field of the request that servers need not
know (`OPTIONAL`) is left out once one of them refuses it by name and takes the request without it. A server that has
never answered is named after a minute, and ends the run after `TIMEOUTS` tries that it let pass.
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
from types import TracebackType
from typing import Any

from gapbench.engines.server.api_key import ApiKey
from gapbench.engines.server.concurrency import AdaptiveLimit
from gapbench.engines.server.endpoints import Endpoints
from gapbench.engines.server.http import Lines
from gapbench.engines.server.image_urls import ChatRequest
from gapbench.engines.server.responses import Fault, Then
from gapbench.errors import ModelError
from gapbench.types import Answer

OPTIONAL = {
    "chat_template_kwargs": "",
    "repetition_penalty": "",
    "top_k": "",
    "seed": "",
    "response_format": "",
    "max_tokens": "max_completion_tokens",
}
"""Fields that a server may refuse, and what takes their place."""
REFUSED_TEMPERATURE = re.compile(r"support.{0,40}temperature|temperature.{0,40}(support|only)", re.IGNORECASE)
GREEDY = (
    " (gapbench asks for greedy answers, temperature 0, and this model gives none: it cannot judge, and can only be "
    "measured by sampled answers, --temperature 1.)"
)
LONGEST_PAUSE = 60.0
"""Seconds between two tries, at most, where the server says nothing of it."""
SILENCE = 60.0
"""Seconds without a first answer after which that is said."""
TIMEOUTS = 16
"""Tries that may pass without a reply, from the first on, before the run is ended."""


@dataclass(frozen=True)
class RequestPolicy:
    """How every question is asked. `settings` are the request's fields beside the messages; times are in seconds."""

    urls: tuple[str, ...]
    key: ApiKey
    settings: Mapping[str, Any]
    timeout: float
    tries: int
    backoff: float
    patience: float


@dataclass
class RequestCounts:
    """What happened so far. `faults` counts by kind what tries met; `left_out` are fields that servers refused."""

    tries: int = 0
    answered: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    left_out: set[str] = field(default_factory=set)


class Asker:
    """See the module. An asynchronous context that holds the connections; for use within one event loop."""

    def __init__(self, setup: RequestPolicy, limit: AdaptiveLimit, tally: RequestCounts) -> None:
        self._setup, self._limit, self._tally = setup, limit, tally
        self._endpoints = Endpoints(setup.urls, setup.patience)
        self._lines = {url: Lines(url, setup.key, setup.timeout) for url in setup.urls}
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Asker:
        self._limit.restart()
        if not self._tally.answered:
            self._listening = asyncio.create_task(self._say_if_nothing_comes())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening:
            self._listening.cancel()
        for lines in self._lines.values():
            await lines.close()

    async def _say_if_nothing_comes(self) -> None:
        """A server that accepts and stays silent looks like one that is at work."""
        await asyncio.sleep(SILENCE)
        if not self._tally.answered:
            met = ", ".join(f"{kind} {count} times" for kind, count in self._tally.faults.most_common())
            warnings.warn(
                f"{', '.join(self._setup.urls)}: no answer in {SILENCE:.0f} s{f' ({met})' if met else ''}. The server "
                f"may still be starting; a request is tried {self._setup.tries} times and may take "
                f"{self._setup.timeout:g} s (--timeout) each time. Ctrl-C ends this.",
                stacklevel=1,
            )

    def nothing_more(self) -> None:
        """From here on places stand empty because there is nothing left to ask."""
        self._limit.close()

    async def ask(self, question: ChatRequest) -> tuple[Answer, Fault | None]:
        """The answer, or the fault of the last try and an answer that only has its `error`. Raises ModelError."""
        tried = 0
        while True:
            async with self._limit:
                url, reply, seconds = await self._try(question)
                share = seconds / self._limit.inside
                if isinstance(reply, Answer):
                    self._limit.answered()
            if isinstance(reply, Answer):
                self._tally.answered += 1
                self._endpoints.answered = True
                return _complete(reply, question, share), None
            self._tally.faults[reply.kind] += 1
            if reply.then is Then.RETRY and (reply.busy or reply.kind.startswith("HTTP")):
                self._limit.troubled(time.perf_counter() - seconds, reply.busy)
            if reply.then in (Then.ELSEWHERE, Then.REFUSED):
                continue
            tried += 1
            if not self._tally.answered and self._tally.faults["timeout"] >= TIMEOUTS:
                raise ModelError(
                    f"{url}: {reply.message}, {TIMEOUTS} times from the first on. If the server is well and only slow, "
                    "give it longer (--timeout) or less at once (--concurrency 1); else look at its log."
                )
            if reply.then is Then.GIVE_UP or tried >= self._setup.tries:
                times = f" ({tried} tries)" if tried > 1 else ""
                error = f"{url}{times}: {reply.message}{_about_greedy(self._setup.settings, reply)}"
                return Answer(images=question.images, error=error), reply
            with self._limit.resting():
                await asyncio.sleep(random.uniform(0, min(LONGEST_PAUSE, self._setup.backoff * 2 ** (tried - 1))))

    async def _try(self, question: ChatRequest) -> tuple[str, Answer | Fault, float]:
        """The URL asked, what came back, and how long it took; again without the fields that are refused by name."""
        without: set[str] = set()
        while True:
            endpoint = await self._endpoints.take()
            without |= self._tally.left_out
            body = b'{"messages":' + question.messages + b"," + _settings(self._setup.settings, without, question)[1:]
            self._tally.tries += 1
            started = time.perf_counter()
            fault: Fault | None = None
            try:
                reply = await self._lines[endpoint.url].exchange(body)
                fault = reply if isinstance(reply, Fault) and reply.then is not Then.GIVE_UP else None
            finally:
                self._endpoints.give_back(endpoint, fault)
            if isinstance(reply, Answer):
                self._tally.left_out |= without
            elif refused := self._refused_fields(reply, without):
                without |= refused
                continue
            return endpoint.url, reply, time.perf_counter() - started

    def _refused_fields(self, fault: Fault, without: set[str]) -> set[str]:
        """Fields sent that a 400 or 422 names."""
        if fault.kind not in ("HTTP 400", "HTTP 422"):
            return set()
        return {name for name in OPTIONAL if name in self._setup.settings and name in fault.message} - without


def _complete(reply: Answer, question: ChatRequest, seconds: float) -> Answer:
    q = question
    return replace(reply, seconds=seconds, images=q.images, sent_size=q.sent_size, sent_pixels=q.sent_pixels)


def _about_greedy(settings: Mapping[str, Any], fault: Fault) -> str:
    """What it means that a server refuses temperature 0; empty where it does not."""
    refused = fault.kind in ("HTTP 400", "HTTP 422") and REFUSED_TEMPERATURE.search(fault.message)
    return GREEDY if refused and settings["temperature"] == 0 else ""


def _settings(settings: Mapping[str, Any], without: set[str], question: ChatRequest) -> bytes:
    """The fields beside the messages. Sampled, each question has a seed of its own, else repeats would be copies."""
    if settings["temperature"] > 0:
        drawn = hashlib.sha256(f"{settings['seed']} {question.key!r}".encode()).digest()
        settings = {**settings, "seed": int.from_bytes(drawn[:4], "big") >> 1}
    kept = {OPTIONAL[k] if k in without else k: v for k, v in settings.items() if k not in without or OPTIONAL[k]}
    return json.dumps(kept).encode()
