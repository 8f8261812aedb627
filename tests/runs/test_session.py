"""The run loop: one record per answer, in any order, and what a session adds to the manifest."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from helpers import edit, write_benchmark
from PIL import Image

from gapbench.data import catalogue
from gapbench.errors import ModelError, RunError
from gapbench.runs import records
from gapbench.runs import session as session_module
from gapbench.runs.manifest import make_manifest
from gapbench.runs.throughput import ThroughputMeter, Workload
from gapbench.types import Answer, Request
from gapbench.util.progress import progress
from gapbench.views.pixels import Pixels
from gapbench.views.prefetch import Pending
from gapbench.views.views import View

Requests = Iterable[Request]
Answers = Iterator[tuple[Hashable, Answer]]


@dataclass
class Engine:
    """An engine whose answers come from `work`."""

    work: Callable[[Requests], Answers]
    info: Mapping[str, Any] = field(default_factory=lambda: {"model": "m"})
    waited: float | None = None
    trouble: Mapping[str, int] = field(default_factory=dict)

    def close(self) -> None:
        pass

    def generate(self, requests: Requests) -> Answers:
        try:
            yield from self.work(requests)
        finally:
            requests.close()  # type: ignore[attr-defined]


def at_once(requests: Requests) -> Answers:
    for request in requests:
        yield request.key, answered(request)


def answered(request: Request) -> Answer:
    return Answer(error=request.error) if request.error else Answer("yes", prompt_tokens=10, output_tokens=2)


@pytest.fixture
def benchmark_file(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "data")


def pending_samples(path: Path, *missing: tuple[str, int]) -> list[Pending]:
    benchmark = catalogue.load(str(path))
    views = tuple((View(name), repeat) for name, repeat in missing or (("full", 0), ("crop", 0)))
    return [Pending(benchmark.name, s, "padded", s.question, views) for s in benchmark.samples()]


def run_session(
    engine: Engine,
    folder: Path,
    todo: list[Pending],
    manifest: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Run one session and return the manifest after it."""
    folder.mkdir(exist_ok=True)
    fields = {**(manifest or {}), "sessions": [*(manifest or {"sessions": []})["sessions"], {}]}
    meter = changes.pop("meter", None) or ThroughputMeter(Workload(12, 2, 24))
    done, quiet = changes.pop("done", 0), changes.pop("quiet", True)
    bar = progress(done + sum(len(item.missing) for item in todo), done, "m", quiet, about=meter.text)
    session_module.answer_pending(
        engine, folder, make_manifest(fields), todo, changes.get("pixels", Pixels()), meter, bar
    )
    return run_json(folder)


