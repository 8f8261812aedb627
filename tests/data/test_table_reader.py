"""Rows of Parquet, CSV and TSV come out as they were written, and images stay on disk until somebody looks."""

from __future__ import annotations

import base64
import contextlib
import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapbench.data import table_reader as tables
from gapbench.data.benchmark import fingerprint
from gapbench.data.table_reader import open_table, read_rows
from gapbench.errors import BenchmarkError
from gapbench.types import Sample

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(params=["in memory", "through the cache"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small tables are held in memory, large ones go through the cache: they must not be told apart."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "IN_MEMORY", 0 if request.param == "through the cache" else 1 << 30)
    return str(request.param)


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def text(path: Path, *rows: list[str], separator: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    return path


# --- what is read ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_rows_of_parquet_keep_their_types(tmp_path: Path) -> None:
    columns = {"id": [7, None], "question": ["What?", ""], "options": [["a", "b"], []], "score": [0.5, float("nan")]}
    assert list(read_rows(parquet(tmp_path / "t.parquet", columns))) == [
        {"id": 7, "question": "What?", "options": ["a", "b"], "score": 0.5},
        {"id": None, "question": None, "options": [], "score": None},
    ]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("tsv", "\t"), ("TSV", "\t")])
def test_cells_of_text_files_are_text(tmp_path: Path, suffix: str, separator: str) -> None:
    rows = ["id", "question"], ["007", 'Who said "a,\tb"?\nAnd why?'], ["", "NA"], ["nan", "caf\xe9 \u4e2d"]
    path = text(tmp_path / f"t.{suffix}", *rows, separator=separator)
    assert [tuple(row.values()) for row in read_rows(path)] == [
        ("007", rows[1][1]), (None, "NA"), ("nan", "caf\xe9 \u4e2d"),
    ]  # fmt: skip


def test_another_separator_can_be_declared(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", ["a", "b"], ["1,5", "2"], separator=";")
    assert list(open_table(path, separator=";").rows()) == [{"a": "1,5", "b": "2"}]


def test_a_byte_order_mark_blank_lines_and_other_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n\r\n1,2\r\n")
    assert list(read_rows(path)) == [{"a": "1", "b": "2"}]


def test_a_column_without_a_name_gets_one(tmp_path: Path) -> None:
    """pandas writes its index so."""
    assert list(read_rows(text(tmp_path / "t.csv", ["", "a"], ["0", "x"]))) == [{"column 1": "0", "a": "x"}]


@pytest.mark.usefixtures("way")
def test_several_files_are_one_table_in_their_order(tmp_path: Path) -> None:
    shards = [
        parquet(tmp_path / "b.parquet", {"n": [1, 2], "s": ["x", "y"], "t": pa.nulls(2)}),
        parquet(tmp_path / "a.parquet", {"t": [["x"]], "s": pa.nulls(1), "n": [3.5]}),
    ]
    assert [tuple(row[c] for c in "nst") for row in read_rows(shards)] == [
        (1, "x", None), (2, "y", None), (3.5, None, ["x"]),
    ]  # fmt: skip
    texts = [text(tmp_path / f"{n}.csv", ["n"], [str(n)]) for n in (2, 1)]
    assert [row["n"] for row in read_rows(texts)] == ["2", "1"]


@pytest.mark.usefixtures("way")
def test_a_table_without_rows_has_none(tmp_path: Path) -> None:
    assert list(read_rows(parquet(tmp_path / "t.parquet", {"a": pa.array([], pa.string())}), lazy=("a",))) == []
    assert list(read_rows(text(tmp_path / "t.csv", ["a", "b"]))) == []


@pytest.mark.usefixtures("way")
def test_categories_of_pandas_are_read_as_their_values(tmp_path: Path) -> None:
    parts = [pa.array(v).dictionary_encode() for v in (["a", "b", "a"], ["c", "c", "a"])]
    shards = [parquet(tmp_path / f"{n}.parquet", {"kind": part}) for n, part in enumerate(parts)]
    assert [row["kind"] for row in read_rows(shards)] == ["a", "b", "a", "c", "c", "a"]


@pytest.mark.parametrize("declared", [
    {"names": ["no", "yes"], "_type": "ClassLabel"},
    {"feature": {"names": ["no", "yes"], "_type": "ClassLabel"}, "_type": "List"},
    [{"names": ["no", "yes"], "_type": "ClassLabel"}],
])  # fmt: skip
@pytest.mark.usefixtures("way")
def test_the_names_of_classes_are_known(tmp_path: Path, declared: Any) -> None:
    stored = {"info": {"features": {"label": declared, "n": {"dtype": "int64", "_type": "Value"}}}}
    table = pa.table({"label": [0], "n": [1]}).replace_schema_metadata({"huggingface": json.dumps(stored)})
    pq.write_table(table, tmp_path / "t.parquet")
    assert open_table(tmp_path / "t.parquet").labels == {"label": ("no", "yes")}


@pytest.mark.parametrize("stored", [b"", b"null", b"{}", b'{"info": {"features": [1]}}', b"\xff"])
def test_what_others_write_beside_a_table_is_not_believed(tmp_path: Path, stored: bytes) -> None:
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({b"huggingface": stored}), tmp_path / "t.parquet")
    assert open_table(tmp_path / "t.parquet").labels == {}


# --- lazy columns ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([{"bytes": b"1", "path": "a"}, None, {"bytes": None, "path": None}, {"bytes": None, "path": "b"}], PICTURE),
        ([b"1", None, b"", b"2"], pa.binary()),
        ([b"1", None, b"", b"2"], pa.large_binary()),
        (["MQ==", None, "", "Mg=="], pa.string()),
        (["MQ==", None, "", "Mg=="], pa.large_string()),
        ([["a", "b"], None, [], ["c"]], pa.list_(pa.string())),
        ([1, None, None, 0], pa.int64()),
    ],
)
def test_a_lazy_cell_is_a_function_or_none_where_it_is_empty(tmp_path: Path, cells: list[Any], kind: Any) -> None:
    path = parquet(tmp_path / "t.parquet", {"id": [0, 1, 2, 3], "image": pa.array(cells, kind)})
    rows = list(read_rows(path, lazy=("image", "crop_image")))
    assert [row["image"]() if row["image"] else None for row in rows] == [cells[0], None, None, cells[3]]
    assert [row["crop_image"] for row in rows] == [None] * 4


