"""Agreement of a locator with people's boxes, against chance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapbench.localisation.agreement import MEASURES, agreement, summarise
from gapbench.types import Box

SIZE = (100, 50)


def test_measures_of_one_sample() -> None:
    measures = agreement([(0, 0, 20, 20)], [(10, 0, 30, 20)], SIZE, "1")
    assert measures["recall"] == pytest.approx(0.5)
    assert measures["iou"] == pytest.approx(1 / 3)
    assert (measures["whole"], measures["half"]) == (0, 1)
    assert measures["area"] == pytest.approx(0.08)


def test_overlapping_boxes_count_once() -> None:
    evidence: list[Box] = [(0, 0, 10, 10), (5, 0, 15, 10), (40, 0, 50, 10)]
    measures = agreement([(0, 0, 15, 10), (0, 0, 15, 10)], evidence, SIZE, "1")
    assert measures["recall"] == pytest.approx(150 / 250)
    assert measures["area"] == pytest.approx(150 / 5000)


def test_a_box_around_all_of_it_is_whole() -> None:
    measures = agreement([(0.1 + 0.2, 0, 30, 30)], [(0.3, 0, 20, 20)], SIZE, "1")
    assert measures["whole"] == 1


def test_chance_is_what_a_box_of_that_size_would_find() -> None:
    """A box of half the width, all the height: its left edge is uniform over 0..50, so x in 25..75 is always covered
    and the ends are covered in proportion; the mean over 0..100 is 1/2."""
    for evidence, expected in (((25, 0, 75, 50), 0.75), ((0, 0, 100, 50), 0.5), ((48, 0, 52, 50), 0.98)):
        measures = agreement([(0, 0, 50, 50)], [tuple(map(float, evidence))], SIZE, "1")  # type: ignore[list-item]
        assert measures["chance_recall"] == pytest.approx(expected, abs=0.03)


def test_chance_of_the_whole_image_is_certainty() -> None:
    measures = agreement([(0, 0, 100, 50)], [(10, 10, 20, 20)], SIZE, "1")
    assert all(measures[f"chance_{name}"] == pytest.approx(measures[name]) for name in MEASURES)


coordinate = st.integers(0, 49)


@st.composite
def box(draw: st.DrawFn) -> Box:
    x, y = draw(coordinate), draw(coordinate)
    return float(x), float(y), float(x + draw(st.integers(1, 50))), float(y + draw(st.integers(1, 50 - y)))


@given(st.lists(box(), min_size=1, max_size=3), st.lists(box(), min_size=1, max_size=3))
def test_measures_are_fractions_and_agree_with_each_other(located: list[Box], evidence: list[Box]) -> None:
    measures = agreement(located, evidence, SIZE, "1")
    assert all(0 <= value <= 1 for value in measures.values())
    assert measures["iou"] <= measures["recall"] + 1e-9
    assert measures["whole"] <= measures["half"]
    assert agreement(evidence, evidence, SIZE, "1")["iou"] == pytest.approx(1)
    assert measures == agreement(located, evidence, SIZE, "1"), "chance is seeded"


def test_the_summary_has_clustered_intervals_and_a_paired_difference_to_chance() -> None:
    rows = [agreement([(0, 0, 20, 20)], [(5, 5, 15, 15)], SIZE, str(i)) for i in range(6)]
    rows += [agreement([(0, 0, 20, 20)], [(60, 20, 70, 30)], SIZE, str(i)) for i in range(6, 12)]
    summary = summarise(rows, [i // 2 for i in range(12)])
    assert (summary["n"], summary["clusters"]) == (12, 6)
    for name in MEASURES:
        part = summary[name]
        assert part["located"]["clusters"] == 6
        assert part["above_chance"]["estimate"] == pytest.approx(part["located"]["estimate"] - part["chance"])
    low, high = summary["recall"]["located"]["ci"]
    assert low < 0.5 < high
    assert summary["area"]["estimate"] == pytest.approx(400 / 5000)
