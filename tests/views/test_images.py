"""Whatever a data set calls an image becomes the same RGB pixels, or an error that says what is wrong."""

from __future__ import annotations

import base64
import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gapbench.errors import SampleError
from gapbench.views.images import ORIENTATION, decode, is_base64, notes, read, stored_size, to_rgb
from gapbench.views.kinds import VIEWS
from gapbench.views.pixels import Budget
from gapbench.views.regions import find_region

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
GREYS = np.arange(65536, dtype=np.uint16).reshape(256, 256)
LAB = Image.merge("LAB", IMAGE.split())
EIGHT_BITS = np.rint(GREYS / 257).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pixels(source: Any) -> np.ndarray[Any, Any]:
    return np.asarray(decode(source)[0])


# --- sources ---------------------------------------------------------------------------------------------------


def test_every_kind_of_source_gives_the_same_pixels(tmp_path: Path) -> None:
    data = encoded(IMAGE)
    path = tmp_path / "misnamed.jpg"  # the bytes decide, not the name
    path.write_bytes(data)
    sources = [
        path, str(path), data, bytearray(data), memoryview(data), IMAGE, lambda: IMAGE, lambda: path,
        {"bytes": data, "path": "elsewhere.png"}, {"bytes": None, "path": str(path)}, lambda: {"bytes": data},
        {"bytes": b"", "path": path}, {"path": path}, {"bytes": data, "path": None}, Image.open(path),
        text(data), lambda: text(data), {"bytes": text(data)}, "data:image/png;base64," + text(data),
    ]  # fmt: skip
    for source in sources:
        image, _ = decode(source)
        assert image.mode == "RGB"
        assert (np.asarray(image) == np.asarray(IMAGE)).all()


def test_equal_bytes_have_equal_hashes_wherever_they_come_from(tmp_path: Path) -> None:
    data = encoded(IMAGE)
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "b.png").write_bytes(data)
    hashes = {decode(s)[1] for s in (tmp_path / "a.png", tmp_path / "b.png", data, {"bytes": data}, text(data))}
    assert len(hashes) == 1
    assert len(hashes.pop()) == 24


def test_other_bytes_or_pixels_have_other_hashes() -> None:
    sideways = IMAGE.transpose(Image.Transpose.ROTATE_90)
    # Same pixel bytes in another shape must not pass for the same image.
    reshaped = Image.frombytes("RGB", (40, 60), IMAGE.tobytes())
    sources = [encoded(IMAGE), encoded(sideways), IMAGE, sideways, reshaped]
    assert len({decode(s)[1] for s in sources}) == len(sources)


def test_equal_pixels_without_bytes_have_equal_hashes() -> None:
    assert decode(IMAGE)[1] == decode(lambda: IMAGE.copy())[1]


def test_the_source_image_is_left_as_it_was() -> None:
    source = Image.open(io.BytesIO(encoded(IMAGE, "JPEG", exif=turned(6))))
    before = dict(source.info)
    decode(source)[0].paste((0, 0, 0), (0, 0, 60, 40))
    assert source.info == before
    assert np.asarray(source).any()


# --- base64 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_base64_text_is_known_by_how_encoded_images_begin(kind: str) -> None:
    data = encoded(IMAGE, kind)
    assert is_base64(text(data))
    assert (pixels(text(data)) == pixels(data)).all()


def test_white_space_and_line_breaks_belong_to_base64() -> None:
    lines = base64.encodebytes(encoded(IMAGE)).decode()
    assert "\n" in lines
    mime = "data:image/png;name=a.png;base64,"
    for variant in (lines, f"  \r\n{lines}\t", lines.replace("\n", "\r\n"), f"\n{mime}\n{lines}", mime.upper() + lines):
        assert (pixels(variant) == np.asarray(IMAGE)).all()


def test_a_data_uri_holds_any_format() -> None:
    qoi = encoded(IMAGE, "TGA")  # no signature of its own
    assert not is_base64(text(qoi))
    assert (pixels("data:;base64," + text(qoi)) == np.asarray(IMAGE)).all()


