"""What `selfcheck` asks: drawn images and short questions, and what the model's own processor makes of them.

    asked = probes()                  # name -> Request
    reference_of(engine, pixels).ids(asked["colour 0"])

Signs with a large letter, of one size and one wording, so that answers can differ by what is shown alone; two signs in
one prompt, in both orders; and one sign in several sizes, up to an image that servers like to shrink.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gapbench.data.signs import Scene, Sign, draw
from gapbench.engines import models
from gapbench.engines.chat import Chat, chat_template_of, thinking_switches
from gapbench.engines.tokens import special_token_escaper
from gapbench.errors import ModelError
from gapbench.types import Engine, Request
from gapbench.views.pixels import Pixels
from gapbench.views.prompts import SUFFIXES

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = {"colour 0": "red", "colour 1": "blue", "colour 2": "yellow"}
LETTERS = {"letter 0": "H", "letter 1": "K", "letter 2": "T"}
"""The right answer to each question about one image."""
PAIRS = {"first HK": ("H", "K"), "second HK": ("K", "H"), "first KH": ("K", "H"), "second KH": ("H", "K")}
"""Questions about two images: the right answer, and the one that says that they were swapped."""
SIZES = {"small": (96, 72), "middle": (640, 480), "large": (1600, 1200)}
"""Width and height in pixels."""
SQUARE, WIDE = (224, 224), (320, 192)


def probes() -> dict[str, Request]:
    """All requests by name, which is their key; `none` is the first colour's question without any image."""
    colour = f"What colour is the sign with the letter H?\n{SUFFIXES['text']}"
    letter = f"Which letter is on the red sign?\n{SUFFIXES['text']}"
    asked: dict[str, tuple[tuple[Image, ...], str]] = {"none": ((), colour)}
    asked |= {name: ((image(right, "H", SQUARE),), colour) for name, right in COLOURS.items()}
    asked |= {name: ((image("red", right, SQUARE),), letter) for name, right in LETTERS.items()}
    for name in PAIRS:
        which, order = name.split()
        images = {"H": image("red", "H", SQUARE), "K": image("red", "K", WIDE)}
        question = f"Which letter is on the sign in the {which} picture?\n{SUFFIXES['text']}"
        asked[name] = tuple(images[shown] for shown in order), question
    asked |= {name: ((image("red", "H", size),), colour) for name, size in SIZES.items()}
    found = {name: Request(name, images, text) for name, (images, text) in asked.items()}
    # As they are in measuring: some images come with bytes that a server may be sent untouched.
    return {name: replace(one, encoded=tuple(map(_png, one.images))) if name in SIZES else one
            for name, one in found.items()}  # fmt: skip


def image(colour: str, letter: str, size: tuple[int, int]) -> Image:
    """A square sign in the middle, three sevenths of the shorter side, on a pale background."""
    width, height = size
    side = round(3 * min(size) / 7)
    left, top = (width - side) // 2, (height - side) // 2
    sign = Sign(colour, "square", letter, (left, top, left + side, top + side))
    return draw(Scene(max(size), 7, (sign,))).crop((0, 0, width, height))


def _png(image: Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


@dataclass(frozen=True)
class Reference:
    """The model's own processor and template, and the pixel policy of the engine."""

    chat: Chat
    pixels: Pixels

    def ids(self, request: Request) -> list[int] | None:
        """The prompt's ids, images expanded; None where the processor refuses: some demand an image, or just one."""
        images = tuple(map(self.pixels.apply, request.images))
        try:
            found: list[int] = self.chat.batch([(images, request.prompt)])["input_ids"][0].tolist()
        except Exception:
            return None
        return found

    def visual_token(self, shown: Request) -> int | None:
        """The id that an image is made of: what a prompt with one more image has more of."""
        one = self.ids(shown)
        none, two = (self.ids(replace(shown, images=shown.images * times)) for times in (0, 2))
        fewer, more = (none, one) if none is not None else (one, two)
        if fewer is None or more is None:
            return None
        grown = Counter(more) - Counter(fewer)
        # Line breaks may come with an image, too: among equals, what only images bring.
        return max(grown, key=lambda token: (grown[token], token not in fewer), default=None)

    def opening(self, ids: list[int]) -> str:
        """The end of a prompt as text: what the answer goes on from."""
        return str(self.chat.processor.tokenizer.decode(ids[-16:]))


def reference_of(engine: Engine, pixels: Pixels) -> Reference | None:
    """What the engine's model makes of requests; None where its processor is not to be had.

    An engine may bring its `chat` or `processor`; else the processor is loaded by the model's name.
    """
    chat = getattr(engine, "chat", None)
    if isinstance(chat, Chat):
        return Reference(chat, pixels)
    try:
        processor = getattr(engine, "processor", None) or _processor(engine.info)
        template = getattr(engine, "chat_template", None) or chat_template_of(processor)
        if not template:
            return None
        processor.chat_template = template
        escape = special_token_escaper(processor.tokenizer)
    except Exception:  # a name that only the server knows, a Hub out of reach, a processor of an unknown kind
        return None
    given = dict((engine.info.get("pixels") or {}).get("processor_kwargs") or {})
    return Reference(Chat(processor, given, thinking_switches(template), escape), pixels)


def _processor(info: Any) -> Any:
    from gapbench.util.torchvision_repair import repair

    try:
        source = models.resolve(str(info["model"]))
    except ModelError:  # a server's own name for it; vLLM lists what it loaded
        (root,) = {m["root"] for s in info["servers"] for m in s["models"] if m["id"] == info["model"]}
        source = models.resolve(str(root))
    revision = info.get("revision")
    repair()
    from transformers import AutoProcessor

    revision = None if revision == "unknown" else revision
    return AutoProcessor.from_pretrained(source, revision=revision, trust_remote_code=False)  # None would ask on stdin
