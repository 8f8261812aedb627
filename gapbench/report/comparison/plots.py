"""The plots of a comparison: accuracies before and after, and the curves of the training.

change_plot(summary, inline("change"))    '<svg …>', or None if nothing was compared
curves(steps)                             [('loss', '<svg …>'), …]
write_figures(Path("figures"), summary, runs, steps)    SVG, PDF and CSV of each, for a paper
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from gapbench.analysis import psychometric
from gapbench.analysis.comparison.runs import LoadedRun
from gapbench.analysis.comparison.training_log import METRICS
from gapbench.analysis.psychometric import binned, sized_samples
from gapbench.report.finishes import DataRow, Finish, data_row, inline, into, stems, write_data
from gapbench.report.plots import (
    AREA_AXIS,
    AREA_WIDTH,
    CROP,
    CURVES,
    FOREST_WIDTH,
    INK,
    MUTED,
    Series,
    beside,
    draw_sizes,
    drawing,
    fitted,
    quiet,
)
from gapbench.report.run.figures import FIGURES, bins_of
from gapbench.report.tables import benchmarks_of
from gapbench.util.text import clip, percent, points

BENCHMARKS = 30
POINTS = 300
"""Most points of a curve; a longer curve is drawn as means over equal ranges of steps."""
CURVE = (3.9, 1.75)
"""Width and height in inches."""

Steps = Sequence[Mapping[str, float | None]]
"""The training log, as `gapbench.analysis.comparison.training_log.read_steps` reads it."""

TITLES = {
    "loss": "Loss",
    "divergence": "Divergence from the teacher",
    "ema_distance": "Distance of the teacher's average",
    "logp_gap": "Trainer against sampler, |log p|",
    "entropy": "Entropy of the student",
    "mean_length": "Mean length, tokens",
    "truncated": "Share truncated",
    "tokens_per_second": "Tokens per second",
    "validation_divergence": "Held-out divergence, student's view",
    "validation_crop": "Held-out divergence, teacher's view",
    "validation_accuracy": "Held-out accuracy",
    "probe_confidence": "Teacher's confidence on probe crops",
    "lr": "Learning rate",
    "grad_norm": "Gradient norm",
}


def change_plot(summary: Mapping[str, Any], finish: Finish) -> str | None:
    """Full and crop accuracy of every benchmark with intervals: hollow before, filled after."""
    rows = list(_changed(summary))
    if not rows:
        return None
    places = [row + 0.45 * index for row, (*_, index) in enumerate(rows)]
    height = 0.42 * (places[-1] + 1) + 0.75
    with drawing(FOREST_WIDTH, height) as figure:
        axes = figure.add_axes((0.26, 0.5 / height, 0.5, 1 - 0.62 / height))
        described, labelled = [], ""
        for (benchmark, view, entry, _), place in zip(rows, places, strict=True):
            _draw_change(axes, place, entry, view)
            if benchmark != labelled:
                beside(axes, -0.5, place, fitted(benchmark, 1.75, 10, "bold"), color=INK, weight="bold")
                labelled = benchmark
            beside(axes, -0.03, place, view, color=CURVES[view][0], weight="bold", ha="right")
            before, after = (percent(entry[when][view]["estimate"]) for when in ("before", "after"))
            beside(axes, 1.04, place, f"{before} → {after}", color=MUTED)
            change = points(entry["delta"][view]["estimate"])
            beside(axes, 1.47, place, change, color=INK, weight="bold", ha="right")
            described.append(f"{clip(benchmark, 60)} {view} {before} to {after}")
        axes.set_ylim(places[-1] + 0.6, -0.6)
        axes.set_xlim(-2, 102)
        quiet(axes, "accuracy, %")
        return finish(figure, "Accuracy before and after: " + "; ".join(described))


def _changed(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], int]]:
    """(benchmark, view, entry, place of the benchmark) of what `change_plot` shows."""
    for index, (benchmark, entry) in enumerate(list(benchmarks_of(summary).items())[:BENCHMARKS]):
        yield from ((benchmark, view, entry, index) for view in ("full", "crop") if entry["delta"][view])


@dataclass(frozen=True)
class SizeCurves:
    """What `size_plot` shows of a benchmark: the full view's accuracy, the gap, and the samples of each bin."""

    full: Sequence[Series]
    gap: Sequence[Series]
    counts: Sequence[int]


def sizes_of(summary: Mapping[str, Any], runs: Sequence[LoadedRun]) -> Iterator[tuple[str, SizeCurves]]:
    """By benchmark, over the samples that both runs answered in both views; at most `FIGURES` benchmarks."""
    for name in list(benchmarks_of(summary))[:FIGURES]:
        before, after = (sized_samples(run.records[run.records["benchmark"] == name]) for run in runs[:2])
        both = before.index.intersection(after.index)
        if both.empty:
            continue
        tables = [before.loc[both], after.loc[both].assign(area=before.loc[both, "area"])]
        top, bottom = [], []
        for table, run, hollow in zip(tables, runs, (True, False), strict=False):
            bins, label = bins_of(binned(table, "area")), clip(run.label, 11)
            fit = psychometric.fitted(table["area"], table["full"], table["cluster"])
            top.append(Series(label, *CURVES["full"], [(b.low, b.high, *b.full) for b in bins], fit, hollow))
            bottom.append(Series(label, *CURVES["gap"], [(b.low, b.high, *b.gap) for b in bins], None, hollow))
        yield name, SizeCurves(top, bottom, [one.n for one in bins])


