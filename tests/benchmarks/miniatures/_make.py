"""What miniatures are made of: small images in any encoding, and tables as `datasets` and pandas write them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw


def image(seed: int, size: tuple[int, int] = (96, 64), mode: str = "RGB") -> Image.Image:
    """Noise with one rectangle, different for each seed."""
    noise = np.random.default_rng(seed).integers(120, 256, (size[1], size[0], 3), dtype=np.uint8)
    made = Image.fromarray(noise)
    ImageDraw.Draw(made).rectangle((10, 10, 30, 25), fill=(seed * 40 % 256, 30, 200))
    return made.convert(mode)


def encoded(image: Image.Image, form: str = "JPEG") -> bytes:
    """The image as a file of that format."""
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def text_of(image: Image.Image, form: str = "JPEG") -> str:
    """The image as base64 text."""
    return base64.b64encode(encoded(image, form)).decode()


def hub_image(image: Image.Image, form: str = "JPEG", path: str | None = None) -> dict[str, Any]:
    """The image as the Hub's Image feature stores it."""
    return {"bytes": encoded(image, form), "path": path}


def write_hub_parquet(path: Path, rows: list[dict[str, Any]], features: dict[str, Any]) -> None:
    """Rows as `datasets` writes them, with the features in the file's metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row.get(name) for row in rows] for name in features}
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(path)


def write_plain_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as pandas writes them, without any features."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


STRING = datasets.Value("string")
INT = datasets.Value("int64")
IMAGE = datasets.Image()
STRINGS = datasets.Sequence(STRING)
