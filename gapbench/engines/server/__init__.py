"""The engine for models behind any OpenAI-compatible server: vLLM, SGLang, llama.cpp, `transformers serve`, an API.

    engine = load("Qwen/Qwen3-VL-4B-Instruct", base_urls=["http://localhost:8000"], max_new_tokens=64)
    for key, answer in engine.generate(requests): ...

One request per question to `/chat/completions`: the images are inside it, as they are stored where that is what the
model is to see (`images`). Several servers share the work by what each has under way (`endpoints`); how much is under
way finds itself (`concurrency`); what goes wrong is tried again, and in the end is an `error`, never a text (`answers`,
`asking`). Greedy decoding with neutral penalties and thinking off is asked for. Fields that a server does not know are
left out, and `info` says which (`server_defaults`): then the server's own defaults hold.

Limits: what a server does to images and prompts cannot be seen from here; no processor is at hand, so only control
tokens of the form `<|name|>` are kept from working in data. `Answer.seconds` is the time of the last try over the
number of requests that were under way with it. Answers to the same question may differ between batches of the server.
One `generate` at a time.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gapbench.engines.server.api_key import read_key
from gapbench.engines.server.concurrency import AdaptiveLimit
from gapbench.engines.server.discovery import doubts, look
from gapbench.engines.server.endpoints import base_url, is_loopback
from gapbench.engines.server.image_urls import prepare
from gapbench.engines.server.pipeline import run
from gapbench.engines.server.responses import Then
from gapbench.engines.server.retries import OPTIONAL, Asker, RequestCounts, RequestPolicy
from gapbench.errors import ModelError, SettingError
from gapbench.types import Answer, Request
from gapbench.views.pixels import Pixels

HOPELESS = 16
"""Requests in a row that may fail, from the first on or for a server's reasons, before the run is ended."""
AHEAD = 8
"""Questions that are encoded and wait for their turn, at least; a quarter of those under way if that is more."""


