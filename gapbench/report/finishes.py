"""What becomes of a figure that was drawn: an element of a page, or files for a paper with their data.

    area_lines(bins, labels, inline("area"))                          # '<svg …>'
    area_lines(bins, labels, into(Path("figures"), "evidence-area"))  # evidence-area.svg and .pdf
    write_data(Path("figures/evidence-area.csv"), rows)

A CSV file has a line for each mark: `kind` (`bin`, `fit` or `row`), `series` (a view, a model, or a row of the plot),
the sizes from and to which it reaches (a share of the image, image tokens, or a step), the number of samples, and its
value with the 95% interval; proportions are in 0..1.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gapbench.report.plots import PlottedEstimate, save, to_svg

Finish = Callable[[Figure, str], str]
"""What becomes of a figure and its description in words."""
DataRow = tuple[Any, ...]


def inline(name: str) -> Finish:
    """Makes an inline SVG whose identifiers begin with `name`."""
    return lambda figure, words: to_svg(figure, name, words)


def into(folder: Path, name: str) -> Finish:
    """Writes SVG and PDF into the folder, and returns their stem."""

    def write(figure: Figure, words: str) -> str:
        save(figure, folder / name)
        return name

    return write


def stems(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each name with a stem of its own for files."""
    taken: set[str] = set()
    for name in names:
        stem = re.sub(r"[^\w.=-]+", "-", name).strip("-.")[:60] or "benchmark"
        stem = next(one for one in (stem, *(f"{stem}-{n}" for n in range(2, 10_000))) if one not in taken)
        taken.add(stem)
        yield name, stem


def data_row(
    kind: str, series: str, found: PlottedEstimate, n: int | None = None, low: Any = None, high: Any = None
) -> DataRow:
    """A line of `write_data`: a mark from the size `low` to `high`, with its value and interval `found`."""
    value, ci = found
    return kind, series, low, high, n, value, *(ci or (None, None))


def write_data(path: Path, rows: Iterable[DataRow]) -> Path:
    """Write the data of a figure, and return the path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(("kind", "series", "from", "to", "n", "value", "low", "high"))
        lines.writerows(rows)
    return path
