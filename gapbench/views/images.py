"""Image decoder: whatever a data set calls an image becomes an RGB image and a hash of the stored bytes.

    image, digest = decode("street.jpg")

Reads a path, encoded bytes, base64 text, a Hub image dict ({"bytes", "path"}), a PIL image, or a function that
returns any of them. The format comes from the bytes, never from the file's name. Transparency is laid on white. An
animation gives its first frame. EXIF orientation is not applied, because published boxes refer to the stored pixel
grid; `upright` applies it. `notes` names the images that have one that was not applied, and the decoder removes the
tag, so that no processor turns the image while its boxes stay.

Limits: URLs are refused, since nothing is fetched behind the user's back. Images above Pillow's pixel limit, which
guards against decompression bombs, are refused unless a sample allows more. Colour profiles are ignored. A CMYK JPEG
is assumed to store inverted values, as Adobe's do.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gapbench.errors import GapbenchError, SampleError
from gapbench.util.text import redacted, shorten

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
"""The EXIF tag that asks viewers to turn or mirror an image (CIPA DC-008, section 4.6.4); 1 is upright."""

EXIF_IGNORED = "exif orientation ignored"
"""The note on an image that has an orientation which was not applied."""

URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""How a URL begins: at least two letters, since C:/ is a path, and one slash, since paths drop the second."""

SIGNATURE = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF.{4}WEBP|BM.{4}\0{4}|II[*+]\0|MM\0[*+]", re.DOTALL
)
"""How encoded images begin: PNG, JPEG, GIF, WebP, BMP, TIFF. Tells base64 text from a path."""

PLAIN_FORMATS = ("JPEG", "PNG", "WEBP")
"""Formats, by Pillow's names, that every server reads."""

PNG_DEPTH = 24
"""Index of the byte in a PNG that gives the bits per channel (its specification, section 11.2.1). Programs reduce 16
bits to 8 in different ways."""

_PILLOW_SETTINGS = threading.RLock()


class Decoded(NamedTuple):
    """An image as RGB, and 24 hex digits that identify its stored bytes (or its pixels, if there are no bytes).

    `encoded` holds those bytes if every program that reads JPEG, PNG and WebP decodes them to the same image: no
    transparency, no orientation, at most 8 bits a channel, one frame. Otherwise None.
    """

    image: Image
    digest: str
    encoded: bytes | None


def decode(source: Any, max_pixels: int = 0, upright: bool = False) -> tuple[Image, str]:
    """Image and digest, as `read` returns them."""
    return read(source, max_pixels, upright)[:2]


def read(source: Any, max_pixels: int = 0, upright: bool = False, enough: int = 0) -> Decoded:
    """Decode whatever a data set calls an image.

    `max_pixels` (width x height) raises Pillow's limit against decompression bombs for this image alone; 0 keeps the
    limit. A PIL image is exempt: its owner opened it under the limit of their own program.

    `enough`: so many pixels suffice. An encoded JPEG is then decoded at a half, a quarter or an eighth of its size if
    that leaves at least these, which is faster.

    `upright` turns the image as its EXIF orientation says. Raises SampleError if the source is missing, truncated, not
    an image or too large.
    """
    stored, name = _read(resolve(source))
    image, portable = _plain(stored, name, max_pixels, upright, enough)
    data = stored if isinstance(stored, bytes) else None
    digest = hashlib.sha256(data or repr(image.size).encode() + image.tobytes())
    return Decoded(image, digest.hexdigest()[:24], data if portable else None)


def stored_size(source: Any) -> tuple[int, int]:
    """Width and height in pixels from the image's header, without decoding. Raises SampleError as `decode` does."""
    stored, name = _read(resolve(source))
    with _as_sample_errors(stored, name), _guard(0):
        image = _open(stored)
        return image.size[::-1] if _turned_by_pillow(image) >= 5 else image.size


def is_turned(source: Any) -> bool:
    """Whether the image's header has an EXIF orientation, without decoding. Raises SampleError as `decode` does."""
    stored, name = _read(resolve(source))
    with _as_sample_errors(stored, name), _guard(0):
        return _orientation(_open(stored)) != 1


