"""`gapbench runs`: where runs are, how they are called, their numbers and their states, without their records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gapbench.commands.list_runs import lines
from gapbench.errors import RunError
from gapbench.runs.listing import entry_of, find_runs, labelled, list_runs
from gapbench.runs.lock import HOLDER, LOCK, hold
from gapbench.util.files import write_json

ROOT = Path(__file__).parents[2]


def write(folder: Path, answers: int = 20, *, summary: bool = True, **manifest: Any) -> Path:
    """A run of ten samples in two views, of which `answers` answers are there."""
    views = {"full": {}, "crop": {"region": "padded"}}
    tasks = {"signs": {"benchmark": "signs", "samples": 10, "views": views, "repeats": 1}}
    sessions = [{"started": "2026-11-28T10:00:00Z"}]
    write_json(folder / "run.json", {"schema_version": 3, "model": "glance", "engine": "transformers", "tasks": tasks,
                                     "sessions": sessions, **manifest})  # fmt: skip
    (folder / "records.jsonl").write_text("{}\n" * answers, encoding="utf-8")
    if summary:
        gap = {"n": 9, "estimate": 0.4, "ci": [0.2, 0.6], "full": 0.5, "crop": 0.9}
        entry = {"records": answers, "gap": gap, "views": {}, "faults": {}}
        write_json(folder / "summary.json", {"benchmarks": {"signs": entry}, "macro": {"gap": gap}})
    return folder


def test_runs_are_found_at_any_depth_and_once(tmp_path: Path) -> None:
    for place in ("b", "a", "deep/er/run"):
        write(tmp_path / place)
    write(tmp_path / "a" / "inner")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "deep" / "round").symlink_to(tmp_path)
    found = find_runs([tmp_path, tmp_path / "a"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a", "b", "deep/er/run"]
    with pytest.raises(RunError, match="found no run"):
        find_runs([tmp_path / "missing"])
    with pytest.raises(RunError, match="found no run"):
        find_runs([tmp_path / ".hidden"])


def test_a_line_has_the_numbers_of_the_summary(tmp_path: Path) -> None:
    entry = entry_of(write(tmp_path / "run"))
    assert (entry["model"], entry["benchmarks"], entry["n"]) == ("glance", ["signs"], 9)
    assert (entry["full"], entry["crop"], entry["gap"], entry["ci"]) == (0.5, 0.9, 0.4, [0.2, 0.6])
    assert (entry["answers"], entry["expected"], entry["state"]) == (20, 20, "complete")
    heading, line = lines([entry]).splitlines()
    assert heading.split() == [
        "model",
        "benchmarks",
        "n",
        "full",
        "crop",
        "gap",
        "engine",
        "started",
        "state",
        "folder",
    ]
    assert "50.0%  90.0%  +40.0 [+20.0, +60.0]" in line


@pytest.mark.parametrize("width", [60, 100, 140])
def test_a_run_is_one_line_in_any_terminal(width: int, tmp_path: Path) -> None:
    write(tmp_path / ("long-" * 20), model="an-owner-of-models/" + "a-very-" * 10 + "long-name")
    (write(tmp_path / "torn") / "run.json").write_text("{" * 200, encoding="utf-8")
    shown = lines(list_runs([tmp_path]), width).splitlines()
    assert len(shown) == 3
    assert max(map(len, shown)) <= max(width, 68)
    assert "+40.0 [+20.0, +60.0]" in shown[1]


def test_gaps_over_regions_of_a_model_are_not_averaged_with_others(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    other = {"records": 0, "evidence": "model", "views": {}, "gap": {"n": 3, "full": 0.0, "crop": 0.0, "ci": [0, 0]}}
    summary["benchmarks"]["located"] = other
    write_json(folder / "summary.json", summary)
    assert (entry_of(folder)["full"], entry_of(folder)["crop"]) == (0.5, 0.9)


def test_an_unfinished_run_says_how_far_it_came(tmp_path: Path) -> None:
    assert entry_of(write(tmp_path / "run", 7, summary=False))["state"] == "7 of 20"


def test_answers_that_came_after_the_summary_are_counted(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", 20)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    summary["benchmarks"]["signs"]["records"] = 6
    write_json(folder / "summary.json", summary)
    assert entry_of(folder)["state"] == "6 of 20"
    os.utime(folder / "summary.json", (1, 1))
    entry = entry_of(folder)
    assert (entry["state"], entry["gap"], entry["n"]) == ("complete", None, 10), "its numbers are of six answers"


def test_a_run_that_is_written_now_is_running_and_a_killed_one_is_interrupted(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", 7)
    with hold(folder, "gapbench measure glance"):
        code = "import sys, pathlib; from gapbench.runs.listing import entry_of\n"
        code += "print(entry_of(pathlib.Path(sys.argv[1]))['state'])"
        asked = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
        assert asked.stdout.strip() == "running: 7 of 20"
    assert entry_of(folder)["state"] == "7 of 20"
    (folder / LOCK).touch()
    (folder / HOLDER).write_text("{}", encoding="utf-8")  # as kill -9 leaves it
    assert entry_of(folder)["state"] == "interrupted: 7 of 20"
    with hold(folder, "gapbench measure glance"):  # looking did not take the lock away
        pass


def test_a_shard_is_complete_with_its_own_answers(tmp_path: Path) -> None:
    shard = {"of": 2, "parts": {"1": {"signs": {"samples": 5, "answers": 10}}}}
    assert entry_of(write(tmp_path / "run", 10, shard=shard))["state"] == "shard 1/2, complete"


@pytest.mark.parametrize("content", ["{", "[]", '{"tasks": {"a": 3}}', '{"schema_version": 99, "tasks": {}}'])
def test_a_damaged_run_is_a_line_too(content: str, tmp_path: Path) -> None:
    write(tmp_path / "sound")
    (write(tmp_path / "torn") / "run.json").write_text(content, encoding="utf-8")
    states = [entry["state"] for entry in list_runs([tmp_path])]
    assert states[0] == "complete"
    assert states[1].startswith("unreadable: ")
    assert "\n" not in lines(list_runs([tmp_path])).splitlines()[2]


def test_equal_models_are_told_apart_by_the_shortest_ending_of_their_folders(tmp_path: Path) -> None:
    def named(*places: str, model: str = "glance") -> list[str]:
        return labelled([(tmp_path / "runs" / place, model) for place in places])

    assert named("x", "y") == ["glance (x)", "glance (y)"]
    assert named("x/a", "y/a", model="/models/lab/one") == ["lab/one (x/a)", "lab/one (y/a)"]
    assert named("a/x/end", "b/x/end", "a/c/d") == ["glance (a/x/end)", "glance (b/x/end)", "glance (a/c/d)"]
    told = ["glance (runs/glance)", "glance (distil/before)", "glance (sweep/glance)"]
    assert named("glance", "distil/before", "sweep/glance") == told, "an ending that repeats the name tells nothing"
    assert named("a", "a", "b") == ["glance (a) (1)", "glance (a) (2)", "glance (b)"], "one folder, so a number"
    assert labelled([(tmp_path / "glance", "glance"), (tmp_path / "b", "two")]) == ["glance", "two"]
    given = labelled([(tmp_path / "a" / "r", "one"), (tmp_path / "b" / "r", "one")], {0: "before"})
    assert given == ["before", "one"]


def test_a_hundred_runs_are_listed_in_two_seconds_without_torch_and_pandas(tmp_path: Path) -> None:
    for number in range(100):
        write(tmp_path / f"run{number:03d}")
    code = (
        "import resource, sys; sys.argv = ['gapbench', 'runs', sys.argv[1]]\n"
        "from gapbench.cli.app import app, run; code = run(app)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime, file=sys.stderr)\n"
        "assert not {'torch', 'pandas', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 101
    assert float(done.stderr.split()[-1]) < 2, "CPU time, because a busy machine takes longer for the same work"
