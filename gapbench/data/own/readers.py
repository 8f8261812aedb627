"""Reads the rows of a user's file, numbered as the user sees them, and leaves heavy image cells on disk.

    for where, row in JsonLines(path).read(["image"]):      # "line 3", {"image": "street.jpg", ...}

In the named columns, bytes and long text are replaced by a function that reads them again.
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
"""Characters; longer text in an image column is base64, shorter text may be a path or an address."""


class Reader(Protocol):
    """An open file or table; its repr identifies it on every machine."""

    @property
    def name(self) -> str:
        """The name in messages."""

    @property
    def folder(self) -> Path:
        """The folder to which paths in cells are relative."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns."""

    def read(self, images: Collection[str]) -> Iterator[tuple[str, Row]]:
        """Each row with its name in messages, such as "line 3"; columns in `images` pass through `defer_heavy`."""

    def cell(self, key: int, column: str) -> Any:
        """The value of one cell."""


@dataclass(frozen=True, eq=False)
class JsonLines:
    """A file with one JSON object per line; the key of a cell is the byte offset of its line."""

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
        """The names that occur in any line. Reads the entire file."""
        return tuple(dict.fromkeys(column for _, _, row in self._rows() for column in row))

    def read(self, images: Collection[str]) -> Iterator[tuple[str, Row]]:
        for number, start, row in self._rows():
            yield f"line {number}", {c: defer_heavy(self, start, c, v) if c in images else v for c, v in row.items()}

    def cell(self, key: int, column: str) -> Any:
        if _state(self.path) != self._state_when_opened:  # another line may start at that byte now
            raise BenchmarkError(
                f"{self.name}: it was changed or removed while it was in use. Restore it and run the same command "
                "again; the answers so far are kept."
            )
        with self.path.open("rb") as file:
            file.seek(key)
            return json_object(file.readline())[column]

    @cached_property
    def _state_when_opened(self) -> tuple[int, int]:
        return _state(self.path)

    def _rows(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        start = 0
        _ = self._state_when_opened
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
    """A table; messages count its rows from 1, the key of a cell is its row counted from 0."""

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
                    row[column] = later if is_heavy[key] else defer_heavy(self, key, column, row[column]())
            yield f"row {key + 1}", row

    def cell(self, key: int, column: str) -> Any:
        return self.table.cell(key, column)


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change; zeros for a missing file."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def cell(reader: Reader, key: int, column: str, part: int | None = None) -> Any:
    """A cell, or one item of its list. A plain function, so that the fingerprint of a `partial` includes the reader."""
    value = reader.cell(key, column)
    return value if part is None else value[part]


def defer_heavy(reader: Reader, key: int, column: str, value: Any) -> Any:
    """The value if it is light, else a function that reads it again; for a list, this holds for each item."""
    if isinstance(value, list):
        return [partial(cell, reader, key, column, n) if _is_heavy(v) else v for n, v in enumerate(value)]
    return partial(cell, reader, key, column) if _is_heavy(value) else value


def _is_heavy(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_is_heavy, value.values()))
    return isinstance(value, str | bytes) and len(value) > SHORT


def _named(value: Any, names: tuple[str, ...]) -> Any:
    """The name of a class instead of its number. The Hub writes -1 for an unknown class, which becomes None."""
    if isinstance(value, list):
        return [_named(v, names) for v in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
