"""What the engines share, mostly those that hold the model in their own process: answers, errors, the manifest."""

from __future__ import annotations

import re
from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

from gapbench.engines.chat import Chat, chat_template_source
from gapbench.engines.context import TooLong
from gapbench.engines.options import Generation, kept
from gapbench.errors import ModelError
from gapbench.scoring.thoughts import Tags, opened_in, split
from gapbench.types import Answer, Request
from gapbench.views.pixels import Pixels

FAIL_FAST_AFTER = 16
"""Failed requests before the first answer after which an engine fails fast."""

KeyedAnswer = tuple[Hashable, Answer]
PROMPT_END = 32
"""Tokens at the end of a prompt that may hold the mark of a thought."""
SMALL = 64
"""Pixels of a side below which some processors and models fail."""
TOP_TOKENS = 20
"""First tokens, the likeliest ones, that `next_logprobs` returns."""


@dataclass
class Replies:
    """Makes answers of token ids and of failures.

    `image_token` is the id of one visual token, and `context` the longest prompt and answer, in tokens; None if
    unknown. `tags` are marks of thoughts besides the known ones. `refused` counts refused requests until the model has
    accepted one, and is None from then on: the samples are at fault, not the model.
    """

    model: str
    tokenizer: Any
    image_token: int | None
    context: int | None = None
    tags: Tags = ()
    refused: int | None = 0

    def __post_init__(self) -> None:
        special = sorted(filter(None, self.tokenizer.all_special_tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)")

    def answer(self, shown: Answer, prompt: list[int], output: list[int], cut_off: bool, seconds: float) -> Answer:
        """`shown` with the model's part; `output` is without the token that ended it.

        Marks of thoughts may be special tokens, so thoughts are cut before special tokens are removed.
        """
        opened = opened_in(self.tokenizer.decode(prompt[-PROMPT_END:]), self.tags)
        raw = self.tokenizer.decode(output)
        parts = split(raw, self.tags, bool(opened))
        if parts.answer == raw:
            parts = replace(parts, answer=self.tokenizer.decode(output, skip_special_tokens=True))
        thought, text = (self._special.sub("", part).encode("utf-8", "replace").decode() for part in
                         (parts.thought, parts.answer))  # fmt: skip
        return replace(
            shown,
            text=text,
            thought=thought,
            thought_cut_off=parts.cut_off,
            image_tokens=None if self.image_token is None else prompt.count(self.image_token),
            prompt_tokens=len(prompt),
            output_tokens=len(output) + (not cut_off),
            seconds=seconds,
            cut_off=cut_off,
        )

    def too_long(self, request: Request, tokens: int | None, context: int | None = None) -> Answer:
        """The answer to a prompt of so many tokens, which is longer than the model's context."""
        fact = TooLong(tokens, context or self.context).fact
        remedy = "lower --max-pixels, raise --max-model-len if it is set, or use another model."
        return replace(failed(request, f"{fact}; {remedy}"), prompt_tokens=tokens, too_long=True)

    def refusal(self, request: Request, reason: str, error: Exception, at_once: bool = False) -> Answer:
        """The answer with `reason` as its error. Raises ModelError if the engine should fail fast.

        Requests with several images or with none do not count: some models take only one, and may still answer the
        others.
        """
        if self.refused is not None and (at_once or len(request.images) == 1):
            self.refused += 1
            if at_once or self.refused >= FAIL_FAST_AFTER:
                raise ModelError(f"Model {self.model}: failing fast, because nothing was answered; {reason}") from error
        return failed(request, reason)


def failed(request: Request, reason: str) -> Answer:
    """The answer to a request that the model did not answer."""
    return Answer(images=len(request.images), error=reason)


def allow(engine: Any, max_new_tokens: int) -> None:
    """Let answers be this long from now on. A method of both engines that run in this process."""
    engine.generation = replace(engine.generation, max_new_tokens=max_new_tokens)
    engine.info["generation"]["max_new_tokens"] = max_new_tokens


def shown(request: Request) -> Answer:
    """The fields of the answer that say what the model is shown."""
    if not request.images:
        return Answer()
    return Answer(images=len(request.images), sent_size=request.images[0].size, sent_pixels=request.pixels)


def hold_leading_errors(answers: Generator[KeyedAnswer, None, None]) -> Generator[KeyedAnswer, None, None]:
    """The same answers, with leading errors held back until the first answer without one, or the end.

    Until then the model itself may be at fault, not the samples. If the engine fails fast, the held errors are dropped:
    they leave no record, so the same command asks those samples again.
    """
    held: list[KeyedAnswer] = []
    answered = False
    with closing(answers):
        for key, answer in answers:
            held.append((key, answer))
            answered = answered or not answer.error
            if answered:
                yield from held
                held.clear()
        yield from held


def chunks(requests: Iterable[Request], sizes: Iterator[int], most_pixels: int) -> Iterator[list[Request]]:
    """The requests in lists of these sizes; a list ends early at `most_pixels` decoded pixels."""
    chunk: list[Request] = []
    pixels, size = 0, next(sizes)
    for request in requests:
        chunk.append(request)
        pixels += request.pixels
        if len(chunk) >= size or pixels >= most_pixels:
            yield chunk
            chunk, pixels, size = [], 0, next(sizes)
    if chunk:
        yield chunk


def shared_info(model: str, chat: Chat, generation: Generation, pixels: Pixels, options: Any) -> dict[str, Any]:
    """The entries of `info` that both engines that run in this process have."""
    return {
        "model": model,
        "pixels": {**asdict(pixels), "processor": processor_size(chat.processor),
                   "processor_kwargs": dict(chat.processor_kwargs)},
        "generation": {"max_new_tokens": generation.tokens, "temperature": generation.temperature,
                       "repetition_penalty": 1.0,
                       "thinking": chat.thinking.text},
        "chat_template": chat_template_source(options.chat_template),
        **kept(options),
    }  # fmt: skip


def processor_size(processor: Any) -> Any:
    """The processor's own bounds on an image's size, or None if it declares none."""
    size = getattr(getattr(processor, "image_processor", None), "size", None)
    if size is None:
        return None
    values = size if isinstance(size, Mapping) else vars(size)
    return {str(k): v for k, v in values.items() if isinstance(v, int | float) and not str(k).startswith("_")}


def describe_images(request: Request) -> str:
    """The number and the sizes of a request's images, for messages."""
    sizes = [str(image.size) for image in request.images]
    if len(sizes) < 2:
        return f"an image of {sizes[0]} px" if sizes else "a prompt without an image"
    return f"{len(sizes)} images of {', '.join(sizes)} px in one prompt"


def failure_details(request: Request, error: Exception) -> str:
    """The request's images, the error, and a remedy: one about pixels only for a small image, where it can help."""
    if not request.images:
        return (
            f"{describe_images(request)} ({type(error).__name__}: {error}). Some models cannot be asked without an "
            "image; leave the view `blind` out, and measure `blank`."
        )
    remedy = "If it fails on images of every size, try another --engine, or another version of this one."
    if any(min(image.size) < SMALL for image in request.images):
        remedy = "A larger --min-pixels, or a region with a larger min_side, may help."
    if "aspect ratio" in str(error):  # of which pixel bounds change nothing
        remedy = (
            "No pixel setting changes an aspect ratio. For a crop, --region padded:min_side=N (or square) makes the "
            "shorter side N pixels; a full image as long as this cannot be shown to this model, so leave it out."
        )
    if len(request.images) > 1:
        remedy = "Not every model takes several images. If they are parts of one region, --region mosaic joins them."
    return f"{describe_images(request)} ({type(error).__name__}: {error}). {remedy}"
