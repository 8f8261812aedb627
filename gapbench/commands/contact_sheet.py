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
from typing import TYPE_CHECKING

from gapbench.data.benchmark import Benchmark
from gapbench.errors import GapbenchError
from gapbench.types import Sample
from gapbench.util.files import write_text
from gapbench.views.prepare import PreparedSample, show
from gapbench.views.prompts import prompt
from gapbench.views.views import View

if TYPE_CHECKING:
    from PIL.Image import Image

TILES = 60
LONGEST = 480
"""Longest side of an image on the sheet, in pixels."""


@dataclass(frozen=True)
class Tile:
    """One sample as the sheet shows it. Images are data URIs; boxes are in pixels of the full image."""

    sample: Sample
    size: tuple[int, int] | None
    full: str
    crops: tuple[str, ...]
    crop_sizes: tuple[tuple[int, int], ...]
    boxes: tuple[tuple[float, ...], ...]
    region: tuple[float, ...] | None
    evidence: float | None
    remarks: tuple[str, ...]


def sheet_ids(samples: Sequence[Sample]) -> frozenset[str]:
    """Ids of the samples on the sheet: a fixed draw, the same on every machine, with evidence preferred."""

    def rank(sample: Sample) -> tuple[bool, bytes]:
        digest = hashlib.sha256(f"contact sheet {sample.id}".encode("utf-8", "surrogatepass")).digest()
        return not (sample.boxes or sample.crop_image is not None), digest

    return frozenset(s.id for s in sorted(samples, key=rank)[:TILES])


def tile(prepared: PreparedSample) -> Tile:
    """The tile of a prepared sample."""
    crops = show(prepared, View("crop"))[0].images
    remarks = (*prepared.repairs, prepared.error, prepared.region_error if prepared.sample.boxes else "")
    return Tile(
        sample=prepared.sample,
        size=prepared.size,
        full=_data_uri(prepared.image) if prepared.image is not None else "",
        crops=tuple(_data_uri(crop) for crop in crops),
        crop_sizes=tuple(crop.size for crop in crops),
        boxes=prepared.boxes,
        region=prepared.region.box if prepared.region is not None else None,
        evidence=prepared.evidence_area,
        remarks=tuple(filter(None, remarks)),
    )


def _data_uri(image: Image) -> str:
    from PIL import Image as Pillow

    small = image.copy()
    small.thumbnail((LONGEST, LONGEST), Pillow.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def write_sheet(path: Path, benchmark: Benchmark, policy: str, tiles: Sequence[Tile]) -> None:
    """Write the page. Everything from the data is escaped."""
    from gapbench.report.jinja import asset, environment

    ranked = sorted(tiles, key=lambda t: (not t.remarks, t.evidence if t.evidence is not None else 2.0))
    page = environment(html=True).get_template("contact_sheet.html.j2")
    style = asset("style.css") + asset("contact_sheet.css")
    shown = [{"tile": t, "prompt": _prompt_or_error(t.sample, benchmark)} for t in ranked]
    write_text(path, page.render(name=benchmark.name, card=benchmark.card, policy=policy, tiles=shown, style=style))


def _prompt_or_error(sample: Sample, benchmark: Benchmark) -> str:
    try:
        return prompt(sample, benchmark.card.prompt)
    except GapbenchError as error:
        return f"no prompt: {error}"
