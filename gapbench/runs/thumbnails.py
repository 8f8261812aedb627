"""Thumbnails: small JPEGs in the run's folder, so that a report can show images without the benchmark.

    save_thumbnail(image, run / "thumbnails" / f"{thumbnail_key('signs', '17')}-full.jpg")

They are made during the run, when the images are decoded anyway. The report only reads them.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

from gapbench.views.images import to_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 512
"""Longest side of a thumbnail, in pixels."""

SMALLEST = 224
"""Images with a shorter longest side are enlarged, so that a crop of 16 x 16 pixels can be seen."""

QUALITY = 80


def thumbnail_key(benchmark: str, sample: str) -> str:
    """24 hexadecimal digits that name a sample's files. Its id may hold characters that no file name can."""
    text = f"{benchmark}\0{sample}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def save_thumbnail(image: Image, path: Path) -> None:
    """Write `image` as an RGB JPEG with a longest side of 224 to 512 pixels; missing folders are created.

    Large images are shrunk with Lanczos. Small ones are enlarged by an integer factor with nearest neighbour, so every
    pixel the model saw becomes a visible square. Transparent pixels are blended with white.
    """
    from PIL import Image as Images

    image = to_rgb(image)
    longest = max(image.size)
    if longest > LONGEST:
        shrunk = [max(1, round(side * LONGEST / longest)) for side in image.size]
        image = image.resize((shrunk[0], shrunk[1]), Images.Resampling.LANCZOS, reducing_gap=3.0)
    elif longest < SMALLEST:
        factor = math.ceil(SMALLEST / longest)
        image = image.resize((image.width * factor, image.height * factor), Images.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "JPEG", quality=QUALITY)
