"""Nothing is lost: what a kill, a full disk or a broken file may cost is the steps since the last checkpoint."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import resource
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from helpers import write_benchmark
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors

from distillation import forked
from distillation.trainings import (
    apart,
    arguments,
    crash,
    gapbench_here,
    refused,
    same,
    start,
    steps,
    train,
)  # fmt: skip
from gapbench.distillation import training
from gapbench.distillation.checkpoints import newest, prune, read_notes
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.student import _without_dropout
from gapbench.errors import RunError

Tiny = Callable[[str], Path]

KILLED = """
import os, signal
from gapbench.distillation import loop
roll_out = loop.roll_out
def dying(setup, pairs, step):
    if step == 7:  # the eighth
        os.kill(os.getpid(), signal.SIGKILL)
    return roll_out(setup, pairs, step)
loop.roll_out = dying
from gapbench.__main__ import main
main()
"""


KILLS = int(os.environ.get("GAPBENCH_KILLS", "20"))
"""How many kills the tests below wait for."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("data"), questions=12)


@pytest.fixture(scope="module")
def whole(tiny: Tiny, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps without an interruption, and the checkpoints after two and four."""
    out = tmp_path_factory.mktemp("whole") / "out"
    train(tiny("qwen3_vl"), data, out, "keep_checkpoints=9")
    return out


@pytest.mark.evidence
def test_ten_steps_are_five_steps_a_kill_and_the_rest(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    settings = ("steps=10", "save_every=5", "schedule=cosine")
    command = arguments(tiny("qwen3_vl"), data, tmp_path / "killed", *settings)
    killed = start(sys.executable, "-c", KILLED, *command)
    assert killed.returncode == -9, killed.stderr
    assert len(steps(tmp_path / "killed")) == 7
    assert newest(tmp_path / "killed" / "checkpoints") == tmp_path / "killed" / "checkpoints" / "step-5"

    resumed = start(sys.executable, "-m", "gapbench", *command, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming after step 5" in resumed.stderr
    train(tiny("qwen3_vl"), data, tmp_path / "whole", *settings)
    assert len(steps(tmp_path / "whole")) == 10
    same(tmp_path / "killed", tmp_path / "whole")
    assert apart(tmp_path / "whole" / "model", tiny("qwen3_vl")) > 1e-3


def content_of(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name."""
    saved = FileSystemReader(checkpoint).read_metadata().state_dict_metadata
    tensors = {name: torch.empty(entry.size, dtype=entry.properties.dtype) for name, entry in saved.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load_tensors(tensors, checkpoint_id=checkpoint, no_dist=True)
    return tensors


def whole_files(out: Path) -> None:
    """Whatever is there under its own name is whole."""
    for path in (out / "distill.json", out / "comparison.json", *out.glob("checkpoints/step-*/state.json")):
        assert not path.exists() or json.loads(path.read_text())
    assert not (out / "model").exists() or load_file(out / "model" / "model.safetensors")
    for checkpoint in out.glob("checkpoints/step-*"):
        assert content_of(checkpoint), "all its tensors are read"
        assert checkpoint.name == f"step-{read_notes(checkpoint)['step']}"
    card = out / "model" / "README.md"
    assert not card.exists() or card.read_text().rstrip().endswith("trackers: []")
    log = out / "train.jsonl"
    assert not log.exists() or all(map(json.loads, log.read_text().splitlines()[:-1]))


def undisturbed(
    words: list[str], out: Path, *launch: Mapping[str, str], processes: int = 1
) -> tuple[tuple[int, ...], float]:
    """How often each process writes while a training is not killed, and how many seconds it takes."""
    forked.run(["--version"], out)  # the first one imports everything
    started = time.monotonic()
    ending = forked.run(words, out, *launch, processes=processes)
    assert not any(ending.codes), ending.errors
    return ending.moments, time.monotonic() - started


@pytest.mark.evidence
def test_kills_at_any_moment_and_while_files_are_written_cost_nothing(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    """Measured, trained, saved, measured again; killed once or twice at random, then continued to the end."""
    evaluated = ("--eval", str(data), "--eval-limit", "2", "contamination=keep")

    def run(out: Path, *more: str, **kill: Any) -> int:
        words = arguments(tiny("qwen3_vl"), data, out, *evaluated, *more)
        ending = forked.run(words, out, **kill)
        assert ending.codes[0] in ((0, -9) if kill else (0,)), ending.errors
        return ending.codes[0]

    moments, lasted = undisturbed(arguments(tiny("qwen3_vl"), data, tmp_path / "whole", *evaluated), tmp_path / "whole")
    assert moments[0] > 100
    dice = random.Random(0)
    kills = 0
    for number in itertools.count():
        if kills >= KILLS:
            break
        out = tmp_path / str(number)
        first = {"kill_at": dice.randint(1, moments[0])} if number % 2 else {"seconds": dice.uniform(0.1, 0.9) * lasted}
        kills += run(out, **first) == -9
        whole_files(out)
        kills += run(out, "--resume", kill_at=dice.randint(1, moments[0])) == -9
        whole_files(out)
        run(out, "--resume")
        same(out, tmp_path / "whole")
        whole_files(out)
        found, expected = (json.loads((at / "comparison.json").read_text()) for at in (out, tmp_path / "whole"))
        assert found["benchmarks"] == expected["benchmarks"]
        trained, expected = (json.loads((at / "distill.json").read_text()) for at in (out, tmp_path / "whole"))
        assert trained["training"] == expected["training"]
        assert [p.name for p in (out / "checkpoints").iterdir()] == ["step-4"]
        assert {p.name for p in (out / "model").iterdir()} == {p.name for p in (tmp_path / "whole" / "model").iterdir()}
        shutil.rmtree(out)
    print(f"{kills} kills in {number} trainings, among {moments[0]} moments of writing")


@pytest.mark.evidence
def test_kills_of_sharded_processes_at_any_moment_cost_nothing(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    """FSDP2 over two processes: one of them is killed while it writes, or both at any time."""
    settings = ("save_every=1", "ema_rate=0.3")
    whole = arguments(tiny("qwen3_vl"), data, tmp_path / "whole", *settings)
    moments, lasted = undisturbed(whole, tmp_path / "whole", forked.FSDP, processes=2)
    dice = random.Random(0)
    resumed: Counter[int] = Counter()
    for number in itertools.count():
        if resumed.total() >= KILLS:
            break
        out, rank = tmp_path / str(number), number % 2
        words = arguments(tiny("qwen3_vl"), data, out, *settings)
        if number % 4 < 2:
            moment = dice.randint(1, moments[rank])
            ending = forked.run(words, out, forked.FSDP, kill_at=moment, rank=rank, processes=2)
            assert (ending.codes[rank], ending.moments[rank]) == (-9, moment), ending.errors
        else:
            ending = forked.run(words, out, forked.FSDP, seconds=dice.uniform(0.3, 0.9) * lasted, processes=2)
        if not any(ending.codes):  # it was faster than before
            continue
        whole_files(out)
        checkpoint = newest(out / "checkpoints")
        resumed[int(checkpoint.name[5:]) if checkpoint else 0] += 1
        ending = forked.run([*words, "--resume"], out, forked.FSDP, processes=2)
        assert not any(ending.codes), f"kill {number}: {ending.errors}"
        same(out, tmp_path / "whole")
        assert [p.name for p in (out / "checkpoints").iterdir()] == ["step-4"]
        shutil.rmtree(out)
    after = dict(sorted(resumed.items()))
    print(f"{resumed.total()} kills among {moments} moments of writing; resumed after step: {after}")


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("qwen3_vl", ("teacher=trust_region",)),
        ("qwen3_vl", ("teacher=copy", "copy_every=2")),
        ("qwen3_vl", ("teacher=live", "rollouts_from=teacher", "anchor_share=0.5")),
        ("qwen3_vl", ("lora=true", "lora_rank=4")),
        ("gemma3", ("ema_rate=0.3",)),  # its embeddings are tied
    ],
)
def test_every_kind_of_training_is_resumed_bit_for_bit(
    tiny: Tiny, data: Path, tmp_path: Path, family: str, settings: tuple[str, ...]
) -> None:
    model = tiny(family)
    train(model, data, tmp_path / "whole", "keep_checkpoints=9", *settings)
    crashed = crash(tmp_path / "whole", tmp_path / "crashed", 2, later=(4,))
    train(model, data, crashed, "keep_checkpoints=9", *settings, resume=True)
    same(crashed, tmp_path / "whole")


def test_a_finished_training_goes_on_with_more_steps(tiny: Tiny, data: Path, whole: Path, tmp_path: Path) -> None:
    train(tiny("qwen3_vl"), data, tmp_path, "steps=2")
    train(tiny("qwen3_vl"), data, tmp_path, "steps=4", resume=True)
    same(tmp_path, whole)
    with pytest.raises(RunError, match="steps 4, and now it is 3"):
        train(tiny("qwen3_vl"), data, tmp_path, "steps=3", resume=True)


def test_the_newest_checkpoints_are_kept_and_drafts_are_none(
    tiny: Tiny, data: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    train(tiny("qwen3_vl"), data, tmp_path, "save_every=1", "keep_checkpoints=2")
    assert {p.name for p in folder.iterdir()} == {"step-3", "step-4"}
    (folder / ".step-9.draft").mkdir()
    (folder / "step-10-copy").mkdir()
    assert newest(folder) == folder / "step-4"
    assert newest(tmp_path / "nowhere") is None
    same(tmp_path, whole)  # how often it is kept changes nothing


def test_a_checkpoint_that_a_kill_saved_from_pruning_goes_when_the_training_is_resumed(
    tiny: Tiny, data: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    train(tiny("qwen3_vl"), data, tmp_path)
    shutil.copytree(folder / "step-4", folder / "step-2")
    shutil.rmtree(tmp_path / "model")  # killed after the last checkpoint took its place
    train(tiny("qwen3_vl"), data, tmp_path, resume=True)
    assert [path.name for path in folder.iterdir()] == ["step-4"]
    same(tmp_path, whole)


@contextlib.contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file may be larger meanwhile: the kernel refuses the write in the same place as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def content(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.mark.parametrize("limit", [100_000, 1_500_000])  # the weights are 1.0 MB, the optimizer's averages 2.0 MB
def test_a_full_disk_leaves_the_checkpoint_before_whole(
    tiny: Tiny, data: Path, whole: Path, tmp_path: Path, limit: int
) -> None:
    crashed = crash(whole, tmp_path / "out", 2, later=(4,))
    before = content(crashed / "checkpoints" / "step-2")
    with small_files(limit), pytest.raises(RunError, match=r"step-4.*could not be written.*step-2 is whole.*--resume"):
        train(tiny("qwen3_vl"), data, crashed, "keep_checkpoints=9", resume=True)
    assert [p.name for p in (crashed / "checkpoints").iterdir()] == ["step-2"]
    assert content(crashed / "checkpoints" / "step-2") == before
    train(tiny("qwen3_vl"), data, crashed, "keep_checkpoints=9", resume=True)
    same(crashed, whole)


def test_a_disk_that_fills_up_before_the_model_is_written_costs_no_step(
    tiny: Tiny, data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model = training.save_model
    with monkeypatch.context() as patch:

        def on_a_full_disk(*arguments: object) -> None:
            with small_files(100_000):
                save_model(*arguments)

        patch.setattr(training, "save_model", on_a_full_disk)
        with pytest.raises(RunError, match=r"model could not be written.*step-4.*--resume"):
            train(tiny("qwen3_vl"), data, tmp_path)
    assert not [p for p in tmp_path.iterdir() if "model" in p.name]
    train(tiny("qwen3_vl"), data, tmp_path, resume=True)
    same(tmp_path, whole)


@pytest.mark.parametrize("broken", ["__0_0.distcp", ".metadata", "state.json"])
def test_a_truncated_checkpoint_is_named_and_no_other_is_given_up(
    tiny: Tiny, data: Path, whole: Path, tmp_path: Path, broken: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    crashed = crash(whole, tmp_path / "out", 4, later=())
    path = crashed / "checkpoints" / "step-4" / broken
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    command = arguments(tiny("qwen3_vl"), data, crashed, "keep_checkpoints=9", "--resume", "-q")
    message = gapbench_here(monkeypatch, capsys, *command)
    refused(message, "step-4: cannot be read", "move it to another folder", "goes on from step-2")
    assert "emove" not in message[1]
    (crashed / "checkpoints" / "step-4").rename(tmp_path / "aside")
    train(tiny("qwen3_vl"), data, crashed, "keep_checkpoints=9", resume=True)
    same(crashed, whole)


def test_a_checkpoint_under_another_steps_name_is_refused(tiny: Tiny, data: Path, whole: Path, tmp_path: Path) -> None:
    crashed = crash(whole, tmp_path / "out", 2, later=(4,))
    (crashed / "checkpoints" / "step-2").rename(crashed / "checkpoints" / "step-3")
    with pytest.raises(RunError, match=r"step-3: cannot be read .*state.json says step 2.* another --out"):
        train(tiny("qwen3_vl"), data, crashed, resume=True)


def test_a_base_that_has_moved_on_the_hub_is_refused(tiny: Tiny, data: Path, whole: Path, tmp_path: Path) -> None:
    """A checkpoint holds what is trained alone; here it says that it began at a commit."""
    crashed = crash(whole, tmp_path / "out", 2, later=(4,))
    notes = read_notes(crashed / "checkpoints" / "step-2")
    (crashed / "checkpoints" / "step-2" / "state.json").write_text(json.dumps({**notes, "base": "abc"}))
    with pytest.raises(RunError, match=r"at commit abc, and now that is at None\. Resume with --revision abc"):
        train(tiny("qwen3_vl"), data, crashed, "keep_checkpoints=9", resume=True)


# --- what may change ------------------------------------------------------------------------------------------------

MEMORY = (
    ("micro_batch_tokens=100",),
    ("rollout_tokens=1", "chunk_tokens=1"),
    ("share_prompt=false",),
    ("gradient_checkpointing=true", "micro_batch_tokens=200"),
)


@pytest.mark.parametrize("settings", MEMORY, ids=" ".join)
def test_a_training_goes_on_with_less_memory_and_changes_by_rounding_alone(
    tiny: Tiny, data: Path, whole: Path, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    crashed = crash(whole, tmp_path / "out", 2, later=(4,))
    train(tiny("qwen3_vl"), data, crashed, "keep_checkpoints=9", *settings, resume=True)
    assert apart(crashed / "model", whole / "model") < 1e-5
    assert apart(crashed / "model", tiny("qwen3_vl")) > 5e-4
    sessions = json.loads((crashed / "distill.json").read_text())["sessions"]
    assert "changed" not in sessions[0]
    assert sessions[1]["after_step"] == 2
    assert list(sessions[1]["changed"]) == sorted((s.partition("=")[0] for s in settings), key=KEYS.index)
    assert "changed after step 2: " in (crashed / "model" / "README.md").read_text()


KEYS = list(Recipe.model_fields)


def test_gradient_checkpointing_brings_no_dropout(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    """It needs the training mode, in which a model's own dropout would be alive."""
    model = tmp_path / "model"
    shutil.copytree(tiny("qwen3_vl"), model)
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["attention_dropout"] = 0.5
    (model / "config.json").write_text(json.dumps(config))
    train(model, data, tmp_path / "plain")
    train(model, data, tmp_path / "less memory", "gradient_checkpointing=true")
    assert apart(tmp_path / "plain" / "model", tmp_path / "less memory" / "model") < 1e-5


def test_a_layers_own_dropout_is_switched_off() -> None:
    """Layers that checkpoint are in training mode themselves: rates that they hold, not their modules, are set to 0."""
    layer = torch.nn.Linear(2, 2)
    layer.gradient_checkpointing, layer.dropout, layer.layerdrop, layer.eps = True, 0.1, 0.2, 0.3
    _without_dropout(torch.nn.Sequential(layer))
    assert (layer.dropout, layer.layerdrop, layer.eps) == (0, 0, 0.3)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_other_steps_are_refused_where_the_schedule_depends_on_them(
    tiny: Tiny, data: Path, tmp_path: Path, schedule: str
) -> None:
    train(tiny("qwen3_vl"), data, tmp_path, "steps=2", f"schedule={schedule}")
    with pytest.raises(RunError, match=rf"steps 2, and now it is 4\. With schedule={schedule} the learning rate of "):
        train(tiny("qwen3_vl"), data, tmp_path, "steps=4", f"schedule={schedule}", resume=True)


def test_fewer_steps_than_the_newest_checkpoint_has_are_refused(
    tiny: Tiny, data: Path, whole: Path, tmp_path: Path
) -> None:
    """Otherwise its weights would be saved as those of fewer steps."""
    crashed = crash(whole, tmp_path / "out", 4, later=())
    with pytest.raises(RunError, match=r"4 steps are trained, and now it is steps=3\. Set steps to 4 or more"):
        train(tiny("qwen3_vl"), data, crashed, "keep_checkpoints=9", "steps=3", resume=True)
    begun = json.loads((crashed / "distill.json").read_text())
    (crashed / "distill.json").write_text(json.dumps({**begun, "training": {"steps": 2}}))
    shutil.copytree(whole / "model", crashed / "model")  # killed between this and distill.json
    with pytest.raises(RunError, match=r"4 steps are trained, and now it is steps=2\."):
        train(tiny("qwen3_vl"), data, crashed, "keep_checkpoints=9", "steps=2", resume=True)


def test_another_precision_is_refused_whatever_it_is_called(
    tiny: Tiny, data: Path, whole: Path, tmp_path: Path
) -> None:
    crashed = crash(whole, tmp_path / "out", 2, later=(4,))
    with pytest.raises(RunError, match=r"precision=no, and here it would be precision=bf16\. Set precision=no"):
        train(tiny("qwen3_vl"), data, crashed, "keep_checkpoints=9", "precision=bf16", resume=True)
    train(tiny("qwen3_vl"), data, crashed, "keep_checkpoints=9", "precision=auto", resume=True)  # the same on a CPU
    same(crashed, whole)


def test_a_checkpoint_of_an_adapter_holds_no_base(tiny: Tiny, data: Path, whole: Path, tmp_path: Path) -> None:
    train(tiny("qwen3_vl"), data, tmp_path, "lora=true", "lora_rank=4")
    tensors = content_of(tmp_path / "checkpoints" / "step-4")
    assert tensors
    assert all(".lora_A." in name or ".lora_B." in name for name in tensors)

    def size(out: Path) -> int:
        return sum(p.stat().st_size for p in (out / "checkpoints" / "step-4").iterdir())

    assert size(tmp_path) < size(whole) / 3  # of this tiny model
    numbers = sum(t.numel() for name, t in tensors.items() if name.startswith("student/"))
    assert numbers == json.loads((tmp_path / "distill.json").read_text())["training"]["parameters_trained"]


def test_a_kill_while_an_old_checkpoint_is_removed_leaves_no_part_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (2, 4):
        (tmp_path / f"step-{step}").mkdir()
    removed: list[str] = []
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: removed.append(path.name))  # killed before it begins
    prune(tmp_path, Accelerator(cpu=True), 1)
    assert removed == [".step-2.outdated"]
    assert newest(tmp_path) == tmp_path / "step-4"
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-4"]
    monkeypatch.undo()
    prune(tmp_path, Accelerator(cpu=True), 1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-4"]
