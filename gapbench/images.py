"""One decoder: whatever a data set calls an image becomes an RGB picture and a hash of what was stored.

    image, digest = decode("street.jpg")

Reads a path, encoded bytes, a Hub image dict ({"bytes", "path"}), a PIL image, or a function that makes one. The format
comes from the bytes, never from the file's name. Transparency is laid on white. EXIF orientation is kept as stored,
because published boxes refer to the stored pixel grid; `notes` says of which pictures that is true, and the tag itself
is taken off, so that no processor turns the picture behind the boxes' back.

Limits: no URLs (nothing is fetched behind the user's back) and no pictures above Pillow's pixel limit, which guards
against decompression bombs. Colour profiles are ignored. A TIFF is turned by Pillow itself while it is read.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.errors import GapbenchError, SampleError

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
"""The EXIF tag that asks viewers to turn or mirror a picture (CIPA DC-008, section 4.6.4); 1 is upright."""

URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""How a URL begins; two letters at least, since C:/ is a path, and one slash, since paths fold the second one away."""


def decode(source: Any) -> tuple[Image, str]:
    """The picture as RGB, and 24 hex digits that identify its stored bytes (its pixels, where there are none).

    Raises SampleError when the source is missing, truncated, not a picture or too large.
    """
    from PIL import Image as Pillow

    if isinstance(source, Mapping):
        source = source.get("bytes") or source.get("path")
    if callable(source):
        return decode(_made(source))
    if isinstance(source, Pillow.Image):
        picture = _plain(source, f"image of {source.size[0]} x {source.size[1]} px ({source.mode})")
        return picture, _digest(repr(picture.size).encode(), picture.tobytes())
    data, name = _read(source)
    return _plain(data, f"image {name}"), _digest(data)


def notes(picture: Image) -> tuple[str, ...]:
    """What a reader should know of a picture from `decode`, to be counted beside the repairs of boxes."""
    return ("exif orientation ignored",) if picture.info.get("stored_orientation", 1) != 1 else ()


def to_rgb(picture: Image) -> Image:
    """RGB with transparency on white and deep greys scaled to 8 bits; the size stays.

    16-bit greys map 0..65535 to 0..255. 32-bit integers and floats carry no range of their own: they are taken as
    16-bit if a value exceeds 255, floats as 0..1 if none exceeds 1, and otherwise as 0..255.
    """
    import numpy as np
    from PIL import Image as Pillow

    if picture.mode.startswith(("I", "F")):
        levels = np.nan_to_num(np.asarray(picture).astype(np.float64))
        highest = levels.max(initial=0.0)
        if picture.mode.startswith("I;16") or highest > 255:
            levels /= 257
        elif picture.mode == "F" and highest <= 1:
            levels *= 255
        return Pillow.fromarray(np.rint(levels.clip(0, 255)).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Pillow.alpha_composite(Pillow.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("RGB")


def _made(function: Any) -> Any:
    """What a lazy image's function returns; its failure is the sample's, not the run's."""
    try:
        return function()
    except GapbenchError:
        raise
    except Exception as error:
        raise SampleError(
            f"image: the function that makes it failed with {type(error).__name__}: {error}. Correct the benchmark's "
            "code."
        ) from error


def _plain(source: bytes | Image, name: str) -> Image:
    """A decoded RGB picture free of metadata, but for the orientation that was stored."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        with warnings.catch_warnings(action="ignore"):  # the others are about metadata, once a picture
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            picture = Pillow.open(io.BytesIO(source)) if isinstance(source, bytes) else source
            picture.load()
            plain = to_rgb(picture)
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise SampleError(f"{name}: {error} Shrink the picture or split it.") from error
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error and more
        why = "not a known picture format" if isinstance(error, UnidentifiedImageError) else str(error)
        read = f"; {len(source):,} bytes were read" if isinstance(source, bytes) else ""
        raise SampleError(
            f"{name}: cannot be decoded ({why}){read}. "
            "Expected a complete PNG, JPEG, WebP or other format Pillow reads; fetch the file again."
        ) from error
    plain.info = {"stored_orientation": _orientation(picture)}
    return plain


def _orientation(picture: Image) -> int:
    try:
        with warnings.catch_warnings(action="ignore"):
            stored = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF raises as many kinds of errors as damaged pictures, and says nothing
        return 1
    return stored if stored in range(2, 9) else 1


def _read(source: Any) -> tuple[bytes, str]:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "given as bytes"
    if not isinstance(source, str | Path):
        raise SampleError(
            f"image: found {type(source).__name__}; expected a path, bytes, a Hub image dict, a PIL image or a "
            "function that makes one."
        )
    name = str(source) if len(str(source)) <= 200 else f"{str(source)[:200]}…"
    if URL.match(str(source)):
        raise SampleError(f"image {name}: URLs are not fetched. Download the file and give its path.")
    try:
        return Path(source).read_bytes(), name
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the path
        raise SampleError(
            f"image {name}: cannot be read ({getattr(error, 'strerror', None) or error}). Relative paths start at the "
            "file that lists them."
        ) from error


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:24]
