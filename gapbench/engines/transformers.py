"""The reference engine: any image-text-to-text model through transformers' Auto classes and `generate`.

    engine = load("Qwen/Qwen3-VL-4B-Instruct", dtype="bfloat16", max_new_tokens=64)
    for key, answer in engine.generate(requests): ...

A read-ahead thread decodes images, sorts them by size and processes them into left-padded batches while the model works
on the batch before. An automatic batch size starts from a budget of prompt tokens and halves whenever memory runs out.
The default is greedy decoding with neutral penalties, whatever the model's own `generation_config` says, so that all
models are prompted in the same way.

Limits: answers arrive in order of image size, not in the order of the requests. Sampling (`temperature` > 0) is
reproducible only for the same batches on the same hardware.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gapbench.engines import models
from gapbench.engines.chat import Chat, chat_template_source, make_chat, place
from gapbench.engines.fail_fast import FAIL_FAST_AFTER, KeyedAnswer, hold_leading_errors
from gapbench.engines.tokens import image_token_id, neutral_generation
from gapbench.errors import ModelError, SettingError
from gapbench.types import Answer, Request
from gapbench.util.ahead import WaitingTime, read_ahead
from gapbench.views.pixels import Pixels

WINDOW = 8
"""Most batches of requests that are sorted together."""
WINDOW_PIXELS = 200_000_000
"""Decoded pixels at which a window is closed: 600 MB of RGB."""
TOKEN_BUDGET = {"cpu": 16_384, "mps": 16_384, "cuda": 131_072}
"""Most prompt tokens in an automatic batch, padding included, by kind of device. Memory may lower it further."""
LARGEST_BATCH = 64
TOP_TOKENS = 20
"""First tokens, the likeliest ones, that `next_logprobs` returns."""


@dataclass
class TransformersEngine:
    """See the module. Made by `load`. `info` is the engine's part of `run.json`."""

    loaded: models.Loaded
    chat: Chat
    pixels: Pixels
    max_new_tokens: int
    temperature: float
    batch_size: int | None
    seed: int
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._limit = self.batch_size or LARGEST_BATCH
        self._failures: int | None = (
            0  # None after the first answer: from then on the samples are at fault, not the model
        )
        self._image_token = image_token_id(self.loaded)
        self._waited = WaitingTime()
        self._ends = neutral_generation(self.loaded)

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
        """Answers in order of image size. A request whose image the processor refuses comes back with `error`.

        Fails fast: raises ModelError if, before any answer, a single request does not fit into memory or
        `FAIL_FAST_AFTER` requests fail.
        """
        yield from hold_leading_errors(self._answers(read_ahead(self._prepare(requests), waited=self._waited)))

    @property
    def waited(self) -> float:
        """Seconds that the model spent waiting for a batch."""
        return self._waited.seconds

    def prompt_ids(self, request: Request) -> list[int]:
        """The token ids of the prompt, with images expanded to their tokens."""
        ids: list[int] = self._inputs([self._sized(request)])["input_ids"][0].tolist()
        return ids

    def next_logprobs(self, request: Request) -> dict[int, float]:
        """Log-probabilities (nats) of the `TOP_TOKENS` likeliest first tokens of the answer."""
        import torch

        model = self.loaded.model
        with torch.inference_mode():
            logits = model(**place(self._inputs([self._sized(request)]), model)).logits[0, -1]
            top = torch.log_softmax(logits.float(), -1).topk(min(TOP_TOKENS, logits.numel()))
        return dict(zip(top.indices.tolist(), top.values.tolist(), strict=True))

    def _sized(self, request: Request) -> Request:
        return replace(request, images=tuple(map(self.pixels.apply, request.images)))

    def _answers(self, batches: Iterable[tuple[list[Request], Any, str]]) -> Generator[KeyedAnswer, None, None]:
        for group, inputs, error in batches:
            if error:
                for request in group:
                    yield request.key, Answer(images=len(request.images), error=error)
            else:
                yield from self._answer(group, inputs)

    def _prepare(self, requests: Iterable[Request]) -> Iterator[tuple[list[Request], Any, str]]:
        """Batches for the model as (requests, inputs, error), smallest images first within each window."""
        for window in self._windows(requests):
            for request in window:
                if request.error:
                    yield [request], None, request.error
            valid = [r for r in window if not r.error]
            valid.sort(key=lambda r: (r.pixels, len(r.prompt)))
            start = 0
            while start < len(valid):
                group = valid[start : start + self._limit]
                start += len(group)
                yield from self._process(group)

    def _windows(self, requests: Iterable[Request]) -> Iterator[list[Request]]:
        """Requests to sort together: at first one batch, so that the model starts soon, then ever more."""
        window: list[Request] = []
        held, batches = 0, 1
        for request in requests:
            request = self._sized(request)
            held += request.pixels
            window.append(request)
            if len(window) >= batches * self._limit or held >= WINDOW_PIXELS:
                yield window
                window, held, batches = [], 0, min(2 * batches, WINDOW)
        if window:
            yield window

    def _process(self, group: list[Request]) -> Iterator[tuple[list[Request], Any, str]]:
        """One processed batch, split if it exceeds the token budget or if the processor refuses one of its images."""
        try:
            inputs = self._inputs(group)
        except Exception as error:
            if len(group) == 1:
                yield group, None, f"the processor refused {failure_details(group[0], error)}"
                return
            for part in _halves(group):
                yield from self._process(part)
            return
        budget = TOKEN_BUDGET.get(self.loaded.device.split(":")[0], TOKEN_BUDGET["cuda"])
        if self.batch_size is None and len(group) > 1 and inputs["input_ids"].numel() > budget:
            self._limit = max(1, len(group) // 2)
            for part in _halves(group):
                yield from self._process(part)
            return
        yield group, inputs, ""

    def _inputs(self, group: list[Request]) -> Any:
        return self.chat.batch([(request.images, request.prompt) for request in group])

    def _answer(self, group: list[Request], inputs: Any) -> Iterator[tuple[Hashable, Answer]]:
        """Generate for one batch. If memory runs out, halve the batch, and the limit for later batches."""
        started = time.perf_counter()
        failure: Exception | None = None
        try:
            tokens = self._run(inputs, [request.key for request in group])
        except Exception as error:
            failure = error.with_traceback(None)  # the traceback would hold the failed batch's memory
            failure.__context__ = failure.__cause__ = None
        if failure is not None:
            out_of_memory = _out_of_memory(failure)
            if out_of_memory:
                _free_memory(self.loaded.device)
            if len(group) == 1:
                error_text = self._error_text(group[0], failure, out_of_memory)
                yield group[0].key, Answer(images=len(group[0].images), error=error_text)
                return
            if out_of_memory:
                self._limit = max(1, len(group) // 2)
            for part in _halves(group):
                yield from self._answers(self._process(part))
            return
        self._failures = None
        seconds = (time.perf_counter() - started) / len(group)
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        ends = self._ends
        for i, request in enumerate(group):
            row = tokens[i].tolist()
            stop = next((n for n, t in enumerate(row) if t in ends), None)
            answer_ids = row if stop is None else row[:stop]
            text = self.loaded.processor.tokenizer.decode(answer_ids, skip_special_tokens=True)
            yield (
                request.key,
                Answer(
                    text=text.encode("utf-8", "replace").decode(),
                    images=len(request.images),
                    sent_size=request.images[0].size if request.images else None,
                    sent_pixels=request.pixels if request.images else None,
                    image_tokens=int((ids[i] == self._image_token).sum()) if self._image_token is not None else None,
                    prompt_tokens=int(mask[i].sum()),
                    output_tokens=len(row) if stop is None else stop + 1,
                    seconds=seconds,
                    truncated=stop is None,
                ),
            )

    def _error_text(self, request: Request, error: Exception, out_of_memory: bool) -> str:
        """The error text of a failed request. Raises ModelError if the engine should fail fast."""
        if out_of_memory:
            reason = (
                f"out of memory at batch size 1 for {_describe_images(request)} on {self.loaded.device}. "
                "Lower --max-pixels or --max-new-tokens, use --dtype bfloat16, or a larger device."
            )
        else:
            reason = f"the model failed on {failure_details(request, error)}"
        several = len(request.images) > 1  # some models take one image only, and may still answer the other requests
        if self._failures is not None and (out_of_memory or not several):
            self._failures += 1
            if out_of_memory or self._failures >= FAIL_FAST_AFTER:
                raise ModelError(
                    f"Model {self.loaded.name}: failing fast, because nothing was answered; {reason}"
                ) from error
        return reason

    def _run(self, inputs: Any, keys: Sequence[Hashable]) -> Any:
        """New token ids, shape (batch, new tokens), on the CPU.

        Sampling depends only on the seed and the keys, so a later session does not repeat the draws of an earlier one.
        """
        import torch

        settings: dict[str, Any] = {"max_new_tokens": self.max_new_tokens, "do_sample": self.temperature > 0}
        if self.temperature > 0:
            settings |= {"temperature": self.temperature, "top_k": 0, "top_p": 1.0}
            digest = hashlib.sha256(f"{self.seed} {list(keys)!r}".encode()).hexdigest()
            torch.manual_seed(int(digest[:15], 16))
        model = self.loaded.model
        with torch.inference_mode():
            out = model.generate(**place(inputs, model), **settings)
        return out[:, inputs["input_ids"].shape[1] :].cpu()


def load(
    model: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    chat_template: Path | None = None,
    attn_implementation: str | None = None,
    pixels: Pixels | None = None,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    batch_size: int | None = None,
    seed: int = 0,
    processor_kwargs: Mapping[str, Any] | None = None,
) -> TransformersEngine:
    """The engine for `model` (Hub id, folder or `glance`); `batch_size` None is automatic.

    Thinking is switched off where the chat template has a switch for it (`enable_thinking`, `thinking`); `info` names
    the switch. Raises ModelError or SettingError.
    """
    if max_new_tokens < 1 or temperature < 0 or (batch_size is not None and batch_size < 1):
        raise SettingError(
            f"--max-new-tokens {max_new_tokens}, --temperature {temperature}, --batch-size {batch_size or 'auto'}: "
            "expected at least 1, at least 0 and at least 1."
        )
    loaded = models.load(
        model,
        dtype=dtype,
        device=device,
        revision=revision,
        trust_remote_code=trust_remote_code,
        chat_template=chat_template,
        attn_implementation=attn_implementation,
    )
    chat = make_chat(loaded, processor_kwargs)
    pixels = pixels or Pixels()
    thinking = f"off ({', '.join(chat.switches)})" if chat.switches else "the template has no switch"
    info = {
        "engine": "transformers",
        "model": model,
        **loaded.identity,
        "dtype": loaded.dtype,
        "device": loaded.device,
        "attn_implementation": str(getattr(loaded.model.config, "_attn_implementation", "")),
        "pixels": {"min_pixels": pixels.min_pixels, "max_pixels": pixels.max_pixels,
                   "processor": processor_size(loaded.processor), "processor_kwargs": dict(processor_kwargs or {})},
        "generation": {"max_new_tokens": max_new_tokens, "temperature": temperature, "repetition_penalty": 1.0,
                       "thinking": thinking},
        "chat_template": chat_template_source(chat_template),
    }  # fmt: skip
    return TransformersEngine(loaded, chat, pixels, max_new_tokens, temperature, batch_size, seed, info)


def processor_size(processor: Any) -> Any:
    """The processor's own bounds on an image's size, or None if it declares none."""
    size = getattr(getattr(processor, "image_processor", None), "size", None)
    if size is None:
        return None
    values = dict(size) if isinstance(size, Mapping) else {k: v for k, v in vars(size).items() if not k.startswith("_")}
    return {str(k): v for k, v in values.items() if isinstance(v, int | float)}


def _describe_images(request: Request) -> str:
    sizes = [str(image.size) for image in request.images]
    if len(sizes) < 2:
        return f"an image of {sizes[0]} px" if sizes else "a prompt without an image"
    return f"{len(sizes)} images of {', '.join(sizes)} px in one prompt"


def failure_details(request: Request, error: Exception) -> str:
    """The request's images, the error, and a remedy."""
    remedy = "A larger --min-pixels, or a region with a larger min_side, may help."
    if len(request.images) > 1:
        remedy = "Not every model takes several images. If they are parts of one region, --region mosaic joins them."
    return f"{_describe_images(request)} ({type(error).__name__}: {error}). {remedy}"


def _halves(group: list[Request]) -> tuple[list[Request], list[Request]]:
    middle = (len(group) + 1) // 2
    return group[:middle], group[middle:]


def _out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(re.search(r"out of memory|can't allocate memory", str(error), re.I))


def _free_memory(device: str) -> None:
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