def is_base64(text: str) -> bool:
    """Whether a string is an image as base64 text rather than the path of an image.

    True for a data URI, and for text whose first characters decode to the beginning of an encoded image.
    """
    if text[:100].lstrip()[:5].lower() == "data:":
        return True
    first = "".join(text[:100].split())[:32]
    try:
        return SIGNATURE.match(base64.b64decode(first, validate=True)) is not None
    except ValueError:  # not base64, or not even ASCII
        return False


def notes(image: Image) -> tuple[str, ...]:
    """Oddities of an image from `decode` that a reader should know; they are counted beside the repairs of boxes."""
    return (EXIF_IGNORED,) if image.info.get("stored_orientation", 1) != 1 else ()


def upright_size(image: Image) -> tuple[int, int]:
    """The (width, height) of an image from `decode` if it were turned as its EXIF orientation says."""
    return image.size[::-1] if image.info.get("stored_orientation", 1) >= 5 else image.size


def to_rgb(image: Image) -> Image:
    """RGB of the same size, with transparency on white and deep greys scaled to 8 bits.

    16-bit greys map 0..65535 to 0..255. 32-bit integers and floats declare no range: values count as 16-bit if one
    exceeds 255, floats as 0..1 if none exceeds 1, and all others as 0..255.
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


def resolve(source: Any) -> Any:
    """Call a lazy image's function, whose failure concerns the sample alone; take the image out of a Hub image dict."""
    if callable(source):
        try:
            source = source()
        except GapbenchError:
            raise
        except Exception as error:
            failure = f"{type(error).__name__}: {error}. Correct the benchmark's code."
            raise SampleError(f"image: the function that makes it failed with {failure}") from error
    if isinstance(source, Mapping):
        stored = source.get("bytes")
        source = source.get("path") if stored is None or (isinstance(stored, bytes | str) and not stored) else stored
    return source


@contextmanager
def _guard(max_pixels: int) -> Iterator[tuple[float, float]]:
    """Raise Pillow's pixel limit to `max_pixels` if that is more; yields Pillow's limit and the limit in force.

    Warnings are silenced: Pillow warns of metadata once an image. Both settings belong to the whole process, so one
    thread at a time enters, and only briefly.
    """
    from PIL import Image as Pillow

    with _PILLOW_SETTINGS, warnings.catch_warnings(action="ignore"):
        default = Pillow.MAX_IMAGE_PIXELS
        limit = Pillow.MAX_IMAGE_PIXELS = None if default is None else max(default, max_pixels)
        try:
            yield default or math.inf, limit or math.inf
        finally:
            Pillow.MAX_IMAGE_PIXELS = default


@contextmanager
def _as_sample_errors(source: bytes | Image, name: str) -> Iterator[None]:
    """Turn whatever Pillow raises into a SampleError."""
    from PIL import UnidentifiedImageError

    try:
        yield
    except SampleError:
        raise
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error and more
        why = "not a known image format" if isinstance(error, UnidentifiedImageError) else str(error)
        length = f"; {len(source):,} bytes were read" if isinstance(source, bytes) else ""
        remedy = "Expected a complete PNG, JPEG, WebP or other format Pillow reads; fetch the file again."
        raise SampleError(f"{name}: cannot be decoded ({why}){length}. {remedy}") from error


def _open(source: bytes | Image) -> Image:
    from PIL import Image as Pillow

    return Pillow.open(io.BytesIO(source)) if isinstance(source, bytes) else source


def _plain(source: bytes | Image, name: str, max_pixels: int, upright: bool, enough: int) -> tuple[Image, bool]:
    """The RGB image without metadata except `stored_orientation`, and whether every program decodes the same image."""
    with _as_sample_errors(source, name):
        image, turned = _open_within_limit(source, name, max_pixels)
        if enough and isinstance(source, bytes):
            share = min(1.0, math.sqrt(enough / (image.width * image.height)))
            image.draft(None, (math.ceil(image.width * share), math.ceil(image.height * share)))
        image.load()
        plain = to_rgb(image)
    with _guard(0):
        orientation = _orientation(image) if turned == 1 else turned
        if upright and turned == 1:
            plain = _turn(plain, orientation)
        elif not upright:  # undo it: 6 and 8 turn by 90 degrees either way, all others are their own inverse
            plain = _turn(plain, {6: 8, 8: 6}.get(turned, turned))
        plain.info = {"stored_orientation": 1 if upright else orientation}
        portable = orientation == 1 and image.format in PLAIN_FORMATS and image.mode in ("RGB", "L")
        portable = portable and not image.has_transparency_data and getattr(image, "n_frames", 1) == 1
        portable = portable and not (image.format == "PNG" and isinstance(source, bytes) and source[PNG_DEPTH] > 8)
    return plain, portable


