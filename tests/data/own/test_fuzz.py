"""Whatever is in the columns becomes samples that can be shown, or an error that says what is wrong with which row."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gapbench.data import own as user_data
from gapbench.data.benchmark import Benchmark
from gapbench.data.catalogue import load
from gapbench.data.own.columns import FIELDS
from gapbench.errors import BenchmarkError, GapbenchError, SampleError
from gapbench.types import Card, Sample
from gapbench.views.boxes import normalise
from gapbench.views.images import decode

NAMES = st.sampled_from([*FIELDS, "Frage", "bboxs", "file_name", ""]) | st.text(max_size=6)
WORDS = st.sampled_from([
    "xyxy", "xywh", "letter", "yes_no", "vqa", "A", "yes", "7", "[1,2,3,4]", "[[1,2,3,4]]", "a.jpg", "https://x/y",
    "[" * 300, "(1,)", "{}", "iVBORw0KGgo=", "data:", "['a','b']", "1,2,3,4", "nan",
])  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(st.characters(), max_size=12)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
HUB_IMAGES = st.fixed_dictionaries({"bytes": st.none() | st.binary(max_size=9) | WORDS, "path": st.none() | WORDS})
SAID = st.dictionaries(st.sampled_from([*FIELDS, "list_separator"]), WORDS | NAMES | st.just("x+y"), max_size=4)
NEEDED = {"image": "a.jpg", "question": "Which?", "answer": "A"}
ROW = st.dictionaries(NAMES, JSON | HUB_IMAGES.filter(lambda v: not isinstance(v["bytes"], bytes)), max_size=6)


def read(path: Path, said: dict[str, Any]) -> None:
    """Read past `Benchmark`, which turns any exception into one of ours, and look at what is there."""
    with contextlib.suppress(GapbenchError):
        for sample in user_data.read(path, **said):
            assert Benchmark("own", Card("own", "Own", "here", "own"), lambda one=sample: [one]).samples() == [sample]
            look(sample)


def look(sample: Sample) -> None:
    with contextlib.suppress(SampleError):
        normalise(sample.boxes, sample.box_format, (100, 80))
    for source in (sample.image, *sample.more_images, *filter(None, [sample.crop_image])):
        with contextlib.suppress(SampleError):
            decode(source)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(ROW, st.booleans()), min_size=1, max_size=3), SAID)
@example([({"options": ["x"], "answer_type": "letter"}, True)], {"answer": "-"})
def test_any_jsonl(folder: Path, rows: list[tuple[dict[str, Any], bool]], said: dict[str, str]) -> None:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(NEEDED | row if whole else row) + "\n" for row, whole in rows))
    read(path, said)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_as_jsonl(folder: Path, content: bytes) -> None:
    (folder / "bytes.jsonl").write_bytes(content)
    read(folder / "bytes.jsonl", {})


@settings(max_examples=200, deadline=None)
@given(
    st.lists(NAMES, max_size=5, unique=True),
    st.lists(st.lists(WORDS | st.text(max_size=9), min_size=8, max_size=8), max_size=3),
    SAID,
)
def test_any_csv(folder: Path, names: list[str], rows: list[list[str]], said: dict[str, str]) -> None:
    path = folder / "mine.csv"
    header = [*NEEDED, *(name for name in names if name not in NEEDED)]
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        csv.writer(file).writerows([header, *(([*NEEDED.values(), *row])[: len(header)] for row in rows)])
    read(path, said)


IN_TABLES = HUB_IMAGES.filter(lambda v: not isinstance(v["bytes"], str))
KINDS = (
    st.integers(-9, 9), st.floats(), st.text(max_size=9) | WORDS, st.booleans(), st.binary(max_size=9), st.datetimes(),
    st.lists(st.none() | st.floats(), max_size=5), st.lists(st.none() | WORDS, max_size=3),
    st.lists(st.lists(st.integers(0, 99), max_size=5), max_size=3), IN_TABLES, st.lists(IN_TABLES, max_size=2),
)  # fmt: skip
COLUMNS = st.one_of(st.lists(st.none() | kind, min_size=2, max_size=2) for kind in KINDS)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, COLUMNS, max_size=6), st.booleans(), SAID)
def test_any_parquet(folder: Path, columns: dict[str, list[Any]], whole: bool, said: dict[str, str]) -> None:
    needed = {name: [value, value] for name, value in NEEDED.items()} if whole else {}
    try:
        pq.write_table(pa.table(needed | columns), folder / "mine.parquet")
    except (pa.ArrowException, UnicodeEncodeError, NotImplementedError):  # what cannot be written need not be read
        return
    read(folder / "mine.parquet", said)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=30))
@example("a/b")
@example("\0")
@example("x" * 5000)
def test_any_name_is_a_benchmark_or_an_error(name: str) -> None:
    with contextlib.suppress(BenchmarkError):
        load(name)
