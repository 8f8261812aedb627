"""Visual tokens by the size of an image, as a model's own processor counts them, without the image.

    tokens = counter(engine)
    tokens((640, 480))           # 300; None if the engine has no processor, or if that refuses the size

Many processors of transformers say it from the size alone. This is believed where it agrees with what the processor
makes of two blank images, of different sizes. Otherwise a blank image of each new size is processed.

Limits: a server's processor is not at hand, unless gapbench started the server.
"""

from __future__ import annotations

import copy
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from gapbench.engines.chat import Chat
from gapbench.engines.tokens import image_token_id
from gapbench.types import Engine
from gapbench.views.fills import plain
from gapbench.views.pixels import TokenCount, not_counted

PROBES = ((150, 100), (500, 700))
"""Sizes at which what a processor says is compared with what it does."""


def counter(engine: Engine) -> TokenCount:
    """The count of an engine's model; `not_counted` if its processor or its visual token is not known."""
    chat = getattr(engine, "chat", None)
    if not isinstance(chat, Chat):
        return not_counted
    token = getattr(engine, "image_token", None)
    token = image_token_id(None, chat.processor) if token is None else token
    return not_counted if token is None else VisualTokens(chat, token)


@dataclass
class VisualTokens:
    """See the module. Several threads may call it. `known` has the counts so far, by size."""

    chat: Chat
    image_token: int
    known: dict[tuple[int, int], int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._own: Chat | None = None
        self._says = False

    def __call__(self, size: tuple[int, int]) -> int | None:
        """The visual tokens of an image of (width, height)."""
        with self._lock:
            if self._own is None:  # a copy, because a tokenizer serves one thread at a time
                self._own = replace(self.chat, processor=copy.deepcopy(self.chat.processor))
                self._says = not self.chat.processor_kwargs and all(
                    self._said(probe) == self._made(probe) is not None for probe in PROBES
                )
            if size not in self.known:
                self.known[size] = self._said(size) if self._says else self._made(size)
            return self.known[size]

    def _said(self, size: tuple[int, int]) -> int | None:
        """What the processor says. vLLM's backend for transformers relies on this function, too."""
        with suppress(Exception):
            said: Any = self._own.processor._get_num_multimodal_tokens(image_sizes=[list(size[::-1])])  # type: ignore[union-attr]
            return int(said["num_image_tokens"][0])
        return None

    def _made(self, size: tuple[int, int]) -> int | None:
        """What the processor does with a blank image."""
        with suppress(Exception):
            ids = self._own.batch([((plain(size),), "?")])["input_ids"][0].tolist()  # type: ignore[union-attr]
            return int(ids.count(self.image_token))
        return None
