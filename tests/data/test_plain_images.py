"""Images and nothing else: of a folder, a file of rows, a benchmark."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers import write_benchmark
from PIL import Image

from gapbench.data.benchmark import fingerprint
from gapbench.data.plain_images import plain_images
from gapbench.errors import BenchmarkError, SampleError, SettingError
from gapbench.views.images import stored_size


def test_a_folder_gives_its_images_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "deep/c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    (tmp_path / "notes.txt").write_text("no image")
    name, images = plain_images(str(tmp_path))
    assert name == tmp_path.name
    assert [image.id for image in images] == ["a.JPG", "b.png", "deep/c.webp"]
    assert all(image.upright and not image.question and not image.answers for image in images)


def test_rows_need_no_column_but_the_image(tmp_path: Path) -> None:
    rows = [{"image": "a.png"}, {"image": "b.png", "bbox": "broken", "question": 7}, {"image": "a.png"}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, images = plain_images(str(path))
    assert [Path(image.image).name for image in images] == ["a.png", "b.png"]
    path.write_text(path.read_text().replace('"image"', '"photo"'))
    _, images = plain_images(f"{path}:image=photo", limit=1)
    assert [image.id for image in images] == ["000000"]


def test_an_image_of_several_questions_comes_once(tmp_path: Path) -> None:
    mine = write_benchmark(tmp_path / "data", questions=6)
    assert len(plain_images(str(mine))[1]) == 3
    name, images = plain_images("signs:split=train,samples=20", limit=5)
    assert (name, len(images)) == ("signs", 5)
    assert len({image.image().tobytes() for image in images}) == 5


@pytest.mark.parametrize(("limit", "error"), [(0, SettingError), (None, BenchmarkError)])
def test_nothing_is_refused_with_a_reason(tmp_path: Path, limit: int | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        plain_images(str(tmp_path), limit)


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


@pytest.mark.parametrize(
    ("names", "said"),
    [((), "Found: nothing"), (("a.HEIC", "b.heic", "c.txt"), r"Found: 2 \.heic, 1 \.txt\..*Convert \.heic to \.jpg")],
)
def test_a_folder_without_images_says_what_is_there_and_what_is_expected(
    tmp_path: Path, names: tuple[str, ...], said: str
) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(BenchmarkError, match=rf"no image in this folder\. {said}") as error:
        plain_images(str(tmp_path))
    assert "Expected .jpg, .jpeg, .png" in str(error.value)


def test_a_file_of_another_program_beside_photos_does_not_matter(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "metadata.json").write_text("{}")
    assert [image.id for image in plain_images(str(tmp_path))[1]] == ["a.png"]


@pytest.mark.parametrize("spec", ["phtos", "./phtos", "here/phtos", "/no/phtos", "phtos.jsonl"])
def test_a_misspelt_path_is_named_before_the_catalogue(spec: str) -> None:
    with pytest.raises(BenchmarkError, match=rf"^{spec}: no such folder or file\."):
        plain_images(spec)


def test_what_was_proposed_of_a_folder_is_no_image_of_it(tmp_path: Path) -> None:
    for name in ("a.png", "out/data_images/x.png", "my_images/b.png"):
        photo(tmp_path / name)
    (tmp_path / "out" / "data.run.json").write_text("{}")
    assert [image.id for image in plain_images(str(tmp_path))[1]] == ["a.png", "my_images/b.png"]
    assert len(plain_images(str(tmp_path / "out" / "data_images"))[1]) == 1  # named itself


def test_a_name_that_is_not_utf_8_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/caf\xe9.png")
    (image,) = plain_images(str(tmp_path))[1]
    assert image.id.encode() == rb"caf\udce9.png"
    assert fingerprint([image])
    with pytest.raises(SampleError, match=r"caf\\udce9\.png: its name is not UTF-8\. Rename"):
        stored_size(image.image)
