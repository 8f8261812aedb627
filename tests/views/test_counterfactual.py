"""Images without the evidence: of the size that is said, without what is said, and the same whenever they are made."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gapbench.errors import SampleError, SettingError
from gapbench.types import Box
from gapbench.views.counterfactual import MOST_OVERLAP, elsewhere, mean_coloured, reduced
from gapbench.views.regions import find_region
from gapbench.views.views import View, parse_view, parse_views


def noise(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


# --- fewer pixels --------------------------------------------------------------------------------------------------


def test_a_reduced_image_has_the_share_of_width_and_height() -> None:
    assert reduced(noise(60, 40), (0.5, 0.5)).size == (30, 20)
    assert reduced(noise(60, 40), (0.01, 0.01)).size == (1, 1), "never without a pixel"


def test_a_range_is_drawn_from_by_the_images_own_pixels() -> None:
    images = [noise(1000, 800, seed) for seed in range(40)]
    shares = [reduced(image, (0.3, 0.6)).width / image.width for image in images]
    assert 0.3 <= min(shares) < 0.35
    assert 0.55 < max(shares) <= 0.6
    assert shares == [reduced(image.copy(), (0.3, 0.6)).width / image.width for image in images]


def test_the_view_is_named_with_its_scale_except_the_default() -> None:
    assert parse_view("degraded:scale=0.50").name == parse_view("degraded").name == "degraded"
    assert [view.name for view in parse_views("full,degraded:scale=0.3-0.6,degraded:scale=0.40")] == [
        "full", "degraded:scale=0.3-0.6", "degraded:scale=0.4",
    ]  # fmt: skip
    (shown,) = parse_view("degraded:scale=0.25").show((noise(60, 40),), None, "?").images
    assert shown.size == (15, 10)
    assert parse_view("degraded").policy("padded:factor=2") == "padded:factor=2", "its scale is no region's parameter"


@pytest.mark.parametrize("scale", ["0", "1", "2", "half", "0.6-0.3", "0.1-0.2-0.3", "", "-0.5"])
def test_a_scale_that_reduces_nothing_or_all_is_refused(scale: str) -> None:
    with pytest.raises(SettingError, match=r"--views degraded:scale=.*Expected a number between 0 and 1, or a range"):
        parse_view(f"degraded:scale={scale}")


def test_a_parameter_that_degraded_does_not_take_is_named_with_the_one_that_it_takes() -> None:
    with pytest.raises(SettingError, match=r"'factor=2' is not understood. `degraded` takes scale, each once"):
        parse_view("degraded:factor=2")


# --- no content -------------------------------------------------------------------------------------


def test_a_mean_coloured_image_keeps_the_size_and_the_mean_alone() -> None:
    image = noise()
    shown = np.asarray(mean_coloured(image))
    assert shown.shape == (40, 60, 3)
    assert (shown == np.rint(np.asarray(image).mean((0, 1)))).all()
    first, second = parse_view("blank").show((image, noise(9, 7)), None, "?").images
    assert (first.size, second.size) == ((60, 40), (9, 7)), "every image of the sample"


# --- elsewhere -----------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 80), st.integers(2, 80), st.data())
def test_elsewhere_is_as_large_and_inside_and_free_of_the_box_where_there_is_room(
    width: int, height: int, data: st.DataObject
) -> None:
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    box, image = (float(x0), float(y0), float(x1), float(y1)), noise(width, height)
    w, h = x1 - x0, y1 - y0
    room = max(x0, width - x1) >= w or max(y0, height - y1) >= h
    try:
        found = elsewhere(image, box)
    except SampleError:
        assert not room
        return
    assert (found[2] - found[0], found[3] - found[1]) == (w, h)
    assert min(found) >= 0
    assert found[2] <= width
    assert found[3] <= height
    assert overlap(found, box) <= (0 if room else MOST_OVERLAP * w * h)
    assert elsewhere(image.copy(), box) == found


def test_elsewhere_differs_from_image_to_image() -> None:
    found = {elsewhere(noise(200, 200, seed), (90.0, 90.0, 110.0, 110.0)) for seed in range(30)}
    assert len(found) > 25
    sides = {(x < 90, x > 90, y < 90, y > 90) for x, y, _, _ in found}
    assert len(sides) >= 4


def test_without_room_it_is_the_corner_with_least_of_the_box_and_with_none_an_error() -> None:
    assert elsewhere(noise(100, 100), (10.0, 10.0, 65.0, 65.0)) == (45.0, 45.0, 100.0, 100.0)
    with pytest.raises(SampleError, match=r"`random_crop`: the region of 90 x 90 px leaves no room .* 100 x 100 px"):
        elsewhere(noise(100, 100), (5.0, 5.0, 95.0, 95.0))


def test_a_random_crop_is_cut_from_elsewhere() -> None:
    image, box = noise(), (3.0, 4.0, 10.0, 9.0)
    region = find_region("union", [box], image.size)
    (shown,) = parse_view("random_crop").show((image, noise(9, 7)), region, "?").images
    assert (np.asarray(shown) == np.asarray(image.crop(elsewhere(image, box)))).all()


@pytest.mark.parametrize("view", ["hide", "random_crop"])
def test_a_shipped_crop_without_a_box_says_nothing_of_where_the_evidence_is(view: str) -> None:
    shipped = find_region("native", [], (10, 10), Image.new("RGB", (3, 3)))
    with pytest.raises(SampleError, match=f"view `{view}`: no region with a box"):
        View(view).show((noise(10, 10),), shipped, "?")
