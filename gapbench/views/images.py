"""One decoder: whatever a data set calls an image becomes an RGB image and a hash of what was stored.

    image, digest = decode("street.jpg")

Reads a path, encoded bytes, base64 text, a Hub image dict ({"bytes", "path"}), a PIL image, or a function that makes
any of them. The format comes from the bytes, never from the file's name. Transparency is laid on white, and of moving
images the first frame is taken. EXIF orientation is kept as stored, because published boxes refer to the stored pixel
grid; `notes` says of which images that is true, and the tag itself is taken off, so that no processor turns the
image behind the boxes' back.

Limits: no URLs (nothing is fetched behind the user's back) and no images above Pillow's pixel limit, which guards
against decompression bombs, unless a sample allows more. Colour profiles are ignored. A CMYK JPEG is taken to store
inverted values, as Adobe's do.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.errors import GapbenchError, SampleError
from gapbench.util.text import shorten

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

ORIENTATION = 0x0112
"""The EXIF tag that asks viewers to turn or mirror an image (CIPA DC-008, section 4.6.4); 1 is upright."""

URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""How a URL begins; two letters at least, since C:/ is a path, and one slash, since paths fold the second one away."""

SIGNATURE = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF.{4}WEBP|BM.{4}\0{4}|II[*+]\0|MM\0[*+]", re.DOTALL
)
"""How encoded images begin: PNG, JPEG, GIF, WebP, BMP, TIFF. Tells base64 text from a path."""

PLAIN_FORMATS = ("JPEG", "PNG", "WEBP")
"""Formats, by Pillow's names, that every server reads."""

PNG_DEPTH = 24
"""Where a PNG says how many bits a channel has (its specification, section 11.2.1); of 16, programs keep other 8."""

_ALONE = threading.RLock()


@dataclass(frozen=True)
class Decoded:
    """An image as RGB, and 24 hex digits that identify its stored bytes (its pixels, where there are none).

    `encoded` is those bytes where any program that reads JPEG, PNG and WebP makes the same image of them, else None:
    no transparency, no orientation, at most 8 bits a channel, one frame.
    """

    image: Image
    digest: str
    encoded: bytes | None


def decode(source: Any, max_pixels: int = 0) -> tuple[Image, str]:
    """Image and digest of `read`, which see."""
    found = read(source, max_pixels)
    return found.image, found.digest


def read(source: Any, max_pixels: int = 0) -> Decoded:
    """Whatever a data set calls an image, decoded.

    `max_pixels` (width x height) raises Pillow's guard against decompression bombs for this image alone; 0 keeps it.
    A PIL image was opened by whoever gave it, under a guard of their own.

    Raises SampleError when the source is missing, truncated, not an image or too large.
    """
    stored, name = _read(_given(source))
    image, plain_already = _plain(stored, name, max_pixels)
    parts = [stored] if isinstance(stored, bytes) else [repr(image.size).encode(), image.tobytes()]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    encoded = stored if plain_already and isinstance(stored, bytes) else None
    return Decoded(image, digest.hexdigest()[:24], encoded)


def stored_size(source: Any) -> tuple[int, int]:
    """Width and height in pixels as the image's header says; nothing is decoded. Raises SampleError, as `decode`."""
    stored, name = _read(_given(source))
    with _errors_of(stored, name), _guard(0):
        image = _opened(stored)
        width, height = image.size
        return (height, width) if _turned_by_pillow(image) >= 5 else (width, height)


def is_base64(text: str) -> bool:
    """Whether a string is an image as base64 text rather than the path of one.

    It is if it is a data URI, or if its first characters decode to how encoded images begin.
    """
    if text[:100].lstrip()[:5].lower() == "data:":
        return True
    first = "".join(text[:100].split())[:32]
    try:
        return SIGNATURE.match(base64.b64decode(first, validate=True)) is not None
    except ValueError:  # not base64, or not even ASCII
        return False


def notes(image: Image) -> tuple[str, ...]:
    """What a reader should know of an image from `decode`, to be counted beside the repairs of boxes."""
    return ("exif orientation ignored",) if image.info.get("stored_orientation", 1) != 1 else ()


