"""`gapbench.locate`: a file that `measure` takes, survives whatever happens to it, and never mixes two settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import edit, write_benchmark
from typer.testing import CliRunner

import gapbench
from gapbench.cli.app import app
from gapbench.data.region_file import read_regions
from gapbench.errors import ModelError, RunError, SettingError
from gapbench.localisation.result import Located

Locate = Callable[..., Located]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "data", questions=6)


@pytest.fixture
def locate(tiny: Callable[[str], Path], tmp_path: Path, mine: Path) -> Locate:
    def call(**changes: Any) -> Located:
        settings: dict[str, Any] = {
            "model": str(tiny("qwen3_vl")),
            "benchmarks": [str(mine)],
            "method": "attention",
            "out": tmp_path / "regions.jsonl",
            "min_pixels": 40_000,
            "max_new_tokens": 6,
        }
        return gapbench.locate(**{**settings, **changes})

    return call


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_one_line_per_question_with_boxes_in_pixels_of_the_image(locate: Locate) -> None:
    located = locate()
    lines = rows(located.path)
    assert [line["id"] for line in lines] == [f"q{i}" for i in range(6)]
    for line in lines:
        assert (line["benchmark"], line["method"], line["image_size"]) == ("mine", "attention", [140, 100])
        (box,) = line["bboxes"]
        assert 0 <= box[0] < box[2] <= 140
        assert 0 <= box[1] < box[3] <= 100
        assert 0 < line["score"] < 1
    assert {p.name for p in located.path.parent.glob("regions.*")} == {
        "regions.jsonl", "regions.run.json", "regions.summary.json",
    }  # fmt: skip


def test_the_settings_are_kept_with_the_layers_that_were_chosen(locate: Locate, tmp_path: Path) -> None:
    locate(limit=1)
    made_with = json.loads((tmp_path / "regions.run.json").read_text())
    assert made_with["layers"] == [1]
    assert made_with["margin"] == 1
    assert {"sha256", "general_prompt", "windows", "pixels", "tasks"} <= set(made_with)
    assert {"versions", "command"} <= set(made_with["sessions"][0])


def test_the_locator_is_compared_with_the_boxes_that_people_drew(locate: Locate) -> None:
    located = locate()
    entry = located.summary["benchmarks"]["mine"]
    assert (entry["samples"], entry["located"], entry["not_located"]) == (6, 6, {})
    assert (entry["agreement"]["n"], entry["agreement"]["clusters"]) == (6, 3)
    assert "mine: 6 of 6 samples located by attention" in located.text()
    assert "evidence inside the located box" in located.text()


def test_without_boxes_by_people_the_locator_is_unchecked(locate: Locate, mine: Path) -> None:
    for i in range(6):
        edit(mine, i, bbox=None, bbox_format=None)
    located = locate()
    assert located.summary["benchmarks"]["mine"]["agreement"] is None
    assert "unchecked" in located.text()
    run = gapbench.measure(json.loads((located.path.with_suffix(".run.json")).read_text())["model"], [str(mine)],
                           regions=located.path, out=located.path.parent / "run", max_new_tokens=4)  # fmt: skip
    assert len(run.frame()) == 12
    assert set(run.frame()["evidence"]) == {"model"}


def test_a_margin_enlarges_boxes(locate: Locate, tmp_path: Path) -> None:
    plain, wide = rows(locate(limit=1).path), rows(locate(limit=1, margin=1.5, out=tmp_path / "wide.jsonl").path)
    for a, b in zip(plain, wide, strict=True):
        (x0, y0, x1, y1), (u0, v0, u1, v1) = a["bboxes"][0], b["bboxes"][0]
        assert (u1 - u0, v1 - v0) == pytest.approx((min(140, 1.5 * (x1 - x0)), min(100, 1.5 * (y1 - y0))), abs=1)


def test_answers_without_a_box_are_lines_with_a_reason(locate: Locate) -> None:
    located = locate(method="grounding")
    lines = rows(located.path)
    assert len(lines) == 6
    assert {line["reason"] for line in lines if not line["bboxes"]} == set(
        located.summary["benchmarks"]["mine"]["not_located"]
    )
    assert all(line["output"] for line in lines)
    assert all(bool(line["bboxes"]) != bool(line["reason"]) for line in lines)


@pytest.mark.parametrize("method", ["attention", "grounding"])
def test_a_file_cut_off_anywhere_is_completed_to_the_same(locate: Locate, method: str) -> None:
    path = locate(method=method).path
    lines, summary = rows(path), path.with_suffix(".summary.json").read_text()
    data = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(data[:3]) + b'{"benchmark": "mine", "id')
    locate(method=method)
    again = rows(path)
    assert sorted(again, key=lambda r: r["id"]) == sorted(lines, key=lambda r: r["id"])
    assert path.with_suffix(".summary.json").read_text() == summary


def test_a_file_can_be_extended_but_not_shortened(locate: Locate) -> None:
    assert len(rows(locate(limit=2).path)) == 2
    assert len(rows(locate().path)) == 6
    with pytest.raises(RunError, match=r"--limit: mine samples 6, and now it is 2"):
        locate(limit=2)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"layers": "0"}, "layers 1, and now it is 0"),
        ({"margin": 2.0}, r"margin 1\.0, and now it is 2\.0"),
        ({"method": "grounding"}, r"regions\.jsonl: .* --method 'attention', and now it is 'grounding'"),
        ({"min_pixels": 50_000}, "pixels"),
    ],
)
def test_other_settings_are_refused(locate: Locate, changes: dict[str, Any], named: str) -> None:
    before = locate(limit=1).path.read_bytes()
    with pytest.raises(RunError, match=named):
        locate(limit=1, **changes)
    assert locate(limit=1).path.read_bytes() == before


def test_other_questions_are_refused(locate: Locate, mine: Path) -> None:
    locate()
    edit(mine, 2, question="Which colour is the large patch?")
    with pytest.raises(RunError, match="mine: a question, answer, box or image changed"):
        locate()


def test_a_file_of_somebody_else_is_left_as_it_is(locate: Locate, tmp_path: Path) -> None:
    path = tmp_path / "regions.jsonl"
    path.write_text('{"id": "q0", "bbox": [0, 0, 9, 9]}\n{"id": "q1"')
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"regions\.run\.json: missing"):
        locate()
    assert path.read_bytes() == before


def test_a_damaged_line_is_named(locate: Locate) -> None:
    path = locate().path
    lines = path.read_bytes().splitlines(keepends=True)
    for damage in (b"{}\n", b"[]\n", b"???\n"):
        path.write_bytes(b"".join([lines[0], damage, *lines[2:]]))
        with pytest.raises(RunError, match=r"regions\.jsonl line 2: not as gapbench locate wrote it"):
            locate()


def test_evidence_that_is_no_box_is_left_out_of_the_comparison(locate: Locate, mine: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from gapbench.types import Card, Sample\n"
        'CARD = Card(name="broken", title="b", source="s", licence="l")\n'
        "def samples():\n"
        "    for i, box in enumerate([(10, 10, 40, 40), (1, 2, 3), (900, 900, 950, 950)]):\n"
        f'        yield Sample(str(i), r"{mine.parent / "scene 0.png"}", "Which?", ("red",), boxes=(box,))\n'
    )
    entry = locate(benchmarks=[str(tmp_path / "broken.py")]).summary["benchmarks"]["broken"]
    assert (entry["located"], entry["agreement"]["n"]) == (3, 1)


def test_an_image_that_cannot_be_read_is_a_reason(locate: Locate, mine: Path) -> None:
    (mine.parent / "scene 1.png").write_bytes(b"no image")
    located = locate()
    assert located.summary["benchmarks"]["mine"]["not_located"] == {"not answered": 2}
    assert rows(located.path)[2]["reason"].startswith("not answered: ")
    assert len(read_regions(located.path).boxes) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmarks": []}, "no benchmark was named"),
        ({"method": "guess"}, "expected grounding or attention"),
        ({"limit": 0}, "expected at least 1"),
        ({"margin": 0.5}, "at least 1"),
        ({"margin": float("nan")}, "at least 1"),
        ({"coordinates": "inches"}, "thousand, pixels, unit"),
        ({"largest": 0}, "above 0"),
        ({"layers": "7"}, "no attention map in layer 7"),
        ({"layers": "1", "method": "grounding"}, "only --method attention"),
        ({"out": "regions.json"}, "ends in .jsonl"),
    ],
)
def test_wrong_settings_are_named(locate: Locate, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        locate(**changes)


def test_a_model_without_a_grid_is_refused_with_the_remedy(locate: Locate, tiny: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match="--method grounding"):
        locate(model=str(tiny("llava_next")))


def test_the_command_line_prints_the_agreement(tmp_path: Path) -> None:
    out = tmp_path / "regions.jsonl"
    result = CliRunner().invoke(
        app, ["locate", "glance", "-b", "signs:split=validation", "--limit", "60", "--out", str(out), "-q"]
    )
    assert result.exit_code == 0, result.output
    assert "signs:split=validation: 60 of 60 samples located by attention (glance)." in result.output
    agreement = json.loads(out.with_suffix(".summary.json").read_text())["benchmarks"]["signs:split=validation"][
        "agreement"
    ]
    assert agreement["recall"]["located"]["estimate"] > 0.5
    assert agreement["recall"]["above_chance"]["ci"][0] > 0.1, "glance looks at what it is asked about"


def test_glance_is_asked_for_boxes_it_cannot_give(tmp_path: Path) -> None:
    located = gapbench.locate("glance", ["signs"], tmp_path / "r.jsonl", "grounding", limit=30)
    assert located.summary["benchmarks"]["signs"]["not_located"] == {"no box in the answer": 30}
