"""The sample cards of a report, chosen and sized so that the file stays small.

    gallery(cases, folder / "thumbnails", template, room=19_000_000)

Cards are taken in turn from every (benchmark, flip) until the count, the image budget or the room is used up.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.report.run.samples import SampleCard, stratified
from gapbench.report.run.summary_tables import area_percent
from gapbench.util.text import clip, size

if TYPE_CHECKING:
    from jinja2 import Template

SIZE_LIMIT = 20_000_000
"""Bytes of a report, whatever the run."""

CARDS = 240
PICTURE_BUDGET = 12_000_000
MARGIN = 500_000
"""Room for the gallery's own frame: filters, index and counts."""

OUTPUT_LIMIT = 2_000
FIELD_LIMIT = 1_000
OTHER_VIEWS = 12
OPTIONS = 26

FLIP_NAMES = {
    "crop_only": "crop only",
    "full_only": "full only",
    "neither": "neither",
    "both": "both",
    "dropped": "left out",
}
OUTCOMES = {"right": "\u2713", "wrong": "\u2717", "unparsed": "?", "judge_failed": "!", "failed": "!"}


@dataclass(frozen=True)
class GalleryImage:
    """A thumbnail as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Gallery:
    """Rendered cards, an index of what each one is, and what there is in all.

    `images` is `shown`, `off` (not wanted) or `none` (not stored).
    """

    cards: tuple[str, ...]
    index: tuple[dict[str, str], ...]
    total: int
    images: str
    benchmarks: tuple[str, ...]
    categories: tuple[str, ...]
    counts: dict[str, int]


def gallery(cases: Sequence[SampleCard], thumbnails: Path | None, template: Template, room: int) -> Gallery:
    """Render as many cards as fit into `room` bytes; `thumbnails=None` leaves all images out."""
    stored = {path.name.partition("-")[0] for path in thumbnails.glob("*-*.jpg")} if thumbnails else set()
    room, images = room - MARGIN, PICTURE_BUDGET
    chosen: list[tuple[SampleCard, str]] = []
    for case in stratified(cases, stored):
        if len(chosen) == CARDS:
            break
        shown = read_images(thumbnails, case.key) if thumbnails else {}
        weight = sum(len(image.uri) for image in shown.values() if image)
        if weight > min(images, room):
            shown, weight = {}, 0
        card = template.render(card=case, images=shown, asked=thumbnails is not None, **_vocabulary())
        if len(card.encode()) > room:
            break
        room, images = room - len(card.encode()), images - weight
        chosen.append((case, card))
    return Gallery(
        cards=tuple(card for _, card in chosen),
        index=tuple(
            {"benchmark": clip(case.benchmark, 200), "category": clip(case.category, 200), "flip": case.flip}
            for case, _ in chosen
        ),
        total=len(cases),
        images="off" if thumbnails is None else "shown" if stored else "none",
        benchmarks=tuple(dict.fromkeys(clip(case.benchmark, 200) for case in cases)),
        categories=tuple(sorted({clip(case.category, 200) for case, _ in chosen if case.category})),
        counts=dict(Counter(case.flip for case, _ in chosen)),
    )


def read_images(thumbnails: Path, key: str) -> dict[str, GalleryImage | None]:
    """A sample's thumbnails in the two headline views."""
    return {view: read_image(thumbnails / f"{key}-{view}.jpg") for view in ("full", "crop")}


def read_image(path: Path) -> GalleryImage | None:
    """The stored thumbnail, or None when there is none that a browser could show."""
    from PIL import Image

    try:
        data = path.read_bytes()
        with Image.open(path, formats=("JPEG",)) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError):
        return None
    return GalleryImage("data:image/jpeg;base64," + base64.b64encode(data).decode("ascii"), width, height)


def _vocabulary() -> dict[str, Any]:
    return {
        "flip_names": FLIP_NAMES,
        "outcomes": OUTCOMES,
        "size": size,
        "area": area_percent,
        "output_limit": OUTPUT_LIMIT,
        "field_limit": FIELD_LIMIT,
        "other_views": OTHER_VIEWS,
        "option_limit": OPTIONS,
    }
