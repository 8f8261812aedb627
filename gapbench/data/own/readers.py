"""Reads the rows of a user's file, numbered as the user sees them, and leaves heavy image cells on disk.

    for where, row in read(JsonLines(path), ["image"]):     # "line 3", {"image": "street.jpg", ...}

In the named columns, bytes and long text are replaced by a function that reads them again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from gapbench.data.table_reader import Row, RowTable, cell
from gapbench.errors import BenchmarkError
from gapbench.util.files import json_object

SHORT = 4096
"""Characters; longer text in an image column is base64, shorter text may be a path or an address."""


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
        return tuple(dict.fromkeys(column for _, _, row in self.rows() for column in row))

    def cell(self, key: int, column: str) -> Any:
        if _state(self.path) != self._state_when_opened:  # another line may start at that byte now
            fault = f"{self.name}: it was changed or removed while it was in use."
            raise BenchmarkError(f"{fault} Restore it and run the same command again; the answers so far are kept.")
        with self.path.open("rb") as file:
            file.seek(key)
            return json_object(file.readline())[column]

    @cached_property
    def _state_when_opened(self) -> tuple[int, int]:
        return _state(self.path)

    def rows(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """The number, the key and the content of each line that is not blank."""
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


class JsonArray(JsonLines):
    """A file with one JSON array of objects, which is held in memory; the key of a cell is its place."""

    @cached_property
    def items(self) -> list[dict[str, Any]]:
        try:
            items = json.loads(self.path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
            fault = f"{self.name}: not JSON in UTF-8 ({error})."
            raise BenchmarkError(f"{fault} If it has one object a line, name it .jsonl.") from error
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise BenchmarkError(f"{self.name}: expected an array of objects, as [{{…}}, {{…}}].")
        return items

    def cell(self, key: int, column: str) -> Any:
        return self.items[key][column]

    def rows(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """The number, the key and the content of each object."""
        for key, item in enumerate(self.items):
            yield key + 1, key, item


Reader = JsonLines | RowTable
"""An open file or table. Its repr identifies it on every machine; paths in its cells are relative to its `folder`."""


def read(reader: Reader, images: Collection[str]) -> Iterator[tuple[str, Row]]:
    """Each row with its name in messages, such as "line 3"; columns in `images` pass through `defer_heavy`."""
    if isinstance(reader, JsonLines):
        for number, start, row in reader.rows():
            kind = "item" if isinstance(reader, JsonArray) else "line"
            yield (
                f"{kind} {number}",
                {c: defer_heavy(reader, start, c, v) if c in images else v for c, v in row.items()},
            )
        return
    sizes_by_column = {c: reader.sizes(c) for c in reader.columns if c in images}
    labels = reader.labels
    for key, values in enumerate(reader.rows(lazy=tuple(sizes_by_column))):
        row = {c: _named(values[c], labels[c]) if c in labels else values[c] for c in reader.columns}
        for column, sizes in sizes_by_column.items():
            if row[column] is not None and sizes[key] <= SHORT:
                row[column] = defer_heavy(reader, key, column, row[column]())
        yield f"row {key + 1}", row


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change; zeros for a missing file."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


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
