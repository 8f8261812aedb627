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
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import write_benchmark
from safetensors.torch import load_file

from distillation.trainings import apart, arguments, crash, gapbench_here, refused, same, start, steps, train
from gapbench.distillation import training
from gapbench.distillation.checkpoints import newest
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


WRITING = """
import os, signal, sys
folder, left = os.environ["FOLDER"], int(os.environ["KILL_AT"])
def watch(event, arguments):
    global left
    moves = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
    if not moves and not (event == "open" and len(arguments) > 2 and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        return
    if any(isinstance(a, (str, os.PathLike)) and os.fspath(a).startswith(folder) for a in arguments[:2]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
from gapbench.__main__ import main
try:
    main()
finally:
    print(int(os.environ["KILL_AT"]) - left, file=sys.stderr)
"""
"""gapbench, killed before the KILL_AT-th time it opens, renames or removes something below FOLDER: what it opened last
may be half written then. Without a kill it says how often it did so."""
KILLS = int(os.environ.get("GAPBENCH_KILLS", "20"))
"""How many kills the test below waits for."""


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


def whole_files(out: Path) -> None:
    """Whatever is there under its own name is whole."""
    for path in (out / "distill.json", out / "comparison.json", *out.glob("checkpoints/step-*/state.json")):
        assert not path.exists() or json.loads(path.read_text())
    for path in (out / "model" / "model.safetensors", *out.glob("checkpoints/step-*/*.safetensors")):
        assert not path.parent.exists() or load_file(path)
    card = out / "model" / "README.md"
    assert not card.exists() or card.read_text().rstrip().endswith("trackers: []")
    log = out / "train.jsonl"
    assert not log.exists() or all(map(json.loads, log.read_text().splitlines()[:-1]))


@pytest.mark.evidence
def test_kills_at_any_moment_and_while_files_are_written_cost_nothing(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    """Measured, trained, saved, measured again; killed once or twice at random, then continued to the end."""
    evaluated = ("--eval", str(data), "--eval-limit", "2", "contamination=keep")

    def run(out: Path, kill_at: int, *more: str, seconds: float | None = None) -> tuple[int, str]:
        command = (sys.executable, "-c", WRITING, *arguments(tiny("qwen3_vl"), data, out, *evaluated, *more))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "FOLDER": str(out), "KILL_AT": str(kill_at)}
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        ) as p:
            try:
                errors = p.communicate(timeout=seconds or 300)[1]
            except subprocess.TimeoutExpired:
                p.kill()
                errors = p.communicate()[1]
        return p.returncode, errors

    started = time.monotonic()
    code, errors = run(tmp_path / "whole", 10**9)
    lasted = time.monotonic() - started
    assert code == 0, errors
    moments = int(errors.split()[-1])
    assert moments > 100
    dice = random.Random(0)
    killed = 0
    for number in itertools.count():
        if killed >= KILLS:
            break
        out = tmp_path / str(number)
        first = dice.randint(1, moments)
        code, errors = run(out, first) if number % 2 else run(out, 10**9, seconds=dice.uniform(0.2, 0.9) * lasted)
        killed += code == -9
        whole_files(out)
        code, errors = run(out, dice.randint(1, moments), "--resume")
        killed += code == -9
        whole_files(out)
        code, errors = run(out, 10**9, "--resume")
        assert code == 0, f"kill {number}: {errors}"
        same(out, tmp_path / "whole")
        whole_files(out)
        found, expected = (json.loads((at / "comparison.json").read_text()) for at in (out, tmp_path / "whole"))
        assert found["benchmarks"] == expected["benchmarks"]
        trained, undisturbed = (json.loads((at / "distill.json").read_text()) for at in (out, tmp_path / "whole"))
        assert trained["training"] == undisturbed["training"]
        assert [p.name for p in (out / "checkpoints").glob("step-*")] == ["step-4"]
        assert {p.name for p in (out / "model").iterdir()} == {p.name for p in (tmp_path / "whole" / "model").iterdir()}
        shutil.rmtree(out)
    print(f"{killed} kills in {number} trainings, among {moments} moments of writing")


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


@pytest.mark.parametrize("broken", ["model.safetensors", "optimizer.bin", "teacher-0.safetensors", "state.json"])
def test_a_truncated_checkpoint_is_named(
    tiny: Tiny, data: Path, whole: Path, tmp_path: Path, broken: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    crashed = crash(whole, tmp_path / "out", 2, later=(4,))
    path = crashed / "checkpoints" / "step-2" / broken
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    command = arguments(tiny("qwen3_vl"), data, crashed, "keep_checkpoints=9", "--resume", "-q")
    refused(gapbench_here(monkeypatch, capsys, *command), "step-2", "cannot be read", "Remove it")
