"""A contact sheet: one HTML page with full images, their boxes and their crops, to look at before a measurement.

    check(make_task(load("vstar"), TaskSettings()), sheet=Path("vstar.html"))

The sheet shows a fixed draw of samples, those with evidence first. Samples with a repair or a fault come first on the
page, then the samples with the smallest evidence, so a wrong box format is easy to see.

Limits: the page holds at most `TILES` samples as small JPEGs. These are images of the benchmark, so mind its licence.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image, Resampling

from gapbench.data.benchmark import Benchmark
from gapbench.errors import GapbenchError
from gapbench.report.jinja import asset, environment
from gapbench.types import Sample
from gapbench.util.files import write_text
from gapbench.views.prepare import PreparedSample, show
from gapbench.views.prompts import prompt
from gapbench.views.views import View

TILES = 60
LONGEST = 480
"""Longest side of an image on the sheet, in pixels."""


@dataclass(frozen=True)
class Tile:
    """One sample as the sheet shows it: the full image and its crops as data URIs, the latter with their sizes."""

    prepared: PreparedSample
    full: str
    crops: tuple[tuple[str, tuple[int, int]], ...]

    @property
    def remarks(self) -> list[str]:
        """Repairs and faults."""
        found = self.prepared
        return list(filter(None, (*found.repairs, found.error, found.region_error if found.sample.boxes else "")))


def sheet_ids(samples: Sequence[Sample]) -> frozenset[str]:
    """Ids of the samples on the sheet: a fixed draw, the same on every machine, with evidence preferred."""

    def rank(sample: Sample) -> tuple[bool, bytes]:
        draw = hashlib.sha256(f"contact sheet {sample.id}".encode("utf-8", "surrogatepass"))
        return not (sample.boxes or sample.crop_image is not None), draw.digest()

    return frozenset(sample.id for sample in sorted(samples, key=rank)[:TILES])


def tile(prepared: PreparedSample) -> Tile:
    """The tile of a prepared sample."""
    crops = show(prepared, View("crop"))[0].images
    full = data_uri(prepared.image) if prepared.image is not None else ""
    return Tile(prepared.without_images(), full, tuple((data_uri(crop), crop.size) for crop in crops))


def data_uri(image: Image) -> str:
    """The image as a small JPEG in a data URI."""
    small = image.copy()
    small.thumbnail((LONGEST, LONGEST), Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def write_sheet(path: Path, benchmark: Benchmark, policy: str, tiles: Sequence[Tile]) -> None:
    """Write the page. Everything from the data is escaped."""
    ranked = sorted(tiles, key=lambda t: (not t.remarks, t.prepared.evidence_area or 2.0))
    shown = [(tile, _prompt_or_error(tile.prepared.sample, benchmark)) for tile in ranked]
    formats = sorted({str(t.prepared.sample.box_format) for t in tiles if t.prepared.sample.boxes})
    page = environment(html=True).get_template("contact_sheet.html.j2")
    values = {"name": benchmark.name, "card": benchmark.card, "policy": policy, "formats": formats}
    write_text(path, page.render(values, tiles=shown, style=asset("style.css", "contact_sheet.css")))


def _prompt_or_error(sample: Sample, benchmark: Benchmark) -> str:
    try:
        return prompt(sample, benchmark.card.prompt)
    except GapbenchError as error:
        return f"no prompt: {error}"
