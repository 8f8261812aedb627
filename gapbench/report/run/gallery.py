"""The sample cards of a report, limited in number and size so that the file stays small.

    gallery(samples, stratified(samples)[:240], folder / "thumbnails", template, room=19_000_000)

Cards are taken in their order until the room is used up. Beyond `IMAGE_BUDGET` bytes of images, cards have no images.
"""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Template

from gapbench.report.run.samples import FLIP_NAMES, SampleCard
from gapbench.util.text import clip

SIZE_LIMIT = 20_000_000
"""Largest size of a report, in bytes."""

IMAGE_BUDGET = 12_000_000
"""Bytes of all images, as data URIs."""
HEAVY = 36_000
"""Bytes of a stored image that goes into the page as it is. A heavier one is shrunk to `SHRUNK` pixels."""
SHRUNK = 512
ORDERS = (
    ("", "mixed"),
    ("area", "smallest evidence first"),
    ("area-falling", "largest evidence first"),
    ("length", "shortest answer first"),
    ("length-falling", "longest answer first"),
    ("flip", "by outcome"),
)
"""Orders of the cards: as `gallery.js` names them, and in words."""
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


def stored_keys(thumbnails: Path | None) -> set[str]:
    """The keys of the samples that have a stored image."""
    return {path.name.partition("-")[0] for path in thumbnails.glob("*-*.jpg")} if thumbnails else set()


def gallery(
    samples: Sequence[SampleCard],
    chosen: Sequence[SampleCard],
    thumbnails: Path | None,
    template: Template,
    room: float,
) -> dict[str, Any]:
    """Render as many of the `chosen` cards as fit into `room` bytes; `thumbnails=None` leaves all images out.

    The result has the rendered `cards`, their `index` (by what each is filtered and sorted), and totals: `total` counts
    all `samples`, `counts` the cards of each flip. `categories` are those of the cards, `benchmarks` those of all
    samples. `images` is `shown`, `off` (left out on request) or `none` (no thumbnails stored).
    """
    bounded = room < math.inf

    def images_of(sample: SampleCard) -> CardImages:
        return read_images(thumbnails, sample.key, HEAVY if bounded else math.inf) if thumbnails else {}

    def render(sample: SampleCard, images: CardImages) -> str:
        return template.render(card=sample, images=images, with_images=bool(thumbnails), flip_names=FLIP_NAMES)

    rendered = within(chosen, images_of, render, IMAGE_BUDGET if bounded else math.inf, room - MARGIN)
    index = [
        {
            "key": sample.key,
            "benchmark": clip(sample.benchmark, 200),
            "category": clip(sample.category, 200),
            "flip": sample.flip,
            "area": sample.evidence_area,
            "length": max((len(answer.output) + len(answer.thought) for answer in sample.answers.values()), default=0),
        }
        for sample, _ in rendered
    ]
    return {
        "cards": [html for _, html in rendered],
        "index": index,
        "total": len(samples),
        "images": "off" if thumbnails is None else "shown" if stored_keys(thumbnails) else "none",
        "benchmarks": list(dict.fromkeys(clip(sample.benchmark, 200) for sample in samples)),
        "categories": sorted({entry["category"] for entry in index} - {""}),
        "orders": ORDERS,
        "counts": Counter(entry["flip"] for entry in index),
    }


def within(
    samples: Sequence[S],
    images_of: Callable[[S], CardImages],
    render: Callable[[S, CardImages], str],
    budget: float,
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


def read_images(thumbnails: Path, key: str, heavy: float = HEAVY) -> CardImages:
    """The thumbnails of a sample's full and crop view; those above `heavy` bytes are shrunk."""
    return {view: read_image(thumbnails / f"{key}-{view}.jpg", heavy) for view in ("full", "crop")}


def read_image(path: Path, heavy: float) -> GalleryImage | None:
    """The stored thumbnail, or None if it is missing or not a JPEG that a browser can show."""
    from PIL import Image

    try:
        data = path.read_bytes()
        with Image.open(path, formats=("JPEG",)) as image:
            if len(data) > heavy and max(image.size) > SHRUNK:
                image.thumbnail((SHRUNK, SHRUNK))
                image.save(shrunk := io.BytesIO(), "JPEG", quality=80)
                data = shrunk.getvalue()
            width, height = image.size
    except (OSError, Image.DecompressionBombError):
        return None
    return GalleryImage("data:image/jpeg;base64," + base64.b64encode(data).decode("ascii"), width, height)
