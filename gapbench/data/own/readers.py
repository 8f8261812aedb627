"""Rows of a file of the user's, numbered as the user sees them, with images left where they are.

    for where, row in JsonLines(path).read(["image"]):      # "line 3", {"image": "street.jpg", ...}

What is heavy (bytes, long text) in the columns named is replaced by a function that reads it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from gapbench.data.table_reader import Row, RowTable
from gapbench.errors import BenchmarkError
from gapbench.util.files import json_object

SHORT = 4096
"""Characters of text that may be a path or an address; anything longer is an image as base64 text."""


class Reader(Protocol):
    """An open file or table; its repr identifies it, whatever machine it lies on."""

    @property
    def name(self) -> str:
        """As messages call it."""

    @property
    def folder(self) -> Path:
        """Where relative paths start."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns."""

    def read(self, images: Collection[str]) -> Iterator[tuple[str, Row]]:
        """Each row with the words that name it; the columns of images are as `light` leaves them."""

    def cell(self, key: int, column: str) -> Any:
        """One value, read now."""


@dataclass(frozen=True, eq=False)
class JsonLines:
    """A file with one JSON object a line; a cell's key is the byte at which its line starts."""

    path: Path

    def __repr__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def folder(self) -> Path:
        return self.path.parent

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names that occur in any line; reads the whole file."""
        return tuple(dict.fromkeys(column for _, _, row in self._rows() for column in row))

    def read(self, images: Collection[str]) -> Iterator[tuple[str, Row]]:
        for number, start, row in self._rows():
            yield f"line {number}", {c: light(self, start, c, v) if c in images else v for c, v in row.items()}

    def cell(self, key: int, column: str) -> Any:
        if _state(self.path) != self._as_read:  # another row's image may start at that byte now
            raise BenchmarkError(
                f"{self.name}: it was changed or removed while it was in use. Restore it and run the same command "
                "again; what was answered so far is kept."
            )
        with self.path.open("rb") as file:
            file.seek(key)
            return json_object(file.readline())[column]

    @cached_property
    def _as_read(self) -> tuple[int, int]:
        return _state(self.path)

    def _rows(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        start = 0
        _ = self._as_read
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield number, start, json_object(line)
                    except BenchmarkError as error:
                        raise BenchmarkError(f"{self.name} line {number}: {error}") from error
                start += len(line)


@dataclass(frozen=True, eq=False)
class TableRows:
    """A table, its rows counted from 1; a cell's key is its row counted from 0."""

    table: RowTable

    def __repr__(self) -> str:
        return repr(self.table)

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def folder(self) -> Path:
        return self.table.folder

    @property
    def columns(self) -> tuple[str, ...]:
        return self.table.columns

    def read(self, images: Collection[str]) -> Iterator[tuple[str, Row]]:
        heavy = {c: [s > SHORT for s in self.table.sizes(c)] for c in self.columns if c in images}
        labels = self.table.labels
        for key, values in enumerate(self.table.rows(lazy=tuple(heavy))):
            row = {c: _named(values[c], labels[c]) if c in labels else values[c] for c in self.columns}
            for column, is_heavy in heavy.items():
                if row[column] is not None:
                    later = partial(cell, self, key, column)
                    row[column] = later if is_heavy[key] else light(self, key, column, row[column]())
            yield f"row {key + 1}", row

    def cell(self, key: int, column: str) -> Any:
        return self.table.cell(key, column)


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change; zeros for a file that is not there."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def cell(reader: Reader, key: int, column: str, part: int | None = None) -> Any:
    """A value, or one item of a list, read now. A plain function, so that a `partial` of it shows what it reads."""
    value = reader.cell(key, column)
    return value if part is None else value[part]


def light(reader: Reader, key: int, column: str, value: Any) -> Any:
    """The value if it is not heavy; otherwise a function that reads it again. A list's items are taken one by one."""
    if isinstance(value, list):
        return [partial(cell, reader, key, column, n) if _is_heavy(v) else v for n, v in enumerate(value)]
    return partial(cell, reader, key, column) if _is_heavy(value) else value


def _is_heavy(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_is_heavy, value.values()))
    return isinstance(value, str | bytes) and len(value) > SHORT


def _named(value: Any, names: tuple[str, ...]) -> Any:
    """The class's name instead of its number; -1 is how the Hub writes that it is not told."""
    if isinstance(value, list):
        return [_named(v, names) for v in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
