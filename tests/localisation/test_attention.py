"""Relative attention: a planted pattern is located at any place and size; a request without a box has a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.loads import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gapbench.errors import ModelError, SettingError
from gapbench.localisation.attention import (
    WINDOWS,
    Window,
    best_window,
    box_of,
    choose_layers,
    locate,
    parse_layers,
    relative_map,
    window_sizes,
)
from gapbench.localisation.maps import FloatMap, Maps
from gapbench.types import Request

ALL = (0.0, 0.0, 1.0, 1.0)


def planted(grid: tuple[int, int], top: int, left: int, tall: int, wide: int, low: float = 0.1) -> FloatMap:
    values = np.full(grid, low) + np.random.default_rng(0).random(grid) * low
    values[top : top + tall, left : left + wide] = 1
    normal: FloatMap = values / values.sum()
    return normal


@given(st.integers(6, 30), st.integers(6, 30), st.data())
def test_a_planted_block_is_found_at_its_size(rows: int, columns: int, data: st.DataObject) -> None:
    side = data.draw(st.integers(2, min(rows, columns) // 2))
    top, left = data.draw(st.integers(1, rows - side - 1)), data.draw(st.integers(1, columns - side - 1))
    sizes = [(n, n) for n in range(2, min(rows, columns))]
    window = best_window(planted((rows, columns), top, left, side, side), sizes)
    assert window is not None
    assert (window.top, window.left, window.bottom, window.right) == (top, left, top + side, left + side)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 9), (9, 0), (9, 9), (0, 4), (4, 9)])
def test_a_block_at_the_border_is_inside_though_its_size_is_not_certain(top: int, left: int) -> None:
    window = best_window(planted((12, 12), top, left, 3, 3), [(n, n) for n in range(2, 8)])
    assert window is not None
    assert window.top <= top
    assert window.left <= left
    assert window.bottom >= top + 3
    assert window.right >= left + 3


def test_the_contrast_is_the_sum_less_the_mean_of_the_adjacent_sums() -> None:
    values = np.array([[0.0, 0, 0, 0], [0, 4, 4, 0], [0, 4, 4, 0], [0, 0, 0, 0]])
    assert best_window(values, [(2, 2)]) == Window(1, 1, 3, 3, 16 - (4 * 8 + 4 * 4) / 8)


def test_what_a_general_prompt_looks_at_as_well_is_divided_away() -> None:
    sink = planted((12, 12), 0, 0, 2, 2, low=0.02)
    evidence = planted((12, 12), 7, 5, 3, 3, low=0.02)
    specific = 0.7 * sink + 0.3 * evidence
    sizes = [(2, 2), (3, 3), (4, 4)]
    plain, relative = best_window(specific, sizes), best_window(relative_map(specific, sink), sizes)
    assert plain is not None
    assert relative is not None
    assert (plain.top, plain.left) == (0, 0), "the sink wins without the division"
    assert (relative.top, relative.left, relative.bottom, relative.right) == (7, 5, 10, 8)


def test_a_token_that_the_general_prompt_ignores_does_not_win_by_that() -> None:
    specific = planted((10, 10), 4, 4, 2, 2)
    general = np.full((10, 10), 0.01)
    general[0, 0] = 0
    window = best_window(relative_map(specific, general), [(2, 2), (3, 3)])
    assert window is not None
    assert (window.top, window.left) == (4, 4)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(10, 4000), st.integers(10, 4000))
def test_windows_fit_the_grid_and_have_two_tokens_a_side(rows: int, columns: int, width: int, height: int) -> None:
    sizes = window_sizes((rows, columns), (width, height))
    assert 1 <= len(sizes) <= len(WINDOWS)
    assert len(set(sizes)) == len(sizes)
    for tall, wide in sizes:
        assert min(2, rows) <= tall <= rows
        assert min(2, columns) <= wide <= columns


def test_windows_are_square_in_pixels() -> None:
    assert window_sizes((24, 24), (300, 100)) == [(3, 2), (4, 2), (6, 2), (8, 3), (12, 4), (16, 5)]


def maps(values: FloatMap, seen: tuple[float, float, float, float] = ALL) -> Maps:
    return Maps({3: values}, seen)


def test_a_box_lies_in_the_part_that_is_seen() -> None:
    flat = np.full((10, 10), 0.01)
    located = box_of(maps(planted((10, 10), 2, 4, 3, 3), (0.2, 0, 0.8, 1)), maps(flat), [3], (500, 300))
    assert located.boxes[0] == pytest.approx((0.2 + 0.6 * 0.4, 0.2, 0.2 + 0.6 * 0.7, 0.5))
    assert 0 < (located.score or 0) < 1


@pytest.mark.parametrize(
    ("values", "layers", "reason"),
    [
        (np.full((6, 6), 1 / 36), [3], "the map is flat"),
        (np.full((2, 2), 1 / 4), [3], "a grid of 2 x 2 tokens is too coarse"),
        (np.full((6, 6), 1 / 36), [3, 5], "the image lies outside of the attention of some layers"),
    ],
)
def test_a_map_without_a_box_has_a_reason(values: FloatMap, layers: list[int], reason: str) -> None:
    located = box_of(maps(values), maps(values), layers, (100, 100))
    assert (located.boxes, located.reason) == ((), reason)


def test_layers_are_numbers_and_ranges() -> None:
    assert parse_layers("") == ()
    assert parse_layers("22") == (22,)
    assert parse_layers(" 24, 18-20,19 ") == (18, 19, 20, 24)
    for wrong in ("x", "3-1", "-1", "1..2", "1-", "99999"):
        with pytest.raises(SettingError, match="is no layer or range"):
            parse_layers(wrong)


@pytest.fixture
def engine(tiny: Callable[[str], Path]) -> Callable[..., Any]:
    return lambda family="qwen3_vl", **more: transformers.load(str(tiny(family)), **more)


def test_layers_in_the_middle_are_chosen_among_those_that_have_maps(engine: Callable[..., Any]) -> None:
    assert choose_layers(transformers.load("glance"), ()) == (2,)
    assert choose_layers(engine(), ()) == (1,)
    assert choose_layers(engine(), (0, 1)) == (0, 1)
    assert choose_layers(engine("lfm2_vl"), ()) == (0,), "its other layer is a convolution"
    with pytest.raises(
        SettingError, match=r"no attention map in layer 0\. Its layers are 0 to 1; those with a map are 1\."
    ):
        choose_layers(engine("qwen3_5"), (0, 1))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


FAMILIES = ("qwen2_5_vl", "qwen3_vl", "qwen3_5", "llava", "gemma4", "pixtral", "glm4v", "lfm2_vl", "paligemma")


@pytest.mark.parametrize("family", FAMILIES)
def test_many_families_are_located_in(family: str, engine: Callable[..., Any]) -> None:
    requests = [Request(i, (noise(120, 100, i // 2),), f"What is number {i}?") for i in range(3)]
    loaded = engine(family)
    boxes_of = dict(locate(loaded, requests, choose_layers(loaded, ())))
    assert sorted(boxes_of) == [0, 1, 2]
    for located in boxes_of.values():
        x0, y0, x1, y1 = located.boxes[0]
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1


def test_the_first_failure_ends_it_and_later_ones_are_reasons(engine: Callable[..., Any]) -> None:
    tiler = engine("internvl")
    small, wide = noise(56, 56), noise(200, 60)
    requests = [
        Request("small", (small,), "What?"),
        Request("wide", (wide,), "What?"),
        Request("bad", (), "", "no file"),
    ]
    with pytest.raises(ModelError, match="tiles"):
        list(locate(tiler, requests[1:], (1,)))
    boxes_of = dict(locate(tiler, requests, (1,)))
    assert boxes_of["small"].reason == "a grid of 2 x 2 tokens is too coarse"
    assert boxes_of["wide"].reason.startswith("not answered: An image of 200 x 60 px becomes")
    assert boxes_of["bad"].reason == "not answered: no file"
    assert "tiles" in dict(locate(tiler, requests[1:], (1,), works=True))["wide"].reason
