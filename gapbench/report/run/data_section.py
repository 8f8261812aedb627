"""The data of a run: sources, licences, protocols, and repairs of boxes and images.

    [data_table(manifest), repairs_table(manifest)]
    notices(summary, manifest, images=True)    [('signs', 'The gap of this benchmark exists by construction.')]

Limits: a sample's repairs are counted with its first answer. Repairs of a session that was killed are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gapbench.report.cells import NAME_LIMIT, Cell, Entry, count, nested, text, text_cell
from gapbench.report.run.summary_tables import metric_title
from gapbench.report.tables import Column, Table, benchmarks_of, named, table_of
from gapbench.util.text import clip

MESSAGES = 12
"""Notices and warnings that a page shows."""
REPAIRS = {
    "swapped": "boxes with swapped corners, corrected",
    "clipped": "boxes that left the image by at most 2 px, clipped",
    "outside": "boxes that left the image by more than 2 px, clipped or dropped",
    "empty": "boxes that covered nothing of the image, dropped",
    "exif orientation ignored": "images used as stored (EXIF orientation not applied)",
}
"""The repairs of `gapbench.views.boxes` and `gapbench.views.images`, in words."""


def data_table(manifest: Mapping[str, Any]) -> Table:
    """One row per benchmark: licence, source, region policy, and the protocol with its source."""
    protocol = str(manifest.get("protocol") or "neutral")
    columns = (
        Column("Benchmark", text("name"), numeric=False),
        Column("Licence", _licence, numeric=False),
        Column("Source", _source, numeric=False),
        Column("Region", text("region"), "Policy that chooses the region for the crop", numeric=False),
        Column("Protocol", partial(_protocol, protocol), "The prompt and the metric that belongs to it", numeric=False),
    )
    return table_of("Data", columns, named(manifest.get("tasks") or {}), source="run.json")


def _licence(entry: Entry) -> Cell:
    note = "restricted" if nested(entry, "card", "restricted") else ""
    return text_cell(clip(nested(entry, "card", "licence") or "", 200), note)


def _source(entry: Entry) -> Cell:
    hub, revision, source = (str(nested(entry, "card", key) or "") for key in ("hub", "revision", "source"))
    origin = "local copy" if entry.get("local_copy") else clip(" @ ".join(filter(None, (hub, revision[:12]))), 200)
    return text_cell(clip(source, 200), origin)


def _protocol(name: str, entry: Entry) -> Cell:
    protocol = nested(entry, "card", "protocols", name) or {}
    metric = f"metric: {metric_title(str(protocol['metric']))}" if protocol.get("metric") else ""
    source, remark = (clip(protocol.get(key) or "", 300) for key in ("source", "note"))
    note = " · ".join(filter(None, (metric, source, remark)))
    return text_cell(clip(name, NAME_LIMIT), note)


def repairs_table(manifest: Mapping[str, Any]) -> Table:
    """The repairs of boxes and images, counted by benchmark."""
    columns = (
        Column("Benchmark", text("name"), numeric=False),
        Column("Repair", text("repair", limit=200), numeric=False),
        Column("Count", count("count")),
    )
    rows = [{"name": n, "repair": REPAIRS.get(kind, kind), "count": total} for n, kind, total in repairs_of(manifest)]
    return table_of("Repairs", columns, rows, source="run.json")


def repairs_of(manifest: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """(benchmark, kind, count)."""
    split = [(*key.rpartition(": "), count) for key, count in (manifest.get("repairs") or {}).items()]
    return [(name, kind, count) for name, _, kind, count in split]


def notices(summary: Mapping[str, Any], manifest: Mapping[str, Any], *, images: bool) -> list[tuple[str, str]]:
    """(benchmark, text) of licence restrictions, the judge, and the remarks of benchmarks.

    Restrictions come first, so that the limit of `MESSAGES` does not cut them off.
    """
    remarks = []
    for name, entry in benchmarks_of(summary).items():
        notice = entry.get("notice") or nested(manifest, "tasks", name, "card", "notice")
        if notice:
            remarks.append((clip(name, 80), clip(notice, 1_000)))
    tasks = manifest.get("tasks") or {}
    restrictions = {name: nested(task, "card", "restricted") or "" for name, task in tasks.items()}
    texts = restricted(restrictions, "gapbench report RUN --no-images", images=images)
    texts += judge_notice(summary) + remarks
    return first(texts, "more notices are in summary.json and run.json.")


def first(messages: Sequence[tuple[str, str]], more: str) -> list[tuple[str, str]]:
    """The first `MESSAGES` messages, and the number of the others in front of `more`."""
    rest = [("", f"{len(messages) - MESSAGES} {more}")] if len(messages) > MESSAGES else []
    return [*messages[:MESSAGES], *rest]


def judge_notice(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The judge and its verdicts; empty for a run without a judge."""
    judge = summary.get("judge") or {}
    counts = judge.get("verdicts") or {}
    if not judge:
        return []
    name, served = clip(judge.get("model"), 120), clip(judge.get("served_as") or "", 120)
    name += f" (served as {served})" if served and served != name else ""
    total = sum(counts.values())
    text = (
        f"No rule could read {total:,} answer{'s' * (total != 1)}, so the judge {name} was asked: "
        f"{counts.get('yes', 0):,} right, {counts.get('no', 0):,} wrong, {counts.get('cannot tell', 0):,} cannot tell. "
        "For the numbers without the judge: gapbench report RUN --without-judge."
    )
    return [("", text if total else f"Rules could read all answers, so the judge {name} was not asked.")]


def restricted(cards: Mapping[str, str], command: str, *, images: bool) -> list[tuple[str, str]]:
    """(benchmark, text) of every restricted licence. With images, the text names the `command` that leaves them out."""
    hint = f" Before sharing this page, leave its images out: {command}." if images else ""
    return [
        (clip(name, 80), f"Restricted data: {clip(text, 800).rstrip('.')}.{hint}")
        for name, text in cards.items()
        if text
    ]
