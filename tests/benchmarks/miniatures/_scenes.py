"""Small images for miniatures: noise with coloured patches, in the encodings that data sets use."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

Box = tuple[int, int, int, int]


def scene(seed: int, size: tuple[int, int], patches: Mapping[Box, tuple[int, int, int]] | None = None) -> Image.Image:
    """Pale noise of `size` (width, height), and patches (x0, y0, x1, y1: colour) that end before x1 and y1."""
    noise = np.random.default_rng(seed).integers(150, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    for (x0, y0, x1, y1), colour in (patches or {}).items():
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)
    return image


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def as_base64(image: Image.Image, kind: str = "JPEG") -> str:
    return base64.b64encode(encoded(image, kind)).decode()


def save(image: Image.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path
