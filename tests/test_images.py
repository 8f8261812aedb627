"""Whatever a data set calls an image becomes the same RGB pixels, or an error that says what is wrong."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from gapbench.errors import SampleError
from gapbench.images import ORIENTATION, decode, notes, to_rgb

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
GREYS = np.arange(65536, dtype=np.uint16).reshape(256, 256)
EIGHT_BITS = np.rint(GREYS / 257).astype(np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(source: Any) -> np.ndarray[Any, Any]:
    return np.asarray(decode(source)[0])


# --- sources ---------------------------------------------------------------------------------------------------


def test_every_kind_of_source_gives_the_same_pixels(tmp_path: Path) -> None:
    data = encoded(PICTURE)
    path = tmp_path / "misnamed.jpg"  # the bytes decide, not the name
    path.write_bytes(data)
    sources = [
        path, str(path), data, bytearray(data), memoryview(data), PICTURE, lambda: PICTURE, lambda: path,
        {"bytes": data, "path": "elsewhere.png"}, {"bytes": None, "path": str(path)}, lambda: {"bytes": data},
        Image.open(path),
    ]  # fmt: skip
    for source in sources:
        picture, _ = decode(source)
        assert picture.mode == "RGB"
        assert (np.asarray(picture) == np.asarray(PICTURE)).all()


def test_equal_bytes_have_equal_hashes_wherever_they_come_from(tmp_path: Path) -> None:
    data = encoded(PICTURE)
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "b.png").write_bytes(data)
    hashes = {decode(s)[1] for s in (tmp_path / "a.png", tmp_path / "b.png", data, {"bytes": data})}
    assert len(hashes) == 1
    assert len(hashes.pop()) == 24


def test_other_bytes_or_pixels_have_other_hashes() -> None:
    sideways = PICTURE.transpose(Image.Transpose.ROTATE_90)
    # Same pixel bytes in another shape must not pass for the same picture.
    reshaped = Image.frombytes("RGB", (40, 60), PICTURE.tobytes())
    sources = [encoded(PICTURE), encoded(sideways), PICTURE, sideways, reshaped]
    assert len({decode(s)[1] for s in sources}) == len(sources)


def test_equal_pixels_without_bytes_have_equal_hashes() -> None:
    assert decode(PICTURE)[1] == decode(lambda: PICTURE.copy())[1]


def test_the_source_picture_is_left_as_it_was() -> None:
    source = Image.open(io.BytesIO(encoded(PICTURE, "JPEG", exif=turned(6))))
    before = dict(source.info)
    decode(source)[0].paste((0, 0, 0), (0, 0, 60, 40))
    assert source.info == before
    assert np.asarray(source).any()


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


@pytest.mark.parametrize("mode", ["L", "1", "P", "YCbCr", "HSV", "RGBX"])
def test_other_modes_become_rgb_of_the_same_size(mode: str) -> None:
    picture = to_rgb(PICTURE.convert(mode))
    assert (picture.mode, picture.size) == ("RGB", PICTURE.size)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_greys_span_eight_bits(kind: str) -> None:
    found = pixels(encoded(Image.fromarray(GREYS), kind))
    assert (found == EIGHT_BITS[..., None]).all()
    assert found[0, 0].tolist() == [0, 0, 0]
    assert found[-1, -1].tolist() == [255, 255, 255]


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
    picture = Image.fromarray(np.array([values], np.float32))
    assert np.asarray(to_rgb(picture))[0, :, 0].tolist() == greys
    assert pixels(encoded(picture, "TIFF"))[0, :, 0].tolist() == greys


# --- EXIF orientation ------------------------------------------------------------------------------------------


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientation_is_kept_as_stored_and_noted(kind: str, orientation: int) -> None:
    picture, _ = decode(encoded(PICTURE, kind, exif=turned(orientation)))
    assert picture.size == PICTURE.size
    assert np.abs(np.asarray(picture).astype(int) - np.asarray(PICTURE)).mean() < 60  # JPEG and WebP are lossy
    assert notes(picture) == ("exif orientation ignored",)


def test_no_processor_can_turn_the_picture_later() -> None:
    """Processors turn by the tag (`ImageOps.exif_transpose`), also on crops, which inherit it."""
    source = Image.open(io.BytesIO(encoded(PICTURE, "JPEG", exif=turned(6))))
    assert ImageOps.exif_transpose(source).size == (40, 60)
    for given in (source, encoded(PICTURE, "JPEG", exif=turned(6))):
        picture, _ = decode(given)
        assert ImageOps.exif_transpose(picture).size == (60, 40)
        assert ImageOps.exif_transpose(picture.crop((0, 0, 30, 10))).size == (30, 10)


@pytest.mark.parametrize("orientation", [0, 1, 9, 4000])
def test_upright_and_meaningless_orientations_need_no_note(orientation: int) -> None:
    assert notes(decode(encoded(PICTURE, "JPEG", exif=turned(orientation)))[0]) == ()


def test_pictures_without_or_with_damaged_exif_need_no_note() -> None:
    assert notes(decode(encoded(PICTURE))[0]) == ()
    assert notes(decode(encoded(PICTURE, "JPEG", exif=b"Exif\0\0MM\0*damaged"))[0]) == ()


# --- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_never_shown(kind: str, share: float) -> None:
    data = encoded(PICTURE, kind)
    part = data[: int(len(data) * share)]
    with pytest.raises(SampleError, match=rf"cannot be decoded .*{len(part):,} bytes.*fetch the file again"):
        decode(part)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"<html>404</html>", b"P5 9999 1 255\n"])
def test_bytes_that_are_no_picture(data: bytes) -> None:
    with pytest.raises(SampleError, match="cannot be decoded"):
        decode(data)


def test_the_reason_is_the_same_words_every_time() -> None:
    """Reports count failures by their reason, so no memory address may be in it."""
    reasons = set()
    for _ in range(2):
        with pytest.raises(SampleError) as caught:
            decode(b"not a picture")
        reasons.add(str(caught.value))
    assert len(reasons) == 1
    assert "0x" not in reasons.pop()


def test_a_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "street.png").write_bytes(encoded(PICTURE)[:500])
    with pytest.raises(SampleError, match=r"street\.png: cannot be decoded"):
        decode(tmp_path / "street.png")


@pytest.mark.parametrize("name", ["missing.png", "nul\0.png", "x" * 5000, "\ud800.png"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(SampleError, match="cannot be read") as caught:
        decode(tmp_path / name)
    assert len(str(caught.value)) < 500


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="directory"):
        decode(tmp_path)


@pytest.mark.parametrize("url", ["https://example.org/a.png", "HTTP://example.org/a.png", "s3://bucket/a.png"])
def test_urls_are_not_fetched(url: str) -> None:
    for source in (url, Path(url), {"bytes": None, "path": url}):
        with pytest.raises(SampleError, match=r"URLs are not fetched\. Download"):
            decode(source)


@pytest.mark.parametrize("source", [None, 7, [1, 2], {"bytes": None, "path": None}, {}])
def test_what_cannot_be_an_image_is_named_by_its_type(source: Any) -> None:
    with pytest.raises(SampleError, match=r"found \w+; expected a path"):
        decode(source)


def test_a_failing_function_is_the_sample_s_failure() -> None:
    def broken() -> Image.Image:
        raise KeyError("column")

    with pytest.raises(SampleError, match=r"KeyError.*column"):
        decode(broken)


def test_a_lazy_pil_image_that_is_truncated_fails_like_a_file() -> None:
    source = Image.open(io.BytesIO(encoded(PICTURE, "JPEG")[:800]))
    with pytest.raises(SampleError, match=r"60 x 40 px.*cannot be decoded"):
        decode(source)


@pytest.mark.parametrize("limit", [2000, 1000])
def test_a_decompression_bomb_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Pillow warns above its limit and refuses above twice of it; both are refused here."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SampleError, match=r"2400 pixels.*2000.*Shrink the picture or split it"):
            decode(encoded(PICTURE))
