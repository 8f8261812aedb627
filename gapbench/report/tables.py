"""One table object for HTML and for Markdown.

    columns = (Column("benchmark"), Column("gap", numeric=True))
    table = Table("Gap", columns, ((Cell("signs"), Cell("+21.3", "[15, 27]")),))
    markdown_table(table)

A cell holds its text, a note in small print (usually an interval) and the value by which it sorts. `parts.j2` renders
the same object as HTML. Knows nothing about runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapbench.report.escape import markdown_text
from gapbench.util.text import MISSING, interval, missing, number, percent, points

ROW_LIMIT = 200


@dataclass(frozen=True)
class Column:
    """A heading, whether its cells are numbers, and a short explanation that appears on hover."""

    title: str
    numeric: bool = False
    help: str = ""


@dataclass(frozen=True)
class Cell:
    """The text, a note in small print, and the value by which the column sorts (None sorts last)."""

    text: str
    note: str = ""
    sort: float | str | None = None


@dataclass(frozen=True)
class Table:
    """Each row has one cell per column; the first cell is the row's heading. Sorting leaves `footer` rows last.

    `left_out` counts the rows that are left out; `source` names the file that has them.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    footer: tuple[tuple[Cell, ...], ...] = ()
    left_out: int = 0
    source: str = "summary.json"


def table_of(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[tuple[Cell, ...]],
    footer: Iterable[tuple[Cell, ...]] = (),
    source: str = "summary.json",
) -> Table:
    """A table of the first `ROW_LIMIT` rows, with the number of the rows left out."""
    left_out = max(0, len(rows) - ROW_LIMIT)
    return Table(caption, tuple(columns), tuple(rows[:ROW_LIMIT]), tuple(footer), left_out, source)


def text_cell(text: str, note: str = "") -> Cell:
    """A cell of text, sorted without regard to case."""
    return Cell(text or MISSING, note, text.casefold())


def count_cell(value: float | None, digits: int = 0) -> Cell:
    """A count or a mean of counts."""
    return Cell(number(value, digits), "", None if missing(value) else value)


def percent_cell(value: float | None, ci: Sequence[float | None] | None = None, digits: int = 1) -> Cell:
    """A proportion 0..1 with its interval."""
    return Cell(percent(value, digits), interval(ci), None if missing(value) else value)


def points_cell(value: float | None, ci: Sequence[float | None] | None = None) -> Cell:
    """A difference of proportions with its interval, in percentage points."""
    return Cell(points(value), interval(ci, signed=True), None if missing(value) else value)


def markdown_table(table: Table) -> str:
    """The table as GitHub-flavoured Markdown; every cell is escaped."""
    lines = [
        _line([markdown_text(column.title) for column in table.columns]),
        _line(["---:" if column.numeric else "---" for column in table.columns]),
    ]
    lines += [_line([_markdown_cell(cell) for cell in row]) for row in (*table.rows, *table.footer)]
    if table.left_out:
        lines += ["", f"{table.left_out:,} more rows are in {table.source}."]
    return "\n".join(lines)


def _markdown_cell(cell: Cell) -> str:
    note = cell.note if not cell.note or cell.note.startswith("[") else f"({cell.note})"
    return markdown_text(f"{cell.text} {note}".strip())


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


Summary = Mapping[str, Any]

NAME_LIMIT = 80


def benchmarks_of(summary: Summary) -> Mapping[str, Mapping[str, Any]]:
    """Entries by benchmark name; empty if nothing was measured."""
    return summary.get("benchmarks") or {}


def macro_gap(summary: Summary) -> Mapping[str, Any] | None:
    """The mean gap over several benchmarks, or None."""
    return (summary.get("macro") or {}).get("gap") or None


def has_gap(entry: Mapping[str, Any]) -> bool:
    """Whether any sample of this benchmark has a score in both the full and the crop view."""
    return nested(entry, "gap", "estimate") is not None


def nested(entry: Mapping[str, Any], *keys: str) -> Any:
    """`entry[a][b]…`, or None if a key is missing or a value is null."""
    value: Any = entry
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
