"""What several loaders share: options within texts, boxes within texts, JSON with errors in words."""

from __future__ import annotations

import importlib
import json
import string
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapbench.data.catalogue import FOLDER, load
from gapbench.errors import BenchmarkError

sys.path.append(str(FOLDER))
lettered = importlib.import_module("_lettered")
reading = importlib.import_module("_reading")

words = st.text("abc xyz", min_size=1, max_size=12).map(str.strip).filter(bool)
label = st.sampled_from(["({}) ", "{}. ", "{}) ", "{}: "])


@given(words, st.lists(words, min_size=2, max_size=26), label, words | st.just(""))
def test_lettered_lines_come_apart_as_they_were_put_together(
    question: str, options: list[str], form: str, after: str
) -> None:
    lines = [form.format(letter) + text for letter, text in zip(string.ascii_uppercase, options, strict=False)]
    whole = "\n".join([question, *lines, after])
    assert lettered.split_options(whole) == (question, tuple(options), after)


@pytest.mark.parametrize(
    "text",
    [
        "What is it?",
        "Which? A. red B. blue",  # in one line: not sure enough
        "Which?\nA. red",  # one is no choice
        "Which?\nB. red\nC. blue",
        "Vitamin A.\nVitamin B.",
    ],
)
def test_other_texts_stay_whole(text: str) -> None:
    assert lettered.split_options(text) == (text, (), "")


@given(st.text(max_size=200))
def test_no_text_breaks_the_splitting(text: str) -> None:
    question, options, after = lettered.split_options(text)
    assert len(options) != 1
    assert options or (question, after) == (text.strip(), "")


@pytest.mark.parametrize(
    "field",
    [
        "(A) red (B) dark blue",
        "A. red\nB. dark blue",
        "A: red, B: dark blue",
        ["red", "dark blue"],
        ["A. red", "B. dark blue"],
        {"A": "red", "B": "dark blue"},
    ],
)
def test_options_in_a_field_of_their_own(field: object) -> None:
    assert lettered.option_texts(field, "row 1") == ("red", "dark blue")


@pytest.mark.parametrize("field", ["red or blue", "(B) red (A) blue", [], ["red"], {"x": "red", "y": "blue"}, 7, None])
def test_options_that_cannot_be_told_are_refused(field: object) -> None:
    with pytest.raises(BenchmarkError, match="row 1: its options are"):
        lettered.option_texts(field, "row 1")


@pytest.mark.parametrize("answer", ["B", "b", "(B)", "B.", " (B). ", "blue", "Blue", "B. blue", "(B) blue"])
def test_an_answer_is_a_letter_or_the_text_of_an_option(answer: str) -> None:
    assert lettered.letter_of(answer, ("red", "blue"), "row 1") == "B"


def test_a_letter_goes_before_a_text_that_is_a_letter() -> None:
    assert lettered.letter_of("B", ("B", "A"), "row 1") == "B"


@pytest.mark.parametrize("answer", ["C", "", "green", "AB", "red blue"])
def test_an_answer_that_is_no_option_is_refused(answer: str) -> None:
    with pytest.raises(BenchmarkError, match="row 1: its answer is"):
        lettered.letter_of(answer, ("red", "blue"), "row 1")


numbers = st.integers(-9999, 9999) | st.floats(-1e6, 1e6)
boxes = st.lists(st.lists(numbers, min_size=4, max_size=4), max_size=5)


@given(boxes, st.sampled_from([json.dumps, repr, lambda value: value]))
def test_boxes_read_the_same_however_they_are_written(value: list[list[float]], write: object) -> None:
    expected = tuple(tuple(map(float, box)) for box in value)
    assert reading.boxes_of(write(value), "row 1") == expected  # type: ignore[operator]
    for box in value:
        assert reading.boxes_of(write(box), "row 1") == (tuple(map(float, box)),)  # type: ignore[operator]


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=8))
def test_any_other_cell_is_refused_in_words(value: object) -> None:
    found, said = (), "row 1: its boxes are"
    try:
        found = reading.boxes_of(value, "row 1")
    except BenchmarkError as error:
        said = str(error)
    assert said.startswith("row 1: its boxes are")
    assert all(len(box) == 4 for box in found)


def test_no_cell_is_no_box() -> None:
    assert reading.boxes_of(None, "row 1") == reading.boxes_of("", "row 1") == reading.boxes_of([], "row 1") == ()


def test_json_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n[1]\n')
    with pytest.raises(BenchmarkError, match=r"rows\.jsonl line 3: found list"):
        reading.json_lines(path)
    path.write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(BenchmarkError, match=r"rows\.jsonl line 2: not JSON"):
        reading.json_lines(path)
    with pytest.raises(BenchmarkError, match="Is the local copy complete"):
        reading.json_file(tmp_path / "none.json")


def test_a_line_separator_within_a_text_ends_no_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"a": "one\u2028two"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert reading.json_lines(path) == [{"a": "one\u2028two"}]


def test_a_field_that_is_missing_is_named_with_those_that_are_there() -> None:
    with pytest.raises(BenchmarkError, match=r"row 1: 'Q' is missing or empty. Found: 'question', 'answer'"):
        reading.field({"question": "x", "answer": "y"}, "Q", "row 1")


LETTERED = {"text": "What?\n(A) a\n(B) b", "label": "A"}


@pytest.mark.parametrize(
    ("name", "file", "row"),
    [
        ("vstar", "test_questions.jsonl", {"image": "../direct_attributes/a.jpg", **LETTERED}),
        ("vstar", "test_questions.jsonl", {"image": "/etc/direct_attributes/a.jpg", **LETTERED}),
        ("o3bench", "test/metadata.jsonl", {"file_name": "../../a.png", "question": "What?", "options": "A. a\nB. b",
                                            "layout_infos": {}, "target_layouts": [], "answer": "A", "subset": "s"}),
    ],
)  # fmt: skip
def test_published_data_names_no_file_outside_its_folder(
    name: str, file: str, row: dict[str, Any], tmp_path: Path
) -> None:
    for folder in (tmp_path / "data" / "direct_attributes", tmp_path / "data" / "test", tmp_path / "direct_attributes"):
        folder.mkdir(parents=True)
        (folder / "a.json").write_text('{"bbox": [[1, 2, 3, 4]], "options": ["a", "b"], "question": "What?"}')
    (tmp_path / "data" / file).write_text(json.dumps(row) + "\n")
    with pytest.raises(BenchmarkError, match=r"which lies outside\. Do not trust this data"):
        load(f"{name}={tmp_path / 'data'}").samples()
