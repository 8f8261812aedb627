"""The figures of a run: for the page, and as files for a paper with their data.

    size_figures(summary, records)                   # accuracy against the size of the evidence, as inline SVG
    write_figures(Path("figures"), summary, records) # SVG, PDF and CSV of each figure, in a column's width

Limits: all but the forest plot is exploratory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pandas import DataFrame

from gapbench.analysis.psychometric import FittedCurve, binned, fitted, read_instead, sized_samples
from gapbench.report.cells import Cell, Entry, count, nested, shown, text
from gapbench.report.families import families
from gapbench.report.finishes import DataRow, data_row, into, stems, write_data
from gapbench.report.plots import (
    AREA_AXIS,
    COLUMN,
    TOKEN_AXIS,
    Bin,
    Dumbbell,
    SizeAxis,
    area_plot,
    bin_series,
    draw_dumbbells,
    draw_narrow_forest,
    draw_sizes,
    drawing,
    dumbbell_plot,
    forest_height,
    save,
)
from gapbench.report.run.anatomy_tables import ROWS, figures_of
from gapbench.report.run.overview import effects_of
from gapbench.report.tables import Column, Summary, Table, benchmarks_of, table_of
from gapbench.util.text import clip, number, percent

FIGURES = 12
"""Benchmarks with figures of their own on a page."""
GROUPS = 24
"""Rows of a plot of categories: the largest ones."""
ANSWERS = 20
"""Right answers in a table of what was read instead."""


@dataclass(frozen=True)
class SizeData:
    """What a plot over the size of the evidence shows."""

    axis: SizeAxis
    bins: Sequence[Bin]
    fits: Mapping[str, FittedCurve | None] = field(default_factory=dict)


def size_figures(summary: Summary, records: DataFrame) -> dict[str, Any]:
    """`plots`, a list of (title, inline SVG), and `left_out`, the number of benchmarks beyond `FIGURES`."""
    plots, names = [], _names(summary)
    for index, (name, title) in enumerate(names[:FIGURES]):
        for kind, data in sizes_of(benchmarks_of(summary)[name], _records(records, name)).items():
            svg = area_plot(data.bins, name=f"{kind}{index}", label=title, fits=data.fits, axis=data.axis)
            plots.append((title if kind == "area" else f"{title}: in image tokens", svg))
    return {"plots": plots, "left_out": max(0, len(names) - FIGURES)}


def _names(summary: Summary) -> list[tuple[str, str]]:
    """(name, title) of the benchmarks with bins of evidence area, by kind of evidence."""
    return [
        (name, family.marked(clip(name, 80)))
        for family in families(summary)
        for name, entry in benchmarks_of(family.summary).items()
        if entry.get("by_evidence_area")
    ]


def _records(records: DataFrame, name: str) -> DataFrame:
    return records[records["benchmark"] == name] if "benchmark" in records else records


def sizes_of(entry: Entry, records: DataFrame) -> dict[str, SizeData]:
    """The data by `area`, and by `tokens` unless all images have equally many of them, or records none."""
    table = sized_samples(records) if len(records) else DataFrame({"area": [], "tokens": [], "cluster": []})
    found = {"area": SizeData(AREA_AXIS, bins_of(entry.get("by_evidence_area") or []), _fits(table, "area"))}
    known = table.dropna(subset="tokens")
    per_image = known["tokens"] / known["area"]
    if len(known) and per_image.max() > 1.05 * per_image.min():
        found["tokens"] = SizeData(TOKEN_AXIS, bins_of(binned(known, "tokens")), _fits(known, "tokens"))
    return {kind: data for kind, data in found.items() if data.bins}


def _fits(table: DataFrame, size: str) -> dict[str, FittedCurve | None]:
    views = [view for view in ("full", "crop") if view in table]
    return {view: fitted(table[size], table[view], table["cluster"]) for view in views}


def bins_of(groups: Sequence[Entry]) -> list[Bin]:
    """The groups of `by_evidence_area` that can be drawn on a logarithmic axis."""
    return [
        Bin(group["from"], group["to"], group.get("n") or 0,
            *((nested(group, key, "estimate"), nested(group, key, "ci")) for key in ("full", "crop", "gap")))
        for group in groups if group.get("from") is not None and group.get("to")
    ]  # fmt: skip


def category_figures(summary: Summary) -> list[tuple[str, str]]:
    """(title, inline SVG) of full and crop accuracy by category, for each benchmark with several."""
    found = [
        (family.marked(clip(name, 80)), groups)
        for family in families(summary)
        for name, entry in benchmarks_of(family.summary).items()
        if len(groups := _dumbbells(entry)) > 1
    ]
    return [(title, dumbbell_plot(groups, name=f"categories{n}")) for n, (title, groups) in enumerate(found[:FIGURES])]


def _dumbbells(entry: Entry) -> list[Dumbbell]:
    groups = [
        Dumbbell(name, group.get("n") or 0, *((nested(group, view, "estimate"), nested(group, view, "ci"))
                                              for view in ("full", "crop")))
        for name, group in (entry.get("by_category") or {}).items()
    ]  # fmt: skip
    return sorted(groups, key=lambda group: -(group.n or 0))[:GROUPS]


def instead_tables(summary: Summary, records: DataFrame) -> tuple[Table, ...]:
    """What was read instead of each right answer in the full view, a table for each benchmark with errors."""
    columns = (
        Column("Right answer", text("answer"), numeric=False),
        Column("Answers", count("n")),
        Column("Wrong", count("wrong")),
        Column("Share wrong", shown(percent, "share")),
        Column("Read instead", _instead, "The most frequent wrong answers, with how often", numeric=False),
    )
    tables = []
    for name in list(benchmarks_of(summary))[:FIGURES]:
        rows = [{**row, "share": row["wrong"] / row["n"]} for row in read_instead(_records(records, name))]
        if any(row["wrong"] > 1 for row in rows):  # else every answer occurs once, and there is nothing to count
            table = table_of(clip(name, 80), columns, rows[:ANSWERS], total=len(rows), source="records.jsonl")
            tables.append(table)
    return tuple(tables)


def _instead(row: Entry) -> Cell:
    return Cell(", ".join(f"{clip(answer, 40)} {number(n)}" for answer, n in row["instead"]))


def write_figures(folder: Path, summary: Summary, records: DataFrame) -> list[Path]:
    """Write every figure into `folder` as SVG and PDF, with its data as CSV, and return the CSV files."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    effects, _ = effects_of(summary)
    if effects:
        with drawing(COLUMN, forest_height(effects), 8) as figure:
            draw_narrow_forest(figure, effects)
            save(figure, folder / "gaps")
        rows = (data_row("row", one.label, (one.estimate, one.ci), one.n) for one in effects)
        written.append(write_data(folder / "gaps.csv", rows))
    for name, stem in stems(benchmarks_of(summary)):
        entry = benchmarks_of(summary)[name]
        for kind, data in sizes_of(entry, _records(records, name)).items():
            with drawing(COLUMN, 3.4, 8) as figure:
                draw_sizes(figure, *bin_series(data.bins, data.fits), data.axis, [one.n for one in data.bins])
                save(figure, folder / f"{stem}-{kind}")
            written.append(write_data(folder / f"{stem}-{kind}.csv", _size_rows(data)))
        if len(groups := _dumbbells(entry)) > 1:
            written.append(write_dumbbells(folder, f"{stem}-categories", groups))
        anatomy = entry.get("anatomy") or {}
        for _, _, drawn in figures_of(anatomy, f"{stem}-", partial(into, folder)):
            marks = ROWS[drawn.rpartition("-")[2]](anatomy)
            rows = (
                data_row("row", label, (one["estimate"], one["ci"]), one.get("n"), one.get("size"), one.get("size"))
                for label, one in marks
            )
            written.append(write_data(folder / f"{drawn}.csv", rows))
    return written


def write_dumbbells(folder: Path, stem: str, groups: Sequence[Dumbbell]) -> Path:
    """Full and crop accuracy of groups as `stem`.svg, .pdf and .csv."""
    with drawing(COLUMN, forest_height(groups), 8) as figure:
        draw_dumbbells(figure, groups)
        save(figure, folder / stem)
    rows = (
        data_row("row", f"{group.label}: {view}", found, group.n)
        for group in groups for view, found in (("full", group.full), ("crop", group.crop))
    )  # fmt: skip
    return write_data(folder / f"{stem}.csv", rows)


def _size_rows(data: SizeData) -> Iterator[DataRow]:
    for curve in ("full", "crop", "gap"):
        for one in data.bins:
            yield data_row("bin", curve, getattr(one, curve), one.n, one.low, one.high)
    for view, fit in data.fits.items():
        if fit:
            for size, value, low, high in zip(fit.sizes, fit.estimate, fit.low, fit.high, strict=True):
                yield data_row("fit", view, (value, (low, high)), None, size, size)
