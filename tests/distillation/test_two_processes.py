"""Two processes train what one trains: the same answers, the same steps, the same weights up to rounding."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import write_benchmark

from distillation.one_step import one_step
from distillation.trainings import apart, arguments, start, steps, train

pytestmark = pytest.mark.evidence

Tiny = Callable[[str], Path]
BIN = Path(sys.executable).parent
UNSHARDED = (BIN / "torchrun", "--nproc_per_node", "2", "-m", "gapbench")
FSDP2 = (
    BIN / "accelerate", "launch", "--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy",
    "TRANSFORMER_BASED_WRAP", "--num_processes", "2",
)  # fmt: skip
SHARDED = (*FSDP2, Path(__file__).with_name("fsdp_on_cpu.py"))
SETTINGS = ("micro_batch_tokens=60", "ema_rate=0.3")
"""Several micro-batches a step and process: DDP must not await gradients between them, nor from the self-check."""


def launch(launcher: tuple[str | Path, ...], *words: str) -> str:
    """Run in two processes on a port of its own; what they wrote to standard error."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    first, *rest = map(str, launcher)
    at = ["launch", "--main_process_port", str(port), *rest[1:]] if rest[0] == "launch" else [
        "--master_port", str(port), *rest
    ]  # fmt: skip
    done = start(first, *at, *words)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("data"), questions=12)


@pytest.fixture(scope="module")
def single(tiny: Tiny, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, four steps."""
    out = tmp_path_factory.mktemp("single") / "out"
    train(tiny("qwen3_vl"), data, out, *SETTINGS)
    return out


def equal(out: Path, single: Path, distributed: str) -> None:
    training = json.loads((out / "distill.json").read_text())["training"]
    assert (training["processes"], training["distributed"]) == (2, distributed)
    assert apart(out / "model", single / "model") < 1e-5
    for ours, theirs in zip(steps(out), steps(single), strict=True):
        for key, value in theirs.items():
            assert ours[key] == (pytest.approx(value, rel=1e-4, abs=2e-6) if isinstance(value, float) else value)


def test_two_processes_train_what_one_trains(tiny: Tiny, data: Path, single: Path, tmp_path: Path) -> None:
    more = ("--eval", str(data), "--eval-limit", "3", "contamination=keep")
    errors = launch(UNSHARDED, *arguments(tiny("qwen3_vl"), data, tmp_path, *SETTINGS, *more))
    equal(tmp_path, single, "MULTI_CPU")
    for once in ("before: measuring", "training samples show an image", "self-check:", "after: measuring"):
        assert errors.count(once) == 1
    for side in ("before", "after"):
        assert len(json.loads((tmp_path / side / "run.json").read_text())["sessions"]) == 1
        assert len((tmp_path / side / "records.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("qwen3_vl", ("teacher=trust_region",)),
        ("gemma3", ()),  # its embeddings are tied
    ],
)
def test_two_processes_with_sharded_weights_train_what_one_trains(
    tiny: Tiny, data: Path, tmp_path: Path, family: str, settings: tuple[str, ...]
) -> None:
    """FSDP2; after two steps of three its weights, its optimizer and its teacher come back from their shards."""
    settings = (*SETTINGS, *settings, "steps=3")
    train(tiny(family), data, tmp_path / "single", *settings)
    command = arguments(tiny(family), data, tmp_path / "sharded", *settings)
    if family == "gemma3":
        launch(SHARDED, *command, "steps=2")
        assert len(list((tmp_path / "sharded" / "checkpoints" / "step-2").glob("teacher-*.safetensors"))) == 2
        command.append("--resume")
    launch(SHARDED, *command)
    equal(tmp_path / "sharded", tmp_path / "single", "FSDP")


# --- precision under FSDP2 -----------------------------------------------------------------------------------------

MANY = ("prompts_per_step=4", "rollouts_per_prompt=8", "micro_batch_tokens=60")
"""A step in 32 micro-batches of one answer, 16 in each of two processes."""


def sharded_step(model: Path, data: Path, out: Path, *settings: str) -> dict[str, Any]:
    script = Path(one_step.__code__.co_filename)
    launch((*FSDP2, script), str(model), str(data), str(out), *MANY, *settings)
    found: dict[str, Any] = torch.load(out / "gradients.pt")
    return found


def gradients_apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """||one - other|| / ||other|| over the gradients of all weights together."""
    pairs = [(one["gradients"][name], gradient) for name, gradient in other["gradients"].items()]
    difference = sum(float((a - b).norm()) ** 2 for a, b in pairs)
    return float((difference / sum(float(b.norm()) ** 2 for _, b in pairs)) ** 0.5)


@pytest.mark.parametrize("family", ["qwen3_vl", "gemma3"])
def test_sharding_costs_no_precision(tiny: Tiny, data: Path, tmp_path: Path, family: str) -> None:
    """In float32 nothing at all. In bfloat16, as on a GPU, what layers in bfloat16 cost, and nothing beyond that."""
    model, single = str(tiny(family)), partial(one_step, str(tiny(family)), str(data))
    exact = single(tmp_path / "exact", *MANY, "precision=no")
    rounded = single(tmp_path / "rounded", *MANY, "precision=no", plain_bfloat16=True)
    sharded = sharded_step(Path(model), data, tmp_path / "float32", "precision=no")
    on_a_gpu = sharded_step(Path(model), data, tmp_path / "bfloat16", "precision=bf16")
    for name, one, other in (
        ("float32", sharded, exact), ("bf16 against plain bf16", on_a_gpu, rounded), ("bf16", on_a_gpu, exact),
        ("plain bf16", rounded, exact),
    ):  # fmt: skip
        loss, gap = (one["line"][key] / other["line"][key] - 1 for key in ("loss", "logp_gap"))
        print(f"{family} {name}: loss {loss:+.1e}, logp_gap {gap:+.1e}, gradients {gradients_apart(one, other):.1e}")
    assert gradients_apart(sharded, exact) < 1e-5
    assert sharded["line"]["loss"] == pytest.approx(exact["line"]["loss"], rel=1e-5)
    assert gradients_apart(on_a_gpu, rounded) < 4e-3
    assert on_a_gpu["line"]["loss"] == pytest.approx(rounded["line"]["loss"], rel=1e-5)
    assert on_a_gpu["line"]["logp_gap"] == pytest.approx(rounded["line"]["logp_gap"], rel=1e-6)
    assert on_a_gpu["line"]["loss"] == pytest.approx(exact["line"]["loss"], rel=4e-3)
    assert gradients_apart(on_a_gpu, exact) < 1.1 * gradients_apart(rounded, exact)


def test_a_batch_that_cannot_be_shared_equally_is_refused(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    command = arguments(tiny("qwen3_vl"), data, tmp_path, "prompts_per_step=3")
    with pytest.raises(AssertionError, match=r"prompts_per_step=3 cannot be shared equally by 2 processes"):
        launch(UNSHARDED, *command)