@pytest.mark.usefixtures("way")
def test_a_table_may_be_lazy_throughout(tmp_path: Path) -> None:
    assert [row["a"]() for row in read_rows(text(tmp_path / "t.csv", ["a"], ["x"], ["y"]), lazy=("a",))] == ["x", "y"]


@pytest.mark.usefixtures("way")
def test_cells_are_read_in_any_order_and_again(tmp_path: Path) -> None:
    count = 300
    path = parquet(tmp_path / "t.parquet", {"image": [bytes([n % 251]) * 99 for n in range(count)]}, row_group_size=7)
    rows = list(read_rows(path, lazy=("image",)))
    for n in [*range(count - 1, -1, -1), 5, 5]:
        assert rows[n]["image"]() == bytes([n % 251]) * 99


@pytest.mark.usefixtures("way")
def test_a_cell_of_many_megabytes_is_no_obstacle(tmp_path: Path) -> None:
    """The csv module refuses more than 131,072 characters unless told otherwise."""
    large = base64.b64encode(np.random.default_rng(0).bytes(9_000_000)).decode()
    path = text(tmp_path / "t.tsv", ["id", "image"], ["1", large], ["2", large[::-1]], separator="\t")
    rows = list(read_rows(path, lazy=("image",)))
    assert rows[1]["image"]() == large[::-1]
    assert rows[0]["image"]() == large


@pytest.mark.usefixtures("way")
def test_a_lazy_image_is_identified_by_table_row_and_column(tmp_path: Path) -> None:
    def prints(folder: str, count: int, row: int, column: str) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        path = parquet(tmp_path / folder / "t.parquet", {"a": [b"1"] * count, "b": [b"1"] * count})
        image = list(read_rows(path, lazy=("a", "b")))[row][column]
        return fingerprint([Sample("1", image, "What?", ("x",))])

    here = prints("here", 3, 0, "a")
    assert here == prints("there", 3, 0, "a")
    assert len({here, prints("here", 4, 0, "a"), prints("here", 3, 1, "a"), prints("here", 3, 0, "b")}) == 4


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=8), st.sampled_from([",", "\t", ";"]))
def test_whatever_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str
) -> None:
    path = text(tmp_path_factory.mktemp("t") / "t.csv", ["a", "b"], *map(list, rows), separator=separator)
    assert [(row["a"] or "", row["b"] or "") for row in open_table(path, separator=separator).rows()] == rows


