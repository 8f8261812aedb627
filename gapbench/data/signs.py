"""The embedded benchmark: drawn scenes of coloured signs, with exact evidence boxes and no files to download.

    gapbench measure glance -b signs --out runs/glance
    gapbench measure Qwen/Qwen3-VL-4B-Instruct -b signs:canvas=2048 --out runs/qwen

A scene shows several signs; each has a colour, a shape and a letter. A question names one attribute of one sign and
asks for another ("Which letter is on the red sign?"), so the answer is known by construction and the sign's bounding
box is the evidence. `LARGE` scenes with lettered options suit any real model. `SMALL` ones suit the embedded model
`glance`, whose folder sets them as its defaults (`gapbench.json`). Everything is a parameter: canvas, number of signs,
size of signs, options, split, seed.

Limits: results on drawn images say nothing about natural ones. Pixels depend on Pillow's font rasteriser, so every
record keeps a hash of its images. Colour-blind readers cannot tell all eight fills apart.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal

from gapbench.errors import SettingError
from gapbench.types import Sample

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Category = Literal["letter", "colour", "shape"]
CATEGORIES: tuple[Category, ...] = ("letter", "colour", "shape")
SPLITS = ("train", "validation", "test", "holdout")

Colour = tuple[int, int, int]
# Name, fill and ink; the letter's ink is whichever of black and white is easier to read on the fill.
COLOURS: dict[str, tuple[Colour, Colour]] = {
    "red": ((208, 24, 32), (255, 255, 255)),
    "orange": ((255, 140, 0), (0, 0, 0)),
    "yellow": ((250, 218, 30), (0, 0, 0)),
    "green": ((20, 140, 50), (255, 255, 255)),
    "blue": ((25, 70, 205), (255, 255, 255)),
    "purple": ((125, 35, 160), (255, 255, 255)),
    "pink": ((255, 150, 195), (0, 0, 0)),
    "brown": ((120, 70, 30), (255, 255, 255)),
}
# Without A to D, the letters of options, so that the letter of a sign is never mistaken for one.
LETTERS = ("H", "K", "L", "M", "N", "P", "R", "T", "X", "Z")
SHAPES = ("circle", "square", "triangle", "diamond", "hexagon")
# Font size and height of the letter's centre, both as fractions of the sign's side, so that it fits the outline.
_LETTER_SIZE = {"circle": 0.74, "square": 0.84, "triangle": 0.56, "diamond": 0.62, "hexagon": 0.74}
_LETTER_HEIGHT = {"triangle": 0.66}


@dataclass(frozen=True)
class Style:
    """How scenes look. Sizes are sides in pixels, drawn log-uniformly; counts are inclusive.

    Raises SettingError for values with which no scene can be drawn.
    """

    canvas: int = 1344
    signs_min: int = 12
    signs_max: int = 20
    size_min: int = 20
    size_max: int = 120
    options: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.signs_min <= self.signs_max:
            found = f"signs_min={self.signs_min}, signs_max={self.signs_max}"
            raise SettingError(f"signs: {found}; expected 1 <= min <= max.")
        if not 8 <= self.size_min <= self.size_max <= self.canvas - 2:
            found = f"size_min={self.size_min}, size_max={self.size_max}, canvas={self.canvas}"
            expected = "8 <= size_min <= size_max <= canvas - 2 (a letter needs about 8 px)"
            raise SettingError(f"signs: {found}; expected {expected}.")


MAX_BARREN_SCENES = 20
"""`samples` gives up once it has drawn this many more scenes than samples; otherwise it might never end."""

LARGE = Style()
SMALL = Style(canvas=96, signs_min=3, signs_max=5, size_min=12, size_max=48, options=False)


@dataclass(frozen=True)
class Sign:
    """One sign; `box` is the square around its shape, xyxy in whole pixels."""

    colour: str
    shape: str
    letter: str
    box: tuple[int, int, int, int]

    def attribute(self, category: Category) -> str:
        """The sign's value for one of the three categories."""
        return str(getattr(self, category))


@dataclass(frozen=True)
class Scene:
    """The description from which `draw` makes an image: side of the canvas, seed of the background, and signs."""

    canvas: int
    background: int
    signs: tuple[Sign, ...]


