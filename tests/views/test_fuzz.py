"""Whatever is given as image, boxes and region policy becomes a non-empty crop inside the image, or words.

The samples go the way of a run: `prepare`, `show` in every view, `judge`, and the record's line of JSON.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import shown
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gapbench.errors import SettingError
from gapbench.runs.session import to_record
from gapbench.types import Answer, Sample
from gapbench.views.boxes import FORMATS, TOLERANCE, WHOLE
from gapbench.views.images import decode
from gapbench.views.kinds import VIEWS
from gapbench.views.prepare import PreparedSample, prepare
from gapbench.views.regions import REGIONS, parse_policy

LONGEST = 30_000
"""Pixels of the longest side that is tried; the other one is then 1 to 3."""


@pytest.fixture(autouse=True, scope="module")
def small_limit() -> Iterator[None]:
    """A damaged header may promise millions of pixels, which would only be slow."""
    own = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = 400_000
    yield
    Image.MAX_IMAGE_PIXELS = own


# --- what is tried ---------------------------------------------------------------------------------------------


def image(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Noise, so that a crop from the wrong place cannot look right."""
    noise = np.random.default_rng(size[0] * 40_000 + size[1]).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image_: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image_.save(buffer, kind, **options)
    return buffer.getvalue()


SIZES = st.one_of(
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(st.integers(50, 300), st.integers(50, 300)),
    st.tuples(st.integers(1000, LONGEST), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1000, LONGEST)),
)
PLACES = st.floats(-5, 250) | st.integers(-5, 250) | st.floats(-0.1, 1.1)
BOXES = st.lists(st.tuples(PLACES, PLACES, PLACES, PLACES), min_size=1, max_size=6).map(tuple)
EXTREMES = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([-TOLERANCE, math.nextafter(0, 1), 0.999999999, 10**400, 1.7e308, -1.7e308]),
)
JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.text(max_size=8), st.binary(max_size=4), st.complex_numbers(), st.dates(),
    st.dictionaries(st.integers(0, 9), st.integers(0, 9), min_size=4, max_size=4), st.sets(st.integers(0, 9)),
    st.lists(st.floats(0, 9), min_size=4, max_size=4).map(np.array),
)  # fmt: skip
ODD_BOX = st.one_of(
    st.tuples(*[PLACES | EXTREMES] * 4),
    st.lists(EXTREMES | JUNK, max_size=6),
    st.tuples(PLACES, PLACES, PLACES, PLACES).map(str),
    JUNK,
)
ODD_BOXES = st.one_of(
    st.lists(st.tuples(*[PLACES | EXTREMES] * 4), max_size=3).map(tuple),
    st.lists(ODD_BOX, max_size=4),
    EXTREMES,
    JUNK.filter(lambda v: not isinstance(v, np.ndarray)),
)


