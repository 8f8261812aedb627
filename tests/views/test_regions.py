"""Regions hold the evidence and stay in the image; the crop shows only the region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gapbench.errors import SampleError, SettingError
from gapbench.types import Box
from gapbench.views.kinds import VIEWS
from gapbench.views.pixels import Budget
from gapbench.views.regions import (
    MOSAIC_SPACING,
    REGIONS,
    Region,
    find_region,
    mosaic,
    padded,
    parse_policy,
    square,
    union,
)


def seen(view: str, image: Image.Image, region: Region | None) -> Image.Image:
    """The one image that a view of one image shows."""
    (result,) = VIEWS[view].show((image,), region, "", Budget()).images
    return result


@st.composite
def evidence(draw: st.DrawFn) -> tuple[list[Box], tuple[int, int]]:
    """One to four boxes inside an image, and its size."""
    width, height = draw(st.integers(1, 4000)), draw(st.integers(1, 4000))

    def edges(limit: int) -> tuple[float, float]:
        low, high = sorted((draw(st.floats(0, limit)), draw(st.floats(0, limit))))
        return (low, high) if high - low > 1e-3 else (0.0, float(limit))

    boxes = []
    for _ in range(draw(st.integers(1, 4))):
        (x0, x1), (y0, y1) = edges(width), edges(height)
        boxes.append((x0, y0, x1, y1))
    return boxes, (width, height)


FACTOR = st.floats(1, 10)
MIN_SIDE = st.integers(1, 5000)


@settings(deadline=None)
@given(evidence())
def test_the_union_is_the_smallest_whole_pixel_box_around_all_evidence(case: tuple[list[Box], tuple[int, int]]) -> None:
    boxes, size = case
    x0, y0, x1, y1 = union(boxes, size)
    assert all(v.is_integer() for v in (x0, y0, x1, y1))
    assert 0 <= x0 <= min(b[0] for b in boxes) < x0 + 1
    assert 0 <= y0 <= min(b[1] for b in boxes) < y0 + 1
    assert x1 - 1 < max(b[2] for b in boxes) <= x1 <= size[0]
    assert y1 - 1 < max(b[3] for b in boxes) <= y1 <= size[1]


@settings(deadline=None)
@given(evidence(), FACTOR, MIN_SIDE)
def test_padded_holds_the_union_inside_the_image(
    case: tuple[list[Box], tuple[int, int]], factor: float, min_side: int
) -> None:
    boxes, size = case
    inner, outer = union(boxes, size), padded(boxes, size, factor, min_side)
    assert all(v.is_integer() for v in outer)
    assert 0 <= outer[0] <= inner[0] < inner[2] <= outer[2] <= size[0]
    assert 0 <= outer[1] <= inner[1] < inner[3] <= outer[3] <= size[1]


@settings(deadline=None)
@given(evidence(), FACTOR, MIN_SIDE)
def test_padded_has_the_requested_size_wherever_the_image_allows(
    case: tuple[list[Box], tuple[int, int]], factor: float, min_side: int
) -> None:
    boxes, size = case
    inner, outer = union(boxes, size), padded(boxes, size, factor, min_side)
    for axis in (0, 1):
        side = inner[axis + 2] - inner[axis]
        expected = min(size[axis], max(min_side, side * factor))
        assert abs(outer[axis + 2] - outer[axis] - expected) <= 0.5


@settings(deadline=None)
@given(evidence(), FACTOR, MIN_SIDE)
def test_padded_is_centred_unless_the_border_is_in_the_way(
    case: tuple[list[Box], tuple[int, int]], factor: float, min_side: int
) -> None:
    boxes, size = case
    inner, outer = union(boxes, size), padded(boxes, size, factor, min_side)
    for axis in (0, 1):
        low, high = outer[axis], outer[axis + 2]
        if low > 0 and high < size[axis]:
            assert abs((low + high) - (inner[axis] + inner[axis + 2])) <= 1


def test_padded_by_hand() -> None:
    assert padded([(100, 100, 200, 150)], (1000, 1000), factor=2, min_side=16) == (50, 75, 250, 175)
    assert padded([(0, 0, 100, 50)], (1000, 1000), factor=2, min_side=16) == (0, 0, 200, 100)  # moved, not cut
    assert padded([(4, 4, 6, 6)], (10, 1000), factor=1, min_side=16) == (0, 0, 10, 16)  # cut where it must be


@settings(deadline=None)
@given(evidence(), MIN_SIDE)
def test_square_is_a_square_around_the_union_wherever_the_image_allows(
    case: tuple[list[Box], tuple[int, int]], min_side: int
) -> None:
    boxes, size = case
    inner, outer = union(boxes, size), square(boxes, size, min_side)
    side = max(min_side, inner[2] - inner[0], inner[3] - inner[1])
    assert all(v.is_integer() for v in outer)
    for axis in (0, 1):
        low, high = outer[axis], outer[axis + 2]
        assert 0 <= low <= inner[axis] < inner[axis + 2] <= high <= size[axis]
        assert high - low == min(side, size[axis])
        if low > 0 and high < size[axis]:
            assert abs((low + high) - (inner[axis] + inner[axis + 2])) <= 1


def test_square_by_hand() -> None:
    assert square([(500, 500, 520, 510)], (1000, 1000)) == (398, 393, 622, 617)
    assert square([(0, 0, 20, 10)], (1000, 1000)) == (0, 0, 224, 224)  # moved, not cut
    assert square([(100, 100, 500, 110)], (1000, 300)) == (100, 0, 500, 300)  # cut where it must be


# --- policies --------------------------------------------------------------------------------------------------


def test_a_policy_s_parameters_reach_it() -> None:
    assert parse_policy("padded:factor=2,min_side=224") == ("padded", {"factor": 2.0, "min_side": 224.0})
    assert parse_policy("union") == ("union", {})
    box = find_region("padded:factor=3,min_side=10", [(50, 50, 60, 60)], (200, 200)).box
    assert box == (40, 40, 70, 70)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("padde", r"Known are native, union, padded\[:factor=,min_side=\], square\[:min_side=\], multi"),
        ("", "Known are"),
        ("padded:size=3", "factor and min_side"),
        ("padded:factor", "factor and min_side"),
        ("padded:factor=wide", "positive numbers"),
        ("padded:factor=-1", "positive numbers"),
        ("padded:factor=nan", "positive numbers"),
        ("padded:min_side=inf", "positive numbers"),
        ("padded:factor=0.5", "at least 1"),
        ("padded:min_side=10.5", "whole number"),
        ("union:factor=2", "no parameters"),
        ("square:factor=2", r"takes min_side.*square:min_side=224"),
        ("multi:factor=0.5", "at least 1"),
        ("mosaic:side=5", "factor and min_side"),
        ("padded:factor=1.2,factor=2", "'factor' is given twice"),
    ],
)
def test_a_policy_that_is_not_understood_is_refused(policy: str, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        parse_policy(policy)


@pytest.mark.parametrize("policy", REGIONS)
def test_no_evidence_is_the_sample_s_failure_and_names_the_policy(policy: str) -> None:
    with pytest.raises(SampleError, match=policy):
        find_region(policy, [], (10, 10))


def test_native_shows_the_crop_that_was_shipped() -> None:
    image, shipped = Image.new("RGB", (100, 100)), Image.new("RGB", (7, 9), "red")
    region = find_region("native", [(1.5, 2, 3, 4)], image.size, shipped)
    assert seen("crop", image, region) is shipped
    assert region.box == (1, 2, 3, 4)
    assert find_region("native", [], image.size, shipped).box is None


@settings(deadline=None)
@given(evidence(), st.sampled_from(["multi", "mosaic"]), FACTOR, MIN_SIDE)
def test_multi_and_mosaic_pad_every_box_on_its_own_in_their_order(
    case: tuple[list[Box], tuple[int, int]], policy: str, factor: float, min_side: int
) -> None:
    boxes, size = case
    region = find_region(f"{policy}:factor={factor},min_side={min_side}", boxes, size)
    assert region.boxes == tuple(padded([box], size, factor, min_side) for box in boxes)
    assert region.box == union(region.boxes, size)


@pytest.mark.parametrize("policy", ["union", "padded", "square"])
def test_the_other_policies_cut_out_one_box(policy: str) -> None:
    region = find_region(policy, [(5, 5, 9, 9), (90, 40, 95, 50)], (300, 300))
    assert region.boxes == (region.box,)


# --- mosaics ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=12))
def test_a_mosaic_shows_every_part_once_whole_and_in_order(sizes: list[tuple[int, int]]) -> None:
    parts = tuple(Image.new("RGB", size, (number, 0, 0)) for number, size in enumerate(sizes))
    pixels = np.asarray(mosaic(parts))
    corners = []
    for number, (width, height) in enumerate(sizes):
        ys, xs = np.nonzero((pixels == (number, 0, 0)).all(-1))
        assert len(xs) == width * height
        assert (np.ptp(xs) + 1, np.ptp(ys) + 1) == (width, height)
        corners.append((ys.min(), xs.min()))
    assert corners == sorted(corners), "left to right, then down"
    assert ((pixels == 255).all(-1) | (pixels[..., 1:] == 0).all(-1)).all(), "and nothing else but white"
    assert (pixels[-1] != 255).any(), "no empty row"
    assert (pixels[:, -1] != 255).any(), "no empty column"


def test_a_mosaic_is_roughly_square() -> None:
    squares = tuple(Image.new("RGB", (40, 40)) for _ in range(9))
    assert mosaic(squares).size == (3 * 40 + 2 * MOSAIC_SPACING, 3 * 40 + 2 * MOSAIC_SPACING)
    assert mosaic(squares[:2]).size == (80 + MOSAIC_SPACING, 40), "as many in a row as may be"
    assert mosaic((Image.new("RGB", (200, 10)),) * 5).size == (200, 5 * 10 + 4 * MOSAIC_SPACING)
    assert mosaic(squares[:1]) is squares[0]


# --- views -----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 90), st.integers(0, 90), st.integers(1, 60), st.integers(1, 60))
def test_the_crop_of_a_coloured_rectangle_is_that_colour_only(x: int, y: int, w: int, h: int) -> None:
    image = Image.new("RGB", (150, 150), "white")
    image.paste((200, 30, 40), (x, y, x + w, y + h))
    cropped = seen("crop", image, find_region("union", [(x, y, x + w, y + h)], image.size))
    assert cropped.size == (w, h)
    assert (np.asarray(cropped) == (200, 30, 40)).all()


def test_full_is_the_image_itself() -> None:
    image = Image.new("RGB", (5, 5))
    assert seen("full", image, None) is image


def patches() -> tuple[Image.Image, list[Box]]:
    """Three patches, red, green and blue, and their boxes."""
    image, boxes = Image.new("RGB", (200, 100), "white"), [(5, 5, 25, 35), (150, 60, 190, 80), (80, 50, 90, 60)]
    for colour, box in zip(("red", "lime", "blue"), boxes, strict=True):
        image.paste(colour, box)
    return image, [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in boxes]
