"""Plots as inline SVG that use the fonts, the colours and the dark mode of the page.

    forest_plot([Effect("signs", 0.21, (0.15, 0.27), n=400)], name="gaps")
    area_plot([Bin(0.0001, 0.001, 60, full, crop, gap), …], name="area")

matplotlib draws a plot, and its XML is then rewritten: colours become CSS variables, text stays text, and ids get a
prefix, so that one page can hold several plots. The same input gives the same bytes. Names are never parsed as
mathematics. Knows nothing about runs.
"""

from __future__ import annotations

import io
import re
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import is_color_like, to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from gapbench.analysis.psychometric import FittedCurve
from gapbench.util.text import ELLIPSIS, clip, interval, percent, points, printable

Interval = Sequence[float | None] | None
PlottedEstimate = tuple[float | None, Interval]

# Placeholder colours that matplotlib can write, and the CSS colour each one stands for.
INK, MUTED, LINE = "#010101", "#020202", "#030303"
FULL, CROP, GAP = "#040404", "#050505", "#060606"
CURVES = {"full": (FULL, "s"), "crop": (CROP, "o"), "gap": (GAP, "D")}
"""The colour and the marker of each."""
VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", FULL: "full", CROP: "crop", GAP: "ink"}

FOREST_WIDTH, AREA_WIDTH = 9.6, 7.8
"""Inches, at 72 pixels to the inch. At this size the text is as large as the page's small print."""
GAP_AXIS = "gap, percentage points"
NAMES, FOREST = 3.2, 4.1
"""Inches of a forest plot: what its names have at the left, and its axes."""
COLUMN = 3.5
"""Inches: the width of a paper's column, and of what a narrow screen shows. Texts are then of 8 points."""

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True)
class Effect:
    """One row of a forest plot: a difference of proportions. Rows with `part` are indented and drawn hollow."""

    label: str
    estimate: float | None
    ci: Interval
    n: int | None = None
    part: bool = False


@dataclass(frozen=True)
class Bin:
    """The samples whose evidence covers `low`..`high` of the image (0..1), with an estimate and interval per curve."""

    low: float
    high: float
    n: int
    full: PlottedEstimate
    crop: PlottedEstimate
    gap: PlottedEstimate


def forest_plot(effects: Sequence[Effect], *, name: str) -> str:
    """Estimates with their intervals, one row each, in the order of `effects`."""
    with drawing(FOREST_WIDTH, 0.29 * len(effects) + 0.62) as figure:
        height = figure.get_figheight()
        axes = figure.add_axes((NAMES / FOREST_WIDTH, 0.46 / height, FOREST / FOREST_WIDTH, 1 - 0.58 / height))
        axes.axvline(0, color=MUTED, linewidth=1)
        for row, effect in enumerate(effects):
            _draw_effect(axes, row, effect)
        axes.set_ylim(len(effects) - 0.4, -0.6)
        axes.margins(x=0.06)
        quiet(axes, GAP_AXIS)
        return to_svg(figure, name, "Forest plot: " + "; ".join(map(_description, effects)))


def narrow_forest_plot(effects: Sequence[Effect], *, name: str) -> str:
    """The same for a narrow screen: the texts of a row stand above it. The style sheet shows one of the two."""
    with drawing(COLUMN, forest_height(effects), 8) as figure:
        draw_narrow_forest(figure, effects)
        return to_svg(figure, name, "Narrow forest plot: " + "; ".join(map(_description, effects)))


def forest_height(rows: Sequence[Any]) -> float:
    """Inches of a plot in a column whose rows have a line of text each."""
    return 0.4 * len(rows) + 0.55


def draw_narrow_forest(figure: Figure, effects: Sequence[Effect]) -> None:
    """Draw a forest plot in which the texts of a row stand above it."""
    axes = _column_axes(figure, len(effects))
    axes.axvline(0, color=MUTED, linewidth=1, zorder=0)
    for row, effect in enumerate(effects):
        weight, ink = ("normal", MUTED) if effect.part else ("bold", INK)
        numbers = f"{points(effect.estimate)} {interval(effect.ci, signed=True)}"
        n = f", n = {effect.n:,}" if effect.n is not None else ""
        label = _beside_numbers(effect.label, n, numbers, weight)
        beside(axes, 0.03 if effect.part else 0, row - 0.42, label, color=ink, weight=weight)
        beside(axes, 1, row - 0.42, numbers, color=ink, weight=weight, ha="right")
        _draw_mark(axes, row, effect, ink)
    axes.margins(x=0.06)
    quiet(axes, GAP_AXIS)


def _beside_numbers(label: str, n: str, numbers: str, weight: str) -> str:
    """A label and its `n`, cut to what the numbers at the right of a row leave of a column."""
    return fitted(label, 0.9 * COLUMN - _line_width(n, 8, weight) - _line_width(numbers, 8, weight), 8, weight) + n


