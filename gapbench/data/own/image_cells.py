"""Turns the cells of a row into image sources that `gapbench.views.images.decode` reads.

    image_source("street.jpg", Path("data"), urls=False)            # Path("data/street.jpg")

Addresses are refused unless the user allows them. An allowed image is fetched each time it is needed and never cached.
Only http and https are allowed, also in redirects; a fetch takes at most `SECONDS` seconds and `LARGEST` bytes.

A path of the user's own files may be absolute; one of a Hub data set may not leave that data set's cache.

Limits: an address may name any server that this machine can reach, so allow addresses only in data you trust.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import time
import urllib.request
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gapbench.data.benchmark import is_text
from gapbench.errors import BenchmarkError, SampleError
from gapbench.util.text import redacted, shorten
from gapbench.views.images import URL, is_base64

SECONDS = 60.0
"""The time limit for fetching one image."""

LARGEST = 200 << 20
"""The size limit of a fetched image, in bytes."""


def image_source(value: Any, folder: Path, urls: bool, roots: Sequence[Path] = ()) -> Any:
    """The source of an image that `gapbench.views.images.decode` reads. Raises BenchmarkError if it cannot be one.

    `roots` are those of `refuse_outside`.
    """
    refuse_outside(value, folder, roots)
    if isinstance(value, Mapping):
        if value.get("bytes"):
            return value
        value = value.get("path")
    if callable(value) or (isinstance(value, bytes) and value):
        return value
    if not isinstance(value, str) or not value.strip():
        forms = 'a path, base64 text, bytes, a Hub image ({"bytes", "path"}), or a list of these'
        raise BenchmarkError(f"found {str(value)[:200]!r} ({type(value).__name__}); expected {forms}.")
    if is_base64(value):
        return value
    if not is_text(value):
        raise BenchmarkError(f"found {value[:200]!r}, which holds half a surrogate pair. Rename the file.")
    if not URL.match(value):
        return folder / value
    if not urls:
        remedy = "Download the file and give its path, or allow it: :urls=true behind the name."
        raise BenchmarkError(f"found {shorten(redacted(value))}: URLs are not fetched. {remedy}")
    if value.partition(":")[0].lower() not in ("http", "https"):
        raise BenchmarkError(f"found {shorten(redacted(value))}: only http and https are fetched. Download the file.")
    return partial(fetch, value)


def refuse_outside(value: Any, folder: Path, roots: Sequence[Path]) -> None:
    """Raise BenchmarkError if a cell names an image outside all of `roots`, links followed; without roots, never."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if not roots or not isinstance(value, str) or is_base64(value) or URL.match(value):
        return
    if "\0" in value or not any((folder / value).resolve().is_relative_to(root.resolve()) for root in roots):
        fault = f"it names the file {value[:200]!r}, which lies outside the data set"
        raise BenchmarkError(f"{fault}. Do not trust this data; or look at it, and pass a local copy: -b FOLDER.")


def image_path(values: Sequence[Any]) -> str:
    """The normalised path, or the address without credentials, of a single image; "" if there are several or none."""
    value = values[0] if len(values) == 1 else None
    if isinstance(value, Mapping):
        return "" if value.get("bytes") else image_path([value.get("path")])
    if not isinstance(value, str) or is_base64(value):
        return ""
    if not URL.match(value):
        return os.path.normpath(value)
    shown = redacted(value)  # two images may differ only in what is left out
    return shown if shown == value else f"{shown} {hashlib.sha256(value.encode()).hexdigest()[:12]}"


def fetch(url: str, largest: int = LARGEST, seconds: float = SECONDS) -> bytes:
    """The bytes at an http or https address. Raises SampleError naming the address and the cause."""
    end, name = time.monotonic() + seconds, shorten(redacted(url))
    data = bytearray()
    try:
        if re.match("[^/]*//[^/?#]*@", url):  # the library would take the password for a port, and say so
            raise ValueError("it holds a user or a password, which is not supported")
        with urllib.request.build_opener(_NoFtp).open(url, timeout=seconds) as response:
            while part := response.read1(1 << 16):
                data += part
                if len(data) > largest:
                    fault = f"image {name}: larger than {largest:,} bytes."
                    raise SampleError(f"{fault} Download it and give its path.")
                if time.monotonic() > end:
                    raise TimeoutError(f"not done after {seconds:g} seconds")
            if response.length:
                raise ConnectionError(f"it broke off {response.length:,} bytes before its end")
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or error
        fault = f"image {name}: cannot be fetched ({redacted(str(reason))})."
        raise SampleError(f"{fault} Check the address, or download it and give its path.") from error
    return bytes(data)


class _NoFtp(urllib.request.FTPHandler):
    """Refuses the only redirections beside http and https that `urllib` follows."""

    def ftp_open(self, req: urllib.request.Request) -> Any:
        raise ValueError(f"{req.full_url} is not http or https")
