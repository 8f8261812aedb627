"""Batches of prompts: which of them share one, and images that several threads process.

    lengths = sorted(map(PromptLengths(chat), requests))
    size = first_batch(lengths, 64, 131_072, 4_096)     # so many of them, the shortest first
    chat = with_threads(chat, torch.bfloat16)                 # its batches are the same, and ready sooner

Rows of a batch are padded to the longest one, so a crop should not share a batch with a full view.

Limits: lengths are estimates. Threads help where images are large and where their results can be joined to what the
image processor makes of the whole batch. This is tested on the first images of a batch. If it fails, the processor gets
whole batches from then on.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from gapbench.engines.chat import Chat, in_dtype
from gapbench.types import Request
from gapbench.views.fills import plain

PADDING = 0.25
"""Most padding in a batch, as a share of its prompt tokens."""
FREE_PADDING = 1 / 32
"""Padding that is always allowed, as a share of the budget: a batch more would cost as much time."""
LETTERS = 3
"""Letters of a prompt that make about one token."""
LARGE = 500_000
"""Pixels of an image from which a thread of its own is worth its while."""
THREADS = min(8, os.cpu_count() or 1)
"""Threads that process images. Each needs about 40 bytes for a pixel of the processed image meanwhile."""


@dataclass
class PromptLengths:
    """Estimates a prompt's tokens before its images are processed.

    An image counts like a blank square with as many pixels, within a fifth. `known` has the tokens of these squares.
    """

    chat: Chat
    known: dict[int, int] = field(default_factory=dict)

    def __call__(self, request: Request) -> int:
        """Tokens of the prompt, images included."""
        return len(request.prompt) // LETTERS + sum(self._tokens(i.width * i.height) for i in request.images)

    def _tokens(self, pixels: int) -> int:
        step = round(2 * math.log2(pixels))
        if step not in self.known:
            side = round(2 ** (step / 4))
            try:
                self.known[step] = self.chat.batch([((plain((side, side)),), "?")])["input_ids"].shape[1]
            except Exception:  # the prompts themselves will say why
                self.known[step] = 0
        return self.known[step]


def first_batch(lengths: Sequence[int], limit: int, budget: int, free_padding: int) -> int:
    """How many of the prompts, given by their lengths in tokens, shortest first, make the first batch.

    At least one and at most `limit`. Of several, tokens and padding together are at most the budget, and padding is at
    most `PADDING` of the tokens or `free_padding`, whichever is more.
    """
    total = 0
    for size, length in enumerate(lengths[:limit], 1):
        total += length
        if size > 1 and (size * length > budget or size * length - total > max(PADDING * total, free_padding)):
            return size - 1
    return min(limit, len(lengths))


def with_threads(chat: Chat, dtype: Any) -> Chat:
    """The same chat, with large images of a batch processed by several threads, which also turn them into `dtype`."""
    whole = getattr(getattr(chat.processor, "image_processor", None), "preprocess", None)
    if THREADS == 1 or whole is None:
        return chat
    processor = copy.copy(chat.processor)  # the model's own stays as it is
    processor.image_processor = copy.copy(processor.image_processor)
    processor.image_processor.preprocess = _Threaded(whole, dtype, ThreadPoolExecutor(THREADS, "gapbench-images"))
    return replace(chat, processor=processor)


@dataclass
class _Threaded:
    """`whole`, an image processor's function for a list of images, with each image processed by itself in a thread.

    `equal` says whether joined results were equal to those of the whole; by whether padding was needed.
    """

    whole: Callable[..., Any]
    dtype: Any
    pool: ThreadPoolExecutor
    equal: dict[bool, bool] = field(default_factory=dict)

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        def process(some: list[Any]) -> Any:
            made = self.whole(some, *args, **kwargs)
            in_dtype(made, self.dtype)
            return made

        if not isinstance(images, list) or len(images) < 2 or not all(map(_pixels, images)):
            return self.whole(images, *args, **kwargs)
        if sum(map(_pixels, images)) < LARGE * len(images) or False in self.equal.values():
            return self.whole(images, *args, **kwargs)
        parts = list(self.pool.map(lambda image: process([image]), images))
        other = next((n for n, part in enumerate(parts) if _shapes(part) != _shapes(parts[0])), 0)
        if (padded := other > 0) not in self.equal:
            pair = process([images[0], images[other or 1]])
            self.equal[padded] = _alike(self._join([parts[0], parts[other or 1]]), pair)
        if not self.equal[padded]:
            return self.whole(images, *args, **kwargs)
        return type(parts[0])(self._join(parts))

    def _join(self, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """One mapping for all: tensors end to end, with zeros behind where their shapes differ, and lists."""
        return {name: self._end_to_end([part[name] for part in parts]) for name in parts[0]}

    def _end_to_end(self, values: Sequence[Any]) -> Any:
        if not hasattr(values[0], "new_zeros"):
            return [entry for value in values for entry in value]
        shapes = [value.shape[1:] for value in values]
        shape = [max(sizes) for sizes in zip(*shapes, strict=True)]
        make = values[0].new_empty if len(set(shapes)) == 1 else values[0].new_zeros
        ends = list(accumulate(len(value) for value in values))
        joined = make((ends[-1], *shape))

        def copy_in(value: Any, end: int) -> None:  # in threads, because it takes 0.1 s for an image of 4K
            joined[(slice(end - len(value), end), *map(slice, value.shape[1:]))].copy_(value)

        list(self.pool.map(copy_in, values, ends))
        return joined


def _pixels(image: Any) -> int:
    """Width x height, summed over a list; 0 for what is not an image."""
    if isinstance(image, list):
        return sum(map(_pixels, image)) if all(map(_pixels, image)) else 0
    return getattr(image, "width", 0) * getattr(image, "height", 0)


def _shapes(part: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of an image's entry in each tensor."""
    return {name: tuple(value.shape[1:]) for name, value in part.items() if hasattr(value, "shape")}


def _alike(joined: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """Whether all values are equal, tensors bit for bit."""
    import torch

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a, b)
        return type(a) is type(b) and bool(a == b)

    return joined.keys() == whole.keys() and all(same(joined[name], whole[name]) for name in joined)
