"""The main tables of a comparison, built from `comparison.json`. A column is one entry of a table's list of columns.

    [headline_table(summary), holdout_table(summary), transition_table(summary), *runs_tables(summary)]

Any number may be null: numbers that were not measured show as an en dash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

from gapbench.analysis.comparison.conclusion import direction
from gapbench.report import cells, tables
from gapbench.report.cells import NAME_LIMIT, Cell, Entry
from gapbench.report.run.summary_tables import metric_cell, metrics_of, name_cell, over_cell
from gapbench.report.tables import Column, Summary, Table, benchmarks_of, named
from gapbench.util.text import MISSING, clip, interval, number, percent, points

MEASURES = (("full", "full image"), ("crop", "crop"), ("gap", "gap"), ("lost_in_full", "lost in full"))
LABEL_LIMIT = 40
SOURCE = "comparison.json"
CLOSED = (
    "1 minus gap after / gap before, if the gap before is at least three times its standard error. "
    "“Crop lost more”: the crop lost more than the full image gained"
)
table_of = partial(tables.table_of, source=SOURCE)


def headline_table(summary: Summary) -> Table:
    """Four rows per benchmark (`MEASURES`), or one for a hold-out; the means over benchmarks as footer."""
    benchmarks, macro = benchmarks_of(summary), summary.get("macro")
    corrected = "; rows marked Holm are corrected over the benchmarks" if len(benchmarks) > 1 else ""
    columns = (
        Column("Benchmark", lambda row: Cell(clip(row["name"], NAME_LIMIT), row["title"], row["name"].casefold()),
               numeric=False, mean=True),
        *side_columns(summary),
        Column("Change, points", cells.points("delta"),
               "Mean difference over the paired samples, with its 95% interval", mean=True),
        Column("p", _tested if corrected else cells.probability("delta", "p_value"),
               f"Sign-flip test over clusters{corrected}", mean=True),
        Column("MDE", cells.mde("delta", "mde"),
               "Minimum detectable effect: smallest change, in points, detected with 80% power", mean=True),
        Column("Gap closed", lambda row: _closed(row) if row["measure"] == "gap" else Cell(""), CLOSED),
        Column("Samples", lambda row: Cell(number(row["n"]), f"{number(row['clusters'])} clusters", row["n"]),
               "Samples compared; below, the clusters that they form"),
    )  # fmt: skip
    rows = [row for entry in named(benchmarks) for row in _measured(entry)]
    footer: Iterable[Entry] = ()
    if macro and macro["benchmarks"] > 1:
        footer = _measured({**macro, "name": f"Mean of {macro['benchmarks']} benchmarks"})
    return table_of("Before, after and change", columns, rows, footer)


def _measured(entry: Entry, measures: tuple[tuple[str, str], ...] = MEASURES) -> Iterator[Entry]:
    """The entry once for each measure that it has: `before`, `after` and `delta` are those of the measure."""
    for measure, title in measures:
        if entry["delta"].get(measure):
            numbers = {key: entry[key][measure] for key in ("before", "after", "delta")}
            yield {**entry, **numbers, "measure": measure, "title": title}


def _tested(row: Entry) -> Cell:
    """The p-value; that of the measure that was tested is corrected over the benchmarks."""
    if row.get("tested") != row["measure"]:
        return cells.probability("delta", "p_value")(row)
    return replace(cells.probability("p_value_holm")(row), note="Holm")


def seeds_table(summary: Summary) -> Table | None:
    """Every seed of each benchmark's measures, or None with one run on each side."""
    seeds = summary.get("seeds")
    if not seeds:
        return None

    def spread(side: str) -> Callable[[Entry], Cell]:
        def cell(row: Entry) -> Cell:
            one, show = row[side], percent if row["measure"] in ("full", "crop", "closed") else points
            differ = len(set(one["values"])) > 1
            values = " · ".join(show(value) for value in one["values"][: None if differ else 1])
            note = f"mean {show(one['mean'])}" if differ else ""
            return Cell(values, note, one["mean"])

        return cell

    def changed(row: Entry) -> Cell:
        delta = row.get("delta")
        return cells.number_cell(delta["mean"], points, interval(delta["ci"], signed=True)) if delta else Cell("")

    columns = (
        Column("Benchmark", lambda row: Cell(clip(row["name"], NAME_LIMIT), row["title"], row["name"].casefold()),
               numeric=False),
        Column("Before", lambda row: spread("before")(row) if row.get("before") else Cell("")),
        Column("After, every run", spread("after"), "In the order of the runs; below, their mean"),
        Column("SD", lambda row: cells.number_cell(row["after"]["sd"], lambda x: number(x and 100 * x, 1)),
               "Standard deviation over the runs after, in points"),
        Column("Range", lambda row: Cell(interval(row["after"]["range"]), "", row["after"]["range"][0]),
               "Least and most of the runs after"),
        Column("Mean change, points", changed,
               "Of each sample's change averaged over the runs, with its 95% interval over samples, not over seeds"),
    )  # fmt: skip
    titles = dict(MEASURES)
    rows: list[Entry] = []
    for name, entry in seeds["benchmarks"].items():
        rows += [
            {"name": name, "title": titles[m], "measure": m, **entry[m]} for m in ("full", "crop", "gap") if m in entry
        ]
        if entry.get("gap_closed"):
            rows.append({"name": name, "title": "gap closed", "measure": "closed", "after": entry["gap_closed"]})
    return table_of(f"Every seed ({len(seeds['after'])} runs after)", columns, rows)


