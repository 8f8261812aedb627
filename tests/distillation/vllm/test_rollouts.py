"""Rollouts through vLLM: the same prompts and ends, the student's own log-probabilities, at every step anew.

vLLM has an environment of its own (engines/vllm_environment.py); on a CPU it does not sleep, but all else is the same.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import vllm_environment
from helpers import write_benchmark
from safetensors.torch import load_file, save_file

from distillation.small import recipe, role, scene
from distillation.trainings import apart, arguments, steps, train
from gapbench.distillation.vllm import rollouts as vllm_rollouts
from gapbench.errors import ModelError

pytestmark = pytest.mark.evidence

Tiny = Callable[[str], Path]
SHARP = ("steps=3", "temperature=0.01")
"""Sampling that leaves little choice, so that two engines draw alike until a tie."""


def run(*words: str | Path) -> str:
    """A command of the vLLM environment; what it wrote to standard error."""
    command = [vllm_environment.python(), *map(str, words)]
    done = subprocess.run(command, env=vllm_environment.environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


def tie(model: Path, to: Path) -> Path:
    """The model with its embeddings as output layer, as small models have it: vLLM keeps a copy of it on a CPU."""
    shutil.copytree(model, to)
    tensors = load_file(model / "model.safetensors")
    del tensors["lm_head.weight"]
    tensors["model.language_model.embed_tokens.weight"] *= 0.2
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    config = (to / "config.json").read_text()
    (to / "config.json").write_text(config.replace('"tie_word_embeddings": false', '"tie_word_embeddings": true'))
    return to


@pytest.fixture(scope="module")
def found(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the sampler answered; see ask_rollouts.py."""
    folder = tmp_path_factory.mktemp("vllm")
    model = tie(tiny("qwen3_vl"), folder / "model")
    run(Path(__file__).with_name("ask_rollouts.py"), model, folder / "findings.json")
    answers: dict[str, Any] = json.loads((folder / "findings.json").read_text())
    assert answers["tied"]
    return answers


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("data"), questions=12)


