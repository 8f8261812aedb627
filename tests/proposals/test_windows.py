"""Windows cover every image evenly and keep to the budget."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapbench.proposals import windows
from gapbench.proposals.thresholds import load

SETTINGS = load()
SIZES = st.tuples(st.integers(1, 4000), st.integers(1, 4000)).filter(lambda s: max(s) <= 20 * min(s))


@given(SIZES)
def test_windows_lie_inside_the_image_and_reach_all_its_edges(size: tuple[int, int]) -> None:
    boxes = windows.windows(size, SETTINGS)
    assert len(set(boxes)) == len(boxes)
    for x0, y0, x1, y1 in boxes:
        assert 0 <= x0 < x1 <= size[0]
        assert 0 <= y0 < y1 <= size[1]
    assert (min(b[0] for b in boxes), min(b[1] for b in boxes)) == (0, 0)
    assert (max(b[2] for b in boxes), max(b[3] for b in boxes)) == size


@pytest.mark.parametrize("size", [(20_000, 100), (2, 300), (100_000, 1), (4000, 1000), (1_000_000, 2)])
def test_no_image_has_more_windows_than_the_budget_has_prompts(size: tuple[int, int]) -> None:
    most = SETTINGS.image_tokens // windows.WINDOW_TOKENS
    assert most // 4 <= len(windows.windows(size, SETTINGS)) <= most


def test_a_budget_below_any_grid_still_gives_windows() -> None:
    assert 1 <= len(windows.windows((500, 400), load(["image_tokens=1"]))) <= 12


def test_a_single_value_is_a_list_of_one() -> None:
    assert (load(["gates=unique"]).gates, load(["scales=0.5"]).scales) == (("unique",), (0.5,))


def test_a_scene_of_96_px_has_the_windows_of_the_pilot_but_for_one_scale() -> None:
    sides = [b[2] - b[0] for b in windows.windows((96, 96), SETTINGS)]
    assert {side: sides.count(side) for side in sides} == {64: 9, 48: 16, 24: 49}


def test_neighbouring_windows_overlap_by_half_at_least() -> None:
    lefts = sorted({b[0] for b in windows.windows((1920, 1080), SETTINGS) if b[2] - b[0] == 270})
    assert max(b - a for a, b in itertools.pairwise(lefts)) <= 135


@pytest.mark.parametrize(("count", "pixels"), [(10, 262_144), (1000, 60 * 1024), (10**9, 1024)])
def test_many_windows_are_shown_smaller_so_that_all_keep_to_the_budget(count: int, pixels: int) -> None:
    assert windows.shown_pixels(count, 1024, SETTINGS) == pixels


def test_a_random_place_elsewhere_touches_nothing_of_the_box() -> None:
    box = (10.0, 10.0, 30.0, 30.0)
    places = [windows.elsewhere(box, (0.0, 0.0, 20.0, 30.0), (100, 80), str(n)) for n in range(50)]
    assert all(place and not windows.overlap(place, box) for place in places)
    assert windows.elsewhere((0.0, 0.0, 90.0, 80.0), box, (100, 80), "none fits") is None


def test_shifted_windows_stay_inside() -> None:
    assert windows.shifted((0.0, 0.0, 20.0, 20.0), 0.2, (22, 100)) == [
        (0, 0, 20, 20), (2, 0, 22, 20), (0, 0, 20, 20), (0, 4, 20, 24),
    ]  # fmt: skip
