"""`gapbench distill` as a user meets it: one paragraph for what cannot be done, and Ctrl-C that loses no checkpoint."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import edit, write_benchmark

from distillation.trainings import apart, arguments, gapbench_here, refused, steps, train

Tiny = Callable[[str], Path]
Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("data"), questions=12)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """run("distill", ...) -> exit code and standard error."""
    return lambda *words: gapbench_here(monkeypatch, capsys, *words)


@pytest.mark.slow
def test_one_command_measures_trains_measures_and_compares(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    command = arguments(tiny("qwen3_vl"), data, tmp_path / "out", "--eval", str(data), "--eval-limit", "2")
    done = subprocess.run(
        [sys.executable, "-m", "gapbench", *command, "contamination=keep", "--steps", "2", "--seed", "3"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("recipe.yaml", "train.jsonl", "model", "before", "after", "checkpoints", "comparison.html",
                 "comparison.md", "comparison.json"):  # fmt: skip
        assert (tmp_path / "out" / name).exists()
    model, verdict, *notes, report, share = done.stdout.strip().splitlines()
    assert model.endswith("out/model")
    assert "mine" in verdict
    assert all(note.startswith("note: ") for note in notes)
    assert report.endswith("comparison.html")
    assert re.search(r"hf upload \S+ \S+out/model$", share)
    assert "training: 2/2 steps" in done.stderr
    assert "seed: 3\n" in (tmp_path / "out" / "recipe.yaml").read_text()


def test_a_recipe_that_cannot_be_used_is_refused(tiny: Tiny, data: Path, tmp_path: Path, run: Run) -> None:
    command = arguments(tiny("qwen3_vl"), data, tmp_path / "out")
    refused(run(*command, "learning_rat=1"), "unknown key 'learning_rat'", "Did you mean 'learning_rate'?")
    refused(run(*command, "ema_rate=2"), "ema_rate=2", "less than or equal to 1")
    refused(run(*command, "divergence=kl"), "divergence='kl'", "'forward_kl'")
    refused(run(*command, "steps"), "expected key=value")
    mine = tmp_path / "mine.yaml"
    mine.write_text("steps: 3\nteather: ema\n")
    refused(run(*command, "--recipe", mine), "mine.yaml", "'teather'", "Did you mean 'teacher'?")
    refused(run(*command, "--recipe", "vision-odp"), "Did you mean vision-opd?")
    refused(run(*command, "--limit", "0"), "--limit 0: expected at least 1")
    refused(run(*command, "--eval-limit", "-1"), "--eval-limit -1: expected at least 1")
    assert not (tmp_path / "out").exists()


def test_data_without_boxes_is_refused(tiny: Tiny, data: Path, tmp_path: Path, run: Run) -> None:
    mine = write_benchmark(tmp_path / "mine", questions=4)
    for line in range(4):
        edit(mine, line, bbox=None, bbox_format=None)
    refused(run(*arguments(tiny("qwen3_vl"), mine, tmp_path / "out")), "mine", "none of its 4", "evidence box", "bbox")
    refused(run(*arguments(tiny("qwen3_vl"), "sings", tmp_path / "out")), "'sings'", "signs")
    refused(run(*arguments("glanze", data, tmp_path / "out")), "'glanze'", "Did you mean glance?")
    assert not (tmp_path / "out").exists()


def test_a_teacher_of_another_vocabulary_is_refused(tiny: Tiny, data: Path, tmp_path: Path, run: Run) -> None:
    command = arguments(tiny("qwen3_vl"), data, tmp_path / "out", "-q", "teacher=model")
    refused(run(*command), "teacher_model=''")
    refused(run(*command, f"teacher_model={tiny('llava')}"), "vocabulary differs", "id ", "same family")
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_a_loss_that_is_no_number_stops_the_training(tiny: Tiny, data: Path, tmp_path: Path, run: Run) -> None:
    command = arguments(tiny("qwen3_vl"), data, tmp_path / "out", "-q", "learning_rate=1e30")
    refused(run(*command), "Step 1", "finite", "no checkpoint yet", "learning_rate")
    assert not (tmp_path / "out" / "checkpoints").exists()
    assert not (tmp_path / "out" / "model").exists()


def test_a_training_that_is_there_is_not_written_over(tiny: Tiny, data: Path, tmp_path: Path, run: Run) -> None:
    train(tiny("qwen3_vl"), data, tmp_path, "steps=1")
    command = arguments(tiny("qwen3_vl"), data, tmp_path, "steps=1")
    assert run(*arguments(tiny("qwen3_vl"), data, tmp_path / "any seed", "steps=1", "--seed", "-1"))[0] == 0
    refused(run(*command), "there is a training", "--resume", "another --out")
    refused(run(*command, "--resume", "--seed", "4"), "seed 0, and now it is 4")
    code, _ = run(*command, "--resume")
    assert code == 0


@pytest.mark.evidence
def test_ctrl_c_keeps_the_checkpoint_and_resume_goes_on(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gapbench", *arguments(tiny("qwen3_vl"), data, tmp_path / "out", "steps=1000")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    log = tmp_path / "out" / "train.jsonl"
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    made = steps(tmp_path / "out")
    last = len(made) - len(made) % 2  # the last checkpoint, unless it is just being written
    kept = sorted(p.name for p in (tmp_path / "out" / "checkpoints").glob("step-*"))
    assert kept in ([f"step-{last}"], [f"step-{last - 2}"])

    more = (len(made) + 4) // 2 * 2
    train(tiny("qwen3_vl"), data, tmp_path / "out", f"steps={more}", resume=True)
    assert steps(tmp_path / "out")[: len(made)] == made
    train(tiny("qwen3_vl"), data, tmp_path / "whole", f"steps={more}")
    assert apart(tmp_path / "out" / "model", tmp_path / "whole" / "model") == 0
