"""The kinds of views: pure functions from a sample's images, region and prompt to what the model is shown.

    VIEWS["crop"].show((image,), region, "Which letter?", Budget())     # Shown, or SampleError: why not

| view | images | evidence | surroundings |
|---|---|---|---|
| `full` | all of the sample | native | kept |
| `crop` | the region | what the processor makes of a small image | cut off |
| `mask` | the first with all but the region filled | native | removed |
| `full_up` | the first enlarged | raised | kept |
| `full_up_mask` | the masked one enlarged in the same way | raised | removed |
| `crop_native` | the region on its background, as small as the processor does not enlarge | native | removed |
| `crop_up` | the region enlarged to the pixels of the full view | raised, as far as that goes | cut off |
| `full+crop` | all, then the region: what a zoom tool returns | both | kept |
| `hide` | the first with the region filled | none | kept |
| `random_crop` | a part as large as the region, elsewhere | none | cut off |
| `blank` | each in one colour | none | none |
| `blind` | none | none | none |
| `boxed` | the first with a red frame around the region | native | kept |
| `hint`, `coordinates` | as `full`; a sentence before the prompt says where the region lies | native | kept |
| `degraded` | all with fewer pixels | lowered | kept |

`full`, `mask`, `full_up` and `full_up_mask` are the 2 x 2 of surroundings and resolution: each differs from its
neighbour in one factor alone, because `mask` changes no size and `full_up` no content. `crop_up` is not a cell of it:
it also moves the evidence and changes its share of the image.

If a sample has several images, the region lies in the first, and the others follow as they are; `crop` and its
relatives omit them.

Limits: "native" is the resolution of the full view as it is sent, after the run's pixel bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gapbench.errors import SampleError
from gapbench.types import Box
from gapbench.views import fills
from gapbench.views.boxes import union_area
from gapbench.views.counterfactual import elsewhere, mean_coloured, reduced
from gapbench.views.pixels import Budget, largest_below, resized
from gapbench.views.regions import Images, Region, Size, cut, mosaic, parse_policy

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_GAIN = 1.1
"""An image that the bounds let grow by less than this, a side, counts as not enlarged."""
UNKNOWN_LEAST = 256 * 256
"""Pixels that no known processor enlarges, where that of the model is not at hand: Qwen3-VL's least is the highest."""
STEPS = (0.0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Canvases that `crop_native` tries, as shares of the way from the region's size to that of the full image."""
GRID = 32
"""The sides of such a canvas are multiples of this, so that few sizes have to be counted."""
DENSER = 1.1
"""Tokens a pixel, against the full view, above which an image counts as enlarged. Patches round sides a little."""
COLUMNS, ROWS = ("left", "", "right"), ("upper", "", "lower")
"""The thirds of an image, in words."""


@dataclass(frozen=True)
class Shown:
    """What a view shows: images, and the prompt after them.

    `evidence` is the share of each image that evidence boxes cover, 0..1; empty if that is not known.
    """

    images: Images
    prompt: str
    evidence: tuple[float, ...] = ()


@dataclass(frozen=True)
class ViewKind:
    """How a kind of view is made, whether it needs a region, and its own parameters with their defaults.

    `show` takes the sample's images, its region (None only for a kind that needs none), its prompt, and the budget;
    then its own parameters, as text and by name. It raises SampleError, with the reason, where it is not available.

    `check` raises ValueError, which says what was expected, for values that its own parameters cannot have.

    `shipped` says whether a crop that the benchmark ships, without a box, is region enough.

    `trains` says whether it shows one image and the sample's own prompt, as a training needs.
    """

    show: Callable[..., Shown]
    needs_region: bool = False
    defaults: Mapping[str, str] = field(default_factory=dict)
    check: Callable[..., object] = dict
    shipped: bool = False
    trains: bool = True


def full(images: Images, region: Region | None, prompt: str, budget: Budget) -> Shown:
    """All images of the sample, uncut."""
    return Shown(images, prompt, _shares(images, region))


def crop(images: Images, region: Region, prompt: str, budget: Budget) -> Shown:
    """The region alone. The model's processor may enlarge it, as any other image."""
    return Shown(crop_images(images, region), prompt, _crop_shares(images, region))


def crop_images(images: Images, region: Region) -> Images:
    """The images of a region: the crop that the benchmark ships, or its boxes cut out of the first image."""
    if region.image is not None:
        return (region.image,)
    parts = tuple(cut(images[0], box) for box in region.boxes)
    return (mosaic(parts),) if parse_policy(region.policy)[0] == "mosaic" else parts


def crop_up(images: Images, region: Region, prompt: str, budget: Budget) -> Shown:
    """The region, enlarged to as many pixels as the full view sends. Several parts share them."""
    shown = crop(images, region, prompt, budget)
    width, height = budget.size or images[0].size
    pixels = width * height // len(shown.images)
    enlarged = tuple(resized(part, largest_below(part.size, max(pixels, _area(part.size)))) for part in shown.images)
    return Shown(enlarged, prompt, shown.evidence)


def crop_native(images: Images, region: Region, prompt: str, budget: Budget) -> Shown:
    """The region, as large as in the full view, in the middle of a canvas that the model's processor does not enlarge.

    A processor with a least number of pixels, or with one size for all images, enlarges a small crop. So the canvas
    grows until the processor makes no more tokens a pixel of it than of the full view; the size of the full view is the
    last that is tried, and always serves. If the processor is not at hand, the canvas has at least `UNKNOWN_LEAST`
    pixels, or the full view's size. The canvas has the colour of the image's background.
    """
    shown = crop(images, region, prompt, budget)
    whole = budget.size or images[0].size
    scale = whole[0] / images[0].width
    parts, shares = [], []
    colour = fills.background(images[0], region.boxes)
    for number, part in enumerate(shown.images):
        size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
        canvas = _canvas(size, whole, budget)
        parts.append(_framed(resized(part, size), canvas, colour))
        shares += [share * _area(size) / _area(canvas) for share in shown.evidence[number : number + 1]]
    return Shown(tuple(parts), prompt, tuple(shares))


def full_and_crop(images: Images, region: Region, prompt: str, budget: Budget) -> Shown:
    """All images, and then those of the region, in one prompt: what a model has in view after it zoomed in.

    With the regions that a model found (`--regions`) this is its own zoom; with annotated boxes it is a perfect one.
    """
    first, second = _shares(images, region), _crop_shares(images, region)
    shares = (*first, *second) if first and second else ()
    return Shown((*images, *crop_images(images, region)), prompt, shares)


def full_up(images: Images, region: Region | None, prompt: str, budget: Budget, factor: str = "2") -> Shown:
    """All images, the first enlarged `factor` times a side, or as far as `--max-pixels` allows.

    Not available where that is no more than the full view, or where the processor makes no more tokens of it.
    """
    return Shown((_enlarged("full_up", images[0], budget, factor), *images[1:]), prompt, _shares(images, region))


def full_up_mask(
    images: Images, region: Region, prompt: str, budget: Budget, factor: str = "2", fill: str = "background"
) -> Shown:
    """What `mask` shows, enlarged as in `full_up`."""
    shown = mask(images, region, prompt, budget, fill)
    first = _enlarged("full_up_mask", shown.images[0], budget, factor)
    return Shown((first, *images[1:]), prompt, shown.evidence)


def mask(images: Images, region: Region, prompt: str, budget: Budget, fill: str = "background") -> Shown:
    """All images; in the first one everything outside of the region is filled (`gapbench.views.fills`)."""
    filled = fills.filled(images[0], region.boxes, fill, outside=True)
    return Shown((filled, *images[1:]), prompt, _shares(images, region))


def hide(images: Images, region: Region, prompt: str, budget: Budget, fill: str = "background") -> Shown:
    """All images; in the first one the region is filled."""
    return Shown((fills.filled(images[0], region.boxes, fill), *images[1:]), prompt, (0.0,) * len(images))


def random_crop(images: Images, region: Region, prompt: str, budget: Budget) -> Shown:
    """A part of the first image that is as large as the region, and elsewhere (`counterfactual.elsewhere`)."""
    box = elsewhere(images[0], region.box or region.boxes[0])
    return Shown((cut(images[0], box),), prompt, (_share(region.evidence, box),) if region.evidence else ())


def blank(images: Images, region: Region | None, prompt: str, budget: Budget) -> Shown:
    """As many images, of the same sizes, each in its mean colour: what a model says without seeing."""
    return Shown(tuple(map(mean_coloured, images)), prompt, (0.0,) * len(images))


def blind(images: Images, region: Region | None, prompt: str, budget: Budget) -> Shown:
    """No image: the prompt alone. A model that takes no such prompt gives no answer, with its reason."""
    return Shown((), prompt)


def boxed(images: Images, region: Region, prompt: str, budget: Budget) -> Shown:
    """All images; the first has a red frame around each box of the region, as ZwZ and Vision-OPD mark evidence.

    The frame lies outside the region, so that it hides none of it. It is 5 px wide, and thinner on images below
    320 px.
    """
    from PIL import ImageDraw

    image, *rest = images
    width = max(1, min(5, round(min(image.size) / 64)))
    framed = image.copy()
    for x0, y0, x1, y1 in region.boxes:
        outside = (x0 - width, y0 - width, x1 + width - 1, y1 + width - 1)
        ImageDraw.Draw(framed).rectangle(outside, outline=(255, 0, 0), width=width)
    for box in region.boxes:  # restore what the frame of another box hides
        framed.paste(cut(image, box), (int(box[0]), int(box[1])))
    return Shown((framed, *rest), prompt, _shares(images, region))


def hint(images: Images, region: Region, prompt: str, budget: Budget) -> Shown:
    """All images; a sentence before the prompt names the ninth of the first image in which the region's centre lies."""
    parts = list(dict.fromkeys(_ninth(box, images[0].size) for box in region.boxes))
    places = " and ".join(f"in the {part}" for part in parts)
    return Shown(images, f"The answer is {places} of the {_image(images)}.\n{prompt}", _shares(images, region))


def coordinates(images: Images, region: Region, prompt: str, budget: Budget) -> Shown:
    """All images; a sentence before the prompt gives the region's boxes, x0, y0, x1, y1 in thousandths of the image."""
    size = images[0].size * 2
    boxes = " and ".join(str([round(1000 * v / side) for v, side in zip(b, size, strict=True)]) for b in region.boxes)
    where = f"The answer is in the region {boxes} of the {_image(images)} (left, top, right, bottom, from 0 to 1000)."
    return Shown(images, f"{where}\n{prompt}", _shares(images, region))


def degraded(images: Images, region: Region | None, prompt: str, budget: Budget, scale: str = "0.5") -> Shown:
    """All images with fewer pixels: `scale`, or a share drawn from it, times the width and height.

    A model whose processor enlarges small images shows the loss of detail alone; others also take fewer tokens.
    """
    return Shown(tuple(reduced(image, scale_of(scale)) for image in images), prompt, _shares(images, region))


def scale_of(scale: str) -> tuple[float, float]:
    """`0.3-0.6` -> (0.3, 0.6), `0.5` -> (0.5, 0.5). Raises ValueError outside 0 to 1, both excluded."""
    parts = scale.split("-")
    try:
        low, high = float(parts[0]), float(parts[-1])
    except ValueError:
        low = high = 0.0
    if len(parts) > 2 or not 0 < low <= high < 1:
        raise ValueError(
            f"scale={scale} is out of range. Expected a number between 0 and 1, or a range such as 0.3-0.6."
        )
    return low, high


def _check_factor(factor: str, fill: str = "background") -> None:
    fills.check(fill)
    try:
        value = float(factor)
    except ValueError:
        value = 0.0
    if not 1 < value <= 16:
        raise ValueError(f"factor={factor} is out of range. Expected a number above 1, at most 16: how much wider.")


def _shares(images: Images, region: Region | None) -> tuple[float, ...]:
    """The shares of evidence if the images are those of the sample, at any scale."""
    if region is None or not region.evidence:
        return ()
    whole = (0.0, 0.0, float(images[0].width), float(images[0].height))
    return _share(region.evidence, whole), *(0.0 for _ in images[1:])


def _crop_shares(images: Images, region: Region) -> tuple[float, ...]:
    """The shares of evidence in the images of the region; empty for a crop that the benchmark ships."""
    if region.image is not None or not region.evidence:
        return ()
    shares = tuple(_share(region.evidence, box) for box in region.boxes)
    if parse_policy(region.policy)[0] != "mosaic":
        return shares
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in region.boxes]
    covered = sum(share * area for share, area in zip(shares, areas, strict=True))
    return (covered / _area(crop_images(images, region)[0].size),)


