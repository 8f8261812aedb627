"""The engine for models behind any OpenAI-compatible server: vLLM, SGLang, llama.cpp, `transformers serve`, an API.

    options = ServerOptions(base_urls=("http://localhost:8000",))
    engine = load("Qwen/Qwen3-VL-4B-Instruct", Generation(max_new_tokens=64), Pixels(), options)
    for key, answer in engine.generate(requests): ...

Each sample is one request to `/chat/completions`. The request holds the images, as their stored bytes where these are
what the model should see (`image_urls`). Of several servers, the one with the least in flight gets the next request
(`endpoints`). The concurrency limit adjusts itself (`concurrency`). Failed requests are retried with backoff; a request
that keeps failing becomes an `error`, never an answer text (`responses`, `retries`). Requests ask for greedy decoding,
neutral penalties and no thinking. Fields that a server refuses are left out, so the server's own defaults apply; `info`
lists them (`server_defaults`).

A prompt that is longer than the model's context is an `error` (`gapbench.engines.context`), also if a server that
declares its context length answers all the same.

Limits: the client cannot see what a server does to images and prompts. It has no processor, so it escapes only control
tokens of the form `<|name|>`. `Answer.seconds` is the time of the last try, divided by the number of requests in flight
when it ended. A server may answer the same sample differently in different batches. Run one `generate` at a time.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, Field

from gapbench.engines.chat import Chat
from gapbench.engines.local import FAIL_FAST_AFTER, KeyedAnswer
from gapbench.engines.models import local_folder
from gapbench.engines.options import FROZEN, ChatTemplateKwargs, Flag, Generation, MaxModelLen, ReasoningTags, kept
from gapbench.engines.server.api_key import read_key
from gapbench.engines.server.concurrency import AdaptiveLimit
from gapbench.engines.server.discovery import context_lengths, describe_servers, warn_of_mismatch
from gapbench.engines.server.endpoints import base_url, is_loopback
from gapbench.engines.server.pipeline import stream_replies
from gapbench.engines.server.responses import Remedy
from gapbench.engines.server.retries import RENAMED, RetryingClient
from gapbench.engines.thinking import NAME, read_thinking, stored_template
from gapbench.errors import KEPT, ModelError, SettingError
from gapbench.scoring.thoughts import Tags, split
from gapbench.types import Answer, Request
from gapbench.views.pixels import Pixels

THINKING_OFF: Mapping[str, Any] = {"enable_thinking": False, "thinking": False, "thinking_mode": "disabled"}
"""The variables by which chat templates switch thinking off. Servers ignore those that a template does not read: vLLM
takes them out (`resolve_chat_template_kwargs`), SGLang and llama.cpp hand them to the template."""


END_MARKS = re.compile(r"(\s*(<\|(?!end_of_box)[^<>|\s]{1,40}\|>|</s>|<eos>|<end_of_turn>))+\s*\Z")
"""Special tokens at the end of a text: servers are asked to keep special tokens, as marks of thoughts may be such."""


class ServerOptions(BaseModel):
    """The options of this engine.

    For Python alone: `tries` per request, `backoff` (seconds, the longest pause before the second try; it doubles with
    each further try), `patience` (seconds without an answer from any server), `extra` fields of every request.
    """

    model_config = FROZEN

    base_urls: Annotated[
        tuple[str, ...],
        Flag("such as http://localhost:8000/v1; repeatable, to share the work", "URL", "elsewhere", "--base-url"),
    ] = ()
    chat_template_kwargs: ChatTemplateKwargs = {}
    max_model_len: MaxModelLen = None
    reasoning_tags: ReasoningTags = ()
    concurrency: Annotated[
        int | None, Field(ge=1), Flag("requests in flight at once, over all servers", "N|auto", "elsewhere")
    ] = None
    timeout: Annotated[
        float, Field(gt=0), Flag("time limit of a request before it is retried; default: 600", "SECONDS", "resources")
    ] = 600.0
    api_key_env: Annotated[str, Flag("the environment variable that holds the API key", "NAME", "elsewhere")] = ""
    tries: Annotated[int, Field(ge=1), Flag(kept="resources", typed=False)] = 8
    backoff: Annotated[float, Field(ge=0), Flag(kept="resources", typed=False)] = 0.5
    patience: Annotated[float, Field(ge=0), Flag(kept="resources", typed=False)] = 300.0
    extra: Annotated[Mapping[str, Any], Flag(kept="elsewhere", typed=False)] = {}


@dataclass
class ServerEngine:
    """See the module. Made by `load`.

    `tags` are marks of thoughts; `opens` says that prompts open one, as the template or an earlier answer showed. A
    server that was started for this engine has more: the `chat` of its model, and `end`, which ends it.
    """

    client: RetryingClient
    fixed_info: Mapping[str, Any]
    chat: Chat | None = None
    tags: Tags = ()
    opens: bool = False
    end: Callable[[], object] = lambda: None

    @property
    def info(self) -> dict[str, Any]:
        """The engine's settings. Once a server has answered, `server_defaults` lists the fields that it refused."""
        refused = sorted(self.client.left_out - RENAMED.keys())
        return {**self.fixed_info, **({"server_defaults": refused} if refused else {})}

    @property
    def waited(self) -> float:
        """Seconds spent waiting for images, weighted by the share of the concurrency limit that stood empty."""
        return self.client.limit.idle

    @property
    def trouble(self) -> dict[str, Any]:
        """Over the engine's whole life: requests sent, faults by kind, and the most requests in flight at once.

        `odd_endings`, if there are any, counts answers by a finish reason that is not known.
        """
        client, faults = self.client, dict(sorted(self.client.faults.items()))
        odd = {"odd_endings": dict(client.odd_endings)} if client.odd_endings else {}
        return {"tries": client.tries, "faults": faults, "most_at_once": client.limit.highest, **odd}

    def generate(self, requests: Iterable[Request]) -> Iterator[KeyedAnswer]:
        """Answers as they come, one per request.

        Raises ModelError if no server answers for a while or if every server refuses all requests. Fails fast: raises
        ModelError if the first `FAIL_FAST_AFTER` requests fail, or as many in a row through the server's fault. Their
        errors are not yielded, so a continued run asks these samples again. A prompt that is too long is the sample's
        fault; if all the first ones are, a warning says so.
        """
        held: list[KeyedAnswer] = []
        too_long = 0
        with closing(stream_replies(requests, self.client)) as answers:
            for chat_request, (answer, fault) in answers:
                if not answer.error:
                    answer = self._cut(answer)
                    yield from held
                    held.clear()
                too_long += answer.too_long
                if too_long == FAIL_FAST_AFTER and answer.too_long and not self.client.answered:
                    warnings.warn(
                        f"Model {self.fixed_info['model']}: so far every prompt is too long. {answer.error}",
                        stacklevel=2,
                    )
                odd = chat_request.shown.images != 1  # some models take only one image, and not none
                if (
                    fault is None
                    or fault.too_long
                    or (fault.remedy is Remedy.GIVE_UP and (self.client.answered or odd))
                ):
                    yield chat_request.key, answer
                    continue
                held.append((chat_request.key, answer))
                if len(held) >= FAIL_FAST_AFTER:
                    lately = f"the last {FAIL_FAST_AFTER} requests all failed"
                    cause = lately if self.client.answered else "nothing was answered"
                    raise ModelError(
                        f"Model {self.fixed_info['model']}: failing fast, because {cause}; {answer.error} Look at the "
                        "server's log, or try one request with curl or --concurrency 1. " + KEPT
                    )
            yield from held

    def _cut(self, answer: Answer) -> Answer:
        """The answer with its thought cut out of its text.

        Where prompts open a thought, an answer that was cut off without ending it is no more than a thought, unless the
        server returns thoughts apart.
        """
        inside = self.opens and answer.cut_off and not answer.thought
        parts = split(END_MARKS.sub("", answer.text), self.tags, inside)
        self.opens = self.opens or parts.opened
        thought = "\n".join(filter(None, (answer.thought, parts.thought)))
        return replace(answer, text=parts.answer, thought=thought, thought_cut_off=parts.cut_off)

    def allow(self, max_new_tokens: int) -> None:
        """Let answers be this long from now on."""
        self.client.settings = {**self.client.settings, "max_tokens": max_new_tokens}
        self.fixed_info["generation"]["max_new_tokens"] = max_new_tokens

    def close(self) -> None:
        """End what was started for this engine. Nothing else is held between two calls of `generate`."""
        self.end()


