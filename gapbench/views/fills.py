"""Fills: what takes the place of a part of an image.

    filled(image, boxes, "background")          # the boxes are filled, the rest is kept
    filled(image, boxes, "blur", outside=True)  # the boxes are kept, the rest is filled

A fill is a colour or a blur. A colour that is foreign to a model can hurt more than what it hides. So the default is
the image's own background: the most common colour at its border.

Limits: the background of a photograph is a guess. A blur keeps what is larger than a few times its radius.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gapbench.types import Box
from gapbench.views.regions import cut

if TYPE_CHECKING:
    from PIL.Image import Image

Rgb = tuple[int, int, int]

COLOURS: dict[str, Rgb] = {"white": (255, 255, 255), "grey": (128, 128, 128), "black": (0, 0, 0)}
HEX = re.compile(r"#[0-9a-fA-F]{6}")
BORDER = 1 / 12
"""The width of an image's border, as a share of its side."""
SMALL = 192
"""The longest side, in pixels, of the small image in which the background is looked for."""
STEP = 32
"""Colours that differ by less than this in every channel may count as one."""
BLUR, BLUR_OF_BOX = 1 / 20, 1 / 3
"""The radius of a blur: a share of the image's shorter side; for what is hidden, at least a share of the box's side."""


def check(fill: str = "background") -> None:
    """Raise ValueError, with what was expected, unless `fill` is a known fill."""
    if fill not in ("background", "mean", "blur", *COLOURS) and not HEX.fullmatch(fill):
        known = ", ".join(["background", "mean", "blur", *COLOURS])
        raise ValueError(f"there is no fill {fill!r}. Expected {known}, or a colour such as #ff8800.")


def filled(image: Image, boxes: Sequence[Box], fill: str, outside: bool = False) -> Image:
    """The image with boxes of whole pixels filled, or with everything outside of them filled."""
    radius = BLUR * min(image.size)
    if not outside:
        radius = max(radius, *(BLUR_OF_BOX * max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes))
    made = _blurred(image, radius) if fill == "blur" else plain(image.size, colour_of(image, boxes, fill))
    base, patches = (made, image) if outside else (image.copy(), made)
    for box in boxes:
        base.paste(cut(patches, box), (int(box[0]), int(box[1])))
    return base


def colour_of(image: Image, boxes: Sequence[Box], fill: str) -> Rgb:
    """The colour of a fill that is one; that of a blur is the background's."""
    if fill == "mean":
        return mean(image)
    if HEX.fullmatch(fill):
        return int(fill[1:3], 16), int(fill[3:5], 16), int(fill[5:7], 16)
    return COLOURS.get(fill) or background(image, boxes)


def background(image: Image, boxes: Sequence[Box] = ()) -> Rgb:
    """The most common colour at the border of an RGB image, `boxes` left out.

    Where boxes cover the border, the rest of the image counts; where they cover the image, all of it.
    """
    import numpy as np
    from PIL import Image as Pillow

    share = min(1.0, SMALL / max(image.size))
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    pixels = np.asarray(image.resize(size, Pillow.Resampling.NEAREST))
    rest, border = np.ones(size[::-1], dtype=bool), np.ones(size[::-1], dtype=bool)
    wide, high = max(1, round(size[0] * BORDER)), max(1, round(size[1] * BORDER))
    border[high:-high, wide:-wide] = False
    for x0, y0, x1, y1 in boxes:
        rest[int(y0 * share) : round(y1 * share + 0.5), int(x0 * share) : round(x1 * share + 0.5)] = False
    chosen: Any = next((where for where in (border & rest, rest) if where.any()), border)
    colours = pixels[chosen].astype(np.int64)
    bins = (colours // STEP * np.array([10_000, 100, 1])).sum(-1)
    values, counts = np.unique(bins, return_counts=True)
    red, green, blue = np.median(colours[bins == values[counts.argmax()]], axis=0).round().astype(int)
    return int(red), int(green), int(blue)


def mean(image: Image) -> Rgb:
    """The mean of every channel, rounded."""
    from PIL import ImageStat

    red, green, blue = (round(value) for value in ImageStat.Stat(image).mean)
    return red, green, blue


def _blurred(image: Image, radius: float) -> Image:
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(radius))


def plain(size: tuple[int, int], colour: Rgb = COLOURS["grey"]) -> Image:
    """An RGB image of one colour."""
    from PIL import Image as Pillow

    return Pillow.new("RGB", size, colour)