def holdout_table(summary: Summary) -> Table:
    """Benchmarks without a gap, to show losses outside the gap."""
    fell, rose = ("fell", "rose") if summary["kind"] == "training" else ("lower", "higher")
    words = {-1: fell, 0: "not shown", 1: rose}
    fixed, broken = changed_titles(summary)
    columns = (
        Column("Hold-out", name_cell, numeric=False),
        *side_columns(summary, ""),
        Column("Change, points", cells.points("delta"),
               "Change of the full accuracy over the paired samples, with its 95% interval"),
        Column("p", cells.probability("p_value_holm"),
               "Sign-flip test over clusters; corrected over the benchmarks by Holm's method"),
        Column("MDE", cells.mde("delta", "mde"), "Minimum detectable effect: a smaller loss can go unnoticed"),
        Column(fixed, cells.count("fixed")),
        Column(broken, cells.count("broken")),
        Column("Verdict", lambda row: cells.text_cell(words[direction(row["delta"], row["p_value_holm"])]),
               numeric=False),
    )  # fmt: skip
    without_gap = [entry for entry in named(benchmarks_of(summary)) if not entry["delta"]["gap"]]
    return table_of("Hold-outs", columns, [row for entry in without_gap for row in _measured(entry, MEASURES[:1])])


def metric_table(summary: Summary) -> Table:
    """The metrics of every benchmark that reports more than the accuracy, in both runs, the headline metric marked."""
    columns = (
        Column("Benchmark", name_cell, numeric=False),
        Column("Metric", metric_cell, numeric=False),
        Column("View", lambda row: Cell(row["title"]), numeric=False),
        *side_columns(summary),
        Column("Change, points", cells.points("delta"),
               "Change over the paired samples, with its 95% interval; not tested"),
        Column("Mean over", lambda row: over_cell({**row, "n": row["delta"]["n"]}),
               "Number of samples, or of clusters, behind the values"),
    )  # fmt: skip
    metrics = ({"name": name, **mark, **sides} for name, mark, sides in metrics_of(summary))
    return table_of("Metrics", columns, [row for entry in metrics for row in _measured(entry, MEASURES[:2])])


def transition_table(summary: Summary) -> Table:
    """The flip matrix of the two runs: the number of samples right in both, in one, and in neither."""
    fixed, broken = changed_titles(summary)
    columns = (
        Column("Benchmark", name_cell, numeric=False),
        Column("View", lambda row: Cell(row["title"]), numeric=False),
        Column("Both right", cells.count("both")),
        Column(fixed, cells.count("fixed")),
        Column(broken, cells.count("broken")),
        Column("Both wrong", cells.count("neither")),
        Column("p", cells.probability("p_value"), "Sign-flip test over clusters: does one kind of change outweigh the "
               "other? With one sample per image this is McNemar's exact test"),
    )  # fmt: skip
    rows = [
        {**counts, "name": name, "title": title, "p_value": entry["delta"][view]["p_value"]}
        for name, entry in benchmarks_of(summary).items()
        for view, title in MEASURES[:2]
        if (counts := entry["transitions"][view])
    ]
    return table_of("Flip matrix of the two runs", columns, rows)


def runs_tables(summary: Summary) -> tuple[Table, ...]:
    """Every run after the first, compared with the first run on every benchmark; no table for two runs alone."""
    if not summary["more"]:
        return ()
    first, second = (run["label"] for run in summary["runs"][:2])
    against = f"In points, against {clip(first, LABEL_LIMIT)}, on the samples that both runs share"
    columns = (
        Column("Benchmark", name_cell, numeric=False),
        Column("Run", cells.text("label", limit=LABEL_LIMIT), numeric=False),
        *(Column(title.capitalize(), cells.of_measure(measure)("after", measure)) for measure, title in MEASURES),
        *(Column(f"Change of {title}", cells.points("delta", measure), against) for measure, title in MEASURES),
        Column("Gap closed", _closed),
        Column("Samples", cells.count("n")),
    )
    runs = [(second, summary["benchmarks"]), *((run["label"], run["benchmarks"]) for run in summary["more"])]
    rows = [
        {**benchmarks[name], "name": name, "label": label}
        for name in dict.fromkeys(name for _, benchmarks in runs for name in benchmarks)
        for label, benchmarks in runs
        if name in benchmarks
    ]
    return (table_of(f"All runs against {clip(first, LABEL_LIMIT)}", columns, rows),)


def _closed(entry: Entry) -> Cell:
    share = entry["gap_closed"]
    if not share:
        return Cell(MISSING)
    if not share["ci"]:
        return Cell(MISSING, share.get("reason") and "see “Gap closed” below")
    note = interval(share["ci"], 0)
    if entry["crop_lost_more"]:
        note += " · crop lost more"
    return Cell(percent(share["estimate"], 0), note, share["estimate"])


def side_columns(summary: Summary, help_: str = "With its 95% interval, on the samples compared") -> list[Column]:
    """A column for each of the first two runs, with the level of the row's measure."""
    before, after = side_labels(summary)
    return [
        Column(before, lambda row: cells.of_measure(row["measure"])("before")(row), help_, mean=True),
        Column(after, lambda row: cells.of_measure(row["measure"])("after")(row), help_, mean=True),
    ]


def side_labels(summary: Summary) -> list[str]:
    """The labels of the first two runs."""
    return [clip(run["label"], LABEL_LIMIT) for run in summary["runs"][:2]]


def changed_titles(summary: Summary) -> tuple[str, str]:
    """The column titles of fixed and of broken samples."""
    before, after = side_labels(summary)
    trained = summary["kind"] == "training"
    return ("Fixed", "Broken") if trained else (f"Right only in {after}", f"Right only in {before}")
