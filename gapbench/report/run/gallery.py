"""The sample cards of a report, limited in number and size so that the file stays small.

    gallery(cards, folder / "thumbnails", template, room=19_000_000)

Cards are taken in turn from every (benchmark, flip) until their number reaches `CARDS` or the room is used up. Beyond
`IMAGE_BUDGET` bytes of images, cards have no images.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Template

from gapbench.report.run.samples import FLIP_NAMES, SampleCard, stratified
from gapbench.util.text import clip

SIZE_LIMIT = 20_000_000
"""Largest size of a report, in bytes."""

CARDS = 240
IMAGE_BUDGET = 12_000_000
"""Bytes of all images, as data URIs."""
MARGIN = 500_000
"""Bytes for the rest of the gallery: filters, index and counts."""


@dataclass(frozen=True)
class GalleryImage:
    """A thumbnail as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


CardImages = Mapping[str, GalleryImage | None]
"""The images of a sample's views."""
S = TypeVar("S")


def gallery(samples: Sequence[SampleCard], thumbnails: Path | None, template: Template, room: int) -> dict[str, Any]:
    """Render as many cards as fit into `room` bytes; `thumbnails=None` leaves all images out.

    The result has the rendered `cards`, their `index` (benchmark, category and flip of each), and totals: `total`
    counts all samples, `counts` the cards of each flip. `categories` are those of the cards, `benchmarks` those of all
    samples. `images` is `shown`, `off` (left out on request) or `none` (no thumbnails stored).
    """
    stored = {path.name.partition("-")[0] for path in thumbnails.glob("*-*.jpg")} if thumbnails else set()

    def images_of(sample: SampleCard) -> CardImages:
        return read_images(thumbnails, sample.key) if thumbnails else {}

    def render(sample: SampleCard, images: CardImages) -> str:
        return template.render(card=sample, images=images, with_images=bool(thumbnails), flip_names=FLIP_NAMES)

    rendered = within(stratified(samples, stored)[:CARDS], images_of, render, IMAGE_BUDGET, room - MARGIN)
    index = [
        {"benchmark": clip(sample.benchmark, 200), "category": clip(sample.category, 200), "flip": sample.flip}
        for sample, _ in rendered
    ]
    return {
        "cards": [html for _, html in rendered],
        "index": index,
        "total": len(samples),
        "images": "off" if thumbnails is None else "shown" if stored else "none",
        "benchmarks": list(dict.fromkeys(clip(sample.benchmark, 200) for sample in samples)),
        "categories": sorted({entry["category"] for entry in index} - {""}),
        "counts": Counter(entry["flip"] for entry in index),
    }


def within(
    samples: Sequence[S],
    images_of: Callable[[S], CardImages],
    render: Callable[[S, CardImages], str],
    budget: int,
    room: float = math.inf,
) -> list[tuple[S, str]]:
    """The samples with their cards as HTML, until `room` bytes are full. Beyond `budget` bytes cards have no images."""
    rendered = []
    for sample in samples:
        images = images_of(sample)
        weight = sum(len(image.uri) for image in images.values() if image)
        if weight > min(budget, room):
            images, weight = {}, 0
        html = render(sample, images)
        if len(html.encode()) > room:
            break
        room, budget = room - len(html.encode()), budget - weight
        rendered.append((sample, html))
    return rendered


def read_images(thumbnails: Path, key: str) -> CardImages:
    """The thumbnails of a sample's full and crop view."""
    return {view: read_image(thumbnails / f"{key}-{view}.jpg") for view in ("full", "crop")}


def read_image(path: Path) -> GalleryImage | None:
    """The stored thumbnail, or None if it is missing or not a JPEG that a browser can show."""
    from PIL import Image

    try:
        data = path.read_bytes()
        with Image.open(path, formats=("JPEG",)) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError):
        return None
    return GalleryImage("data:image/jpeg;base64," + base64.b64encode(data).decode("ascii"), width, height)
