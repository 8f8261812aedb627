"""Regions: what is cut out. Pure functions of images and boxes.

    region = find_region("padded", boxes, image.size)
    cut(image, region.box)

A *region policy* turns evidence boxes into a region:

- `native`: the crop that the benchmark ships;
- `union`: the smallest box around all evidence;
- `padded`: the union grown about its centre (`padded:factor=2,min_side=224` sets its parameters);
- `square`: a square around the centre of the union, 224 px a side or as large as the union, Visual-CoT's crop
  (arXiv:2403.16999);
- `multi`: each evidence box padded by itself and cut out as its own image, for evidence that lies far apart;
- `mosaic`: the crops of `multi` side by side in one image on white, for models that take one image.

Limits: regions lie in a sample's first image; boxes must already be xyxy pixels inside it (`gapbench.views.boxes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from gapbench.errors import SampleError, SettingError
from gapbench.types import Box

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]
Images = tuple["Image", ...]

REGIONS: dict[str, tuple[str, ...]] = {
    "native": (),
    "union": (),
    "padded": ("factor", "min_side"),
    "square": ("min_side",),
    "multi": ("factor", "min_side"),
    "mosaic": ("factor", "min_side"),
}
"""Region policies and their parameters."""

MOSAIC_SPACING = 8
"""Pixels of white between the images of a mosaic."""


@dataclass(frozen=True)
class Region:
    """What `crop` shows: the parts of the first image inside `boxes` (whole pixels), in that order.

    If the benchmark ships the crop, `crop` shows `image` instead, and `boxes` holds the evidence's union, or nothing.
    `evidence` are the evidence boxes that it was made from.
    """

    policy: str
    boxes: tuple[Box, ...]
    image: Image | None = None
    evidence: tuple[Box, ...] = ()

    @property
    def box(self) -> Box | None:
        """The smallest box around all `boxes`."""
        return enclosing(self.boxes) if self.boxes else None


def enclosing(boxes: Sequence[Box]) -> Box:
    """The smallest box around all `boxes`."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def union(boxes: Sequence[Box], size: Size) -> Box:
    """The smallest box in whole pixels that holds all boxes, clipped to an image of `size` (width, height)."""
    x0, y0, x1, y1 = enclosing(boxes)
    left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
    right, bottom = min(size[0], math.ceil(x1)), min(size[1], math.ceil(y1))
    return float(left), float(top), float(right), float(bottom)


def padded(boxes: Sequence[Box], size: Size, factor: float = 1.2, min_side: int = 16) -> Box:
    """The union grown `factor`-fold (>= 1) about its centre to at least `min_side` whole pixels a side.

    A region that would leave the image is moved back inside, so that evidence at a border gets as much context as
    evidence in the middle. It is cut only where it is larger than the image.
    """
    x0, y0, x1, y1 = inner = union(boxes, size)
    return _around(inner, size, max(min_side, (x1 - x0) * factor), max(min_side, (y1 - y0) * factor))


def square(boxes: Sequence[Box], size: Size, min_side: int = 224) -> Box:
    """A square about the union's centre, with sides of `min_side` whole pixels or the union's longer side.

    Moved and cut as in `padded`: it is not square if the image is too small for it.
    """
    x0, y0, x1, y1 = inner = union(boxes, size)
    side = max(min_side, x1 - x0, y1 - y0)
    return _around(inner, size, side, side)


def _around(inner: Box, size: Size, width: float, height: float) -> Box:
    width, height = round(min(size[0], width)), round(min(size[1], height))
    left = min(max(0, round((inner[0] + inner[2] - width) / 2)), size[0] - width)
    top = min(max(0, round((inner[1] + inner[3] - height) / 2)), size[1] - height)
    return float(left), float(top), float(left + width), float(top + height)


def with_parameters(policy: str, parameters: Mapping[str, str]) -> str:
    """The policy with some parameters set anew: `padded` and {"factor": "2"} -> `padded:factor=2`.

    `region` among the parameters names another policy. A policy that takes no parameters gives way to `padded`: the
    union, grown. Raises SettingError as `parse_policy` does.
    """
    if not parameters:
        return policy
    name, _, rest = policy.partition(":")
    items = dict(item.partition("=")[::2] for item in filter(None, rest.split(",")))
    if "region" in parameters:
        name, items = parameters["region"], {}
    elif parameters and not REGIONS.get(name, name):
        name = "padded"
    items |= {key: value for key, value in parameters.items() if key != "region"}
    policy = name + (":" if items else "") + ",".join(f"{key}={items[key]}" for key in sorted(items))
    parse_policy(policy)
    return policy


