"""The tables of a board: who stands where in one benchmark or in the mean, and models by benchmarks for one measure.

    place_table(board["mean"], "Mean of 8 benchmarks", baseline=None)
    matrix_table(board, "gap")

Rows come in the order of the rank by the full image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gapbench.analysis.comparison.differences import value_text
from gapbench.report import cells
from gapbench.report.cells import Cell, Entry, nested
from gapbench.report.tables import Column, Table, table_of
from gapbench.util.text import area_percent, clip, counted, listed

SOURCE = "board.json"
MEASURES = {
    "full": ("Full image", "Right answers from the full image"),
    "crop": ("Crop", "Right answers from the evidence crop"),
    "gap": ("Gap", "Crop minus full, in points, over the same samples"),
    "lost_in_full": ("Lost in full", "Of the samples right in the crop, the share wrong in the full image"),
}
"""Title and meaning."""
RANK_HELP = (
    "From the best to the worst place that the data allow: paired differences between all models on the same samples, "
    "corrected over all pairs (Holm)"
)


def rank_cell(measure: str) -> cells.MakeCell:
    """Makes a cell of the range of a rank; it sorts by the place of the estimate."""

    def cell(entry: Entry) -> Cell:
        found = nested(entry, measure) or {}
        if found.get("rank") is None:
            return cells.text_cell("")
        best, worst = found["best"], found["worst"]
        text = str(best) if best == worst else f"{best}\u2013{worst}"
        return Cell(text, "", found["rank"] + worst / 1000)

    return cell


def place_table(block: Mapping[str, Any], caption: str, baseline: str | None) -> Table:
    """A row per model of a benchmark or a mean, with the differences to the baseline if there is one."""
    columns = [
        Column("Model", cells.text("label", limit=60), numeric=False),
        Column("Rank", rank_cell("full"), f"By the full image. {RANK_HELP}"),
        *(Column(title, cells.of_measure(name)(name), meaning) for name, (title, meaning) in MEASURES.items()),
    ]
    columns.insert(5, Column("Rank by gap", rank_cell("gap"), f"The smallest gap is first. {RANK_HELP}"))
    against = block.get("against")
    if baseline and against is not None:
        help_ = f"Minus {clip(baseline, 60)}, paired on the same samples, in points"
        columns += [
            Column(f"{title} against baseline", cells.points("against", name), help_)
            for name, title in (("full", "Full"), ("gap", "Gap"))
        ]
    entries = [
        {"label": label, **entry, "against": (against or {}).get(label)} for label, entry in ordered(block).items()
    ]
    return table_of(caption, columns, entries, source=SOURCE)


def matrix_table(board: Mapping[str, Any], measure: str, names: list[str], mean: Mapping[str, Any] | None) -> Table:
    """Models by the benchmarks `names`, and their mean if there are several in it."""
    title, meaning = MEASURES[measure]
    show = cells.of_measure(measure)
    blocks = {name: board["benchmarks"][name] for name in names}
    columns = [Column("Model", cells.text("label", limit=60), numeric=False)]
    if mean and len(mean["benchmarks"]) > 1:
        columns.append(Column(f"Mean of {len(mean['benchmarks'])}", show("mean", measure), meaning))
    columns += [
        Column(clip(name, 40), show("blocks", name, measure), f"{name}: {meaning}; {counted(block['n'], 'sample')}")
        for name, block in blocks.items()
    ]
    entries = [
        {
            "label": label,
            "mean": (mean or {"models": {}})["models"].get(label),
            "blocks": {name: block["models"].get(label) for name, block in blocks.items()},
        }
        for label in in_order(board, names, mean)
    ]
    return table_of(title, columns, entries, source=SOURCE)


def in_order(board: Mapping[str, Any], names: list[str], mean: Mapping[str, Any] | None) -> list[str]:
    """The labels of the runs that measured one of the benchmarks `names`: those of the mean first, by rank."""
    labels = dict.fromkeys([*(ordered(mean) if mean else ()), *(run["label"] for run in board["runs"])])
    return [label for label in labels if any(label in board["benchmarks"][name]["models"] for name in names)]


def area_table(board: Mapping[str, Any]) -> Table:
    """The gap of every model by evidence area."""
    bins = board["area"]
    columns = [Column("Model", cells.text("label", limit=60), numeric=False)]
    columns += [
        Column(
            f"{area_percent(one['from'])} to {area_percent(one['to'])}",
            cells.points("bins", str(number)),
            counted(one["n"], "sample"),
        )
        for number, one in enumerate(bins)
    ]
    labels = list(bins[0]["models"]) if bins else []
    entries = [
        {"label": label, "bins": {str(number): one["models"][label] for number, one in enumerate(bins)}}
        for label in labels
    ]
    return table_of("Gap by evidence area", columns, entries, source=SOURCE)


def ordered(block: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The models of a benchmark or a mean by rank: of the full image, else of the crop."""

    def place(item: tuple[str, Mapping[str, Any]]) -> tuple[float, str]:
        found = item[1]["full"] or item[1]["crop"] or {}
        return found.get("rank") or 1e9, item[0]

    return dict(sorted(block["models"].items(), key=place))


def run_table(board: Mapping[str, Any]) -> Table:
    """What each run is: its model and weights, its engine, its day, its folder."""
    keys = ("revision", "sha256", "dtype", "device")
    columns = [
        Column("Run", cells.text("label", limit=60), numeric=False),
        Column("Model", cells.text("model", limit=200), numeric=False),
        Column("Engine", cells.text("engine"), numeric=False),
        Column("Started", cells.text("started"), numeric=False),
        *(Column(key, cells.text("identity", key, limit=16), numeric=False) for key in keys),
        Column("Fingerprint", cells.text("fingerprint", limit=13), "Of all that decides its answers", numeric=False),
        Column("Folder", cells.text("path", limit=200), numeric=False),
    ]
    return table_of("Runs", columns, board["runs"], source=SOURCE)


def setting_table(board: Mapping[str, Any]) -> Table:
    """Each setting that differs, with its values and who has them."""
    labels = [clip(run["label"], 40) for run in board["runs"]]

    def values(entry: Entry) -> Cell:
        by_value: dict[str, list[str]] = {}
        for value, label in zip(entry["values"], labels, strict=True):
            by_value.setdefault(clip(value_text(value), 120), []).append(label)
        most = sorted(by_value.items(), key=lambda item: -len(item[1]))
        return cells.text_cell("; ".join(f"{value} ({listed(who)})" for value, who in most[:8]))

    columns = [Column("Setting", cells.text("setting"), numeric=False), Column("Values", values, numeric=False)]
    return table_of("Settings that differ", columns, board["settings"], source=SOURCE)
