"""The sheet of `gapbench propose --sheet`: rows to look at, kept and rejected, and a count of those that are wrong.

    write_sheet(Path("sheet.html"), "data.jsonl", lines, images, card)

The first rows are drawn at random; whoever ticks them gets the share of errors with its interval from the page. Then
come the least confident, those that the full image answers differently, and rejected ones by gate.

Limits: everything on the page is small; open the image itself for details.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapbench.commands.contact_sheet import data_uri
from gapbench.errors import SampleError
from gapbench.proposals import estimate
from gapbench.report.jinja import asset, environment, script_of
from gapbench.types import Sample
from gapbench.util.files import write_text
from gapbench.views import images as decoder
from gapbench.views.boxes import four_numbers
from gapbench.views.regions import cut, padded

RANDOM = "Drawn at random"
TICKED, SHOWN, PER_GATE = 50, 12, 4
"""Rows to tick, rows of each other kind, and rejected rows of each gate."""


@dataclass(frozen=True)
class RowTile:
    """A row with its image and its crop as data URIs."""

    row: Mapping[str, Any]
    full: str
    crop: str


def write_sheet(
    path: Path, name: str, lines: Sequence[Mapping[str, Any]], images: Sequence[Sample], card: Mapping[str, Any]
) -> None:
    """Write the page. `lines` are those of the audit file; everything from the model is escaped."""
    rows = sorted(
        ({**row, "image": line["image"], "number": line["number"], "size": line["size"]}
         for line in lines for row in line["rows"]), key=_draw,
    )  # fmt: skip
    kept = [row for row in rows if not row["rejected"]]
    noted = [row for row in kept if row["notes"]]
    differing = [row for row in noted if not row["notes"]["full"]["same"]]
    sections = {
        RANDOM: kept[:TICKED],
        "Least confident": sorted(noted, key=lambda row: row["notes"]["crop"]["confidence"] or 0)[:SHOWN],
        "The full image is answered differently": sorted(
            differing, key=lambda row: -(row["notes"]["full"]["confidence"] or 0)
        )[:SHOWN],
    }
    for gate in dict.fromkeys(row["rejected"] for row in rows if row["rejected"]):
        sections[f"Rejected: {gate}"] = [row for row in rows if row["rejected"] == gate][:PER_GATE]
    tiles = {title: [_tile(row, images) for row in chosen] for title, chosen in sections.items() if chosen}
    page = environment(html=True).get_template("proposal_sheet.html.j2")
    values = {"name": name, "card": card, "estimate": estimate.in_words(card["estimate"]), "ticked": RANDOM}
    assets = {"style": asset("style.css", "contact_sheet.css"), **script_of("proposal_sheet.js")}
    write_text(path, page.render(values, sections=tiles, **assets))


def _draw(row: Mapping[str, Any]) -> bytes:
    """A fixed random order."""
    key = f"proposal sheet {row['image']} {row['id']} {row['bbox']}"
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _tile(row: Mapping[str, Any], images: Sequence[Sample]) -> RowTile:
    sample = images[row["number"]]
    try:
        image = decoder.decode(sample.image, sample.max_image_pixels, sample.upright)[0]
    except SampleError:
        return RowTile(row, "", "")
    return RowTile(row, data_uri(image), data_uri(cut(image, padded([four_numbers(row["bbox"])], image.size))))