def parse_policy(policy: str) -> tuple[str, dict[str, float]]:
    """`padded:factor=2,min_side=224` -> ("padded", {"factor": 2.0, "min_side": 224.0}).

    Raises SettingError for an unknown policy or parameter.
    """
    name, _, rest = policy.partition(":")
    if name not in REGIONS:
        usages = (f"{n}[:{','.join(f'{p}=' for p in takes)}]" if takes else n for n, takes in REGIONS.items())
        raise SettingError(f"Region policy {policy!r} is unknown. Known are {', '.join(usages)}.")
    values: dict[str, float] = {}
    for item in filter(None, rest.split(",")):
        key, _, value = item.partition("=")
        if key in values:
            raise SettingError(f"Region policy {policy!r}: {key!r} is given twice. Give it once.")
        try:
            values[key] = float(value)
        except ValueError:
            values[key] = math.nan
        if key not in REGIONS[name] or not 0 < values[key] < math.inf:
            takes = " and ".join(REGIONS[name])
            takes = f"{takes}, as positive numbers (such as {name}:min_side=224)" if takes else "no parameters"
            raise SettingError(f"Region policy {policy!r}: {item!r} is not understood. `{name}` takes {takes}.")
    if values.get("factor", 1.0) < 1.0:
        raise SettingError(f"Region policy {policy!r}: factor must be at least 1, or the evidence itself would be cut.")
    if not values.get("min_side", 1.0).is_integer():
        raise SettingError(f"Region policy {policy!r}: min_side must be a whole number of pixels.")
    return name, values


def find_region(policy: str, boxes: Sequence[Box], size: Size, native: Image | None = None) -> Region:
    """The region of a sample with evidence `boxes` (xyxy pixels) in a first image of `size` (width, height).

    Raises SettingError for an unknown policy, SampleError if the sample has no evidence box or no shipped crop.
    """
    name, values = parse_policy(policy)
    if name == "native":
        if native is None:
            raise SampleError("region policy `native`: this sample ships no crop. Use --region padded or union.")
        return Region(policy, (union(boxes, size),) if boxes else (), native, tuple(boxes))
    if not boxes:
        remedy = "Measure --views full, or give boxes (`bbox` or `bboxes`)."
        raise SampleError(f"view `crop` with region policy `{policy}`: this sample has no evidence box. {remedy}")
    parts = [(box,) for box in boxes] if name in ("multi", "mosaic") else [boxes]
    box_of: Callable[..., Box] = {"union": union, "square": square}.get(name, padded)
    return Region(policy, tuple(box_of(part, size, **values) for part in parts), evidence=tuple(boxes))


def cut(image: Image, box: Box) -> Image:
    """The part of an image inside a box of whole pixels."""
    from PIL import Image as Pillow

    x0, y0, x1, y1 = map(int, box)
    # Not Image.crop: it takes a large part for a decompression bomb, even of an image that may be large.
    return image.resize((x1 - x0, y1 - y0), Pillow.Resampling.NEAREST, (x0, y0, x1, y1))


def mosaic(images: Images) -> Image:
    """Images at their own size on white, left to right, in rows that make the mosaic as square as possible.

    `MOSAIC_SPACING` pixels lie between them. A single image is returned as it is.
    """
    from PIL import Image as Pillow

    if len(images) == 1:
        return images[0]
    widths = list(accumulate(p.width + MOSAIC_SPACING for p in images))  # of the first image, the first two, ...
    layouts = (_rows(images, max(width, *(p.width + MOSAIC_SPACING for p in images))) for width in reversed(widths))
    places, size = min(layouts, key=lambda layout: max(layout[1]))
    canvas = Pillow.new("RGB", size, "white")
    for image, place in zip(images, places, strict=True):
        canvas.paste(image, place)
    return canvas


def _rows(images: Images, width: int) -> tuple[list[tuple[int, int]], Size]:
    """The top left corners of images in rows of at most `width` (a space after each included), and the total size."""
    places: list[tuple[int, int]] = []
    x = y = height = widest = 0
    for image in images:
        if x + image.width + MOSAIC_SPACING > width:
            x, y, height = 0, y + height + MOSAIC_SPACING, 0
        places.append((x, y))
        x, height = x + image.width + MOSAIC_SPACING, max(height, image.height)
        widest = max(widest, x - MOSAIC_SPACING)
    return places, (widest, y + height)
