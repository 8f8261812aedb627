"""The smaller tables of a comparison: categories, evidence areas, changed samples, training and settings.

[*change_tables("category", summary), *change_tables("area", summary), identity_table(summary), *setting_tables(runs)]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, Literal

from gapbench.analysis.comparison.differences import setting_name, value_text
from gapbench.analysis.comparison.drift import FAULTS, LENGTHS, levels_of
from gapbench.analysis.comparison.runs import LoadedRun
from gapbench.report.cells import NAME_LIMIT, Cell, Entry, count, number_cell, shown, text, text_cell
from gapbench.report.comparison.samples import TRANSITIONS, ChangedSample, total_of
from gapbench.report.comparison.tables import LABEL_LIMIT, MEASURES, SOURCE, side_labels, table_of
from gapbench.report.run.samples import AnswerEntry
from gapbench.report.run.summary_tables import group_tables, name_cell
from gapbench.report.tables import Column, Summary, Table, benchmarks_of, named
from gapbench.util.text import MISSING, clip, interval, number, percent, points

TABLES = 40
"""Benchmarks with a table of groups; the groups of the others are in comparison.json."""
VALUE_LIMIT = 300


def change_tables(by: Literal["category", "area"], summary: Summary) -> tuple[Table, ...]:
    """One exploratory table of the changes for each benchmark with groups."""
    return group_tables(by, summary, _group_columns, TABLES, SOURCE)


def _group_columns(summary: Summary, entry: Entry) -> list[Column]:
    before, after = side_labels(summary)
    help_ = f"Change from {before} to {after}, with its 95% interval; below, the two levels"
    return [
        Column("Samples", count("n")),
        Column("Clusters", count("clusters")),
        *(
            Column(f"{title.capitalize()}, points", partial(_group_cell, measure), help_)
            for measure, title in MEASURES
            if entry["delta"][measure]
        ),
    ]


def _group_cell(measure: str, group: Entry) -> Cell:
    change, show = group["delta"][measure], points if measure == "gap" else percent
    if change is None:  # no sample of the group is right in the crop
        return Cell(MISSING)
    levels = " → ".join(show(group[side][measure]["estimate"], 0) for side in ("before", "after"))
    note = " · ".join(filter(None, (interval(change["ci"], signed=True), levels)))
    return number_cell(change["estimate"], points, note)


def drift_table(summary: Summary) -> Table:
    """The form of the answers of the first two runs: a row per benchmark and view."""
    columns = (
        Column("Benchmark", name_cell, numeric=False),
        Column("View", lambda row: Cell(row["title"]), numeric=False),
        *(Column(f"{name.capitalize()} per answer", partial(_moved_cell, name), "Mean length, failed answers left out")
          for name in LENGTHS),
        *(Column(title.capitalize(), partial(_moved_cell, name)) for name, title in FAULTS.items()),
        Column("Read by rule", _rules_cell, "The three rules whose shares moved most", numeric=False),
        Column("Samples", count("n")),
    )  # fmt: skip
    rows = [
        {**drift, "name": name, "title": title}
        for name, entry in benchmarks_of(summary).items()
        for view, title in MEASURES[:2]
        if (drift := entry["drift"][view])
    ]
    return table_of("The form of answers", columns, rows)


def _moved_cell(name: str, row: Entry) -> Cell:
    """A measure before and after, and whether that is a large change."""
    show = (lambda value: number(value, 1)) if name in LENGTHS else percent
    before, after = (row[side][name] for side in ("before", "after"))
    moved = None if before is None or after is None else after - before
    return Cell(f"{show(before)} → {show(after)}", "large change" if name in row["large"] else "", moved)


def _rules_cell(row: Entry) -> Cell:
    names = dict.fromkeys([*row["before"]["rules"], *row["after"]["rules"]])
    levels = {name: levels_of(row, f"rules.{name}") for name in names}
    shown_rules = sorted(levels, key=lambda name: -abs(levels[name][1] - levels[name][0]))[:3]
    texts = [f"{clip(name, 40)} {percent(levels[name][0])} → {percent(levels[name][1])}" for name in shown_rules]
    large = any(name.startswith("rules.") for name in row["large"])
    return text_cell("; ".join(texts), "large change" if large else "")


def train_table(train: Mapping[str, Any]) -> Table:
    """The first, last, lowest and highest value of every logged metric."""
    numbers = [Column(key.capitalize(), shown("{:.4g}".format, key)) for key in ("first", "last", "lowest", "highest")]
    columns = (Column("Metric", text("name"), numeric=False), *numbers)
    return table_of("Training in numbers", columns, named(train["metrics"]))


def identity_table(summary: Summary) -> Table:
    """Model, folder and weights, one row per run."""
    keys = dict.fromkeys(key for run in summary["runs"] for key in run["identity"])
    columns = (
        Column("Run", text("label", limit=LABEL_LIMIT), numeric=False),
        Column("Model", text("model", limit=VALUE_LIMIT), numeric=False),
        Column("Folder", text("path", limit=VALUE_LIMIT), numeric=False),
        *(Column(key, text("values", key, limit=VALUE_LIMIT), numeric=False) for key in keys),
    )
    runs = [{**run, "values": {key: value_text(run["identity"].get(key)) for key in keys}} for run in summary["runs"]]
    return table_of("Runs", columns, runs)


def setting_tables(runs: Sequence[LoadedRun]) -> tuple[Table, Table]:
    """The settings in which the runs differ, and those in which they agree."""
    settings = {run.label: {setting_name(*key): v for key, v in run.settings.items()} for run in runs}
    rows: list[dict[str, Any]] = [
        {"name": name, "values": {label: value_text(of_run.get(name)) for label, of_run in settings.items()}}
        for name in dict.fromkeys(chain(*settings.values()))
    ]
    heading = Column("Setting", text("name"), numeric=False)
    values = [
        Column(clip(label, LABEL_LIMIT), text("values", label, limit=VALUE_LIMIT), numeric=False) for label in settings
    ]
    differing, same = (
        [row for row in rows if (len({*row["values"].values()}) > 1) == wanted] for wanted in (True, False)
    )
    agreed = table_of("Settings that agree", (heading, replace(values[0], title="All runs")), same)
    return table_of("Settings that differ", (heading, *values), differing), agreed


def changed_tables(
    summary: Summary, samples: Sequence[ChangedSample], sides: tuple[str, ...], limit: int
) -> dict[str, Table]:
    """At most `limit` fixed and `limit` broken samples, for the Markdown. Keys are the transitions."""

    def answered(answer: AnswerEntry) -> Cell:
        return text_cell(clip(answer.parsed or answer.output, 100))

    columns = (
        Column("Sample", lambda one: text_cell(clip(one.card.sample, NAME_LIMIT), clip(one.card.benchmark, NAME_LIMIT)),
               numeric=False),
        Column("Question", lambda one: text_cell(clip(one.card.question, 200)), numeric=False),
        Column("Accepted", lambda one: text_cell(clip(", ".join(one.card.accepted), 100)), numeric=False),
        Column(sides[0], lambda one: answered(one.before), numeric=False),
        Column(sides[1], lambda one: answered(one.after), numeric=False),
    )  # fmt: skip
    tables = {}
    for transition in TRANSITIONS:
        listed = [sample for sample in samples if sample.transition == transition][:limit]
        if listed:
            tables[transition] = table_of(transition, columns, listed, total=total_of(summary, transition))
    return tables
