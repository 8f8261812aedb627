"""Send a request with retries and backoff, each try to the endpoint with the least in flight.

    async with RetryingClient(options, key, settings, limit) as client:
        answer, fault = await client.ask(chat_request)      # fault: that of the last try, None for an answer

These are retried, with exponential backoff and full jitter: 408, 429 (after `Retry-After`), 5xx, timeouts, closed
connections and unreadable responses. Any other 4xx is not retried. An `OPTIONAL` field is left out of all later
requests once a server refuses it by name and accepts the request without it. A request whose prompt and new tokens
together exceed the context is sent again with as many new tokens as fit. If no answer has come after a minute, a
warning names the servers; if none has come after `TIMEOUTS` timeouts, the run ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gapbench.engines.context import TooLong
from gapbench.engines.options import seed_for
from gapbench.engines.server.api_key import ApiKey
from gapbench.engines.server.concurrency import AdaptiveLimit
from gapbench.engines.server.endpoints import Endpoints
from gapbench.engines.server.image_urls import ChatRequest, escape_control_tokens
from gapbench.engines.server.responses import Fault, Remedy
from gapbench.errors import ModelError
from gapbench.types import Answer

if TYPE_CHECKING:
    from gapbench.engines.server import ServerOptions

OPTIONAL = {
    "chat_template_kwargs",
    "skip_special_tokens",
    "repetition_penalty",
    "top_k",
    "seed",
    "response_format",
    "max_tokens",
}
"""Fields that a server may refuse."""
EXTENSIONS = ({"repetition_penalty", "top_k", "skip_special_tokens"}, {"chat_template_kwargs"})
"""`OPTIONAL` fields that OpenAI's API lacks, in the order in which they are left out of trial where none is named."""
UNEXPLAINED = re.compile(r"error code: 4\d\d|bad request|unprocessable|\(nothing\)", re.IGNORECASE)
"""Refusals without a cause: a gateway may pass on the status of its server alone."""
RENAMED = {"max_tokens": "max_completion_tokens"}
"""The field that replaces one that was refused."""
REFUSED_FIELDS = ("HTTP 400", "HTTP 422")
"""Kinds of faults that may name a field."""
REFUSED_TEMPERATURE = re.compile(r"support.{0,40}temperature|temperature.{0,40}(support|only)", re.IGNORECASE)
GREEDY = (
    " (gapbench asks for greedy answers, temperature 0, and this model does not support them: it cannot judge, and can "
    "only be measured with sampled answers, --temperature 1.)"
)
SHORTENED = 2
"""Times that a request is sent again with fewer new tokens: a server may want one free token more than it says."""
LONGEST_PAUSE = 60.0
"""Longest backoff in seconds, unless the server asks for a longer wait."""
SILENCE = 60.0
"""Seconds without a first answer until the warning."""
TIMEOUTS = 16
"""Timeouts before the first answer after which the run ends."""


