"""Images and nothing else: of a folder, a file of rows, a benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import write_benchmark
from PIL import Image

from gapbench.data.plain_images import plain_images
from gapbench.errors import BenchmarkError, SettingError


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
