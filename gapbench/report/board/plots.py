"""The plots of a board: a dumbbell from full to crop in each row, and the gap of all models against evidence area.

dumbbell({"full": {"estimate": 0.5, "ci": [0.4, 0.6]}, "crop": {"estimate": 0.9, "ci": [0.85, 0.95]}})
area_lines(board["area"], labels, inline("area"))
write_figures(Path("figures"), board)        # SVG, PDF and CSV of each, for a paper
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from gapbench.report.board.tables import ordered
from gapbench.report.cells import nested
from gapbench.report.finishes import Finish, data_row, into, stems, write_data
from gapbench.report.plots import AREA_WIDTH, INK, MUTED, Dumbbell, drawing, fitted, quiet
from gapbench.report.run.figures import write_dumbbells
from gapbench.util.text import percent

MARKERS = "osD^v<>Ph*"
LINES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
WIDTH, HEIGHT = 190, 24
"""Of a dumbbell, in pixels."""
MARGIN = 7
LEAST = 10
"""Samples of a bin that is drawn."""
LABEL_DISTANCE = 0.165
"""Inches between the labels of two lines."""


def dumbbell(entry: Mapping[str, Any]) -> Markup:
    """Full (square) and crop (circle) on a scale from 0 to 100 %, with their intervals; empty without either."""
    spots = {view: entry[view]["estimate"] for view in ("full", "crop") if entry.get(view)}
    if not spots:
        return Markup()
    middle, parts = HEIGHT / 2, []
    parts += [f'<line class="grid" x1="{_x(at)}" x2="{_x(at)}" y1="2" y2="{HEIGHT - 2}"/>' for at in (0, 0.5, 1)]
    if len(spots) == 2:
        parts.append(
            f'<line class="gap" x1="{_x(spots["full"])}" x2="{_x(spots["crop"])}" y1="{middle}" y2="{middle}"/>'
        )
    for view in spots:
        if entry[view]["ci"]:
            low, high = map(_x, entry[view]["ci"])
            parts.append(f'<line class="ci {view}" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>')
    if "full" in spots:
        parts.append(f'<rect class="full" x="{_x(spots["full"]) - 4:.1f}" y="{middle - 4}" width="8" height="8"/>')
    if "crop" in spots:
        parts.append(f'<circle class="crop" cx="{_x(spots["crop"])}" cy="{middle}" r="4.5"/>')
    words = ", ".join(f"{view} {percent(value)}" for view, value in spots.items())
    return Markup(  # noqa: S704 (numbers only)
        f'<svg class="bell" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{words}">{"".join(parts)}</svg>'
    )


def _x(value: float) -> float:
    return round(MARGIN + (WIDTH - 2 * MARGIN) * value, 1)


def area_lines(bins: Sequence[Mapping[str, Any]], labels: Sequence[str], finish: Finish) -> str | None:
    """The gap of each model over the bins of evidence area; None for fewer than two bins that are drawn.

    A bin of fewer than `LEAST` samples, or without an interval, is not drawn: its few samples look like an effect.

    The line of the model at place k of `labels` is the group `model-k`, its label `label-k`, after the name on a page.
    """
    bins = _drawn(bins)
    if len(bins) < 2:
        return None
    models = list(bins[0]["models"])
    height = max(3.6, LABEL_DISTANCE * len(models) + 1.0)
    with drawing(AREA_WIDTH + 1.6, height) as figure:
        axes = figure.add_axes((0.075, 0.5 / height, 0.67, 1 - 0.75 / height))
        axes.axhline(0, color=MUTED, linewidth=1)
        xs = [100 * (max(one["from"], one["to"] / 4) * one["to"]) ** 0.5 for one in bins]
        curves = {label: [100 * one["models"][label]["estimate"] for one in bins] for label in models}
        for label, ys in curves.items():
            place = labels.index(label)
            style = LINES[(place // len(MARKERS)) % len(LINES)]
            (line,) = axes.plot(xs, ys, color=INK, marker=MARKERS[place % len(MARKERS)], markersize=5, linewidth=1.3,
                                linestyle=style, alpha=0.85)  # fmt: skip
            line.set_gid(f"model-{place}")
        axes.set_xscale("log")
        axes.margins(x=0.04, y=0.08)
        low, high = axes.get_ylim()
        distance = LABEL_DISTANCE / (height - 0.75) * (high - low)
        ends = _apart({label: ys[-1] for label, ys in curves.items()}, distance, low, high)
        for label, y in ends.items():
            text = axes.annotate(
                fitted(label, 2.1, 9, "bold"), (xs[-1], curves[label][-1]), (1.03, y), va="center", size=9, color=INK,
                textcoords=axes.get_yaxis_transform(),
                arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4,
                            "relpos": (0, 0.5)},
            )  # fmt: skip
            text.set_gid(f"label-{labels.index(label)}")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.8f}".rstrip("0").rstrip(".") + "%"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("evidence area, % of the image (logarithmic); n above each bin", color=MUTED)
        axes.set_ylabel("gap, points", color=MUTED)
        for x, one in zip(xs, bins, strict=True):
            axes.text(x, 1.01, f"{one['n']:,}", color=MUTED, size=8, ha="center", va="bottom",
                      transform=axes.get_xaxis_transform())  # fmt: skip
        quiet(axes)
        return finish(figure, f"The gap of {len(models)} models against the area of the evidence")


def _drawn(bins: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in bins if one["n"] >= LEAST and all(model["ci"] for model in one["models"].values())]


def write_figures(folder: Path, board: Mapping[str, Any]) -> list[Path]:
    """Write the figures of a board into `folder` as SVG and PDF, with the data of each as CSV; returns the CSV files.

    They are `evidence-area`, and for every benchmark, and for a mean of several, the models from full to crop by rank.
    `board` is the content of `board.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    means = [
        (name, board[key]) for key, name in (("mean", "mean"), ("mean_model", "mean over regions of models"))
        if board[key] and len(board[key]["benchmarks"]) > 1
    ]  # fmt: skip
    blocks = [*means, *board["benchmarks"].items()]
    written = []
    (_, area), *places = stems(["evidence-area", *(name for name, _ in blocks)])  # a benchmark may be called so too
    for (_, block), (_, stem) in zip(blocks, places, strict=True):
        sides = {
            label: [(nested(entry, view, "estimate"), nested(entry, view, "ci")) for view in ("full", "crop")]
            for label, entry in ordered(block).items()
        }
        groups = [Dumbbell(label, block.get("n"), full, crop) for label, (full, crop) in sides.items()]
        written.append(write_dumbbells(folder, stem, groups))
    labels = [run["label"] for run in board["runs"]]
    if area_lines(board["area"], labels, into(folder, area)):
        rows = (
            data_row("bin", label, (model["estimate"], model["ci"]), one["n"], one["from"], one["to"])
            for one in _drawn(board["area"]) for label, model in one["models"].items()
        )  # fmt: skip
        written.append(write_data(folder / f"{area}.csv", rows))
    return written


def _apart(heights: Mapping[str, float], distance: float, low: float, high: float) -> dict[str, float]:
    """Heights at least `distance` apart, in the same order, near to what they were, within the axis if they fit."""
    placed: dict[str, float] = {}
    floor = low
    for label, height in sorted(heights.items(), key=lambda item: item[1]):
        placed[label] = floor = max(height, floor)
        floor += distance
    ceiling = max(high, low + distance * (len(placed) - 1))
    for label in reversed([*placed]):
        placed[label] = min(placed[label], ceiling)
        ceiling = placed[label] - distance
    return placed
