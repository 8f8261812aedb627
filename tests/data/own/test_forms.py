"""The same questions come out of every form in which a user may have them."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from gapbench.cli.app import app
from gapbench.data import own as user_data
from gapbench.data import table_reader as tables
from gapbench.data.benchmark import fingerprint
from gapbench.data.catalogue import Benchmark, load
from gapbench.errors import BenchmarkError
from gapbench.types import Sample
from gapbench.views.images import decode

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

ROWS: list[dict[str, Any]] = [
    {"id": "a", "image": "one.png", "question": "Which?", "options": ["red", "blue"], "answer": "blue",
     "bbox": [1, 2, 30, 40], "bbox_format": "xyxy", "category": "colour"},
    {"id": "b", "image": "one.png", "question": 'What does "it" say?', "options": None, "answer": "STOP",
     "bbox": [5.5, 6, 70, 80], "bbox_format": "xyxy", "category": "ocr"},
    {"id": "c", "image": "two.png", "question": "How\nmany?", "options": None, "answer": "7", "bbox": None,
     "bbox_format": None, "category": None},
]  # fmt: skip


def png(colour: str, size: tuple[int, int] = (100, 90)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


PNG = {"one.png": png("red"), "two.png": png("blue")}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_text(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)


def write_parquet(path: Path, rows: list[dict[str, Any]], kind: Any = None) -> None:
    table = pa.Table.from_pylist(rows)
    if kind is not None:
        table = table.set_column(1, "image", pa.array([row["image"] for row in rows], kind))
    pq.write_table(table, path)


def write_folder(path: Path, rows: list[dict[str, Any]]) -> None:
    path.mkdir()
    renamed = [{"file_name": row["image"], **{k: v for k, v in row.items() if k != "image"}} for row in rows]
    if path.name == "with_csv":
        write_text(path / "metadata.csv", renamed)
    elif path.name == "with_parquet":
        write_parquet(path / "metadata.parquet", renamed)
    else:
        write_jsonl(path / "metadata.jsonl", renamed)
    for name, data in PNG.items():
        (path / name).write_bytes(data)


def write_shards(path: Path, rows: list[dict[str, Any]]) -> None:
    path.mkdir()
    for number, row in enumerate(rows):
        write_parquet(path / f"test-{number:05}-of-{len(rows):05}.parquet", [row])
    for name, data in PNG.items():
        (path / name).write_bytes(data)


FORMS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    "mine.jsonl": write_jsonl, "mine.csv": write_text, "mine.tsv": write_text, "mine.parquet": write_parquet,
    "folder": write_folder, "with_csv": write_folder, "with_parquet": write_folder, "shards": write_shards,
}  # fmt: skip


@pytest.fixture(params=FORMS)
def mine(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The rows above in one of the forms, images beside them."""
    for name, data in PNG.items():
        (tmp_path / name).write_bytes(data)
    FORMS[request.param](tmp_path / request.param, ROWS)
    return tmp_path / str(request.param)


def test_every_form_holds_the_same_questions(mine: Path) -> None:
    folder = mine if mine.is_dir() else mine.parent
    one, two = folder / "one.png", folder / "two.png"
    assert load(str(mine)).samples() == [
        Sample("a", one, "Which?", ("B",), ("red", "blue"), "letter", ((1, 2, 30, 40),), "xyxy",
               "colour", "one.png"),
        Sample("b", one, 'What does "it" say?', ("STOP",), (), "text", ((5.5, 6, 70, 80),), "xyxy",
               "ocr", "one.png"),
        Sample("c", two, "How\nmany?", ("7",), box_format="xyxy", cluster="two.png"),
    ]  # fmt: skip


