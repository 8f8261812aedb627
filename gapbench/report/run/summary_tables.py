"""The tables of one run, built from `summary.json`.

    [gap_table(summary), view_table(summary), flip_table(summary), *category_tables(summary), *area_tables(summary)]

A table holds all benchmarks of its summary; `gapbench.report.families` separates those that must not share one.
Any number may be null: a view that was not measured and a gap without pairs show as an en dash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gapbench.analysis.metrics import HEADLINE, METRICS
from gapbench.report.tables import (
    NAME_LIMIT,
    ROW_LIMIT,
    Cell,
    Column,
    Summary,
    Table,
    benchmarks_of,
    count_cell,
    has_gap,
    macro_gap,
    nested,
    percent_cell,
    points_cell,
    table_of,
    text_cell,
)
from gapbench.util.text import MISSING, clip, number, p_value, percent


def gap_table(summary: Summary) -> Table:
    """The main table: one row per benchmark, and the macro mean as footer."""
    benchmarks = benchmarks_of(summary)
    several, judged = len(benchmarks) > 1, _is_judged(summary)
    columns = (
        Column("Benchmark"),
        Column("Samples", True, "Samples in the run; below, the paired samples: those that enter the gap"),
        Column("Clusters", True, "Samples that share an image form one cluster, the unit of intervals and tests"),
        Column("Full", True, "Accuracy on the full image, with its 95% interval"),
        Column("Crop", True, "Accuracy on the crop around the evidence, with its 95% interval"),
        Column("Gap, points", True, "Crop score minus full score of the same samples, with its 95% interval"),
        Column("p (Holm)" if several else "p", True, "Sign-flip test over clusters" + _holm(several)),
        Column("MDE", True, "Minimum detectable effect: smallest gap, in points, that this run detects with 80% power"),
        Column("Unparsed", True, "Answers that no rule could read: full / crop"),
        *([JUDGED] if judged else []),
        Column(
            "Failed", True, "Answers that the engine failed to give: full / crop; below, samples left out of the gap"
        ),
        Column("Image tokens", True, "Mean image tokens per answer: full / crop"),
        Column("Interval", False, "Method of the interval of the gap"),
    )
    rows = [_gap_row(name, entry, several, judged) for name, entry in benchmarks.items()]
    macro = macro_gap(summary)
    footer: tuple[tuple[Cell, ...], ...] = ()
    count = sum(map(has_gap, benchmarks.values()))
    if count > 1 and macro is not None:
        blank = Cell("")
        gap = points_cell(macro.get("estimate"), macro.get("ci"))
        mean = Cell("Macro mean", f"of {count} benchmarks, unweighted")
        numbers = (gap, Cell(p_value(macro.get("p_value"))), Cell(number(_times100(macro.get("mde")), 1)))
        method = Cell(clip(macro.get("method") or "", NAME_LIMIT))
        footer = ((mean, *[blank] * 4, *numbers, *[blank] * (4 if judged else 3), method),)
    return table_of("Accuracy and gap", columns, rows, footer)


def _gap_row(name: str, entry: Mapping[str, Any], several: bool, judged: bool) -> tuple[Cell, ...]:
    gap = entry.get("gap") or {}
    full, crop = (nested(entry, "views", view) or {} for view in ("full", "crop"))
    p = gap.get("p_value_holm") if several and gap.get("p_value_holm") is not None else gap.get("p_value")
    tokens = full.get("image_tokens_mean")
    paired, dropped = gap.get("n"), gap.get("dropped")
    return (
        text_cell(clip(name, NAME_LIMIT)),
        Cell(number(entry.get("n")), f"{number(paired)} paired" if paired is not None else "", entry.get("n")),
        count_cell(entry.get("clusters")),
        percent_cell(full.get("accuracy"), full.get("ci")),
        percent_cell(crop.get("accuracy"), crop.get("ci")),
        points_cell(gap.get("estimate"), gap.get("ci")),
        Cell(p_value(p), "", p),
        Cell(number(_times100(gap.get("mde")), 1), "", gap.get("mde")),
        _both(percent(full.get("unparsed")), percent(crop.get("unparsed")), full.get("unparsed")),
        *([_judged_cell(full, crop)] if judged else []),
        Cell(
            f"{_failures(full)} / {_failures(crop)}",
            f"{number(dropped)} left out" if dropped else "",
            full.get("failed"),
        ),
        _both(number(tokens), number(crop.get("image_tokens_mean")), tokens),
        text_cell(clip(gap.get("method") or "", NAME_LIMIT)),
    )


JUDGED = Column("Judged", True, "Answers that the judge decided: full / crop; below, answers on which the judge failed")


def _is_judged(summary: Summary) -> bool:
    """Whether the judge decided an answer or failed on one."""
    views = (view for entry in benchmarks_of(summary).values() for view in (entry.get("views") or {}).values())
    return any(view.get("judged") or view.get("judge_failed") for view in views)


def _judged_cell(*views: Mapping[str, Any]) -> Cell:
    """The share of answers that the judge decided in each view, and any share on which it failed."""
    decided, failed = (" / ".join(percent(view.get(key)) for view in views) for key in ("judged", "judge_failed"))
    any_failed = any(view.get("judge_failed") for view in views)
    return Cell(decided, f"failed {failed}" if any_failed else "", views[0].get("judged"))


def view_table(summary: Summary) -> Table:
    """One row for every view of every benchmark."""
    judged = _is_judged(summary)
    columns = (
        Column("Benchmark"),
        Column("View"),
        Column("Samples", True),
        Column("Accuracy", True, "With its 95% interval"),
        Column("Unparsed", True),
        *([replace(JUDGED, help="Answers that the judge decided because no rule could read them")] if judged else []),
        Column("Failed", True),
        Column("Pixels", True, "Mean per answer: the pixels of all images sent with it"),
        Column("Image tokens", True, "Mean per answer"),
        Column("Output tokens", True, "Mean per answer"),
        Column("Flip rate", True, "Probability that two repeats of a sample disagree: the noise floor"),
    )
    rows = [
        (
            text_cell(clip(name, NAME_LIMIT)),
            text_cell(clip(view, NAME_LIMIT)),
            count_cell(level.get("n")),
            percent_cell(level.get("accuracy"), level.get("ci")),
            percent_cell(level.get("unparsed")),
            *([_judged_cell(level)] if judged else []),
            percent_cell(level.get("failed")),
            _pixels_cell(level),
            count_cell(level.get("image_tokens_mean")),
            count_cell(level.get("output_tokens_mean"), 1),
            percent_cell(level.get("flip_rate")),
        )
        for name, entry in benchmarks_of(summary).items()
        for view, level in (entry.get("views") or {}).items()
    ]
    return table_of("All views", columns, rows)


def _pixels_cell(view: Mapping[str, Any]) -> Cell:
    images = view.get("images_mean")
    several = f"{number(images, 1)} images" if images is not None and images != 1 else ""
    return replace(count_cell(view.get("sent_pixels_mean")), note=several)


def metric_table(summary: Summary) -> Table:
    """The metrics of every benchmark that reports more than the accuracy, with the headline metric marked."""
    columns = (
        Column("Benchmark"),
        Column("Metric"),
        Column("Full", True, "On the full image, with its 95% interval"),
        Column("Crop", True, "On the crop around the evidence, with its 95% interval"),
        Column(
            "Gap, points", True, "Crop minus full on samples answered in both views, with its 95% interval; not tested"
        ),
        Column("Mean over", True, "Number of samples, or of clusters, behind the value of the full view"),
    )
    rows = []
    for name, entry in benchmarks_of(summary).items():
        metrics = entry.get("metrics") or {}
        if set(metrics) <= {HEADLINE}:
            continue
        for metric, views in metrics.items():
            full, crop, gap = (views.get(key) or {} for key in ("full", "crop", "gap"))
            level = full or crop
            left_out = level.get("left_out")
            rows.append(
                (
                    text_cell(clip(name, NAME_LIMIT)),
                    text_cell(metric_title(metric), "headline" if metric == entry.get("headline_metric") else ""),
                    percent_cell(full.get("estimate"), full.get("ci")),
                    percent_cell(crop.get("estimate"), crop.get("ci")),
                    points_cell(gap.get("estimate"), gap.get("ci")),
                    over_cell(metric, level.get("n"), f"{number(left_out)} left out" if left_out else ""),
                )
            )
    return table_of("Metrics", columns, rows)


def over_cell(metric: str, n: float | None, note: str = "") -> Cell:
    """The number of samples or clusters over which a metric is a mean."""
    unit = METRICS[metric].unit if metric in METRICS else ""
    return Cell(f"{number(n)} {unit}".strip(), note, n)


def metric_title(name: str) -> str:
    """The title of a metric."""
    return METRICS[name].title if name in METRICS else clip(name, NAME_LIMIT)


def metric_terms(summary: Summary) -> tuple[tuple[str, str], ...]:
    """(title, meaning) of the metrics that `metric_table` shows."""
    names = dict.fromkeys(
        name for entry in benchmarks_of(summary).values() for name in entry.get("metrics") or {} if name in METRICS
    )
    return tuple((METRICS[name].title, METRICS[name].meaning) for name in names) if set(names) - {HEADLINE} else ()


def flip_table(summary: Summary) -> Table:
    """The flip matrix of every benchmark: the number of samples by the views with a right answer."""
    columns = (
        Column("Benchmark"),
        Column("Crop only", True, "Samples right in the crop, wrong in the full image"),
        Column("Full only", True, "Samples right in the full image, wrong in the crop"),
        Column("Both", True, "Samples right in both views"),
        Column("Neither", True, "Samples right in neither view"),
    )
    keys = ("crop_only", "full_only", "both", "neither")
    rows = [
        (text_cell(clip(name, NAME_LIMIT)), *(count_cell(nested(entry, "pairs", key)) for key in keys))
        for name, entry in benchmarks_of(summary).items()
    ]
    return table_of("Flip matrix", columns, rows)


def category_tables(summary: Summary) -> tuple[Table, ...]:
    """One exploratory table for each benchmark with categories, the largest category first."""
    tables = []
    for name, entry in list(benchmarks_of(summary).items())[:ROW_LIMIT]:
        groups = sorted((entry.get("by_category") or {}).items(), key=lambda item: -(item[1].get("n") or 0))
        rows = [(text_cell(clip(category, NAME_LIMIT)), *_group_cells(group)) for category, group in groups]
        if rows:
            tables.append(table_of(clip(name, NAME_LIMIT), _group_columns("Category"), rows))
    return tuple(tables)


def area_tables(summary: Summary) -> tuple[Table, ...]:
    """One exploratory table for each benchmark with evidence boxes: the gap by evidence area."""
    tables = []
    for name, entry in list(benchmarks_of(summary).items())[:ROW_LIMIT]:
        groups = entry.get("by_evidence_area") or []
        rows = [(Cell(area_label(group), "", group.get("from")), *_group_cells(group)) for group in groups]
        if rows:
            tables.append(table_of(clip(name, NAME_LIMIT), _group_columns("Evidence area"), rows))
    return tuple(tables)


def area_label(group: Mapping[str, Any]) -> str:
    """A bin of relative areas as a percentage range with two significant digits."""
    low, high = (group.get(edge) for edge in ("from", "to"))
    return " to ".join(MISSING if edge is None else area_percent(edge) for edge in (low, high))


def area_percent(area: float) -> str:
    """A fraction of the image as a percentage with two significant digits and no exponent."""
    return f"{float(f'{100 * area:.2g}'):.8f}".rstrip("0").rstrip(".") + "%"


def _group_columns(heading: str) -> tuple[Column, ...]:
    return (Column(heading), *(Column(title, True) for title in ("Samples", "Clusters", "Full", "Crop", "Gap, points")))


def _group_cells(group: Mapping[str, Any]) -> tuple[Cell, ...]:
    full, crop, gap = (group.get(key) or {} for key in ("full", "crop", "gap"))
    return (
        count_cell(group.get("n")),
        count_cell(group.get("clusters")),
        percent_cell(full.get("estimate"), full.get("ci")),
        percent_cell(crop.get("estimate"), crop.get("ci")),
        points_cell(gap.get("estimate"), gap.get("ci")),
    )


def _both(full: str, crop: str, sort: float | None) -> Cell:
    return Cell(f"{full} / {crop}", "", sort)


def _failures(view: Mapping[str, Any]) -> str:
    return percent(view.get("failed"))


def _holm(several: bool) -> str:
    return "; corrected over the benchmarks by Holm's method" if several else ""


def _times100(value: float | None) -> float | None:
    return None if value is None else 100 * value
