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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from gapbench.util.text import clip, interval, points

Interval = Sequence[float | None] | None
PlottedEstimate = tuple[float | None, Interval]

# Placeholder colours that matplotlib can write, and the CSS colour each one stands for.
INK, MUTED, LINE = "#010101", "#020202", "#030303"
FULL, CROP, GAP = "#040404", "#050505", "#060606"
CURVES = {"full": (FULL, "s"), "crop": (CROP, "o"), "gap": (GAP, "D")}
"""The colour and the marker of each."""
VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", FULL: "full", CROP: "crop", GAP: "ink"}

FOREST_WIDTH, NARROW_WIDTH, AREA_WIDTH = 9.6, 4.3, 7.8
"""Inches, at 72 pixels to the inch. At this size the text is as large as the page's small print."""

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


def forest_plot(effects: Sequence[Effect], *, name: str, axis: str = "gap, percentage points") -> str:
    """Estimates with their intervals, one row each, in the order of `effects`."""
    with drawing(FOREST_WIDTH, 0.29 * len(effects) + 0.62) as figure:
        axes = figure.add_axes((0.29, 0.46 / figure.get_figheight(), 0.47, 1 - 0.58 / figure.get_figheight()))
        axes.axvline(0, color=MUTED, linewidth=1)
        for row, effect in enumerate(effects):
            _draw_effect(axes, row, effect)
        axes.set_ylim(len(effects) - 0.4, -0.6)
        axes.margins(x=0.06)
        quiet(axes, axis)
        return to_svg(figure, name, "Forest plot: " + "; ".join(map(_description, effects)))


def narrow_forest_plot(effects: Sequence[Effect], *, name: str, axis: str = "gap, percentage points") -> str:
    """The same for a narrow screen: the texts of a row stand above it. The style sheet shows one of the two."""
    height = 0.5 * len(effects) + 0.62
    with drawing(NARROW_WIDTH, height) as figure:
        axes = figure.add_axes((0.02, 0.46 / height, 0.96, 1 - 0.5 / height))
        axes.axvline(0, color=MUTED, linewidth=1)
        for row, effect in enumerate(effects):
            weight, ink = ("normal", MUTED) if effect.part else ("bold", INK)
            label = clip(" ".join(effect.label.split()), 18) + (f", n = {effect.n:,}" if effect.n is not None else "")
            beside(axes, 0.03 if effect.part else 0, row - 0.42, label, color=ink, weight=weight)
            numbers = f"{points(effect.estimate)} {interval(effect.ci, signed=True)}"
            beside(axes, 1, row - 0.42, numbers, color=ink, weight=weight, ha="right")
            _draw_mark(axes, row, effect, ink)
        axes.set_ylim(len(effects) - 0.6, -0.8)
        axes.margins(x=0.06)
        quiet(axes, axis)
        return to_svg(figure, name, "Narrow forest plot: " + "; ".join(map(_description, effects)))


def _draw_effect(axes: Axes, row: int, effect: Effect) -> None:
    weight, ink = ("normal", MUTED) if effect.part else ("bold", INK)
    label = clip(" ".join(effect.label.split()), 34)
    beside(axes, -0.585 if effect.part else -0.61, row, label, color=ink, weight=weight)
    if effect.n is not None:
        beside(axes, -0.03, row, f"n = {effect.n:,}", color=MUTED, ha="right", size=9)
    if effect.estimate is None:
        beside(axes, 1.03, row, "no paired samples", color=MUTED)
        return
    _draw_mark(axes, row, effect, ink)
    beside(axes, 1.155, row, points(effect.estimate), color=ink, weight=weight, ha="right")
    beside(axes, 1.185, row, interval(effect.ci, signed=True), color=MUTED)


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


def area_plot(bins: Sequence[Bin], *, name: str, label: str) -> str:
    """Two panels over the relative area of the evidence (logarithmic axis): accuracy of both views, and the gap."""
    with drawing(AREA_WIDTH, 4.6) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        figure.subplots_adjust(left=0.09, right=0.89, top=0.965, bottom=0.1, hspace=0.14)
        crop, full = _spread(_draw_curve(above, bins, "crop", 1.03), _draw_curve(above, bins, "full", 1 / 1.03))
        below.axhline(0, color=MUTED, linewidth=1)
        gap = _draw_curve(below, bins, "gap")
        for axes, curve, height in ((above, "crop", crop), (above, "full", full), (below, "gap", gap)):
            if height is not None:
                beside(axes, 1.015, height, curve, color=CURVES[curve][0], weight="bold")
        above.set_ylim(-4, 104)
        above.set_ylabel("accuracy, %", color=MUTED)
        below.set_ylabel("gap, points", color=MUTED)
        below.set_xlabel("evidence area, % of the image (logarithmic); n above each bin", color=MUTED)
        below.set_xscale("log")
        below.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        below.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.8f}".rstrip("0").rstrip(".") + "%"))
        below.xaxis.set_minor_formatter(NullFormatter())
        for area_bin in bins:
            above.text(_centre(area_bin), 1.0, f"{area_bin.n:,}", color=MUTED, size=8, ha="center", va="bottom",
                       transform=above.get_xaxis_transform())  # fmt: skip
        for axes in (above, below):
            quiet(axes)
        return to_svg(figure, name, f"Accuracy of both views and the gap against evidence area, {label}")


def _draw_curve(
    axes: Axes, bins: Sequence[Bin], curve: Literal["full", "crop", "gap"], aside: float = 1.0
) -> float | None:
    """Draw one curve and return the height of its last point.

    `aside` moves the points off the bins' centres, so that the intervals of two curves do not cover each other.
    """
    xs, ys, (colour, marker) = [], [], CURVES[curve]
    for area_bin in bins:
        value, ci = getattr(area_bin, curve)
        if value is None:
            continue
        x = aside * _centre(area_bin)
        xs.append(x)
        ys.append(100 * value)
        axes.plot([100 * _low(area_bin), 100 * area_bin.high], [100 * value] * 2, color=colour, linewidth=1, alpha=0.35)
        if ends := _ends(ci):
            axes.plot([x, x], ends, color=colour, linewidth=1.6)
    axes.plot(xs, ys, color=colour, marker=marker, markersize=6, linewidth=1.2, mec=colour, mfc=colour)
    return ys[-1] if ys else None


def _spread(first: float | None, second: float | None, distance: float = 8.0) -> tuple[float | None, float | None]:
    """Heights of two labels, moved apart until they are `distance` from each other."""
    if first is None or second is None or abs(first - second) >= distance:
        return first, second
    middle, side = (first + second) / 2, distance / 2 if first >= second else -distance / 2
    return middle + side, middle - side


def _centre(area_bin: Bin) -> float:
    return float(100 * (_low(area_bin) * area_bin.high) ** 0.5)


def _low(area_bin: Bin) -> float:
    # A logarithmic axis has no zero: a bin that starts at zero is drawn one octave wide.
    return area_bin.low if area_bin.low > 0 else area_bin.high / 2


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
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure outside pyplot's global state, with settings that make its SVG plain and reproducible."""
    style = {"svg.fonttype": "none", "svg.hashsalt": "gapbench", "text.parse_math": False, "font.size": 10,
             "font.family": "DejaVu Sans"}  # fmt: skip
    with rc_context(style), warnings.catch_warnings():
        # The browser draws the text, so glyphs missing from matplotlib's font do not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        yield figure


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
