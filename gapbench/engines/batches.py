"""Batches of prompts: which of them share one, and images that several threads process.

    lengths = sorted(map(PromptLengths(chat), requests))
    size = first_batch(lengths, 64, 131_072, 4_096)     # so many of them, the shortest first
    chat = with_threads(chat)                                 # its batches are the same, and ready sooner

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
from typing import Any

from gapbench.engines.chat import Chat
from gapbench.types import Request

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
        from PIL import Image

        step = round(2 * math.log2(pixels))
        if step not in self.known:
            side = round(2 ** (step / 4))
            try:
                self.known[step] = self.chat.batch([((Image.new("RGB", (side, side)),), "?")])["input_ids"].shape[1]
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


def with_threads(chat: Chat) -> Chat:
    """The same chat, with large images of a batch processed by several threads."""
    whole = getattr(getattr(chat.processor, "image_processor", None), "preprocess", None)
    if THREADS == 1 or whole is None:
        return chat
    processor = copy.copy(chat.processor)  # the model's own stays as it is
    processor.image_processor = copy.copy(processor.image_processor)
    processor.image_processor.preprocess = _Threaded(whole, ThreadPoolExecutor(THREADS, "gapbench-images"))
    return replace(chat, processor=processor)


@dataclass
class _Threaded:
    """`whole`, an image processor's function for a list of images, with each image processed by itself in a thread.

    `equal` says whether joined results were equal to those of the whole; by whether padding was needed.
    """

    whole: Callable[..., Any]
    pool: ThreadPoolExecutor
    equal: dict[bool, bool] = field(default_factory=dict)

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(images, list) or len(images) < 2 or not all(map(_pixels, images)):
            return self.whole(images, *args, **kwargs)
        if sum(map(_pixels, images)) < LARGE * len(images) or False in self.equal.values():
            return self.whole(images, *args, **kwargs)
        parts = list(self.pool.map(lambda image: self.whole([image], *args, **kwargs), images))
        padded = any(_shapes(part) != _shapes(parts[0]) for part in parts)
        if padded not in self.equal:
            other = next((n for n, part in enumerate(parts) if _shapes(part) != _shapes(parts[0])), 1)
            pair = self.whole([images[0], images[other]], *args, **kwargs)
            self.equal[padded] = _alike(_join([parts[0], parts[other]]), pair)
        if not self.equal[padded]:
            return self.whole(images, *args, **kwargs)
        return type(parts[0])(_join(parts))


def _pixels(image: Any) -> int:
    """Width x height, summed over a list; 0 for what is not an image."""
    if isinstance(image, list):
        return sum(map(_pixels, image)) if all(map(_pixels, image)) else 0
    return getattr(image, "width", 0) * getattr(image, "height", 0)


def _shapes(part: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of an image's entry in each tensor."""
    return {name: tuple(value.shape[1:]) for name, value in part.items() if hasattr(value, "shape")}


def _join(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One mapping for all: tensors end to end, padded with zeros behind where their shapes differ, and lists."""
    return {name: _end_to_end([part[name] for part in parts]) for name in parts[0]}


def _end_to_end(values: Sequence[Any]) -> Any:
    import torch

    if not isinstance(values[0], torch.Tensor):
        return [entry for value in values for entry in value]
    shape = [max(sizes) for sizes in zip(*(value.shape[1:] for value in values), strict=True)]
    padding = ([n for size, most in zip(v.shape[:0:-1], shape[::-1], strict=True) for n in (0, most - size)]
               for v in values)  # fmt: skip
    return torch.cat([torch.nn.functional.pad(v, p) if any(p) else v for v, p in zip(values, padding, strict=True)])


def _alike(joined: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """Whether all values are equal, tensors bit for bit."""
    import torch

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a, b)
        return type(a) is type(b) and bool(a == b)

    return joined.keys() == whole.keys() and all(same(joined[name], whole[name]) for name in joined)