def fitted(text: str, room: float, size: float, weight: str = "normal") -> str:
    """`text` on one line, cut with an ellipsis where it is wider than `room` inches at `size` points."""
    line = printable(" ".join(text.split()))
    ends = [*accumulate(size / 72 * _ems(letter, weight) for letter in line)]
    if not line or ends[-1] <= room:
        return line
    return line[: bisect_right(ends, room - size / 72 * _ems(ELLIPSIS, weight))].rstrip() + ELLIPSIS


def _line_width(text: str, size: float, weight: str = "normal") -> float:
    return size / 72 * sum(_ems(letter, weight) for letter in text)


@cache
def _ems(letter: str, weight: str) -> float:
    """The width of a letter in DejaVu Sans, which few fonts exceed; of one that is twice as wide (CJK), that of M."""
    drawn = "M" if east_asian_width(letter) in "WF" else letter
    font = FontProperties(family="DejaVu Sans", weight=weight, size=100)
    return float(text_to_path.get_text_width_height_descent(drawn, font, ismath=False)[0]) / 100


def _column_axes(figure: Figure, rows: int) -> Axes:
    height = figure.get_figheight()
    axes = figure.add_axes((0.03, 0.4 / height, 0.94, 1 - 0.44 / height))
    axes.set_ylim(rows - 0.6, -0.8)
    return axes


@dataclass(frozen=True)
class Dumbbell:
    """The accuracies of a group of samples in both views, each with its interval."""

    label: str
    n: int | None
    full: PlottedEstimate
    crop: PlottedEstimate


def dumbbell_plot(groups: Sequence[Dumbbell], *, name: str) -> str:
    """Full and crop accuracy of every group, joined by a line that is the gap."""
    with drawing(COLUMN, forest_height(groups), 8) as figure:
        draw_dumbbells(figure, groups)
        words = (f"{clip(one.label, 60)} {percent(one.full[0])} to {percent(one.crop[0])}" for one in groups)
        return to_svg(figure, name, "Full and crop accuracy: " + "; ".join(words))


def draw_dumbbells(figure: Figure, groups: Sequence[Dumbbell]) -> None:
    """Draw `dumbbell_plot`; the texts of a row stand above it."""
    axes = _column_axes(figure, len(groups))
    for row, group in enumerate(groups):
        numbers = f"{percent(group.full[0])} → {percent(group.crop[0])}"
        n = "" if group.n is None else f", n = {group.n:,}"
        label = _beside_numbers(group.label, n, numbers, "bold")
        beside(axes, 0, row - 0.42, label, color=INK, weight="bold")
        beside(axes, 1, row - 0.42, numbers, color=MUTED, ha="right")
        sides = {"full": group.full, "crop": group.crop}
        if all(value is not None for value, _ in sides.values()):
            axes.plot([100 * float(value or 0) for value, _ in sides.values()], [row, row], color=INK, linewidth=1.6)
        for view, (value, ci) in sides.items():
            colour, marker = CURVES[view]
            if ends := _ends(ci):
                axes.plot(ends, [row, row], color=colour, linewidth=5, alpha=0.25, solid_capstyle="butt")
            if value is not None:
                axes.plot([100 * value], [row], marker, markersize=6, mfc=colour, mec=colour)
    axes.set_xlim(-3, 103)
    quiet(axes, "accuracy, % (square: full image, circle: crop)")


def _draw_effect(axes: Axes, row: int, effect: Effect) -> None:
    weight, ink = ("normal", MUTED) if effect.part else ("bold", INK)
    n = "" if effect.n is None else f"n = {effect.n:,}"
    label = fitted(effect.label, NAMES - 0.4 - _line_width(n, 9), 10, weight)
    beside(axes, (0.14 if effect.part else 0.03) / FOREST - NAMES / FOREST, row, label, color=ink, weight=weight)
    beside(axes, -0.03, row, n, color=MUTED, ha="right", size=9)
    if effect.estimate is None:
        beside(axes, 1.03, row, "no paired samples", color=MUTED)
        return
    _draw_mark(axes, row, effect, ink)
    beside(axes, 1.171, row, points(effect.estimate), color=ink, weight=weight, ha="right")
    beside(axes, 1.204, row, interval(effect.ci, signed=True), color=MUTED)


def _draw_mark(axes: Axes, row: int, effect: Effect, ink: str) -> None:
    """The estimate and its interval."""
    if ends := _ends(effect.ci):
        axes.plot(ends, [row, row], color=ink, linewidth=1.2 if effect.part else 2.2)
    if effect.estimate is not None:
        face = "none" if effect.part else INK
        axes.plot([100 * effect.estimate], [row], "o" if effect.part else "D", markersize=6, mfc=face, mec=ink)