@pytest.mark.parametrize(
    "path",
    ["street.png", "/9j/street.jpg", "iVBORw0KGgo.png", "Qk0/images/street", "images/R0lGODdh", "UklGRabc", "", "é"],
)
def test_paths_are_no_base64(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_base64(path)
    with pytest.raises(SampleError, match="cannot be read"):
        decode(path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (text(encoded(IMAGE))[:-3], "cannot be decoded .*Expected A-Z"),
        (text(encoded(IMAGE))[:900] + "*" + text(encoded(IMAGE))[901:], "cannot be decoded .*Expected A-Z"),
        (text(encoded(IMAGE))[:900], "cannot be decoded .*675 bytes were read"),
        ("data:image/png;base64," + text(b"not an image"), "not a known image format"),
        ("data:image/png;base64,", "not a known image format.*0 bytes"),
        ("data:image/png,%89PNG", "does not say ;base64"),
        ("data:", "cannot be decoded"),
    ],
)
def test_damaged_base64_is_named_as_such(source: str, says: str) -> None:
    with pytest.raises(SampleError, match=rf"^image given as (base64|bytes): .*{says}") as caught:
        decode(source)
    assert len(str(caught.value)) < 400


# --- what is in a file -----------------------------------------------------------------------------------------


def test_transparency_is_laid_on_white() -> None:
    rgba = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    rgba.putpixel((1, 0), (0, 0, 0, 0))
    assert pixels(encoded(rgba)).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert pixels(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))[0, 0].tolist() == pytest.approx([127] * 3, abs=1)
    assert pixels(encoded(Image.new("LA", (1, 1), (0, 0)))).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(kind: str) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    assert pixels(encoded(palette, kind, transparency=0)).tolist() == [[[255, 255, 255], [200, 100, 50]]]
    assert pixels(encoded(palette, kind)).tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_a_transparent_colour_of_an_rgb_or_grey_png_is_white() -> None:
    rgb = Image.new("RGB", (2, 1), (1, 2, 3))
    rgb.putpixel((1, 0), (9, 9, 9))
    assert pixels(encoded(rgb, transparency=(1, 2, 3))).tolist() == [[[255, 255, 255], [9, 9, 9]]]
    assert pixels(encoded(Image.new("L", (1, 1), 7), transparency=7)).tolist() == [[[255, 255, 255]]]


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert pixels(encoded(red, "JPEG"))[8, 8].tolist() == pytest.approx([255, 0, 0], abs=8)
    assert pixels(encoded(red, "TIFF"))[8, 8].tolist() == [255, 0, 0]


def test_adobe_s_cmyk_is_inverted_and_may_be_ycck() -> None:
    """By hand for one colour: Adobe's marker says in its last byte whether the four values are CMYK or YCCK."""
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    marker = data.index(b"\xff\xee\0\x0eAdobe")
    stored = bytearray(data)
    assert stored[marker + 15] == 0
    stored[marker + 15] = 2
    # Stored are 255, 0, 0, 255. As YCCK that is R = 76, G = 255 (clipped), B = 28; C, M and Y are their inverse, stored
    # inverted once more; with K = 0 the colour has R, G, B = 255 - C, 255 - M, 255 - Y = 179, 0, 227.
    assert pixels(bytes(stored))[8, 8].tolist() == pytest.approx([179, 0, 227], abs=2)


@pytest.mark.parametrize("mode", ["L", "1", "P", "YCbCr", "HSV", "RGBX", "LAB", "PA", "RGBa"])
def test_other_modes_become_rgb_of_the_same_size(mode: str) -> None:
    through = {"PA": "P", "RGBa": "RGBA"}.get(mode, "RGB")
    image = to_rgb(LAB if mode == "LAB" else IMAGE.convert(through).convert(mode))
    assert (image.mode, image.size) == ("RGB", IMAGE.size)


