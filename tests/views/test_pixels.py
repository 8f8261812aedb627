"""Images keep to the bounds on their pixels and to their aspect ratio."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gapbench.errors import SettingError
from gapbench.views.pixels import Pixels

SIZE = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000))
BOUND = st.integers(1, 50_000_000)


def sides(size: tuple[int, int], pixels: int) -> tuple[float, float]:
    """The exact sides of an image of that aspect ratio and area."""
    return math.sqrt(pixels * size[0] / size[1]), math.sqrt(pixels * size[1] / size[0])


@settings(deadline=None)
@given(SIZE, st.data())
def test_a_larger_image_shrinks_to_the_most_that_is_allowed(size: tuple[int, int], data: st.DataObject) -> None:
    most = data.draw(st.integers(1, size[0] * size[1]))
    width, height = Pixels(max_pixels=most).target(size)
    assert 1 <= width * height <= most
    assert width <= size[0]
    assert height <= size[1]
    exact = sides(size, most)
    if min(exact) >= 1:
        assert exact == (pytest.approx(width, abs=1), pytest.approx(height, abs=1))
    else:
        assert min(width, height) == 1  # a strip cannot become narrower than one pixel


@settings(deadline=None)
@given(SIZE, st.data())
def test_a_smaller_image_grows_to_the_least_that_is_allowed(size: tuple[int, int], data: st.DataObject) -> None:
    least = data.draw(st.integers(size[0] * size[1], 500_000_000))
    width, height = Pixels(min_pixels=least).target(size)
    assert width * height >= least
    assert sides(size, least) == (pytest.approx(width, abs=1), pytest.approx(height, abs=1))


@settings(deadline=None)
@given(SIZE, BOUND, BOUND)
def test_with_both_bounds_the_upper_one_always_holds(size: tuple[int, int], a: int, b: int) -> None:
    least, most = sorted((a, b))
    width, height = Pixels(least, most).target(size)
    assert 1 <= width * height <= most
    if most >= least + 3 * (width + height) + 9:  # room for a whole size between them
        assert width * height >= least or min(width, height) == 1


@settings(deadline=None)
@given(SIZE, st.one_of(st.none(), BOUND), st.one_of(st.none(), BOUND), st.booleans())
def test_a_second_time_changes_nothing(size: tuple[int, int], a: int | None, b: int | None, equal: bool) -> None:
    least, most = (a, a) if equal else (a, b) if not a or not b else sorted((a, b))
    bounded = Pixels(least, most).target(size)
    assert Pixels(least, most).target(bounded) == bounded


@settings(deadline=None)
@given(SIZE, st.data())
def test_an_image_within_the_bounds_is_left_alone(size: tuple[int, int], data: st.DataObject) -> None:
    area = size[0] * size[1]
    least, most = data.draw(st.integers(1, area)), data.draw(st.integers(area, 500_000_000))
    assert Pixels(least, most).target(size) == size
    assert Pixels().target(size) == size


@pytest.mark.parametrize(
    ("pixels", "size", "target"),
    [
        (Pixels(max_pixels=100), (20, 20), (10, 10)),
        (Pixels(min_pixels=100), (3, 3), (10, 10)),  # floating-point roots give 11 here
        (Pixels(100, 100), (3, 3), (10, 10)),
        (Pixels(max_pixels=100), (100_000, 1), (100, 1)),
        (Pixels(max_pixels=100), (1, 100_000), (1, 100)),
        (Pixels(max_pixels=1), (640, 480), (1, 1)),
        (Pixels(max_pixels=1024 * 1024), (2048, 2048), (1024, 1024)),
    ],
)
def test_by_hand(pixels: Pixels, size: tuple[int, int], target: tuple[int, int]) -> None:
    assert pixels.target(size) == target


def test_the_image_is_resized_only_where_it_must_be() -> None:
    image = Image.new("RGB", (64, 32), "red")
    assert Pixels().apply(image) is image
    small = Pixels(max_pixels=512).apply(image)
    assert (small.size, small.getpixel((5, 5))) == ((32, 16), (255, 0, 0))


@pytest.mark.parametrize(("low", "high"), [(0, None), (None, 0), (-1, 5), (10, 9), (0, 0)])
def test_bounds_that_make_no_sense_are_refused(low: int | None, high: int | None) -> None:
    with pytest.raises(SettingError, match=r"--min-pixels .* --max-pixels .*1 <= min <= max"):
        Pixels(low, high)
