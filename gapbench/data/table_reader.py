"""Reads rows of Parquet, CSV and TSV files, and leaves the cells of heavy columns on disk until they are needed.

    for row in read_rows(folder / "data" / "test.parquet", lazy=("image", "crop_image")):
        Sample(id=row["id"], image=row["image"], ...)        # row["image"] is a function that reads this cell

A table larger than `IN_MEMORY` is converted once, a few rows at a time, into an Arrow file in the cache. That file is
memory-mapped, so any cell can be read alone and in any order. Pages of the map are released after each read, so that
the memory of the process does not grow with the table.

Limits: the cache takes as much disk as the decompressed data. It lies beside the caches of `datasets`
(HF_DATASETS_CACHE or HF_HOME set the folder) and may be deleted. Cells of CSV and TSV are text in UTF-8; empty ones are
None. A page of a Parquet file is decompressed at once, whatever its size.
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
from gapbench.util.files import cache, replacing
from gapbench.util.progress import megabytes

Row = Mapping[str, Any]

ROWS_PER_READ = 64
"""Rows whose light columns are read together."""

IN_MEMORY = 32 << 20
"""Bytes; the files of a table up to this size are held in memory, larger ones are converted."""

_VERSION = 1
"""Increased whenever the conversion changes, so that caches of older versions are not read."""


@dataclass(frozen=True, eq=False)
class RowTable:
    """An open table. Its repr, name and length, identifies it on every machine.

    Paths in its cells are relative to `folder`. `data` is an Arrow table, and `maps` are its memory-mapped files.
    """

    name: str
    folder: Path
    data: Any
    maps: tuple[mmap.mmap, ...] = ()

    def __repr__(self) -> str:
        return f"{self.name} ({len(self.data)} rows)"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in their order."""
        return tuple(self.data.column_names)

    @cached_property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """The class names of each column of class numbers, from the metadata that `datasets` writes."""
        stored = (self.data.schema.metadata or {}).get(b"huggingface", b"{}")
        try:
            features = json.loads(stored)["info"]["features"]
            return {column: names for column, feature in features.items() if (names := _classes(feature))}
        except (ValueError, KeyError, TypeError, AttributeError):  # no metadata, or metadata of another program
            return {}

    def cell(self, row: int, column: str) -> Any:
        """The value of one cell. An image of the Hub's Image type stays encoded."""
        value = self.data.column(column)[row].as_py()
        self._release_pages()
        return value

    def sizes(self, column: str) -> list[int]:
        """The size of each cell, without reading it: bytes of text and images, items of a list; 0 if empty."""
        return [size for chunk in self.data.column(column).chunks for size in _sizes(chunk)]

    def rows(self, lazy: Sequence[str] = ()) -> Iterator[Row]:
        """The rows, with columns in `lazy` as in `read_rows`."""
        heavy = {column: self.sizes(column) for column in lazy if column in self.columns}
        light = self.data.drop_columns(list(heavy))
        for start in range(0, len(self.data), ROWS_PER_READ):
            length = min(ROWS_PER_READ, len(self.data) - start)
            chunk = light.slice(start, length).to_pylist() if light.column_names else [{} for _ in range(length)]
            self._release_pages()
            for number, values in enumerate(chunk, start):
                row = {column: _empty_as_none(value) for column, value in values.items()}
                for column in lazy:
                    filled = column in heavy and heavy[column][number]
                    row[column] = partial(cell, self, number, column) if filled else None
                yield row

    def _release_pages(self) -> None:
        """Let the system drop the cached pages of the files, on systems that have `madvise`."""
        for file in self.maps:
            if hasattr(file, "madvise"):
                file.madvise(mmap.MADV_DONTNEED)


def cell(source: Any, key: int, column: str, part: int | None = None) -> Any:
    """A cell, or one item of its list. A plain function, so that the fingerprint of a `partial` includes the source."""
    value = source.cell(key, column)
    return value if part is None else value[part]


