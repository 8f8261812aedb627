"""Regions and views: what is cut out, and what the model is shown. Pure functions of picture and boxes.

    region = find_region("padded", boxes, image.size)
    VIEWS["crop"](image, region)      # -> the picture the model sees

A *region policy* turns evidence boxes into one region: `native` (the crop the benchmark ships), `union` (the smallest
box around all evidence) or `padded` (the union grown about its centre). `padded:factor=2,min_side=224` sets its
parameters. The views `full` and `crop` make the headline gap; `boxed` is the full picture with a red frame around the
region.

Limits: one region per sample; boxes must already be xyxy pixels inside the picture (`gapbench.boxes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gapbench.errors import SampleError, SettingError
from gapbench.types import Box

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]


@dataclass(frozen=True)
class Region:
    """What `crop` shows: `box` in whole pixels of the full image, or None where the benchmark ships the crop itself."""

    policy: str
    box: Box | None
    picture: Image | None = None


def union(boxes: Sequence[Box], size: Size) -> Box:
    """The smallest box in whole pixels that holds all boxes, clipped to a picture of `size` (width, height)."""
    x0, y0, x1, y1 = (pick(values) for pick, values in zip((min, min, max, max), zip(*boxes, strict=True), strict=True))
    return (
        float(max(0, math.floor(x0))),
        float(max(0, math.floor(y0))),
        float(min(size[0], math.ceil(x1))),
        float(min(size[1], math.ceil(y1))),
    )


def padded(boxes: Sequence[Box], size: Size, factor: float = 1.2, min_side: int = 16) -> Box:
    """The union grown `factor`-fold (>= 1) about its centre to at least `min_side` whole pixels a side.

    A region that would leave the picture is moved back inside, and cut only where it is larger than the picture, so
    that evidence at a border gets as much context as evidence in the middle.
    """
    x0, y0, x1, y1 = union(boxes, size)
    left, right = _grow(x0, x1, size[0], factor, min_side)
    top, bottom = _grow(y0, y1, size[1], factor, min_side)
    return left, top, right, bottom


def _grow(low: float, high: float, limit: int, factor: float, min_side: int) -> tuple[float, float]:
    side = min(limit, max(min_side, round((high - low) * factor)))
    start = min(max(0, round((low + high - side) / 2)), limit - side)
    return float(start), float(start + side)


REGIONS: dict[str, Callable[..., Box]] = {"union": union, "padded": padded}
"""Policies that compute a region from boxes; `native` takes the shipped crop and needs none."""


def parse_policy(policy: str) -> tuple[str, dict[str, float]]:
    """`padded:factor=2,min_side=224` -> ("padded", {"factor": 2.0, "min_side": 224.0}).

    Raises SettingError for an unknown policy or parameter.
    """
    name, _, rest = policy.partition(":")
    allowed = {"padded": ("factor", "min_side"), "union": (), "native": ()}
    if name not in allowed:
        raise SettingError(f"Region policy {policy!r} is unknown. Known are {', '.join(sorted(allowed))}.")
    values: dict[str, float] = {}
    for item in filter(None, rest.split(",")):
        key, _, value = item.partition("=")
        try:
            values[key] = float(value)
        except ValueError:
            values[key] = math.nan
        if key not in allowed[name] or not 0 < values[key] < math.inf:
            takes = f"{' and '.join(allowed[name])}, as positive numbers" if allowed[name] else "no parameters"
            raise SettingError(
                f"Region policy {policy!r}: {item!r} is not understood. `{name}` takes {takes} "
                "(such as padded:factor=1.5,min_side=224)."
            )
    if values.get("factor", 1.0) < 1.0:
        raise SettingError(f"Region policy {policy!r}: factor must be at least 1, or the evidence itself would be cut.")
    if not values.get("min_side", 1.0).is_integer():
        raise SettingError(f"Region policy {policy!r}: min_side must be a whole number of pixels.")
    return name, values


def find_region(policy: str, boxes: Sequence[Box], size: Size, native: Image | None = None) -> Region:
    """The region of a sample with evidence `boxes` (xyxy pixels) in a picture of `size`.

    Raises SettingError for a policy that does not exist, SampleError where the sample has no evidence for it.
    """
    name, values = parse_policy(policy)
    if name == "native":
        if native is None:
            raise SampleError("region policy `native`: this sample ships no crop. Use --region padded or union.")
        return Region(policy, union(boxes, size) if boxes else None, native)
    if not boxes:
        raise SampleError(
            f"view `crop` with region policy `{policy}`: this sample has no evidence box. "
            "Measure --views full, or give boxes (`bbox` or `bboxes`)."
        )
    return Region(policy, REGIONS[name](boxes, size, **values))


def cut(image: Image, box: Box) -> Image:
    """The part of a picture inside a box of whole pixels."""
    return image.crop((int(box[0]), int(box[1]), int(box[2]), int(box[3])))


def full(image: Image, region: Region | None) -> Image:
    """The whole picture, as the benchmark gives it."""
    return image


def crop(image: Image, region: Region | None) -> Image:
    """The region alone. Enlarging it is left to the model's processor, as for any picture."""
    if region is None:
        raise SampleError("view `crop`: no region was given.")
    if region.picture is not None:
        return region.picture
    assert region.box is not None
    return cut(image, region.box)


def boxed(image: Image, region: Region | None) -> Image:
    """The whole picture with a red frame around the region, as ZwZ and Vision-OPD mark evidence.

    The frame is drawn outside the region, so that it hides none of it: 5 px wide, less on pictures below 320 px.
    """
    from PIL import ImageDraw

    if region is None or region.box is None:
        raise SampleError("view `boxed`: no region with a box was given.")
    width = max(1, min(5, round(min(image.size) / 64)))
    x0, y0, x1, y1 = region.box
    framed = image.copy()
    outside = (x0 - width, y0 - width, x1 + width - 1, y1 + width - 1)
    ImageDraw.Draw(framed).rectangle(outside, outline=(255, 0, 0), width=width)
    return framed


VIEWS: dict[str, Callable[[Image, Region | None], Image]] = {"full": full, "crop": crop, "boxed": boxed}
NEEDS_REGION = frozenset({"crop", "boxed"})