def beside(axes: Axes, x: float, row: float, text: str, **style: Any) -> None:
    """Write beside the plot: `x` is 0 at its left border and 1 at its right one; `row` is a value of y."""
    axes.text(x, row, text, va="center", transform=axes.get_yaxis_transform(), **style)


@dataclass(frozen=True)
class SizeAxis:
    """A logarithmic axis of sizes: its label, the factor from a size to what the axis shows, and the unit behind it."""

    label: str
    factor: float
    unit: str


AREA_AXIS = SizeAxis("evidence area, % of the image (log scale); n above", 100.0, "%")
TOKEN_AXIS = SizeAxis("image tokens of the evidence (log scale); n above", 1.0, "")


@dataclass(frozen=True)
class Series:
    """Points over size, (low, high, value, interval) each, and a fitted curve if there is one."""

    label: str
    colour: str
    marker: str
    points: Sequence[tuple[float, float, float | None, Interval]]
    fit: FittedCurve | None = None
    hollow: bool = False


def area_plot(
    bins: Sequence[Bin],
    *,
    name: str,
    label: str,
    fits: Mapping[str, FittedCurve | None] | None = None,
    axis: SizeAxis = AREA_AXIS,
) -> str:
    """Two panels over the size of the evidence: accuracy of both views with their fitted curves, and the gap."""
    with drawing(AREA_WIDTH, 4.6) as figure:
        draw_sizes(figure, *bin_series(bins, fits or {}), axis, [area_bin.n for area_bin in bins])
        return to_svg(
            figure, name, f"Accuracy of both views and the gap against {axis.label.partition(',')[0]}, {label}"
        )


def bin_series(bins: Sequence[Bin], fits: Mapping[str, FittedCurve | None]) -> tuple[list[Series], list[Series]]:
    """The series of the upper panel (crop and full) and of the lower one (gap)."""
    series = {
        curve: Series(curve, *CURVES[curve], [(b.low, b.high, *getattr(b, curve)) for b in bins], fits.get(curve))
        for curve in ("crop", "full", "gap")
    }
    return [series["crop"], series["full"]], [series["gap"]]


def draw_sizes(
    figure: Figure, top: Sequence[Series], bottom: Sequence[Series], axis: SizeAxis, counts: Sequence[int]
) -> None:
    """Draw accuracies above and gaps below. Points of one bin stand beside each other, fitted curves behind them."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    left, right = 0.7 / figure.get_figwidth(), 1 - 0.86 / figure.get_figwidth()
    foot = 0.46 / figure.get_figheight()
    figure.subplots_adjust(left=left, right=right, top=1 - 0.16 / figure.get_figheight(), bottom=foot, hspace=0.14)
    below.axhline(0, color=MUTED, linewidth=1)
    for axes, series in ((above, top), (below, bottom)):
        aside = [1.03 ** (1 - 2 * number) if len(series) > 1 else 1.0 for number in range(len(series))]
        heights = [_draw_series(axes, one, axis, shift) for one, shift in zip(series, aside, strict=True)]
        spread = _spread(heights[0], heights[1]) if len(heights) == 2 else heights
        for one, height in zip(series, spread, strict=True):
            if height is not None:
                beside(axes, 1.015, height, one.label, color=one.colour, weight="bold")
        axes.set_ylabel("accuracy, %" if axes is above else "gap, points", color=MUTED)
        quiet(axes)
    above.set_ylim(-4, 104)
    below.set_xlabel(axis.label, color=MUTED)
    below.set_xscale("log")
    below.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
    below.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.8f}".rstrip("0").rstrip(".") + axis.unit))
    below.xaxis.set_minor_formatter(NullFormatter())
    for (low, high, *_), n in zip(top[0].points, counts, strict=True):
        above.text(axis.factor * _centre(low, high), 1.0, f"{n:,}", color=MUTED, size="small", ha="center", va="bottom",
                   transform=above.get_xaxis_transform())  # fmt: skip


def _draw_series(axes: Axes, series: Series, axis: SizeAxis, aside: float) -> float | None:
    """Draw one series and return the height of its last point, at which its name stands.

    `aside` moves the points off the bins' centres, so that the intervals of two series do not cover each other.
    """
    xs, ys, colour = [], [], series.colour
    for low, high, value, ci in series.points:
        if value is None:
            continue
        x = aside * axis.factor * _centre(low, high)
        xs.append(x)
        ys.append(100 * value)
        ends = [axis.factor * _low(low, high), axis.factor * high]
        axes.plot(ends, [100 * value] * 2, color=colour, linewidth=1, alpha=0.35)
        if interval_ends := _ends(ci):
            axes.plot([x, x], interval_ends, color=colour, linewidth=1.6)
    if series.fit:
        sizes, low_, middle, high_ = (
            [scale * value for value in values]
            for scale, values in (
                (axis.factor, series.fit.sizes),
                (100, series.fit.low),
                (100, series.fit.estimate),
                (100, series.fit.high),
            )
        )
        axes.fill_between(sizes, low_, high_, color=colour, alpha=0.13, linewidth=0)
        axes.plot(sizes, middle, color=colour, linewidth=1.6, linestyle="--" if series.hollow else "-")
    line = 0 if series.fit else 1.2
    face = "none" if series.hollow else colour
    axes.plot(xs, ys, color=colour, marker=series.marker, markersize=6, linewidth=line, mec=colour, mfc=face)
    return ys[-1] if ys else None


def _spread(first: float | None, second: float | None, distance: float = 8.0) -> tuple[float | None, float | None]:
    """Heights of two labels, moved apart until they are `distance` from each other."""
    if first is None or second is None or abs(first - second) >= distance:
        return first, second
    middle, side = (first + second) / 2, distance / 2 if first >= second else -distance / 2
    return middle + side, middle - side


def _centre(low: float, high: float) -> float:
    return float((_low(low, high) * high) ** 0.5)


def _low(low: float, high: float) -> float:
    # A logarithmic axis has no zero: a bin that starts at zero is drawn one octave wide.
    return low if low > 0 else high / 2


def _ends(ci: Interval) -> list[float]:
    """Both ends in percent; empty without an interval."""
    ends = [100 * bound for bound in ci or () if bound is not None]
    return ends if len(ends) == 2 else []


def _description(effect: Effect) -> str:
    return f"{clip(effect.label, 60)} {points(effect.estimate)} {interval(effect.ci, signed=True)}".strip()


def quiet(axes: Axes, rows: str = "") -> None:
    """Hide all border lines but the bottom one, and give the labels the colour of small print.

    Grid lines show the values: those of y, or of x if the plot has a row per effect; `rows` is then the label of x.
    """
    if rows:
        axes.set_yticks([])
        axes.set_xlabel(rows, color=MUTED)
    axes.grid(axis="x" if rows else "y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=MUTED, length=0, labelcolor=MUTED)
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(LINE)


@contextmanager
def drawing(width: float, height: float, size: float = 10) -> Iterator[Figure]:
    """A figure outside pyplot's global state, with settings that make its SVG plain and reproducible."""
    style = {"svg.fonttype": "none", "svg.hashsalt": "gapbench", "text.parse_math": False, "font.size": size,
             "font.family": "DejaVu Sans", "pdf.fonttype": 42}  # fmt: skip
    with rc_context(style), warnings.catch_warnings():
        # The browser draws the text, so glyphs missing from matplotlib's font do not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        yield figure


