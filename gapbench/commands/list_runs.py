"""One line per run, for a terminal or for other programs.

    lines(list_runs([Path("runs")]), width=120)

Limits: a terminal that is narrow cuts long names; `--json` has all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gapbench.util.terminal import table_text
from gapbench.util.text import interval, listed, percent, points

HEADINGS = ("model", "benchmarks", "n", "full", "crop", "gap", "engine", "started", "state", "folder")
RIGHT = ("n", "full", "crop", "gap")


def lines(entries: Sequence[Mapping[str, Any]], width: int = 0) -> str:
    """A table of `width` columns for a terminal; with 0, plain lines whose columns are two or more spaces apart."""
    rows = [_cells(entry) for entry in entries]
    return table_text(HEADINGS, rows, RIGHT, width) if width else _plain(rows)


def _cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    gap = f"{points(entry['gap'])} {interval(entry['ci'], signed=True)}".strip() if entry["gap"] is not None else "-"
    return (
        entry["model"] or "-",
        listed(entry["benchmarks"]) or "-",
        "-" if entry["n"] is None else f"{entry['n']:,}",
        "-" if entry["full"] is None else percent(entry["full"]),
        "-" if entry["crop"] is None else percent(entry["crop"]),
        gap + (" faults!" if entry["alerts"] else ""),
        entry["engine"] or "-",
        (entry["started"] or "-")[:16].replace("T", " "),
        entry["state"],
        entry["path"],
    )


def _plain(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    padded = (
        "  ".join(
            cell.rjust(size) if heading in RIGHT else cell.ljust(size)
            for heading, cell, size in zip(HEADINGS, row, widths, strict=True)
        )
        for row in (HEADINGS, *rows)
    )
    return "\n".join(line.rstrip() for line in padded)
