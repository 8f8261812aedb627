"""The reference engine: any image-text-to-text model through transformers' Auto classes and `generate`.

    engine = load("Qwen/Qwen3-VL-4B-Instruct", Generation(max_new_tokens=64), Pixels(), TransformersOptions())
    for key, answer in engine.generate(requests): ...

While the model works, threads decode and process the next images, and one makes left-padded batches. Prompts are sorted
by length, and a batch ends where padding would be more than a fifth of it (`gapbench.engines.prompt_batches`). An
automatic batch size follows from a budget of prompt tokens, and halves whenever memory runs out.
The default is greedy decoding with neutral penalties, whatever the model's own `generation_config` says, so that all
models are prompted in the same way.

Limits: answers arrive in order of prompt length, not in the order of the requests. Sampling (`temperature` > 0) is
reproducible only for the same batches on the same hardware.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from typing import Annotated, Any

from pydantic import Field

from gapbench.engines import local, models
from gapbench.engines.chat import Chat, in_dtype, make_chat, place
from gapbench.engines.local import KeyedAnswer
from gapbench.engines.options import Flag, Generation, seed_for
from gapbench.engines.prompt_batches import FREE_PADDING, PromptLengths, first_batch, with_threads
from gapbench.engines.tokens import context_length, image_token_id, neutral_generation
from gapbench.scoring.thoughts import Tags
from gapbench.types import Answer, Request
from gapbench.util.ahead import WaitingTime, read_ahead
from gapbench.views.pixels import Pixels

WINDOW = 8
"""Most batches of requests that are sorted together."""
WINDOW_PIXELS = 200_000_000
"""Decoded pixels at which a window is closed: 600 MB of RGB."""
TOKEN_BUDGET = {"cpu": 16_384, "mps": 16_384, "cuda": 131_072}
"""Most prompt tokens in an automatic batch, padding included, by kind of device. Memory may lower it further."""
AHEAD_BYTES = 1_000_000_000
"""Bytes of processed batches that wait for the model, if they are several. One more is being made meanwhile."""
LARGEST_BATCH = 64
FAR_OFF = 2
"""A batch of more tokens than so many budgets is split after all: an image of an odd shape may exceed its estimate."""
UNLIMITED = 1 << 62


class TransformersOptions(models.ModelOptions):
    """The options of this engine."""

    batch_size: Annotated[int | None, Field(ge=1), Flag("prompts in a batch", "N|auto", "resources")] = None


ReadyBatch = tuple[list[Request], Any, Answer | None]
"""Requests with the model's inputs, or one request alone with the answer that says why it has none."""


