"""Images are made ready ahead of the engine: in order, each decoded once, within memory, and nothing ends a run."""

from __future__ import annotations

import gc
import io
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gapbench.types import Sample
from gapbench.views import images
from gapbench.views import prefetch as preparing
from gapbench.views.pixels import Pixels
from gapbench.views.prefetch import Pending, Prefetched, prepared
from gapbench.views.prepare import PreparedSample

BOTH = (("full", 0), ("crop", 0))


def noise(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def stored(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def question(name: str, image: Any, asked: tuple[tuple[str, int], ...] = BOTH, **changes: Any) -> Pending:
    sample = Sample(name, image, "Is it?", ("yes",), "yes_no", boxes=((10.0, 10.0, 30.0, 25.0),), **changes)
    return Pending("b", sample, "union", "Is it?", asked)


def ready(questions: list[Pending], workers: int = 4, pixels: Pixels | None = None) -> list[Prefetched]:
    return list(prepared(questions, pixels or Pixels(), workers))


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("gapbench-prepare")]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The sources that were decoded; the real decoder works."""
    seen: list[Any] = []
    read = images.read

    def counting(source: Any, max_pixels: int = 0) -> images.Decoded:
        seen.append(source)
        return read(source, max_pixels)

    monkeypatch.setattr(images, "read", counting)
    return seen


def test_what_is_slow_to_make_keeps_its_place() -> None:
    def slow(number: int) -> Callable[[], Image.Image]:
        def make() -> Image.Image:
            time.sleep(0.03 if number % 5 == 0 else 0.0)
            return noise(number)

        return make

    found = ready([question(str(i), slow(i)) for i in range(40)])
    assert [one.question.sample.id for one in found] == [str(i) for i in range(40)]
    assert [one.case.images[0].tobytes() for one in found] == [noise(i).tobytes() for i in range(40)]


def test_images_are_made_side_by_side() -> None:
    together = threading.Barrier(3)

    def make() -> Image.Image:
        together.wait(timeout=20)  # passes only with three threads in it
        return noise(0)

    found = ready([question(str(i), (lambda: make())) for i in range(3)], workers=3)
    assert [one.case.error for one in found] == ["", "", ""]


def test_what_is_kept_of_images_is_made_in_the_threads_and_before_they_are_handed_out() -> None:
    kept: dict[str, tuple[str, tuple[int, int]]] = {}

    def keep(question: Pending, case: PreparedSample) -> None:
        kept[question.sample.id] = threading.current_thread().name, case.images[0].size

    for number, one in enumerate(prepared([question(str(i), noise(i)) for i in range(9)], Pixels(), 2, keep)):
        thread, size = kept[one.question.sample.id]
        assert thread.startswith("gapbench-prepare")
        assert (size, one.question.sample.id) == ((80, 60), str(number))


def test_each_view_that_is_asked_is_there_once_whatever_the_repeats() -> None:
    (one,) = ready([question("q", noise(0), (("crop", 0), ("full", 0), ("crop", 1)))])
    assert [shown.view for shown in one.shown] == ["crop", "full"]
    assert [shown.images[0].size for shown in one.shown] == [(20, 15), (80, 60)]


def test_the_pixel_bounds_are_applied_here() -> None:
    (one,) = ready([question("q", noise(0))], pixels=Pixels(max_pixels=1200))
    full, crop = one.shown
    assert [shown.images[0].size for shown in one.shown] == [(40, 30), (20, 15)]
    assert full.images[0].tobytes() == Pixels(max_pixels=1200).apply(noise(0)).tobytes()
    assert crop.images[0].tobytes() == noise(0).crop((10, 10, 30, 25)).tobytes()
    assert one.case.size == (80, 60), "boxes and records speak of the image as it is stored"


def test_stored_bytes_come_only_with_the_image_that_they_show() -> None:
    data = stored(noise(0), "JPEG")
    (plain,) = ready([question("q", data)])
    (small,) = ready([question("q", data)], pixels=Pixels(max_pixels=1200))
    (large,) = ready([question("q", data)], pixels=Pixels(max_pixels=4800))
    assert [shown.encoded for shown in plain.shown] == [(data,), (None,)]
    assert [shown.encoded for shown in small.shown] == [(None,), (None,)]
    assert [shown.encoded for shown in large.shown] == [(data,), (None,)]


def test_a_region_that_is_the_whole_image_shows_the_same_pixels() -> None:
    data = stored(noise(0))
    whole = Pending(
        "b", Sample("q", data, "?", ("yes",), "yes_no", boxes=((0.0, 0.0, 80.0, 60.0),)), "union", "?", BOTH
    )
    (one,) = ready([whole])
    full, crop = one.shown
    for shown in (full, crop):
        for image, encoded in zip(shown.images, shown.encoded, strict=True):
            assert image.tobytes() == noise(0).tobytes()
            assert encoded in (data, None)


def test_questions_in_a_row_about_one_image_decode_it_once(tmp_path: Path, decoded: list[Any]) -> None:
    for name in ("a.png", "b.png"):
        noise(0).save(tmp_path / name)
    order = ["a"] * 5 + ["b"] * 3 + ["a"]
    found = ready([question(str(i), str(tmp_path / f"{name}.png")) for i, name in enumerate(order)])
    assert [Path(source).stem for source in decoded] == ["a", "b", "a"]
    assert found[4].case.images[0] is found[0].case.images[0]
    assert len(found) == 9


def test_a_image_with_very_many_questions_is_shared_out_among_threads(tmp_path: Path, decoded: list[Any]) -> None:
    noise(0).save(tmp_path / "a.png")
    ready([question(str(i), tmp_path / "a.png") for i in range(2 * preparing.TOGETHER + 1)])
    assert len(decoded) == 3


def test_a_image_that_cannot_be_read_is_text_and_the_others_go_on() -> None:
    bad, fine = ready([question("bad", b"no image"), question("fine", noise(0))])
    assert "cannot be decoded" in bad.case.error
    assert [(shown.images, shown.error) for shown in bad.shown] == [((), bad.case.error)] * 2
    assert [shown.error for shown in fine.shown] == ["", ""]


def test_an_exception_in_a_benchmarks_own_code_is_the_samples() -> None:
    def broken() -> Image.Image:
        return {}["no such key"]  # type: ignore[no-any-return]

    bad, fine = ready([question("bad", broken), question("fine", lambda: noise(0))])
    assert "the function that makes it failed with KeyError: 'no such key'" in bad.case.error
    assert bad.shown[0].error == bad.case.error
    assert fine.shown[0].error == ""


def test_a_sample_without_a_region_is_still_shown_in_full() -> None:
    sample = Sample("q", noise(0), "?", ("yes",), "yes_no", boxes=((200.0, 200.0, 300.0, 300.0),))
    (one,) = ready([Pending("b", sample, "union", "?", BOTH)])
    full, crop = one.shown
    assert (full.error, full.images[0].size) == ("", (80, 60))
    assert "nothing is left inside the image" in crop.error


class Tight(Pixels):
    """Bounds within which some images have no size."""

    def apply(self, image: Image.Image) -> Image.Image:
        return image.resize((0, 1) if image.width == 1 else image.size)


def test_a_image_that_has_no_size_within_the_bounds_fails_alone() -> None:
    strip, fine = ready([question("strip", noise(0, (1, 90))), question("fine", noise(0))], pixels=Tight())
    assert "cannot be brought within the pixel bounds" in strip.shown[0].error
    assert [shown.error for shown in fine.shown] == ["", ""]


def test_an_error_of_the_questions_themselves_is_raised_and_leaves_no_thread() -> None:
    def questions() -> Iterator[Pending]:
        yield question("q", noise(0))
        raise RuntimeError("the list is broken")

    with pytest.raises(RuntimeError, match="the list is broken"):
        list(prepared(questions(), Pixels(), 2))
    assert not threads()


def test_closing_early_stops_threads_and_reads_no_further() -> None:
    read = 0

    def endless() -> Iterator[Pending]:
        nonlocal read
        while True:
            yield question(str(read), noise(read))
            read += 1

    answers = prepared(endless(), Pixels(), 3)
    next(answers)
    answers.close()
    before = read
    time.sleep(0.1)
    assert not threads()
    assert read == before <= 2 * 3 + 2


def test_nothing_is_begun_before_it_is_asked_for() -> None:
    made: list[int] = []
    prepared([question("q", lambda: made.append(1) or noise(0))], Pixels())
    assert not made


@pytest.mark.parametrize("questions_each", [1, 3])
def test_a_slow_engine_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch, questions_each: int) -> None:
    """30-megapixel images by the dozen: what is alive at any time is bounded, and does not grow."""
    side, workers = 300, 6
    area = side * side
    monkeypatch.setattr(preparing, "AHEAD_PIXELS", 3 * area)
    alive = most = 0
    read = images.read

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def counting(source: Any, max_pixels: int = 0) -> images.Decoded:
        nonlocal alive, most
        found = read(source, max_pixels)
        weakref.finalize(found.image, gone)
        alive += 1
        most = max(most, alive)
        return found

    monkeypatch.setattr(images, "read", counting)
    data = [stored(Image.new("RGB", (side, side), (i, i, i))) for i in range(40)]
    asked = [question(f"{i} {j}", data[i], (("full", 0),)) for i in range(40) for j in range(questions_each)]
    for _ in prepared(asked, Pixels(), workers):
        time.sleep(0.01)  # the engine; all that may be made ready meanwhile is
    assert 3 <= most <= 3 + workers
    del _
    gc.collect()
    assert alive == 0, "nothing is kept once it was handed out"
