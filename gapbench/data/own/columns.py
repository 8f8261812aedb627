"""Which column holds which field: the words behind the colon, settled once for a file.

columns = settle({"question": "Frage", "bbox_format": "xywh"}, ("image", "Frage", "answer"), "mine.csv")
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
    "crop_image", "more_images", "category", "group",
)  # fmt: skip
CONSTANTS = ("bbox_format", "answer_type", "category")
"""Fields that may be given as a value for all rows."""

SEVERAL = ("answers", "options", "bbox", "image", "more_images")
"""Fields that may be made of several columns."""

PICTURES = ("image", "crop_image", "more_images")

ALTERNATIVES = ({"answer", "answers"}, {"bbox", "bboxes"})
"""Fields of which naming one says that the other is not to be used."""


@dataclass(frozen=True)
class Columns:
    """`held` maps a field to its columns, more than one of which make a list; `constants` to its value for all rows."""

    held: Mapping[str, tuple[str, ...]]
    constants: Mapping[str, str]
    known: frozenset[str]
    """Fields the user spoke about."""

    @property
    def images(self) -> frozenset[str]:
        """The columns in which images are."""
        return frozenset(column for field in PICTURES for column in self.held.get(field, ()))


@dataclass(frozen=True)
class Fields:
    """A row, read by field."""

    columns: Columns
    row: Row

    def value(self, field: str) -> Any:
        """What the row has for a field; None if it has nothing."""
        if field in self.columns.constants:
            return self.columns.constants[field]
        held = self.columns.held.get(field, ())
        if len(held) < 2:
            return self.row.get(held[0]) if held else None
        values = [self.row.get(column) for column in held]
        while values and values[-1] is None:  # a question with fewer options than others
            values.pop()
        return values or None

    def several(self, field: str) -> bool:
        """Whether a field is made of several columns."""
        return len(self.columns.held.get(field, ())) > 1

    def called(self, field: str) -> str:
        """A field as messages name it."""
        if field in self.columns.constants:
            return field
        held = self.columns.held.get(field, ())
        if held in ((), (field,)):
            return f"column {field!r}"
        return f"column {' + '.join(map(repr, held))} ({field})"

    def lacks(self, field: str, expected: str) -> BenchmarkError:
        """The error of a field without a value."""
        held = self.columns.held.get(field, ())
        there = bool(held) and all(column in self.row for column in held)
        said = f"{self.called(field)} is {'empty' if there else 'missing'}; expected {expected}."
        found = ", ".join(self.row)
        remedy = "" if there else f" Found columns: {found}. Say which of them it is: :{field}=COLUMN behind the name."
        return BenchmarkError(said + remedy)


def settle(given: Mapping[str, str], columns: Sequence[str], name: str) -> Columns:
    """Which columns hold which fields. Raises BenchmarkError naming a column that is not there, and those that are."""
    held: dict[str, tuple[str, ...]] = {}
    constants: dict[str, str] = {}
    for field, value in given.items():
        parts = tuple(part.strip() for part in value.split("+"))
        if value == "-":
            held[field] = ()
        elif value in columns:
            held[field] = (value,)
        elif field in SEVERAL and len(parts) > 1 and all(part in columns for part in parts):
            held[field] = parts
        else:
            near = difflib.get_close_matches(value, columns, n=1, cutoff=0.8)
            if field not in CONSTANTS or near:
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise BenchmarkError(
                    f"{name}: {field}={value}: it has no column {value!r}.{hint} Found columns: {', '.join(columns)}."
                )
            constants[field] = value
    settled = frozenset(held) | frozenset(constants)
    passed_over = set().union(*(pair - settled for pair in ALTERNATIVES if pair & settled))
    for field in FIELDS:
        if field not in settled | passed_over:
            held[field] = (field,)
    return Columns(held, constants, settled | passed_over)


def refuse_misspelt(columns: Columns, row: Row) -> None:
    """Raises BenchmarkError for a column that looks like the name of a field nothing is found for."""
    near = _misspelt(tuple(row), columns.known, frozenset(c for held in columns.held.values() for c in held))
    if near:
        raise BenchmarkError(
            f"column {near[0]!r} is unknown. Did you mean {near[1]!r}? Rename it, say :{near[1]}={near[0]} behind the "
            f"name, or :{near[1]}=- if it is something else."
        )


@lru_cache(maxsize=64)
def _misspelt(found: tuple[str, ...], settled: frozenset[str], used: frozenset[str]) -> tuple[str, str] | None:
    for column in found:
        if column not in used:
            near = difflib.get_close_matches(column, FIELDS, n=1, cutoff=0.85)
            if near and near[0] not in settled and near[0] not in found:
                return column, near[0]
    return None
