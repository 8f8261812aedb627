"""What stands behind the colon says which column holds what, once for the whole file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from gapbench.data.catalogue import load
from gapbench.errors import BenchmarkError
from gapbench.types import Sample

ROW = {"image": "a.jpg", "question": "Which?", "answer": "x"}


def text(folder: Path, *rows: dict[str, str], name: str = "mine.csv", separator: str = ",") -> str:
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
    return str(folder / name)


def lines(folder: Path, *rows: dict[str, Any]) -> str:
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(folder / "mine.jsonl")


def only(spec: str) -> Sample:
    (sample,) = load(spec).samples()
    return sample


# --- columns ---------------------------------------------------------------------------------------------------


def test_any_column_may_hold_any_field(tmp_path: Path) -> None:
    row = {"Bild": "a.jpg", "Frage": "Welche?", "Antwort": "rot", "Farben": '["rot", "blau"]', "Kasten": "[1,2,3,4]",
           "Nr.": "q7", "Art": "Farbe", "Tag": "Montag", "Teil": "b.jpg", "Format": "xywh"}  # fmt: skip
    said = "image=Bild,question=Frage,answer=Antwort,options=Farben,bbox=Kasten,id=Nr.,category=Art,group=Tag," \
           "crop_image=Teil,bbox_format=Format"  # fmt: skip
    expected = Sample(
        "q7", tmp_path / "a.jpg", "Welche?", ("A",), ("rot", "blau"), "letter", ((1, 2, 3, 4),), "xywh", "Farbe",
        "Montag", tmp_path / "b.jpg",
    )  # fmt: skip
    assert only(f"{text(tmp_path, row)}:{said}") == expected
    assert only(f"{lines(tmp_path, row)}:{said}") == expected


def test_a_named_column_comes_before_one_of_the_field_s_name(tmp_path: Path) -> None:
    row = {**ROW, "full": "b.jpg", "answers": '["y"]', "label": "z", "bbox": "[1,2,3,4]", "all": "[[5,6,7,8]]"}
    sample = only(f"{text(tmp_path, row)}:image=full,answer=label,bboxes=all,bbox_format=xyxy")
    assert (sample.image, sample.answers, sample.boxes) == (tmp_path / "b.jpg", ("z",), ((5, 6, 7, 8),))
    assert only(f"{text(tmp_path, {**row, 'answer': ''})}:answers=answers,bbox=-").answers == ("y",)


def test_a_minus_leaves_a_field_out(tmp_path: Path) -> None:
    row = {**ROW, "id": "same", "options": "?", "category": "c"}
    samples = load(f"{text(tmp_path, row, row)}:id=-,options=-,category=-").samples()
    assert [(s.id, s.options, s.category) for s in samples] == [("1", (), ""), ("2", (), "")]


def test_a_column_that_only_looks_misspelt_can_be_left_alone(tmp_path: Path) -> None:
    spec = text(tmp_path, {**ROW, "option": "?"})
    with pytest.raises(BenchmarkError, match=r"'option' is unknown\. Did you mean 'options'"):
        load(spec).samples()
    assert only(f"{spec}:options=-").options == ()


def test_several_columns_make_a_list(tmp_path: Path) -> None:
    row = {"left": "a.jpg", "right": "b.jpg", "question": "Which?", "answer": "B", "A": "red", "B": "blue", "C": "",
           "x": "1", "y": "2.5", "w": "3", "h": "4e1"}  # fmt: skip
    sample = only(f"{text(tmp_path, row)}:image=left+right,options=A + B + C,bbox=x+y+w+h,bbox_format=xywh")
    assert (sample.image, sample.more_images) == (tmp_path / "a.jpg", (tmp_path / "b.jpg",))
    assert (sample.options, sample.answers) == (("red", "blue"), ("B",))
    assert sample.boxes == ((1, 2.5, 3, 40),)


def test_empty_columns_of_a_box_are_no_box(tmp_path: Path) -> None:
    row = {**ROW, "x": "", "y": "", "w": "", "h": ""}
    assert only(f"{text(tmp_path, row)}:bbox=x+y+w+h,bbox_format=xywh").boxes == ()


def test_a_column_with_a_plus_in_its_name_is_one_column(tmp_path: Path) -> None:
    assert only(f"{text(tmp_path, {**ROW, 'a+b': '[1,2,3,4]'})}:bbox=a+b,bbox_format=xyxy").boxes == ((1, 2, 3, 4),)


def test_lines_of_jsonl_need_not_all_have_a_column(tmp_path: Path) -> None:
    spec = lines(tmp_path, ROW, {**ROW, "Art": "ocr", "Kasten": [1, 2, 3, 4]})
    samples = load(f"{spec}:category=Art,bbox=Kasten,bbox_format=xyxy").samples()
    assert [(s.category, s.boxes) for s in samples] == [("", ()), ("ocr", ((1, 2, 3, 4),))]


# --- constants and words ---------------------------------------------------------------------------------------


def test_what_is_no_column_is_the_value_of_all_rows(tmp_path: Path) -> None:
    spec = text(tmp_path, {**ROW, "bbox": "[0,0,1,1]"})
    sample = only(f"{spec}:bbox_format=xyxy_normalised,answer_type=vqa,category=street signs")
    assert (sample.box_format, sample.answer_type, sample.category) == ("xyxy_normalised", "vqa", "street signs")


def test_what_is_a_column_is_never_a_value(tmp_path: Path) -> None:
    spec = text(tmp_path, {**ROW, "bbox": "[1,2,3,4]", "xyxy": "xywh"})
    assert only(f"{spec}:bbox_format=xyxy").box_format == "xywh"


def test_a_value_comes_before_a_column_of_the_field_s_name(tmp_path: Path) -> None:
    assert only(f"{text(tmp_path, {**ROW, 'answer_type': 'free-form'})}:answer_type=text").answer_type == "text"


@pytest.mark.parametrize(
    ("said", "written"),
    [("semicolon", "red; blue"), ("comma", "red, blue"), ("pipe", "red|blue"), ("newline", "red\nblue"),
     ("/", "red / blue"), ("tab", "red\tblue")],
)  # fmt: skip
def test_lists_in_words_are_split_as_declared(tmp_path: Path, said: str, written: str) -> None:
    rows = [{**ROW, "options": written, "answer": "blue"}, {**ROW, "options": '["red", "blue"]', "answer": "red"}]
    samples = load(f"{text(tmp_path, *rows)}:list_separator={said}").samples()
    assert [(s.options, s.answers) for s in samples] == [(("red", "blue"), ("B",)), (("red", "blue"), ("A",))]


def test_a_file_of_another_separator(tmp_path: Path) -> None:
    spec = text(tmp_path, {**ROW, "question": "a,b?"}, separator=";")
    assert only(f"{spec}:separator=semicolon").question == "a,b?"
    with pytest.raises(BenchmarkError, match=r"its header is one cell, 'image;question;answer'.*:separator=semicolon"):
        load(spec).samples()


def test_larger_images_can_be_allowed(tmp_path: Path) -> None:
    assert only(f"{text(tmp_path, ROW)}:max_image_pixels=500000000").max_image_pixels == 500_000_000


# --- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("question=Frage", r"mine\.csv: question=Frage: it has no column 'Frage'\. Found columns: image, question, a"),
        ("question=qestion", r"it has no column 'qestion'\. Did you mean 'question'\?"),
        ("category=anwser", r"category=anwser: it has no column 'anwser'\. Did you mean 'answer'\?"),
        ("options=A+B", r"options=A\+B: it has no column 'A\+B'"),
        ("question=image+answer", "it has no column"),
        ("bbox_format=coco", r"^mine\.csv row 1: bbox_format: box_format is 'coco'; expected one of xyxy"),
        ("answer_type=free", r"^mine\.csv row 1: answer_type is 'free'; expected one of letter"),
        ("question=-", "column 'question' is missing"),
        ("frage=question", "no parameter 'frage'. It takes id, image, question"),
        ("split=test", "no parameter 'split'"),
        ("urls=perhaps", "urls='perhaps' is str; expected bool"),
        ("separator=;;", "separator is ';;'; expected one character"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_is_there(tmp_path: Path, said: str, says: str) -> None:
    with pytest.raises(BenchmarkError, match=says):
        load(f"{text(tmp_path, ROW)}:{said}").samples()


def test_a_column_is_named_as_the_user_calls_it(tmp_path: Path) -> None:
    row = {"Bild": "a.jpg", "Frage": "", "x": "1", "y": "2", "w": "3", "h": "breit", "answer": "x"}
    said = "image=Bild,question=Frage,bbox=x+y+w+h,bbox_format=xywh"
    with pytest.raises(BenchmarkError, match=r"row 1: column 'Frage' \(question\) is empty; expected text"):
        load(f"{text(tmp_path, {**row, 'h': '4'})}:{said}").samples()
    with pytest.raises(
        BenchmarkError, match=r"column 'x' \+ 'y' \+ 'w' \+ 'h' \(bbox\): box \['1', '2', '3', 'breit'\]"
    ):
        load(f"{text(tmp_path, {**row, 'Frage': 'Wer?'})}:{said}").samples()


@pytest.mark.parametrize("missing", ROW)
def test_a_missing_column_is_named_with_those_found_and_how_to_say_which(tmp_path: Path, missing: str) -> None:
    row = {k if k != missing else "Spalte": v for k, v in ROW.items()}
    with pytest.raises(BenchmarkError, match=rf"'{missing}' is missing; .*Found columns: .*Spalte.*:{missing}=COLUMN"):
        load(text(tmp_path, row)).samples()
