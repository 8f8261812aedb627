"""Tasks: their names, and which of the views that are asked for a benchmark can be shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from gapbench.commands.measure import named_as_in
from gapbench.data import catalogue
from gapbench.data.benchmark import fingerprint
from gapbench.data.region_file import read_regions
from gapbench.data.task import Task, TaskSettings, _with_possible_views, make_task, make_tasks, task_name, with_regions
from gapbench.errors import BenchmarkError, RunError, SettingError
from gapbench.runs.manifest import Manifest, continue_or_start, make_manifest
from gapbench.views.views import parse_views


def task(views: str, region: str, boxes: bool) -> Task:
    """Two samples that ship their crops, with boxes or without."""
    made = make_task(catalogue.load("signs:canvas=300"), TaskSettings(parse_views(views), 2, region))
    crop = Image.new("RGB", (9, 9))
    changes = {} if boxes else {"boxes": ()}
    return replace(made, samples=tuple(replace(sample, crop_image=crop, **changes) for sample in made.samples))


def names(of: Task) -> list[str]:
    return [view.name for view in of.views]


def test_a_group_on_shipped_crops_takes_boxes_where_a_view_has_parameters_of_a_region() -> None:
    (with_boxes,) = _with_possible_views([task("factorial", "native", boxes=True)])
    assert names(with_boxes) == [view.name for view in parse_views("factorial")]
    assert with_boxes.entry()["views"]["crop:factor=2"] == {"region": "padded:factor=2"}
    assert with_boxes.entry()["views"]["crop"] == {"region": "native"}


def test_a_view_that_no_sample_has_evidence_for_is_left_out_with_a_warning_if_others_remain() -> None:
    with pytest.warns(UserWarning, match=r"no.* samples has an evidence box, so view 'crop:factor=2'.* are asked"):
        (without,) = _with_possible_views([task("full,crop,crop:factor=2", "native", boxes=False)])
    assert names(without) == ["full", "crop"]
    with pytest.raises(BenchmarkError, match="so view 'crop:factor=2' with region policy 'padded' cannot be shown"):
        _with_possible_views([task("full,crop:factor=2", "native", boxes=False)])


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Two samples that can be read in several ways."""
    lines = ["Bild;Q1;Q2;A;B;x;y;w;h", "a.png;What?;Who?;cat;dog;1;2;9;8", "b.png;What?;Who?;cow;owl;1;2;9;8"]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    return f"{tmp_path / 'mine.csv'}:separator=semicolon,image=Bild,bbox=x+y+w+h"


def asked(*specs: str) -> list[Task]:
    return make_tasks(specs, TaskSettings(parse_views("full")))[0]


ONE, OTHER = "bbox_format=xywh,question=Q1,answer=A", "bbox_format=xywh,question=Q2,answer=A"


def run_of(task: Task, name: str = "") -> Manifest:
    return make_manifest({"tasks": {name or task.name: task.entry()}})


def test_how_a_file_is_read_is_no_part_of_a_tasks_name(table: str, tmp_path: Path) -> None:
    (only,) = asked(f"{table},{ONE}")
    assert (only.name, only.entry()["parameters"]["question"]) == ("mine", "Q1")
    (folder := tmp_path / "shards").mkdir()
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "Frage": "What?", "answer": "x"}')
    assert [task.name for task in asked(f"{folder}:question=Frage")] == ["shards"]
    assert task_name(catalogue.load("owner/name:split=test,question=Frage,orientation=upright")) == "name:split=test"
    assert task_name(catalogue.load("signs:canvas=300,samples=9")) == "signs:canvas=300,samples=9"


def test_two_readings_of_one_file_in_one_run_are_told_apart_by_their_names(table: str) -> None:
    first, second = asked(f"{table},{ONE}", f"{table},{OTHER}")
    assert first.name.endswith("question=Q1,separator=semicolon")
    assert second.name.endswith("question=Q2,separator=semicolon")
    with pytest.raises(SettingError, match="asked for twice"):
        asked(f"{table},{ONE}", f"{table},{ONE}")


@pytest.mark.parametrize(
    "other",
    [OTHER, "bbox_format=xyxy,question=Q1,answer=A", "bbox_format=xywh,question=Q1,answer=B", f"{ONE},category=Q2",
     f"{ONE},orientation=upright", f"{ONE},id=Bild", f"{ONE},max_image_pixels=9", f"{ONE},answer_type=anls"],
)  # fmt: skip
def test_a_run_never_mixes_two_readings_of_one_file(table: str, tmp_path: Path, other: str) -> None:
    (before,), (now,) = asked(f"{table},{ONE}"), asked(f"{table},{other}")
    assert before.fingerprint() != now.fingerprint()
    path, answers = tmp_path / "run.json", tmp_path / "records.jsonl"
    continue_or_start(path, answers, run_of(before), {"mine": before.samples}, fingerprint)
    (named,) = named_as_in(run_of(before), [now])
    with pytest.raises(RunError, match=r"mine parameters .* must not be mixed\. Choose another --out"):
        continue_or_start(path, answers, run_of(named), {named.name: now.samples}, fingerprint)


def test_a_run_that_was_named_by_its_columns_goes_on_under_that_name(table: str, tmp_path: Path) -> None:
    (task,) = asked(f"{table},{ONE}")
    earlier = run_of(task, long := task_name(task.benchmark, whole=True))
    (named,) = named_as_in(earlier, [task])
    assert (task.name, named.name) == ("mine", long)
    path = tmp_path / "run.json"
    for manifest in (earlier, run_of(named)):
        kept = continue_or_start(path, tmp_path / "records.jsonl", manifest, {long: task.samples}, fingerprint)
    assert list(kept.tasks) == [long]


@pytest.mark.parametrize("name", ["mine", "long"])
def test_a_region_file_holds_for_own_data_under_its_short_and_its_long_name(
    table: str, tmp_path: Path, name: str
) -> None:
    (task,) = asked(f"{table},{ONE}")
    name = task_name(task.benchmark, whole=True) if name == "long" else name
    line = {"benchmark": name, "id": "1", "bbox": [3, 3, 9, 9]}
    (tmp_path / "regions.jsonl").write_text(json.dumps(line))
    with pytest.warns(UserWarning, match="names 1 of 2 samples"):
        (located,) = with_regions([task], read_regions(tmp_path / "regions.jsonl"))
    assert [sample.boxes for sample in located.samples] == [((3.0, 3.0, 9.0, 9.0),), ()]