@dataclass
class RetryingClient:
    """See the module. An asynchronous context that holds the connections, for use within one event loop at a time.

    `options` name the servers, `settings` are the payload's fields beside the messages, and `escape` keeps a prompt's
    text from turning into control tokens. `contexts` are the context lengths that servers declare, by URL. The counts
    go on from one use to the next: `faults` by kind, `odd_endings` by finish reason, and `left_out`, the fields that
    servers refused.
    """

    options: ServerOptions
    key: ApiKey
    settings: Mapping[str, Any]
    limit: AdaptiveLimit
    escape: Callable[[str], str] = escape_control_tokens
    contexts: Mapping[str, int | None] = field(default_factory=dict)
    tries: int = 0
    answered: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    odd_endings: Counter[str] = field(default_factory=Counter)
    left_out: set[str] = field(default_factory=set)

    async def __aenter__(self) -> RetryingClient:
        from gapbench.engines.server.http import Connections  # loads httpx2

        self.limit.restart()
        options = self.options
        self._endpoints = Endpoints(options.base_urls, options.patience)
        self._connections = {
            url: Connections(url, self.key, options.timeout, self._note_ending) for url in options.base_urls
        }
        self._silence_watch = asyncio.get_running_loop().call_later(SILENCE, self._warn_if_silent)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._silence_watch.cancel()
        for connections in self._connections.values():
            await connections.close()

    def _warn_if_silent(self) -> None:
        """Warn if no answer has come: a silent server looks like a working one."""
        if not self.answered:
            faults = ", ".join(f"{kind} {count} times" for kind, count in self.faults.most_common())
            warnings.warn(
                f"{', '.join(self.options.base_urls)}: no answer in {SILENCE:.0f} s{f' ({faults})' if faults else ''}. "
                f"The server may still be starting; a request is tried {self.options.tries} times and may take "
                f"{self.options.timeout:g} s (--timeout) each time. Ctrl-C ends this.",
                stacklevel=1,
            )

    def _note_ending(self, finish: str) -> None:
        """Count an answer with this unknown finish reason, and warn of the first."""
        self.odd_endings[finish] += 1
        if self.odd_endings[finish] == 1:
            warnings.warn(
                f"The server ends answers with finish_reason {finish!r}, which gapbench does not know. They count as "
                "whole answers. Expected stop, or length where an answer is cut off.",
                stacklevel=1,
            )

    async def ask(self, chat_request: ChatRequest) -> tuple[Answer, Fault | None]:
        """The answer and None, or an answer with `error` and the fault of the last try. Raises ModelError.

        A request with an `error` is not sent: this is its answer, and there is no fault.
        """
        shown = chat_request.shown
        if shown.error:
            return shown, None
        tries = 0
        while True:
            async with self.limit:
                url, reply, seconds = await self._try(chat_request)
                if isinstance(reply, Answer):
                    self.answered += 1
                    self.limit.count_answer()
                    reply = replace(reply, seconds=seconds / self.limit.inside, images=shown.images)
                    reply = replace(reply, sent_size=shown.sent_size, sent_pixels=shown.sent_pixels)
                    return self._refused_if_cut(url, reply), None
            self.faults[reply.kind] += 1
            if reply.remedy is Remedy.RETRY and (reply.busy or reply.kind.startswith("HTTP")):
                self.limit.count_error(time.perf_counter() - seconds, reply.busy)
            if reply.remedy in (Remedy.ELSEWHERE, Remedy.REFUSED):
                continue
            tries += 1
            if not self.answered and self.faults["timeout"] >= TIMEOUTS:
                raise ModelError(
                    f"{url}: {reply.message}, {TIMEOUTS} times from the first on. If the server is only slow, allow "
                    "more time (--timeout) or send fewer requests at once (--concurrency 1); else look at its log."
                )
            if reply.remedy is Remedy.GIVE_UP or tries >= self.options.tries:
                times = f" ({tries} tries)" if tries > 1 else ""
                no_greedy = reply.kind in REFUSED_FIELDS and REFUSED_TEMPERATURE.search(reply.message)
                hint = GREEDY if no_greedy and self.settings["temperature"] == 0 else ""
                error = f"{url}{times}: {reply.message}{hint}"
                return Answer(images=shown.images, error=error, too_long=reply.too_long is not None), reply
            await self.limit.rest(random.uniform(0, min(LONGEST_PAUSE, self.options.backoff * 2 ** (tries - 1))))

    def _refused_if_cut(self, url: str, answer: Answer) -> Answer:
        """The answer, or its refusal if the prompt fills the context: the server may have cut it without saying so."""
        context = self.contexts.get(url)
        if context is None or (answer.prompt_tokens or 0) < context:
            return answer
        reason = TooLong(answer.prompt_tokens, context).reason
        return replace(answer, text="", thought="", cut_off=False, error=f"{url}: {reason}.", too_long=True)

    async def _try(self, chat_request: ChatRequest) -> tuple[str, Answer | Fault, float]:
        """One try: the endpoint's URL, the reply and its seconds.

        Sends again without fields refused by name, and with fewer new tokens where those asked for do not fit. Before
        the first answer, an unexplained refusal is taken for one of fields that not every server has.
        """
        omitted: set[str] = set()
        max_tokens, shortened = self.settings["max_tokens"], 0
        while True:
            endpoint = await self._endpoints.take()
            omitted |= self.left_out
            fields = self._fields(omitted, chat_request.key, max_tokens)
            payload = b'{"messages":' + chat_request.messages + b"," + fields[1:]
            self.tries += 1
            started = time.perf_counter()
            reply = await self._connections[endpoint.url].exchange(payload)
            self._endpoints.release(endpoint, reply)
            if isinstance(reply, Answer):
                self.left_out |= omitted
            elif reply.too_long and shortened < SHORTENED and (room := reply.too_long.room(max_tokens)):
                max_tokens, shortened = room, shortened + 1
                continue
            elif reply.kind in REFUSED_FIELDS:
                optional = OPTIONAL & self.settings.keys() - omitted
                refused = {name for name in optional if name in reply.message} or self.left_out - omitted
                if not refused and not self.answered and UNEXPLAINED.search(reply.message):
                    refused = next(filter(None, (optional & names for names in EXTENSIONS)), set())
                if refused:
                    omitted |= refused
                    continue
            return endpoint.url, reply, time.perf_counter() - started

    def _fields(self, omitted: set[str], key: Hashable, max_tokens: int) -> bytes:
        """The payload's fields beside the messages. When sampling, each request has its own seed: repeats differ."""
        settings = {**self.settings, "max_tokens": max_tokens}
        if settings["temperature"] > 0:
            settings["seed"] = seed_for(settings["seed"], key, 31)
        sent = {k: v for k, v in settings.items() if k not in omitted}
        renamed = {RENAMED[k]: settings[k] for k in RENAMED if k in omitted}
        return json.dumps({**sent, **renamed}).encode()
