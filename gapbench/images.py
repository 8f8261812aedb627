"""One decoder: whatever a data set calls an image becomes an RGB picture and a hash of what was stored.

    image, digest = decode("street.jpg")

Reads a path, encoded bytes, a Hub image dict ({"bytes", "path"}), a PIL image, or a function that makes one. The format
comes from the bytes, never from the file's name. Transparency is laid on white. EXIF orientation is kept as stored,
because published boxes refer to the stored pixel grid.

Limits: no URLs (nothing is fetched behind the user's back) and no pictures above Pillow's pixel limit, which guards
against decompression bombs.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.errors import SampleError

if TYPE_CHECKING:
    from PIL.Image import Image


def decode(source: Any) -> tuple[Image, str]:
    """The picture as RGB, and 24 hex digits that identify its stored bytes (its pixels, where there are none).

    Raises SampleError when the source is missing, truncated, not a picture or too large.
    """
    from PIL import Image as Pillow

    if isinstance(source, Mapping):
        source = source.get("bytes") or source.get("path")
    if isinstance(source, Callable):  # type: ignore[arg-type]
        source = source()
    if isinstance(source, Pillow.Image):
        picture = to_rgb(source)
        return picture, _digest(repr(picture.size).encode() + picture.tobytes())
    data, name = _read(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            picture = Pillow.open(io.BytesIO(data))
            picture.load()
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise SampleError(f"image {name}: {error} Shrink the picture or split it.") from error
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error and more
        raise SampleError(
            f"image {name}: cannot be decoded ({error}); {len(data):,} bytes were read. "
            "Expected a complete PNG, JPEG, WebP or other format Pillow reads; fetch the file again."
        ) from error
    return to_rgb(picture), _digest(data)


def to_rgb(picture: Image) -> Image:
    """RGB with transparency on white and 16-bit greys scaled to 8 bits; the size stays."""
    from PIL import Image as Pillow

    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith(("I;16", "I")):
        low, high = (float(v) for v in picture.getextrema())  # type: ignore[arg-type]
        if high > 255:
            picture = picture.convert("I").point(lambda v: v * (1 / 257))
        return picture.convert("L").convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Pillow.new("RGBA", picture.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(ground, picture).convert("RGB")
    return picture.convert("RGB")


def _read(source: Any) -> tuple[bytes, str]:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), f"of {len(source):,} bytes"
    if not isinstance(source, str | Path):
        raise SampleError(
            f"image: found {type(source).__name__}; expected a path, bytes, a Hub image dict, a PIL image or a function."
        )
    if str(source).startswith(("http://", "https://")):
        raise SampleError(f"image {source}: URLs are not fetched. Download the file and give its path.")
    try:
        return Path(source).read_bytes(), str(source)
    except OSError as error:
        raise SampleError(
            f"image {source}: cannot be read ({error.strerror or error}). Paths are relative to the file that lists them."
        ) from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]
