"""A sweep: several models from one file; a failure ends nothing else; a killed sweep goes on to the same board."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gapbench.commands.measure import default_folder, run_name
from gapbench.commands.sweep import read_sweep
from gapbench.errors import SettingError
from gapbench.runs.listing import entry_of

KNOWN = ["--benchmark", "-b", "--limit", "--no-selfcheck", "--max-pixels", "--views", "--quiet"]
CONFIG = """
models: [glance, no/such-model, {model: glance, name: blurred, max-pixels: 4000}]
benchmark: signs
limit: 40
no_selfcheck: true
baseline: glance
out: runs
"""


def config(folder: Path, text: str = CONFIG) -> Path:
    (folder / "sweep.yaml").write_text(text, encoding="utf-8")
    return folder / "sweep.yaml"


def test_each_model_has_its_arguments_its_name_and_its_folder(tmp_path: Path) -> None:
    sweep = read_sweep(config(tmp_path), KNOWN, ["--views", "full"])
    assert [model.name for model in sweep.models] == ["glance", "no-such-model", "blurred"]
    assert sweep.models[2].arguments == (
        "measure", "glance", "--benchmark", "signs", "--limit", "40", "--no-selfcheck", "--max-pixels", "4000",
        "--views", "full", "--out", "runs/blurred",
    )  # fmt: skip
    assert (sweep.board, sweep.baseline) == (Path("runs/board"), "glance")
    assert [model.label for model in sweep.models] == ["glance", "no/such-model", "blurred"]


def test_shards_of_one_sweep_have_folders_of_their_own(tmp_path: Path) -> None:
    first, *_ = read_sweep(config(tmp_path), KNOWN, ["--shard", "2/8"], Path("other")).models
    assert (first.name, first.folder) == ("glance", Path("other/glance/shard-2-of-8"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("benchmark: signs", "it names no model"),
        ("- glance", "cannot be read"),
        ("models: [glance]\nbenchmrak: signs", "measure has no option --benchmrak"),
        ("models: [{model: glance, limits: 3}]", "measure has no option --limits"),
        ("models: [glance, {model: glance, limit: 3}]", "two models are called glance; give one of them a name"),
        ("models: [", "cannot be read"),
        ("models: [" * 3000, "cannot be read"),
        ("models: [glance]\nlimit: 3\nlimit: 60", "the key limit is given twice"),
        ("models: [{model: glance, max_pixels: 3, max-pixels: 4}]", "the key max-pixels is given twice"),
        ("models: [{model: glance, out: elsewhere}]", "out holds for the whole sweep"),
        ("models: [glance]\nhelp: true", "no option --help"),
        ("models: [{model: glance, name: x}, {model: glance, name: ./x}]", "two models are called ./x"),
        ("models: [{model: glance, name: board}, base]", "board is the folder of a run, too"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_anything_is_measured(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=said):
        read_sweep(config(tmp_path, text), KNOWN)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("glance", "glance"),
        ("Qwen/Qwen3-VL-4B-Instruct", "Qwen-Qwen3-VL-4B-Instruct"),
        ("/data/runs/x/model/", "x-model"),
        ("../model", "model"),
    ],
)
def test_a_run_without_a_folder_is_named_after_its_model(model: str, name: str) -> None:
    assert run_name(model) == name
    assert default_folder(model) == Path("runs", name)
    assert default_folder(model, "2/8") == Path("runs", name, "shard-2-of-8")


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gapbench", "measure", "--config", "sweep.yaml"]
    return subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def numbers(folder: Path) -> dict[str, Any]:
    board = json.loads((folder / "runs" / "board" / "board.json").read_text(encoding="utf-8"))
    for run in board["runs"]:
        del run["started"]
    return board


@pytest.mark.slow
def test_a_failure_ends_nothing_else_and_the_exit_code_says_so(tmp_path: Path) -> None:
    config(tmp_path, "models: [no/such-model, glance]\nbenchmark: signs\nlimit: 10\nno_selfcheck: true\n")
    done = start(tmp_path)
    out, _ = done.communicate(timeout=300)
    assert done.returncode == 1
    lines = out.splitlines()
    assert lines[0].startswith("1/2 no-such-model: FAILED: exit code 2: Model no/such-model")
    assert lines[1].startswith("2/2 glance: full ")
    assert lines[-1] == "board: runs/board/board.html"


@pytest.mark.evidence
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_sweep_alone_ends_the_model_at_once(number: signal.Signals, tmp_path: Path) -> None:
    """A cluster's scheduler may signal the first process alone."""
    config(tmp_path, "models: [glance]\nbenchmark: signs\nno_selfcheck: true\n")
    process, run = start(tmp_path), tmp_path / "runs" / "glance"
    while not ((run / "records.jsonl").exists() and (run / "records.jsonl").stat().st_size):
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert re.fullmatch(r"(interrupted: )?[\d,]+ of 2,000", entry_of(run)["state"]), (
        "its model has ended, by itself or not"
    )


@pytest.mark.evidence
def test_a_sweep_killed_twice_ends_with_the_board_of_an_undisturbed_one(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        config(tmp_path / name)
    done = start(tmp_path / "whole")
    out, err = done.communicate(timeout=300)
    assert done.returncode == 1, "one model failed"
    lines = out.splitlines()
    assert lines[0].startswith("1/3 glance: full ")
    assert lines[1].startswith("2/3 no-such-model: FAILED: exit code 2: Model no/such-model")
    assert lines[2].startswith("3/3 blurred: full ")
    assert "glance: 80/80 answers" in err
    assert lines[-1] == "board: runs/board/board.html"

    killed = tmp_path / "killed"
    for run in ("glance", "blurred"):
        process, records = start(killed), killed / "runs" / run / "records.jsonl"
        while not (records.exists() and records.stat().st_size) and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    last = start(killed)
    out, err = last.communicate(timeout=300)
    assert last.returncode == 1
    assert not any(line.startswith("glance: ") for line in err.splitlines()), "a run that was complete is kept as it is"
    assert numbers(killed) == numbers(tmp_path / "whole")
    assert set(numbers(killed)["benchmarks"]["signs"]["models"]) == {"glance", "blurred"}