def make_scene(rng: random.Random, style: Style) -> Scene:
    """A scene of `signs_min`..`signs_max` signs of random size without overlap. Raises SettingError if they do not fit.

    A colour or letter repeats only after all others are used, so that small scenes can name a sign by one attribute.
    """
    count = rng.randint(style.signs_min, style.signs_max)
    colours, letters = _deal(rng, tuple(COLOURS), count), _deal(rng, LETTERS, count)
    ratio = style.size_max / style.size_min
    for _ in range(100):
        sides = sorted((round(style.size_min * ratio ** rng.random()) for _ in range(count)), reverse=True)
        boxes = _place(rng, style.canvas, sides)
        if boxes:
            rng.shuffle(boxes)
            places = zip(colours, letters, boxes, strict=True)
            signs = tuple([Sign(colour, rng.choice(SHAPES), letter, box) for colour, letter, box in places])
            return Scene(style.canvas, rng.getrandbits(32), signs)
    fault = f"{count} signs of {style.size_min} to {style.size_max} px do not fit on a canvas of {style.canvas} px."
    raise SettingError(f"signs: {fault} Lower signs_max or size_max, or raise canvas.")


def draw(scene: Scene) -> Image:
    """The scene as an RGB image of `canvas` x `canvas` pixels, antialiased: drawn larger, then averaged."""
    from PIL import Image, ImageDraw

    scale = max(1, min(4, 1024 // scene.canvas))
    side = scene.canvas * scale
    rng = random.Random(scene.background)
    shade = rng.randint(205, 240)
    image = Image.new("RGB", (side, side), (shade, shade, min(255, shade + rng.randint(0, 12))))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(2, 5)):  # pale blocks, so that the background is not one flat colour
        x, y = rng.randint(-side // 4, side), rng.randint(-side // 4, side)
        w, h = rng.randint(side // 8, side // 2), rng.randint(side // 8, side // 2)
        tone = rng.randint(190, 250)
        pen.rectangle((x, y, x + w, y + h), fill=(tone, tone, tone))
    for sign in scene.signs:
        _draw_sign(pen, sign, scale)
    return image.reduce(scale) if scale > 1 else image


def question_for(scene: Scene, sign: Sign, category: Category) -> str | None:
    """The question for one attribute of one sign, or None if no single attribute or pair names that sign uniquely."""
    clue: Category = "letter" if category == "colour" else "colour"
    value = sign.attribute(clue)
    alike = [s for s in scene.signs if s.attribute(clue) == value]
    noun = "sign"
    if len(alike) > 1:
        if category == "shape" or sum(s.shape == sign.shape for s in alike) > 1:
            return None
        noun = sign.shape
    phrase = f"{noun} with the letter {value}" if clue == "letter" else f"{value} {noun}"
    if category == "letter":
        return f"Which letter is on the {phrase}?"
    return f"What {category} is the {phrase}?"


def samples(
    split: str = "test", samples: int = 1000, seed: int = 0, *, categories: str = ",".join(CATEGORIES), **style: Any
) -> Iterator[Sample]:
    """Exactly `samples` samples; the one to four of each scene share its image and are one cluster.

    The random stream of a scene is seeded by split, seed and index, so splits never share a scene. `style` holds fields
    of `Style`. `categories` names the attributes to ask for, separated by commas or plus signs. Raises SettingError for
    values with which no scene can be drawn, or no sign can be named.
    """
    if split not in SPLITS:
        raise SettingError(f"signs: split is {split!r}; it must be one of {', '.join(SPLITS)}.")
    if samples < 1:
        raise SettingError(f"signs: samples={samples}; expected at least 1.")
    look = Style(**style)
    attributes = set(filter(None, re.split(r"[,+\s]+", categories)))
    if not attributes or attributes - set(CATEGORIES):
        raise SettingError(f"signs: categories={categories!r}; expected some of {', '.join(CATEGORIES)}.")
    count = index = 0
    while count < samples:
        if index - count > MAX_BARREN_SCENES:
            fault = f"{look.signs_min} to {look.signs_max} signs are too many to name any of them uniquely."
            raise SettingError(f"signs: {fault} Lower signs_min and signs_max.")
        rng = random.Random(f"gapbench signs {split} {seed} {index}")
        scene = make_scene(rng, look)
        image = partial(draw, scene)
        pairs = [(sign, category) for sign in scene.signs for category in CATEGORIES if category in attributes]
        limit = min(rng.randint(1, 4), samples - count)
        named = [
            (sign, category, question)
            for sign, category in rng.sample(pairs, len(pairs))
            if (question := question_for(scene, sign, category))
        ][:limit]
        for number, (sign, category, question) in enumerate(named):
            x0, y0, x1, y1 = sign.box
            sample = Sample(
                id=f"{split}-{seed}-{index:05d}-{number}",
                image=image,
                question=question,
                answers=(sign.attribute(category),),
                boxes=((float(x0), float(y0), float(x1), float(y1)),),
                category=category,
                cluster=f"{split}-{seed}-{index:05d}",
            )
            yield _with_options(sample, rng, scene, category) if look.options else sample
        count += len(named)
        index += 1


def _with_styles(signature: inspect.Signature) -> inspect.Signature:
    """The signature of `samples` as a user sets it: with the fields of `Style`."""
    *first, categories, _ = signature.parameters.values()
    styles = [inspect.Parameter(f.name, categories.kind, default=f.default, annotation=f.type) for f in fields(Style)]
    return inspect.Signature([*first, *styles, categories])


samples.__signature__ = _with_styles(inspect.signature(samples))  # type: ignore[attr-defined]


def values(category: Category) -> tuple[str, ...]:
    """All possible answers of a category."""
    return {"letter": LETTERS, "colour": tuple(COLOURS), "shape": SHAPES}[category]


def _with_options(sample: Sample, rng: random.Random, scene: Scene, category: Category) -> Sample:
    """The sample with four lettered options; wrong ones come from other signs of the scene if it has enough."""
    right = sample.answers[0]
    seen = sorted({s.attribute(category) for s in scene.signs} - {right})
    unseen = [v for v in values(category) if v != right and v not in seen]
    wrong = (rng.sample(seen, len(seen)) + rng.sample(unseen, len(unseen)))[:3]
    options = [right, *wrong]
    rng.shuffle(options)
    return replace(sample, options=tuple(options), answers=("ABCD"[options.index(right)],), answer_type="letter")


def _deal(rng: random.Random, values: tuple[str, ...], count: int) -> list[str]:
    dealt: list[str] = []
    while len(dealt) < count:
        dealt += rng.sample(values, len(values))
    return dealt[:count]


def _place(rng: random.Random, canvas: int, sides: list[int]) -> list[tuple[int, int, int, int]]:
    """Boxes without overlap, in the order of `sides`; empty if one of them finds no room in 60 tries."""
    gap = max(2, canvas // 56)
    placed: list[tuple[int, int, int, int]] = []
    for side in sides:
        for _ in range(60):
            x, y = rng.randint(1, canvas - side - 1), rng.randint(1, canvas - side - 1)
            if all(
                x >= b[2] + gap or b[0] >= x + side + gap or y >= b[3] + gap or b[1] >= y + side + gap for b in placed
            ):
                placed.append((x, y, x + side, y + side))
                break
        else:
            return []
    return placed


def _draw_sign(pen: ImageDraw, sign: Sign, scale: int) -> None:
    fill, ink = COLOURS[sign.colour]
    x0, y0, x1, y1 = (v * scale for v in sign.box)
    x1, y1 = x1 - 1, y1 - 1  # Pillow includes the last pixel
    w, h = x1 - x0, y1 - y0
    if sign.shape == "circle":
        pen.ellipse((x0, y0, x1, y1), fill=fill)
    elif sign.shape == "square":
        pen.rectangle((x0, y0, x1, y1), fill=fill)
    else:
        corners = {
            "triangle": ((0.5, 0), (1, 1), (0, 1)),
            "diamond": ((0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)),
            "hexagon": ((0.25, 0), (0.75, 0), (1, 0.5), (0.75, 1), (0.25, 1), (0, 0.5)),
        }[sign.shape]
        pen.polygon([(x0 + a * w, y0 + b * h) for a, b in corners], fill=fill)
    font = _font(max(6, round(_LETTER_SIZE[sign.shape] * w)))
    middle = (x0 + w / 2, y0 + _LETTER_HEIGHT.get(sign.shape, 0.5) * h)
    pen.text(middle, sign.letter, fill=ink, font=font, anchor="mm", stroke_width=w * 0.012, stroke_fill=ink)


@lru_cache(maxsize=512)
def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)
