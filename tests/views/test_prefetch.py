"""Read-ahead for the engine: in order, each image decoded once, within memory; a faulty sample does not end a run."""

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
from gapbench.views import images, prefetch
from gapbench.views.pixels import Pixels
from gapbench.views.prefetch import Pending, Prefetched, prepared
from gapbench.views.views import View, parse_views

BOTH = ((View("full"), 0), (View("crop"), 0))


def noise(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def stored(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def pending(name: str, image: Any, missing: tuple[tuple[View, int], ...] = BOTH, **changes: Any) -> Pending:
    sample = Sample(name, image, "Is it?", ("yes",), "yes_no", boxes=((10.0, 10.0, 30.0, 25.0),), **changes)
    return Pending("b", sample, "union", "Is it?", missing)


def ready(samples: list[Pending], workers: int = 4, pixels: Pixels | None = None) -> list[Prefetched]:
    return list(prepared(samples, pixels or Pixels(), workers))


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("gapbench-prepare")]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The sources that were decoded; the real decoder works."""
    seen: list[Any] = []
    read = images.read

    def counting(source: Any, max_pixels: int = 0, upright: bool = False) -> images.Decoded:
        seen.append(source)
        return read(source, max_pixels, upright)

    monkeypatch.setattr(images, "read", counting)
    return seen


def test_a_slow_image_keeps_its_place() -> None:
    def slow(number: int) -> Callable[[], Image.Image]:
        def make() -> Image.Image:
            time.sleep(0.03 if number % 5 == 0 else 0.0)
            return noise(number)

        return make

    results = ready([pending(str(i), slow(i)) for i in range(40)])
    assert [result.pending.sample.id for result in results] == [str(i) for i in range(40)]
    assert [result.sample.images[0].tobytes() for result in results] == [noise(i).tobytes() for i in range(40)]


def test_images_are_made_side_by_side() -> None:
    together = threading.Barrier(3)

    def make() -> Image.Image:
        together.wait(timeout=20)  # passes only with three threads in it
        return noise(0)

    results = ready([pending(str(i), (lambda: make())) for i in range(3)], workers=3)
    assert [result.sample.error for result in results] == ["", "", ""]


def test_each_missing_view_is_there_once_whatever_the_repeats() -> None:
    (result,) = ready([pending("q", noise(0), ((View("crop"), 0), (View("full"), 0), (View("crop"), 1)))])
    assert [view.view.name for view in result.views] == ["crop", "full"]
    assert [view.images[0].size for view in result.views] == [(20, 15), (80, 60)]


def test_the_pixel_bounds_are_applied() -> None:
    (result,) = ready([pending("q", noise(0))], pixels=Pixels(max_pixels=1200))
    full, crop = result.views
    assert [view.images[0].size for view in result.views] == [(40, 30), (20, 15)]
    assert full.images[0].tobytes() == Pixels(max_pixels=1200).apply(noise(0)).tobytes()
    assert crop.images[0].tobytes() == noise(0).crop((10, 10, 30, 25)).tobytes()
    assert result.sample.size == (80, 60), "boxes and records speak of the image as it is stored"


def test_stored_bytes_come_only_with_the_image_that_they_encode() -> None:
    data = stored(noise(0), "JPEG")
    (plain,) = ready([pending("q", data)])
    (small,) = ready([pending("q", data)], pixels=Pixels(max_pixels=1200))
    (large,) = ready([pending("q", data)], pixels=Pixels(max_pixels=4800))
    assert [view.encoded for view in plain.views] == [(data,), (None,)]
    assert [view.encoded for view in small.views] == [(None,), (None,)]
    assert [view.encoded for view in large.views] == [(data,), (None,)]


def test_a_region_that_is_the_whole_image_shows_the_same_pixels() -> None:
    data = stored(noise(0))
    covering = Pending(
        "b", Sample("q", data, "?", ("yes",), "yes_no", boxes=((0.0, 0.0, 80.0, 60.0),)), "union", "?", BOTH
    )
    (result,) = ready([covering])
    full, crop = result.views
    for view in (full, crop):
        for image, encoded in zip(view.images, view.encoded, strict=True):
            assert image.tobytes() == noise(0).tobytes()
            assert encoded in (data, None)


def test_consecutive_samples_about_one_image_decode_it_once(tmp_path: Path, decoded: list[Any]) -> None:
    for name in ("a.png", "b.png"):
        noise(0).save(tmp_path / name)
    order = ["a"] * 5 + ["b"] * 3 + ["a"]
    results = ready([pending(str(i), str(tmp_path / f"{name}.png")) for i, name in enumerate(order)])
    assert [Path(source).stem for source in decoded] == ["a", "b", "a"]
    assert results[4].sample.images[0] is results[0].sample.images[0]
    assert len(results) == 9


def test_a_sample_in_many_views_is_decoded_once(tmp_path: Path, decoded: list[Any]) -> None:
    noise(0, (200, 150)).save(tmp_path / "a.png")
    views = tuple((view, 0) for view in parse_views("factorial,cures"))
    (one,) = ready([pending("q", str(tmp_path / "a.png"), views)], pixels=Pixels(max_pixels=20_000))
    assert len(decoded) == 1
    assert [shown.view.name for shown in one.views] == [view.name for view, _ in views]
    errors = {shown.view.name for shown in one.views if shown.error}
    assert errors == {"full_up", "full_up_mask"}, "the image is larger than the bound"
    for shown in one.views:
        assert shown.sizes == tuple(image.size for image in shown.images)
        assert len(shown.evidence) in (0, len(shown.images))
        assert shown.without_images().images == ()


def test_an_image_with_many_samples_is_shared_out_among_threads(tmp_path: Path, decoded: list[Any]) -> None:
    noise(0).save(tmp_path / "a.png")
    ready([pending(str(i), tmp_path / "a.png") for i in range(2 * prefetch.GROUP_LIMIT + 1)])
    assert len(decoded) == 3


def test_an_image_that_cannot_be_read_is_text_and_the_others_go_on() -> None:
    bad, fine = ready([pending("bad", b"no image"), pending("fine", noise(0))])
    assert "cannot be decoded" in bad.sample.error
    assert [(view.images, view.error) for view in bad.views] == [((), bad.sample.error)] * 2
    assert [view.error for view in fine.views] == ["", ""]


def test_an_exception_in_a_benchmarks_own_code_fails_its_sample() -> None:
    def broken() -> Image.Image:
        return {}["no such key"]  # type: ignore[no-any-return]

    bad, fine = ready([pending("bad", broken), pending("fine", lambda: noise(0))])
    assert "the function that makes it failed with KeyError: 'no such key'" in bad.sample.error
    assert bad.views[0].error == bad.sample.error
    assert fine.views[0].error == ""


def test_a_sample_without_a_region_is_still_shown_in_full() -> None:
    sample = Sample("q", noise(0), "?", ("yes",), "yes_no", boxes=((200.0, 200.0, 300.0, 300.0),))
    (result,) = ready([Pending("b", sample, "union", "?", BOTH)])
    full, crop = result.views
    assert (full.error, full.images[0].size) == ("", (80, 60))
    assert "nothing is left inside the image" in crop.error


class Tight(Pixels):
    """Bounds within which some images have no size."""

    def apply(self, image: Image.Image) -> Image.Image:
        return image.resize((0, 1) if image.width == 1 else image.size)


def test_an_image_that_has_no_size_within_the_bounds_fails_alone() -> None:
    strip, fine = ready([pending("strip", noise(0, (1, 90))), pending("fine", noise(0))], pixels=Tight())
    assert "cannot be brought within the pixel bounds" in strip.views[0].error
    assert [view.error for view in fine.views] == ["", ""]


def test_an_error_of_the_iterable_is_raised_and_leaves_no_thread() -> None:
    def samples() -> Iterator[Pending]:
        yield pending("q", noise(0))
        raise RuntimeError("the list is broken")

    with pytest.raises(RuntimeError, match="the list is broken"):
        list(prepared(samples(), Pixels(), 2))
    assert not threads()


def test_closing_early_stops_threads_and_reads_no_further() -> None:
    read = 0

    def endless() -> Iterator[Pending]:
        nonlocal read
        while True:
            yield pending(str(read), noise(read))
            read += 1

    answers = prepared(endless(), Pixels(), 3)
    next(answers)
    answers.close()
    before = read
    time.sleep(0.1)
    assert not threads()
    assert read == before <= 2 * 3 + 2


def test_nothing_is_prepared_before_the_first_sample_is_taken() -> None:
    calls: list[int] = []
    prepared([pending("q", lambda: calls.append(1) or noise(0))], Pixels())
    assert not calls


@pytest.mark.parametrize("samples_each", [1, 3])
def test_a_slow_engine_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch, samples_each: int) -> None:
    """30-megapixel images by the dozen: what is alive at any time is bounded, and does not grow."""
    side, workers = 300, 6
    area = side * side
    monkeypatch.setattr(prefetch, "AHEAD_PIXELS", 3 * area)
    alive = most = 0
    read = images.read

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def counting(source: Any, max_pixels: int = 0, upright: bool = False) -> images.Decoded:
        nonlocal alive, most
        decoded = read(source, max_pixels, upright)
        weakref.finalize(decoded.image, gone)
        alive += 1
        most = max(most, alive)
        return decoded

    monkeypatch.setattr(images, "read", counting)
    data = [stored(Image.new("RGB", (side, side), (i, i, i))) for i in range(40)]
    samples = [pending(f"{i} {j}", data[i], ((View("full"), 0),)) for i in range(40) for j in range(samples_each)]
    for _ in prepared(samples, Pixels(), workers):
        time.sleep(0.01)  # the engine is slow, so the read-ahead gets as far as it may
    assert 3 <= most <= 3 + workers
    del _
    gc.collect()
    assert alive == 0, "no image stays in memory once it was handed out"
