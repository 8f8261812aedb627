"""The main tables of a comparison, built from `comparison.json`.

    [headline_table(summary), holdout_table(summary), transition_table(summary), runs_table(summary)]

Any number may be null: numbers that were not measured show as an en dash.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from gapbench.analysis.metrics import HEADLINE
from gapbench.report import tables
from gapbench.report.run.summary_tables import metric_title, over_cell
from gapbench.report.tables import (
    NAME_LIMIT,
    Cell,
    Column,
    Summary,
    Table,
    benchmarks_of,
    count_cell,
    percent_cell,
    points_cell,
    text_cell,
)
from gapbench.util.text import MISSING, clip, interval, number, p_value, percent

Entry = Mapping[str, Any]

MEASURES = (("full", "full image"), ("crop", "crop"), ("gap", "gap"))
LABEL_LIMIT = 40
CLOSED = (
    "1 minus gap after / gap before, if the 95% interval of the gap before lies above zero. "
    "“Crop lost more”: the crop lost more than the full image gained"
)
BLANK = Cell("")
table_of = partial(tables.table_of, source="comparison.json")


def headline_table(summary: Summary) -> Table:
    """Three rows per benchmark (full, crop, gap), or one for a hold-out; the means over benchmarks as footer."""
    benchmarks = benchmarks_of(summary)
    several = len(benchmarks) > 1
    columns = (
        Column("Benchmark"),
        *(Column(label, True, "With its 95% interval, on the samples compared") for label in side_labels(summary)),
        Column("Change, points", True, "Mean difference over the paired samples, with its 95% interval"),
        Column(
            "p",
            True,
            "Sign-flip test over clusters" + ("; rows marked Holm are corrected over the benchmarks" * several),
        ),
        Column("MDE", True, "Minimum detectable effect: smallest change, in points, detected with 80% power"),
        Column("Gap closed", True, CLOSED),
        Column("Samples", True, "Samples compared; below, the clusters that they form"),
    )
    rows = [
        _headline_row(name, entry, measure, title, several)
        for name, entry in benchmarks.items()
        for measure, title in MEASURES
        if entry["delta"][measure]
    ]
    macro = summary.get("macro")
    footer: list[tuple[Cell, ...]] = []
    if macro and macro["benchmarks"] > 1:
        for measure, title in MEASURES:
            heading = Cell(f"Mean of {macro['benchmarks']} benchmarks", title)
            levels = (level_cell(macro[side][measure], measure) for side in ("before", "after"))
            footer.append((heading, *levels, *change_cells(macro["delta"][measure]), BLANK, BLANK))
    return table_of("Before, after and change", columns, rows, footer)


def _headline_row(name: str, entry: Entry, measure: str, title: str, several: bool) -> tuple[Cell, ...]:
    change, p, mde = change_cells(entry["delta"][measure])
    if several and entry["tested"] == measure:
        p = Cell(p_value(entry["p_value_holm"]), "Holm", entry["p_value_holm"])
    closed = _closed(entry) if measure == "gap" else BLANK
    return (
        Cell(clip(name, NAME_LIMIT), title, name.casefold()),
        *(level_cell(entry[side][measure], measure) for side in ("before", "after")),
        change,
        p,
        mde,
        closed,
        Cell(number(entry["n"]), f"{number(entry['clusters'])} clusters", entry["n"]),
    )


def holdout_table(summary: Summary) -> Table:
    """Benchmarks without a gap, to show losses outside the gap."""
    words = ("fell", "rose") if summary["kind"] == "training" else ("lower", "higher")
    columns = (
        Column("Hold-out"),
        *(Column(label, True) for label in side_labels(summary)),
        Column("Change, points", True, "Change of the full accuracy over the paired samples, with its 95% interval"),
        Column("p", True, "Sign-flip test over clusters; corrected over the benchmarks by Holm's method"),
        Column("MDE", True, "Minimum detectable effect: a smaller loss can go unnoticed"),
        *(Column(title, True) for title in changed_titles(summary)),
        Column("Verdict"),
    )
    rows = []
    for name, entry in benchmarks_of(summary).items():
        change = entry["delta"]["full"]
        if entry["delta"]["gap"] or not change:
            continue
        ci = change["ci"]
        outcome = "not shown" if not ci or ci[0] <= 0 <= ci[1] else words[0] if ci[1] < 0 else words[1]
        delta, _, mde = change_cells(change)
        rows.append(
            (
                text_cell(clip(name, NAME_LIMIT)),
                *(level_cell(entry[side]["full"], "full") for side in ("before", "after")),
                delta,
                Cell(p_value(entry["p_value_holm"]), "", entry["p_value_holm"]),
                mde,
                count_cell(entry["fixed"]),
                count_cell(entry["broken"]),
                text_cell(outcome),
            )
        )
    return table_of("Hold-outs", columns, rows)


def metric_table(summary: Summary) -> Table:
    """The metrics of every benchmark that reports more than the accuracy, in both runs, the headline metric marked."""
    columns = (
        Column("Benchmark"),
        Column("Metric"),
        Column("View"),
        *(Column(label, True, "With its 95% interval, on the samples compared") for label in side_labels(summary)),
        Column("Change, points", True, "Change over the paired samples, with its 95% interval; not tested"),
        Column("Mean over", True, "Number of samples, or of clusters, behind the values"),
    )
    rows = []
    for name, entry in benchmarks_of(summary).items():
        metrics = entry["metrics"] if set(entry["metrics"]) > {HEADLINE} else {}
        for metric, sides in metrics.items():
            mark = "headline" if metric == entry["headline_metric"] else ""
            for view, title in MEASURES[:2]:
                if view in sides["delta"]:
                    change = sides["delta"][view]
                    rows.append(
                        (
                            text_cell(clip(name, NAME_LIMIT)),
                            text_cell(metric_title(metric), mark),
                            Cell(title),
                            *(level_cell(sides[side][view], view) for side in ("before", "after")),
                            points_cell(change["estimate"], change["ci"]),
                            over_cell(metric, change["n"]),
                        )
                    )
    return table_of("Metrics", columns, rows)


def transition_table(summary: Summary) -> Table:
    """The flip matrix of the two runs: the number of samples right in both, in one, and in neither."""
    fixed, broken = changed_titles(summary)
    columns = (
        Column("Benchmark"),
        Column("View"),
        Column("Both right", True),
        Column(fixed, True),
        Column(broken, True),
        Column("Both wrong", True),
        Column("p", True, "Sign-flip test over clusters: does one kind of change outweigh the other? With one sample "
               "per image this is McNemar's exact test"),
    )  # fmt: skip
    rows = [
        (
            text_cell(clip(name, NAME_LIMIT)),
            Cell(title),
            *(count_cell(counts[key]) for key in ("both", "fixed", "broken", "neither")),
            Cell(p_value(entry["delta"][view]["p_value"]), "", entry["delta"][view]["p_value"]),
        )
        for name, entry in benchmarks_of(summary).items()
        for view, title in MEASURES[:2]
        if (counts := entry["transitions"][view])
    ]
    return table_of("Flip matrix of the two runs", columns, rows)


def runs_table(summary: Summary) -> Table:
    """Every run after the first, compared with the first run on every benchmark."""
    labels = [run["label"] for run in summary["runs"]]
    columns = (
        Column("Benchmark"),
        Column("Run"),
        *(Column(title.capitalize(), True) for _, title in MEASURES),
        *(Column(f"Change of {title}", True, f"In points, against {clip(labels[0], LABEL_LIMIT)}, on the samples "
                 "that both runs share") for _, title in MEASURES),
        Column("Gap closed", True),
        Column("Samples", True),
    )  # fmt: skip
    runs = [(labels[1], summary["benchmarks"]), *((run["label"], run["benchmarks"]) for run in summary["more"])]
    rows = []
    for name in dict.fromkeys(name for _, benchmarks in runs for name in benchmarks):
        for label, benchmarks in runs:
            if name in benchmarks:
                entry = benchmarks[name]
                rows.append(
                    (
                        text_cell(clip(name, NAME_LIMIT)),
                        text_cell(clip(label, LABEL_LIMIT)),
                        *(level_cell(entry["after"][measure], measure) for measure, _ in MEASURES),
                        *(change_cells(entry["delta"][measure])[0] for measure, _ in MEASURES),
                        _closed(entry),
                        count_cell(entry["n"]),
                    )
                )
    return table_of(f"All runs against {clip(labels[0], LABEL_LIMIT)}", columns, rows)


def _closed(entry: Entry) -> Cell:
    share = entry["gap_closed"]
    if not share:
        return Cell(MISSING)
    if not share["ci"]:
        return Cell(MISSING, "gap before not significant")
    note = interval(share["ci"], 0)
    if entry["crop_lost_more"]:
        note += " · crop lost more"
    return Cell(percent(share["estimate"], 0), note, share["estimate"])


def level_cell(level: Entry | None, measure: str) -> Cell:
    """A level of `full`, `crop` or `gap` with its interval."""
    value, ci = (level or {}).get("estimate"), (level or {}).get("ci")
    return points_cell(value, ci) if measure == "gap" else percent_cell(value, ci)


def change_cells(change: Entry | None) -> tuple[Cell, Cell, Cell]:
    """The change with its interval, its p-value and its MDE."""
    if not change:
        return Cell(MISSING), Cell(MISSING), Cell(MISSING)
    mde = None if change["mde"] is None else 100 * change["mde"]
    p = change["p_value"]
    return points_cell(change["estimate"], change["ci"]), Cell(p_value(p), "", p), Cell(number(mde, 1), "", mde)


def side_labels(summary: Summary) -> list[str]:
    """The labels of the first two runs."""
    return [clip(run["label"], LABEL_LIMIT) for run in summary["runs"][:2]]


def changed_titles(summary: Summary) -> tuple[str, str]:
    """The column titles of fixed and of broken samples."""
    before, after = side_labels(summary)
    trained = summary["kind"] == "training"
    return ("Fixed", "Broken") if trained else (f"Right only in {after}", f"Right only in {before}")
