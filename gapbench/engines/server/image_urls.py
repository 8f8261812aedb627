"""One request as the `messages` of a chat: the images first, in their order, then the prompt.

    question = prepare(request, Pixels(max_pixels=1048576))
    question.messages                       # b'[{"role":"user","content":[{"type":"image_url",...

Images travel inside the request (data URIs). Stored JPEG, PNG or WebP bytes go as they are where they show exactly
the image that is asked about and the pixel policy leaves its size alone. All others are encoded once, without loss:
as PNG, which every server reads, with one filter and run-length coding alone, since the time is what counts. Measured
on one core with an image as detailed as a photograph: 26 ms and 1.4 MB a megapixel, where Pillow's encoder, which
tries five filters on each row, takes 87 ms and makes 1.7 MB at zlib level 1. WebP without loss takes 29 ms and 1.5 MB,
but not every server reads it. JPEG at quality 95 would be faster yet and a fifth of the size, and changes levels by up
to 5 of 255: a loss that a measurement must not add unasked. A lower --max-pixels, or a benchmark that shows its stored
images, makes requests smaller.

Limits: a JPEG is decoded by the server, so two decoders may differ by a level here and there.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gapbench.types import Request
from gapbench.views.pixels import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}
"""What servers read, by how the bytes begin; WebP has its name in bytes 8 to 12."""
CONTROL = re.compile(r"<\|(?=[^<>|\s]{1,40}\|>)")
"""How most families write control tokens: `<|im_end|>`, `<|image_pad|>`."""


@dataclass(frozen=True)
class ChatRequest:
    """What is sent for one request; its images are in `messages` alone.

    `images`, `sent_size` and `sent_pixels` are those of `Answer`; a question with `error` is not sent.
    """

    key: Hashable
    messages: bytes = b""
    images: int = 0
    sent_size: tuple[int, int] | None = None
    sent_pixels: int | None = None
    error: str = ""

    @property
    def held(self) -> int:
        """Bytes that are kept until it is answered: the messages, for another try, and their copy in what is sent."""
        return 2 * len(self.messages)


def prepare(request: Request, pixels: Pixels) -> ChatRequest:
    """Encode one request; what cannot be encoded becomes its `error`."""
    if request.error:
        return ChatRequest(request.key, images=len(request.images), error=request.error)
    encoded = request.encoded or (None,) * len(request.images)
    try:
        parts = [_image(image, stored, pixels) for image, stored in zip(request.images, encoded, strict=True)]
    except Exception as error:  # Pillow raises OSError, ValueError, MemoryError and more; one sample must not end a run
        reason = f"its images cannot be encoded for the server ({type(error).__name__}: {error})."
        return ChatRequest(request.key, images=len(request.images), error=reason)
    sizes = [pixels.target(image.size) for image in request.images]
    return ChatRequest(
        request.key,
        _messages(parts, neutral(request.prompt)),
        images=len(sizes),
        sent_size=sizes[0] if sizes else None,
        sent_pixels=sum(width * height for width, height in sizes) if sizes else None,
    )


def neutral(text: str) -> str:
    """Text from data that cannot become a control token of the form `<|name|>`: `<|im_end|>` is sent `< |im_end|>`."""
    return CONTROL.sub("< |", text)


def _messages(uris: list[bytes], text: str) -> bytes:
    """JSON put together by hand: an image's base64 needs no escaping, and its megabytes are copied once."""
    if not uris:
        return b'[{"role":"user","content":' + json.dumps(text).encode() + b"}]"
    images = b"".join(b'{"type":"image_url","image_url":{"url":"' + uri + b'"}},' for uri in uris)
    words = json.dumps({"type": "text", "text": text}).encode()
    return b'[{"role":"user","content":[' + images + words + b"]}]"


def _image(image: Image, stored: bytes | None, pixels: Pixels) -> bytes:
    """One image as a data URI."""
    kind = _kind(stored) if stored is not None and pixels.target(image.size) == image.size else ""
    if stored is None or not kind:
        stored, kind = _png(pixels.apply(image)), "image/png"
    return b"data:" + kind.encode() + b";base64," + base64.b64encode(stored)


def _kind(stored: bytes) -> str:
    kind = next((kind for start, kind in SIGNATURES.items() if stored.startswith(start)), "")
    return "" if kind == "image/webp" and stored[8:12] != b"WEBP" else kind


def _png(image: Image) -> bytes:
    """A PNG (https://www.w3.org/TR/png-3) whose rows are their differences from the row above: filter 2, "up"."""
    width, height = image.size
    pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB")).reshape(height, 3 * width)
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = 2
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    data = deflate.compress(rows.data) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits per channel, RGB, not interlaced
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