def _share(evidence: Sequence[Box], part: Box) -> float:
    """The share of a part of an image that evidence boxes cover."""
    x0, y0, x1, y1 = part
    clipped = [(max(x0, a), max(y0, b), min(x1, c), min(y1, d)) for a, b, c, d in evidence]
    inside = [(a, b, c, d) for a, b, c, d in clipped if a < c and b < d]
    return union_area(inside) / ((x1 - x0) * (y1 - y0)) if inside else 0.0


def _area(size: Size) -> int:
    return size[0] * size[1]


def _enlarged(view: str, image: Image, budget: Budget, factor: str) -> Image:
    """The image at `factor` times the full view's size, within the bounds. Raises SampleError if it cannot grow."""
    native, most = budget.size or image.size, budget.pixels.max_pixels
    size = (round(native[0] * float(factor)), round(native[1] * float(factor)))
    if most and _area(size) > most:
        size = largest_below(native, most)
    if math.sqrt(_area(size) / _area(native)) < LEAST_GAIN:
        raise SampleError(
            f"view `{view}`: the full image of {native[0]} x {native[1]} px already has about the {most} pixels that "
            "--max-pixels allows. Raise --max-pixels, or leave this view out."
        )
    before, after = budget.tokens(native), budget.tokens(size)
    if before is not None and after is not None and after <= before:
        raise SampleError(
            f"view `{view}`: the model's processor makes {before} tokens of the full image of {native[0]} x "
            f"{native[1]} px and {after} of one of {size[0]} x {size[1]} px, so it sees no more. Leave this view out, "
            "or raise the processor's own bound (--processor) if the model takes larger images."
        )
    return resized(image, size)


