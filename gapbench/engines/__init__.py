"""Engines turn (pictures, prompt) into text. All of them speak the protocol below, so records never depend on which.

engine = gapbench.engines.transformers.load("glance")
for key, answer in engine.generate(requests): ...
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Request:
    """Pictures, if any, and the prompt that follows them; `key` comes back with the answer.

    A request with `error` is answered by it. `encoded` has each picture's stored bytes, where they show exactly that
    picture in a form that any server reads, and None for the others; empty where nobody looked for them.
    """

    key: Hashable
    images: tuple[Image, ...]
    prompt: str
    error: str = ""
    encoded: tuple[bytes | None, ...] = ()

    @property
    def pixels(self) -> int:
        """Width x height, summed over the pictures."""
        return sum(image.width * image.height for image in self.images)


@dataclass(frozen=True)
class Answer:
    """What came back. `error` is empty unless the engine gave no answer.

    `pictures` is how many were shown, `sent_size` the first one's (width, height) as handed to the processor,
    `sent_pixels` width x height summed over all; token counts are per answer, `image_tokens` over all pictures;
    `seconds` is the answer's share of its batch; `truncated` says that it was cut off at the limit of new tokens;
    `model` is who a server says answered.
    """

    text: str = ""
    pictures: int = 0
    sent_size: tuple[int, int] | None = None
    sent_pixels: int | None = None
    image_tokens: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float | None = None
    truncated: bool = False
    error: str = ""
    model: str = ""


class Engine(Protocol):
    """What `gapbench.measure` needs of an engine.

    One that also has `waited` (seconds for which it had nothing to do but wait for requests) has them in `run.json`.
    """

    @property
    def info(self) -> Mapping[str, Any]:
        """What reproduces it: model, revision or hash, dtype, device, pixels, generation settings. JSON-ready."""
        ...

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
        """Answers in any order, one per request; `requests` is consumed lazily."""
        ...
