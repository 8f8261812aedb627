"""Two processes train what one trains: the same answers, the same steps, the same weights up to rounding."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import write_benchmark

from distillation.trainings import apart, arguments, start, steps, train

pytestmark = pytest.mark.evidence

Tiny = Callable[[str], Path]
BIN = Path(sys.executable).parent
UNSHARDED = (BIN / "torchrun", "--nproc_per_node", "2", "-m", "gapbench")
SHARDED = (
    BIN / "accelerate", "launch", "--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy",
    "TRANSFORMER_BASED_WRAP", "--num_processes", "2", Path(__file__).with_name("fsdp_on_cpu.py"),
)  # fmt: skip
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


def test_a_batch_that_cannot_be_shared_equally_is_refused(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    command = arguments(tiny("qwen3_vl"), data, tmp_path, "prompts_per_step=3")
    with pytest.raises(AssertionError, match=r"prompts_per_step=3 cannot be shared equally by 2 processes"):
        launch(UNSHARDED, *command)
