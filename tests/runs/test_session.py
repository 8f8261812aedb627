"""From what is to be asked to records: one per answer, whatever the order, and what a session learnt beside them."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from helpers import edit, write_benchmark
from PIL import Image

from gapbench.data import catalogue
from gapbench.errors import ModelError
from gapbench.runs import records, thumbnails
from gapbench.runs import session as asking
from gapbench.runs.throughput import Pace, Whole
from gapbench.types import Answer, Request
from gapbench.views.pixels import Pixels
from gapbench.views.prefetch import Pending

Given = Iterable[Request]
Answers = Iterator[tuple[Hashable, Answer]]


@dataclass
class Engine:
    """An engine whose answers are what `work` makes of requests."""

    work: Callable[[Given], Answers]
    info: Mapping[str, Any] = field(default_factory=lambda: {"model": "m"})

    def generate(self, requests: Given) -> Answers:
        try:
            yield from self.work(requests)
        finally:
            requests.close()  # type: ignore[attr-defined]


@dataclass
class Waiting(Engine):
    waited: float = 5.0


@dataclass
class Troubled(Engine):
    trouble: Mapping[str, int] = field(default_factory=lambda: {"tries": 3})


def at_once(requests: Given) -> Answers:
    for request in requests:
        yield request.key, answered(request)


def answered(request: Request) -> Answer:
    return Answer(error=request.error) if request.error else Answer("yes", prompt_tokens=10, output_tokens=2)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "data")


def questions(path: Path, *asked: tuple[str, int]) -> list[Pending]:
    benchmark = catalogue.load(str(path))
    return [Pending(benchmark.name, s, "padded", s.question, asked or (("full", 0), ("crop", 0)))
            for s in benchmark.samples()]  # fmt: skip


def ask(
    engine: Engine, folder: Path, todo: list[Pending], plan: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """One session; what `run.json` says after it."""
    folder.mkdir(exist_ok=True)
    plan = {"sessions": [{}]} if plan is None else {**plan, "sessions": [*plan["sessions"], {}]}
    settings: dict[str, Any] = {"gallery": {}, "pixels": Pixels(), "pace": Pace(Whole(12, 2, 24)), "done": 0,
                                "quiet": True, **changes}  # fmt: skip
    asking.ask(engine, folder, plan, todo, **settings)
    return run_json(folder)


def run_json(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def keys(folder: Path) -> list[records.RecordKey]:
    return [records.key(row) for row in records.read(folder)]


def test_there_is_one_record_per_answer_whatever_their_order(mine: Path, tmp_path: Path) -> None:
    def backwards(requests: Given) -> Answers:
        for request in reversed(list(requests)):
            yield request.key, answered(request)

    todo = questions(mine, ("full", 0), ("crop", 0), ("full", 1))
    for name, work in (("a", at_once), ("b", backwards)):
        ask(Engine(work), tmp_path / name, todo)
    forth, back = keys(tmp_path / "a"), keys(tmp_path / "b")
    assert forth == [("mine", f"q{i}", *which) for i in range(12) for which in (("full", 0), ("crop", 0), ("full", 1))]
    assert back == forth[::-1]


def test_each_answer_is_on_disk_before_the_next_one_comes(mine: Path, tmp_path: Path) -> None:
    seen = []

    def work(requests: Given) -> Answers:
        for request in requests:
            yield request.key, answered(request)
            seen.append(len(keys(tmp_path / "run")))

    ask(Engine(work), tmp_path / "run", questions(mine))
    assert seen == list(range(1, 25))


def test_the_engine_gets_sized_images_and_stored_bytes(mine: Path, tmp_path: Path) -> None:
    seen: list[Request] = []

    def work(requests: Given) -> Answers:
        for request in requests:
            seen.append(request)
            yield request.key, answered(request)

    ask(Engine(work), tmp_path / "run", questions(mine)[:1])
    ask(Engine(work), tmp_path / "small", questions(mine)[:1], pixels=Pixels(max_pixels=500))
    full, crop, small, _ = seen
    assert full.encoded == ((mine.parent / "scene 0.png").read_bytes(),)
    assert crop.encoded == small.encoded == (None,)
    assert full.pixels == 140 * 100
    assert crop.pixels < small.pixels * 3
    assert small.pixels <= 500


def test_images_are_let_go_of_while_answers_are_waited_for(mine: Path, tmp_path: Path) -> None:
    """A server may have hundreds of questions under way, and an image may be 100 MB."""
    alive: list[weakref.ref[Image.Image]] = []

    def work(requests: Given) -> Answers:
        owed = []
        for request in requests:
            alive.extend(map(weakref.ref, request.images))
            owed.append(request.key)
        del request
        gc.collect()
        assert not [image for one in alive if (image := one()) is not None]
        for key in owed:
            yield key, Answer("yes")

    ask(Engine(work), tmp_path / "run", questions(mine))
    assert len(alive) == len(keys(tmp_path / "run")) == 24


def test_a_bad_image_is_a_failed_record_with_its_reason(mine: Path, tmp_path: Path) -> None:
    (mine.parent / "scene 1.png").write_bytes(b"no image")
    ask(Engine(at_once), tmp_path / "run", questions(mine))
    failed = [row for row in records.read(tmp_path / "run") if row["outcome"] == "failed"]
    assert {(row["sample"], row["view"]) for row in failed} == {(s, v) for s in ("q2", "q3") for v in ("full", "crop")}
    assert all("cannot be decoded" in row["reason"] for row in failed)


def test_each_session_keeps_how_fast_it_went(mine: Path, tmp_path: Path) -> None:
    todo = questions(mine)
    first = ask(Engine(at_once), tmp_path / "run", todo[:5])
    both = ask(Engine(at_once), tmp_path / "run", todo[5:], first)["sessions"]
    assert [session["throughput"]["answers"] for session in both] == [10, 14]
    one = both[0]["throughput"]
    assert one["seconds"] == pytest.approx(10 / one["answers_per_second"], abs=0.001), "in whole milliseconds"
    assert one["prompt_tokens_per_second"] == pytest.approx(5 * one["output_tokens_per_second"], rel=0.1)
    assert one["projection"]["answers"] == 24
    assert one["projection"]["text"].startswith("12 samples x 2 views: about ")


def test_the_share_of_waiting_is_that_of_this_session_and_none_where_it_is_not_known(
    mine: Path, tmp_path: Path
) -> None:
    engine = Waiting(lambda requests: iter(()))

    def work(requests: Given) -> Answers:
        for request in requests:
            engine.waited += 1000
            yield request.key, answered(request)

    engine.work = work
    shares = [
        ask(found, tmp_path / name, questions(mine))["sessions"][0]["throughput"]["waited_for_images"]
        for name, found in (("a", engine), ("b", Waiting(at_once)), ("c", Engine(at_once)))
    ]
    assert shares == [1.0, 0.0, None]


@pytest.mark.parametrize("error", [ModelError("the server died"), KeyboardInterrupt(), RuntimeError("a defect")])
def test_what_was_learnt_is_kept_however_a_session_ends(mine: Path, tmp_path: Path, error: BaseException) -> None:
    def dies(requests: Given) -> Answers:
        for number, request in enumerate(requests):
            if number == 7:
                raise error
            yield request.key, answered(request)

    edit(mine, 0, bbox=[34, 78, 10, 60])
    engine = Engine(dies, {"model": "m", "server_defaults": ["seed"]})
    with pytest.raises(type(error)):
        ask(engine, tmp_path / "run", questions(mine))
    asked = run_json(tmp_path / "run")
    assert asked["sessions"][0]["throughput"]["answers"] == len(keys(tmp_path / "run")) == 7
    assert asked["repairs"] == {"mine: swapped": 1}
    assert asked["server_defaults"] == ["seed"]


def test_a_session_without_an_answer_says_nothing(mine: Path, tmp_path: Path) -> None:
    def dead(requests: Given) -> Answers:
        raise ModelError("no server")
        yield

    with pytest.raises(ModelError):
        ask(Engine(dead), tmp_path / "run", questions(mine))
    assert not (tmp_path / "run" / "run.json").exists()
    assert keys(tmp_path / "run") == []


def test_what_servers_refused_adds_up_over_sessions(mine: Path, tmp_path: Path) -> None:
    todo = questions(mine)
    first = ask(Engine(at_once, {"model": "m", "server_defaults": ["seed"]}), tmp_path / "run", todo[:5])
    both = ask(Engine(at_once, {"model": "m", "server_defaults": ["top_k"]}), tmp_path / "run", todo[5:], first)
    assert both["server_defaults"] == ["seed", "top_k"]
    assert "server_defaults" not in ask(Engine(at_once), tmp_path / "other", todo[:5])


def test_who_answered_is_kept_and_a_change_of_models_is_said(
    mine: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def swapping(requests: Given) -> Answers:
        for number, request in enumerate(requests):
            failed = number == 3
            yield request.key, Answer(error="no") if failed else Answer("yes", model="large" if number < 9 else "small")

    def steady(requests: Given) -> Answers:
        for request in requests:
            yield request.key, Answer("yes", model="large")

    def who(work: Callable[[Given], Answers], name: str) -> Any:
        return ask(Engine(work), tmp_path / name, questions(mine), quiet=False)["sessions"][0].get("answered_by")

    assert who(steady, "a") == {"large": 24}
    assert who(at_once, "b") is None
    assert "warning" not in capfd.readouterr().err
    assert who(swapping, "c") == {"large": 8, "small": 15}
    assert "several models: large, small" in capfd.readouterr().err


def test_repairs_are_counted_once_for_all_views_and_added_to_earlier_ones(mine: Path, tmp_path: Path) -> None:
    edit(mine, 0, bbox=[34, 78, 10, 60])
    edit(mine, 1, bbox=[34, 78, 10, 60])
    todo = questions(mine, ("full", 0), ("crop", 0), ("full", 1))
    first = ask(Engine(at_once), tmp_path / "run", todo[:1])
    assert first["repairs"] == {"mine: swapped": 1}
    assert ask(Engine(at_once), tmp_path / "run", todo[1:], first)["repairs"] == {"mine: swapped": 2}


def test_repairs_of_a_sample_are_counted_once_in_all_sessions_that_ask_it(mine: Path, tmp_path: Path) -> None:
    def dies(requests: Given) -> Answers:
        request = next(iter(requests))
        yield request.key, answered(request)
        raise ModelError("after the first of its views")

    edit(mine, 0, bbox=[34, 78, 10, 60])
    todo = questions(mine)[:1]
    with pytest.raises(ModelError):
        ask(Engine(dies), tmp_path / "run", todo)
    assert run_json(tmp_path / "run")["repairs"] == {"mine: swapped": 1}
    rest = [replace(todo[0], asked=(("crop", 0),), new=False)]
    assert ask(Engine(at_once), tmp_path / "run", rest, run_json(tmp_path / "run"))["repairs"] == {"mine: swapped": 1}


def test_an_engines_troubles_are_kept_with_the_session(mine: Path, tmp_path: Path) -> None:
    engine = Troubled(at_once)
    first = ask(engine, tmp_path / "run", questions(mine)[:1])
    engine.trouble = {}
    both = ask(engine, tmp_path / "run", questions(mine)[1:], first)["sessions"]
    assert [session.get("trouble") for session in both] == [{"tries": 3}, None]


def test_small_images_are_kept_for_the_samples_that_the_gallery_drew(mine: Path, tmp_path: Path) -> None:
    benchmark = catalogue.load(str(mine))
    drawn = asking.gallery_of({"mine": benchmark.samples()})
    assert drawn == asking.gallery_of({"mine": benchmark.samples()[::-1]}), "the same ones, however they are asked"
    chosen = dict(list(drawn.items())[:3])
    ask(Engine(at_once), tmp_path / "run", questions(mine), gallery=chosen)
    kept = {p.name for p in (tmp_path / "run" / "thumbnails").iterdir()}
    assert kept == {f"{key}-{view}.jpg" for key in chosen.values() for view in ("full", "crop")}


def test_small_images_lost_to_a_kill_are_made_again(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever between the writes it hits, and in the middle of one."""
    todo, place = questions(mine)[:1], tmp_path / "run" / "thumbnails"
    gallery = asking.gallery_of({"mine": [todo[0].sample]})
    key = gallery["mine", "q0"]
    saved = thumbnails.save_thumbnail

    def killed_at(write: int) -> None:
        count = 0

        def save(image: Image.Image, path: Path) -> None:
            nonlocal count
            count += 1
            if count == write:
                path.write_bytes(b"half of")
                raise SystemExit
            saved(image, path)

        monkeypatch.setattr(thumbnails, "save_thumbnail", save)

    for write in (1, 2):
        killed_at(write)
        with pytest.raises(SystemExit):
            ask(Engine(at_once), tmp_path / "run", todo, gallery=gallery)
        assert keys(tmp_path / "run") == []
    killed_at(0)
    ask(Engine(at_once), tmp_path / "run", todo, gallery=gallery)
    assert sorted(p.name for p in place.iterdir()) == [f"{key}-crop.jpg", f"{key}-full.jpg"]
    assert all(max(Image.open(p).size) >= 224 for p in place.iterdir())


