"""Shards put together are the undivided run, byte for byte in its summary; and nothing is lost, mixed or changed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import edit, write_benchmark

import gapbench
from gapbench.commands import merge as merging
from gapbench.errors import RunError, SettingError
from gapbench.runs import records
from gapbench.runs.lock import hold

Measure = Callable[..., gapbench.Run]


@pytest.fixture(scope="module")
def measure(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Measure:
    mine = write_benchmark(tmp_path_factory.mktemp("data"))

    def call(out: Path, **changes: Any) -> gapbench.Run:
        settings: dict[str, Any] = {"model": str(tiny("qwen3_vl")), "benchmarks": [str(mine)], "max_new_tokens": 4,
                                    "selfcheck": False}  # fmt: skip
        return gapbench.measure(out=out, **{**settings, **changes})

    return call


@pytest.fixture(scope="module")
def three(measure: Measure, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The undivided run, and its three shards."""
    place = tmp_path_factory.mktemp("three")
    measure(place / "whole")
    for number in (1, 2, 3):
        measure(place / str(number), shard=f"{number}/3")
    return tuple(place / name for name in ("whole", "1", "2", "3"))


@pytest.fixture
def shards(three: Sequence[Path], tmp_path: Path) -> list[Path]:
    """Copies that a test may damage."""
    return [shutil.copytree(path, tmp_path / "in" / path.name) for path in three[1:]]


