"""One line per run, for a terminal or for other programs.

    lines(list_runs([Path("runs")]), width=120)

Limits: a terminal that is narrow cuts long names; `--json` has all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gapbench.util.text import interval, listed, percent, points, shorten

HEADINGS = ("model", "benchmarks", "n", "full", "crop", "gap", "engine", "started", "state", "folder")
RIGHT = ("n", "full", "crop", "gap")
CUT = ("model", "benchmarks", "state", "folder")
LEAST_WIDTH = 8
NARROW, LEAST = 130, ("model", "n", "full", "crop", "gap", "state")
"""Below so many columns of a terminal, these alone are shown."""


def lines(entries: Sequence[Mapping[str, Any]], width: int = 0) -> str:
    """Aligned columns, two spaces apart, one line a run. `width` is that of a terminal, in which names are cut; 0 cuts
    nothing."""
    rows = [HEADINGS, *map(_cells, entries)]
    if width and width < NARROW:
        rows = [tuple(row[HEADINGS.index(name)] for name in LEAST) for row in rows]
    widths = {heading: max(map(len, (heading, *column))) for heading, *column in zip(*rows, strict=True)}
    while width and sum(widths.values()) + 2 * len(widths) > width:
        widest = max((name for name in CUT if name in widths), key=lambda name: widths[name])
        if widths[widest] <= LEAST_WIDTH:
            break
        widths[widest] -= 1
    aligned = ["  ".join(_aligned(cell, *item) for cell, item in zip(row, widths.items(), strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in aligned)


def _aligned(cell: str, heading: str, width: int) -> str:
    text = shorten(cell, width)
    return text.rjust(width) if heading in RIGHT else text.ljust(width)


def _cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    gap = f"{points(entry['gap'])} {interval(entry['ci'], signed=True)}".strip() if entry["gap"] is not None else "-"
    return (
        entry["model"] or "-",
        _benchmarks(entry["benchmarks"]),
        "-" if entry["n"] is None else f"{entry['n']:,}",
        "-" if entry["full"] is None else percent(entry["full"]),
        "-" if entry["crop"] is None else percent(entry["crop"]),
        gap + (" faults!" if entry["alerts"] else ""),
        entry["engine"] or "-",
        (entry["started"] or "-")[:16].replace("T", " "),
        entry["state"],
        _nearest(entry["path"]),
    )


def _benchmarks(names: Sequence[str]) -> str:
    """`signs x3, signs_colour`: benchmarks that were asked with several parameters are counted."""
    counts = Counter(name.partition(":")[0] for name in names)
    return listed(name if count == 1 else f"{name} x{count}" for name, count in counts.items()) or "-"


def _nearest(path: str) -> str:
    """The path from here, if that is shorter."""
    with suppress(ValueError):  # Windows: the path is on another drive
        return min(path, Path(os.path.relpath(path)).as_posix(), key=len)
    return path
