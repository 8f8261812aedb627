"""The probes of `selfcheck`: drawn images with short questions, and the ids that the model's own processor makes.

    requests = probes(Pixels())          # name -> Request
    ids_of(reference_of(engine), requests["colour 0"])

The probes are signs with a large letter, with one size and one wording, so that answers can differ only by the image;
two signs in one prompt, in both orders; and one sign in several sizes, up to a size that servers tend to shrink.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from PIL.Image import Image

from gapbench.data.signs import Scene, Sign, draw
from gapbench.engines import models
from gapbench.engines.chat import Chat, chat_of, chat_template_of
from gapbench.errors import ModelError
from gapbench.types import Engine, Request
from gapbench.views.pixels import Pixels
from gapbench.views.prompts import SUFFIXES

COLOURS = {"colour 0": "red", "colour 1": "blue", "colour 2": "yellow"}
LETTERS = {"letter 0": "H", "letter 1": "K", "letter 2": "T"}
"""The right answer to each probe with one image."""
PAIRS = {"first HK": ("H", "K"), "second HK": ("K", "H"), "first KH": ("K", "H"), "second KH": ("H", "K")}
"""Probes with two images: the right answer, and the answer if the images were swapped."""
SIZES = {"small": (96, 72), "middle": (640, 480), "large": (1600, 1200)}
"""Width and height in pixels."""
SQUARE, WIDE = (224, 224), (320, 192)


def probes(pixels: Pixels) -> dict[str, Request]:
    """All requests by name, which is also their key; `none` is the question of `colour 0` without an image.

    The images are within the pixel bounds, as in a run.
    """
    colour = f"What colour is the sign with the letter H?\n{SUFFIXES['text']}"
    letter = f"Which letter is on the red sign?\n{SUFFIXES['text']}"
    contents: dict[str, tuple[tuple[Image, ...], str]] = {"none": ((), colour)}
    contents |= {name: ((image(right, "H", SQUARE),), colour) for name, right in COLOURS.items()}
    contents |= {name: ((image("red", right, SQUARE),), letter) for name, right in LETTERS.items()}
    for name in PAIRS:
        which, order = name.split()
        images = {"H": image("red", "H", SQUARE), "K": image("red", "K", WIDE)}
        question = f"Which letter is on the sign in the {which} picture?\n{SUFFIXES['text']}"
        contents[name] = tuple(images[sign] for sign in order), question
    contents |= {name: ((image("red", "H", size),), colour) for name, size in SIZES.items()}
    sized = {name: tuple(map(pixels.apply, shown)) for name, (shown, _) in contents.items()}
    # As in a run, some images come with their stored bytes, which an engine may send to a server untouched.
    encoded = {name: tuple(map(_png, sized[name])) for name in SIZES}
    return {n: Request(n, sized[n], text, encoded=encoded.get(n, ())) for n, (_, text) in contents.items()}


def image(colour: str, letter: str, size: tuple[int, int]) -> Image:
    """A square sign in the middle of a pale background, three sevenths of the shorter side wide."""
    width, height = size
    side = round(3 * min(size) / 7)
    left, top = (width - side) // 2, (height - side) // 2
    sign = Sign(colour, "square", letter, (left, top, left + side, top + side))
    return draw(Scene(max(size), 7, (sign,))).crop((0, 0, width, height))


def _png(image: Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


@runtime_checkable
class HasChat(Protocol):
    """An engine that formats the prompts itself."""

    chat: Chat


def ids_of(chat: Chat, request: Request) -> list[int] | None:
    """The prompt's ids, images expanded; None if the processor refuses: some need an image, or exactly one."""
    try:
        ids: list[int] = chat.batch([(request.images, request.prompt)])["input_ids"][0].tolist()
    except Exception:
        return None
    return ids


def visual_token_of(chat: Chat, request: Request) -> int | None:
    """The id that stands for an image: the one that increases most when a request has one image more."""
    without, single, double = (ids_of(chat, replace(request, images=request.images * times)) for times in (0, 1, 2))
    fewer, more = (without, single) if without is not None else (single, double)
    if fewer is None or more is None:
        return None
    added = Counter(more) - Counter(fewer)
    # An image may bring as many line breaks. In a tie, the id that the shorter prompt lacks wins.
    return max(added, key=lambda token: (added[token], token not in fewer), default=None)


def reference_of(engine: Engine) -> Chat | None:
    """The processor and template of the engine's model; None if its processor is not available.

    An engine may have its own `chat`; otherwise the processor is loaded by the model's name.
    """
    try:
        if isinstance(engine, HasChat) and engine.chat:
            return engine.chat if chat_template_of(engine.chat.processor) else None
        processor_kwargs = (engine.info.get("pixels") or {}).get("processor_kwargs") or {}
        chosen = (engine.info.get("options") or {}).get("chat_template_kwargs") or {}
        chat = chat_of(_processor(engine.info), processor_kwargs, chosen)
    except Exception:  # a name that only the server knows, no access to the Hub, a processor of an unknown kind
        return None
    return chat if chat.processor.chat_template else None


def _processor(info: Any) -> Any:
    from gapbench.util.torchvision_repair import repair

    try:
        source = models.resolve(str(info["model"]))
    except ModelError:  # the server has its own name for the model; vLLM also lists the name it loaded
        (root,) = {m["root"] for s in info["servers"] for m in s["models"] if m["id"] == info["model"]}
        source = models.resolve(str(root))
    repair()
    from transformers import AutoProcessor

    revision = None if info.get("revision") == "unknown" else info.get("revision")
    return AutoProcessor.from_pretrained(source, revision=revision, trust_remote_code=False)  # None would ask on stdin