def content(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def same_as_whole(merged: Path, whole: Path) -> None:
    assert (merged / "summary.json").read_bytes() == (whole / "summary.json").read_bytes()
    found, wanted = (content(folder / "thumbnails") for folder in (merged, whole))
    assert found == wanted
    keys = [records.key(row) for row in records.read(merged)]
    assert keys == sorted(records.key(row) for row in records.read(whole))
    merged_manifest, whole_manifest = (json.loads((folder / "run.json").read_text()) for folder in (merged, whole))
    own = {"merged_by", "sessions"}
    assert {k: v for k, v in merged_manifest.items() if k not in own} == {
        k: v for k, v in whole_manifest.items() if k not in own
    }


@pytest.mark.evidence
@pytest.mark.parametrize("of", [1, 3, 8])
def test_glance_on_signs_merges_to_the_very_summary_of_one_run(of: int, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"limit": 60, "selfcheck": False}
    whole = gapbench.measure("glance", "signs", out=tmp_path / "whole", **settings)
    runs = [
        gapbench.measure("glance", "signs", out=tmp_path / str(number), shard=f"{number}/{of}", **settings).path
        for number in range(1, of + 1)
    ]
    before = [content(run) for run in runs]
    merged = gapbench.merge(runs, tmp_path / "merged")
    assert merged.path == tmp_path / "merged"
    assert merged.summary == whole.summary
    same_as_whole(merged.path, whole.path)
    assert [content(run) for run in runs] == before, "merge changed its inputs"
    assert merged.report.is_file()


def test_benchmarks_of_several_kinds_and_repeats_merge_to_one_run(measure: Measure, tmp_path: Path) -> None:
    mine = write_benchmark(tmp_path / "a", questions=10)
    edit(mine, 0, bbox=[34, 78, 10, 60])  # a repair
    (mine.parent / "scene 1.png").write_bytes(b"not an image")  # failed in both views
    plain = write_benchmark(tmp_path / "b", questions=7).rename(tmp_path / "b" / "plain.jsonl")
    for line in range(7):
        edit(plain, line, bbox=None, bbox_format=None)  # a hold-out, asked in the full view alone
    settings: dict[str, Any] = {"benchmarks": [str(mine), str(plain), "signs:canvas=96,signs_min=3,signs_max=5,"
                                               "size_min=12,size_max=40"], "limit": 9, "repeats": 2}  # fmt: skip
    whole = measure(tmp_path / "whole", **settings)
    assert whole.manifest["repairs"]
    runs = [measure(tmp_path / str(n), shard=f"{n}/3", **settings).path for n in (1, 2, 3)]
    same_as_whole(gapbench.merge(runs[::-1], tmp_path / "merged").path, whole.path)


def test_the_order_of_the_runs_does_not_matter(shards: list[Path], three: Sequence[Path], tmp_path: Path) -> None:
    one, other = gapbench.merge(shards, tmp_path / "x"), gapbench.merge(shards[::-1], tmp_path / "y")
    same_as_whole(one.path, three[0])
    assert (one.path / "records.jsonl").read_bytes() == (other.path / "records.jsonl").read_bytes()
    assert [s["shard"] for s in one.manifest["sessions"]] == ["1/3", "2/3", "3/3"]


KILLED = """
import sys, gapbench
model, data, out, shard = sys.argv[1:]
gapbench.measure(model, [data], out=out, shard=shard, max_new_tokens=4, batch_size=1, selfcheck=False)
"""


@pytest.mark.evidence
def test_a_worker_killed_in_the_middle_goes_on_and_the_whole_is_the_same(
    measure: Measure, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    mine = write_benchmark(tmp_path / "long", questions=120)
    settings: dict[str, Any] = {"benchmarks": [str(mine)], "batch_size": 1}
    whole = measure(tmp_path / "whole", **settings)
    first = measure(tmp_path / "1", shard="1/2", **settings).path
    second = tmp_path / "2"
    path = second / "records.jsonl"
    command = [sys.executable, "-c", KILLED, str(tiny("qwen3_vl")), str(mine), str(second), "2/2"]
    worker = subprocess.Popen(command)
    while worker.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") > 20):
        time.sleep(0.005)
    worker.send_signal(signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL, "it had ended before it was killed"
    there = sum(1 for _ in records.read(second))
    assert 20 < there < 120
    with pytest.raises(RunError, match=rf"2 \(shard 2/2\) lacks {120 - there} of 120 answers.*--partial"):
        gapbench.merge([first, second], tmp_path / "merged")
    measure(second, shard="2/2", **settings)
    same_as_whole(gapbench.merge([first, second], tmp_path / "merged").path, whole.path)


# --- what is missing ------------------------------------------------------------------------------------------


def test_missing_shards_are_named_with_their_questions(shards: list[Path], tmp_path: Path) -> None:
    lost = len({row["sample"] for row in records.read(shards[1])})
    with pytest.raises(RunError, match=rf"shard 2 of 3 missing, with {lost} of 12 samples.*--partial"):
        gapbench.merge([shards[0], shards[2]], tmp_path / "out")
    with pytest.raises(RunError, match=r"shards 1-2 of 3 missing"):
        gapbench.merge(shards[2:], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_partial_merge_is_a_part_and_can_be_completed(
    shards: list[Path], three: Sequence[Path], tmp_path: Path
) -> None:
    part = gapbench.merge(shards[::2], tmp_path / "part", partial=True)
    assert part.summary["part"].startswith("shards 1,3 of 3 (")
    assert part.summary["verdict"].startswith("shards 1,3 of 3 (")
    whole = gapbench.merge([part.path, shards[1]], tmp_path / "out")
    same_as_whole(whole.path, three[0])
    assert [s["shard"] for s in whole.manifest["sessions"]] == ["1/3", "3/3", "2/3"]


def test_an_unfinished_shard_is_named_and_counted_in_a_partial_merge(shards: list[Path], tmp_path: Path) -> None:
    path = shards[0] / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]) + b'{"benchmark": "mi')  # killed in the middle of a line
    torn = path.read_bytes()
    with pytest.raises(RunError, match=rf"1 \(shard 1/3\) lacks 2 of {len(lines)} answers"):
        gapbench.merge(shards, tmp_path / "out")
    merged = gapbench.merge(shards, tmp_path / "out", partial=True)
    assert merged.summary["part"] == "shards 1-3 of 3 (12 of 12 samples; 2 answers are missing)"
    assert path.read_bytes() == torn, "an input was repaired"
    path.unlink()  # killed before its first answer
    with pytest.raises(RunError, match=rf"lacks {len(lines)} of {len(lines)} answers"):
        gapbench.merge(shards, tmp_path / "other")


def test_a_shard_with_added_views_lacks_their_answers_until_all_are_there(measure: Measure, tmp_path: Path) -> None:
    shards = [tmp_path / number for number in "12"]
    for number, path in enumerate(shards, 1):
        for views in ("full", "crop"):
            run = measure(path, views=views, shard=f"{number}/2")
    path = shards[1] / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert sum(count["answers"] for count in run.manifest["shard"]["parts"]["2"].values()) == len(lines)
    path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(RunError, match=rf"2 \(shard 2/2\) lacks 1 of {len(lines)} answers"):
        gapbench.merge(shards, tmp_path / "out")
    change(shards[1], {"tasks.mine.views": {"full": {}, "boxed": {}}})
    with pytest.raises(RunError, match=r"--views is mine crop, full in .* and mine boxed, full in"):
        gapbench.merge(shards, tmp_path / "out")


# --- what must not be mixed -----------------------------------------------------------------------------------


def change(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "run.json"
    manifest = json.loads(path.read_text())
    for name, value in changes.items():
        *parents, last = name.split(".")
        entry = manifest
        for parent in parents:
            entry = entry[parent]
        entry[last] = value
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sha256": "another"}, r"the model's content \(sha256\) is .* in .*1 and 'another' in .*2"),
        ({"tasks.mine.views": {"full": {}}}, "--views is mine crop, full in .* and mine full in"),
        ({"tasks.mine.samples": 3}, "mine samples is 12 in .* and 3 in"),
        ({"tasks.mine.repeats": 5}, "mine repeats is 1 in"),
        ({"shard": {"of": 4, "parts": {}}}, "--shard is '1/3'"),
        ({"tasks": {}}, "--views is mine crop, full in .* and not set in"),
    ],
)
def test_shards_asked_otherwise_are_refused_naming_the_first_difference(
    shards: list[Path], tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    change(shards[1], changes)
    with pytest.raises(RunError, match=f"merge: {named}"):
        gapbench.merge(shards, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_two_runs_are_compared_and_one_benchmark_has_one_name(three: Sequence[Path], tmp_path: Path) -> None:
    runs = [shutil.copytree(three[0], tmp_path / name) for name in ("first", "a", "b")]
    for run in runs[1:]:  # another benchmark in both
        for path in (run / "run.json", run / "records.jsonl"):
            path.write_text(path.read_text().replace('"mine"', '"other"'))
    gapbench.merge(runs, tmp_path / "out")
    whole = (runs[2] / "run.json").read_text()
    for entry in ({"tasks.other.prompt": "Another?"}, {"tasks.other.limit": 3}):
        change(runs[2], entry)
        with pytest.raises(RunError, match=r"other (prompt|limit) is .* in .*a and .* in .*b"):
            gapbench.merge(runs, tmp_path / "out")
    (runs[2] / "run.json").write_text(whole.replace('"other": {', '"other:key=1": {'))
    with pytest.raises(
        RunError, match=r"the name of other with equal parameters is 'other' in .* and 'other:key=1' in"
    ):
        gapbench.merge(runs, tmp_path / "out")


def test_shards_of_other_questions_are_refused(shards: list[Path], tmp_path: Path) -> None:
    change(shards[1], {"tasks.mine.fingerprint": "0" * 32})
    with pytest.raises(RunError, match="mine fingerprint"):
        gapbench.merge(shards, tmp_path / "out")


def test_where_and_when_a_worker_ran_may_differ(shards: list[Path], three: Sequence[Path], tmp_path: Path) -> None:
    change(shards[1], {"device": "cuda", "repairs": {"mine: x": 2}})
    change(shards[2], {"repairs": {"mine: x": 1}})
    merged = gapbench.merge(shards, tmp_path / "out")
    assert merged.manifest["device"] == "cpu, cuda"
    assert merged.manifest["repairs"] == {"mine: x": 3}
    assert (merged.path / "summary.json").read_bytes() == (three[0] / "summary.json").read_bytes()


def test_an_answer_given_twice_is_one_and_two_different_ones_are_refused(
    shards: list[Path], three: Sequence[Path], tmp_path: Path
) -> None:
    again = shutil.copytree(shards[0], tmp_path / "again")
    path = again / "records.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["seconds"] = 99.0  # the same worker once more: as slow as it likes, with the same answers
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    same_as_whole(gapbench.merge([*shards, again, shards[0]], tmp_path / "out").path, three[0])
    first = gapbench.merge([again, *shards], tmp_path / "first")
    assert (first.path / "records.jsonl").read_bytes() == (tmp_path / "out" / "records.jsonl").read_bytes()
    rows[3]["output"] = "something else"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RunError, match=rf"mine sample '{rows[3]['sample']}', view {rows[3]['view']}.*output differs"):
        gapbench.merge([*shards, again], tmp_path / "out2")


def test_a_run_that_is_no_shard_is_refused(shards: list[Path], three: Sequence[Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a shard"):
        gapbench.merge([*shards, three[0]], tmp_path / "out")
    with pytest.raises(RunError, match=r"run\.json"):
        gapbench.merge([tmp_path / "nothing"], tmp_path / "out")
    with pytest.raises(SettingError, match="no run"):
        gapbench.merge([], tmp_path / "out")


def untimed(value: Any) -> Any:
    """A summary without the seconds of its answers, which no two runs share."""
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if not re.search("second", key)}
    return [untimed(inner) for inner in value] if isinstance(value, list) else value


def test_runs_on_other_benchmarks_and_views_merge_to_one(
    measure: Measure, three: Sequence[Path], tmp_path: Path
) -> None:
    other = write_benchmark(tmp_path / "b", questions=5).rename(tmp_path / "b" / "other.jsonl")
    runs = [
        three[0],
        measure(tmp_path / "other", benchmarks=[str(other)], limit=4).path,
        measure(tmp_path / "boxed", views="boxed,crop:factor=2").path,
    ]
    merged = gapbench.merge(runs, tmp_path / "out")
    at_once = measure(tmp_path / "same", views="full,crop,boxed,crop:factor=2")
    at_once = measure(tmp_path / "same", benchmarks=[str(other)], limit=4)
    assert untimed(merged.summary) == untimed(at_once.summary)
    assert list(merged.manifest["tasks"]) == ["mine", "other"]
    assert "shard" not in merged.manifest
    assert len(merged.manifest["sessions"]) == 3
    assert measure(merged.path, views="boxed").summary == merged.summary, "nothing is left to ask"
    lines = (runs[2] / "records.jsonl").read_bytes().splitlines(keepends=True)
    (runs[2] / "records.jsonl").write_bytes(b"".join(lines[:-2]))
    with pytest.raises(RunError, match=r"boxed lacks 2 of 24 answers\..*--partial"):
        gapbench.merge(runs, tmp_path / "incomplete")
    again = shutil.copytree(runs[1], tmp_path / "again")
    change(again, {"tasks.other.samples": 3})
    with pytest.raises(RunError, match=r"other samples is 4 in .*other and 3 in .*again"):
        gapbench.merge([runs[0], runs[1], again], tmp_path / "doubled")
    change(runs[1], {"pixels.max_pixels": 9})
    with pytest.raises(RunError, match=r"--max-pixels is not set in .* and 9 in"):
        gapbench.merge(runs[:2], tmp_path / "mixed")


# --- where it is written --------------------------------------------------------------------------------------


def test_an_earlier_merge_is_replaced_and_nothing_else_is(
    shards: list[Path], three: Sequence[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".lock").touch()  # of a command that was killed before it wrote anything
    gapbench.merge(shards[:2], out, partial=True)
    same_as_whole(gapbench.merge(shards, out).path, three[0])
    with pytest.raises(RunError, match="would be lost"):  # the third shard's answers are there alone
        gapbench.merge(shards[:2], out, partial=True)
    with pytest.raises(SettingError, match="one of the runs to merge"):
        gapbench.merge(shards, shards[0])
    (out / "my notes.txt").write_text("precious")
    with pytest.raises(RunError, match=r"my notes\.txt"):
        gapbench.merge(shards, out)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(RunError, match="--out"):
        gapbench.merge(shards, tmp_path / "file")
    same_as_whole(out, three[0])


def test_a_merge_that_dies_leaves_nothing_behind_and_goes_on(
    shards: list[Path], three: Sequence[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    with monkeypatch.context() as patched:
        patched.setattr(merging, "write_results", lambda folder: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            gapbench.merge(shards, place / "out")
    assert [*place.iterdir()] == []

    pid = os.fork()  # kill -9 in the middle: no clean-up runs
    if pid == 0:
        merging.write_results = lambda folder: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        gapbench.merge(shards, place / "out")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    (left,) = place.iterdir()
    assert left.name.startswith(".out.draft-")
    with hold(place / ".out.draft-alive", "another merge is at work"):
        merged = gapbench.merge(shards, place / "out")
        assert sorted(p.name for p in place.iterdir()) == [".out.draft-alive", "out"]
    same_as_whole(merged.path, three[0])


MERGE = """
import os, random, signal, sys, time
import gapbench
from gapbench.commands import merge as merging
import gapbench.report.run.page, matplotlib.pyplot, scipy.stats

out, kills, *shards = sys.argv[1:]
started = time.monotonic()
gapbench.merge(shards, out + "-first")
usual, rng, died = time.monotonic() - started, random.Random(4), 0
for _ in range(int(kills)):
    pid = os.fork()
    if pid == 0:
        gapbench.merge(shards, out)
        os._exit(0)
    time.sleep(usual * rng.random())
    os.kill(pid, signal.SIGKILL)
    died += os.waitpid(pid, 0)[1] == signal.SIGKILL
    if os.path.exists(out):  # the old folder or the new one, whole
        assert gapbench.load_run(out).summary == gapbench.load_run(out + "-first").summary
        assert open(out + "/report.html").read().rstrip().endswith("</html>")
print(died)
"""


@pytest.mark.evidence
def test_a_merge_killed_at_40_random_moments_ends_as_if_nothing_had_happened(
    shards: list[Path], three: Sequence[Path], tmp_path: Path
) -> None:
    place = tmp_path / "place"
    command = [sys.executable, "-c", MERGE, str(place / "out"), "40", *map(str, shards)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 25, "most ended before they were killed: the moments prove nothing"
    same_as_whole(gapbench.merge(shards, place / "out").path, three[0])
    assert sorted(path.name for path in place.iterdir()) == ["out", "out-first"]


@pytest.mark.slow
def test_the_command_line_merges_and_says_what_is_missing(shards: list[Path], tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gapbench", "merge", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    done = run(*shards[:2], "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("gapbench: merge: shard 3 of 3 missing")
    done = run(*shards[:2], "--out", tmp_path / "out", "--partial")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("shards 1-2 of 3 (")
    assert "note: These numbers cover only a part of the run" in done.stdout
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["merged_by"].startswith("gapbench merge ")


def test_a_merged_run_is_a_run_like_any_other(
    measure: Measure, shards: list[Path], three: Sequence[Path], tmp_path: Path
) -> None:
    merged = gapbench.merge(shards, tmp_path / "out")
    written = (merged.path / "records.jsonl").read_bytes()
    assert measure(merged.path).summary == merged.summary, "the undivided call finds nothing left to ask"
    assert (merged.path / "records.jsonl").read_bytes() == written
    alerts = gapbench.compare(three[0], merged.path, out=tmp_path / "c").summary["alerts"]
    texts = [alert["text"] for alert in alerts if "could not be parsed" not in alert["text"]]
    about = [text.partition(" affect ")[0] for text in texts]
    assert about == ["Missing answers"] * 2, "a random model's answers are no answers; nothing else differs"