PRINTED = {INK: "#1a1f24", MUTED: "#59636e", LINE: "#dfe2e4", FULL: "#b45309", CROP: "#0b63a5", GAP: "#1a1f24"}
"""The colours of the page's light mode, for files."""


def save(figure: Figure, path: Path) -> None:
    """Write the figure beside `path` as SVG and PDF, in the colours of print."""
    for artist in figure.findobj():
        for part in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            found: Any = getattr(artist, f"get_{part}", lambda: None)()
            rows = found if getattr(found, "ndim", 1) == 2 else [found]  # collections have a colour per member
            if len(rows) and is_color_like(rows[0]) and to_hex(rows[0]) in PRINTED:
                getattr(artist, f"set_{part}")(PRINTED[to_hex(rows[0])])
    for suffix, when in (("svg", "Date"), ("pdf", "CreationDate")):
        figure.savefig(path.with_suffix(f".{suffix}"), transparent=True, metadata={when: None})


def to_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an inline SVG element. `name` prefixes its ids; screen readers read `description`."""
    raw = io.BytesIO()
    figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(raw.getvalue())  # noqa: S314 (matplotlib wrote it)
    parents = {child: parent for parent in root.iter() for child in parent}
    for element in list(root.iter()):
        local = str(element.tag).rpartition("}")[2]
        if local in ("metadata", "style"):
            parents[element].remove(element)
            continue
        element.tag = local
        _rewrite(element, name)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"xmlns": _SVG, "class": "plot", "role": "img", "aria-label": description}
    return ElementTree.tostring(root, encoding="unicode")


def _rewrite(element: ElementTree.Element, name: str) -> None:
    attributes = element.attrib
    if _XLINK in attributes:
        attributes["href"] = f"#{name}-{attributes.pop(_XLINK)[1:]}"
    if "id" in attributes:
        attributes["id"] = f"{name}-{attributes['id']}"
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("url(#", f"url(#{name}-")
    if "style" in attributes:
        style = re.sub(r"#[0-9a-f]{6}", lambda m: f"var(--{VARIABLES.get(m.group(), 'ink')})", attributes["style"])
        attributes["style"] = re.sub(r"'DejaVu Sans'[^;]*", "var(--sans)", style)
