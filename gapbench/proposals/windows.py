"""Overlapping windows of an image, at several scales.

    windows((1344, 896), settings)      # xyxy boxes in whole pixels, large windows first
    shown_pixels(99, 1024, settings)    # how many pixels a window may be shown with

Limits: windows are square. What is larger than the largest window is never whole in one. Of an image that is many times
longer than wide, windows lie further apart than the settings say, or not all is read.
"""

from __future__ import annotations

import math
import random

from gapbench.proposals.thresholds import Settings
from gapbench.types import Box
from gapbench.views.regions import Size

WINDOW_TOKENS = 200
"""Least tokens that a window takes: its prompt and a little to see. There are no more windows than the budget has of
these, which an image of 3:1 reaches with the default settings."""


def windows(size: Size, settings: Settings) -> list[Box]:
    """Squares that cover an image of `size` (width, height) at each scale, from the largest to the smallest.

    If they were more than the budget allows, their distance is stretched alike at all scales.
    """
    short, most, stretch = min(size), max(1, settings.image_tokens // WINDOW_TOKENS), 1.0
    sides = [max(1, round(scale * short)) for scale in sorted(settings.scales, reverse=True)]

    def steps(side: int, room: int) -> int:
        return math.ceil(room / max(1, round(stretch * min(settings.step * side, settings.largest_step * short))))

    while stretch < max(size) and most < sum(
        math.prod(steps(side, length - side) + 1 for length in size) for side in sides
    ):
        stretch *= 1.1
    boxes: list[Box] = []
    for side in sides:
        lefts, tops = (_places(length - side, steps(side, length - side)) for length in size)
        boxes += [(float(x), float(y), float(x + side), float(y + side)) for y in tops for x in lefts]
    return list(dict.fromkeys(boxes))


def _places(room: int, steps: int) -> list[int]:
    """Even places from 0 to `room`."""
    return [round(n * room / steps) for n in range(steps + 1)] if steps else [0]


def shown_pixels(count: int, token_pixels: int, settings: Settings) -> int:
    """Most pixels of each of `count` windows, so that all keep to the budget of tokens of `token_pixels` each."""
    return max(token_pixels, min(settings.window_pixels, settings.image_tokens * token_pixels // max(1, count)))


def shifted(box: Box, share: float, size: Size) -> list[Box]:
    """The box moved left, right, up and down by a share of its sides, as far as the image goes."""
    x0, y0, x1, y1 = box
    dx, dy = round(share * (x1 - x0)), round(share * (y1 - y0))
    moves = ((-min(dx, x0), 0.0), (min(dx, size[0] - x1), 0.0), (0.0, -min(dy, y0)), (0.0, min(dy, size[1] - y1)))
    return [(x0 + x, y0 + y, x1 + x, y1 + y) for x, y in moves]


def contains(outer: Box, inner: Box) -> bool:
    """Whether `inner` lies inside `outer`."""
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def area(box: Box) -> float:
    """Width x height."""
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap(a: Box, b: Box) -> float:
    """The area that two boxes share, as a share of the smaller one."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return wide * high / min(area(a), area(b)) if wide > 0 and high > 0 else 0.0


def elsewhere(box: Box, like: Box, size: Size, seed: str) -> Box | None:
    """A random box of the size of `like` that does not touch `box`; None if 50 draws find none."""
    rng = random.Random(seed)
    width, height = like[2] - like[0], like[3] - like[1]
    for _ in range(50):
        x, y = (float(rng.randint(0, round(room))) for room in (size[0] - width, size[1] - height))
        if not overlap(box, drawn := (x, y, x + width, y + height)):
            return drawn
    return None
