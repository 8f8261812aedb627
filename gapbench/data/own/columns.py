"""Maps fields to the columns of a file, as the user declares them after the colon.

columns = map_fields({"question": "Frage", "bbox_format": "xywh"}, ("image", "Frage", "answer"), "mine.csv")
Fields(columns, row).value("question")
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gapbench.data.table_reader import Row
from gapbench.errors import BenchmarkError

FIELDS = (
    "id", "image", "question", "answer", "answers", "options", "answer_type", "bbox", "bboxes", "bbox_format",
    "crop_image", "more_images", "category", "group", "evidence",
)  # fmt: skip
CONSTANT_FIELDS = ("bbox_format", "answer_type", "category", "evidence")
"""Fields that may have one value for all rows."""

LIST_FIELDS = ("answers", "options", "bbox", "image", "more_images")
"""Fields that may be a list of several columns."""

IMAGE_FIELDS = ("image", "crop_image", "more_images")

ALTERNATIVES = ({"answer", "answers"}, {"bbox", "bboxes"})
"""Pairs of fields; if the user maps only one of a pair, the other is not read."""


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of each field (several columns make a list), or the constant value that it has in all rows."""

    by_field: Mapping[str, tuple[str, ...]]
    constants: Mapping[str, str]
    decided: frozenset[str]
    """Fields that the user mapped or left out."""

    @property
    def images(self) -> frozenset[str]:
        """The columns that hold images."""
        return frozenset(column for field in IMAGE_FIELDS for column in self.by_field.get(field, ()))


@dataclass(frozen=True)
class Fields:
    """A row whose cells are read by field."""

    columns: Columns
    row: Row

    def value(self, field: str) -> Any:
        """The value of a field in this row; None if it is missing or empty."""
        if field in self.columns.constants:
            return self.columns.constants[field]
        values = [self.row.get(column) for column in self.columns.by_field.get(field, ())]
        if len(values) == 1:
            return values[0]
        while values and values[-1] is None:  # a sample with fewer options than others
            values.pop()
        return values or None

    def has(self, field: str) -> bool:
        """Whether the row has a column of this field, filled or empty."""
        return field in self.columns.constants or any(c in self.row for c in self.columns.by_field.get(field, ()))

    def describe(self, field: str) -> str:
        """The field and its columns, for messages."""
        columns = self.columns.by_field.get(field, ())
        if columns in ((), (field,)):
            return field if field in self.columns.constants else f"column {field!r}"
        return f"column {' + '.join(map(repr, columns))} ({field})"

    def missing(self, field: str, expected: str) -> BenchmarkError:
        """The error for a field without a value."""
        columns = self.columns.by_field.get(field, ())
        is_column = bool(columns) and all(column in self.row for column in columns)
        fault = f"{self.describe(field)} is {'empty' if is_column else 'missing'}; expected {expected}."
        if is_column:
            return BenchmarkError(fault)
        found = f"Found columns: {', '.join(self.row)}."
        return BenchmarkError(f"{fault} {found} Name the right one: :{field}=COLUMN behind the name.")


def map_fields(mapping: Mapping[str, str], columns: Sequence[str], name: str) -> Columns:
    """The columns of each field; `mapping` is the user's FIELD=COLUMN. Raises BenchmarkError for an unknown column."""
    by_field: dict[str, tuple[str, ...]] = {}
    constants: dict[str, str] = {}
    for field, value in mapping.items():
        parts = tuple(part.strip() for part in value.split("+"))
        if value == "-":
            by_field[field] = ()
        elif value in columns:
            by_field[field] = (value,)
        elif field in LIST_FIELDS and len(parts) > 1 and all(part in columns for part in parts):
            by_field[field] = parts
        else:
            near = difflib.get_close_matches(value, columns, n=1, cutoff=0.8)
            if field not in CONSTANT_FIELDS or near:
                fault = f"{name}: {field}={value}: it has no column {value!r}."
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise BenchmarkError(f"{fault}{hint} Found columns: {', '.join(columns)}.")
            constants[field] = value
    mapped = frozenset(by_field) | frozenset(constants)
    left_out = set().union(*(pair - mapped for pair in ALTERNATIVES if pair & mapped))
    for field in FIELDS:
        if field not in mapped | left_out:
            by_field[field] = (field,)
    return Columns(by_field, constants, mapped | left_out)


def refuse_misspelt(columns: Columns, row: Row) -> None:
    """Raise BenchmarkError for an unused column whose name resembles a field that has no column."""
    for column, field in _misspelt(columns, tuple(row)):
        fault = f"column {column!r} is unknown. Did you mean {field!r}?"
        raise BenchmarkError(f"{fault} Rename it, write :{field}={column} behind the name, or :{field}=- to ignore it.")


@lru_cache(maxsize=64)
def _misspelt(columns: Columns, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Unused columns, each with the field that it resembles."""
    used = {column for columns_of_field in columns.by_field.values() for column in columns_of_field}
    unused = [name for name in names if name not in used]
    near = [(name, difflib.get_close_matches(name, FIELDS, n=1, cutoff=0.85)) for name in unused]
    return [(name, f) for name, fields in near for f in fields if f not in columns.decided and f not in names]
