"""Rows of Parquet, CSV and TSV files, with the heavy columns left on disk until somebody looks.

    for row in read_rows(folder / "data" / "test.parquet", lazy=("image", "crop_image")):
        Sample(id=row["id"], image=row["image"], ...)        # row["image"] is a function that reads this one cell

A table larger than `IN_MEMORY` is converted once into an Arrow file in the cache, a few rows at a time however it is
laid out, and read through a memory map from then on: any cell alone, in any order. What was looked at is let go again,
so that a process does not grow with the table, not even by pages that the system could take back.

Limits: the cache takes as much disk as the data, decompressed (beside the caches of `datasets`: HF_DATASETS_CACHE or
HF_HOME say where; deleting it is safe). Cells of CSV and TSV are text, UTF-8 only, empty ones None. Pages of a Parquet
file are decompressed whole, however large their writer made them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from gapbench.data.table_files import read_files
from gapbench.errors import BenchmarkError
from gapbench.util.files import cache
from gapbench.util.progress import megabytes

Row = Mapping[str, Any]

AT_A_TIME = 64
"""Rows whose light columns are read together."""

IN_MEMORY = 32 << 20
"""Bytes of files up to which a table is held in memory instead of going through the cache."""

_VERSION = 1
"""Counts up when files are converted in another way, so that no older cache is read."""


@dataclass(frozen=True, eq=False)
class RowTable:
    """An open table; its name and length identify it, whatever machine it lies on.

    `folder` is where relative paths in its cells start; `maps` are the files behind `data`, an Arrow table.
    """

    name: str
    folder: Path
    data: Any
    maps: tuple[mmap.mmap, ...] = ()

    def __repr__(self) -> str:
        return f"{self.name} ({len(self.data)} rows)"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns' names in their order."""
        return tuple(self.data.column_names)

    @cached_property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """The classes of columns of class numbers, as `datasets` writes them beside the data."""
        stored = (self.data.schema.metadata or {}).get(b"huggingface", b"{}")
        try:
            features = json.loads(stored)["info"]["features"]
            found = {column: _classes(feature) for column, feature in features.items()}
        except (ValueError, KeyError, TypeError, AttributeError):  # none, or of somebody else
            return {}
        return {column: names for column, names in found.items() if names}

    def cell(self, row: int, column: str) -> Any:
        """One value, read now; an image of the Hub's Image type stays encoded."""
        value = self.data.column(column)[row].as_py()
        self._let_go()
        return value

    def sizes(self, column: str) -> list[int]:
        """How large each cell is, without reading it: bytes of text and images, items of a list; 0 if empty."""
        return [size for chunk in self.data.column(column).chunks for size in _sizes(chunk)]

    def rows(self, lazy: Sequence[str] = ()) -> Iterator[Row]:
        """As `read_rows`."""
        heavy = {column: self.sizes(column) for column in lazy if column in self.columns}
        light = self.data.drop_columns(list(heavy))
        for start in range(0, len(self.data), AT_A_TIME):
            length = min(AT_A_TIME, len(self.data) - start)
            chunk = light.slice(start, length).to_pylist() if light.column_names else [{} for _ in range(length)]
            self._let_go()
            for number, values in enumerate(chunk, start):
                row = {column: _empty_as_none(value) for column, value in values.items()}
                for column in lazy:
                    filled = column in heavy and heavy[column][number]
                    row[column] = partial(cell, self, number, column) if filled else None
                yield row

    def _let_go(self) -> None:
        """Tell the system that no page of the files is needed; where it cannot be told, it finds out by itself."""
        for file in self.maps:
            if hasattr(file, "madvise"):
                file.madvise(mmap.MADV_DONTNEED)


def cell(table: RowTable, row: int, column: str) -> Any:
    """`table.cell` as a plain function, so that a `partial` of it shows which table it reads."""
    return table.cell(row, column)