def test_one_bit_is_black_and_white() -> None:
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    for kind in ("PNG", "TIFF", "BMP", "GIF"):
        assert pixels(encoded(bits, kind)).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def png(colour: int, bits: int, raw: bytes, size: tuple[int, int]) -> bytes:
    """A PNG by hand, for what Pillow reads and does not write; `raw` has a filter byte before every row."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def test_sixteen_bits_a_channel() -> None:
    rgb = struct.pack(">B6H", 0, 0, 257 * 100, 65535, 257, 65535, 0)
    assert pixels(png(2, 16, rgb, (2, 1))).tolist() == [[[0, 100, 255], [1, 255, 0]]]
    rgba = struct.pack(">B8H", 0, 0, 257 * 100, 65535, 65535, 257, 65535, 0, 0)
    assert pixels(png(6, 16, rgba, (2, 1))).tolist() == [[[0, 100, 255], [255, 255, 255]]]
    grey_alpha = struct.pack(">B4H", 0, 257 * 100, 65535, 257 * 100, 0)
    assert pixels(png(4, 16, grey_alpha, (2, 1))).tolist() == [[[100] * 3, [255] * 3]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_moving_images_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert (pixels(data) == (255, 0, 0)).all()


def test_of_a_stereo_image_the_first_is_taken() -> None:
    data = encoded(IMAGE, "MPO", save_all=True, append_images=[Image.new("RGB", (60, 40))])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert (pixels(data) == pixels(encoded(IMAGE, "JPEG"))).all()


def test_a_partly_transparent_palette_is_mixed_with_white() -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([10, 20, 30, 0, 0, 0, 200, 100, 50])
    palette.putdata([0, 1, 2])
    result = pixels(encoded(palette, transparency=bytes([0, 128, 255])))
    assert result[0, 0].tolist() == [255] * 3
    assert result[0, 1].tolist() == pytest.approx([127] * 3, abs=1)
    assert result[0, 2].tolist() == [200, 100, 50]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_greys_span_eight_bits(kind: str) -> None:
    result = pixels(encoded(Image.fromarray(GREYS), kind))
    assert (result == EIGHT_BITS[..., None]).all()
    assert result[0, 0].tolist() == [0, 0, 0]
    assert result[-1, -1].tolist() == [255, 255, 255]


def test_sixteen_bit_greys_of_the_other_byte_order_too() -> None:
    big = Image.frombytes("I;16B", (256, 256), GREYS.astype(">u2").tobytes())
    assert (np.asarray(to_rgb(big))[..., 0] == EIGHT_BITS).all()


def test_a_dark_sixteen_bit_grey_stays_dark() -> None:
    assert pixels(encoded(Image.fromarray(np.full((2, 2), 255, np.uint16)))).max() == 1


def test_thirty_two_bit_greys_are_sixteen_or_eight_bits_by_their_values() -> None:
    assert (np.asarray(to_rgb(Image.fromarray(GREYS.astype(np.int32))))[..., 0] == EIGHT_BITS).all()
    small = np.array([[-5, 0, 7, 255]], np.int32)
    assert np.asarray(to_rgb(Image.fromarray(small)))[..., 0].tolist() == [[0, 0, 7, 255]]
    netpbm = b"P5 256 256 65535\n" + GREYS.astype(">u2").tobytes()
    assert (pixels(netpbm)[..., 0] == EIGHT_BITS).all()


@pytest.mark.parametrize(
    ("values", "greys"),
    [([0, 0.5, 1], [0, 128, 255]), ([0, 7, 255], [0, 7, 255]), ([0, 32896, 65535], [0, 128, 255]),
     ([-1, float("nan"), 1], [0, 0, 255])],
)  # fmt: skip
def test_float_greys_are_scaled_by_the_range_they_show(values: list[float], greys: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == greys
    assert pixels(encoded(image, "TIFF"))[0, :, 0].tolist() == greys


# --- EXIF orientation ------------------------------------------------------------------------------------------


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientation_is_kept_as_stored_and_noted(kind: str, orientation: int) -> None:
    image, _ = decode(encoded(IMAGE, kind, exif=turned(orientation)))
    assert image.size == IMAGE.size
    assert np.abs(np.asarray(image).astype(int) - np.asarray(IMAGE)).mean() < 60  # JPEG and WebP are lossy
    assert notes(image) == ("exif orientation ignored",)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_turns_as_the_orientation_says(kind: str, orientation: int) -> None:
    data = encoded(IMAGE, kind, exif=turned(orientation))
    image, digest = decode(data, upright=True)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert np.array_equal(np.asarray(image), np.asarray(shown))
    assert (notes(image), digest) == ((), decode(data)[1])
    assert ImageOps.exif_transpose(image).size == image.size


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_tiff_that_pillow_turns_is_turned_back(compression: str, orientation: int) -> None:
    data = encoded(IMAGE, "TIFF", exif=turned(orientation), compression=compression)
    for source in (data, Image.open(io.BytesIO(data))):
        assert stored_size(source) == IMAGE.size
        image, _ = decode(source)
        assert np.array_equal(np.asarray(image), np.asarray(IMAGE))
        assert notes(image) == ("exif orientation ignored",)
        assert ImageOps.exif_transpose(image).size == IMAGE.size


def test_no_processor_can_turn_the_image_later() -> None:
    """Processors turn by the tag (`ImageOps.exif_transpose`), also on crops, which inherit it."""
    source = Image.open(io.BytesIO(encoded(IMAGE, "JPEG", exif=turned(6))))
    assert ImageOps.exif_transpose(source).size == (40, 60)
    for variant in (source, encoded(IMAGE, "JPEG", exif=turned(6))):
        image, _ = decode(variant)
        assert ImageOps.exif_transpose(image).size == (60, 40)
        assert ImageOps.exif_transpose(image.crop((0, 0, 30, 10))).size == (30, 10)


@pytest.mark.parametrize("orientation", [0, 1, 9, 4000])
def test_upright_and_meaningless_orientations_need_no_note(orientation: int) -> None:
    assert notes(decode(encoded(IMAGE, "JPEG", exif=turned(orientation)))[0]) == ()


def test_images_without_or_with_damaged_exif_need_no_note() -> None:
    assert notes(decode(encoded(IMAGE))[0]) == ()
    assert notes(decode(encoded(IMAGE, "JPEG", exif=b"Exif\0\0MM\0*damaged"))[0]) == ()


# --- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_never_shown(kind: str, share: float) -> None:
    data = encoded(IMAGE, kind)
    part = data[: int(len(data) * share)]
    with pytest.raises(SampleError, match=rf"cannot be decoded .*{len(part):,} bytes.*fetch the file again"):
        decode(part)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"<html>404</html>", b"P5 9999 1 255\n"])
def test_bytes_that_are_no_image(data: bytes) -> None:
    with pytest.raises(SampleError, match="cannot be decoded"):
        decode(data)


def test_the_reason_is_the_same_words_every_time() -> None:
    """Reports count failures by their reason, so no memory address may be in it."""
    reasons = set()
    for _ in range(2):
        with pytest.raises(SampleError) as caught:
            decode(b"not an image")
        reasons.add(str(caught.value))
    assert len(reasons) == 1
    assert "0x" not in reasons.pop()


def test_a_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "street.png").write_bytes(encoded(IMAGE)[:500])
    with pytest.raises(SampleError, match=r"street\.png: cannot be decoded"):
        decode(tmp_path / "street.png")


@pytest.mark.parametrize("name", ["missing.png", "nul\0.png", "x" * 5000, "\ud800.png"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(SampleError, match="cannot be read") as caught:
        decode(tmp_path / name)
    assert len(str(caught.value)) < 500


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="directory"):
        decode(tmp_path)


@pytest.mark.parametrize("url", ["https://example.org/a.png", "HTTP://example.org/a.png", "s3://bucket/a.png"])
def test_urls_are_not_fetched(url: str) -> None:
    for source in (url, Path(url), {"bytes": None, "path": url}):
        with pytest.raises(SampleError, match=r"URLs are not fetched\. Download"):
            decode(source)


def endless() -> Any:
    return endless


@pytest.mark.parametrize(
    "source", [None, 7, [1, 2], {"bytes": None, "path": None}, {}, {"bytes": np.zeros(9)}, endless, lambda: None]
)
def test_what_cannot_be_an_image_is_named_by_its_type(source: Any) -> None:
    with pytest.raises(SampleError, match=r"found \w+; expected a path"):
        decode(source)


def test_a_failing_function_is_the_sample_s_failure() -> None:
    def broken() -> Image.Image:
        raise KeyError("column")

    with pytest.raises(SampleError, match=r"KeyError.*column"):
        decode(broken)


def test_a_lazy_pil_image_that_is_truncated_fails_like_a_file() -> None:
    source = Image.open(io.BytesIO(encoded(IMAGE, "JPEG")[:800]))
    with pytest.raises(SampleError, match=r"60 x 40 px.*cannot be decoded"):
        decode(source)


def test_a_pipe_or_a_device_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero"):
        with pytest.raises(SampleError, match="no regular file"):
            decode(path)


# --- large images --------------------------------------------------------------------------------------------

KINDS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "JPEG2000", "TGA", "PPM", "AVIF"]


@pytest.fixture(params=[2000, 1000])
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Pillow's limit, which 2,400 pixels exceed: Pillow warns above it and refuses above twice of it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", request.param)
    return int(request.param)


@pytest.mark.parametrize("max_pixels", [0, 500, 2399])
@pytest.mark.parametrize("kind", KINDS)
def test_a_decompression_bomb_is_refused_with_a_remedy(limit: int, kind: str, max_pixels: int) -> None:
    message = rf"2,400 pixels exceed the limit of {max(limit, max_pixels):,}.*Shrink .*max_image_pixels to 2400"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SampleError, match=message):
            decode(encoded(IMAGE, kind), max_pixels)


@pytest.mark.parametrize("kind", KINDS)
def test_the_guard_is_raised_for_one_image_and_stays_for_the_next(limit: int, kind: str) -> None:
    data = encoded(IMAGE, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        assert decode(data, 2400)[0].size == IMAGE.size
        assert limit == Image.MAX_IMAGE_PIXELS
        assert warnings.filters == before
        with pytest.raises(SampleError, match="exceed the limit"):
            decode(data)


def test_the_guard_comes_back_after_a_failure(limit: int) -> None:
    for damaged in (b"not an image", encoded(IMAGE)[:300], encoded(IMAGE, "TIFF")[:300]):
        with pytest.raises(SampleError):
            decode(damaged, 10**6)
        assert limit == Image.MAX_IMAGE_PIXELS


def test_where_pillow_s_guard_is_off_it_stays_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode(encoded(IMAGE), 5)[0].size == IMAGE.size


def test_threads_with_other_limits_do_not_disturb_each_other(limit: int) -> None:
    """One thread's raised guard lets nothing pass in another, and the settings of the process are as before."""
    before = list(warnings.filters)
    sources = [encoded(IMAGE, kind) for kind in ("PNG", "JPEG", "TIFF", "WEBP")]
    start = threading.Barrier(4)

    def work(thread: int) -> list[bool]:
        start.wait()
        outcomes = []
        for turn in range(100):
            try:
                decode(sources[turn % 4], 2400 * (thread % 2))
                outcomes.append(True)
            except SampleError:
                outcomes.append(False)
        return outcomes

    turn = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(work, range(4)))
    finally:
        sys.setswitchinterval(turn)
    assert [set(r) for r in results] == [{False}, {True}, {False}, {True}]
    assert limit == Image.MAX_IMAGE_PIXELS
    assert warnings.filters == before