def _canvas(size: Size, whole: Size, budget: Budget) -> Size:
    """The smallest canvas for a part of `size` that is sent and processed at the scale of the full view, `whole`."""
    least = budget.pixels.min_pixels or 1
    most_tokens = budget.tokens(whole)
    for step in STEPS:
        canvas = _between(size, whole, step)
        if _area(canvas) < min(least, _area(whole)):
            continue
        tokens = budget.tokens(canvas) if most_tokens else None
        if tokens and most_tokens:
            if tokens * _area(whole) <= DENSER * most_tokens * _area(canvas):
                return canvas
        elif _area(canvas) >= UNKNOWN_LEAST:
            return canvas
    return _between(size, whole, 1.0)


def _between(size: Size, whole: Size, step: float) -> Size:
    """A size on the way from `size` to `whole`, in multiples of `GRID` where `whole` has room; never below `size`."""
    width, height = (
        max(own, min(full, GRID * math.ceil((own + step * (full - own)) / GRID)))
        for own, full in zip(size, whole, strict=True)
    )
    return width, height


def _framed(image: Image, canvas: Size, colour: fills.Rgb) -> Image:
    framed = fills.plain(canvas, colour)
    framed.paste(image, ((canvas[0] - image.width) // 2, (canvas[1] - image.height) // 2))
    return framed


def _ninth(box: Box, size: Size) -> str:
    """`upper left part`, `right part`, `middle`, …: where the centre of a box lies."""
    column = COLUMNS[min(2, int(3 * (box[0] + box[2]) / 2 / size[0]))]
    row = ROWS[min(2, int(3 * (box[1] + box[3]) / 2 / size[1]))]
    return " ".join(filter(None, (row, column, "part"))) if row or column else "middle"


def _image(images: Images) -> str:
    return "first image" if len(images) > 1 else "image"


_FILL = {"fill": "background"}
VIEWS: dict[str, ViewKind] = {
    "full": ViewKind(full),
    "crop": ViewKind(crop, True, shipped=True),
    "boxed": ViewKind(boxed, True),
    "hint": ViewKind(hint, True, trains=False),
    "coordinates": ViewKind(coordinates, True, trains=False),
    "mask": ViewKind(mask, True, _FILL, fills.check),
    "hide": ViewKind(hide, True, _FILL, fills.check),
    "crop_native": ViewKind(crop_native, True, shipped=True),
    "crop_up": ViewKind(crop_up, True, shipped=True),
    "full_up": ViewKind(full_up, defaults={"factor": "2"}, check=_check_factor),
    "full_up_mask": ViewKind(full_up_mask, True, {"factor": "2", **_FILL}, _check_factor),
    "full+crop": ViewKind(full_and_crop, True, shipped=True, trains=False),
    "random_crop": ViewKind(random_crop, True),
    "blank": ViewKind(blank),
    "blind": ViewKind(blind, trains=False),
    "degraded": ViewKind(degraded, defaults={"scale": "0.5"}, check=scale_of),
}