@st.composite
def policies(draw: st.DrawFn) -> str:
    """Mostly policies that exist, with parameters as large as can be written."""
    name = draw(st.sampled_from([*REGIONS, "padded", "square", "multi"]))
    values = {
        "factor": st.floats(1, 5) | st.floats(1, 1.7e308) | st.just("1e308"),
        "min_side": st.integers(1, 400) | st.integers(1, 10**20) | st.just("1e308"),
    }
    wrong = draw(st.integers(0, 9)) == 0
    taken = [p for p in REGIONS[name] if draw(st.booleans())]
    parameters = ",".join(f"{p}={draw(st.floats() | st.text(max_size=5) if wrong else values[p])}" for p in taken)
    return f"{name}:{parameters}" if parameters else name + draw(st.text(max_size=9)) * wrong


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("RGB", {}), "PNG grey": ("L", {}), "PNG palette": ("P", {"transparency": 3}), "PNG RGBA": ("RGBA", {}),
    "PNG bits": ("1", {}), "PNG LA": ("LA", {}), "PNG 16": ("I;16", {}), "JPEG": ("RGB", {}), "JPEG CMYK": ("CMYK", {}),
    "JPEG progressive": ("RGB", {"progressive": True}), "JPEG2000": ("RGB", {}), "GIF": ("P", {}), "WEBP": ("RGBA", {}),
    "TIFF": ("RGB", {}), "TIFF lzw": ("CMYK", {"compression": "tiff_lzw"}), "TIFF float": ("F", {}),
    "BMP": ("RGB", {}), "TGA": ("RGB", {}), "PPM": ("RGB", {}), "ICO": ("RGBA", {}), "PCX": ("RGB", {}),
    "SGI": ("RGB", {}), "DDS": ("RGBA", {}), "AVIF": ("RGB", {"speed": 10}), "QOI": ("RGB", {}),
}  # fmt: skip
EXIF = Image.Exif()
EXIF[0x0112] = 6
FILES: list[bytes] = [
    encoded(image((33, 21), mode if mode != "I;16" else "I").convert(mode), name.split()[0], **options)
    for name, (mode, options) in KINDS.items()
] + [
    encoded(image((33, 21)), kind, exif=EXIF) for kind in ("JPEG", "PNG", "WEBP", "TIFF")
] + [
    encoded(image((33, 21)), kind, save_all=True, append_images=[image((33, 21), "L").convert("RGB")])
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO")
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real file, cut off, or with bytes changed, dropped or put in."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)) | st.integers(0, min(60, len(data))))
        match draw(st.sampled_from(["cut", "change", "drop", "put in", "zero"])):
            case "cut":
                del data[place:]
            case "change":
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "drop":
                del data[place : place + draw(st.integers(1, 40))]
            case "put in":
                data[place:place] = draw(st.binary(max_size=40))
            case "zero":
                data[place : place + 8] = b"\0" * 8
    return bytes(data)


@st.composite
def base64_text(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> str:
    """Base64 with and without prefix, line breaks and damage."""
    stored = draw(data)
    text = draw(st.sampled_from([base64.b64encode, base64.encodebytes, base64.urlsafe_b64encode]))(stored).decode()
    place = draw(st.integers(0, len(text)))
    text = draw(st.sampled_from([text, text, text[:place], text[:place] + draw(st.text(max_size=3)) + text[place:]]))
    prefixes = ["", "", "data:image/png;base64,", "data:image/png;base64,\n", "data:,", "DATA:;BASE64,", " ", "b'"]
    return draw(st.sampled_from(prefixes)) + text


ENCODED = damaged() | damaged() | st.binary(max_size=200)
SOURCES: st.SearchStrategy[Any] = st.one_of(
    ENCODED,
    base64_text(ENCODED),
    ENCODED.map(bytearray),
    st.fixed_dictionaries({"bytes": ENCODED | base64_text(ENCODED) | JUNK, "path": st.none() | st.text(max_size=20)}),
    st.tuples(st.sampled_from(["a.jpg", "a.png", "a.gif", "a", "a.txt", "ä ö.webp"]), ENCODED),  # a file, and its name
    ENCODED.map(lambda data: lambda: data),
    st.text(max_size=300),
    JUNK,
)


# --- what must hold --------------------------------------------------------------------------------------------


def show_all(sample: Sample, policy: str) -> PreparedSample | None:
    """Take a sample the way of a run; None where the policy was refused. No other exception may come."""
    try:
        prepared = prepare(sample, policy)
    except SettingError:
        with pytest.raises(SettingError):
            parse_policy(policy)
        return None
    for view in VIEWS:
        images, error = shown(prepared, view)
        if view != "blind" or prepared.image is None:
            assert bool(images) != bool(error.strip()), "images, or the reason why there are none"
        for image_ in images:
            assert image_.mode == "RGB"
            assert min(image_.size) > 0
        record = to_record("fuzz", prepared, view, 0, Answer(text="STOP", error=error))
        line = json.dumps(asdict(record), allow_nan=False)
        assert len(line) < 20_000
        (error + line).encode("utf-8")
    if prepared.region is not None and prepared.image is not None:
        for x0, y0, x1, y1 in prepared.region.boxes:
            assert 0 <= x0 < x1 <= prepared.image.width
            assert 0 <= y0 < y1 <= prepared.image.height
    return prepared


def sample(**fields: Any) -> Sample:
    return Sample(**{"id": "1", "image": None, "question": "What does it say?", "answers": ("STOP",), **fields})


@settings(deadline=None, max_examples=400)
@given(SIZES, BOXES, st.sampled_from(FORMATS), policies())
def test_any_boxes_in_any_image(size: tuple[int, int], boxes: Any, box_format: Any, policy: str) -> None:
    prepared = show_all(sample(image=image(size), boxes=boxes, box_format=box_format, crop_image=FILES[0]), policy)
    if prepared is None or prepared.region is None or prepared.region.image is not None:
        return
    crops, _ = shown(prepared, "crop")
    for box in prepared.boxes:
        assert any(
            r[0] <= box[0] and r[1] <= box[1] and box[2] <= r[2] and box[3] <= r[3] for r in prepared.region.boxes
        )
    if not policy.startswith("mosaic"):
        array = np.asarray(image(size))
        for part, (x0, y0, x1, y1) in zip(crops, prepared.region.boxes, strict=True):
            assert np.array_equal(np.asarray(part), array[int(y0) : int(y1), int(x0) : int(x1)])


@settings(deadline=None, max_examples=400)
@given(SIZES, ODD_BOXES, st.sampled_from([*FORMATS, *FORMATS, "", "yxyx", None, 7]), st.sampled_from(list(REGIONS)))
def test_anything_in_place_of_boxes(size: tuple[int, int], boxes: Any, box_format: Any, policy: str) -> None:
    show_all(sample(image=image(size), boxes=boxes, box_format=box_format), policy)


@settings(deadline=None, max_examples=300)
@given(SIZES, st.data(), st.sampled_from(["union", "padded", "square", "multi", "mosaic"]), st.sampled_from(FORMATS))
def test_a_box_inside_is_always_shown(size: tuple[int, int], data: st.DataObject, policy: str, box_format: Any) -> None:
    width, height = size
    x0, y0 = data.draw(st.floats(0, width, exclude_max=True)), data.draw(st.floats(0, height, exclude_max=True))
    x1 = data.draw(st.floats(x0, width, exclude_min=True))
    y1 = data.draw(st.floats(y0, height, exclude_min=True))
    box = [x0, y0, x1 - x0, y1 - y0] if box_format.startswith("xywh") else [x0, y0, x1, y1]
    if whole := WHOLE[box_format.partition("_")[2]]:
        box = [v / s * whole for v, s in zip(box, size * 2, strict=True)]
    prepared = show_all(sample(image=image(size), boxes=(tuple(box),), box_format=box_format), policy)
    assert prepared is not None
    # A box thinner than floating point resolves may vanish in the arithmetic of its format; then it is counted.
    assert prepared.region is not None or (prepared.repairs == ("empty",) and min(x1 - x0, y1 - y0) < 1e-9)
    assert bool(prepared.region) != bool(prepared.region_error)


@settings(deadline=None, max_examples=800, suppress_health_check=[HealthCheck.too_slow])
@given(SOURCES, SOURCES | st.none(), st.sampled_from(["native", "union", "mosaic"]), st.integers(-5, 10**12))
def test_any_source_of_an_image(
    tmp_path_factory: pytest.TempPathFactory, source: Any, crop: Any, policy: str, max_pixels: int
) -> None:
    def put(source: Any) -> Any:
        if not isinstance(source, tuple):
            return source
        path = tmp_path_factory.getbasetemp() / source[0]
        path.write_bytes(source[1])
        return path

    boxes = ((3, 3, 9, 9),)
    show_all(sample(image=put(source), crop_image=put(crop), boxes=boxes), policy)
    show_all(sample(image=put(source), crop_image=put(source), max_image_pixels=min(max_pixels, 500_000)), policy)
    prepared = show_all(sample(image=FILES[0], more_images=(put(source),), boxes=boxes), policy)
    assert prepared is not None
    assert len(prepared.images) in (0, 2)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(FILES), st.floats(0, 1))
def test_a_file_that_was_cut_off_has_its_own_size_or_is_not_shown(data: bytes, share: float) -> None:
    prepared = show_all(sample(image=data[: int(len(data) * share)]), "padded")
    assert prepared is not None
    assert prepared.image is None or prepared.image.size == decode(data)[0].size


def test_every_file_is_readable_undamaged_whatever_it_is_called(tmp_path: Path) -> None:
    for data in FILES:
        path = tmp_path / "street.jpg"
        path.write_bytes(data)
        for source in (data, path, str(path), f"data:image/png;base64,{base64.b64encode(data).decode()}"):
            prepared = prepare(sample(image=source, boxes=((3, 3, 9, 9),)), "union")
            assert not prepared.error
            assert not prepared.region_error
            assert len(shown(prepared, "crop")[0]) == 1
