"""Two images show the same if one is a copy or a crop of the other, in any size and format; looks do not count."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from gapbench.data import catalogue
from gapbench.distillation.copies import Index, Match, signature


def texture(seed: int, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """Blobs of many sizes, as in a photograph."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0]), np.float32)
    for cells in (6, 12, 24, 48, 96):
        coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
        total += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) / np.sqrt(cells / 6)
    return Image.fromarray((128 + 40 * total).clip(0, 255).astype(np.uint8)).convert("RGB")


def page(seed: int) -> Image.Image:
    """A page of a letter: all have one heading and one layout."""
    rng = random.Random(seed)
    image = Image.new("RGB", (700, 900), "white")
    draw = ImageDraw.Draw(image)
    draw.text((60, 40), "The Company of Letters", fill="black", font=ImageFont.load_default(36))
    draw.line((60, 95, 640, 95), fill="black", width=4)
    for line in range(26):
        words = ("".join(rng.choices("abcdefghiklmnoprstu", k=rng.randint(2, 9))) for _ in range(8))
        draw.text((60, 120 + 28 * line), " ".join(words)[:46], fill="black", font=ImageFont.load_default(20))
    return image


def scenes(seed: int) -> list[Image.Image]:
    """Scenes of the embedded benchmark."""
    samples = catalogue.load(f"signs:canvas=512,samples=12,seed={seed}").samples()
    return [make() for make in {id(s.image): s.image for s in samples}.values()]


def stored(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


TESTED = [texture(0), texture(1), page(0), page(1), *scenes(0)[:4]]
INDEX = Index([signature(image) for image in TESTED])


def found(image: Any) -> list[Match]:
    return INDEX.find(signature(image))


def test_a_file_is_found_by_its_bytes() -> None:
    file = stored(texture(5), "PNG")
    assert Index([signature(texture(6)), signature(file)]).find(signature(file)) == [Match(1, "bytes", 1.0)]


@pytest.mark.parametrize("number", [0, 2, 4])
@pytest.mark.parametrize("form", [("JPEG", 30), ("WEBP", 50)])
@pytest.mark.parametrize("scale", [0.3, 1.0, 1.9])
def test_a_whole_image_is_found_at_any_size_and_in_any_format(number: int, form: tuple[str, int], scale: float) -> None:
    image = TESTED[number]
    size = round(image.width * scale), round(image.height * scale)
    (match,) = found(stored(image.resize(size, Image.Resampling.LANCZOS), form[0], quality=form[1]))
    assert (match.number, match.kind) == (number, "copy")
    assert 0.94 <= match.similarity <= 1


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 0.6, 0.6), (0.3, 0.1, 0.9, 0.7), (0.0, 0.4, 1.0, 0.9), (0.1, 0.0, 1.0, 1.0)]
)
def test_a_crop_is_found_wherever_it_lies(number: int, box: tuple[float, ...]) -> None:
    image = TESTED[number]
    crop = image.crop(tuple(round(f * side) for f, side in zip(box, image.size * 2, strict=True)))  # type: ignore[arg-type]
    (match,) = found(stored(crop, "JPEG", quality=60))
    assert (match.number, match.kind) == (number, "crop")


def test_the_larger_image_is_found_from_its_crop_too() -> None:
    crop = texture(3).crop((100, 50, 560, 430))
    assert [m.kind for m in Index([signature(crop)]).find(signature(texture(3)))] == ["crop"]


def test_two_crops_of_one_image_are_found_by_what_they_share() -> None:
    whole = texture(4)
    left, right = whole.crop((0, 0, 440, 480)), whole.crop((200, 0, 640, 480))
    assert [m.kind for m in Index([signature(left)]).find(signature(right))] == ["crop"]
    apart = whole.crop((0, 0, 310, 480)), whole.crop((330, 0, 640, 480))
    assert not Index([signature(apart[0])]).find(signature(apart[1]))


def test_brightness_contrast_and_colour_do_not_matter() -> None:
    levels = np.asarray(texture(0), np.float32) * (0.85, 0.9, 0.95) + (10, 0, -5)
    assert [(m.number, m.kind) for m in found(Image.fromarray(levels.clip(0, 255).astype(np.uint8)))] == [(0, "copy")]


@pytest.mark.parametrize(
    "image",
    [page(2), page(3), texture(2), scenes(1)[0], scenes(2)[0]],
    ids=["page", "other page", "texture", "scene", "other scene"],
)
def test_what_merely_looks_alike_is_not_found(image: Image.Image) -> None:
    """Pages of one layout with other words, scenes drawn in one style, textures of one kind."""
    assert found(image) == []


def blank(mark: str = "") -> Image.Image:
    image = Image.new("RGB", (700, 900), "white")
    ImageDraw.Draw(image).text((340, 860), mark, fill="black", font=ImageFont.load_default(20))
    return image


def test_what_shows_nothing_matches_nothing() -> None:
    gradient = Image.fromarray(np.tile(np.linspace(100, 160, 500).astype(np.uint8), (400, 1)))
    for one, other in ((blank(), blank()), (blank(), blank("3")), (blank("7"), blank("8")), (blank(), page(0))):
        assert not Index([signature(one)]).find(signature(other))
        assert not Index([signature(stored(one, "PNG"))]).find(signature(stored(other, "PNG")))
    assert not Index([signature(gradient)]).find(signature(gradient.resize((333, 300))))


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (24, 24), (2000, 8)])
def test_no_size_is_too_small(size: tuple[int, int]) -> None:
    image = texture(0, size)
    same = [m.kind for m in Index([signature(image)]).find(signature(image.copy()))]
    assert same == ([] if signature(image).flat else ["copy"]), "by its pixels, as all small images"
    assert INDEX.find(signature(image)) == []


def test_an_empty_index_finds_nothing() -> None:
    assert Index([]).find(signature(texture(0))) == []