# --- the cache -------------------------------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "IN_MEMORY", 0)
    return lambda: sorted(p.name for p in (tmp_path / "cache" / "gapbench-tables").glob("*") if p.suffix != ".lock")


def test_a_table_is_converted_once_and_again_when_it_changed(tmp_path: Path, cached: Callable[[], list[str]]) -> None:
    path = parquet(tmp_path / "t.parquet", {"a": [1]})
    list(read_rows(path))
    first = cached()
    list(read_rows(path))
    assert cached() == first
    assert [row["a"] for row in read_rows(parquet(path, {"a": [1, 2, 3]}))] == [1, 2, 3]
    assert len(cached()) == 2


def test_a_conversion_that_fails_leaves_nothing_behind(tmp_path: Path, cached: Callable[[], list[str]]) -> None:
    path = text(tmp_path / "t.csv", ["a", "b"], ["1", "2"], ["1"])
    with pytest.raises(BenchmarkError, match="row 2"):
        list(read_rows(path))
    assert cached() == []


@pytest.mark.parametrize("damage", [b"", b"\xff" * 5000, None], ids=["empty", "overwritten", "cut off"])
def test_a_damaged_conversion_is_made_again(
    tmp_path: Path, cached: Callable[[], list[str]], damage: bytes | None
) -> None:
    table = parquet(tmp_path / "t.parquet", {"question": ["a" * 9000, "b"]})
    rows = list(read_rows(table))
    (converted,) = (tmp_path / "cache").rglob("*.arrow")
    converted.write_bytes(converted.read_bytes()[:3000] if damage is None else damage)
    assert list(read_rows(table)) == rows


