"""A row becomes a sample; what is wrong with it is said with file, line and column. (JSONL stands for all forms.)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gapbench.data.catalogue import Benchmark, load
from gapbench.errors import BenchmarkError
from gapbench.types import Sample

ROW = {"image": "street.jpg", "question": "What does the sign say?", "answer": "STOP"}
CHOICE = {"image": "street.jpg", "question": "Which?", "options": ["red", "blue"], "answer": "B"}


def benchmark(folder: Path, *rows: Any) -> Benchmark:
    """A file with one line per row; text is written as it is."""
    path = folder / "mine.jsonl"
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return load(str(path))


def only(folder: Path, **columns: Any) -> Sample:
    (sample,) = benchmark(folder, {**ROW, **columns}).samples()
    return sample


# --- what is read ----------------------------------------------------------------------------------------------


def test_the_smallest_row_has_sensible_defaults(tmp_path: Path) -> None:
    assert only(tmp_path) == Sample(
        id="1",
        image=tmp_path / "street.jpg",
        question="What does the sign say?",
        answers=("STOP",),
        box_format="xyxy",
        cluster="street.jpg",
    )


def test_every_column_is_used(tmp_path: Path) -> None:
    row = {
        "id": "q7", "image": "a/street.jpg", "question": "Which?", "answers": ["B", "red"], "options": ["red", "blue"],
        "answer_type": "letter", "bboxes": [[1, 2, 3, 4], [5, 6, 7, 8]], "bbox_format": "xywh",
        "crop_image": "a/crop.jpg", "category": "colour", "group": "monday",
    }  # fmt: skip
    assert benchmark(tmp_path, row).samples() == [
        Sample(
            id="q7", image=tmp_path / "a/street.jpg", question="Which?", answers=("B", "A"), options=("red", "blue"),
            answer_type="letter", boxes=((1, 2, 3, 4), (5, 6, 7, 8)), box_format="xywh", category="colour",
            cluster="monday", crop_image=tmp_path / "a/crop.jpg",
        )
    ]  # fmt: skip


def test_the_card_names_the_file_and_its_content(tmp_path: Path) -> None:
    first = benchmark(tmp_path, ROW).card
    assert (first.name, first.source) == ("mine", "mine.jsonl")
    assert first.revision.startswith("sha256:")
    assert first.revision != benchmark(tmp_path, ROW, ROW).card.revision


def test_ids_default_to_the_line_s_number_and_blank_lines_count(tmp_path: Path) -> None:
    assert [s.id for s in benchmark(tmp_path, ROW, "", "   ", ROW, {**ROW, "id": None}).samples()] == ["1", "4", "5"]
    assert [s.id for s in benchmark(tmp_path, {**ROW, "id": 0}, {**ROW, "id": 17}).samples()] == ["0", "17"]


def test_samples_of_one_image_are_one_cluster_unless_grouped(tmp_path: Path) -> None:
    rows = [
        ROW, {**ROW, "image": "./street.jpg"}, {**ROW, "image": "x/../street.jpg"}, {**ROW, "image": "other.jpg"},
        {**ROW, "group": "g"}, {**ROW, "group": 0}, {**ROW, "group": None},
    ]  # fmt: skip
    clusters = [s.cluster for s in benchmark(tmp_path, *rows).samples()]
    assert clusters == ["street.jpg", "street.jpg", "street.jpg", "other.jpg", "g", "0", "street.jpg"]


@pytest.mark.parametrize("answer", ["B", "b", "(B)", "B.", " blue "])
def test_a_letter_answer_is_the_letter_or_the_option_s_text(tmp_path: Path, answer: str) -> None:
    (sample,) = benchmark(tmp_path, {**CHOICE, "answer": answer}).samples()
    assert (sample.answers, sample.answer_type) == (("B",), "letter")


@pytest.mark.parametrize("fmt", ["xyxy_normalised", "xyxy_normalized", "XYXY_Normalized"])
def test_both_spellings_of_normalised(tmp_path: Path, fmt: str) -> None:
    assert only(tmp_path, bbox=[0, 0, 1, 0.5], bbox_format=fmt).box_format == "xyxy_normalised"


def test_images_are_turned_upright_only_if_the_user_says_so(tmp_path: Path) -> None:
    path = str(benchmark(tmp_path, ROW).card.source)
    for setting, upright in (("", False), ("stored", False), ("upright", True)):
        (sample,) = load(f"{tmp_path / path}:orientation={setting}").samples()
        assert sample.upright is upright
    with pytest.raises(BenchmarkError, match="orientation=exif: expected one of stored, upright"):
        load(f"{tmp_path / path}:orientation=exif").samples()


@pytest.mark.parametrize("nothing", [{}, {"bbox": None}, {"bbox": []}, {"bboxes": []}, {"bbox": None, "bboxes": None}])
def test_no_box_is_no_evidence_and_needs_no_format(tmp_path: Path, nothing: dict[str, Any]) -> None:
    assert only(tmp_path, **nothing).boxes == ()


def test_numbers_are_written_out(tmp_path: Path) -> None:
    sample = only(tmp_path, answer=3, answer_type="number", category=0)
    assert (sample.answers, sample.category) == (("3",), "0")
    assert only(tmp_path, options=[1, 2], answer=2).answers == ("B",)


def test_a_byte_order_mark_and_other_line_ends_are_read(tmp_path: Path) -> None:
    line = json.dumps({**ROW, "answer": "caf\xe9 \u2028 \u4e2d"}, ensure_ascii=False)
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n{line}".encode())
    assert [s.answers for s in load(str(path)).samples()] == [("caf\xe9 \u2028 \u4e2d",)] * 2


@pytest.mark.parametrize(
    ("columns", "boxes"),
    [
        ({"bbox": "[1, 2, 3, 4]"}, [(1, 2, 3, 4)]),
        ({"bbox": "(1.5, 2, 3e2, 4)"}, [(1.5, 2, 300, 4)]),
        ({"bbox": "1,2,3,4"}, [(1, 2, 3, 4)]),
        ({"bboxes": "[[1, 2, 3, 4], [5, 6, 7, 8]]"}, [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ({"bboxes": "[(1, 2, 3, 4)]"}, [(1, 2, 3, 4)]),
        ({"bbox": " ", "bboxes": ""}, []),
    ],
)
def test_boxes_may_be_written_as_text(tmp_path: Path, columns: dict[str, Any], boxes: list[Any]) -> None:
    assert list(only(tmp_path, **columns, bbox_format="xyxy").boxes) == boxes


@pytest.mark.parametrize(
    ("box", "fmt"),
    [
        ({"x": 1, "y": 2, "w": 3, "h": 4}, "xywh"),
        ({"x": 1, "y": 2, "width": 3, "height": 4}, "xywh"),
        ({"y2": 4, "x2": 3, "y1": 2, "x1": 1}, "xyxy_normalised"),
        ('{"x_min": 1, "y_min": 2, "x_max": 3, "y_max": 4}', "xyxy"),
    ],
)
def test_boxes_may_be_objects_whose_keys_agree_with_the_format(tmp_path: Path, box: Any, fmt: str) -> None:
    assert only(tmp_path, bbox=box, bbox_format=fmt).boxes == ((1, 2, 3, 4),)
    if isinstance(box, dict):
        assert only(tmp_path, bboxes=[box, box], bbox_format=fmt).boxes == ((1, 2, 3, 4),) * 2


@pytest.mark.parametrize(("separator", "text"), [("semicolon", "1;2;3;4.5"), ("space", "1 2 3 4.5")])
def test_the_list_separator_reaches_boxes(tmp_path: Path, separator: str, text: str) -> None:
    benchmark(tmp_path, {**ROW, "bbox": text})
    (sample,) = load(f"{tmp_path / 'mine.jsonl'}:bbox_format=xyxy,list_separator={separator}").samples()
    assert sample.boxes == ((1, 2, 3, 4.5),)


@pytest.mark.parametrize(
    ("answer_format", "options", "answer", "letter"),
    [
        ("index", ["red", "blue"], 1, "B"), ("index", ["1", "0"], "0", "A"), ("letter", ["B", "A"], "A", "A"),
        ("text", ["B", "A"], "A", "B"),
    ],
)  # fmt: skip
def test_what_an_answer_is_can_be_said(
    tmp_path: Path, answer_format: str, options: list[str], answer: Any, letter: str
) -> None:
    benchmark(tmp_path, {**CHOICE, "options": options, "answer": answer})
    (sample,) = load(f"{tmp_path / 'mine.jsonl'}:answer_format={answer_format}").samples()
    assert sample.answers == (letter,)
    benchmark(tmp_path, {**CHOICE, "answer": 2})
    with pytest.raises(BenchmarkError, match=f"'2' is none of the options .* by its {answer_format}"):
        load(f"{tmp_path / 'mine.jsonl'}:answer_format={answer_format}").samples()


def test_options_that_are_letters_are_refused_with_what_helps(tmp_path: Path) -> None:
    letters = {**CHOICE, "options": ["B", "A", "D", "C"]}
    with pytest.raises(BenchmarkError, match=r"names several .*brackets, as in \(A\).*:answer_format=letter"):
        benchmark(tmp_path, {**letters, "answer": "A"}).samples()
    assert benchmark(tmp_path, {**letters, "answer": "(A)"}).samples()[0].answers == ("A",)


def test_true_and_false_are_yes_and_no(tmp_path: Path) -> None:
    assert (only(tmp_path, answer=True).answers, only(tmp_path, answer=True).answer_type) == (("yes",), "yes_no")
    assert only(tmp_path, answer=False, answer_type="yes_no").answers == ("no",)
    assert only(tmp_path, answer=False, options=["yes", "no"]).answers == ("B",)
    assert only(tmp_path, answer=False, options=[True, False]).answers == ("B",)


@pytest.mark.parametrize("options", [{"A": "red", "B": "blue"}, {"b": "blue", "a": "red", "c": None}])
@pytest.mark.parametrize("answer", ["B", "blue"])
def test_options_may_be_an_object_with_letters(tmp_path: Path, options: dict[str, Any], answer: str) -> None:
    sample = only(tmp_path, options=options, answer=answer)
    assert (sample.options, sample.answers) == (("red", "blue"), ("B",))


@pytest.mark.parametrize("options", [["A. red", "B. blue"], ["(A) red", "(B) blue"], ["A: red", "B: blue"]])
def test_letters_that_options_carry_are_taken_off(tmp_path: Path, options: list[str]) -> None:
    for answer in ("B", "blue", options[1]):
        sample = only(tmp_path, options=options, answer=answer)
        assert (sample.options, sample.answers) == (("red", "blue"), ("B",))


@pytest.mark.parametrize("options", [["B. red", "A. blue"], ["A. red", "blue"], ["A", "B"], ["A.", "B."]])
def test_what_is_not_every_option_s_own_letter_stays(tmp_path: Path, options: list[str]) -> None:
    assert only(tmp_path, options=options, answer="(B)").options == tuple(options)


@pytest.mark.parametrize("written", [["red", "blue"], '["red", "blue"]', "['red', 'blue']", "('red', 'blue')"])
def test_options_may_be_written_as_text(tmp_path: Path, written: Any) -> None:
    assert only(tmp_path, options=written, answer="B").options == ("red", "blue")


def test_images_in_a_list_are_shown_in_their_order(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg"))
    sample = only(tmp_path, image=["a.jpg", "b.jpg"], more_images="c.jpg")
    assert (sample.image, sample.more_images, sample.cluster) == (first, (second, third), "")
    sample = only(tmp_path, image='["a.jpg"]', more_images='["b.jpg", "c.jpg"]')
    assert (sample.image, sample.more_images, sample.cluster) == (first, (second, third), "a.jpg")
    assert only(tmp_path, image="[1] a.jpg").image == tmp_path / "[1] a.jpg"


def test_other_columns_do_not_disturb(tmp_path: Path) -> None:
    assert only(tmp_path, image_id=7, source="web", split="test", question_type="ocr", answer_bbox=[1]) == only(
        tmp_path
    )


# --- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"image": None}, "column 'image' is empty; expected an image"),
        ({"image": " "}, "column 'image' is empty"),
        ({"image": []}, "column 'image' is empty"),
        ({"image": 7}, r"column 'image': found '7' \(int\); expected a path, base64 text, bytes, a Hub image"),
        ({"image": ["a.jpg", None]}, r"column 'image': found 'None' \(NoneType\)"),
        ({"image": {"file": "a.jpg"}}, "column 'image': found"),
        ({"image": {"path": None, "bytes": None}}, "column 'image' is empty"),
        (
            {"image": "https://example.org/a.jpg"},
            "column 'image': found https.*URLs are not fetched. Download the file .*:urls=true",
        ),
        ({"crop_image": "https://example.org/a.jpg"}, "URLs are not fetched"),
        ({"crop_image": True}, "column 'crop_image': found 'True'"),
        ({"crop_image": ["a.jpg", "b.jpg"]}, "column 'crop_image' has 2 images; expected one"),
        ({"more_images": ["b.jpg", 3]}, "column 'more_images': found '3'"),
        ({"question": None}, "column 'question' is empty; expected text"),
        ({"question": float("nan")}, "column 'question' is empty"),
        ({"answer": None}, "column 'answer' is empty; expected text"),
        ({"answer": ""}, "column 'answer' is empty"),
        ({"answer": ["STOP", "Stop"]}, r"column 'answer': found .*\(list\); expected text"),
        ({"answer": {"text": "STOP"}}, r"\(dict\); expected text"),
        ({"answers": "STOP"}, r"column 'answers': found 'STOP'; expected a list, as \["),
        ({"answers": [], "answer": None}, "column 'answers' is empty"),
        ({"answers": ["STOP", None]}, "expected no empty entries"),
        ({"answer_type": "word"}, "column 'answer_type' is 'word'; expected one of letter, yes_no"),
        ({"answer_type": ["text"]}, "column 'answer_type'"),
        ({"answer_type": "number"}, "'STOP' has 0 numbers"),
        ({"answer_type": "yes_no"}, "'STOP' is neither yes nor no"),
        ({"answer_type": "letter"}, "letter with 0 options; expected a list"),
        ({"options": ["GO", "WAIT"]}, r"answer 'STOP' is none of the options \['GO', 'WAIT'\]"),
        ({"options": ["GO", "A"], "answer": "A"}, "answer 'A' names several of the options"),
        ({"options": ["STOP", "STOP"]}, "names several of the options"),
        ({"options": "STOP"}, "column 'options': found 'STOP'; expected a list.*:list_separator=semicolon"),
        ({"options": {"A": "STOP", "C": "GO"}}, "column 'options': found options with the keys A, C; expected A, B"),
        ({"bbox": {"x": 1, "y": 2, "w": 3, "h": 4}, "bbox_format": "xyxy"}, "keys x, y, w, h are xywh; .* says xyxy"),
        ({"bbox": {"a": 1}, "bbox_format": "xyxy"}, "a box with the keys a; expected one of: x1, y1, x2, y2"),
        ({"options": ["STOP", ""]}, "expected no empty entries"),
        ({"options": [f"o{n}" for n in range(27)], "answer": "o3"}, "27 options; expected a list of 1 to 26"),
        ({"bbox": [1, 2, 3, 4]}, "no 'bbox_format'. Say which of xyxy, xywh, xyxy_normalised"),
        (
            {"bbox": [1, 2, 3, 4], "bbox_format": "coco"},
            "column 'bbox_format': box_format is 'coco'; expected one of xyxy",
        ),
        ({"bbox_format": 4}, "column 'bbox_format': box_format is '4'"),
        ({"bbox": [1, 2, 3], "bbox_format": "xyxy"}, r"box \[1, 2, 3\]: expected four finite numbers"),
        ({"bbox": [1, 2, 3, "4"], "bbox_format": "xyxy"}, "four finite numbers"),
        ({"bbox": [0, 0, True, True], "bbox_format": "xyxy"}, "four finite numbers"),
        ({"bbox": [1, 2, float("nan"), 4], "bbox_format": "xyxy"}, "four finite numbers"),
        ({"bbox": "1 2 3 4", "bbox_format": "xyxy"}, "column 'bbox': found '1 2 3 4'; expected a list"),
        ({"bbox": "[1, 2, 3]", "bbox_format": "xyxy"}, "four finite numbers"),
        ({"bbox": 7, "bbox_format": "xyxy"}, r"\(int\); expected a list"),
        ({"bboxes": [1, 2, 3, 4], "bbox_format": "xyxy"}, "box 1: expected four finite numbers"),
        ({"bboxes": "1,2,3,4", "bbox_format": "xyxy"}, "box 1: expected four finite numbers"),
        ({"bbox": [1, 2, 3, 4], "bboxes": [[1, 2, 3, 4]], "bbox_format": "xyxy"}, "both 'bbox' and 'bboxes'"),
        ({"id": ["1"]}, "column 'id'"),
        ({"group": {}}, "column 'group'"),
        ({"category": True}, "column 'category'"),
        ({"question": "\ud800"}, "column 'question': .* half a surrogate pair"),
        ({"answers": ["\udfff"]}, "column 'answers': .* half a surrogate pair"),
        ({"image": "\udcff.png"}, "column 'image': .* half a surrogate pair"),
    ],
)
def test_a_wrong_column_is_named_with_file_and_line(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    with pytest.raises(BenchmarkError, match=rf"^mine\.jsonl line 2: .*{says}"):
        benchmark(tmp_path, ROW, {**ROW, **columns}).samples()


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("option", "options"), ("answe", "answer"), ("boxes", "bboxes"), ("bbox_fromat", "bbox_format"),
        ("crop_img", "crop_image"), ("Question", "question"), ("catgory", "category"), ("answertype", "answer_type"),
        ("grup", "group"),
    ],
)  # fmt: skip
def test_a_misspelt_column_is_not_passed_over(tmp_path: Path, misspelt: str, meant: str) -> None:
    row: dict[str, Any] = dict(ROW)
    row[misspelt] = row.pop(meant, "x")
    with pytest.raises(
        BenchmarkError, match=rf"^mine\.jsonl line 1: column '{misspelt}' .*Did you mean '{meant}'.*:{meant}={misspelt}"
    ):
        benchmark(tmp_path, row).samples()


@pytest.mark.parametrize("needed", ROW)
def test_a_needed_column_that_is_missing_is_named_beside_those_found(tmp_path: Path, needed: str) -> None:
    row: dict[str, Any] = dict(ROW)
    row["unlike"] = row.pop(needed)
    with pytest.raises(
        BenchmarkError,
        match=rf"^mine\.jsonl line 1: column '{needed}' is missing.*Found columns: .*unlike.*:{needed}=COLUMN",
    ):
        benchmark(tmp_path, row).samples()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"image": "a.jpg",', r"not JSON .*Expected one object a line"),
        ("STOP", "not JSON"),
        ("[1, 2]", "found list; expected a JSON object"),
        ("null", "found NoneType"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(BenchmarkError, match=rf"^mine\.jsonl line 3: {says}"):
        benchmark(tmp_path, ROW, "", line).samples()


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_said_with_its_line(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(json.dumps({**ROW, "answer": "caf\xe9"}, ensure_ascii=False).encode(encoding))
    with pytest.raises(BenchmarkError, match=r"mine\.jsonl line 1: not UTF-8 .*Save the file as UTF-8"):
        load(str(path)).samples()


def test_an_id_that_comes_twice_names_both_lines(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"mine\.jsonl line 3: id '7' is that of line 1, too. .*:id=-"):
        benchmark(tmp_path, {**ROW, "id": 7}, ROW, {**ROW, "id": "7"}).samples()


def test_an_empty_file_has_no_samples(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="mine: it has no samples"):
        benchmark(tmp_path).samples()


def test_all_needed_columns_that_are_missing_are_named_together(tmp_path: Path) -> None:
    says = "line 1: it has no column image, answer or answers. Found columns: question.*:image=COLUMN,answer=COLUMN"
    with pytest.raises(BenchmarkError, match=says):
        benchmark(tmp_path, {"question": "Which?"}).samples()


def test_rows_of_a_model_need_no_answer_and_keep_who_drew_the_box(tmp_path: Path) -> None:
    row = {"image": "a.png", "question": "What is it?", "bbox": [1, 2, 30, 40], "bbox_format": "xyxy"}
    (sample,) = benchmark(tmp_path, {**row, "evidence": "model"}).samples()
    assert (sample.evidence, sample.answers) == ("model", ())
    (sample,) = benchmark(tmp_path, {**row, "evidence": "model", "answer": "a mug"}).samples()
    assert sample.answers == ("a mug",)
    wrong: list[dict[str, str]] = [{}, {"evidence": "annotated"}, {"evidence": "me"}]
    for changes, said in zip(wrong, ("answer", "answer", "annotated or model"), strict=True):
        with pytest.raises(BenchmarkError, match=said):
            benchmark(tmp_path, {**row, **changes}).samples()