@dataclass
class TransformersEngine:
    """See the module. Made by `load`. `context` is the longest prompt and answer in tokens, None if unknown; `tags` are
    marks of thoughts. `info` is the engine's part of `run.json`.
    """

    loaded: models.Loaded
    chat: Chat
    generation: Generation
    batch_size: int | None = None
    context: int | None = None
    tags: Tags = ()
    info: dict[str, Any] = field(default_factory=dict)
    trouble: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        processor = self.loaded.processor
        self._chat = with_threads(self.chat, self.loaded.model.dtype)
        self._length = PromptLengths(self.chat)
        self._limit = self.batch_size or LARGEST_BATCH
        budget = TOKEN_BUDGET.get(self.loaded.device.split(":")[0], TOKEN_BUDGET["cuda"])
        self._budget = UNLIMITED if self.batch_size else budget
        self._free_padding = int(FREE_PADDING * budget)
        self.image_token = image_token_id(self.loaded.model.config, processor)
        self._replies = local.Replies(self.loaded.name, processor.tokenizer, self.image_token, self.context, self.tags)
        self._waited = WaitingTime()
        self._ends = neutral_generation(self.loaded)

    def generate(self, requests: Iterable[Request]) -> Iterator[KeyedAnswer]:
        """Answers, short prompts first. A request whose image the processor refuses, or whose prompt is longer than the
        model's context, comes back with `error`.

        Fails fast: raises ModelError if, before any answer, a single request does not fit into memory or
        `FAIL_FAST_AFTER` requests fail.
        """
        batches = read_ahead(self._prepare(requests), waited=self._waited, weight=_bytes, most=AHEAD_BYTES)
        yield from local.hold_leading_errors(self._answers(batches))

    @property
    def waited(self) -> float:
        """Seconds that the model spent waiting for a batch."""
        return self._waited.seconds

    def close(self) -> None:
        """Free the model's memory."""
        from accelerate.utils.memory import clear_device_cache

        del self.loaded, self.chat, self._chat, self._length
        clear_device_cache(garbage_collection=True)

    allow = local.allow

    def prompt_ids(self, request: Request) -> list[int]:
        """The token ids of the prompt, with images expanded to their tokens."""
        return list(self._inputs([request])["input_ids"][0].tolist())

    def next_logprobs(self, request: Request) -> dict[int, float]:
        """Log-probabilities (nats) of the `TOP_TOKENS` likeliest first tokens of the answer."""
        import torch

        model = self.loaded.model
        with torch.inference_mode():
            logits = model(**place(self._inputs([request]), model)).logits[0, -1]
            top = torch.log_softmax(logits.float(), -1).topk(min(local.TOP_TOKENS, logits.numel()))
        return dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))

    def _answers(self, batches: Iterable[ReadyBatch]) -> Generator[KeyedAnswer, None, None]:
        for group, inputs, failure in batches:
            if failure:  # of one request alone
                yield group[0].key, failure
            else:
                yield from self._answer(group, inputs)

    def _prepare(self, requests: Iterable[Request]) -> Iterator[ReadyBatch]:
        """Batches for the model, shortest prompts first within each window."""
        # At first one batch is sorted, so that the model starts soon, then ever more.
        sizes = (batches * self._limit for batches in chain((1, 2, 4), repeat(WINDOW)))
        for window in local.chunks(requests, sizes, WINDOW_PIXELS):
            yield from (([r], None, local.failed(r, r.error)) for r in window if r.error)
            for blind in (True, False):  # a prompt without an image is processed as if all were: not with the others
                valid = [(self._length(r), r.pixels, r) for r in window if not r.error and blind == (not r.images)]
                valid.sort(key=lambda entry: entry[:2])
                while valid:
                    size = first_batch([n for n, _, _ in valid], self._limit, self._budget, self._free_padding)
                    group, valid = [r for _, _, r in valid[:size]], valid[size:]
                    yield from self._process(group)

    def _process(self, group: list[Request]) -> Iterator[ReadyBatch]:
        """One processed batch, split if it is far over the budget or if one of its requests cannot be answered."""
        try:
            inputs = self._inputs(group)
        except Exception as error:
            if len(group) == 1:
                reason = f"the processor refused {local.failure_details(group[0], error)}"
                yield group, None, local.failed(group[0], reason)
                return
        else:
            lengths = inputs["attention_mask"].sum(-1).tolist()
            long = {r.key: n for r, n in zip(group, lengths, strict=True) if n >= (self.context or UNLIMITED)}
            if long:
                yield from (([r], None, self._replies.too_long(r, long[r.key])) for r in group if r.key in long)
                if rest := [r for r in group if r.key not in long]:
                    yield from self._process(rest)
                return
            if len(group) == 1 or inputs["input_ids"].numel() <= FAR_OFF * self._budget:
                yield group, inputs, None
                return
            del inputs  # lengths were estimated by far too low, and a CPU has no error for too little memory
        for part in _halves(group):
            yield from self._process(part)

    def _inputs(self, group: list[Request]) -> Any:
        inputs = self._chat.batch([(request.images, request.prompt) for request in group])
        in_dtype(inputs, self.loaded.model.dtype)  # here, where the model need not wait for it
        return inputs

    def _answer(self, group: list[Request], inputs: Any) -> Iterator[KeyedAnswer]:
        """Generate for one batch. If memory runs out, halve the batch, and the limit for later batches."""
        from accelerate.utils.memory import clear_device_cache

        started = time.perf_counter()
        failure: Exception | None = None
        try:
            tokens, logps = self._run(inputs, [request.key for request in group])
        except Exception as error:
            failure = error.with_traceback(None)  # the traceback would hold the failed batch's memory
            failure.__context__ = failure.__cause__ = None
        if failure is not None:
            out_of_memory = _out_of_memory(failure)
            if out_of_memory:
                clear_device_cache(garbage_collection=True)
            if len(group) == 1:
                reason = f"the model failed on {local.failure_details(group[0], failure)}"
                if out_of_memory:
                    reason = (
                        f"out of memory at batch size 1 for {local.describe_images(group[0])} on {self.loaded.device}. "
                        "Lower --max-pixels or --max-new-tokens, use --dtype bfloat16, or a larger device."
                    )
                yield group[0].key, self._replies.refusal(group[0], reason, failure, at_once=out_of_memory)
                return
            if out_of_memory:
                self._limit = max(1, len(group) // 2)
            for part in _halves(group):
                yield from self._answers(self._process(part))
            return
        self._replies.refused = None
        seconds = (time.perf_counter() - started) / len(group)
        for request, ids, mask, row, of_row in zip(
            group, inputs["input_ids"], inputs["attention_mask"].bool(), tokens.tolist(), logps, strict=True
        ):
            prompt, shown = ids[mask].tolist(), local.shown(request)
            if self.context:
                row = row[: self.context - len(prompt)]
            stop = next((n for n, token in enumerate(row) if token in self._ends), None)
            answer = self._replies.answer(shown, prompt, row[:stop], stop is None, seconds)
            read = of_row[: len(row) if stop is None else stop + 1]
            yield request.key, replace(answer, confidence=math.exp(min(read))) if read else answer

    def _run(self, inputs: Any, keys: Sequence[Hashable]) -> tuple[Any, list[list[float]]]:
        """New token ids, shape (batch, new tokens), on the CPU; and the log-probability of each, or nothing.

        Sampling depends only on the seed and the keys, so a later session does not repeat the draws of an earlier one.
        """
        import torch

        temperature = self.generation.temperature
        settings: dict[str, Any] = {"max_new_tokens": self._longest(inputs), "do_sample": temperature > 0}
        if temperature > 0:
            settings |= {"temperature": temperature, "top_k": 0, "top_p": 1.0}
            torch.manual_seed(seed_for(self.generation.seed, list(keys), 60))
        model = self.loaded.model
        steps: list[Any] = []
        if self.generation.confidence and not temperature:

            def note(ids: Any, scores: Any) -> Any:
                steps.append(scores.amax(-1) - scores.logsumexp(-1))
                return scores

            settings["logits_processor"] = [note]
        with torch.inference_mode():
            out = model.generate(**place(inputs, model), **settings)
        logps = torch.stack(steps, 1).tolist() if steps else [[] for _ in keys]
        return out[:, inputs["input_ids"].shape[1] :].cpu(), logps

    def _longest(self, inputs: Any) -> int:
        """The most new tokens that any prompt of a batch has room for."""
        room = (self.context or UNLIMITED) - int(inputs["attention_mask"].sum(-1).min())
        return min(self.generation.tokens, room)


def load(model: str, generation: Generation, pixels: Pixels, options: TransformersOptions) -> TransformersEngine:
    """The engine for `model` (Hub id, folder or `glance`).

    Thinking is switched off where the chat template has a switch for it; `info` names the switch, or says that there is
    none. Raises ModelError or SettingError.
    """
    loaded = models.load(model, **options.model_dump(include=set(models.ModelOptions.model_fields)))
    chat = make_chat(loaded, options.processor_kwargs, options.chat_template_kwargs, options.reasoning_tags)
    generation = generation.for_model(chat.thinking.expected)
    context = options.max_model_len or context_length(loaded.model.config, loaded.processor.tokenizer)
    info = {
        "engine": "transformers",
        **local.shared_info(model, chat, generation, pixels, options),
        **loaded.identity,
        "context_length": context,
        "dtype": loaded.dtype,
        "device": loaded.device,
        "attn_implementation": str(getattr(loaded.model.config, "_attn_implementation", "")),
    }
    return TransformersEngine(loaded, chat, generation, options.batch_size, context, options.reasoning_tags, info)


def _bytes(batch: ReadyBatch) -> int:
    return sum(getattr(value, "nbytes", 0) for value in (batch[1] or {}).values())


def _halves(group: list[Request]) -> tuple[list[Request], list[Request]]:
    middle = (len(group) + 1) // 2
    return group[:middle], group[middle:]


def _out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(re.search(r"out of memory|can't allocate memory", str(error), re.I))
