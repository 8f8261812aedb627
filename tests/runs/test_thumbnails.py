"""Thumbnails have stable names and bounded sizes, and tiny crops stay visible."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from gapbench.runs.thumbnails import save_thumbnail, thumbnail_key


def test_key_is_the_start_of_a_hash_of_benchmark_and_sample() -> None:
    assert thumbnail_key("signs", "7") == hashlib.sha256(b"signs\x007").hexdigest()[:24]
    assert thumbnail_key("a", "b/../c") != thumbnail_key("a", "b/c")
    assert len(thumbnail_key("\ud800", "")) == 24


@pytest.mark.parametrize(
    ("size", "stored"),
    [
        ((1600, 1000), (512, 320)),
        ((16, 16), (224, 224)),
        ((100, 50), (300, 150)),
        ((300, 200), (300, 200)),
        ((9000, 3), (512, 1)),
        ((1, 1), (224, 224)),
    ],
)
def test_longest_side_is_between_224_and_512(tmp_path: Path, size: tuple[int, int], stored: tuple[int, int]) -> None:
    path = tmp_path / "new" / "folder" / "one.jpg"
    save_thumbnail(Image.new("RGB", size, "teal"), path)
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", stored)


def test_tiny_images_keep_hard_pixel_edges(tmp_path: Path) -> None:
    checks = Image.new("RGB", (2, 1), "black")
    checks.putpixel((1, 0), (255, 255, 255))
    save_thumbnail(checks, tmp_path / "checks.jpg")
    with Image.open(tmp_path / "checks.jpg") as image:
        levels = [image.convert("L").getpixel((x, 50)) for x in (10, 100, 124, 210)]
    assert [level > 128 for level in levels] == [False, False, True, True]  # type: ignore[operator]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1", "CMYK", "I;16"])
def test_any_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    save_thumbnail(Image.new(mode, (40, 30)), tmp_path / "any.jpg")
    with Image.open(tmp_path / "any.jpg") as image:
        assert image.mode == "RGB"


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    save_thumbnail(Image.new("RGBA", (300, 300), (0, 0, 0, 0)), tmp_path / "clear.jpg")
    with Image.open(tmp_path / "clear.jpg") as image:
        assert image.getpixel((150, 150)) == (255, 255, 255)
