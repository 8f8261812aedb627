"""Cells of a table, and functions that make them from the entry of a row.

    columns = (Column("Clusters", cells.count("clusters")), Column("Gap", cells.points("gap")))
    cells.points("gap")({"gap": {"estimate": 0.213, "ci": [0.15, 0.27]}})       # Cell("+21.3", "[+15.0, +27.0]", 0.213)

An entry is a part of `summary.json` or `comparison.json`. Any number may be null: it shows as an en dash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gapbench.util.text import MISSING, clip, interval, missing, number, p_value, percent
from gapbench.util.text import points as signed_points

NAME_LIMIT = 80

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """The text, a note in small print, and the value by which the column sorts (None sorts last)."""

    text: str
    note: str = ""
    sort: float | str | None = None


def text_cell(text: str, note: str = "") -> Cell:
    """A cell of text, sorted without regard to case."""
    return Cell(text or MISSING, note, text.casefold())


def number_cell(value: float | None, show: Callable[[Any], str], note: str = "") -> Cell:
    """A cell of a number that sorts by its value."""
    return Cell(show(value), note, None if missing(value) else value)


MakeCell = Callable[[Entry], Cell]


def text(*path: str, limit: int = NAME_LIMIT) -> MakeCell:
    """Makes a cell of the text at `path` of an entry."""
    return lambda entry: text_cell(clip(nested(entry, *path) or "", limit))


def shown(show: Callable[[Any], str], *path: str) -> MakeCell:
    """Makes a cell of the number at `path`, as text by `show`."""
    return lambda entry: number_cell(nested(entry, *path), show)


def count(*path: str, digits: int = 0) -> MakeCell:
    """Makes a cell of the count at `path`, or of a mean of counts."""
    return shown(lambda value: number(value, digits), *path)


share = partial(shown, percent)
"""Makes a cell of the proportion 0..1 at a path."""
probability = partial(shown, p_value)
"""Makes a cell of the p-value at a path."""
mde = partial(shown, lambda value: number(value and 100 * value, 1))
"""Makes a cell of the minimum detectable effect at a path, in percentage points."""


def _with_interval(show: Callable[[Any], str], signed: bool, *path: str) -> MakeCell:
    def cell(entry: Entry) -> Cell:
        found = nested(entry, *path) or {}
        value = found.get("estimate", found.get("accuracy"))
        return number_cell(value, show, interval(found.get("ci"), signed=signed))

    return cell


level = partial(_with_interval, percent, False)
"""Makes a cell of the proportion at a path, an object with an `estimate` or `accuracy`, with its interval `ci`."""
points = partial(_with_interval, signed_points, True)
"""Makes a cell of the difference of proportions at a path with its interval, in percentage points."""


def lost(*path: str) -> MakeCell:
    """Makes a cell of what is lost in full at a path, with the number of samples right in the crop behind it (`n`)."""

    def cell(entry: Entry) -> Cell:
        found, n = level(*path)(entry), nested(entry, *path, "n")
        return replace(found, note=f"{found.note} of {n:,}".strip()) if n else found

    return cell


def of_measure(measure: str) -> Callable[..., MakeCell]:
    """What makes a cell of a measure: of `gap` in points, of the others in percent."""
    kinds: dict[str, Callable[..., MakeCell]] = {"gap": points, "lost_in_full": lost}
    return kinds.get(measure, level)


def nested(entry: Entry, *keys: str) -> Any:
    """`entry[a][b]…`, or None if a key is missing or a value is null."""
    value: Any = entry
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