def size_plots(summary: Mapping[str, Any], runs: Sequence[LoadedRun]) -> list[tuple[str, str]]:
    """(benchmark, plot) of every `size_plot`, for a page."""
    found = enumerate(sizes_of(summary, runs))
    return [(clip(name, 80), size_plot(name, shown, inline(f"sizes{n}"))) for n, (name, shown) in found]


def size_plot(name: str, shown: SizeCurves, finish: Finish) -> str:
    """The full view's accuracy and the gap over the evidence area, before and after."""
    with drawing(AREA_WIDTH, 4.6) as figure:
        draw_sizes(figure, shown.full, shown.gap, AREA_AXIS, shown.counts)
        words = f"Accuracy on the full image and gap against evidence area, before and after, {clip(name, 80)}"
        return finish(figure, words)


def _draw_change(axes: Axes, place: float, entry: Mapping[str, Any], view: str) -> None:
    colour, marker = CURVES[view]
    spots = []
    for when, offset in (("before", -0.15), ("after", 0.15)):
        level = entry[when][view]
        x, y = 100 * level["estimate"], place + offset
        if level["ci"]:
            axes.plot([100 * bound for bound in level["ci"]], [y, y], color=colour, linewidth=1.4, alpha=0.75)
        spots.append((x, y))
    axes.plot(*zip(*spots, strict=True), color=colour, linewidth=0.8, linestyle=(0, (2, 2)))
    for (x, y), face in zip(spots, ("none", colour), strict=True):
        axes.plot([x], [y], marker, markersize=6.5, mfc=face, mec=colour, mew=1.4)


def curves(steps: Steps, finish: Callable[[str], Finish] = inline) -> list[tuple[str, str]]:
    """(title, plot) of every metric that was logged at two or more steps."""
    return [(TITLES[metric], _curve(line, metric, finish(f"curve-{metric}"))) for metric, line in _logged(steps)]


def _logged(steps: Steps) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    for metric in METRICS:
        logged = [(step["step"], value) for step in steps if (value := step.get(metric)) is not None]
        line = [(float(x), y) for x, y in logged if x is not None]
        if len(line) > 1:
            yield metric, _thinned(line)


def write_figures(folder: Path, summary: Mapping[str, Any], runs: Sequence[LoadedRun], steps: Steps) -> list[Path]:
    """Write the figures of a comparison into `folder` as SVG and PDF, with the data of each as CSV; returns the CSV
    files. They are as wide as on the page: `change`, `sizes` of each benchmark, and the `curve` of each metric.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Iterable[DataRow]] = {}
    if change_plot(summary, into(folder, "change")):
        files["change"] = (
            data_row("row", f"{name} {view} {when}", (level["estimate"], level["ci"]), entry["n"])
            for name, view, entry, _ in _changed(summary)
            for when in ("before", "after") if (level := entry[when][view])
        )  # fmt: skip
    sizes = dict(sizes_of(summary, runs))
    for name, stem in stems(sizes):
        shown = sizes[name]
        size_plot(name, shown, into(folder, f"{stem}-sizes"))
        files[f"{stem}-sizes"] = (
            data_row("bin", f"{curve} {one.label}", (value, ci), n, low, high)
            for curve, series in (("full", shown.full), ("gap", shown.gap)) for one in series
            for (low, high, value, ci), n in zip(one.points, shown.counts, strict=True)
        )  # fmt: skip
    curves(steps, partial(into, folder))
    for metric, line in _logged(steps):
        files[f"curve-{metric}"] = [data_row("row", metric, (y, None), None, x, x) for x, y in line]
    return [write_data(folder / f"{name}.csv", rows) for name, rows in files.items()]


def _curve(line: Sequence[tuple[float, float]], metric: str, finish: Finish) -> str:
    with drawing(*CURVE) as figure:
        axes = figure.add_axes((0.17, 0.22, 0.79, 0.66))
        xs, ys = zip(*line, strict=True)
        axes.plot(xs, ys, color=CROP, linewidth=1.5)
        axes.margins(x=0.02, y=0.12)
        if max(ys) - min(ys) < 1e-12:  # matplotlib would give a constant an axis of meaningless digits
            axes.set_ylim(*sorted((0.5 * ys[0], 1.5 * ys[0])) if ys[0] else (-0.05, 1.0))
        axes.locator_params(axis="both", nbins=4)
        axes.set_xlabel("step", color=MUTED, size=9)
        quiet(axes)
        axes.tick_params(labelsize=9)
        axes.yaxis.get_offset_text().set(color=MUTED, size=8)
        words = f"{TITLES[metric]}: {ys[0]:.4g} at step {xs[0]:.0f}, {ys[-1]:.4g} at step {xs[-1]:.0f}"
        return finish(figure, words)


def _thinned(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `POINTS` points: means over equal ranges of steps, so that no single step is picked by chance."""
    if len(line) <= POINTS:
        return list(line)
    edges = [round(i * len(line) / POINTS) for i in range(POINTS + 1)]
    ranges = [line[low:high] for low, high in pairwise(edges)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in ranges]
