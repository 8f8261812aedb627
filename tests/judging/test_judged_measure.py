"""`gapbench.measure(..., judge=...)` and the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines.stub_server import Stub
from helpers import write_benchmark

import gapbench
from gapbench.cli.app import app
from gapbench.cli.app import run as run_cli
from gapbench.errors import ModelError, RunError
from gapbench.runs import judgements, records

from .conftest import answers, judge_at, judging

Measure = Callable[..., gapbench.Run]


def by_length(answer: str) -> str:
    return ("yes", "no", "cannot tell")[len(answer) % 3]


@pytest.fixture(scope="module")
def measure(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """A random model, which no rule can read."""
    mine = write_benchmark(tmp_path_factory.mktemp("data"))

    def call(out: Path, **changes: Any) -> gapbench.Run:
        settings: dict[str, Any] = {"model": str(tiny("qwen3_vl")), "benchmarks": [str(mine)], "max_new_tokens": 4,
                                    "selfcheck": False}  # fmt: skip
        return gapbench.measure(out=out, **{**settings, **changes})

    return call


@pytest.fixture(scope="module")
def plain(measure: Measure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measure(tmp_path_factory.mktemp("plain")).path


@pytest.fixture
def run(plain: Path, tmp_path: Path) -> Path:
    """A finished run without a judge."""
    return shutil.copytree(plain, tmp_path / "run")


def test_a_judge_may_be_added_to_a_finished_run(measure: Measure, run: Path) -> None:
    before = (run / records.FILE).read_bytes()
    undecided = [row for row in records.read(run) if judgements.undecided(row)]
    assert undecided
    with Stub(judging(by_length)) as stub:
        done = measure(run, judge=judge_at(stub.url))

    assert len(answers(stub.requests)) == len({(r["question"], *r["answers"], r["output"]) for r in undecided})
    assert sum(done.summary["judge"]["verdicts"].values()) == len(undecided)
    assert done.summary["judge"]["verdicts"]["waiting"] == 0
    assert set(done.frame().loc[done.frame()["rule"] == "judge", "outcome"]) <= {"right", "wrong"}
    assert (run / records.FILE).read_bytes() == before
    assert done.manifest["judge"]["model"] == "stub"
    assert stub.root not in json.dumps({k: v for k, v in done.manifest.items() if k != "sessions"})


def test_one_go_is_the_same_as_a_judge_added_later_and_as_shards(measure: Measure, run: Path, tmp_path: Path) -> None:
    with Stub(judging(by_length)) as stub:
        judge = judge_at(stub.url)
        later, whole = measure(run, judge=judge), measure(tmp_path / "whole", judge=judge)
        parts = [measure(tmp_path / str(n), judge=judge, shard=f"{n}/2").path for n in (1, 2)]
    merged = gapbench.merge(parts, tmp_path / "merged")
    assert later.summary == whole.summary == merged.summary
    assert later.manifest["fingerprint"] == whole.manifest["fingerprint"] == merged.manifest["fingerprint"]


def test_a_run_is_continued_with_the_same_judge_alone(measure: Measure, run: Path) -> None:
    with Stub(judging(by_length)) as stub:
        measure(run, judge=judge_at(stub.url))
        unjudged = json.loads((run / "run.json").read_text())["fingerprint"]
        measure(run, judge=judge_at(stub.url, timeout=3.0))
        with pytest.raises(RunError, match=r"started with judge .*copy the run's folder without judgements\.jsonl"):
            measure(run, judge=judge_at(stub.url, model="other"))
        with pytest.raises(RunError, match=r"started with judge .* and now it is not set"):
            measure(run)
        assert json.loads((run / "run.json").read_text())["fingerprint"] == unjudged
        copy = shutil.copytree(run, run.with_name("copy"), ignore=shutil.ignore_patterns(judgements.FILE))
        done = measure(copy, judge=judge_at(stub.url, model="other"))

    assert done.manifest["judge"]["model"] == "other"


def test_a_judge_that_is_not_there_is_told_of_before_anything_is_asked(measure: Measure, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="The judge: No server was reached"):
        measure(tmp_path / "run", judge=judge_at("http://127.0.0.1:9"))
    assert not (tmp_path / "run").exists()


# --- the command line ------------------------------------------------------------------------------------------


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["gapbench", *map(str, words)])
    return run_cli(app)


def test_report_without_judge(measure: Measure, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run / "summary.json").read_bytes()
    with Stub(judging(by_length)) as stub:
        measure(run, judge=judge_at(stub.url))
    assert (run / "summary.json").read_bytes() != before
    assert command(monkeypatch, "report", run, "--without-judge") == 0
    assert (run / "summary.json").read_bytes() == before
    assert command(monkeypatch, "report", run) == 0
    assert "judge" in json.loads((run / "summary.json").read_text())


@pytest.mark.parametrize(
    "given",
    [("--judge", "http://localhost:1"), ("--judge-model", "m"), ("--judge-api-key-env", "KEY"),
     ("--judge-model", "m", "--judge-api-key-env", "KEY")],
)  # fmt: skip
def test_half_a_judge_is_refused(
    given: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "measure", "glance", "-b", "signs", "--out", tmp_path / "run", *given) == 2
    assert "--judge URL and --judge-model NAME go together" in capsys.readouterr().err


def test_measure_with_a_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-planted-0123456789")
    mine, out = write_benchmark(tmp_path / "data", questions=4), tmp_path / "run"
    with Stub(judging(by_length)) as stub:
        code = command(monkeypatch, "measure", tiny("qwen3_vl"), "-b", mine, "--out", out, "--max-new-tokens", 4,
                       "--no-selfcheck", "--judge", stub.root, "--judge-model", "stub", "--judge-api-key-env",
                       "JUDGE_KEY")  # fmt: skip
        assert stub.requests[0].headers["authorization"] == "Bearer sk-planted-0123456789"

    assert code == 0, capsys.readouterr().err
    assert json.loads((out / "summary.json").read_text())["judge"]["model"] == "stub"
    written = "".join(path.read_text() for path in out.iterdir() if path.is_file())
    assert "planted" not in written + repr(capsys.readouterr())
