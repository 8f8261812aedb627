"""What a run says about its data: sources, licences, how it was asked, and what had to be repaired.

    [data_table(run), repairs_table(run)]
    notices(summary, run, images=True)    [('signs', 'The gap of this benchmark exists by construction.')]

Limits: repairs are counted with a sample's first answer; those of a session that was killed outright are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gapbench.report.run.summary_tables import metric_title
from gapbench.report.tables import NAME_LIMIT, Cell, Column, Table, benchmarks_of, count_cell, part, table_of, text_cell
from gapbench.util.text import clip

NOTICES = 12
REPAIRS = {
    "swapped": "boxes with swapped corners, put right",
    "clipped": "boxes clipped that left the image by at most 2 px",
    "outside": "boxes that left the image by more than 2 px, clipped or dropped",
    "empty": "boxes dropped that covered nothing of the image",
    "exif orientation ignored": "images shown as stored, although their EXIF tag asks viewers to turn them",
}
"""The names of `gapbench.views.boxes` and `gapbench.views.images`, in words."""


def data_table(manifest: Mapping[str, Any]) -> Table:
    """One row per benchmark: licence, source, region policy, and the protocol with its source."""
    columns = (
        Column("Benchmark"),
        Column("Licence"),
        Column("Source"),
        Column("Region", False, "What is cut out for the crop"),
        Column("Protocol", False, "How the questions are asked, and the metric that goes with it"),
    )
    rows = []
    for name, entry in _entries(manifest).items():
        card = part(entry, "card") or {}
        fetched = " @ ".join(filter(None, (str(card.get("hub") or ""), str(card.get("revision") or "")[:12])))
        origin = "local copy" if entry.get("local_copy") else clip(fetched, 200)
        rows.append(
            (
                text_cell(clip(name, NAME_LIMIT)),
                text_cell(clip(card.get("licence") or "", 200), "restricted" if card.get("restricted") else ""),
                text_cell(clip(card.get("source") or "", 200), origin),
                text_cell(clip(entry.get("region") or "", NAME_LIMIT)),
                _protocol(str(manifest.get("protocol") or "neutral"), card),
            )
        )
    return table_of("Data", columns, rows, source="run.json")


def _protocol(name: str, card: Mapping[str, Any]) -> Cell:
    found = part(card, "protocols", name) or {}
    metric = f"metric: {metric_title(str(found['metric']))}" if found.get("metric") else ""
    note = " · ".join(filter(None, (metric, clip(found.get("source") or "", 300), clip(found.get("note") or "", 300))))
    return text_cell(clip(name, NAME_LIMIT), note)


def repairs_table(manifest: Mapping[str, Any]) -> Table:
    """What was repaired in boxes and noticed of images, counted by benchmark."""
    columns = (Column("Benchmark"), Column("Repair"), Column("Count", True))
    rows = [
        (text_cell(clip(name, NAME_LIMIT)), text_cell(REPAIRS.get(kind, clip(kind, 200))), count_cell(count))
        for name, kind, count in repairs_of(manifest)
    ]
    return table_of("Repairs", columns, rows, source="run.json")


def repairs_of(manifest: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """(benchmark, kind, count)."""
    repairs = manifest.get("repairs")
    found = repairs if isinstance(repairs, Mapping) else {}
    split = [(*str(key).rpartition(": "), count) for key, count in found.items() if isinstance(count, int)]
    return [(name, kind, count) for name, _, kind, count in split]


def notices(summary: Mapping[str, Any], manifest: Mapping[str, Any], *, images: bool) -> list[tuple[str, str]]:
    """(benchmark, text): what licences forbid, which must not be cut off, and each benchmark's own remark."""
    found = []
    for name, entry in benchmarks_of(summary).items():
        notice = entry.get("notice") or part(manifest, "benchmarks", name, "card", "notice")
        if notice:
            found.append((clip(name, 80), clip(notice, 1_000)))
    found = judge_notice(summary) + found
    forbidden = {name: part(manifest, "benchmarks", name, "card", "restricted") or "" for name in _entries(manifest)}
    found = restricted(forbidden, "gapbench report RUN --no-images", images=images) + found
    rest = ("", f"{len(found) - NOTICES} more notices are in summary.json and run.json.")
    return found if len(found) <= NOTICES else [*found[:NOTICES], rest]


def judge_notice(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Who judged, and how much rests on it; nothing for a run without a judge."""
    judge = summary.get("judge") or {}
    counts = judge.get("verdicts") or {}
    if not judge:
        return []
    who, served = clip(judge.get("model"), 120), clip(judge.get("served_as") or "", 120)
    who += f" (served as {served})" if served and served != who else ""
    asked = sum(counts.values())
    text = (
        f"No rule could read {asked:,} answer{'s' * (asked != 1)}, so the judge {who} was asked: "
        f"{counts.get('yes', 0):,} right, {counts.get('no', 0):,} wrong, {counts.get('cannot tell', 0):,} it cannot "
        "tell. Without it: gapbench report RUN --without-judge."
    )
    return [("", text if asked else f"Rules could read all answers, so the judge {who} was not asked.")]


def restricted(cards: Mapping[str, str], command: str, *, images: bool) -> list[tuple[str, str]]:
    """(benchmark, text) for data whose licence forbids something; with images, how to leave them out."""
    hint = f" Before sharing this page, leave its images out: {command}." if images else ""
    return [
        (clip(name, 80), f"Restricted data: {clip(text, 800).rstrip('.')}.{hint}")
        for name, text in cards.items()
        if text
    ]


def _entries(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    entries = manifest.get("benchmarks")
    known = entries if isinstance(entries, Mapping) else {}
    return {str(name): entry for name, entry in known.items() if isinstance(entry, Mapping)}
