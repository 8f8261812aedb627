"""Box normaliser: boxes as a data set writes them become xyxy pixels inside the image.

    boxes, repairs = normalise([(10, 20, 30, 40)], "xywh", (640, 480))     # ((10.0, 20.0, 40.0, 60.0),), ()

The format is declared, never guessed. Swapped corners are put right, overruns are clipped (flagged `outside` beyond
`TOLERANCE` pixels), empty boxes are dropped. Every repair has a name, so that it can be counted and shown. The caller
decides what happens to a sample that has no box left.

Limits: a wrong format goes unnoticed if its boxes happen to lie inside the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any, get_args

from gapbench.errors import SampleError
from gapbench.types import Box, BoxFormat
from gapbench.util.text import shorten

TOLERANCE = 2.0
"""Pixels by which a box may leave the image before it counts as `outside`: published data are rounded."""

NOISE = 1e-6
"""Pixels of overrun that are floating-point noise (0.7 + 0.3 of a width): clipped without naming a repair."""

FORMATS: tuple[BoxFormat, ...] = get_args(BoxFormat)

WHOLE = {"": 0, "normalised": 1, "thousand": 1000}
"""The number that stands for the whole side of an image, by the unit behind a format's `_`; 0 stands for pixels."""


def normalise(
    boxes: Sequence[Sequence[float]], box_format: BoxFormat, size: tuple[int, int]
) -> tuple[tuple[Box, ...], tuple[str, ...]]:
    """Boxes in xyxy float pixels inside an image of `size` (width, height), and one name per repair.

    Repairs: `swapped`, `clipped` (overrun within TOLERANCE), `outside` (overrun beyond it, or no part inside), `empty`
    (dropped). A box that lies entirely outside counts as `outside` and as `empty`. All boxes may be dropped: that
    is no error.

    Raises SampleError if the format is unknown or `boxes` is not a list of boxes of four finite numbers.
    """
    order, _, unit = parse_format(box_format).partition("_")
    width, height = size
    whole = WHOLE[unit]
    normalised: list[Box] = []
    repairs: list[str] = []
    if not isinstance(boxes, Iterable):
        raise SampleError(f"boxes {_quote(boxes)}: expected a list of boxes of four finite numbers.")
    for box in boxes:
        x0, y0, x1, y1 = four_numbers(box)
        if order == "xywh":
            x1, y1 = x0 + x1, y0 + y1
        if whole:
            x0, y0, x1, y1 = x0 * width / whole, y0 * height / whole, x1 * width / whole, y1 * height / whole
        if x0 > x1 or y0 > y1:
            x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
            repairs.append("swapped")
        overrun = max(-x0, -y0, x1 - width, y1 - height)
        if overrun > NOISE:
            overlaps = x0 < width and y0 < height and x1 > 0 and y1 > 0
            repairs.append("clipped" if overlaps and overrun <= TOLERANCE else "outside")
        x0, y0, x1, y1 = max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1)
        if x0 >= x1 or y0 >= y1:
            repairs.append("empty")
        else:
            normalised.append((x0, y0, x1, y1))
    return tuple(normalised), tuple(repairs)


def parse_format(text: str) -> BoxFormat:
    """The format that a text names, in any case and also spelt `normalized`. Raises SampleError for any other text."""
    name = str(text).strip().lower().replace("normalized", "normalised")
    found = next((known for known in FORMATS if known == name), None)
    if found is None:
        raise SampleError(f"box_format is {text!r}; expected one of {', '.join(FORMATS)}.")
    return found


def swap_order(box_format: BoxFormat) -> BoxFormat:
    """The format with the same unit and the other order: `xywh` for `xyxy`."""
    order, _, unit = parse_format(box_format).partition("_")
    return parse_format("_".join(filter(None, ("xyxy" if order == "xywh" else "xywh", unit))))


def four_numbers(box: Any) -> Box:
    """A box of any format as four floats. Raises SampleError unless it is four finite numbers."""
    try:
        if len(box) == 4 and all(not isinstance(v, bool) and isinstance(v, Real) for v in box):
            numbers = float(box[0]), float(box[1]), float(box[2]), float(box[3])
            if all(map(math.isfinite, numbers)):
                return numbers
    except (TypeError, LookupError, OverflowError):  # not a sequence, or an integer too large for a float
        pass
    raise SampleError(f"box {_quote(box)}: expected four finite numbers.")


def _quote(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write integers of thousands of digits
        text = f"({type(value).__name__})"
    return shorten(text)


def union_area(boxes: Sequence[Box]) -> float:
    """Exact area in square pixels of the union of a few boxes."""
    return sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in disjoint(boxes))


def disjoint(boxes: Sequence[Box]) -> list[Box]:
    """Boxes that do not overlap and cover the same area as a few boxes, by coordinate compression."""
    xs = sorted({x for b in boxes for x in (b[0], b[2])})
    ys = sorted({y for b in boxes for y in (b[1], b[3])})
    return [
        (x0, y0, x1, y1)
        for x0, x1 in pairwise(xs)
        for y0, y1 in pairwise(ys)
        if any(b[0] <= x0 and x1 <= b[2] and b[1] <= y0 and y1 <= b[3] for b in boxes)
    ]
