"""Boxes in four formats become xyxy pixels inside the image, and every repair has a name."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapbench.errors import SampleError
from gapbench.types import Box, BoxFormat
from gapbench.views.boxes import FORMATS, TOLERANCE, normalise, union_area

SIZES = st.tuples(st.integers(8, 9000), st.integers(8, 9000))
SIZE = (640, 480)


@st.composite
def inside(draw: st.DrawFn) -> tuple[Box, tuple[int, int]]:
    """An image's size and a box in it, at least a thousandth of a side wide and high."""
    width, height = draw(SIZES)

    def edges(limit: int) -> tuple[float, float]:
        low = draw(st.floats(0, 0.99)) * limit
        return low, min(float(limit), low + draw(st.floats(0.001, 1)) * limit)

    (x0, x1), (y0, y1) = edges(width), edges(height)
    return (x0, y0, x1, y1), (width, height)


def written(box: Box, box_format: str, size: tuple[int, int]) -> list[float]:
    """A box the way a data set of that format would write it."""
    x0, y0, x1, y1 = box
    numbers = [x0, y0, x1 - x0, y1 - y0] if box_format.startswith("xywh") else [x0, y0, x1, y1]
    whole = {"normalised": 1, "thousand": 1000}.get(box_format[5:])
    return [v * whole / s for v, s in zip(numbers, size * 2, strict=True)] if whole else numbers


@settings(deadline=None)
@given(inside(), st.sampled_from(FORMATS))
def test_all_formats_say_the_same_box_and_need_no_repair(case: tuple[Box, tuple[int, int]], fmt: BoxFormat) -> None:
    box, size = case
    (result,), repairs = normalise([written(box, fmt, size)], fmt, size)
    assert result == pytest.approx(box, abs=1e-6)
    assert repairs == ()


@settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4), min_size=1, max_size=5),
    st.sampled_from(FORMATS),
    SIZES,
)
def test_what_is_kept_lies_inside_with_area_and_is_not_repaired_again(
    boxes: list[list[float]], fmt: BoxFormat, size: tuple[int, int]
) -> None:
    normalised, repairs = normalise(boxes, fmt, size)
    assert len(normalised) == len(boxes) - repairs.count("empty")
    for x0, y0, x1, y1 in normalised:
        assert 0 <= x0 < x1 <= size[0]
        assert 0 <= y0 < y1 <= size[1]
    assert normalise(normalised, "xyxy", size) == (normalised, ())


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=6), st.sampled_from(FORMATS))
def test_any_numbers_give_boxes_or_a_sample_error(box: list[float], fmt: BoxFormat) -> None:
    try:
        normalised, _ = normalise([box], fmt, SIZE)
    except SampleError:
        return
    assert all(map(math.isfinite, (v for box in normalised for v in box)))


@pytest.mark.parametrize(
    ("box", "fmt", "expected", "repair"),
    [
        ((60, 40, 10, 20), "xyxy", (10, 20, 60, 40), "swapped"),
        ((60, 40, -50, -20), "xywh", (10, 20, 60, 40), "swapped"),
        ((-TOLERANCE, 0, 10, 10), "xyxy", (0, 0, 10, 10), "clipped"),
        ((630, 470, 640 + TOLERANCE, 480), "xyxy", (630, 470, 640, 480), "clipped"),
        ((600, 470, 640, 480 + TOLERANCE + 0.1), "xyxy", (600, 470, 640, 480), "outside"),
        ((600, 400, 640, 480), "xywh", (600, 400, 640, 480), "outside"),
        ((0.5, 0.5, 1.1, 1.0), "xyxy_normalised", (320, 240, 640, 480), "outside"),
    ],
)
def test_a_repair_is_made_and_named(box: Box, fmt: BoxFormat, expected: Box, repair: str) -> None:
    assert normalise([box], fmt, SIZE) == ((tuple(map(float, expected)),), (repair,))


def test_an_empty_box_is_dropped_and_the_others_stay() -> None:
    assert normalise([(5, 5, 5, 9), (1, 2, 3, 4)], "xyxy", SIZE) == (((1.0, 2.0, 3.0, 4.0),), ("empty",))


@pytest.mark.parametrize("size", [0.5, 1, TOLERANCE, 50, 1e300])
@pytest.mark.parametrize("side", ["left", "right", "above", "below"])
def test_a_box_entirely_outside_is_named_outside_and_dropped(side: str, size: float) -> None:
    """Also where it is within the tolerance: nothing of it was to be seen."""
    box = {
        "left": (-size, 10, -size / 2, 20),
        "right": (640, 10, 640 + size, 20),
        "above": (10, -size, 20, 0),
        "below": (10, 480 + size / 2, 20, 480 + size),
    }[side]
    assert normalise([box], "xyxy", SIZE) == ((), ("outside", "empty"))
    assert normalise([box, (1, 2, 3, 4)], "xyxy", SIZE) == (((1.0, 2.0, 3.0, 4.0),), ("outside", "empty"))


