"""Trainings of a few steps on tiny models, by the Python API or the command line, and what they leave behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

import gapbench
from gapbench.commands.distill import Distilled

SMALL = (
    "steps=4", "prompts_per_step=4", "rollouts_per_prompt=2", "max_new_tokens=5", "learning_rate=3e-4",
    "warmup_steps=0", "save_every=2", "probe_every=2", "micro_batch_tokens=1024", "top_k=20", "precision=no",
    "gradient_checkpointing=false",
)  # fmt: skip
"""Four steps of about a tenth of a second that move the weights by about 1e-3."""
MEASURED = frozenset({"tokens_per_second", "seconds", "seconds_rollouts", "memory_gib"})
"""Entries of `train.jsonl` that no two trainings share."""


def train(model: Path | str, data: Path | str, out: Path, *settings: str, **more: Any) -> Distilled:
    """A training by the Python API, without the hold-outs that nobody asked for."""
    more = {"holdout": False, **more}
    return gapbench.distill(str(model), str(data), "vision-opd", out, overrides=[*SMALL, *settings], **more)


def arguments(model: Path | str, data: Path | str, out: Path, *more: str) -> list[str]:
    """The same as arguments of `gapbench`; `more` are settings or flags."""
    command = ["distill", str(model), "--data", str(data), "--recipe", "vision-opd", "--out", str(out), "--no-holdout"]
    return [*command, *SMALL, *more]


BIN = Path(sys.executable).parent
ON_CPU = Path(__file__).with_name("fsdp_on_cpu.py")


def unsharded(*words: str, processes: int = 2) -> list[str]:
    """The command that trains in processes which all hold the whole model (DDP)."""
    port = ("--master_port", free_port(), "--nproc_per_node", str(processes))
    return [str(BIN / "torchrun"), *port, "-m", "gapbench", *words]


def sharded(*words: str, processes: int = 2, script: Path = ON_CPU) -> list[str]:
    """The command that trains in processes which hold a part of the weights each (FSDP2)."""
    port = ("--main_process_port", free_port(), "--num_processes", str(processes))
    policy = ("--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP")
    return [str(BIN / "accelerate"), "launch", *port, *policy, str(script), *words]


def free_port() -> str:
    """A port that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def start(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False, **options)


def gapbench_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str | Path
) -> tuple[int, str]:
    """The command line in this process: its exit code and what it wrote to standard error."""
    from gapbench.cli.app import app, run

    monkeypatch.setattr(sys, "argv", ["gapbench", *map(str, words)])
    capsys.readouterr()
    code = run(app)
    return code, capsys.readouterr().err


def refused(found: tuple[int, str], *words: str) -> None:
    """Exit code 2 and one paragraph that has these words."""
    code, errors = found
    assert code == 2, errors
    assert errors.startswith("gapbench: "), errors
    assert len(errors.strip().splitlines()) == 1, errors
    for word in words:
        assert word in errors


def weights(model: Path) -> dict[str, Tensor]:
    """The tensors of a model folder."""
    return load_file(model / "model.safetensors")


def apart(one: Path, other: Path) -> float:
    """Largest difference between the weights of two model folders, which must have the same names."""
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name].float() - theirs[name].float()).abs().max()) for name in ours)


def steps(out: Path, without: frozenset[str] = MEASURED) -> list[dict[str, Any]]:
    """The lines of `train.jsonl`."""
    lines = (out / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in without} for line in lines]


def same(one: Path, other: Path) -> None:
    """Two trainings ended in the same weights, bit for bit, by the same steps."""
    assert apart(one / "model", other / "model") == 0
    assert steps(one) == steps(other)


def crash(out: Path, at: Path, step: int, later: Sequence[int]) -> Path:
    """What a crash after `step` steps would have left of the finished training `out`, which kept its checkpoints."""
    shutil.copytree(out, at)
    for name in ("model", *(f"checkpoints/step-{n}" for n in later)):
        shutil.rmtree(at / name)
    log = at / "train.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[: step + 1]) + '{"step": 4, "lo')
    begun = json.loads((at / "distill.json").read_text())
    (at / "distill.json").write_text(json.dumps({k: v for k, v in begun.items() if k not in ("training", "finished")}))
    return at
