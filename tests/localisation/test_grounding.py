"""Boxes in answers: read whatever the brackets, in the declared convention, and rejected with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gapbench.localisation.grounding import CONVENTIONS, locate, prompt_text, read_boxes
from gapbench.types import Answer, Request

SIZE = (200, 100)


@pytest.mark.parametrize(
    "text",
    [
        '[{"bbox_2d": [100, 200, 300, 400]}]',
        '```json\n[\n  {"bbox_2d": [100, 200, 300, 400], "label": "sign 12"}\n]\n```',
        "The sign is here: {'bbox': [100,200,300,400]}.",
        "<box>100, 200, 300, 400</box>",
        "<ref>sign</ref><box>(100,200),(300,400)</box>",
        "(100, 200), (300, 400)",
        "<box>[[100, 200, 300, 400]]</box>",
        "[[100, 200], [300, 400]]",
        "[100 200 300 400]",
        "100, 200, 300, 400",
        '{"x1": 100, "y1": 200, "x2": 300, "y2": 400}',
        "[x1=100.0, y1=200.0, x2=300.0, y2=400.0]",
        'In 2 seconds (about 5): {"bbox_2d": [100, 200, 300, 400]',
    ],
)
def test_boxes_are_read_from_any_brackets(text: str) -> None:
    assert read_boxes(text, "thousand", SIZE).boxes == ((0.1, 0.2, 0.3, 0.4),)


def test_several_boxes_are_kept_once_each() -> None:
    result = read_boxes("[[100, 200, 300, 400], [500, 500, 600, 600], [100, 200, 300, 400]]", "thousand", SIZE)
    assert result.boxes == ((0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 0.6, 0.6))


@pytest.mark.parametrize(
    ("convention", "text"),
    [("thousand", "[100, 200, 300, 400]"), ("pixels", "[20, 20, 60, 40]"), ("unit", "[0.1, 0.2, .3, 0.4]")],
)
def test_the_convention_is_declared(convention: str, text: str) -> None:
    assert read_boxes(text, convention, SIZE).boxes == ((0.1, 0.2, 0.3, 0.4),)


@pytest.mark.parametrize(
    ("text", "convention", "reason"),
    [
        ("The sign is red.", "thousand", "no box in the answer"),
        ("", "thousand", "no box in the answer"),
        ("[1, 2, 3, 4, 5]", "thousand", "no box in the answer"),
        ("[1, 2, 3]", "thousand", "no box in the answer"),
        ('{"point": [500, 500]}', "thousand", "no box in the answer"),
        ("[100, 200, 1300, 1400]", "thousand", "coordinates out of the range of `thousand`"),
        ("[-50, 200, 300, 400]", "thousand", "coordinates out of the range of `thousand`"),
        ("[100, 200, 300, 400]", "unit", "coordinates out of the range of `unit`"),
        ("[100, 20, 300, 40]", "pixels", "coordinates out of the range of `pixels`"),
        ("[0.1, 0.2, 0.3, 0.4]", "thousand", "empty box, or corners out of order"),
        ("[300, 400, 100, 200]", "thousand", "empty box, or corners out of order"),
        ("[300, 400, 300, 600]", "thousand", "empty box, or corners out of order"),
        ("[0, 0, 1000, 1000]", "thousand", "box over 80 % of the image"),
        ("[[0, 0, 500, 1000], [500, 0, 1000, 1000]]", "thousand", "box over 80 % of the image"),
        ("[9, 9, 99, 99] " * 9, "thousand", "more than 8 boxes"),
    ],
)
def test_what_is_no_box_is_rejected_with_a_reason(text: str, convention: str, reason: str) -> None:
    result = read_boxes(text, convention, SIZE)
    assert (result.boxes, result.reason) == ((), reason)
    assert result.output == text


def test_an_empty_box_beside_a_good_one_is_dropped() -> None:
    assert read_boxes("[[5, 5, 5, 5], [100, 200, 300, 400]]", "thousand", SIZE).boxes == ((0.1, 0.2, 0.3, 0.4),)


def test_how_large_is_too_large_can_be_set() -> None:
    assert read_boxes("[0, 0, 500, 500]", "thousand", SIZE, largest=0.2).reason == "box over 20 % of the image"
    assert read_boxes("[0, 0, 1000, 1000]", "thousand", SIZE, largest=1).boxes == ((0, 0, 1, 1),)


def test_a_slight_overrun_is_clipped() -> None:
    assert read_boxes("[500, 500, 1001, 1002]", "thousand", SIZE).boxes == ((0.5, 0.5, 1, 1),)


pieces = st.one_of(
    st.text(), st.from_regex(r"[\[({<>\])}, :\"x1=.-]*", fullmatch=True), st.integers().map(str), st.floats().map(str)
)


@given(st.lists(pieces).map("".join), st.sampled_from(sorted(CONVENTIONS)))
def test_no_text_crashes_it_and_every_box_lies_inside(text: str, convention: str) -> None:
    result = read_boxes(text, convention, SIZE)
    assert bool(result.boxes) != bool(result.reason)
    for x0, y0, x1, y1 in result.boxes:
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1


def test_long_answers_are_read_quickly() -> None:
    assert read_boxes("[1, 2, " * 20_000, "thousand", SIZE).reason == "no box in the answer"
    assert read_boxes("[" + " 1 " * 20_000, "thousand", SIZE).reason == "no box in the answer"


def test_the_prompt_asks_for_the_convention() -> None:
    assert "from 0 to 1000" in prompt_text("Which?", "thousand", (5, 4))
    assert "from 0 to 1 " in prompt_text("Which?", "unit", (5, 4))
    assert "which is 5 wide and 4 high" in prompt_text("Which {braces}?", "pixels", (5, 4))


@dataclass
class Scripted:
    """An engine that answers as told, shrinking every image to 100 x 50 as a pixel bound would."""

    answers: dict[Any, Answer]

    @property
    def info(self) -> Mapping[str, Any]:
        return {"model": "scripted"}

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Any, Answer]]:
        for request in requests:
            yield request.key, self.answers[request.key]


def test_any_engine_will_do_and_pixels_are_those_that_were_sent() -> None:
    answers = {
        "a": Answer(text="[10, 10, 30, 20]", sent_size=(100, 50)),
        "b": Answer(text="no idea", sent_size=(100, 50)),
        "c": Answer(error="out of memory"),
    }
    image = Image.new("RGB", SIZE)
    located = dict(locate(Scripted(answers), (Request(k, (image,), "Where?") for k in answers), "pixels", 0.8))
    assert located["a"].boxes == ((0.1, 0.2, 0.3, 0.4),)
    assert located["b"].reason == "no box in the answer"
    assert located["c"].reason == "not answered: out of memory"
