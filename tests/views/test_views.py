"""Views: what each shows, what it needs, and how it is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gapbench.errors import SampleError, SettingError
from gapbench.types import Box
from gapbench.views.regions import Region, find_region, mosaic
from gapbench.views.views import VIEWS, View, parse_view, parse_views


def images_of(view: str, images: tuple[Image.Image, ...], region: Region | None) -> tuple[Image.Image, ...]:
    return parse_view(view).show(images, region, "Which letter?", 0).images


def seen(view: str, image: Image.Image, region: Region | None) -> Image.Image:
    """The one image that a view of one image shows."""
    (result,) = images_of(view, (image,), region)
    return result


def patches() -> tuple[Image.Image, list[Box]]:
    """Three patches, red, green and blue, and their boxes."""
    image, boxes = Image.new("RGB", (200, 100), "white"), [(5, 5, 25, 35), (150, 60, 190, 80), (80, 50, 90, 60)]
    for colour, box in zip(("red", "lime", "blue"), boxes, strict=True):
        image.paste(colour, box)
    return image, [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in boxes]


def test_multi_shows_one_image_per_box_and_mosaic_the_same_in_one() -> None:
    image, boxes = patches()
    exact = "factor=1,min_side=1"
    crops = images_of("crop", (image,), find_region(f"multi:{exact}", boxes, image.size))
    assert [(p.size, p.getcolors()) for p in crops] == [
        ((20, 30), [(600, (255, 0, 0))]),
        ((40, 20), [(800, (0, 255, 0))]),
        ((10, 10), [(100, (0, 0, 255))]),
    ]
    combined = seen("crop", image, find_region(f"mosaic:{exact}", boxes, image.size))
    assert np.array_equal(np.asarray(combined), np.asarray(mosaic(crops)))


def test_further_images_are_shown_after_the_first_except_beside_a_crop() -> None:
    images = tuple(Image.new("RGB", (50 + i, 50)) for i in range(3))
    region = find_region("union", [(5, 5, 9, 9)], images[0].size)
    assert images_of("full", images, region) == images
    assert images_of("boxed", images, region)[1:] == images[1:]
    assert [p.size for p in images_of("crop", images, region)] == [(4, 4)]


def test_boxed_frames_every_box_of_a_region_and_hides_none() -> None:
    image, _ = patches()
    boxes = [(20.0, 20.0, 60.0, 60.0), (55.0, 30.0, 90.0, 50.0), (150.0, 10.0, 190.0, 90.0)]
    region = find_region("multi:factor=1,min_side=1", boxes, image.size)
    framed = seen("boxed", image, region)
    for box in region.boxes:
        x0, y0, x1, y1 = map(int, box)
        inside = (x0, y0, x1, y1)
        assert np.array_equal(np.asarray(framed.crop(inside)), np.asarray(image.crop(inside)))
        assert framed.getpixel((x1, y1)) == (255, 0, 0)


@settings(deadline=None)
@given(st.integers(0, 90), st.integers(0, 90), st.integers(1, 60), st.integers(1, 60))
def test_boxed_is_the_whole_image_with_a_red_frame_around_the_region(x: int, y: int, w: int, h: int) -> None:
    image = Image.new("RGB", (150, 150), "white")
    pixels = np.asarray(seen("boxed", image, find_region("union", [(x, y, x + w, y + h)], image.size)))
    red = (pixels != 255).any(-1)
    assert (pixels[red] == (255, 0, 0)).all()
    assert red.any() or (x, y, x + w, y + h) == (0, 0, 150, 150)
    outside, inside = np.ones((150, 150), dtype=bool), np.zeros((150, 150), dtype=bool)
    outside[max(0, y - 5) : y + h + 5, max(0, x - 5) : x + w + 5] = False
    inside[y : y + h, x : x + w] = True
    assert not red[outside | inside].any(), "the frame hides nothing of the region, and 5 px further all is as it was"
    assert (np.asarray(image) == 255).all(), "the image itself is left as it is"


def test_boxed_needs_a_box_and_not_only_a_crop() -> None:
    shipped = find_region("native", [], (10, 10), Image.new("RGB", (3, 3)))
    with pytest.raises(SampleError, match="boxed"):
        images_of("boxed", (Image.new("RGB", (10, 10)),), shipped)


def test_a_view_that_needs_a_region_says_so() -> None:
    for name, kind in VIEWS.items():
        if kind.needs_region:
            with pytest.raises(SampleError, match=name):
                images_of(name, (Image.new("RGB", (5, 5)),), None)
        else:
            images_of(name, (Image.new("RGB", (5, 5)),), None)


def test_a_view_hands_on_the_prompt() -> None:
    region = find_region("union", [(1, 1, 4, 4)], (5, 5))
    for name in VIEWS:
        assert parse_view(name).show((Image.new("RGB", (5, 5)),), region, "Which letter?", 0).prompt == "Which letter?"


def test_a_part_with_an_equals_sign_belongs_to_the_view_before_it() -> None:
    views = parse_views("full, crop:factor=2,min_side=30 ,boxed,crop")
    assert [view.name for view in views] == ["full", "crop:factor=2,min_side=30", "boxed", "crop"]
    assert parse_views(["full", "crop:min_side=30,factor=2"]) == (View("full"), views[1]), "a list is read as well"


def test_equal_parameters_have_one_name() -> None:
    assert parse_view("crop:min_side=30,factor=2.0").name == parse_view(" crop : factor=2, min_side = 30").name
    assert parse_view("crop:min_side=1000000,factor=1.23456789").name == "crop:factor=1.23456789,min_side=1000000"
    with pytest.raises(SettingError, match="each once"):
        parse_views("crop:factor=2,crop:factor=2.0")


def test_parameters_of_a_view_change_the_policy_of_its_task() -> None:
    assert parse_view("crop").policy("padded:min_side=30") == "padded:min_side=30"
    assert parse_view("crop:factor=2").policy("padded:min_side=30") == "padded:factor=2,min_side=30"
    assert parse_view("boxed:region=union").policy("padded:min_side=30") == "union"
    assert parse_view("crop:region=multi,factor=3").policy("native") == "multi:factor=3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected one or more of full, crop, boxed"),
        ("full,full", "each once"),
        ("zoom", "there is no view 'zoom'"),
        ("full:factor=2", "`full` takes no parameters"),
        ("crop:factor", "'factor' is not understood"),
        ("crop:factor=2,factor=3", "each once"),
        ("crop:region=circle", "Region policy 'circle' is unknown"),
    ],
)
def test_views_that_make_no_sense_are_named(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse_views(text)


def test_a_parameter_that_the_policy_does_not_take_is_named_with_the_view() -> None:
    with pytest.raises(SettingError, match=r"--views crop:factor=2: .*`union` takes no parameters"):
        parse_view("crop:factor=2").policy("union")
