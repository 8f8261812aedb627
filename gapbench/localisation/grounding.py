"""Grounding: ask the model itself for the box of the evidence. Works with any engine.

    text = prompt_text("What does the small sign say?", "thousand", (1344, 896))
    read_boxes('[{"bbox_2d": [612, 388, 640, 412], "label": "sign"}]', "thousand", (1344, 896))

Model families write coordinates in different conventions: thousandths of the image, its pixels, or fractions. The
convention is declared, never guessed from the values. The prompt asks for it, and answers out of its range are
rejected.

Limits: corners are read as x0, y0, x1, y1. The answer of a model that writes y first, or x, y, width, height, is read
wrongly unless its corners come out of order. `pixels` are those of the image that the processor gets. If the processor
resizes it again, the model may count in other pixels: keep the image within the processor's bounds by --max-pixels.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator
from itertools import chain

from gapbench.localisation.result import NOT_ANSWERED, LocatedBoxes
from gapbench.types import Box, Engine, Request
from gapbench.views.boxes import union_area

CONVENTIONS = {
    "thousand": "Coordinates are integers from 0 to 1000, relative to the image's width and height.",
    "pixels": "Coordinates are in pixels of the image, which is {width} wide and {height} high.",
    "unit": "Coordinates are fractions from 0 to 1 of the image's width and height.",
}
"""The sentence that asks for each convention."""

PROMPT = (
    "Locate the region of the image that is needed to answer the question.\nQuestion: {question}\n"
    'Do not answer the question. Output the bounding box in JSON format, as [{{"bbox_2d": [x1, y1, x2, y2]}}]. '
    "{convention}"
)

MAX_BOXES = 8
"""An answer with more boxes is rejected: the model is repeating itself."""

TOLERANCE = 0.002
"""Fraction of the image by which coordinates may overrun: 2 of 1000, as `gapbench.views.boxes` allows 2 pixels."""

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+))"
_LABEL = r"(?:[\"']?[a-z]\w*[\"']?\s*[:=]\s*)?"
_NEXT = rf"(?:\s*[,;]\s*|\s+){_LABEL}"
_MIDDLE = rf"(?:{_NEXT}|\s*[\])]\s*,?\s*[\[(]\s*)"
_FOUR = rf"{_LABEL}{_NUMBER}{_NEXT}{_NUMBER}{_MIDDLE}{_NUMBER}{_NEXT}{_NUMBER}"
_BOX = re.compile(rf"[\[({{>]\s*{_FOUR}\s*(?=[\])}}<])", re.IGNORECASE)
_BARE = re.compile(rf"\s*{_FOUR}\s*\.?\s*", re.IGNORECASE)


def prompt_text(question: str, convention: str, size: tuple[int, int]) -> str:
    """The prompt that asks for a box; `size` is the (width, height) of the image as sent."""
    sentence = CONVENTIONS[convention].format(width=size[0], height=size[1])
    return PROMPT.format(question=question, convention=sentence)


def read_boxes(text: str, convention: str, size: tuple[int, int], largest: float = 0.8) -> LocatedBoxes:
    """The boxes of an answer, or the reason why there is none.

    Reads every group of four numbers in brackets of any kind (JSON, `<box>` tags, two points in parentheses, named
    corners). Rejects the answer if coordinates lie out of the convention's range, or if its boxes together cover more
    than the fraction `largest` of the image. Drops boxes with swapped corners or less than a pixel across.
    """
    bare = _BARE.fullmatch(text)
    groups = [bare] if bare else _BOX.finditer(text)
    scale = {"thousand": (1000, 1000), "unit": (1, 1), "pixels": size}[convention]
    sides = (*scale, *scale)
    boxes = [[float(n) / side for n, side in zip(group.groups(), sides, strict=True)] for group in groups]
    if not boxes:
        return LocatedBoxes(reason="no box in the answer", output=text)
    if len(boxes) > MAX_BOXES:
        return LocatedBoxes(reason=f"more than {MAX_BOXES} boxes", output=text)
    if not all(-TOLERANCE <= value <= 1 + TOLERANCE for value in chain(*boxes)):
        return LocatedBoxes(reason=f"coordinates out of the range of `{convention}`", output=text)
    inside = [[min(1.0, max(0.0, value)) for value in box] for box in boxes]
    usable: list[Box] = [(x0, y0, x1, y1) for x0, y0, x1, y1 in inside
                       if (x1 - x0) * size[0] >= 1 and (y1 - y0) * size[1] >= 1]  # fmt: skip
    if not usable:
        return LocatedBoxes(reason="empty box, or corners out of order", output=text)
    if union_area(usable) > largest:
        return LocatedBoxes(reason=f"box over {100 * largest:g} % of the image", output=text)
    return LocatedBoxes(tuple(dict.fromkeys(usable)), output=text)


def locate(
    engine: Engine, requests: Iterable[Request], convention: str, largest: float
) -> Iterator[tuple[Hashable, LocatedBoxes]]:
    """The key and boxes of each request (with a prompt of `prompt_text`), in the engine's order."""
    for key, answer in engine.generate(requests):
        if answer.error or answer.sent_size is None:
            yield key, LocatedBoxes(reason=f"{NOT_ANSWERED}: {answer.error or 'no image was sent'}")
        else:
            yield key, read_boxes(answer.text, convention, answer.sent_size, largest)
