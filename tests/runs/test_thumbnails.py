"""Thumbnails have stable names and bounded sizes, and tiny crops stay visible."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from gapbench.runs.thumbnails import LONGEST_CROP, save_thumbnail, save_thumbnails, thumbnail_key
from gapbench.types import Sample


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


def wide_sample(name: str, box: tuple[float, float, float, float] = (100, 100, 300, 200)) -> Sample:
    return Sample(name, Image.new("RGB", (2000, 1000), "teal"), "Which?", ("A",), boxes=(box,))


def test_first_image_and_crop_of_each_wanted_sample_are_saved(tmp_path: Path) -> None:
    save_thumbnails(tmp_path, {"a": (wide_sample("1"), "union"), "b": (wide_sample("2"), "union")})
    sizes = {path.name: Image.open(path).size for path in tmp_path.iterdir()}
    assert sizes == {
        f"{key}-{view}.jpg": size for key in "ab" for view, size in (("full", (512, 256)), ("crop", (400, 200)))
    }


def test_a_crop_keeps_its_pixels_up_to_a_bound(tmp_path: Path) -> None:
    boxes = {"mid": (0.0, 0.0, 900.0, 500.0), "large": (0.0, 0.0, 2000.0, 1000.0)}
    save_thumbnails(tmp_path, {key: (wide_sample(key, box), "union") for key, box in boxes.items()})
    assert Image.open(tmp_path / "mid-crop.jpg").size == (900, 500)
    assert Image.open(tmp_path / "large-crop.jpg").size == (LONGEST_CROP, LONGEST_CROP // 2)


def test_images_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    save_thumbnails(tmp_path, {"a": (wide_sample("1"), "union")})
    broken = Sample("1", tmp_path / "gone.png", "Which?", ("A",))
    save_thumbnails(tmp_path, {"a": (broken, "union"), "b": (broken, "union")})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-crop.jpg", "a-full.jpg"]


def test_what_a_kill_left_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the kill hits between the writes or in the middle of one."""
    wanted = {"a": (wide_sample("1"), "union")}
    saved = Image.Image.save

    def killed_at(write: int) -> None:
        count = 0

        def save(image: Image.Image, path: Path, *rest: object, **options: object) -> None:
            nonlocal count
            count += 1
            if count == write:
                path.write_bytes(b"half of")
                raise SystemExit
            saved(image, path, *rest, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Image.Image, "save", save)

    for write in (1, 2):
        killed_at(write)
        with pytest.raises(SystemExit):
            save_thumbnails(tmp_path, wanted)
        assert not (tmp_path / "a-full.jpg").exists()
    killed_at(0)
    save_thumbnails(tmp_path, wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-crop.jpg", "a-full.jpg"]


def test_images_that_cannot_be_written_end_nothing(tmp_path: Path) -> None:
    (tmp_path / "a-crop.jpg").mkdir()
    save_thumbnails(tmp_path, {"a": (wide_sample("1"), "union"), "b": (wide_sample("2"), "union")})
    assert (tmp_path / "b-full.jpg").exists()