@pytest.mark.parametrize("policy", ["union", "padded", "square:min_side=50", "multi", "mosaic"])
def test_large_regions_of_large_images_are_cut_without_a_warning(limit: int, policy: str) -> None:
    image, _ = decode(encoded(IMAGE), 2400)
    region = find_region(policy, [(0.0, 0.0, 59.0, 40.0)], image.size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (crop,) = VIEWS["crop"].show((image,), region, "", Budget()).images
        VIEWS["boxed"].show((image,), region, "", Budget())
    assert region.box is not None
    x0, y0, x1, y1 = map(int, region.box)
    assert (np.asarray(crop) == np.asarray(IMAGE)[y0:y1, x0:x1]).all()


def test_pillow_is_not_imported_before_an_image_is_read() -> None:
    code = "import sys, gapbench.views.images; sys.exit('PIL' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_size_is_read_from_the_header_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # above which Pillow warns
    data = encoded(IMAGE)
    (tmp_path / "a.png").write_bytes(data[:60])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in (data, {"bytes": data, "path": "b.jpg"}, lambda: data, text(data), IMAGE, tmp_path / "a.png"):
            assert stored_size(source) == (60, 40)


def test_a_size_that_cannot_be_read_is_said_of_the_image(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"image given as bytes: cannot be decoded .not a known"):
        stored_size(b"no image")
    with pytest.raises(SampleError, match="cannot be read"):
        stored_size(tmp_path / "none.png")


# --- stored bytes that may be sent as they are -----------------------------------------------------------------


def plainly(data: bytes) -> np.ndarray[Any, Any]:
    """What a program makes of a file that knows nothing of boxes, white paper or deep greys."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_stored_bytes_of_a_plain_image_come_with_it_untouched(kind: str, mode: str, tmp_path: Path) -> None:
    data = encoded(IMAGE.convert(mode), kind)
    (tmp_path / "misnamed.bmp").write_bytes(data)
    for source in (data, tmp_path / "misnamed.bmp", {"bytes": data, "path": None}, text(data), lambda: data):
        result = read(source)
        assert result.encoded == data
        assert (plainly(data) == np.asarray(result.image)).all()


@pytest.mark.parametrize(
    ("why", "data"),
    [
        ("a format that few servers read", encoded(IMAGE, "TIFF")),
        ("a format that few servers read", encoded(IMAGE, "BMP")),
        ("a palette", encoded(IMAGE, "GIF")),
        ("a palette", encoded(IMAGE.convert("P"))),
        ("one bit", encoded(IMAGE.convert("1"))),
        ("transparency", encoded(IMAGE.convert("RGBA"))),
        ("transparency", encoded(IMAGE.convert("LA"))),
        ("transparency", encoded(Image.new("RGBA", (8, 6), (1, 2, 3, 9)), "WEBP")),
        ("a transparent colour", encoded(IMAGE, transparency=(1, 2, 3))),
        ("a transparent grey", encoded(IMAGE.convert("L"), transparency=7)),
        ("four inks", encoded(IMAGE.convert("CMYK"), "JPEG")),
        ("deep greys", encoded(Image.fromarray(GREYS))),
        ("deep colours", png(2, 16, struct.pack(">B6H", 0, 0, 25700, 65535, 257, 65535, 0), (2, 1))),
        *(("an orientation", encoded(IMAGE, kind, exif=turned(6))) for kind in ("JPEG", "PNG", "WEBP")),
        *(("frames", encoded(IMAGE, kind, save_all=True, append_images=[Image.new("RGB", (60, 40))]))
          for kind in ("PNG", "WEBP", "MPO")),
    ],
)  # fmt: skip
def test_stored_bytes_that_others_could_read_otherwise_are_not_passed_on(why: str, data: bytes) -> None:
    assert read(data).encoded is None, why


def test_an_orientation_that_stands_in_xmp_counts_too() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert read(encoded(IMAGE, "JPEG", xmp=xmp)).encoded is None


def test_an_image_without_bytes_has_none() -> None:
    assert read(IMAGE).encoded is None
    assert read(Image.open(io.BytesIO(encoded(IMAGE)))).encoded is None


MODES = st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))


@hypothesis.given(SIZES, MODES, st.sampled_from(["JPEG", "PNG", "WEBP"]), st.integers(0, 9), st.integers(0, 2**32 - 1))
@hypothesis.settings(max_examples=150, deadline=None)
def test_whatever_is_passed_on_shows_exactly_the_image(
    size: tuple[int, int], mode: str, kind: str, orientation: int, seed: int
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    deep = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    image = deep if mode == "I;16" else Image.fromarray(noise).convert("RGBA" if "A" in mode else "RGB").convert(mode)
    try:
        data = encoded(image, kind, **({"exif": turned(orientation)} if orientation else {}))
    except (OSError, ValueError, KeyError):  # not every format holds every mode
        return
    result = read(data)
    if result.encoded is not None:
        assert result.encoded == data
        assert (plainly(data) == np.asarray(result.image)).all()
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        assert upright is not None
        assert (np.asarray(upright.convert("RGB")) == np.asarray(result.image)).all()
    else:
        assert kind not in ("JPEG", "PNG", "WEBP") or mode not in ("RGB", "L") or orientation in range(2, 9)


def test_a_refused_address_is_named_without_its_credentials() -> None:
    with pytest.raises(SampleError, match=r"image https://…@h/a\.png\?id=7&sig=…: URLs are not fetched"):
        decode("https://me:hunter2@h/a.png?id=7&sig=hunter2")
