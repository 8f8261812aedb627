"""Published scores in a run's report: those of its model beside its own numbers, and those of other models.

    published_table(summary)              # published 84.3%; here 83.2% [77.2, 88.4]; same prompt: no; inside
    other_table(summary, manifest)        # the same benchmarks, other models

The numbers are those of `gapbench.analysis.published`. Cards of older runs have texts instead: they stand in the second
table as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gapbench.analysis.metrics import HEADLINE
from gapbench.analysis.published import model_names, references, short_name
from gapbench.report import cells
from gapbench.report.cells import Cell, Entry
from gapbench.report.run.summary_tables import metric_title
from gapbench.report.tables import Column, Summary, Table, benchmarks_of, table_of
from gapbench.util.text import clip, percent, points

PROMPT = {True: "yes", False: "no", None: "unknown"}
COMPARED = {True: "inside the interval", False: "outside the interval", None: "no interval"}
NOTE_LIMIT = 200


def published_table(summary: Summary) -> Table:
    """The published scores of the run's model, each beside the run's own number."""
    columns = (
        Column("Benchmark", cells.text("name"), numeric=False),
        WHAT,
        Column("Published", _value),
        Column("Here", lambda row: (cells.points if row["view"] == "gap" else cells.level)("here")(row),
               "This run's number, with its 95% interval"),
        Column("Same prompt", lambda row: cells.text_cell(PROMPT[row["same_prompt"]], clip(row["protocol"], 80)),
               "Whether the published score was measured with this run's prompt; below, with which", numeric=False),
        Column("Compared", _compared, numeric=False),
        SOURCE,
    )  # fmt: skip
    return table_of("Published numbers", columns, _rows(summary))


def is_outside(summary: Summary) -> bool:
    """Whether a published score lies outside the interval of the run's own number."""
    return any(row["inside"] is False for row in _rows(summary))


def other_table(summary: Summary, manifest: Mapping[str, Any]) -> Table:
    """The published scores of other models on the benchmarks of the run."""
    columns = (
        Column("Benchmark", cells.text("name"), numeric=False),
        Column("Model", cells.text("model"), numeric=False),
        WHAT,
        Column("Published", _value),
        Column("Prompt", cells.text("protocol"), "The protocol whose prompt was used, if it is known", numeric=False),
        SOURCE,
    )
    rows = [row for name in benchmarks_of(summary) for row in _others(name, manifest)]
    return table_of("Published scores of other models", columns, rows, source="run.json")


def _rows(summary: Summary) -> list[Entry]:
    return [
        {"name": name, **one} for name, entry in benchmarks_of(summary).items() for one in entry.get("published") or ()
    ]


def _others(name: str, manifest: Mapping[str, Any]) -> Iterator[Entry]:
    task = (manifest.get("tasks") or {}).get(name) or {}
    texts = (task.get("card") or {}).get("reference")
    if isinstance(texts, Mapping):  # the card of an older run, or of a user
        yield from ({"name": name, "model": str(model), "source": str(text)} for model, text in texts.items())
    own = model_names(manifest)
    for one in references(task):
        if short_name(str(one.get("model"))) not in own:
            yield {**one, "name": name, "value": float(one["value"]) / 100}


def _value(row: Entry) -> Cell:
    show, value = points if row.get("view") == "gap" else percent, row.get("value")
    digits = 1 if value is None or f"{100 * value:.2f}".endswith("0") else 2
    return cells.number_cell(value, lambda share: show(share, digits))


def _compared(row: Entry) -> Cell:
    reason = clip(row["not_compared"], NOTE_LIMIT)
    return cells.text_cell(f"no: {reason}" if reason else COMPARED[row["inside"]])


def _what(row: Entry) -> Cell:
    view, metric = clip(row.get("view") or "", 40), row.get("metric") or HEADLINE
    parts = (metric_title(metric) if metric != HEADLINE else "", clip(row.get("part") or "", 80))
    return cells.text_cell("full image" if view == "full" else view, " · ".join(filter(None, parts)))


def _source(row: Entry) -> Cell:
    return cells.text_cell(*(clip(row.get(key) or "", NOTE_LIMIT) for key in ("source", "note")))


WHAT = Column("Of", _what, "The view; below, the metric if it is not the accuracy, and the category", numeric=False)
SOURCE = Column("Source", _source, numeric=False)
