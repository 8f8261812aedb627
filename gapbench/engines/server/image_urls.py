"""Encode a request as a chat message: the images as data URLs, in their order, then the prompt.

    chat_request = encode_request(request)
    chat_request.messages                   # b'[{"role":"user","content":[{"type":"image_url",...

Stored JPEG, PNG or WebP bytes are sent unchanged if they show exactly the image of the view. All other images are
encoded once, without loss: as PNG, which every server reads, with a single filter and run-length coding only, to save
time. Measured on one core with an image as detailed as a photograph: 26 ms and 1.4 MB per megapixel. Pillow's encoder
tries five filters on each row and takes 87 ms and 1.7 MB at zlib level 1. Lossless WebP takes 29 ms and 1.5 MB, but not
every server reads it. JPEG at quality 95 would be faster still and a fifth of the size, but it changes levels by up to
5 of 255, and a measurement must not add a loss by itself. A lower --max-pixels makes requests smaller.

Limits: the server decodes a JPEG, and two decoders may differ by a level in some pixels.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gapbench.engines.local import failed, shown
from gapbench.types import Answer, Request

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = re.compile(rb"(?P<png>\x89PNG\r\n\x1a\n)|(?P<jpeg>\xff\xd8\xff)|(?P<webp>RIFF.{4}WEBP)", re.DOTALL)
"""The first bytes of the formats that servers read."""
CONTROL = re.compile(r"<\|(?=[^<>|\s]{1,40}\|>)")
"""Control tokens as most model families write them: `<|im_end|>`, `<|image_pad|>`."""


@dataclass(frozen=True)
class ChatRequest:
    """One encoded request. Only `messages` holds its images.

    `shown` are the answer's fields that say what the model is shown. If it has an `error`, the request is not sent.
    """

    key: Hashable
    shown: Answer
    messages: bytes = b""

    @property
    def held(self) -> int:
        """Bytes held until the answer comes: the messages, kept for retries, and their copy in the payload."""
        return 2 * len(self.messages)


def escape_control_tokens(text: str) -> str:
    """`text` with control tokens of the form `<|name|>` broken up: `<|im_end|>` becomes `< |im_end|>`."""
    return CONTROL.sub("< |", text)


def encode_request(request: Request, escape: Callable[[str], str] = escape_control_tokens) -> ChatRequest:
    """Encode one request. A failure becomes an `error`."""
    if request.error:
        return ChatRequest(request.key, failed(request, request.error))
    encoded = request.encoded or (None,) * len(request.images)
    try:
        urls = [_data_url(image, stored) for image, stored in zip(request.images, encoded, strict=True)]
    except Exception as error:  # Pillow raises many types, and one sample must not end a run
        reason = f"its images cannot be encoded for the server ({type(error).__name__}: {error})."
        return ChatRequest(request.key, failed(request, reason))
    return ChatRequest(request.key, shown(request), _messages(urls, escape(request.prompt)))


def _messages(urls: list[bytes], text: str) -> bytes:
    """The JSON, joined by hand: base64 needs no escaping, so the megabytes of an image are copied only once."""
    if not urls:
        return b'[{"role":"user","content":' + json.dumps(text).encode() + b"}]"
    images = b"".join(b'{"type":"image_url","image_url":{"url":"' + url + b'"}},' for url in urls)
    text_part = json.dumps({"type": "text", "text": text}).encode()
    return b'[{"role":"user","content":[' + images + text_part + b"]}]"


def _data_url(image: Image, stored: bytes | None) -> bytes:
    """One image as a data URL."""
    known = FORMATS.match(stored or b"")
    media_type, data = (known.lastgroup, known.string) if known else ("png", _png(image))
    return f"data:image/{media_type};base64,".encode() + base64.b64encode(data)


def _png(image: Image) -> bytes:
    """The image as PNG (https://www.w3.org/TR/png-3). Each row holds differences from the row above: filter 2, "up"."""
    import numpy as np

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
