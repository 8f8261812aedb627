"""Thumbnails: small JPEGs in the run's folder, so that a report can show images without the benchmark.

    save_thumbnails(run / "thumbnails", {thumbnail_key("signs", "17"): (sample, "padded")})

They are made when a session has its answers: only then is it known which samples the report shows. The images of those
few are decoded a second time. The report only reads them.

Limits: a session that is killed leaves none; the next one makes them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gapbench.types import Sample
from gapbench.util.ahead import map_ahead
from gapbench.util.files import replacing
from gapbench.views.images import to_rgb
from gapbench.views.kinds import crop_images
from gapbench.views.prefetch import WORKERS
from gapbench.views.prepare import prepare
from gapbench.views.regions import mosaic

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 512
"""Longest side of the thumbnail of a full image, in pixels."""

LONGEST_CROP = 1024
"""Longest side of a stored crop. A smaller one keeps every pixel of the image."""

SMALLEST = 224
"""Images with a shorter longest side are enlarged, so that a crop of 16 x 16 pixels can be seen."""

QUALITY = 80


def thumbnail_key(benchmark: str, sample: str) -> str:
    """24 hexadecimal digits that name a sample's files. Its id may hold characters that no file name can."""
    text = f"{benchmark}\0{sample}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def save_thumbnails(folder: Path, wanted: Mapping[str, tuple[Sample, str]]) -> None:
    """Save the first image and the crops of the samples that lack them.

    `wanted` maps the key of a sample to it and to its region policy. The first image is written last, so its presence
    shows that both were saved. A sample that cannot be shown gets no image, and an OSError is ignored: a missing
    thumbnail must not end a run.
    """

    def save(key: str) -> None:
        prepared = prepare(*wanted[key])
        if prepared.image is None:
            return
        with suppress(OSError):
            if prepared.region is not None:
                crop = mosaic(crop_images(prepared.images, prepared.region))
                save_thumbnail(crop, folder / f"{key}-crop.jpg", LONGEST_CROP)
            save_thumbnail(prepared.image, folder / f"{key}-full.jpg")

    missing = [key for key in wanted if not (folder / f"{key}-full.jpg").exists()]
    for _ in map_ahead(save, missing, WORKERS):
        pass


def save_thumbnail(image: Image, path: Path, longest: int = LONGEST) -> None:
    """Write `image` as an RGB JPEG with a longest side of 224 to `longest` pixels; missing folders are created.

    Large images are shrunk with Lanczos. Small ones are enlarged by an integer factor with nearest neighbour, so every
    pixel the model saw becomes a visible square. Transparent pixels are blended with white.
    """
    from PIL import Image as Images

    image = to_rgb(image)
    side = max(image.size)
    if side > longest:
        width, height = (max(1, round(edge * longest / side)) for edge in image.size)
        image = image.resize((width, height), Images.Resampling.LANCZOS, reducing_gap=1.25)
    elif side < SMALLEST:
        factor = math.ceil(SMALLEST / side)
        image = image.resize((image.width * factor, image.height * factor), Images.Resampling.NEAREST)
    with replacing(path) as draft:
        image.save(draft, "JPEG", quality=QUALITY)