def run_json(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return manifest


def keys(folder: Path) -> list[records.RecordKey]:
    return [records.key(row) for row in records.read(folder)]


def test_there_is_one_record_per_answer_whatever_their_order(benchmark_file: Path, tmp_path: Path) -> None:
    def backwards(requests: Requests) -> Answers:
        for request in reversed(list(requests)):
            yield request.key, answered(request)

    todo = pending_samples(benchmark_file, ("full", 0), ("crop", 0), ("full", 1))
    for name, work in (("a", at_once), ("b", backwards)):
        run_session(Engine(work), tmp_path / name, todo)
    forth, back = keys(tmp_path / "a"), keys(tmp_path / "b")
    assert forth == [("mine", f"q{i}", *which) for i in range(12) for which in (("full", 0), ("crop", 0), ("full", 1))]
    assert back == forth[::-1]


def test_each_answer_is_on_disk_before_the_next_one_comes(benchmark_file: Path, tmp_path: Path) -> None:
    seen = []

    def work(requests: Requests) -> Answers:
        for request in requests:
            yield request.key, answered(request)
            seen.append(len(keys(tmp_path / "run")))

    run_session(Engine(work), tmp_path / "run", pending_samples(benchmark_file))
    assert seen == list(range(1, 25))


def test_the_engine_gets_sized_images_and_stored_bytes(benchmark_file: Path, tmp_path: Path) -> None:
    seen: list[Request] = []

    def work(requests: Requests) -> Answers:
        for request in requests:
            seen.append(request)
            yield request.key, answered(request)

    run_session(Engine(work), tmp_path / "run", pending_samples(benchmark_file)[:1])
    run_session(Engine(work), tmp_path / "small", pending_samples(benchmark_file)[:1], pixels=Pixels(max_pixels=500))
    full, crop, small, _ = seen
    assert full.encoded == ((benchmark_file.parent / "scene 0.png").read_bytes(),)
    assert crop.encoded == small.encoded == (None,)
    assert full.pixels == 140 * 100
    assert crop.pixels < small.pixels * 3
    assert small.pixels <= 500


def test_images_are_let_go_of_while_answers_are_waited_for(benchmark_file: Path, tmp_path: Path) -> None:
    """A server may have hundreds of requests in flight, and an image may be 100 MB."""
    alive: list[weakref.ref[Image.Image]] = []

    def work(requests: Requests) -> Answers:
        pending_keys = []
        for request in requests:
            alive.extend(map(weakref.ref, request.images))
            pending_keys.append(request.key)
        del request
        gc.collect()
        assert not [image for reference in alive if (image := reference()) is not None]
        for key in pending_keys:
            yield key, Answer("yes")

    run_session(Engine(work), tmp_path / "run", pending_samples(benchmark_file))
    assert len(alive) == len(keys(tmp_path / "run")) == 24


def test_a_bad_image_is_a_failed_record_with_its_reason(benchmark_file: Path, tmp_path: Path) -> None:
    (benchmark_file.parent / "scene 1.png").write_bytes(b"no image")
    run_session(Engine(at_once), tmp_path / "run", pending_samples(benchmark_file))
    failed = [row for row in records.read(tmp_path / "run") if row["outcome"] == "failed"]
    assert {(row["sample"], row["view"]) for row in failed} == {(s, v) for s in ("q2", "q3") for v in ("full", "crop")}
    assert all("cannot be decoded" in row["reason"] for row in failed)


def test_each_session_keeps_how_fast_it_went(benchmark_file: Path, tmp_path: Path) -> None:
    todo = pending_samples(benchmark_file)
    first = run_session(Engine(at_once), tmp_path / "run", todo[:5])
    both = run_session(Engine(at_once), tmp_path / "run", todo[5:], first)["sessions"]
    assert [session["throughput"]["answers"] for session in both] == [10, 14]
    throughput = both[0]["throughput"]
    assert throughput["seconds"] == pytest.approx(10 / throughput["answers_per_second"], abs=0.001), "milliseconds"
    assert throughput["prompt_tokens_per_second"] == pytest.approx(5 * throughput["output_tokens_per_second"], rel=0.1)
    assert throughput["projection"]["answers"] == 24
    assert throughput["projection"]["text"].startswith("12 samples x 2 views: about ")


def test_the_share_of_waiting_is_that_of_this_session_and_none_where_it_is_not_known(
    benchmark_file: Path, tmp_path: Path
) -> None:
    engine = Engine(lambda requests: iter(()), waited=5.0)

    def work(requests: Requests) -> Answers:
        for request in requests:
            engine.waited += 1000
            yield request.key, answered(request)

    engine.work = work
    shares = [
        run_session(each, tmp_path / name, pending_samples(benchmark_file))["sessions"][0]["throughput"][
            "waited_for_images"
        ]
        for name, each in (("a", engine), ("b", Engine(at_once, waited=5.0)), ("c", Engine(at_once)))
    ]
    assert shares == [1.0, 0.0, None]


@pytest.mark.parametrize("error", [ModelError("the server died"), KeyboardInterrupt(), RuntimeError("a defect")])
def test_what_was_learnt_is_kept_however_a_session_ends(
    benchmark_file: Path, tmp_path: Path, error: BaseException
) -> None:
    def dies(requests: Requests) -> Answers:
        for number, request in enumerate(requests):
            if number == 7:
                raise error
            yield request.key, answered(request)

    edit(benchmark_file, 0, bbox=[34, 78, 10, 60])
    engine = Engine(dies, {"model": "m", "server_defaults": ["seed"]})
    with pytest.raises(type(error)):
        run_session(engine, tmp_path / "run", pending_samples(benchmark_file))
    manifest = run_json(tmp_path / "run")
    assert manifest["sessions"][0]["throughput"]["answers"] == len(keys(tmp_path / "run")) == 7
    assert manifest["repairs"] == {"mine: swapped": 1}
    assert manifest["server_defaults"] == ["seed"]


def test_a_session_without_an_answer_says_nothing(benchmark_file: Path, tmp_path: Path) -> None:
    def dead(requests: Requests) -> Answers:
        raise ModelError("no server")
        yield

    with pytest.raises(ModelError):
        run_session(Engine(dead), tmp_path / "run", pending_samples(benchmark_file))
    assert not (tmp_path / "run" / "run.json").exists()
    assert keys(tmp_path / "run") == []


def test_what_servers_refused_adds_up_over_sessions(benchmark_file: Path, tmp_path: Path) -> None:
    todo = pending_samples(benchmark_file)
    first = run_session(Engine(at_once, {"model": "m", "server_defaults": ["seed"]}), tmp_path / "run", todo[:5])
    both = run_session(Engine(at_once, {"model": "m", "server_defaults": ["top_k"]}), tmp_path / "run", todo[5:], first)
    assert both["server_defaults"] == ["seed", "top_k"]
    assert "server_defaults" not in run_session(Engine(at_once), tmp_path / "other", todo[:5])


def test_who_answered_is_kept_and_a_change_of_models_is_said(
    benchmark_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def swapping(requests: Requests) -> Answers:
        for number, request in enumerate(requests):
            failed = number == 3
            yield request.key, Answer(error="no") if failed else Answer("yes", model="large" if number < 9 else "small")

    def steady(requests: Requests) -> Answers:
        for request in requests:
            yield request.key, Answer("yes", model="large")

    def who(work: Callable[[Requests], Answers], name: str) -> Any:
        return run_session(Engine(work), tmp_path / name, pending_samples(benchmark_file), quiet=False)["sessions"][
            0
        ].get("answered_by")

    assert who(steady, "a") == {"large": 24}
    assert who(at_once, "b") is None
    with pytest.warns(UserWarning, match="several models: large, small"):
        assert who(swapping, "c") == {"large": 8, "small": 15}


def test_repairs_are_counted_once_for_all_views_and_added_to_earlier_ones(benchmark_file: Path, tmp_path: Path) -> None:
    edit(benchmark_file, 0, bbox=[34, 78, 10, 60])
    edit(benchmark_file, 1, bbox=[34, 78, 10, 60])
    todo = pending_samples(benchmark_file, ("full", 0), ("crop", 0), ("full", 1))
    first = run_session(Engine(at_once), tmp_path / "run", todo[:1])
    assert first["repairs"] == {"mine: swapped": 1}
    assert run_session(Engine(at_once), tmp_path / "run", todo[1:], first)["repairs"] == {"mine: swapped": 2}


def test_repairs_of_a_sample_are_counted_once_in_all_sessions_that_ask_it(benchmark_file: Path, tmp_path: Path) -> None:
    def dies(requests: Requests) -> Answers:
        request = next(iter(requests))
        yield request.key, answered(request)
        raise ModelError("after the first of its views")

    edit(benchmark_file, 0, bbox=[34, 78, 10, 60])
    todo = pending_samples(benchmark_file)[:1]
    with pytest.raises(ModelError):
        run_session(Engine(dies), tmp_path / "run", todo)
    assert run_json(tmp_path / "run")["repairs"] == {"mine: swapped": 1}
    rest = [replace(todo[0], missing=((View("crop"), 0),), new=False)]
    assert run_session(Engine(at_once), tmp_path / "run", rest, run_json(tmp_path / "run"))["repairs"] == {
        "mine: swapped": 1
    }


def test_an_engines_troubles_are_kept_with_the_session(benchmark_file: Path, tmp_path: Path) -> None:
    engine = Engine(at_once, trouble={"tries": 3})
    first = run_session(engine, tmp_path / "run", pending_samples(benchmark_file)[:1])
    engine.trouble = {}
    both = run_session(engine, tmp_path / "run", pending_samples(benchmark_file)[1:], first)["sessions"]
    assert [session.get("trouble") for session in both] == [{"tries": 3}, None]


def test_the_progress_line_says_what_the_whole_would_take(
    benchmark_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    meter = ThroughputMeter(Workload(23_609, 2, 47_218), started=-10_000.0)
    run_session(Engine(at_once), tmp_path / "run", pending_samples(benchmark_file), meter=meter, done=6, quiet=False)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("m: 30/30 answers, ")
    assert " tokens/s, " in line
    assert "(23,609 samples x 2 views: about " in line
    assert line.endswith(" at this rate)")


def test_a_run_deleted_meanwhile_ends_at_once(benchmark_file: Path, tmp_path: Path) -> None:
    def deleting(requests: Requests) -> Answers:
        for number, request in enumerate(requests):
            if number == 3:
                shutil.rmtree(tmp_path / "run")
            assert number < 6, "it went on"
            yield request.key, answered(request)

    with pytest.raises(RunError, match="deleted or replaced while answers were added"):
        run_session(Engine(deleting), tmp_path / "run", pending_samples(benchmark_file))
    assert not (tmp_path / "run").exists(), "nothing is written into a folder that someone removed"


def test_a_run_that_another_replaced_meanwhile_leaves_the_other_as_it_is(benchmark_file: Path, tmp_path: Path) -> None:
    def replacing(requests: Requests) -> Answers:
        for number, request in enumerate(requests):
            if number == 3:
                (tmp_path / "run").rename(tmp_path / "moved")
                (tmp_path / "run").mkdir()
                for file in ("records.jsonl", "run.json"):
                    (tmp_path / "run" / file).write_text("another run's")
            yield request.key, answered(request)

    with pytest.raises(RunError, match="deleted or replaced while answers were added"):
        run_session(Engine(replacing), tmp_path / "run", pending_samples(benchmark_file))
    assert {path.read_text() for path in (tmp_path / "run").iterdir() if path.is_file()} == {"another run's"}


def test_the_same_loop_serves_any_reply_and_closes_what_it_reads() -> None:
    written, closed = [], []

    def replies() -> Iterator[tuple[Hashable, str]]:
        try:
            yield from [("a", "1"), ("b", "2"), ("c", "3")]
        finally:
            closed.append(True)

    def write(key: str, reply: str) -> tuple[str, int]:
        if key == "b":
            raise ModelError("full")
        written.append((key, reply))
        return "", 0

    with pytest.raises(ModelError):
        session_module.run_loop(replies(), write, progress(3, 0, "m", True))
    assert (written, closed) == ([("a", "1")], [True])