def test_small_images_that_cannot_be_written_end_nothing(mine: Path, tmp_path: Path) -> None:
    gallery = asking.gallery_of({"mine": catalogue.load(str(mine)).samples()})
    for key in gallery.values():
        (tmp_path / "run" / "thumbnails" / f"{key}-crop.jpg").mkdir(parents=True)
    ask(Engine(at_once), tmp_path / "run", questions(mine), gallery=gallery)
    assert len(keys(tmp_path / "run")) == 24


def test_the_gallery_holds_no_more_than_it_shows(monkeypatch: pytest.MonkeyPatch, mine: Path) -> None:
    monkeypatch.setattr(asking, "THUMBNAILS", 5)
    samples = catalogue.load(str(mine)).samples()
    drawn = asking.gallery_of({"one": samples, "two": samples})
    assert [name for name, _ in drawn].count("one") == [name for name, _ in drawn].count("two") == 5


def test_the_progress_line_says_what_the_whole_would_take(
    mine: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pace = Pace(Whole(23_609, 2, 47_218), started=-10_000.0)
    ask(Engine(at_once), tmp_path / "run", questions(mine), pace=pace, done=6, quiet=False)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("m: 30/30 answers, ")
    assert " tokens/s, " in line
    assert "(23,609 samples x 2 views: about " in line
    assert line.endswith(" at this rate)")