def test_what_a_killed_conversion_left_is_written_over(tmp_path: Path, cached: Callable[[], list[str]]) -> None:
    table = parquet(tmp_path / "t.parquet", {"question": ["a"]})
    list(read_rows(table))
    (converted,) = (tmp_path / "cache").rglob("*.arrow")
    converted.rename(converted.with_name(f".{converted.name}.draft"))
    list(read_rows(table))
    assert cached() == [converted.name]


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: Callable[[], list[str]]
) -> None:
    (tmp_path / "file").touch()  # the tests may run as root, whom no permission stops
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "file"))
    with pytest.raises(BenchmarkError, match=r"t\.parquet: cannot be converted into .*HF_DATASETS_CACHE"):
        list(read_rows(parquet(tmp_path / "t.parquet", {"question": ["a"]})))


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_DATASETS_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/datasets"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/datasets"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/datasets"),
    ],
)
def test_the_cache_lies_beside_that_of_datasets(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name in ("HF_DATASETS_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert tables.conversions() == Path(folder) / "gapbench-tables"


# --- memory ----------------------------------------------------------------------------------------------------

LOOK = """
import resource, sys
from pathlib import Path
from gapbench.data.table_reader import read_rows
import pyarrow.parquet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = list(read_rows(Path(sys.argv[1]), lazy=("image",)))
seen = sum(len(row["image"]()) for row in rows)
print(seen, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts pages as Linux does")
def test_neither_converting_nor_reading_takes_memory_of_the_table_s_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 MB in one row group, which a reader that buffers row groups holds at once, and a memory map in the end."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    count, size = 4000, 100_000
    schema = pa.schema([("image", pa.binary())])
    noise = np.random.default_rng(0)
    with pq.ParquetWriter(tmp_path / "t.parquet", schema, use_dictionary=False, compression="none") as writer:
        batches = (pa.record_batch([[noise.bytes(size) for _ in range(100)]], schema) for _ in range(count // 100))
        writer.write_table(pa.Table.from_batches(batches), row_group_size=count)
    for _ in range(2):  # first converted, then from the cache
        done = subprocess.run(
            [sys.executable, "-c", LOOK, str(tmp_path / "t.parquet")], capture_output=True, text=True, check=True
        )
        seen, kilobytes = map(int, done.stdout.split())
        assert seen == count * size
        assert kilobytes < 200_000


# --- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_a_missing_column_is_named_beside_those_found(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", {"a": [1], "b": [2]})
    with pytest.raises(BenchmarkError, match=r"t\.parquet: it has no column 'id', 'image'\. Found: a, b\."):
        list(read_rows(path, needs=("id", "a", "image")))


@pytest.mark.parametrize("separator", [";;", '"', "\n", "semi"])
def test_a_separator_is_one_character(tmp_path: Path, separator: str) -> None:
    with pytest.raises(BenchmarkError, match="expected one character"):
        open_table(text(tmp_path / "t.csv", ["a"], ["1"]), separator=separator)


@pytest.mark.parametrize("files", [[], [Path("missing.parquet")]])
def test_a_missing_file(files: list[Path]) -> None:
    with pytest.raises(BenchmarkError, match="not found"):
        list(read_rows(files))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.parquet", b"", r"t\.parquet: cannot be read as Parquet"),
        ("t.parquet", b"PAR1 and no more", r"t\.parquet: cannot be read as Parquet"),
        ("t.csv", b"", r"t\.csv: it is empty\. Expected a header"),
        ("t.csv", b"\n\n", r"t\.csv: it is empty"),
        ("t.csv", b"a,a\n1,2\n", r"t\.csv: two columns are named 'a'"),
        ("t.csv", b"a,b\n1,2\n\n3\n", r"t\.csv row 2 \(line 4\): found 1 cells; expected 2"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", r"t\.csv row 2 \(line 3\): found 3 cells; expected 2, as in the header\. Put"),
        ("t.csv", b'a,b\n1,"2\n', r"t\.csv: the row after line 1 cannot be read"),
        ("t.csv", b'a,b\n1,"2"3\n', r"t\.csv: the row after line 1 cannot be read .*Double a quote"),
        ("t.csv", b"a,b\n1,caf\xe9\n", r"t\.csv: not UTF-8 .*Save the file as UTF-8"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), r"t\.csv: not UTF-8"),
        ("t.json", b"{}", r"t\.json: expected \.parquet, \.csv or \.tsv"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=says):
        list(read_rows(path))


@pytest.mark.usefixtures("way")
def test_a_parquet_file_cut_short_is_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", {"a": [b"x" * 1000] * 50})
    content = path.read_bytes()
    path.write_bytes(content[:100] + content[600:])  # the footer is there, and says where pages were
    with pytest.raises(BenchmarkError, match=r"t\.parquet: cannot be read as Parquet"):
        list(read_rows(path))


@pytest.mark.usefixtures("way")
def test_files_of_one_table_have_the_same_columns(tmp_path: Path) -> None:
    shards = [parquet(tmp_path / "a.parquet", {"x": [1]}), parquet(tmp_path / "b.parquet", {"y": [1]})]
    with pytest.raises(BenchmarkError, match=r"b\.parquet: its columns are y; those of a\.parquet are x"):
        list(read_rows(shards))
    with pytest.raises(BenchmarkError, match=r"its files disagree on the type of a column .*x"):
        list(read_rows([shards[0], parquet(tmp_path / "c.parquet", {"x": [["a"]]})]))
    texts = [text(tmp_path / "a.csv", ["x"], ["1"]), text(tmp_path / "b.csv", ["y"], ["1"])]
    with pytest.raises(BenchmarkError, match=r"b\.csv: its header is not that of a\.csv"):
        list(read_rows(texts))
    with pytest.raises(BenchmarkError, match="all of one kind"):
        list(read_rows([shards[0], texts[0]]))


@pytest.mark.usefixtures("way")
@settings(max_examples=80, deadline=None)
@given(content=st.binary(max_size=200), suffix=st.sampled_from(["csv", "tsv", "parquet"]))
def test_any_bytes_are_rows_or_an_error_that_says_why(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("t") / f"t.{suffix}"
    path.write_bytes(content)
    with contextlib.suppress(BenchmarkError):
        list(read_rows(path))