def test_every_form_is_checked_and_measured(mine: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["benchmarks", "check", str(mine)])
    assert done.exit_code == 0, done.output
    assert "samples" in done.output
    out = tmp_path / "run"
    done = CliRunner().invoke(
        app, ["measure", "glance", "-b", str(mine), "--out", str(out), "--quiet"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    answered = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert {(row["sample"], row["view"]) for row in answered} == {(s, v) for s in "abc" for v in ("full", "crop")}
    assert {row["sample"] for row in answered if row["outcome"] == "failed"} == {"c"}  # it has no box


def test_every_form_is_named_after_itself_and_its_content(mine: Path) -> None:
    benchmark = load(str(mine))
    assert benchmark.name == benchmark.card.name == mine.stem
    assert benchmark.card.source == mine.name
    assert benchmark.card.revision.startswith("sha256:")


# --- images inside tables ------------------------------------------------------------------------------------

INSIDE = {
    "the Hub's Image": (PICTURE, lambda data: {"bytes": data, "path": "somewhere.png"}),
    "bytes": (pa.binary(), lambda data: data),
    "base64": (pa.string(), lambda data: base64.b64encode(data).decode()),
    "data URI": (pa.string(), lambda data: f"data:image/png;base64,{base64.b64encode(data).decode()}"),
    "list": (pa.list_(PICTURE), lambda data: [{"bytes": data, "path": None}]),
}


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("held", INSIDE)
def test_images_may_be_inside_a_parquet_file(tmp_path: Path, held: str, large: bool) -> None:
    kind, wrap = INSIDE[held]
    data = [png("red"), png("blue")]
    if large:
        noise = Image.effect_noise((120, 110), 99).convert("RGB")
        for n in range(2):
            noise.putpixel((0, 0), (n, 0, 0))
            buffer = io.BytesIO()
            noise.save(buffer, "PNG")
            data[n] = buffer.getvalue()
    rows = [{**ROWS[n], "image": wrap(data[n])} for n in range(2)]
    write_parquet(tmp_path / "mine.parquet", rows, kind)
    samples = load(str(tmp_path / "mine.parquet")).samples()
    assert [decode(s.image)[1] for s in samples] == [decode(d)[1] for d in data]
    assert callable(samples[0].image) == large
    assert [s.cluster for s in samples] == ["", ""]
    assert len({fingerprint(samples), fingerprint(samples[:1]), fingerprint(samples[::-1])}) == 3


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv"])
def test_base64_in_text_stays_in_the_file_until_it_is_looked_at(tmp_path: Path, suffix: str) -> None:
    noise = Image.effect_noise((300, 300), 99)
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    written = base64.b64encode(buffer.getvalue()).decode()
    path = tmp_path / f"mine.{suffix}"
    FORMS[path.name](path, [{**ROWS[0], "image": written, "crop_image": written}, ROWS[1]])
    samples = load(str(path)).samples()
    assert callable(samples[0].image)
    assert callable(samples[0].crop_image)
    assert decode(samples[0].image)[0].size == decode(samples[0].crop_image)[0].size == (300, 300)
    assert samples[1].image == tmp_path / "one.png"


@pytest.mark.parametrize("change", ["a line less", "gone"])
def test_a_file_that_changes_while_it_is_in_use_ends_the_run_instead_of_showing_another_image(
    tmp_path: Path, change: str
) -> None:
    written = base64.b64encode(png("red", (2000, 2000))).decode()
    path = tmp_path / "mine.jsonl"
    write_jsonl(path, [{**ROWS[n], "image": written} for n in range(3)])
    samples = load(str(path)).samples()
    if change == "gone":
        path.unlink()
    else:
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(BenchmarkError, match=r"mine\.jsonl: it was changed or removed while it was in use"):
        decode(samples[0].image)


def test_a_hub_image_may_name_a_file_beside_the_table(tmp_path: Path) -> None:
    write_parquet(tmp_path / "mine.parquet", [{**ROWS[0], "image": {"bytes": None, "path": "a/one.png"}}], PICTURE)
    (sample,) = load(str(tmp_path / "mine.parquet")).samples()
    assert (sample.image, sample.cluster) == (tmp_path / "a" / "one.png", "a/one.png")


def test_numbers_of_classes_are_read_as_their_names(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({
        "image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string"),
        "category": datasets.ClassLabel(names=["ocr", "colour"]), "options": datasets.List(datasets.Value("string")),
        "bbox": datasets.List(datasets.Value("float32"), length=4), "bbox_format": datasets.Value("string"),
    })  # fmt: skip
    rows = {
        "image": [{"bytes": png("red"), "path": None}] * 3, "question": ["A?", "B?", "C?"], "answer": ["x", "y", "x"],
        "category": [1, 0, -1], "options": [["x", "y"]] * 3, "bbox": [[1, 2, 3, 4], None, None],
        "bbox_format": ["xywh"] * 3,
    }  # fmt: skip
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "mine.parquet")
    samples = load(str(tmp_path / "mine.parquet")).samples()
    assert [s.category for s in samples] == ["colour", "ocr", ""]
    assert [s.boxes for s in samples] == [((1, 2, 3, 4),), (), ()]
    assert [s.answers for s in samples] == [("A",), ("B",), ("A",)]


def test_large_tables_go_through_the_cache_and_stay_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "IN_MEMORY", 0)
    write_text(tmp_path / "mine.csv", ROWS)
    assert [s.id for s in load(str(tmp_path / "mine.csv")).samples()] == ["a", "b", "c"]
    assert list((tmp_path / "cache").rglob("*.arrow"))


# --- folders ---------------------------------------------------------------------------------------------------


