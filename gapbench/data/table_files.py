"""Reads Parquet, CSV and TSV files as Arrow record batches, a few rows at a time.

    schema, batches = read_files([Path("a.parquet"), Path("b.parquet")], separator="")

Parquet is read page by page: prefetching, as the builders of `datasets` do, would hold several row groups in memory,
and a single row group may be the entire file. Cells of CSV and TSV are text. They are read with `csv`, because pandas
and so the builders of `datasets` fill short rows, shift long ones and join a quoted cell with what follows it.

Limits: a page of a Parquet file is decompressed at once, whatever its size. Text is UTF-8.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gapbench.errors import BenchmarkError
from gapbench.util.text import error_line

CHUNK = 32 << 20
"""The approximate size of a batch in bytes."""

ROWS = 1024
"""The largest number of rows in a batch."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_files(paths: Sequence[Path], separator: str) -> tuple[Any, Iterator[Any]]:
    """The Arrow schema of files of one kind, and a lazy iterator over their record batches.

    `separator` is the character between the cells of text files; "" stands for the default of the suffix. Raises
    BenchmarkError naming file and row.
    """
    kinds = {p.suffix.lower() for p in paths}
    if kinds == {".parquet"}:
        return _read_parquet(paths)
    if len(kinds) == 1 and kinds <= SEPARATORS.keys():
        separator = separator or SEPARATORS[kinds.pop()]
        if len(separator) != 1 or separator in '"\r\n':
            raise BenchmarkError(f"separator is {separator!r}; expected one character, or semicolon, comma, pipe, tab.")
        return _read_text(paths, separator)
    raise BenchmarkError(f"{paths[0]}: expected .parquet, .csv or .tsv files, all of one kind.")


def _read_parquet(paths: Sequence[Path]) -> tuple[Any, Iterator[Any]]:
    import pyarrow as pa

    schemas = []
    for path in paths:
        with _parquet(path) as file:
            stored = file.schema_arrow
        # Categorical columns become their values, since files may list different categories.
        kinds = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in stored.types]
        schemas.append(pa.schema(list(zip(stored.names, kinds, strict=True)), metadata=stored.metadata))
        if set(stored.names) != set(schemas[0].names):
            first = f"those of {paths[0].name} are {', '.join(schemas[0].names)}"
            fault = f"{path}: its columns are {', '.join(stored.names)}; {first}."
            raise BenchmarkError(f"{fault} Files of one table must have the same columns.")
    _check_unique(paths[0], schemas[0].names)
    try:  # a column may be integers in one file and fractions in another, or empty
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        fault = f"{paths[0].parent}: its files disagree on the type of a column ({error})."
        raise BenchmarkError(f"{fault} Write them with the same types.") from error

    def batches() -> Iterator[Any]:
        for path in paths:
            with _parquet(path) as file:
                stored = sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups))
                length = max(1, min(ROWS, CHUNK * file.metadata.num_rows // max(1, stored)))
                for batch in file.iter_batches(length, columns=schema.names, use_threads=False):
                    yield batch.select(schema.names).cast(schema)

    return schema, batches()


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """An open file, which neither memory-maps nor prefetches, as both load entire row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=1 << 20) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        fault = f"{path}: cannot be read as Parquet ({error_line(error, 300)})."
        raise BenchmarkError(f"{fault} Fetch or write the file again.") from error


def _read_text(paths: Sequence[Path], separator: str) -> tuple[Any, Iterator[Any]]:
    import pyarrow as pa

    header = next(_text_rows(paths[0], separator))[1]
    if len(header) == 1 and re.search(r"[,;|\t]", header[0]):
        remedy = "name it: :separator=semicolon (or comma, pipe, tab) behind the name"
        fault = f"{paths[0]}: its header is one cell, {header[0][:200]!r}."
        raise BenchmarkError(f"{fault} If cells are separated by another character, {remedy}.")
    # A column without a name, such as the index of pandas, gets one.
    schema = pa.schema([(name or f"column {number}", pa.string()) for number, name in enumerate(header, 1)])
    _check_unique(paths[0], schema.names)

    def rows() -> Iterator[list[str]]:
        for path in paths:
            for number, (line, cells) in enumerate(_text_rows(path, separator)):
                if number == 0 and cells != header:
                    fault = f"{path}: its header is not that of {paths[0].name}."
                    raise BenchmarkError(f"{fault} Give it the same columns.")
                if len(cells) != len(header):
                    raise BenchmarkError(
                        f"{path.name} row {number} (line {line}): found {len(cells)} cells; expected {len(header)}, as "
                        f"in the header. Put cells that contain {separator!r} or a line break into double quotes."
                    )
                if number:
                    yield cells

    def batches() -> Iterator[Any]:
        batch: list[list[str]] = []
        size = 0
        for cells in rows():
            batch.append(cells)
            size += sum(map(len, cells))
            if size > CHUNK or len(batch) == ROWS:
                yield pa.record_batch(list(zip(*batch, strict=True)), schema)
                batch, size = [], 0
        if batch:
            yield pa.record_batch(list(zip(*batch, strict=True)), schema)

    return schema, batches()


def _text_rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The header and the rows of a file without blank lines, each with the number of its last line."""
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))  # a base64 image is one cell
    line, cells = 0, None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            for cells in filter(None, reader):
                line = reader.line_num
                yield line, cells
    except UnicodeDecodeError as error:
        fault = f"{path}: not UTF-8 ({error.reason}) after line {line}."
        raise BenchmarkError(f"{fault} Save the file as UTF-8.") from error
    except csv.Error as error:
        fault = f"{path}: the row after line {line} cannot be read ({error})."
        raise BenchmarkError(f"{fault} Double a quote inside a quoted cell.") from error
    if cells is None:
        raise BenchmarkError(f"{path}: it is empty. Expected a header with the names of its columns.")


def _check_unique(path: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BenchmarkError(f"{path}: two columns are named {twice[0]!r}. Rename one of them.")
