"""Plots of the anatomy: the gap in steps, accuracy by dose, and what cures cost. Narrow enough for a phone.

    steps_plot(0.56, [("resolution", 0.2, (0.16, 0.24)), ("surroundings", 0.13, (0.09, 0.17))], inline("parts"))

Each plot ends in `finish`, which makes an inline SVG of the figure, or writes it as files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from gapbench.report.finishes import Finish
from gapbench.report.plots import CROP, FULL, INK, MUTED, Interval, beside, drawing, quiet
from gapbench.util.text import area_percent, clip, interval, number, percent, points

WIDTH = 4.3
"""Inches: what a narrow screen shows."""

PlottedStep = tuple[str, float, Interval]
"""Its label, its size as a fraction, and its interval."""


def steps_plot(start: float, steps: Sequence[PlottedStep], finish: Finish) -> str:
    """From the accuracy in full to that in the crop: a bar for each step begins where the one before ends."""
    rows = len(steps) + 2
    height = 0.46 * rows + 0.62
    ends = list(accumulate((size for _, size, _ in steps), initial=start))
    with drawing(WIDTH, height) as figure:
        axes = figure.add_axes((0.02, 0.46 / height, 0.96, 1 - 0.5 / height))
        for row, (label, value, colour, marker) in (
            (0, ("full image", start, FULL, "s")),
            (rows - 1, ("crop", ends[-1], CROP, "o")),
        ):
            axes.plot([100 * value], [row], marker, color=colour, markersize=8)
            _texts(axes, row, label, percent(value), weight="bold")
        for row, ((label, size, ci), begin) in enumerate(zip(steps, ends, strict=False), 1):
            axes.barh(row, 100 * size, left=100 * begin, height=0.26, color=INK if size >= 0 else MUTED, alpha=0.55)
            if ci and None not in ci:
                axes.plot(
                    [min(max(100 * (begin + float(end or 0)), 0), 100) for end in ci],
                    [row, row],
                    color=INK,
                    linewidth=1.6,
                )
            _texts(axes, row, label, f"{points(size)} {interval(ci, signed=True)}")
        axes.set_ylim(rows - 0.6, -0.8)
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, -2) - 2, min(high, 100) + 2)
        quiet(axes, "accuracy, %")
        words = "; ".join(f"{label} {points(size)} {interval(ci, signed=True)}" for label, size, ci in steps)
        return finish(figure, f"From full, {percent(start)}, to crop, {percent(ends[-1])}: {words}")


def _texts(axes: Any, row: float, label: str, value: str, weight: str = "normal") -> None:
    beside(axes, 0, row - 0.36, clip(label, 40), color=INK, weight=weight, size=9.5)
    beside(axes, 1, row - 0.36, value, color=INK, weight=weight, ha="right", size=9.5)


def dose_plot(doses: Sequence[Mapping[str, Any]], finish: Finish) -> str:
    """Accuracy over the share of the image that a view shows, from the full image to the tightest crop."""
    with drawing(WIDTH, 3.0) as figure:
        axes = figure.add_axes((0.1, 0.17, 0.86, 0.76))
        xs, ys = [100 * dose["area"] for dose in doses], [100 * dose["estimate"] for dose in doses]
        axes.plot(xs, ys, color=INK, linewidth=1.2)
        for dose, x, y in zip(doses, xs, ys, strict=True):
            full = dose["view"] == "full"
            if dose["ci"]:
                axes.plot([x, x], [100 * end for end in dose["ci"]], color=FULL if full else CROP, linewidth=1.6)
            axes.plot([x], [y], "s" if full else "o", color=FULL if full else CROP, markersize=6)
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.xaxis.set_major_locator(FixedLocator(xs))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: area_percent(value / 100)))
        axes.margins(x=0.06)
        axes.set_ylim(-4, 104)
        quiet(axes)
        axes.set_xlabel("share of the image that is shown (logarithmic)", color=MUTED)
        beside(axes, 0, 110, "accuracy, %", color=MUTED)
        words = "; ".join(f"{dose['view']} {percent(dose['estimate'])}" for dose in doses)
        return finish(figure, f"Accuracy by dose: {words}")


def cure_plot(cures: Sequence[Mapping[str, Any]], finish: Finish) -> str | None:
    """Accuracy over image tokens an answer; None unless every cure has tokens."""
    known = [cure for cure in cures if cure["image_tokens"] and cure["estimate"] is not None]
    if len(known) < 3:
        return None
    with drawing(WIDTH, 3.3) as figure:
        axes = figure.add_axes((0.1, 0.16, 0.86, 0.77))
        tokens = [cure["image_tokens"] for cure in known]
        for cure in known:
            x, y = cure["image_tokens"], 100 * cure["estimate"]
            colour, marker = {"full": (FULL, "s"), "crop": (CROP, "o")}.get(cure["name"].split(" ")[0], (INK, "D"))
            if colour != INK:
                axes.axhline(y, color=colour, linewidth=1, alpha=0.5, linestyle=(0, (4, 3)))
            if cure["ci"]:
                axes.plot([x, x], [100 * end for end in cure["ci"]], color=colour, linewidth=1.6)
            axes.plot([x], [y], marker, color=colour, markersize=6)
        axes.set_xscale("log")
        low, high = min(tokens), max(tokens)
        axes.set_xlim(low / 1.25, high * max(1.25, (high / low) ** 0.12))
        middle = (low * high) ** 0.5
        for cure, height in zip(known, _apart([100 * cure["estimate"] for cure in known]), strict=True):
            left = cure["image_tokens"] > middle
            axes.annotate(
                clip(cure["name"], 28), (cure["image_tokens"], height), xytext=(-8 if left else 8, 0),
                textcoords="offset points", ha="right" if left else "left", va="center", color=INK, size=9,
            )  # fmt: skip
        ticks = sorted({*tokens}) if high / low < 1.05 else _ticks(tokens)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.set_ylim(-4, 108)
        quiet(axes)
        axes.set_xlabel("image tokens an answer (logarithmic)", color=MUTED)
        beside(axes, 0, 114, "accuracy, %", color=MUTED)
        words = "; ".join(
            f"{clip(cure['name'], 60)} {percent(cure['estimate'])} at {number(cure['image_tokens'])}" for cure in known
        )
        return finish(figure, f"Accuracy against image tokens: {words}")


def _ticks(tokens: Sequence[float]) -> list[float]:
    """The tokens of the views, without those that would stand on each other."""
    kept: list[float] = []
    for value in sorted(set(tokens)):
        if not kept or value > 1.3 * kept[-1]:
            kept.append(value)
    return kept


def _apart(heights: Sequence[float], distance: float = 8.0) -> list[float]:
    """Heights of labels, the lowest first moved up until neighbours are `distance` apart."""
    placed = list(heights)
    order = sorted(range(len(placed)), key=placed.__getitem__)
    for below, above in pairwise(order):
        placed[above] = max(placed[above], placed[below] + distance)
    over = max(0.0, max(placed, default=0.0) - 104)
    return [height - over for height in placed]
