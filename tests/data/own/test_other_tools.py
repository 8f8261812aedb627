"""Files that other tools write are read as own data."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gapbench.data.catalogue import load
from gapbench.data.own.other_tools import without_marks
from gapbench.errors import BenchmarkError
from gapbench.types import Sample
from gapbench.views.images import decode


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


def array(folder: Path, content: Any) -> list[Sample]:
    (folder / "mine.json").write_text(json.dumps(content))
    return load(str(folder / "mine.json")).samples()


def test_llava_s_conversation_is_a_question_and_an_answer(tmp_path: Path) -> None:
    row = {"id": "0", "image": "a.png", "conversations": turns("<image>\nWhat colour?", "red")}
    with pytest.warns(UserWarning, match="<image> in questions is taken out"):
        (sample,) = array(tmp_path, [row])
    assert (sample.question, sample.answers, sample.image) == ("What colour?", ("red",), tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"data": []}, "mine.json: expected an array of objects"),
        ([[1]], "mine.json: expected an array of objects"),
        (
            [{"image": "a.png", "conversations": turns("1", "2", "3", "4")}],
            "item 1: .* found 4 turns; .*row of its own",
        ),
    ],
)
def test_what_is_no_array_of_samples_is_said(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(BenchmarkError, match=says):
        array(tmp_path, content)


def test_lines_named_json_are_sent_to_the_right_suffix(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"id": 1}\n{"id": 2}\n')
    with pytest.raises(BenchmarkError, match=r"If it has one object a line, name it \.jsonl"):
        load(str(tmp_path / "mine.json")).samples()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<image>\nWhich?", "Which?"),
        ("Which?\n<image>", "Which?"),
        ("<image><image> Which?", "Which?"),
        ("Is <image> like <image> or not?", "Is image 1 like image 2 or not?"),
        ("In <image 1>, which?", "In <image 1>, which?"),
    ],
)
def test_marks_of_images_are_taken_out(written: str, shown: str) -> None:
    assert without_marks(written) == shown


def test_vlmevalkit_s_image_may_be_that_of_another_row(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((80, 60), 50).save(buffer, "PNG")
    rows = [
        ("index", "image", "question", "A", "B", "answer"), ("1", "7", "Which?", "red", "blue", "B"),
        ("7", base64.b64encode(buffer.getvalue()).decode(), "Which?", "x", "y", "A"),
    ]  # fmt: skip
    path = tmp_path / "vlm.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    first, second = load(f"{path}:id=index,options=A+B").samples()
    assert decode(first.image) == decode(second.image)
    assert (first.answers, first.options, first.cluster) == (("B",), ("red", "blue"), "")


def test_a_file_whose_name_is_a_number_stays_a_file(tmp_path: Path) -> None:
    (tmp_path / "7").write_bytes(b"")
    rows = [{"id": i, "image": image, "question": "Which?", "answer": "A"} for i, image in ((1, "7"), (7, "b.png"))]
    assert array(tmp_path, rows)[0].image == tmp_path / "7"
