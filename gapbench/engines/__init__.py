"""Engines turn (picture, prompt) into text. All of them speak the protocol below, so records never depend on which.

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
    """One picture and one prompt; `key` comes back with the answer. A request with `error` is answered by it."""

    key: Hashable
    image: Image | None
    prompt: str
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """What came back. `error` is empty unless the engine gave no answer.

    `sent_size` is (width, height) in pixels as handed to the processor; token counts are per answer; `seconds` is the
    answer's share of its batch; `truncated` says that it was cut off at the limit of new tokens.
    """

    text: str = ""
    sent_size: tuple[int, int] | None = None
    image_tokens: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float | None = None
    truncated: bool = False
    error: str = ""


class Engine(Protocol):
    """What `gapbench.measure` needs of an engine."""

    @property
    def info(self) -> Mapping[str, Any]:
        """What reproduces it: model, revision or hash, dtype, device, pixels, generation settings. JSON-ready."""
        ...

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
        """Answers in any order, one per request; `requests` is consumed lazily."""
        ...