def _turn(image: Image, orientation: int) -> Image:
    from PIL import ImageOps

    if orientation == 1:
        return image
    image.getexif()[ORIENTATION] = orientation
    return ImageOps.exif_transpose(image)


def _open_within_limit(source: bytes | Image, name: str, max_pixels: int) -> tuple[Image, int]:
    """Open the image unless it is too large; also return the orientation that Pillow will apply on loading."""
    from PIL import Image as Pillow

    with _guard(max_pixels) as (default, limit):
        try:
            image = _open(source)
            pixels = image.width * image.height
            if isinstance(source, bytes) and pixels > limit:  # Pillow itself refuses only above twice its limit
                raise Pillow.DecompressionBombError(f"{pixels} pixels")
            turned = _turned_by_pillow(image)
            if pixels > default:
                image.load()  # while the limit is raised: some formats check it again on loading
        except Pillow.DecompressionBombError as error:
            count = int(next(iter(re.findall(r"\d+", str(error))), 0))
            fault = f"its {count:,} pixels exceed the limit of {limit:,} that guards against decompression bombs"
            remedy = f"Shrink the image, or set the sample's max_image_pixels to {count} if the data can be trusted."
            raise SampleError(f"{name}: {fault}. {remedy}") from error
    return image, turned


def _turned_by_pillow(image: Image) -> int:
    """The orientation that Pillow applies while it loads an image; it does so for TIFF only."""
    return _orientation(image) if image.format == "TIFF" else 1


def _orientation(image: Image) -> int:
    try:
        stored = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF raises errors of many kinds and holds no usable orientation
        return 1
    return stored if stored in range(2, 9) else 1


def _read(source: Any) -> tuple[bytes | Image, str]:
    """The encoded bytes, or the PIL image itself, and a name for messages."""
    from PIL import Image as Pillow

    if isinstance(source, Pillow.Image):
        return source, f"image of {source.size[0]} x {source.size[1]} px ({source.mode})"
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "image given as bytes"
    if not isinstance(source, str | Path):
        expected = "a path, bytes, base64 text, a Hub image dict, a PIL image or a function that makes one"
        raise SampleError(f"image: found {type(source).__name__}; expected {expected}.")
    if isinstance(source, str) and is_base64(source):
        return _from_base64(source), "image given as base64"
    name = shorten(redacted(str(source))).encode("utf-8", "backslashreplace").decode()
    if URL.match(str(source)):
        raise SampleError(f"image {name}: URLs are not fetched. Download the file and give its path.")
    try:
        path = Path(source)
        if path.exists() and not (path.is_file() or path.is_dir()):  # reading a device or a pipe may never end
            raise OSError("no regular file")
        return path.read_bytes(), f"image {name}"
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the path
        remedy = "Relative paths start at the file that lists them."
        why = getattr(error, "strerror", None) or error
        raise SampleError(f"image {name}: cannot be read ({why}). {remedy}") from error


def _from_base64(text: str) -> bytes:
    head, comma, body = text.partition(",")
    try:
        if comma and not head.rstrip().lower().endswith(";base64"):
            raise ValueError("a data URI that does not say ;base64")
        return base64.b64decode("".join((body if comma else text).split()), validate=True)
    except ValueError as error:
        fault = f"its {len(text):,} characters cannot be decoded ({error})"
        expected = "A-Z, a-z, 0-9, + and / in groups of four, = at the end, and data:…;base64, before them or nothing"
        raise SampleError(f"image given as base64: {fault}. Expected {expected}.") from error