def read_rows(files: Path | Sequence[Path], lazy: Sequence[str] = (), needs: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of one table, which may be split over several files, in the order of `files`.

    A cell of a column in `lazy` is a function without arguments that reads it, or None if it is empty. A lazy column
    that the table lacks is None in every row. Raises BenchmarkError as `open_table` does.
    """
    yield from open_table(files, needs).rows(lazy)


def open_table(files: Path | Sequence[Path], needs: Sequence[str] = (), separator: str = "") -> RowTable:
    """Open the table in files of one kind.

    `separator` is the character between the cells of text files; "" stands for the default of the suffix. Raises
    BenchmarkError for a missing or unreadable file, and if the table lacks a column of `needs`.
    """
    paths = [files] if isinstance(files, Path) else list(files)
    missing = [p for p in paths if not p.is_file()]
    if missing or not paths:
        raise BenchmarkError(f"{missing[0] if missing else 'table'}: not found. Is the local copy complete?")
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    schema, batches = read_files(paths, separator)
    lacking = [c for c in needs if c not in schema.names]
    if lacking:
        lacks = f"it has no column {', '.join(map(repr, lacking))}"
        raise BenchmarkError(f"{paths[0]}: {lacks}. Found: {', '.join(schema.names)}.")
    if sum(p.stat().st_size for p in paths) <= IN_MEMORY:
        import pyarrow as pa

        return RowTable(name, paths[0].parent, pa.Table.from_batches(list(batches), schema))
    target = _cache_path(paths, separator)
    try:
        return open_arrow(name, paths[0].parent, [target])
    except BenchmarkError:  # not converted yet, or a damaged cache
        _convert(paths, schema, batches, target)
    return open_arrow(name, paths[0].parent, [target])


def open_arrow(name: str, folder: Path, files: Sequence[Path]) -> RowTable:
    """Memory-map the table in files of Arrow's stream format. Raises BenchmarkError if a file cannot be read."""
    import pyarrow as pa

    maps, parts = [], []
    for path in files:
        try:
            with path.open("rb") as file:
                maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            parts.append(pa.ipc.open_stream(pa.py_buffer(maps[-1])).read_all())
        except (OSError, ValueError) as error:  # ValueError: an empty or damaged file
            fault = f"{path}: cannot be read as Arrow ({error})."
            raise BenchmarkError(f"{fault} Delete this file, a cache: gapbench makes it again.") from error
    return RowTable(name, folder, pa.concat_tables(parts), tuple(maps))


def conversions() -> Path:
    """The folder of converted tables, inside the cache folder of `datasets`."""
    home = os.environ.get("HF_HOME") or cache().parent / "huggingface"
    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(home) / "datasets").expanduser() / "gapbench-tables"


def _cache_path(paths: Sequence[Path], separator: str) -> Path:
    """The Arrow file in the cache for `paths`; its name is a hash of their paths, sizes and times of change."""
    identity = [[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
    digest = hashlib.sha256(json.dumps([_VERSION, separator, identity]).encode()).hexdigest()[:32]
    return conversions() / f"{digest}.arrow"


def _convert(paths: Sequence[Path], schema: Any, batches: Iterator[Any], target: Path) -> None:
    """Write the rows into one Arrow file, which appears only when complete; a lock admits one process at a time."""
    import pyarrow as pa
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            with contextlib.suppress(BenchmarkError):  # another process may have converted it meanwhile
                open_arrow(target.name, target.parent, [target])
                return
            size = sum(p.stat().st_size for p in paths)
            with (
                replacing(target) as draft,
                draft.open("wb") as file,
                pa.ipc.new_stream(file, schema) as writer,
                megabytes(f"converting {paths[0].name}", size) as count,
            ):
                for batch in batches:
                    writer.write_batch(batch)
                    count(batch.nbytes)
    except OSError as error:
        raise BenchmarkError(
            f"{paths[0]}: cannot be converted into {target.parent} ({error.strerror or error}). That takes as much "
            "disk as the decompressed data; set HF_DATASETS_CACHE to a folder with enough room."
        ) from error


def _sizes(chunk: Any) -> list[int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(chunk.type):
        parts = [_sizes(part) for part in chunk.flatten()]
        return [sum(sizes) for sizes in zip(*parts, strict=True)] if parts else [0] * len(chunk)
    for length in (pc.binary_length, pc.list_value_length):
        with contextlib.suppress(pa.ArrowNotImplementedError):  # not this kind
            return [size or 0 for size in length(chunk).to_pylist()]
    return [int(valid) for valid in chunk.is_valid().to_pylist()]


def _classes(feature: Any) -> tuple[str, ...]:
    """The class names of a ClassLabel, or of a list of ClassLabels."""
    match feature:
        case {"_type": "ClassLabel", "names": names}:
            return tuple(names)
        case {"feature": inner} | [inner]:
            return _classes(inner)
    return ()


def _empty_as_none(value: Any) -> Any:
    """None for empty text and not-a-number, which stand for a missing value in tables."""
    return None if value == "" or (isinstance(value, float) and value != value) else value