@pytest.fixture(scope="module")
def trained(tiny: Tiny, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of three steps whose answers vLLM gave."""
    out = tmp_path_factory.mktemp("trained") / "out"
    run("-m", "gapbench", *arguments(tiny("qwen3_vl"), data, out, *SHARP, "use_vllm=true"))
    return out


# --- what is asked and answered -----------------------------------------------------------------------------------


def test_a_prompt_is_read_as_the_trainer_reads_it(found: dict[str, Any]) -> None:
    """Images of three sizes, expanded to as many tokens; control tokens in a question are text."""
    assert found["read"] == found["ours"]
    assert len({len(ids) for ids in found["read"]}) == 3


def test_a_rollout_has_a_valid_token_and_its_log_probability_at_every_position(found: dict[str, Any]) -> None:
    for answers, prompt in zip(found["rollouts"], found["read"], strict=True):
        assert len({tuple(r["ids"]) for r in answers}) == 3, "three answers, not one answer three times"
        for rollout in answers:
            assert len(rollout["ids"]) == len(rollout["logps"]) == 8
            assert all(0 <= token < len(found["probabilities"]) for token in rollout["ids"])
            assert all(-20 < logp < 0 for logp in rollout["logps"])
            assert rollout["truncated"]
            assert rollout["prompt_tokens"] == len(prompt)


def test_draws_repeat_themselves_whatever_they_are_batched_with(found: dict[str, Any]) -> None:
    def ids(rollouts: Any) -> list[Any]:
        return [[r["ids"] for r in answers] for answers in rollouts]

    assert ids(found["again"]) == ids(found["rollouts"])
    assert ids(found["alone"]) == ids(found["rollouts"])[1:2]


def test_an_answer_ends_with_the_students_own_end_and_nothing_else(found: dict[str, Any]) -> None:
    """The draws are the same ones, so an end token only cuts them off behind itself."""
    assert found["ends"], "the model has an end token, which was to be ignored where the student names none"
    for endless, ended in zip(found["rollouts"], found["ended"], strict=True):
        for whole, cut in zip(endless, ended, strict=True):
            at = whole["ids"].index(found["end"]) + 1 if found["end"] in whole["ids"] else len(whole["ids"])
            assert cut["ids"] == whole["ids"][:at]
            assert cut["truncated"] == (found["end"] not in whole["ids"])
    assert any(not r["truncated"] for answers in found["ended"] for r in answers)


def test_suppressed_tokens_are_never_drawn(found: dict[str, Any]) -> None:
    assert any(found["end"] in r["ids"] for answers in found["rollouts"] for r in answers)
    assert not any(found["end"] in r["ids"] for answers in found["without"] for r in answers)


def test_draws_follow_the_students_distribution(found: dict[str, Any]) -> None:
    p = np.array(found["probabilities"])
    logs = np.log(p[found["drawn"]])
    assert len(set(found["drawn"])) > 100
    entropy = -(p[p > 0] * np.log(p[p > 0])).sum()
    spread = math.sqrt((p[p > 0] * np.log(p[p > 0]) ** 2).sum() - entropy**2)
    assert logs.mean() == pytest.approx(-entropy, abs=5 * spread / math.sqrt(len(logs)))
    order = np.argsort(-p)
    nucleus = set(order[: int(np.searchsorted(np.cumsum(p[order]), 0.3)) + 1])
    assert set(found["likely"]) <= nucleus


# --- whose weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["start", "moved", "teacher", "pushed", "adapter", "adapter moved"])
def test_log_probabilities_follow_the_weights_of_the_trainer(found: dict[str, Any], weights: str) -> None:
    """The largest |log p of the trainer - log p of the sampler|, in nats: of all weights, and of merged adapters."""
    assert found["gaps"][weights] < 1e-4


def test_without_a_push_they_do_not(found: dict[str, Any]) -> None:
    assert found["gaps"]["not pushed"] > 0.1


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("another model", "differ from the trainer's by up to .* nats"),
        ("another prompt", "vLLM reads a prompt as other tokens"),
        ("a weight is lacking", r"1 weights that vLLM needs were not among .*layers\.0\.mlp\.down_proj"),
    ],
)
def test_a_vllm_that_does_not_answer_as_the_student_is_refused(found: dict[str, Any], what: str, says: str) -> None:
    assert re.search(says, found["refusals"][what])
    assert "set use_vllm=false" in found["refusals"][what]


# --- a whole training ---------------------------------------------------------------------------------------------


def test_a_training_logs_how_far_trainer_and_sampler_are_apart(trained: Path) -> None:
    """At steps 2 and 3 it would be a nat, had the sampler not been given the new weights."""
    lines = steps(trained)
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert 0 < line["logp_gap"] <= line["logp_gap_max"] < 1e-5
    training = json.loads((trained / "distill.json").read_text())["training"]
    assert training["rollouts"]["engine"] == "vllm"
    assert not training["rollouts"]["sleeps"], "a CPU does not sleep"
    assert training["rollouts"]["difference"] < 1e-5


def test_it_begins_as_one_through_transformers(trained: Path, tiny: Tiny, data: Path, tmp_path: Path) -> None:
    """Until a tie is drawn otherwise, both engines train the same weights."""
    train(tiny("qwen3_vl"), data, tmp_path, *SHARP)
    ours, theirs = steps(trained)[0], steps(tmp_path)[0]
    for key in ("loss", "divergence", "entropy", "grad_norm", "mean_length"):
        assert ours[key] == pytest.approx(theirs[key], rel=1e-4)
    assert apart(trained / "model", tiny("qwen3_vl")) > 5e-4, "it was trained"


def test_two_processes_draw_what_one_draws(trained: Path, tiny: Tiny, data: Path, tmp_path: Path) -> None:
    """Each trainer has a vLLM of its own, in its process group, and ends without an error."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port), "-m", "gapbench")
    errors = run(*launch, *arguments(tiny("qwen3_vl"), data, tmp_path, *SHARP, "use_vllm=true"))
    assert "Traceback" not in errors
    assert apart(tmp_path / "model", trained / "model") < 1e-5
    for ours, theirs in zip(steps(tmp_path), steps(trained), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


# --- where it cannot be -------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_it_is_said(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"use_vllm: vLLM is not installed\. pip install .*use_vllm=false"):
        train(tiny("qwen3_vl"), data, tmp_path, "use_vllm=true")


@pytest.mark.gpu
def test_vllm_leaves_the_gpu_between_batches(tiny: Tiny) -> None:
    """Not run by us so far: it needs a GPU and vLLM in one environment."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("vllm")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    from gapbench.distillation.rollouts import Prompt, Sampling

    settings = recipe(use_vllm=True, vllm_gpu_memory_utilization=0.3)
    student = role(tiny("qwen3_vl"), settings)
    student.model.to("cuda")
    sampler = vllm_rollouts.start(str(tiny("qwen3_vl")), settings, "float32")
    assert sampler.info["sleeps"]
    free, total = torch.cuda.mem_get_info()
    assert free > 0.8 * total, "asleep, a third of the GPU is not vLLM's"
    prompts = [Prompt(scene(0).image, "Which colour?", (1, 2))]
    first = sampler(student, prompts, Sampling(8))
    assert sampler(student, prompts, Sampling(8)) == first, "awake again, with weights that were discarded"
    sampler.close()