def to_rgb(image: Image) -> Image:
    """RGB with transparency on white and deep greys scaled to 8 bits; the size stays.

    16-bit greys map 0..65535 to 0..255. 32-bit integers and floats carry no range of their own: they are taken as
    16-bit if a value exceeds 255, floats as 0..1 if none exceeds 1, and otherwise as 0..255.
    """
    import numpy as np
    from PIL import Image as Pillow

    if image.mode.startswith(("I", "F")):
        levels = np.nan_to_num(np.asarray(image).astype(np.float64))
        highest = levels.max(initial=0.0)
        if image.mode.startswith("I;16") or highest > 255:
            levels /= 257
        elif image.mode == "F" and highest <= 1:
            levels *= 255
        return Pillow.fromarray(np.rint(levels.clip(0, 255)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Pillow.alpha_composite(Pillow.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _given(source: Any) -> Any:
    """What a lazy image's function returns, and what a Hub image dict holds."""
    if callable(source):
        source = _made(source)
    if isinstance(source, Mapping):
        stored = source.get("bytes")
        source = source.get("path") if stored is None or (isinstance(stored, bytes | str) and not stored) else stored
    return source


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


@contextmanager
def _guard(max_pixels: int) -> Iterator[tuple[float, float]]:
    """Pillow's own pixel limit, and the limit that holds within: raised to `max_pixels` where that is more.

    Warnings (of metadata, once an image) are silenced. Both settings belong to the whole process, so one thread at a
    time gets here, and not for longer than needed.
    """
    from PIL import Image as Pillow

    with _ALONE, warnings.catch_warnings(action="ignore"):
        own = Pillow.MAX_IMAGE_PIXELS
        if own is None or own >= max_pixels:
            yield own or math.inf, own or math.inf
            return
        Pillow.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield own, max_pixels
        finally:
            Pillow.MAX_IMAGE_PIXELS = own


@contextmanager
def _errors_of(source: bytes | Image, name: str) -> Iterator[None]:
    """Whatever Pillow raises, as a SampleError."""
    from PIL import UnidentifiedImageError

    try:
        yield
    except SampleError:
        raise
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error and more
        why = "not a known image format" if isinstance(error, UnidentifiedImageError) else str(error)
        read = f"; {len(source):,} bytes were read" if isinstance(source, bytes) else ""
        raise SampleError(
            f"{name}: cannot be decoded ({why}){read}. "
            "Expected a complete PNG, JPEG, WebP or other format Pillow reads; fetch the file again."
        ) from error


def _opened(source: bytes | Image) -> Image:
    from PIL import Image as Pillow

    return Pillow.open(io.BytesIO(source)) if isinstance(source, bytes) else source


def _plain(source: bytes | Image, name: str, max_pixels: int) -> tuple[Image, bool]:
    """A decoded RGB image free of metadata, but for the orientation that was stored; and whether it was so before."""
    with _errors_of(source, name):
        image, turned = _allowed(source, name, max_pixels)
        image.load()
        plain = to_rgb(image)
    with _guard(0):
        orientation = _orientation(image) if turned == 1 else turned
        plain.info = {"stored_orientation": orientation}
        same = orientation == 1 and image.format in PLAIN_FORMATS and image.mode in ("RGB", "L")
        same = same and not image.has_transparency_data and getattr(image, "n_frames", 1) == 1
        same = same and not (image.format == "PNG" and isinstance(source, bytes) and source[PNG_DEPTH] > 8)
    return (plain if turned == 1 else plain.transpose(_back(turned))), same


def _allowed(source: bytes | Image, name: str, max_pixels: int) -> tuple[Image, int]:
    """The opened image, if it is not too large, and by which orientation Pillow is going to turn it."""
    from PIL import Image as Pillow

    with _guard(max_pixels) as (own, limit):
        try:
            image = _opened(source)
            pixels = image.width * image.height
            if isinstance(source, bytes) and pixels > limit:  # Pillow warns above its limit and refuses above twice it
                raise Pillow.DecompressionBombError(f"{pixels} pixels")
            turned = _turned_by_pillow(image)
            if pixels > own:
                image.load()  # some formats look at the limit once more
        except Pillow.DecompressionBombError as error:
            found = int(next(iter(re.findall(r"\d+", str(error))), 0))
            raise SampleError(
                f"{name}: its {found:,} pixels exceed the limit of {limit:,} that guards against decompression bombs. "
                f"Shrink the image, or set the sample's max_image_pixels to {found} if the data can be trusted."
            ) from error
    return image, turned


def _turned_by_pillow(image: Image) -> int:
    """The orientation that Pillow applies by itself while it loads an image: a TIFF's, of no other format."""
    return _orientation(image) if image.format == "TIFF" else 1


def _back(orientation: int) -> Transpose:
    """What undoes an orientation."""
    from PIL.Image import Transpose as T

    return (T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_90, T.TRANSVERSE, T.ROTATE_270)[
        orientation - 2
    ]


def _orientation(image: Image) -> int:
    try:
        stored = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF raises as many kinds of errors as damaged images, and says nothing
        return 1
    return stored if stored in range(2, 9) else 1


def _read(source: Any) -> tuple[bytes | Image, str]:
    """Encoded bytes, or the PIL image that was given, and a name for it."""
    from PIL import Image as Pillow

    if isinstance(source, Pillow.Image):
        return source, f"image of {source.size[0]} x {source.size[1]} px ({source.mode})"
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "image given as bytes"
    if not isinstance(source, str | Path):
        raise SampleError(
            f"image: found {type(source).__name__}; expected a path, bytes, base64 text, a Hub image dict, a PIL image "
            "or a function that makes one."
        )
    if isinstance(source, str) and is_base64(source):
        return _from_base64(source), "image given as base64"
    name = shorten(str(source))
    name = name.encode("utf-8", "backslashreplace").decode()
    if URL.match(str(source)):
        raise SampleError(f"image {name}: URLs are not fetched. Download the file and give its path.")
    try:
        path = Path(source)
        if path.exists() and not (path.is_file() or path.is_dir()):  # reading a device or a pipe may never end
            raise OSError("no regular file")
        return path.read_bytes(), f"image {name}"
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the path
        raise SampleError(
            f"image {name}: cannot be read ({getattr(error, 'strerror', None) or error}). Relative paths start at the "
            "file that lists them."
        ) from error


def _from_base64(text: str) -> bytes:
    head, comma, body = text.partition(",")
    try:
        if comma and not head.rstrip().lower().endswith(";base64"):
            raise ValueError("a data URI that does not say ;base64")
        return base64.b64decode("".join((body if comma else text).split()), validate=True)
    except ValueError as error:
        raise SampleError(
            f"image given as base64: its {len(text):,} characters cannot be decoded ({error}). Expected A-Z, a-z, 0-9, "
            "+ and / in groups of four, = at the end, and data:…;base64, before them or nothing."
        ) from error
