"""Regions hold the evidence and stay in the picture; the crop shows the region and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gapbench.errors import SampleError, SettingError
from gapbench.types import Box
from gapbench.views import NEEDS_REGION, REGIONS, VIEWS, find_region, padded, parse_policy, union


@st.composite
def evidence(draw: st.DrawFn) -> tuple[list[Box], tuple[int, int]]:
    """One to four boxes inside a picture, and its size."""
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
def test_padded_holds_the_union_inside_the_picture(
    case: tuple[list[Box], tuple[int, int]], factor: float, min_side: int
) -> None:
    boxes, size = case
    inner, outer = union(boxes, size), padded(boxes, size, factor, min_side)
    assert all(v.is_integer() for v in outer)
    assert 0 <= outer[0] <= inner[0] < inner[2] <= outer[2] <= size[0]
    assert 0 <= outer[1] <= inner[1] < inner[3] <= outer[3] <= size[1]


@settings(deadline=None)
@given(evidence(), FACTOR, MIN_SIDE)
def test_padded_has_the_size_asked_for_wherever_the_picture_allows(
    case: tuple[list[Box], tuple[int, int]], factor: float, min_side: int
) -> None:
    boxes, size = case
    inner, outer = union(boxes, size), padded(boxes, size, factor, min_side)
    for axis in (0, 1):
        side = inner[axis + 2] - inner[axis]
        wanted = min(size[axis], max(min_side, side * factor))
        assert abs(outer[axis + 2] - outer[axis] - wanted) <= 0.5


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


# --- policies --------------------------------------------------------------------------------------------------


def test_a_policy_s_parameters_reach_it() -> None:
    assert parse_policy("padded:factor=2,min_side=224") == ("padded", {"factor": 2.0, "min_side": 224.0})
    assert parse_policy("union") == ("union", {})
    box = find_region("padded:factor=3,min_side=10", [(50, 50, 60, 60)], (200, 200)).box
    assert box == (40, 40, 70, 70)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("padde", "Known are native, padded, union"),
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
    ],
)
def test_a_policy_that_is_not_understood_is_refused(policy: str, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        parse_policy(policy)


@pytest.mark.parametrize("policy", [*REGIONS, "native"])
def test_no_evidence_is_the_sample_s_failure_and_names_the_policy(policy: str) -> None:
    with pytest.raises(SampleError, match=policy):
        find_region(policy, [], (10, 10))


def test_native_shows_the_crop_that_was_shipped() -> None:
    picture, shipped = Image.new("RGB", (100, 100)), Image.new("RGB", (7, 9), "red")
    region = find_region("native", [(1.5, 2, 3, 4)], picture.size, shipped)
    assert VIEWS["crop"](picture, region) is shipped
    assert region.box == (1, 2, 3, 4)
    assert find_region("native", [], picture.size, shipped).box is None


# --- views -----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 90), st.integers(0, 90), st.integers(1, 60), st.integers(1, 60))
def test_the_crop_of_a_coloured_rectangle_is_that_colour_only(x: int, y: int, w: int, h: int) -> None:
    picture = Image.new("RGB", (150, 150), "white")
    picture.paste((200, 30, 40), (x, y, x + w, y + h))
    shown = VIEWS["crop"](picture, find_region("union", [(x, y, x + w, y + h)], picture.size))
    assert shown.size == (w, h)
    assert (np.asarray(shown) == (200, 30, 40)).all()


def test_full_is_the_picture_itself() -> None:
    picture = Image.new("RGB", (5, 5))
    assert VIEWS["full"](picture, None) is picture


@settings(deadline=None)
@given(st.integers(0, 90), st.integers(0, 90), st.integers(1, 60), st.integers(1, 60))
def test_boxed_is_the_whole_picture_with_a_red_frame_around_the_region(x: int, y: int, w: int, h: int) -> None:
    picture = Image.new("RGB", (150, 150), "white")
    shown = np.asarray(VIEWS["boxed"](picture, find_region("union", [(x, y, x + w, y + h)], picture.size)))
    red = (shown != 255).any(-1)
    assert (shown[red] == (255, 0, 0)).all()
    assert red.any() or (x, y, x + w, y + h) == (0, 0, 150, 150)
    outside, inside = np.ones((150, 150), dtype=bool), np.zeros((150, 150), dtype=bool)
    outside[max(0, y - 5) : y + h + 5, max(0, x - 5) : x + w + 5] = False
    inside[y : y + h, x : x + w] = True
    assert not red[outside | inside].any(), "the frame hides nothing of the region, and 5 px further all is as it was"
    assert (np.asarray(picture) == 255).all(), "the picture itself is left as it is"


def test_boxed_needs_a_box_and_not_only_a_crop() -> None:
    shipped = find_region("native", [], (10, 10), Image.new("RGB", (3, 3)))
    with pytest.raises(SampleError, match="boxed"):
        VIEWS["boxed"](Image.new("RGB", (10, 10)), shipped)


def test_a_view_that_needs_a_region_says_so() -> None:
    for name, view in VIEWS.items():
        if name in NEEDS_REGION:
            with pytest.raises(SampleError, match=name):
                view(Image.new("RGB", (5, 5)), None)
        else:
            view(Image.new("RGB", (5, 5)), None)
