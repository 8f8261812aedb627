"""The files beside the data: what is not ours is not touched, and names lead to the right images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import gapbench
from gapbench.data import catalogue
from gapbench.errors import SettingError
from gapbench.proposals import outputs
from gapbench.types import Sample

ROW = {"id": "0-0", "number": 0, "question": "What?", "bbox": (0, 0, 8, 8), "asked": "text"}


def test_a_file_that_is_not_ours_is_refused_before_any_work_and_stays(tmp_path: Path) -> None:
    out = tmp_path / "data.jsonl"
    out.write_text("mine")
    for other in ("", '{"tasks": {}}'):  # none, and the manifest of something else
        if other:
            outputs.beside(out, "run.json").write_text(other)
        with pytest.raises(SettingError, match=r"it exists, and no data\.run\.json"):
            gapbench.propose("no such photos", "no such model", out)
    assert out.read_text() == "mine"
    outputs.beside(out, "run.json").write_text('{"tasks": {}, "proposer": {"name": "listing"}}')
    outputs.check(out)


@pytest.mark.parametrize("name", ["data.jsonl", "data.run.json", "data.audit.jsonl", "data.proposal.json", "x.png"])
def test_the_sheet_is_none_of_the_other_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError, match=r"--sheet .* ends in \.html"):
        gapbench.propose("no such photos", "no such model", tmp_path / "data.jsonl", sheet=tmp_path / name)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "g").write_text("")
    with pytest.raises(SettingError, match=r"g is a file\. Expected a folder"):
        outputs.check(tmp_path / "g" / "deep" / "data.jsonl")


def shown(out: Path, *samples: Sample) -> list[Image.Image]:
    rows = [{**ROW, "id": str(n), "number": n} for n in range(len(samples))]
    outputs.write_data(out, rows, samples)
    return [Image.open(sample.image) for sample in catalogue.load(str(out)).samples()]


def drawn(colour: str, **values: Any) -> Sample:
    return Sample("0", Image.new("RGB", (16, 16), colour), "", (), **values)


def test_images_of_earlier_data_are_never_shown_for_new_ones(tmp_path: Path) -> None:
    out = tmp_path / "data.jsonl"
    shown(out, drawn("red"))
    assert [image.getpixel((0, 0)) for image in shown(out, drawn("blue"), drawn("red"))] == [(0, 0, 255), (255, 0, 0)]


def test_a_rerun_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        shown(tmp_path / folder / "data.jsonl", drawn("red"))
    a, b = (sorted(p for p in (tmp_path / name).rglob("*") if p.is_file()) for name in "ab")
    assert [p.name for p in a] == [p.name for p in b]
    assert [p.read_bytes() for p in a] == [p.read_bytes() for p in b]


def test_images_are_found_from_under_a_linked_folder(tmp_path: Path) -> None:
    deep = tmp_path / "disk" / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "link").symlink_to(deep)
    drawn("red").image.save(tmp_path / "p.png")
    out = tmp_path / "link" / "data.jsonl"
    assert shown(out, Sample("0", tmp_path / "p.png", "", ()))[0].size == (16, 16)
    assert json.loads(out.read_text())["image"] == "../../../p.png"


def line(number: int, **values: Any) -> dict[str, Any]:
    return {**dict.fromkeys(outputs.LINE, ""), "number": number, "rows": [], **values}


def test_the_last_line_of_an_image_counts_and_the_file_is_as_if_nothing_had_failed(tmp_path: Path) -> None:
    out = tmp_path / "data.jsonl"
    audit = outputs.beside(out, "audit.jsonl")
    texts = [json.dumps(one) + "\n" for one in (line(0, fault="x"), line(1), line(0))]
    audit.write_text("".join(texts))
    assert outputs.sort_audit(out) == [line(0), line(1)]
    assert audit.read_text() == texts[2] + texts[1]
