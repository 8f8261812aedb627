"""Views: what each shows, what it needs, and how it is named."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gapbench.errors import SampleError, SettingError
from gapbench.types import Box
from gapbench.views.kinds import VIEWS
from gapbench.views.pixels import Budget, Pixels
from gapbench.views.regions import Region, find_region, mosaic
from gapbench.views.views import GROUPS, View, parse_view, parse_views


def images_of(view: str, images: tuple[Image.Image, ...], region: Region | None) -> tuple[Image.Image, ...]:
    return parse_view(view).show(images, region, "Which letter?").images


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
            with pytest.raises(SampleError, match=re.escape(f"view `{name}`")):
                images_of(name, (Image.new("RGB", (5, 5)),), None)
        else:
            images_of(name, (Image.new("RGB", (5, 5)),), None)


def test_a_view_hands_on_the_prompt_and_some_put_a_sentence_before_it() -> None:
    region = find_region("union", [(1, 1, 2, 2)], (5, 5))
    for name in VIEWS:
        prompt = parse_view(name).show((Image.new("RGB", (5, 5)),), region, "Which letter?").prompt
        sentence, found, after = prompt.rpartition("Which letter?")
        assert (found, after) == ("Which letter?", "")
        assert bool(sentence) == (name in ("hint", "coordinates")), name


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
    with pytest.raises(SettingError, match=r"--views crop:factor=2: .*`square` takes min_side"):
        parse_view("crop:factor=2").policy("square")
    with pytest.raises(SettingError, match=r"--views crop:factor=2,region=union: .*`union` takes no parameters"):
        parse_view("crop:region=union,factor=2").policy("padded")


@pytest.mark.parametrize("policy", ["union", "native"])
def test_a_policy_without_parameters_gives_way_to_padded_where_a_view_has_some(policy: str) -> None:
    assert parse_view("crop:factor=2").policy(policy) == "padded:factor=2"
    assert parse_view("crop").policy(policy) == policy


# --- groups and names ------------------------------------------------------------------------------------------------


def test_a_group_stands_for_its_views_and_none_comes_twice() -> None:
    assert [view.name for view in parse_views("standard")] == ["full", "crop"]
    names = [view.name for view in parse_views("cures,blind,factorial,full,crop_up")]
    assert names[:5] == ["full", "crop", "full_up", "boxed", "full+crop"]
    assert len(names) == len(set(names)) == len({*GROUPS["cures"], *GROUPS["factorial"], "blind", "crop_up"})
    for group, views in GROUPS.items():
        assert tuple(view.name for view in parse_views(group)) == views, "each under the name that its records have"


def test_a_parameter_at_its_default_is_no_part_of_the_name() -> None:
    assert parse_view("mask:fill=background").name == "mask"
    assert parse_view("full_up_mask:fill=white,factor=2.0").name == "full_up_mask:fill=white"
    assert parse_view("mask:fill=blur,factor=2").policy("padded") == "padded:factor=2", "the other is the region's"
    assert parse_view("full_up_mask:factor=3").policy("padded") == "padded", "how much the image is enlarged"


@pytest.mark.parametrize("view", ["mask:fill=pink", "hide:fill=#12345", "full_up:factor=1", "full_up:factor=wide"])
def test_a_value_that_a_view_cannot_have_is_refused(view: str) -> None:
    with pytest.raises(SettingError, match=f"--views {view}: .*Expected"):
        parse_view(view)


# --- surroundings and resolution -------------------------------------------------------------------------------------


def scene() -> tuple[Image.Image, Region]:
    """A yellow image of 200 x 100 with a red patch, and its region of 40 x 20."""
    image, box = Image.new("RGB", (200, 100), "yellow"), (150, 60, 190, 80)
    image.paste("red", box)
    image.paste("blue", (20, 20, 60, 60))
    return image, find_region("union", [(150.0, 60.0, 190.0, 80.0)], image.size)


def colours(image: Image.Image) -> set[object]:
    return {colour for _, colour in image.getcolors(image.width * image.height) or ()}


def test_the_four_cells_differ_in_surroundings_or_in_size_alone() -> None:
    image, region = scene()
    (full, mask, full_up, full_up_mask) = (
        parse_view(name).show((image,), region) for name in ("full", "mask", "full_up", "full_up_mask")
    )
    assert (full.images[0].size, mask.images[0].size) == ((200, 100), (200, 100))
    assert (full_up.images[0].size, full_up_mask.images[0].size) == ((400, 200), (400, 200))
    assert colours(mask.images[0]) == {(255, 255, 0), (255, 0, 0)}, "no blue, and yellow is the background"
    inside = (150, 60, 190, 80)
    assert np.array_equal(np.asarray(mask.images[0].crop(inside)), np.asarray(image.crop(inside)))
    enlarged = mask.images[0].resize((400, 200), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(full_up_mask.images[0]), np.asarray(enlarged))
    assert full.evidence == mask.evidence == full_up.evidence == full_up_mask.evidence == (0.04,)


def test_an_image_is_enlarged_within_the_bounds_or_not_available() -> None:
    image, region = scene()
    view = parse_view("full_up:factor=4")
    bounded = Budget((200, 100), Pixels(max_pixels=45_000))
    assert view.show((image,), region, "?", bounded).images[0].size == (300, 150)
    with pytest.raises(SampleError, match=r"`full_up`: the full image of 200 x 100 px already has about the 21000"):
        view.show((image,), region, "?", Budget((200, 100), Pixels(max_pixels=21_000)))
    with pytest.raises(SampleError, match=r"makes 64 tokens of the full image .* and 64 of one of 800 x 400 px"):
        view.show((image,), region, "?", Budget((200, 100), tokens=lambda size: 64))


def test_crop_up_has_the_pixels_of_the_full_view() -> None:
    image, region = scene()
    for size in ((200, 100), (400, 200)):
        (shown,) = parse_view("crop_up").show((image,), region, "?", Budget(size)).images
        assert shown.size == size, "the region has the image's shape"
    parts = find_region("multi:factor=1,min_side=1", [(0, 0, 10, 10), (50, 50, 60, 60)], image.size)
    assert [part.size for part in parse_view("crop_up").show((image,), parts).images] == [(100, 100), (100, 100)]


def test_crop_native_keeps_the_scale_on_the_smallest_canvas_that_is_not_enlarged() -> None:
    image, region = scene()

    def least_4096(size: tuple[int, int]) -> int:
        """Tokens of 64 pixels; smaller images are enlarged to 4096."""
        return max(4096, size[0] * size[1]) // 64

    def of_one_size(size: tuple[int, int]) -> int:
        return 256

    for tokens, expected in ((least_4096, (96, 64)), (of_one_size, (200, 100)), (lambda size: None, (200, 100))):
        shown = parse_view("crop_native").show((image,), region, "?", Budget((200, 100), tokens=tokens))
        (framed,) = shown.images
        assert framed.size == expected
        assert framed.getcolors() == [(framed.width * framed.height - 800, (255, 255, 0)), (800, (255, 0, 0))]
        assert shown.evidence == (800 / (framed.width * framed.height),)
    (halved,) = parse_view("crop_native").show((image,), region, "?", Budget((100, 50), tokens=of_one_size)).images
    assert halved.getcolors() == [(100 * 50 - 200, (255, 255, 0)), (200, (255, 0, 0))], "as the full view is sent"


def test_full_and_crop_shows_both_and_the_full_image_first() -> None:
    image, region = scene()
    shown = parse_view("full+crop").show((image,), region)
    assert [part.size for part in shown.images] == [(200, 100), (40, 20)]
    assert shown.evidence == (0.04, 1.0)


# --- evidence --------------------------------------------------------------------------------------------------------


def test_evidence_is_its_share_of_each_image_that_is_shown() -> None:
    image, _ = scene()
    boxes = [(150.0, 60.0, 190.0, 80.0), (0.0, 0.0, 10.0, 10.0)]
    region = find_region("multi:factor=2,min_side=1", boxes, image.size)
    other = Image.new("RGB", (9, 9))
    assert parse_view("full").show((image, other), region).evidence == (900 / 20_000, 0.0)
    assert parse_view("crop").show((image, other), region).evidence == (0.25, 0.25)
    assert parse_view("hide").show((image, other), region).evidence == (0.0, 0.0)
    assert parse_view("blind").show((image, other), region).evidence == ()
    joined = find_region("mosaic:factor=1,min_side=1", boxes, image.size)
    shown = parse_view("crop").show((image,), joined)
    assert shown.evidence == (900 / (shown.images[0].width * shown.images[0].height),)
    shipped = find_region("native", [], image.size, other)
    assert parse_view("crop").show((image,), shipped).evidence == (), "nobody knows"


# --- pointing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 20, 10), "in the upper left part"), ((90, 45, 110, 55), "in the middle"),
        ((180, 40, 200, 60), "in the right part"), ((90, 90, 110, 100), "in the lower part"),
    ],
)  # fmt: skip
def test_a_hint_says_where_in_words_and_coordinates_say_it_in_thousandths(
    box: tuple[float, float, float, float], words: str
) -> None:
    images = (Image.new("RGB", (200, 100)), Image.new("RGB", (5, 5)))
    region = find_region("union", [box], images[0].size)
    assert parse_view("hint").show(images[:1], region, "?").prompt == f"The answer is {words} of the image.\n?"
    assert "of the first image" in parse_view("hint").show(images, region, "?").prompt
    numbers = [round(value / side * 1000) for value, side in zip(box, (200, 100) * 2, strict=True)]
    assert (
        f" {numbers} of the image (left, top, right, bottom"
        in parse_view("coordinates").show(images[:1], region, "?").prompt
    )


def test_a_hint_names_each_part_once() -> None:
    image = Image.new("RGB", (300, 300))
    region = find_region(
        "multi:factor=1,min_side=1", [(0, 0, 9, 9), (20, 20, 30, 30), (290, 290, 300, 300)], image.size
    )
    prompt = parse_view("hint").show((image,), region, "?").prompt
    assert prompt == "The answer is in the upper left part and in the lower right part of the image.\n?"