@dataclass
class ServerEngine:
    """See the module. Made by `load`."""

    setup: RequestPolicy
    pixels: Pixels
    limit: AdaptiveLimit
    described: Mapping[str, Any]
    tally: RequestCounts = field(default_factory=RequestCounts)

    @property
    def info(self) -> dict[str, Any]:
        """What reproduces it. `server_defaults`, the fields that it would not let us set, is known once it answered."""
        refused = sorted(name for name in self.tally.left_out if not OPTIONAL[name])  # the others have another name
        return {**self.described, **({"server_defaults": refused} if refused else {})}

    @property
    def waited(self) -> float:
        """Seconds for which servers could have been asked more than was ready; half of them idle counts half."""
        return self.limit.idle

    @property
    def trouble(self) -> dict[str, Any]:
        """What its whole life was like: requests sent, what they met by kind, and the most under way at once."""
        faults = dict(sorted(self.tally.faults.items()))
        return {"tries": self.tally.tries, "faults": faults, "most_at_once": self.limit.highest}

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
        """Answers as they come, one per request.

        Raises ModelError if no server answers for a while, if all of them refuse us, if the first `HOPELESS` questions
        fail, or if as many in a row do for reasons that lie with the server. These are not handed out, so that they
        are asked when the run is continued.
        """
        asker = partial(Asker, self.setup, self.limit, self.tally)
        held: list[tuple[Hashable, Answer]] = []
        answers = run(
            requests,
            lambda request: prepare(request, self.pixels),
            asker,
            lambda: self.limit.now + max(AHEAD, self.limit.now // 4),
        )
        try:
            for question, (answer, fault) in answers:
                if not answer.error:
                    yield from held
                    held.clear()
                several = question.images > 1  # which is not for every model, and says nothing about the others
                if fault is None or (fault.then is Then.GIVE_UP and (self.tally.answered or several)):
                    yield question.key, answer
                    continue
                held.append((question.key, answer))
                if len(held) >= HOPELESS:
                    raise ModelError(_hopeless(self.described["model"], answer.error, bool(self.tally.answered)))
            yield from held
        finally:
            answers.close()


def load(
    model: str,
    *,
    base_urls: Sequence[str],
    concurrency: int | None = None,
    api_key_env: str = "",
    pixels: Pixels | None = None,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    timeout: float = 600.0,
    tries: int = 8,
    backoff: float = 0.5,
    patience: float = 300.0,
    extra: Mapping[str, Any] | None = None,
) -> ServerEngine:
    """The engine for the model that servers call `model`; `concurrency` (requests under way, in all) None is automatic.

    `timeout`, `backoff` (the longest pause before the second try, which doubles) and `patience` (without an answer from
    any server) are in seconds; `tries` is per question; `extra` are further fields of every request. Looks at each
    server once. Raises SettingError, and ModelError if no server can be reached or the key is refused.
    """
    _import_client()
    _check(concurrency, max_new_tokens, temperature, timeout, tries, base_urls)
    urls = tuple(dict.fromkeys(map(base_url, base_urls)))
    key = read_key(api_key_env)
    open_ = [url for url in urls if url.startswith("http:") and not is_loopback(url)] if key.value else []
    if open_:
        warnings.warn(
            f"--api-key-env: the key goes over plain http to {', '.join(open_)}: whoever is on the way can read it. "
            "Use https, or a tunnel.",
            stacklevel=2,
        )
    pixels = pixels or Pixels()
    settings: dict[str, Any] = {
        "model": model, "stream": False, "temperature": temperature, "max_tokens": max_new_tokens, "seed": seed,
        "repetition_penalty": 1.0, **({"top_p": 1.0, "top_k": -1} if temperature > 0 else {}),
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False}, **(extra or {}),
    }  # fmt: skip
    described: dict[str, Any] = {
        "engine": "server",
        "model": model,
        "base_urls": list(urls),
        "servers": look(urls, key),
        "concurrency": concurrency or "auto",
        "pixels": {"min_pixels": pixels.min_pixels, "max_pixels": pixels.max_pixels,
                   "sent": "stored bytes, or PNG where the image is not as stored"},
        "generation": {"max_new_tokens": max_new_tokens, "temperature": temperature, "repetition_penalty": 1.0,
                       "seed": seed, "thinking": "asked to be off (chat_template_kwargs)", "extra": dict(extra or {})},
    }  # fmt: skip
    for doubt in doubts(model, described["servers"]):
        warnings.warn(doubt, stacklevel=2)
    setup = RequestPolicy(urls, key, settings, timeout, tries, backoff, patience)
    return ServerEngine(setup, pixels, AdaptiveLimit(concurrency, len(urls)), described)


def _import_client() -> None:
    """Missing, it is named; and it logs neither a line per request nor headers, where a server may repeat the key."""
    try:
        import httpx2  # noqa: F401
    except ImportError as error:
        raise SettingError("--engine server needs httpx2. Install it: pip install 'gapbench[server]'") from error
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _check(
    concurrency: int | None,
    max_new_tokens: int,
    temperature: float,
    timeout: float,
    tries: int,
    base_urls: Sequence[str],
) -> None:
    if isinstance(base_urls, str) or not base_urls:
        raise SettingError("--base-url: expected one or more URLs, as in --base-url http://localhost:8000/v1.")
    if concurrency is not None and concurrency < 1:
        raise SettingError(f"--concurrency {concurrency}: expected auto or at least 1.")
    if max_new_tokens < 1 or temperature < 0 or not timeout > 0 or tries < 1:
        raise SettingError(
            f"--max-new-tokens {max_new_tokens}, --temperature {temperature}, --timeout {timeout:g}, tries {tries}: "
            "expected at least 1, at least 0, more than 0 and at least 1."
        )


def _hopeless(model: str, error: str, answered: bool) -> str:
    so_far = f"the last {HOPELESS} questions all failed" if answered else "nothing was answered"
    return (
        f"Model {model}: {so_far}; {error} If the server is well, look at its log; try one of these questions with "
        "curl, or --concurrency 1. What was answered is kept, and the same command asks the rest."
    )
