"""The script for a GPU machine: what it builds has the published sizes, and all of it runs on a CPU at a tiny size."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import check
import pytest
from sizes import REAL, build, scenes


@pytest.mark.parametrize(("size", "parameters"), [("2B", 2.13e9), ("4B", 4.44e9)])
def test_models_have_the_published_sizes_and_read_images_as_published(size: str, parameters: float) -> None:
    from gapbench.engines.chat import make_chat

    loaded = build(replace(REAL, device="meta"), size)
    assert sum(p.numel() for p in loaded.model.parameters()) == pytest.approx(parameters, rel=0.01)
    assert {p.dtype.itemsize for p in loaded.model.parameters()} == {2}
    chat = make_chat(loaded)
    for image, tokens in (("1344", 1764), ("4K", 8160)):  # as the published processor makes of these sizes
        shown = scenes(REAL, image).samples(1)[0].image()
        assert shown.size == REAL.images[image]
        ids = chat.batch([((shown,), "Which letter?")])["input_ids"][0].tolist()
        assert ids.count(loaded.model.config.image_token_id) == tokens


def test_every_part_runs_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "tiny.json"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "tests/gpu/check.py", "--tiny", "--out", str(out)]
    done = subprocess.run(command, cwd=check.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())
    assert report["machine"]["torch"]
    parts: dict[str, Any] = report["parts"]
    assert list(parts) == [
        "speed tiny 96", "forcing tiny 96 float32", "training tiny 96", "speed tiny wide", "forcing tiny wide float32",
    ]  # fmt: skip
    for name, part in parts.items():
        assert part["peak_gib"], name
        assert name in done.stdout
    for name in ("speed tiny 96", "speed tiny wide"):
        assert parts[name]["ratio"] > 0
        assert parts[name]["equal_answers"] == parts[name]["samples"] == 4
        assert parts[name]["distinct_answers"] > 1
    assert [parts[f"speed tiny {image}"]["image_tokens"] for image in ("96", "wide")] == [9, 18]
    for name in ("forcing tiny 96 float32", "forcing tiny wide float32"):
        assert parts[name]["plain"]["max"] < 1e-4
        assert parts[name]["shared_prompt"]["max"] < 1e-4
        assert parts[name]["another_image"]["max"] > 1e-2  # so the others are small because they are right
    training = parts["training tiny 96"]
    assert training["base_unchanged"]
    assert training["adapters_changed"] > 0
    assert all(map(math.isfinite, (*training["loss"], *training["grad_norm"])))
    assert training["seconds"] > training["seconds_rollouts"] > 0


def test_parts_for_which_no_time_is_left_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    out = tmp_path / "late.json"
    assert check.main(["--tiny", "--out", str(out), "--minutes", "0"]) == 0
    parts = json.loads(out.read_text())["parts"]
    assert [part["skipped"] for part in parts.values()] == ["the 0 minutes were over"] * 5


def test_without_a_gpu_the_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    out = tmp_path / "none.json"
    assert check.main(["--out", str(out)]) == 1
    assert "no CUDA device" in json.loads(out.read_text())["parts"]["GPU"]["error"]


def test_no_part_takes_the_others_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def large(batch: int) -> dict[str, Any]:
        if batch > 2:
            raise RuntimeError("CUDA out of memory")
        return {mode: {"max": math.nan, "mean": 0.0} for mode in ("plain", "shared_prompt", "another_image")}

    def broken(batch: int) -> dict[str, Any]:
        raise ValueError("no such layer")

    attempts = [{"batch": 4}, {"batch": 2}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(check, "parts", lambda *_: {"broken": (broken, attempts), "forcing": (large, attempts)})
    out = tmp_path / "broken.json"
    assert check.main(["--tiny", "--out", str(out)]) == 1
    parts = json.loads(out.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["parts"]
    assert parts["broken"]["error"] == "ValueError: no such layer"
    assert "too_large" not in parts["broken"]
    assert parts["forcing"]["batch"] == 2
    assert parts["forcing"]["plain"]["max"] == "NaN"
    assert parts["forcing"]["too_large"] == [{"batch": 4, "error": "RuntimeError: CUDA out of memory"}]


def test_wheels_are_named_for_the_torch_of_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["--wheels", "2.11"]) == 0
    assert "torchvision==0.26.*" in capsys.readouterr().out
