"""The command line as users run it: exit codes and one-paragraph errors.

`gapbench` starts a process of its own; `here` calls the same function in this one, which imports torch but once.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import edit, write_benchmark

from gapbench.version import VERSION

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def gapbench(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command and strip colours from its output."""
    done = subprocess.run(
        [sys.executable, "-m", "gapbench", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environment},
        timeout=300,
        check=False,
    )
    done.stdout, done.stderr = ANSI.sub("", done.stdout), ANSI.sub("", done.stderr)
    return done


Here = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """here("report", out) -> what `gapbench("report", out)` gives."""
    from gapbench.cli.app import app, run

    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        monkeypatch.setattr(sys, "argv", ["gapbench", *words])
        capsys.readouterr()
        code = run(app)
        printed = (ANSI.sub("", text) for text in capsys.readouterr())
        return subprocess.CompletedProcess(words, code, *printed)

    return call


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, one paragraph with these words, no traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("gapbench: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in message


@pytest.fixture
def benchmark_file(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "data", questions=6)


def test_help_is_there_in_half_a_second_and_loads_no_torch() -> None:
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = gapbench("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.returncode == 0
    for command in ("measure", "report", "score", "benchmarks", "demo", "distill", "compare"):
        assert command in done.stdout
    code = (
        "import sys, gapbench, gapbench.cli.app; sys.exit(bool({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    # CPU time, because a busy machine takes longer for the same work. It is half a second; importing torch takes two.
    assert min(times) < 1.0


def test_bare_call_version_and_completion() -> None:
    bare = gapbench()
    assert (bare.returncode, bare.stderr) == (0, "")
    assert bare.stdout.rstrip() == gapbench("--help").stdout.rstrip()
    for panel in ("Measure", "Close the gap", "Look, compare, export", "Data"):
        assert f" {panel} " in bare.stdout
    assert gapbench("--version").stdout == f"gapbench {VERSION}\n"
    completed = gapbench(_GAPBENCH_COMPLETE="complete_bash", COMP_WORDS="gapbench me", COMP_CWORD="1")
    assert completed.stdout.split() == ["measure", "merge"]


def test_measure_report_and_score_end_to_end(
    tiny: Callable[[str], Path], benchmark_file: Path, tmp_path: Path, here: Here
) -> None:
    out = tmp_path / "run"
    done = gapbench(
        "measure", tiny("qwen3_vl"), "-b", benchmark_file, "--views", "full,crop", "--out", out, "--max-new-tokens", 4
    )
    assert done.returncode == 0, done.stderr
    verdict, heading, row, *notes, where = done.stdout.strip().splitlines()
    assert "from the crop" in verdict
    assert heading.split()[:5] == ["benchmark", "n", "full", "crop", "gap"]
    assert row.split()[:2] == ["mine", "6"]
    assert any("could not be parsed" in note for note in notes), "a random model's answers are no answers"
    assert where.endswith("report.html")
    assert re.search(r"12/12 answers, .*/s", done.stderr), "plain progress lines where there is no terminal"

    resumed = here(*done.args[3:])
    assert "12 answers kept, 0 to go" in resumed.stderr
    assert resumed.stdout == done.stdout

    for name in ("summary.json", "report.html", "report.md"):
        (out / name).unlink()
    (benchmark_file.parent / "scene 0.png").unlink()  # the report needs the records alone
    quiet = here("report", out, "--cards", "2")
    assert quiet.returncode == 0, quiet.stderr
    assert quiet.stdout.strip().splitlines()[0] == verdict
    assert (out / "report.html").read_text().count("<article") == 2
    refused(here("report", out, "--cards", "few"), "--cards few", "or all")
    exported = here("export", out, "--out", tmp_path / "x.csv", "--label", f"{out}=mine")
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "x.csv").read_text().splitlines()[1].startswith("mine,mine,annotated,6,")
    assert json.loads((out / "summary.json").read_text())["schema_version"] == 4
    assert "data:image/jpeg" in (out / "report.html").read_text()
    assert here("report", out, "--no-images").returncode == 0
    assert "data:image" not in (out / "report.html").read_text()

    again = shutil.copytree(out, tmp_path / "again")
    compared = here("compare", out, again, "--out", tmp_path / "compared")
    assert compared.returncode == 0, compared.stderr
    assert "not shown" in compared.stdout, "a run does not differ from itself"
    assert json.loads((tmp_path / "compared" / "comparison.json").read_text())["benchmarks"]["mine"]["fixed"] == 0
    refused(here("compare", out, "--out", tmp_path / "alone"), "at least two", "BEFORE and AFTER")


def test_a_full_view_run_needs_no_boxes(tiny: Callable[[str], Path], benchmark_file: Path, tmp_path: Path) -> None:
    for line in range(6):
        edit(benchmark_file, line, bbox=None, bbox_format=None)
    arguments = ["measure", tiny("qwen3_vl"), "-b", benchmark_file, "--views", "full", "--out", tmp_path / "run"]
    done = gapbench(*arguments, "--max-new-tokens", 4, "-q")
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""


def test_score_judges_answers_from_elsewhere(tmp_path: Path, here: Here) -> None:
    answers = tmp_path / "answers.jsonl"
    rows = [
        {"output": "The answer is B", "answer": "B", "options": ["red", "green"], "answer_type": "letter", "keep": 1},
        {"output": "I think so", "answer": "B", "options": ["red", "green"], "answer_type": "letter"},
        {"output": "no", "answer": "yes", "answer_type": "yes_no"},
    ]
    answers.write_text("".join(json.dumps(r) + "\n" for r in rows))
    done = here("score", answers, "--out", tmp_path / "judged.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 right, 1 wrong, 1 unparsed")
    judged = [json.loads(line) for line in (tmp_path / "judged.jsonl").read_text().splitlines()]
    assert [r["outcome"] for r in judged] == ["right", "unparsed", "wrong"]
    assert judged[0]["keep"] == 1


def test_benchmarks_list_show_and_check(benchmark_file: Path, here: Here) -> None:
    listed = here("benchmarks", "list").stdout
    assert re.search(r"^signs +evidence +Signs: ", listed, re.MULTILINE)
    assert re.search(r"^zoombench +evidence +unchecked ", listed, re.MULTILINE)
    assert "unchecked: nobody has compared this card with the real data" in listed
    card = here("benchmarks", "show", "signs").stdout
    assert "canvas" in card
    assert "by construction" in " ".join(card.split())
    assert here("benchmarks", "check", benchmark_file).returncode == 0
    edit(benchmark_file, 0, bbox=[-50, 0, 20, 20])
    checked = here("benchmarks", "check", benchmark_file)
    assert checked.returncode == 1
    assert "PROBLEM" in checked.stdout


def test_errors_are_one_paragraph_with_the_remedy(
    tiny: Callable[[str], Path], benchmark_file: Path, tmp_path: Path, here: Here
) -> None:
    model, out = tiny("qwen3_vl"), tmp_path / "run"
    refused(here("measure", model, "-b", "sings", "--out", out), "'sings'", "Did you mean signs?")
    refused(here("measure", "glanze", "-b", benchmark_file, "--out", out), "'glanze'", "Did you mean glance?")
    refused(here("measure", "nobody/nothing", "-b", benchmark_file, "--out", out), "nobody/nothing", "HF_HUB_OFFLINE")
    refused(
        here("measure", model, "-b", benchmark_file, "--out", out, "--batch-size", "many"),
        "--batch-size many",
        "auto",
    )
    refused(here("measure", model, "-b", tmp_path / "none.jsonl", "--out", out), "none.jsonl", "not found")
    refused(here("report", tmp_path / "nothing"), "records.jsonl")
    edit(benchmark_file, 2, question=None)
    refused(here("measure", model, "-b", benchmark_file, "--out", out), "mine.jsonl line 3", "'question' is missing")
    assert not out.exists(), "nothing is written before all settings are checked"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = gapbench("report", tmp_path, "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_a_full_disk_ends_the_run_with_a_remedy_and_loses_nothing(
    tiny: Callable[[str], Path], benchmark_file: Path, tmp_path: Path, here: Here
) -> None:
    """A file size limit stands in for the disk: the kernel refuses the same write."""
    out = tmp_path / "run"
    arguments = ["measure", tiny("qwen3_vl"), "-b", benchmark_file, "--out", out, "-q", "--max-new-tokens", "4"]

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))

    command = [sys.executable, "-m", "gapbench", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_files, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    written = (out / "records.jsonl").read_bytes().count(b"\n")
    assert 0 < written < 12
    again = here(*arguments)
    assert again.returncode == 0, again.stderr
    assert (out / "records.jsonl").read_bytes().count(b"\n") == 12


def test_two_processes_never_write_the_same_run(
    tiny: Callable[[str], Path], benchmark_file: Path, tmp_path: Path, here: Here
) -> None:
    from gapbench.runs.lock import hold

    out = tmp_path / "run"
    with hold(out, "the first command"):
        done = here("measure", tiny("qwen3_vl"), "-b", benchmark_file, "--out", out)
    refused(done, "another process is writing it", "(the first command)")


def test_records_that_lie_twice_are_named_and_repaired(
    tiny: Callable[[str], Path], benchmark_file: Path, tmp_path: Path, here: Here
) -> None:
    arguments = ["measure", tiny("qwen3_vl"), "-b", benchmark_file, "--out", tmp_path / "run", "--no-selfcheck", "-q"]
    assert here(*arguments).returncode == 0
    path, summary = tmp_path / "run" / "records.jsonl", (tmp_path / "run" / "summary.json").read_bytes()
    lines = path.read_bytes()
    path.write_bytes(lines + lines.splitlines(keepends=True)[3])
    refused(here("report", tmp_path / "run"), "occur twice", "--repair keeps the first of each")
    refused(here(*arguments), "lies twice in records.jsonl", "--repair")
    done = here("report", tmp_path / "run", "--repair")
    assert done.stdout.startswith("dropped: 1 records that lay twice"), done.stderr
    assert path.read_bytes() == lines
    assert (tmp_path / "run" / "summary.json").read_bytes() == summary


def test_ctrl_c_keeps_what_was_answered(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    import signal

    benchmark_file = write_benchmark(tmp_path / "long", questions=200)
    out = tmp_path / "run"
    arguments = [sys.executable, "-m", "gapbench", "measure", tiny("qwen3_vl"), "-b", benchmark_file, "--out", out]
    process = subprocess.Popen(
        [*map(str, arguments), "--batch-size", "2"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    path = out / "records.jsonl"
    while process.poll() is None and not (path.exists() and path.stat().st_size > 5_000):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert path.read_bytes().endswith(b"\n")
