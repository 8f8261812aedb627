"""The smaller tables of a comparison: categories, evidence areas, changed samples, training and settings.

[*category_tables(summary), *area_tables(summary), identity_table(summary), *setting_tables(runs)]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gapbench.analysis.comparison.differences import UNSET, setting_name
from gapbench.report.comparison.samples import TRANSITIONS, ChangedSample, total_of
from gapbench.report.comparison.tables import LABEL_LIMIT, MEASURES, Entry, side_labels, table_of
from gapbench.report.run.summary_tables import area_label
from gapbench.report.tables import NAME_LIMIT, Cell, Column, Summary, Table, benchmarks_of, count_cell, text_cell
from gapbench.util.text import clip, interval, percent, points

if TYPE_CHECKING:
    from gapbench.analysis.comparison.runs import LoadedRun

TABLES = 40
"""Benchmarks with a table of groups; the groups of the others are in comparison.json."""
VALUE_LIMIT = 300


def category_tables(summary: Summary) -> tuple[Table, ...]:
    """One exploratory table for each benchmark with categories, the largest category first."""
    tables = []
    for name, entry in list(benchmarks_of(summary).items())[:TABLES]:
        groups = sorted(entry["by_category"].items(), key=lambda item: -item[1]["n"])
        rows = [(text_cell(clip(category, NAME_LIMIT)), *_group_cells(group)) for category, group in groups]
        if rows:
            tables.append(table_of(clip(name, NAME_LIMIT), _group_columns(summary, "Category", entry), rows))
    return tuple(tables)


def area_tables(summary: Summary) -> tuple[Table, ...]:
    """One exploratory table for each benchmark with evidence boxes: the changes by evidence area."""
    tables = []
    for name, entry in list(benchmarks_of(summary).items())[:TABLES]:
        rows = [
            (Cell(area_label(group), "", group["from"]), *_group_cells(group)) for group in entry["by_evidence_area"]
        ]
        if rows:
            tables.append(table_of(clip(name, NAME_LIMIT), _group_columns(summary, "Evidence area", entry), rows))
    return tuple(tables)


def train_table(train: Mapping[str, Any]) -> Table:
    """The first, last, lowest and highest value of every logged metric."""
    columns = (Column("Metric"), *(Column(key.capitalize(), True) for key in ("first", "last", "lowest", "highest")))
    rows = [
        (
            text_cell(name),
            *(Cell(f"{values[key]:.4g}", "", values[key]) for key in ("first", "last", "lowest", "highest")),
        )
        for name, values in train["metrics"].items()
    ]
    return table_of("Training in numbers", columns, rows)


def identity_table(summary: Summary) -> Table:
    """Model, folder and weights, one row per run."""
    keys = list(dict.fromkeys(key for run in summary["runs"] for key in run["identity"]))
    columns = (Column("Run"), Column("Model"), Column("Folder"), *map(Column, keys))
    rows = [
        (
            text_cell(clip(run["label"], LABEL_LIMIT)),
            text_cell(clip(run["model"], VALUE_LIMIT)),
            text_cell(clip(run["path"], VALUE_LIMIT)),
            *(text_cell(_value(run["identity"].get(key))) for key in keys),
        )
        for run in summary["runs"]
    ]
    return table_of("Runs", columns, rows)


def setting_tables(runs: Sequence[LoadedRun]) -> tuple[Table, Table]:
    """The settings in which the runs differ, and those in which they agree."""
    settings_of_runs = [{setting_name(*key): value for key, value in run.settings.items()} for run in runs]
    columns = (Column("Setting"), *(Column(clip(run.label, LABEL_LIMIT)) for run in runs))
    differing, same = [], []
    for name in dict.fromkeys(name for settings in settings_of_runs for name in settings):
        values = [_value(settings.get(name)) for settings in settings_of_runs]
        heading = text_cell(clip(name, NAME_LIMIT))
        if len(set(values)) > 1:
            differing.append((heading, *map(text_cell, values)))
        else:
            same.append((heading, text_cell(values[0])))
    agreed = table_of("Settings that agree", (Column("Setting"), Column("All runs")), same)
    return table_of("Settings that differ", columns, differing), agreed


def changed_tables(
    summary: Summary, samples: Sequence[ChangedSample], sides: tuple[str, ...], limit: int
) -> dict[str, Table]:
    """At most `limit` fixed and `limit` broken samples, for the Markdown. Keys are the transitions."""
    columns = (Column("Sample"), Column("Question"), Column("Accepted"), *map(Column, sides))
    tables = {}
    for transition in TRANSITIONS:
        rows = tuple(
            (
                text_cell(clip(sample.card.sample, NAME_LIMIT), clip(sample.card.benchmark, NAME_LIMIT)),
                text_cell(clip(sample.card.question, 200)),
                text_cell(clip(", ".join(sample.card.accepted), 100)),
                *(text_cell(clip(answer.parsed or answer.output, 100)) for answer in (sample.before, sample.after)),
            )
            for sample in [sample for sample in samples if sample.transition == transition][:limit]
        )
        if rows:
            left_out = total_of(summary, transition) - len(rows)
            tables[transition] = Table(transition, columns, rows, (), left_out, "comparison.json")
    return tables


def _group_columns(summary: Summary, heading: str, entry: Entry) -> tuple[Column, ...]:
    measured = [(measure, title) for measure, title in MEASURES if entry["delta"][measure]]
    before, after = side_labels(summary)
    help_ = f"Change from {before} to {after}, with its 95% interval; below, the two levels"
    return (
        Column(heading),
        Column("Samples", True),
        Column("Clusters", True),
        *(Column(f"{title.capitalize()}, points", True, help_) for _, title in measured),
    )


def _group_cells(group: Entry) -> tuple[Cell, ...]:
    cells = [count_cell(group["n"]), count_cell(group["clusters"])]
    for measure, _ in MEASURES:
        change = group["delta"][measure]
        if change:
            show = points if measure == "gap" else percent
            levels = " → ".join(show(group[side][measure]["estimate"], 0) for side in ("before", "after"))
            note = " · ".join(filter(None, (interval(change["ci"], signed=True), levels)))
            cells.append(Cell(points(change["estimate"]), note, change["estimate"]))
    return tuple(cells)


def _value(value: Any) -> str:
    if value is None:
        return UNSET
    return clip(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), VALUE_LIMIT)
