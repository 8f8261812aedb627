"""Images are held once: memory does not grow with the number of answers to each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distillation.trainings import arguments

Tiny = Callable[[str], Path]
COUNT, SIDE = 20, 1500
"""20 images of 6.75 MB: 135 MB for one step."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large images, each asked about once."""
    folder = tmp_path_factory.mktemp("large")
    rows = []
    for i in range(COUNT):
        shade = np.random.default_rng(i).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(shade).resize((SIDE, SIDE)).save(folder / f"{i}.png", compress_level=1)
        rows.append({"id": str(i), "image": f"{i}.png", "question": "Which colour?", "answer": "red",
                     "bbox": [100, 100, 160, 160], "bbox_format": "xyxy"})  # fmt: skip
    (folder / "large.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder / "large.jsonl"


def peak(model: Path, data: Path, out: Path, answers: int) -> float:
    """MB that a training of two steps takes at most, in a process of its own."""
    command = arguments(model, data, out, "-q", f"prompts_per_step={COUNT}", f"rollouts_per_prompt={answers}",
                        "steps=2", "micro_batch_tokens=600", "rollout_tokens=600", "save_every=9",
                        "probe_every=0")  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "gapbench", *command], timeout=300, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    lines = (out / "train.jsonl").read_text().splitlines()
    return max(float(json.loads(line)["memory_gib"]) for line in lines) * 1024


@pytest.mark.evidence
def test_eight_answers_a_prompt_take_no_more_memory_than_one(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    model = tiny("qwen3_vl")
    one, eight = (peak(model, data, tmp_path / str(n), n) for n in (1, 8))
    print(f"peak {one:.0f} MB with one answer a prompt, {eight:.0f} MB with eight")
    # Seven more copies of each image would be 945 MB.
    assert eight - one < 150
