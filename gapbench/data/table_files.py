"""Reads Parquet, CSV and TSV files as Arrow record batches, a few rows at a time.

    schema, batches = read_files([Path("a.parquet"), Path("b.parquet")], separator="")

Parquet is read page by page. Prefetching would hold several row groups in memory, and a single row group may be the
entire file. Cells of CSV and TSV are text.

Limits: a page of a Parquet file is decompressed at once, whatever its size. Text is UTF-8.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gapbench.errors import BenchmarkError

CHUNK = 32 << 20
"""The approximate size of a batch in bytes."""

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
    import pyarrow.parquet as pq

    def opened(path: Path) -> Any:  # mapping or prefetching would load entire row groups
        return pq.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=1 << 20)

    def unreadable(path: Path, error: Exception) -> BenchmarkError:
        return BenchmarkError(
            f"{path}: cannot be read as Parquet ({type(error).__name__}: {str(error)[:300]}). Fetch or "
            "write the file again."
        )

    schemas = []
    for path in paths:
        try:
            with opened(path) as file:
                schemas.append(_plain(file.schema_arrow))
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from error
        if set(schemas[-1].names) != set(schemas[0].names):
            raise BenchmarkError(
                f"{path}: its columns are {', '.join(schemas[-1].names)}; those of {paths[0].name} are "
                f"{', '.join(schemas[0].names)}. Files of one table must have the same columns."
            )
    _check_unique(paths[0], schemas[0].names)
    try:  # a column may be integers in one file and fractions in another, or empty
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise BenchmarkError(
            f"{paths[0].parent}: its files disagree on the type of a column ({error}). Write them with the same types."
        ) from error

    def batches() -> Iterator[Any]:
        for path in paths:
            try:
                with opened(path) as file:
                    stored = sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups))
                    length = max(1, min(1024, CHUNK * file.metadata.num_rows // max(1, stored)))
                    for batch in file.iter_batches(length, columns=schema.names, use_threads=False):
                        yield batch.select(schema.names).cast(schema)
            except (pa.ArrowException, OSError) as error:
                raise unreadable(path, error) from error

    return schema, batches()


def _read_text(paths: Sequence[Path], separator: str) -> tuple[Any, Iterator[Any]]:
    import pyarrow as pa

    header = next(_text_rows(paths[0], separator))[1]
    if len(header) == 1 and re.search(r"[,;|\t]", header[0]):
        raise BenchmarkError(
            f"{paths[0]}: its header is one cell, {header[0][:200]!r}. If cells are separated by another character, "
            "name it: :separator=semicolon (or comma, pipe, tab) behind the name."
        )
    schema = pa.schema([(name, pa.string()) for name in _names(paths[0], header)])

    def batch(rows: list[list[str]]) -> Any:
        columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
        return pa.RecordBatch.from_arrays([pa.array(cells, pa.string()) for cells in columns], schema=schema)

    def batches() -> Iterator[Any]:
        rows: list[list[str]] = []
        size = 0
        for path in paths:
            for number, (line, cells) in enumerate(_text_rows(path, separator)):
                if number == 0 and cells != header:
                    raise BenchmarkError(
                        f"{path}: its header is not that of {paths[0].name}. Give it the same columns."
                    )
                if len(cells) != len(header):
                    raise BenchmarkError(
                        f"{path.name} row {number} (line {line}): found {len(cells)} cells; expected {len(header)}, as "
                        f"in the header. Put cells that contain {separator!r} or a line break into double quotes."
                    )
                if number:
                    rows.append(cells)
                    size += sum(map(len, cells))
                if size > CHUNK or len(rows) >= 1024:
                    yield batch(rows)
                    rows, size = [], 0
        yield batch(rows)

    return schema, batches()


def _text_rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The header and the rows of a file without blank lines, each with the number of its last line."""
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))  # a base64 image is one cell
    line, empty = 0, True
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            for cells in reader:
                line = reader.line_num
                if cells:
                    empty = False
                    yield line, cells
    except UnicodeDecodeError as error:
        raise BenchmarkError(
            f"{path}: not UTF-8 ({error.reason}) after line {line}. Save the file as UTF-8."
        ) from error
    except csv.Error as error:
        raise BenchmarkError(
            f"{path}: the row after line {line} cannot be read ({error}). Double a quote inside a quoted cell."
        ) from error
    if empty:
        raise BenchmarkError(f"{path}: it is empty. Expected a header with the names of its columns.")


def _names(path: Path, header: list[str]) -> list[str]:
    """The names of the columns; a column without a name (such as the index of pandas) gets one."""
    names = [name or f"column {number}" for number, name in enumerate(header, 1)]
    _check_unique(path, names)
    return names


def _check_unique(path: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BenchmarkError(f"{path}: two columns are named {twice[0]!r}. Rename one of them.")


def _plain(schema: Any) -> Any:
    """The schema with the value types of categorical columns, since files may list different categories."""
    import pyarrow as pa

    kinds = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in schema]
    return pa.schema(list(zip(schema.names, kinds, strict=True)), metadata=schema.metadata)
