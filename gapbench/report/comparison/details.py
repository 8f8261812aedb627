"""The smaller tables of a comparison: its groups, its questions, its training, and what the runs were asked.

[*category_tables(summary), *area_tables(summary), identity_table(summary), *setting_tables(runs)]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gapbench.analysis.comparison.differences import UNSET, settings_of
from gapbench.report.comparison.samples import Changed, total_of
from gapbench.report.comparison.tables import LABEL_LIMIT, MEASURES, Entry, side_labels, table_of
from gapbench.report.run.summary_tables import area_label
from gapbench.report.tables import NAME_LIMIT, Cell, Column, Summary, Table, benchmarks_of, count_cell, text_cell
from gapbench.util.text import clip, interval, percent, points

if TYPE_CHECKING:
    from gapbench.analysis.comparison.runs import LoadedRun

TABLES = 40
"""Benchmarks whose groups have a table; the others' are in comparison.json."""
VALUE_LIMIT = 300


def category_tables(summary: Summary) -> tuple[Table, ...]:
    """One exploratory table for each benchmark that has categories, the largest category first."""
    tables = []
    for name, entry in list(benchmarks_of(summary).items())[:TABLES]:
        found = sorted(entry["by_category"].items(), key=lambda item: -item[1]["n"])
        rows = [(text_cell(clip(key, NAME_LIMIT)), *_group(group)) for key, group in found]
        if rows:
            tables.append(table_of(clip(name, NAME_LIMIT), _group_columns(summary, "Category", entry), rows))
    return tuple(tables)


def area_tables(summary: Summary) -> tuple[Table, ...]:
    """One table for each benchmark with evidence boxes: the changes by the evidence's share of the image."""
    tables = []
    for name, entry in list(benchmarks_of(summary).items())[:TABLES]:
        rows = [(Cell(area_label(one), "", one["from"]), *_group(one)) for one in entry["by_evidence_area"]]
        if rows:
            tables.append(table_of(clip(name, NAME_LIMIT), _group_columns(summary, "Evidence area", entry), rows))
    return tuple(tables)


def train_table(train: Mapping[str, Any]) -> Table:
    """First, last and extreme values of every metric that was logged."""
    columns = (Column("Metric"), *(Column(key.capitalize(), True) for key in ("first", "last", "lowest", "highest")))
    rows = [
        (
            text_cell(name),
            *(Cell(f"{found[key]:.4g}", "", found[key]) for key in ("first", "last", "lowest", "highest")),
        )
        for name, found in train["metrics"].items()
    ]
    return table_of("Training in numbers", columns, rows)


def identity_table(summary: Summary) -> Table:
    """Which weights answered, one row per run."""
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
    found = [settings_of(run) for run in runs]
    columns = (Column("Setting"), *(Column(clip(run.label, LABEL_LIMIT)) for run in runs))
    differing, same = [], []
    for name in dict.fromkeys(name for settings in found for name in settings):
        values = [_value(settings.get(name)) for settings in found]
        heading = text_cell(clip(name, NAME_LIMIT))
        if len(set(values)) > 1:
            differing.append((heading, *map(text_cell, values)))
        else:
            same.append((heading, text_cell(values[0])))
    agreed = table_of("Settings that agree", (Column("Setting"), Column("All runs")), same)
    return table_of("Settings that differ", columns, differing), agreed


def listed_cases(summary: Summary, cases: Sequence[Changed], sides: tuple[str, ...], limit: int) -> dict[str, Table]:
    """Some fixed and some broken questions, for the Markdown."""
    columns = (Column("Sample"), Column("Question"), Column("Accepted"), *map(Column, sides))
    tables = {}
    for way in ("fixed", "broken"):
        found = [one for one in cases if one.way == way][:limit]
        rows = [
            (
                text_cell(clip(one.case.sample, NAME_LIMIT), clip(one.case.benchmark, NAME_LIMIT)),
                text_cell(clip(one.case.question, 200)),
                text_cell(clip(", ".join(one.case.accepted), 100)),
                *(text_cell(clip(answer.parsed or answer.output, 100)) for answer in (one.before, one.after)),
            )
            for one in found
        ]
        if rows:
            tables[way] = Table(way, columns, tuple(rows), (), total_of(summary, way) - len(rows), "comparison.json")
    return tables


def _group_columns(summary: Summary, heading: str, entry: Entry) -> tuple[Column, ...]:
    measured = [(measure, title) for measure, title in MEASURES if entry["delta"][measure]]
    help_ = f"Change from {' to '.join(side_labels(summary))}: its interval, and the two levels"
    return (
        Column(heading),
        Column("Questions", True),
        Column("Clusters", True),
        *(Column(f"{title.capitalize()}, points", True, help_) for _, title in measured),
    )


def _group(group: Entry) -> tuple[Cell, ...]:
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
