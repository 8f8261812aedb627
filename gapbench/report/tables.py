"""One table object for HTML and for Markdown, made from columns.

    columns = (Column("Benchmark", cells.text("name"), numeric=False), Column("Gap", cells.points("gap")))
    table = table_of("Gap", columns, [{"name": "signs", "gap": {"estimate": 0.213, "ci": [0.15, 0.27]}}])
    markdown_table(table)

A column is its heading and the function that makes a cell from the entry of a row, so a new column is one entry of one
list (see `gapbench.report.cells`). `parts.j2` renders the same object as HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapbench.report.cells import Cell, Entry, nested
from gapbench.report.escape import markdown_text

ROW_LIMIT = 200

Summary = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A heading, what makes the cell from a row's entry, a text that appears on hover, and whether cells are numbers.

    `mean`: the rows of means below the table have this cell, too.
    """

    title: str
    cell: Callable[[Any], Cell]
    help: str = ""
    numeric: bool = True
    mean: bool = False


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
    entries: Sequence[Any],
    means: Iterable[Any] = (),
    source: str = "summary.json",
    total: int | None = None,
) -> Table:
    """A table with a row for each of the first `ROW_LIMIT` entries, and the rows of `means` as footer.

    `total` is the number of entries if `entries` are not all of them.
    """
    rows = tuple(tuple(column.cell(entry) for column in columns) for entry in entries[:ROW_LIMIT])
    footer = tuple(tuple(column.cell(mean) if column.mean else Cell("") for column in columns) for mean in means)
    left_out = (len(entries) if total is None else total) - len(rows)
    return Table(caption, tuple(columns), rows, footer, left_out, source)


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


def benchmarks_of(summary: Summary) -> Mapping[str, Mapping[str, Any]]:
    """Entries by benchmark name; empty if nothing was measured."""
    return summary.get("benchmarks") or {}


def named(entries: Mapping[str, Entry]) -> list[dict[str, Any]]:
    """The entries as a list, each with its name as `name`."""
    return [{"name": name, **entry} for name, entry in entries.items()]


def macro_gap(summary: Summary) -> Mapping[str, Any] | None:
    """The mean gap over several benchmarks, or None."""
    return (summary.get("macro") or {}).get("gap") or None


def has_gap(entry: Mapping[str, Any]) -> bool:
    """Whether any sample of this benchmark has a score in both the full and the crop view."""
    return nested(entry, "gap", "estimate") is not None