def read_rows(files: Path | Sequence[Path], lazy: Sequence[str] = (), needs: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of one table, which may be spread over several files in their order.

    Columns named in `lazy` become functions without arguments, or None where the cell is empty; a lazy column the
    table does not have is None throughout. Raises BenchmarkError as `open_table` does.
    """
    yield from open_table(files, needs).rows(lazy)


def open_table(files: Path | Sequence[Path], needs: Sequence[str] = (), separator: str = "") -> RowTable:
    """The table in some files of one kind.

    `separator` stands between the cells of a text file; if it is not given, the suffix says which. Raises
    BenchmarkError for a missing or unreadable file, and for a column of `needs` that is not there.
    """
    paths = [files] if isinstance(files, Path) else list(files)
    missing = [p for p in paths if not p.is_file()]
    if missing or not paths:
        raise BenchmarkError(f"{missing[0] if missing else 'table'}: not found. Is the local copy complete?")
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    schema, batches = read_files(paths, separator)
    lacking = [c for c in needs if c not in schema.names]
    if lacking:
        raise BenchmarkError(
            f"{paths[0]}: it has no column {', '.join(map(repr, lacking))}. Found: {', '.join(schema.names)}."
        )
    if sum(p.stat().st_size for p in paths) <= IN_MEMORY:
        import pyarrow as pa

        return RowTable(name, paths[0].parent, pa.Table.from_batches(list(batches), schema))
    target = _place_of(paths, separator)
    with contextlib.suppress(BenchmarkError):  # not converted yet, or damaged since
        return open_arrow(name, paths[0].parent, [target])
    _convert(paths, schema, batches, target)
    return open_arrow(name, paths[0].parent, [target])


def open_arrow(name: str, folder: Path, files: Sequence[Path]) -> RowTable:
    """The table in some files of Arrow's stream format, memory-mapped. Raises BenchmarkError if one cannot be read."""
    import pyarrow as pa

    maps, parts = [], []
    for path in files:
        try:
            with path.open("rb") as file:
                maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            parts.append(pa.ipc.open_stream(pa.py_buffer(maps[-1])).read_all())
        except (OSError, ValueError) as error:  # ValueError: an empty file, or pyarrow's of a damaged one
            raise BenchmarkError(
                f"{path}: cannot be read as Arrow ({error}). It is a cache: delete it, and it is made again."
            ) from error
    return RowTable(name, folder, pa.concat_tables(parts), tuple(maps))


def conversions() -> Path:
    """The folder of converted tables, where `datasets` keeps its own."""
    home = os.environ.get("HF_HOME") or cache().parent / "huggingface"
    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(home) / "datasets").expanduser() / "gapbench-tables"


def _place_of(paths: Sequence[Path], separator: str) -> Path:
    """Where the cache has some files as one Arrow file; known by path, size and time of change."""
    known = [[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
    digest = hashlib.sha256(json.dumps([_VERSION, separator, known]).encode()).hexdigest()[:32]
    return conversions() / f"{digest}.arrow"


def _convert(paths: Sequence[Path], schema: Any, batches: Iterator[Any], target: Path) -> None:
    """Write the rows into one Arrow file, which appears whole or not at all; one process at a time does."""
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            with contextlib.suppress(BenchmarkError):  # another process's, while this one waited
                open_arrow(target.name, target.parent, [target])
                return
            _write(paths, schema, batches, target)
    except OSError as error:
        raise BenchmarkError(
            f"{paths[0]}: cannot be converted into {target.parent} ({error.strerror or error}). That takes as much "
            "disk as the data, decompressed; let HF_DATASETS_CACHE name a folder where there is room."
        ) from error


def _write(paths: Sequence[Path], schema: Any, batches: Iterator[Any], target: Path) -> None:
    import pyarrow as pa

    half = target.with_suffix(".part")  # of a process that was killed, it is written over
    try:
        with (
            half.open("wb") as file,
            pa.ipc.new_stream(file, schema) as writer,
            megabytes(f"converting {paths[0].name}", sum(p.stat().st_size for p in paths)) as count,
        ):
            for batch in batches:
                writer.write_batch(batch)
                count(batch.nbytes)
        half.replace(target)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def _sizes(chunk: Any) -> list[int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = chunk.type
    if pa.types.is_struct(kind):
        parts = [_sizes(part) for part in chunk.flatten()]
        return [sum(sizes) for sizes in zip(*parts, strict=True)] if parts else [0] * len(chunk)
    if any(is_kind(kind) for is_kind in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
        found = pc.list_value_length(chunk)
    elif any(
        is_kind(kind)
        for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    ):
        found = pc.binary_length(chunk)
    else:
        found = pc.is_valid(chunk).cast(pa.int32())
    sizes: list[int] = pc.fill_null(found, 0).to_pylist()
    return sizes


def _classes(feature: Any) -> tuple[str, ...]:
    """The names of a ClassLabel, or of a list of them."""
    if isinstance(feature, list):
        return _classes(feature[0]) if len(feature) == 1 else ()
    if not isinstance(feature, dict):
        return ()
    return tuple(feature["names"]) if feature.get("_type") == "ClassLabel" else _classes(feature.get("feature"))


def _empty_as_none(value: Any) -> Any:
    """Empty text and not-a-number are how tables write that there is nothing."""
    return None if value == "" or (isinstance(value, float) and value != value) else value
