"""Counterfactual images: what the model would be shown if the evidence were gone, elsewhere, or too small to read.

    reduced(image, (0.3, 0.6))              # fewer pixels: 0.3 to 0.6 times the width and height
    mean_coloured(image)                    # no content, the same size
    elsewhere(image, box)                   # a box of the same size that holds none of the evidence

Where something is drawn by chance, the image's own pixels are the seed. So the same image always gives the same result,
in a measurement as in a training.

`gapbench.views.fills` covers the evidence, or what is around it.

Limits: a box of the same size elsewhere may hold another object that looks like the evidence.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from gapbench.errors import SampleError
from gapbench.types import Box
from gapbench.views.fills import mean, plain

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL = (16, 16)
"""The pixels of an image that are the seed of what is drawn by chance."""
MOST_OVERLAP = 0.5
"""The largest share of a box elsewhere that may lie on the evidence."""


def reduced(image: Image, scale: tuple[float, float]) -> Image:
    """The image at a share of its width and height that is drawn between the two ends of `scale`, each in (0, 1)."""
    from PIL import Image as Pillow

    share = _chance(image, "scale").uniform(*scale)
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return image.resize(size, Pillow.Resampling.BICUBIC)


def mean_coloured(image: Image) -> Image:
    """An RGB image of the same size that has the mean of its pixels everywhere."""
    return plain(image.size, mean(image))


def elsewhere(image: Image, box: Box) -> Box:
    """A box of the same size in whole pixels, drawn from the places left of `box`, right of it, above and below.

    Where the image has no such place, it is the corner that has least of `box`. Raises SampleError if that is more than
    `MOST_OVERLAP` of it.
    """
    x0, y0, x1, y1 = map(int, box)
    width, height = x1 - x0, y1 - y0
    right, bottom = image.width - width, image.height - height  # the last places of its left and its upper edge
    bands = [(0, x0 - width, 0, bottom), (x1, right, 0, bottom), (0, right, 0, y0 - height), (0, right, y1, bottom)]
    places = {band: (band[1] - band[0] + 1) * (band[3] - band[2] + 1) for band in bands if band[0] <= band[1]}
    free = {band: count for band, count in places.items() if band[2] <= band[3]}
    if not free:
        return _corner(image, (x0, y0, x1, y1))
    chance = _chance(image, f"elsewhere {x0} {y0} {x1} {y1}")
    (first_x, last_x, first_y, last_y), *_ = chance.choices(list(free), list(free.values()))
    left, top = chance.randint(first_x, last_x), chance.randint(first_y, last_y)
    return float(left), float(top), float(left + width), float(top + height)


def _corner(image: Image, box: tuple[int, int, int, int]) -> Box:
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0

    def overlap(corner: tuple[int, int]) -> int:
        left, top = corner
        return max(0, min(x1, left + width) - max(x0, left)) * max(0, min(y1, top + height) - max(y0, top))

    corners = [(left, top) for left in (0, image.width - width) for top in (0, image.height - height)]
    left, top = min(corners, key=overlap)
    if overlap((left, top)) > MOST_OVERLAP * width * height:
        raise SampleError(
            f"view `random_crop`: the region of {width} x {height} px leaves no room for another of its size in the "
            f"image of {image.width} x {image.height} px. Set a smaller region, or another view."
        )
    return float(left), float(top), float(left + width), float(top + height)


def _chance(image: Image, purpose: str) -> random.Random:
    from PIL import Image as Pillow

    pixels = image.resize(THUMBNAIL, Pillow.Resampling.NEAREST).tobytes()
    return random.Random(f"gapbench views {purpose} {image.size} {pixels.hex()}")