def load(model: str, generation: Generation, pixels: Pixels, options: ServerOptions) -> ServerEngine:
    """The engine for the model that the servers name `model`. Contacts each server once.

    Raises SettingError, and ModelError if no server can be reached or one refuses the key.
    """
    try:
        import httpx2  # noqa: F401
    except ImportError as error:
        raise SettingError("--engine server needs httpx2. Install it: pip install 'gapbench[server]'") from error
    for name in ("httpx2", "httpcore2"):  # their logs hold headers, which may repeat the key
        logging.getLogger(name).setLevel(logging.WARNING)
    if not options.base_urls:
        raise SettingError("--base-url: expected one or more URLs, as in --base-url http://localhost:8000/v1.")
    urls = tuple(dict.fromkeys(map(base_url, options.base_urls)))
    key = read_key(options.api_key_env)
    plain_urls = [url for url in urls if url.startswith("http:") and not is_loopback(url)]
    if key.value and plain_urls:
        warnings.warn(
            f"--api-key-env: the key goes over plain http to {', '.join(plain_urls)}, where others on the network can "
            "read it. Use https or a tunnel.",
            stacklevel=2,
        )
    servers = describe_servers(urls, key)
    template = _template_of(model, servers)
    thinking = read_thinking(template, options.chat_template_kwargs, options.reasoning_tags)
    generation = generation.for_model(thinking.expected)
    chosen = any(map(NAME.search, options.chat_template_kwargs))
    variables = {**({} if chosen else THINKING_OFF), **thinking.switches}
    settings: dict[str, Any] = {
        "model": model, "stream": False, "temperature": generation.temperature,
        "max_tokens": generation.tokens, "seed": generation.seed,
        "repetition_penalty": 1.0, **({"top_p": 1.0, "top_k": -1} if generation.temperature > 0 else {}),
        "skip_special_tokens": False, "chat_template_kwargs": variables,
        **({"logprobs": True} if generation.confidence else {}), **options.extra,
    }  # fmt: skip
    fixed_info: dict[str, Any] = {
        "engine": "server",
        "model": model,
        "base_urls": list(urls),
        "servers": servers,
        "concurrency": options.concurrency or "auto",
        "pixels": {**asdict(pixels), "sent": "stored bytes, or PNG where the image is not as stored"},
        "generation": {"max_new_tokens": generation.max_new_tokens, "temperature": generation.temperature,
                       "seed": generation.seed, "repetition_penalty": 1.0,
                       "extra": dict(options.extra),
                       "thinking": f"{thinking.text}, if the server uses the model's own template" if template
                       else "asked to be off (chat_template_kwargs)"},
        **kept(options),
    }  # fmt: skip
    warn_of_mismatch(model, fixed_info["servers"])
    options = options.model_copy(update={"base_urls": urls})
    client = RetryingClient(
        options, key, settings, AdaptiveLimit(options.concurrency, len(urls)),
        contexts=dict.fromkeys(urls, options.max_model_len) if options.max_model_len
        else context_lengths(model, servers),
    )  # fmt: skip
    return ServerEngine(client, fixed_info, tags=options.reasoning_tags, opens=thinking.opened)


def _template_of(model: str, servers: Sequence[Mapping[str, Any]]) -> str | None:
    """The chat template of the model's own files, if this machine has them; the server's may be another."""
    roots = [m.get("root") for server in servers for m in server.get("models", ()) if m.get("id") == model]
    for name in filter(None, (model, *roots)):
        if (folder := local_folder(str(name))) and (template := stored_template(folder)):
            return template
    return None
