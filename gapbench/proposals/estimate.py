"""How good proposed rows are, by what the model says of itself: no label is read.

    summary = estimate(rows)                 # rows of the audit file that passed all gates
    reason = refusal(summary, settings, counts)     # why no data should be written, or ""

The share of rows whose small and large window are answered differently ranks good and bad data in the right order. The
mean of 1 - confidence understates the error about twofold, and shifting overstates it (docs/proposals.md).

Limits: no number here sees an error that is the same in every window.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gapbench.analysis.statistics import mean_interval
from gapbench.proposals.thresholds import Settings
from gapbench.util.text import percent_in_words, shorten

CHECKS = {
    "small": "small and large window answer differently",
    "grown": "a larger crop is answered differently",
    "rephrased": "another wording is answered differently",
    "full": "the full image is answered differently (this is what training works on)",
}


def estimate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares that differ, with intervals clustered by image, and the mean of 1 - confidence of the crops' answers."""
    found: dict[str, Any] = {"rows": len(rows), "images": len({row["image"] for row in rows})}
    for name in CHECKS:
        known = [row for row in rows if name in row["notes"] and not row["notes"][name]["error"]]
        if known:
            differs = [float(not row["notes"][name]["same"]) for row in known]
            found[name] = mean_interval(differs, _clusters(known)).json()
    sure = [c for row in rows if (c := row["notes"].get("crop", {}).get("confidence")) is not None]
    found["doubt"] = 1 - sum(sure) / len(sure) if sure else None
    agreeing = [row["gates"]["shifted"] / 4 for row in rows if row["gates"].get("shifted") is not None]
    found["shifted"] = 1 - sum(agreeing) / len(agreeing) if agreeing else None
    return found


def _clusters(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(row["image"], len(numbers)) for row in rows]


def missing(counts: Mapping[str, Any]) -> list[str]:
    """What could not be used, a line each: images, objects, prompts without an answer, and replies that are no listing.

    `counts` are those of the card.
    """
    windows, example = f"{counts['failed_windows']:,} of {counts['windows']:,} windows", counts["no_listing_such_as"]
    again = "The same command asks these again. One reason"
    said = (
        ("images that cannot be read", counts["unreadable"], f", such as: {shorten(counts['error'], 300)}"),
        ("objects without a question", counts["no_question"], ""),
        ("prompts without an answer", counts["failed"], f", {windows}. {again}: {shorten(counts['fault'], 300)}"),
        ("replies that are no listing", counts["no_listing"], f", such as {json.dumps(example)}"),
    )
    return [f"{name}: {count:,}{rest}" for name, count, rest in said if count]


def refusal(found: Mapping[str, Any], settings: Settings, counts: Mapping[str, Any]) -> str:
    """Why these rows should not be trained on, in a sentence; empty if nothing speaks against it."""
    if found["rows"] < settings.least_rows:
        few = f"{found['rows']} rows passed the gates, fewer than least_rows={settings.least_rows}."
        if counts["failed"]:
            return f"{few} {counts['failed']:,} prompts got no answer: mend that, then run the same command again."
        if 2 * counts["no_listing"] > counts["windows"]:
            return f"{few} The model does not follow the listing format in most replies. Use another model."
        return f"{few} Give more images, or look at the sheet: which gate rejects most?"
    differs = (found.get("small") or {}).get("estimate")
    if differs is not None and differs > settings.most_disagreement:
        return (
            f"{percent_in_words(differs)} of the rows are answered differently in the small and in the large window, "
            f"more than most_disagreement={settings.most_disagreement:g}: the boxes or the readings are wrong too "
            "often. Look at the sheet, switch gates on, or use another model."
        )
    return ""


def in_words(found: Mapping[str, Any]) -> list[str]:
    """The estimate, a line each."""
    lines = []
    for name, words in CHECKS.items():
        if name in found:
            low, high = map(percent_in_words, found[name]["ci"] or (None, None))
            lines.append(f"{words}: {percent_in_words(found[name]['estimate'])} [{low}, {high}]")
    if found["shifted"] is not None:
        lines.append(
            f"shifted windows that read otherwise (overstates the error): {percent_in_words(found['shifted'])}"
        )
    if found["doubt"] is not None:
        lines.append(f"mean doubt of the crops' answers (understates the error): {percent_in_words(found['doubt'])}")
    return lines
