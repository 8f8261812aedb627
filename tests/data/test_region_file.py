"""Region files: read strictly, never mixed with boxes that people drew, and refused for the wrong benchmark."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import edit, shown, write_benchmark
from hypothesis import given
from hypothesis import strategies as st

import gapbench
from gapbench.data.benchmark import fingerprint
from gapbench.data.region_file import read_regions
from gapbench.data.task import Task, TaskSettings, make_tasks
from gapbench.errors import BenchmarkError, RunError
from gapbench.types import Sample
from gapbench.views.prepare import prepare
from gapbench.views.views import parse_views


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


def sample(name: str, **more: Any) -> Sample:
    return Sample(id=name, image="x.png", question="What?", answers=("a",), **more)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "regions.jsonl"


def test_boxes_come_one_a_line_or_together(file: Path) -> None:
    write(file, {"id": "1", "bbox": [0, 1, 20, 30]}, {"id": "2", "bboxes": [[1, 1, 5, 5], [6.5, 6, 9, 9]]}, "",
          {"id": "1", "bbox": [40, 40, 50, 50]}, {"id": 3, "bbox": [2, 2, 4, 4]})  # fmt: skip
    boxes = read_regions(file).boxes
    assert boxes == {
        ("", "1"): ((0, 1, 20, 30), (40, 40, 50, 50)),
        ("", "2"): ((1, 1, 5, 5), (6.5, 6, 9, 9)),
        ("", "3"): ((2, 2, 4, 4),),
    }


def test_the_file_is_identified_by_its_content(file: Path) -> None:
    write(
        file,
        {"id": "1", "bbox": [0, 0, 9, 9], "method": "attention", "model": "glance", "score": 0.5},
        {"id": "1", "bbox": [5, 5, 9, 9], "method": "grounding"},
        {"id": "2", "bboxes": [], "reason": "no box"},
    )
    info = dict(read_regions(file).info)
    digest = info.pop("sha256")
    assert len(digest) == 32
    assert info == {"file": "regions.jsonl", "methods": ["attention", "grounding"], "models": ["glance"],
                    "samples": 1, "boxes": 2, "without_box": 1}  # fmt: skip
    edit(file, 0, score=0.6)
    assert read_regions(file).info["sha256"] != digest


def test_boxes_replace_all_others(file: Path) -> None:
    write(file, {"id": "1", "bbox": [0, 0, 9, 9]})
    annotated = sample("1", boxes=((1, 2, 3, 4),), box_format="xywh", crop_image="crop.png")
    unnamed = sample("2", boxes=((1, 2, 3, 4),), crop_image="crop.png")
    located, left_out = read_regions(file).replace_boxes(["mine"], [annotated, unnamed])
    assert (located.boxes, located.box_format, located.evidence) == (((0, 0, 9, 9),), "xyxy", "model")
    assert (left_out.boxes, left_out.evidence) == ((), "model")
    assert located.crop_image is None
    assert left_out.crop_image is None
    assert annotated.boxes == ((1, 2, 3, 4),), "samples are not changed in place"
    assert (located.annotated, located.annotated_format) == (((1, 2, 3, 4),), "xywh")
    assert fingerprint([located]) == fingerprint([replace(located, annotated=(), annotated_format=None)])


def test_a_line_may_name_its_benchmark(file: Path) -> None:
    write(file, {"id": "1", "benchmark": "one", "bbox": [0, 0, 9, 9]}, {"id": "1", "bbox": [1, 1, 9, 9]})
    regions = read_regions(file)
    assert regions.replace_boxes(["one"], [sample("1")])[0].boxes == ((0, 0, 9, 9),)
    assert regions.replace_boxes(["two"], [sample("1")])[0].boxes == ((1, 1, 9, 9),)
    assert regions.replace_boxes(["one:size=2", "one"], [sample("1")])[0].boxes == ((0, 0, 9, 9),), (
        "a task's name first"
    )


def test_one_benchmark_that_fits_is_enough_and_none_is_refused(file: Path, tmp_path: Path) -> None:
    write(file, {"id": "1", "benchmark": "one", "bbox": [0, 0, 9, 9]}, {"id": "7", "bbox": [0, 0, 9, 9]})
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text('{"id": "1", "image": "a.png", "question": "What?", "answer": "This"}')
    specs = [str(tmp_path / f"{name}.jsonl") for name in ("one", "two")]
    (one, two), _ = make_tasks(specs, TaskSettings(parse_views("full,crop"), regions=file))
    assert one.samples[0].boxes
    assert not two.samples[0].boxes
    assert [view.name for view in two.views] == ["full"], "measured in the full view alone"
    with pytest.raises(
        BenchmarkError, match=r"regions.jsonl: it has a box for none of the 1 samples.*'one: 1'.*'two: 1'"
    ):
        make_tasks(specs[1], TaskSettings(regions=file))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "1", "bbox": [0, 0, 9', "not JSON"),
        ("[1, 2]", "found list; expected a JSON object"),
        ({"bbox": [0, 0, 9, 9]}, "id is None"),
        ({"id": True, "bbox": [0, 0, 9, 9]}, "id is True"),
        ({"id": "", "bbox": [0, 0, 9, 9]}, "id is ''"),
        ({"id": "1"}, "it has no 'bbox' or 'bboxes'. Found: id"),
        ({"id": "1", "bboxes": []}, "or a 'reason' why"),
        ({"id": "1", "bbox": [0, 0, 9, 9], "bboxes": [[0, 0, 9, 9]]}, "both 'bbox' and 'bboxes'"),
        ({"id": "1", "bboxes": {"a": 1}}, "expected a list of boxes"),
        ({"id": "1", "bboxes": [0, 0, 9, 9]}, "expected four finite numbers"),
        ({"id": "1", "bbox": [0, 0, 9]}, "expected four finite numbers"),
        ({"id": "1", "bbox": "0,0,9,9"}, "expected four finite numbers"),
        ('{"id": "1", "bbox": [0, 0, NaN, 9]}', "expected four finite numbers"),
        ({"id": "1", "bbox": [50, 50, 20, 20]}, "Is it xywh"),
        ({"id": "1", "bbox": [5, 5, 5, 9]}, "x0 < x1"),
        ({"id": "1", "bbox": [0.1, 0.2, 0.5, 1]}, "expected pixels, not fractions"),
        ({"id": "1", "bbox": [0, 0, 9, 9], "method": 3}, "method is 3; expected text"),
    ],
)
def test_a_bad_line_is_named(file: Path, line: Any, message: str) -> None:
    write(file, {"id": "0", "bbox": [0, 0, 9, 9]}, line)
    with pytest.raises(BenchmarkError) as error:
        read_regions(file)
    assert "regions.jsonl line 2: " in str(error.value)
    assert message in str(error.value)


def test_a_missing_or_empty_file_is_refused(file: Path) -> None:
    with pytest.raises(BenchmarkError, match="cannot be read"):
        read_regions(file)
    with pytest.raises(BenchmarkError, match="no box in any of its 0 entries"):
        read_regions(write(file))
    file.write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(BenchmarkError, match="line 1: not UTF-8"):
        read_regions(file)


numbers = st.floats(-1e4, 1e4, allow_nan=False).map(lambda x: round(x, 3))


@given(
    st.lists(st.tuples(st.text(min_size=1).filter(str.isprintable), numbers, numbers, st.floats(2, 500)), min_size=1)
)
def test_whatever_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("regions") / "regions.jsonl"
    given_ = [(name, (abs(x), abs(y), abs(x) + side, abs(y) + side)) for name, x, y, side in rows]
    write(path, *({"id": name, "bbox": box} for name, box in given_))
    boxes = read_regions(path).boxes
    for name, box in given_:
        assert box in boxes["", name]


def test_boxes_of_a_task_do_not_serve_its_benchmark_with_other_parameters(file: Path) -> None:
    write(file, *({"id": f"test-0-0000{n}-0", "benchmark": "signs", "bbox": [0, 0, 9, 9]} for n in range(3)))
    settings = TaskSettings(parse_views("full,crop"), limit=3, regions=file)
    (alone,), _ = make_tasks("signs:size_min=30", settings)
    both, _ = make_tasks(["signs", "signs:size_min=30"], settings)
    assert [len(task.views) for task in (alone, *both)] == [2, 2, 1]


def test_boxes_that_were_located_in_an_image_of_another_size_are_not_used(file: Path) -> None:
    """The regions of one set of parameters, or of one model's small scenes, say nothing about another's images."""
    write(file, *({"id": f"test-0-0000{n}-0", "bbox": [10, 10, 40, 40], "image_size": [96, 96]} for n in range(3)))
    settings = TaskSettings(parse_views("full,crop"), limit=1, regions=file)
    few = "signs_min=3,signs_max=5,size_min=12,size_max=40"
    (small, large), _ = make_tasks([f"signs:canvas=96,{few}", f"signs:canvas=128,{few}"], settings)
    assert prepare(small.samples[0], "padded").region_error == ""
    prepared = prepare(large.samples[0], "padded")
    assert "located in an image of (96, 96) px, and this one has (128, 128) px. Locate again" in prepared.region_error
    assert shown(prepared, "full")[0]
    assert small.fingerprint() == Task("", small.benchmark, (replace(small.samples[0], boxes_in=None),)).fingerprint()
    write(file, {"id": "a", "bbox": [10, 10, 40, 40], "image_size": "96 x 96"})
    with pytest.raises(BenchmarkError, match=r"image_size is '96 x 96'; expected \[width, height\]"):
        read_regions(file)


def test_a_run_with_regions_is_marked_and_counts_who_has_none(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    mine = write_benchmark(tmp_path / "data", questions=4)
    regions = write(tmp_path / "r.jsonl", *({"id": f"q{i}", "bbox": [10, 10, 60, 50], "model": "M"} for i in range(3)),
                    {"id": "q99", "bbox": [0, 0, 9, 9]})  # fmt: skip

    def measure(**more: Any) -> gapbench.Run:
        settings = {"model": str(tiny("qwen3_vl")), "benchmarks": [str(mine)], "out": tmp_path / "run",
                    "regions": regions, "max_new_tokens": 4, "batch_size": 4, "selfcheck": False}  # fmt: skip
        return gapbench.measure(**{**settings, **more})

    run = measure(limit=2)
    assert run.manifest["regions"]["models"] == ["M"]
    frame = measure().frame().set_index(["sample", "view"])
    assert set(frame["evidence"]) == {"model", ""}
    assert frame.loc[("q0", "crop"), "region"] == (5.0, 6.0, 65.0, 54.0)
    assert frame.loc[("q3", "crop"), "outcome"] == "failed"
    assert frame.loc[("q3", "full"), "outcome"] != "failed"
    measure(regions=regions.rename(tmp_path / "renamed.jsonl"))  # the same boxes: nothing to refuse
    for others in ("", write(regions, {"id": "q0", "bbox": [0, 0, 30, 30]})):
        with pytest.raises(RunError, match="started with --regions"):
            measure(regions=others)


def test_a_benchmark_that_ships_crops_asks_for_another_policy(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    mine = write_benchmark(tmp_path / "data", questions=2)
    regions = write(tmp_path / "r.jsonl", {"id": "q0", "bbox": [10, 10, 60, 50]})
    with pytest.raises(BenchmarkError, match="Pass --region padded"):
        gapbench.measure(str(tiny("qwen3_vl")), [str(mine)], out=tmp_path / "run", regions=regions, region="native")


def test_samples_that_an_interrupted_locate_did_not_reach_are_said(tmp_path: Path, file: Path) -> None:
    mine = write_benchmark(tmp_path / "data", questions=4)
    box = {"bbox": [0, 0, 20, 20]}
    write(file, {"id": "q0", **box}, {"id": "q1", "bboxes": [], "reason": "nothing found"})
    with pytest.warns(UserWarning, match=r"names 2 of 4 samples of mine\. .*they fail .* locate was interrupted"):
        make_tasks([str(mine)], TaskSettings(parse_views("full,crop"), regions=file))
    write(file, *({"id": f"q{n}", **box} for n in range(4)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_tasks([str(mine)], TaskSettings(parse_views("full,crop"), regions=file))