def shards(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(path, [{**ROWS[2], "id": str(number)}])
    return folder


@pytest.mark.parametrize(
    ("names", "split", "ids"),
    [
        (["0.parquet", "1.parquet"], "", "01"),
        (["data/test-00000-of-00002.parquet", "data/test-00001-of-00002.parquet"], "", "01"),
        (["data/test-00000-of-00002-ab12.parquet", "data/test-00001-of-00002-cd.parquet"], "test", "01"),
        (["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"], "test", "0"),
        (["test.parquet", "train_1.parquet", "train_2.parquet"], "train", "12"),
        (["default/test/0000.parquet", "default/train/0000.parquet"], "train", "1"),
        (["a/test/0000.parquet", "b/test/0000.parquet"], "b/test", "1"),
    ],
)
def test_a_folder_of_parquet_is_one_table_per_split(tmp_path: Path, names: list[str], split: str, ids: str) -> None:
    folder = shards(tmp_path / "mine", *names)
    benchmark = load(f"{folder}:split={split}" if split else str(folder))
    assert benchmark.name == "mine"
    assert [s.id for s in benchmark.samples()] == list(ids)


@pytest.mark.parametrize(
    ("names", "split", "says"),
    [
        (["test.parquet", "train.parquet"], "", "mine: it has the splits test, train; none was named.*:split=train"),
        (["test.parquet", "train.parquet"], "tset", "split=tset is none of them"),
        (["0.parquet"], "test", "mine: it has no parameter 'split'"),
        (["a/test/0.parquet", "b/test/0.parquet"], "test", "a/test, b/test; split=test is several of them"),
    ],
)
def test_splits_are_never_mixed_nor_guessed(tmp_path: Path, names: list[str], split: str, says: str) -> None:
    folder = shards(tmp_path / "mine", *names)
    with pytest.raises(BenchmarkError, match=says):
        load(f"{folder}:split={split}" if split else str(folder)).samples()


def test_an_image_folder_may_bring_its_crops(tmp_path: Path) -> None:
    row = {"file_name": "a/one.png", "crop_image_file_name": "a/crop.png", "question": "What?", "answer": "x"}
    write_jsonl(tmp_path / "metadata.jsonl", [row])
    (sample,) = load(str(tmp_path)).samples()
    assert (sample.image, sample.crop_image) == (tmp_path / "a/one.png", tmp_path / "a/crop.png")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "found nothing in this folder. Expected .jsonl, .json, .csv, .tsv, .parquet, or a folder"),
        (["mine.csv", "notes.txt"], "found mine.csv, notes.txt in this folder"),
        (["metadata.csv", "metadata.jsonl"], "it has metadata.jsonl and metadata.csv. Name the one to use"),
    ],
)
def test_a_folder_that_is_no_data_says_what_was_expected(tmp_path: Path, files: list[str], says: str) -> None:
    for name in files:
        (tmp_path / name).write_text("x")
    with pytest.raises(BenchmarkError, match=says):
        load(str(tmp_path))


@pytest.mark.parametrize("name", ["mine.txt", "mine.xlsx", "mine"])
def test_a_file_of_another_form_says_what_was_expected(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(
        BenchmarkError, match=rf"{name}: its form is not known by its suffix\. Expected \.jsonl, \.json"
    ):
        load(str(tmp_path / name))


# --- what is said of rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "mine.parquet", "with_csv"])
def test_a_wrong_row_of_a_table_is_named_by_its_number(tmp_path: Path, name: str) -> None:
    FORMS[name](tmp_path / name, [ROWS[0], {**ROWS[1], "question": " "}])
    file = "metadata.csv" if name == "with_csv" else name
    with pytest.raises(BenchmarkError, match=rf"^{file} row 2: column 'question' is empty; expected text\."):
        load(str(tmp_path / name)).samples()


def test_ids_of_a_table_default_to_its_rows(tmp_path: Path) -> None:
    write_text(tmp_path / "mine.csv", [{k: v for k, v in row.items() if k != "id"} for row in ROWS])
    assert [s.id for s in load(str(tmp_path / "mine.csv")).samples()] == ["1", "2", "3"]


def test_reading_from_code_is_reading_from_the_command_line(tmp_path: Path) -> None:
    write_text(tmp_path / "mine.csv", [{"Bild": "one.png", "Frage": "What?", "answer": "x"}])
    (sample,) = user_data.read(tmp_path / "mine.csv", image="Bild", question="Frage")
    assert [sample] == load(f"{tmp_path / 'mine.csv'}:image=Bild,question=Frage").samples()
    benchmark: Benchmark = user_data.load(str(tmp_path / "mine.csv"))
    assert benchmark.make(image="Bild", question="Frage").__next__() == sample  # type: ignore[attr-defined]