def test_an_empty_box_inside_is_not_outside() -> None:
    for box in ((5, 5, 5, 9), (0, 0, 0, 0), (640, 0, 640, 480), (5, 5, 5, 5)):
        assert normalise([box], "xyxy", SIZE) == ((), ("empty",))
    assert normalise([(0.5, 0.5, 0, 0.2)], "xywh_normalised", SIZE) == ((), ("empty",))
    assert normalise([(-1, 5, 9, 5)], "xyxy", SIZE) == ((), ("clipped", "empty"))


def test_the_largest_numbers_do_not_overflow() -> None:
    big = sys.float_info.max
    for fmt in FORMATS:
        assert normalise([(-big, -big, big, big)], fmt, SIZE)[1][-1] in ("outside", "empty")
        assert normalise([(big, big, big, big)], fmt, SIZE) == ((), ("outside", "empty"))
    assert normalise([(-big, -big, big, big)], "xyxy", SIZE) == (((0.0, 0.0, 640.0, 480.0),), ("outside",))


def test_each_event_is_named_so_that_it_can_be_counted() -> None:
    _, repairs = normalise([(60, 40, 10, 20), (700, 0, 900, 9), (60, 40, 10, 20)], "xyxy", SIZE)
    assert repairs == ("swapped", "outside", "empty", "swapped")


def test_rounding_noise_of_normalised_boxes_is_clipped_without_a_name() -> None:
    assert 0.1 + 0.7 + 0.2 > 0.9999999
    (box,), repairs = normalise([(0.7, 0.7, 0.3 + 1e-12, 0.3 + 1e-12)], "xywh_normalised", SIZE)
    assert box[2:] == (640.0, 480.0)
    assert repairs == ()


def test_no_boxes_are_no_error() -> None:
    assert normalise([], "xyxy", SIZE) == ((), ())


def test_numbers_of_arrays_are_numbers() -> None:
    box = np.array([1, 2, 3, 4], dtype=np.float32)
    assert normalise([box], "xyxy", SIZE)[0] == ((1.0, 2.0, 3.0, 4.0),)  # type: ignore[list-item]
    array = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert normalise(array, "xyxy", SIZE) == normalise(array.tolist(), "xyxy", SIZE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "box", [(1, 2, 3), (1, 2, 3, 4, 5), (1, 2, 3, "4"), (1, 2, 3, None), (0, 0, True, True),
            (0, 0, math.nan, 1), (0, 0, math.inf, 1), (0, 0, 10**400, 1), (0, 0, 10**5000, 1), "1234", 7, None,
            {"x": 1, "y": 2, "w": 3, "h": 4}, {1, 2, 3, 4}, list(range(10**5)),
            np.array([1, 2, 3, np.nan]), 1j, [1j] * 4],
)  # fmt: skip
def test_anything_but_four_finite_numbers_is_refused(box: Any) -> None:
    with pytest.raises(SampleError, match="four finite numbers") as caught:
        normalise([box], "xyxy", SIZE)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("boxes", [None, 7, 1.5, "1,2,3,4", object])
def test_what_is_no_list_of_boxes_is_refused(boxes: Any) -> None:
    with pytest.raises(SampleError, match="four finite numbers"):
        normalise(boxes, "xyxy", SIZE)


def test_a_flat_list_where_boxes_belong_is_refused_as_the_mistake_it_is() -> None:
    with pytest.raises(SampleError, match=r"box 10.*four finite numbers"):
        normalise((10, 20, 30, 40), "xyxy", SIZE)  # type: ignore[arg-type]


def test_a_format_is_never_guessed() -> None:
    with pytest.raises(SampleError, match="xyxy_normalised"):
        normalise([(0, 0, 1, 1)], "fractions", SIZE)  # type: ignore[arg-type]


def test_the_american_spelling_is_the_same_format() -> None:
    spelt: Any = "xyxy_normalized"
    assert normalise([(0, 0, 1, 1)], spelt, SIZE) == normalise([(0, 0, 1, 1)], "xyxy_normalised", SIZE)


BOXES = st.lists(
    st.tuples(*[st.integers(0, 20)] * 4).map(
        lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
    ),
    max_size=6,
)


@settings(deadline=None)
@given(BOXES)
def test_the_union_s_area_is_the_number_of_pixels_covered(boxes: list[Box]) -> None:
    raster = np.zeros((20, 20), bool)
    for x0, y0, x1, y1 in boxes:
        raster[int(y0) : int(y1), int(x0) : int(x1)] = True
    assert union_area(boxes) == raster.sum()


def test_the_union_s_area_is_exact_between_pixels() -> None:
    assert union_area([(0, 0, 1.5, 1), (0.5, 0, 2, 0.5)]) == 1.75


@pytest.mark.parametrize(
    ("fmt", "box"), [("xyxy_thousand", (250, 500, 750, 1000)), ("xywh_thousand", (250, 500, 500, 500))]
)
def test_thousandths_of_the_image_become_pixels(fmt: BoxFormat, box: tuple[float, ...]) -> None:
    assert normalise([box], fmt, (640, 480)) == (((160.0, 240.0, 480.0, 480.0),), ())
