"""A contact sheet: full images with their boxes, and the crops, on one HTML page to look at before measuring.

    check(load("vstar"), sheet=Path("vstar.html"))

The smallest and largest evidence, the repaired and the faulty come first, the rest is a fixed draw over the whole data,
so that a wrong box format is seen at a glance.

Limits: small JPEGs inside one file, at most `TILES` samples; it holds images of the benchmark, so mind its licence.
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
from gapbench.views.prepare import PreparedSample, show
from gapbench.views.prompts import prompt

if TYPE_CHECKING:
    from PIL.Image import Image

TILES = 60
LONGEST = 480
"""Longest side of an image on the sheet, in pixels."""


@dataclass(frozen=True)
class Tile:
    """One sample as the sheet shows it; images are data URIs, boxes in pixels of the full image."""

    sample: Sample
    size: tuple[int, int] | None
    full: str
    crops: tuple[str, ...]
    crop_sizes: tuple[tuple[int, int], ...]
    boxes: tuple[tuple[float, ...], ...]
    region: tuple[float, ...] | None
    evidence: float | None
    remarks: tuple[str, ...]


def chosen_ids(samples: Sequence[Sample]) -> frozenset[str]:
    """The ids on the sheet: a fixed draw, the same on every machine, those with evidence first."""
    ranked = sorted(samples, key=lambda s: (not (s.boxes or s.crop_image is not None), _rank(s.id)))
    return frozenset(s.id for s in ranked[:TILES])


def _rank(sample_id: str) -> bytes:
    return hashlib.sha256(f"contact sheet {sample_id}".encode("utf-8", "surrogatepass")).digest()


def tile(case: PreparedSample) -> Tile:
    """What the sheet keeps of a prepared sample."""
    crops = show(case, "crop")[0]
    return Tile(
        sample=case.sample,
        size=case.size,
        full=_data_uri(case.image) if case.image is not None else "",
        crops=tuple(_data_uri(crop) for crop in crops),
        crop_sizes=tuple(crop.size for crop in crops),
        boxes=case.boxes,
        region=case.region.box if case.region is not None else None,
        evidence=case.evidence_area,
        remarks=tuple(filter(None, (*case.repairs, case.error, case.region_error if case.sample.boxes else ""))),
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
    from gapbench.report.jinja import asset, environment, write

    ranked = sorted(tiles, key=lambda t: (not t.remarks, t.evidence if t.evidence is not None else 2.0))
    page = environment(html=True).get_template("contact_sheet.html.j2")
    path.parent.mkdir(parents=True, exist_ok=True)
    write(
        path,
        page.render(
            name=benchmark.name,
            card=benchmark.card,
            policy=policy,
            tiles=[{"tile": t, "prompt": _asked(t.sample, benchmark)} for t in ranked],
            style=asset("style.css") + asset("contact_sheet.css"),
        ),
    )


def _asked(sample: Sample, benchmark: Benchmark) -> str:
    try:
        return prompt(sample, benchmark.card.prompt)
    except GapbenchError as error:
        return f"no prompt: {error}"
