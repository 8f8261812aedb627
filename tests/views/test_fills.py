"""Fills: what is filled, with what, and that the rest stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gapbench.types import Box
from gapbench.views.fills import background, check, filled, mean

BOXES: tuple[Box, ...] = ((3.0, 4.0, 10.0, 9.0), (20.0, 20.0, 30.0, 40.0))
FILLS = ("background", "mean", "blur", "white", "grey", "black", "#0a141e")


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.mark.parametrize("fill", FILLS)
def test_the_boxes_or_all_but_the_boxes_are_filled(fill: str) -> None:
    image, covered = noise(), np.zeros((40, 60), dtype=bool)
    for x0, y0, x1, y1 in BOXES:
        covered[int(y0) : int(y1), int(x0) : int(x1)] = True
    pixels, inside = np.asarray(image), np.asarray(filled(image, BOXES, fill))
    outside = np.asarray(filled(image, BOXES, fill, outside=True))
    assert (inside[~covered] == pixels[~covered]).all()
    assert (outside[covered] == pixels[covered]).all()
    assert (inside[covered] != pixels[covered]).any(-1).mean() > 0.9
    assert (outside[~covered] != pixels[~covered]).any(-1).mean() > 0.9
    if fill != "blur":
        assert len(np.unique(inside[covered], axis=0)) == 1
        assert (inside[covered][0] == outside[~covered][0]).all(), "one colour, whichever part it covers"
    assert np.array_equal(pixels, np.asarray(noise())), "the image itself is left as it is"


def test_a_fill_has_the_colour_that_it_names() -> None:
    colours = {"white": (255, 255, 255), "grey": (128, 128, 128), "#0a141e": (10, 20, 30), "mean": mean(noise())}
    for fill, colour in colours.items():
        assert filled(noise(), BOXES, fill).getpixel((4, 5)) == colour


def test_the_background_is_the_most_common_colour_of_the_border_outside_the_boxes() -> None:
    image = Image.new("RGB", (400, 300), (200, 205, 210))
    image.paste((255, 0, 0), (40, 30, 360, 270))  # most of the image, but not of its border
    image.paste((0, 0, 90), (0, 0, 120, 300))
    assert background(image) == (200, 205, 210)
    image.paste((0, 0, 90), (0, 0, 300, 300))
    assert background(image) == (0, 0, 90)
    assert background(image, [(0.0, 0.0, 300.0, 300.0)]) == (200, 205, 210), "a box is not its own background"
    assert background(image, [(0.0, 0.0, 400.0, 300.0)]) == (0, 0, 90), "boxes everywhere: of all the border"


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 2), (5000, 3)])
def test_an_image_of_any_size_has_a_background(size: tuple[int, int]) -> None:
    assert background(Image.new("RGB", size, (1, 2, 3))) == (1, 2, 3)


def test_an_unknown_fill_is_refused_with_those_that_are_known() -> None:
    for fill in FILLS:
        check(fill)
    with pytest.raises(ValueError, match=r"no fill 'pink'. Expected background, mean, blur, white.* #ff8800"):
        check("pink")
