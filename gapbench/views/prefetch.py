"""Read-ahead for the engine: threads decode, crop and resize images; samples come out in their order.

    for ready in prepared(pending, Pixels(max_pixels=1048576)):
        ready.sample, [(view.view, view.images) for view in ready.views]

One thread prepares consecutive samples about one image, so that the image is decoded once. The number of pixels that
wait for the engine is bounded.

Limits: a single image may have any size, and each thread decodes one at a time. Memory is therefore bounded by
`AHEAD_PIXELS` plus the largest images times the number of threads. Pillow releases the interpreter lock while it
decodes and resizes; Python code that makes images does not.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from gapbench.types import Sample
from gapbench.views import regions
from gapbench.views.pixels import Pixels
from gapbench.views.prepare import PreparedSample, prepare, same_source, show

WORKERS = min(16, os.cpu_count() or 1)
"""Threads that prepare images."""
AHEAD_PIXELS = 250_000_000
"""No new group is started while this many pixels wait for the engine: 750 MB of RGB."""
GROUP_LIMIT = 16
"""Largest number of samples about one image that one thread prepares together."""


@dataclass(frozen=True)
class Pending:
    """A sample of a benchmark, its region policy and prompt, and the (view, repeat) pairs that lack an answer.

    `new` says that no earlier session wrote a record of it.
    """

    benchmark: str
    sample: Sample
    policy: str
    prompt: str
    missing: tuple[tuple[str, int], ...]
    new: bool = True


@dataclass(frozen=True)
class PreparedView:
    """The images of a view within the pixel bounds, or none and the reason; `encoded` as in `Request`."""

    view: str
    images: regions.Images
    encoded: tuple[bytes | None, ...]
    error: str


@dataclass(frozen=True)
class Prefetched:
    """A pending sample, the prepared sample, and one entry for each view that lacks an answer."""

    pending: Pending
    sample: PreparedSample
    views: tuple[PreparedView, ...]


def prepared(
    samples: Iterable[Pending],
    pixels: Pixels,
    workers: int = WORKERS,
    keep: Callable[[Pending, PreparedSample], None] = lambda pending, sample: None,
) -> Generator[Prefetched, None, None]:
    """Prepare every sample and yield them in order; a sample or view that fails carries its error as text.

    The thread that prepares a sample calls `keep` with it while its images are in memory. An exception in `keep` is
    raised here and ends the read-ahead.
    """
    groups = _groups(samples)
    with ThreadPoolExecutor(workers, thread_name_prefix="gapbench-prepare") as pool:
        begun: deque[Future[list[Prefetched]]] = deque()
        usual = AHEAD_PIXELS // workers
        try:
            while True:
                while len(begun) < 2 * workers and _pixels_ahead(begun, usual) < AHEAD_PIXELS:
                    if (group := next(groups, None)) is None:
                        break
                    begun.append(pool.submit(_prepare_group, group, pixels, keep))
                if not begun:
                    return
                usual = _pixels_of(begun[0].result())
                yield from begun.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _groups(samples: Iterable[Pending]) -> Iterator[list[Pending]]:
    """Consecutive samples about one image, at most GROUP_LIMIT in a group."""
    group: list[Pending] = []
    for pending in samples:
        if group and (len(group) == GROUP_LIMIT or not same_source(group[-1].sample.image, pending.sample.image)):
            yield group
            group = []
        group.append(pending)
    if group:
        yield group


def _pixels_ahead(begun: Iterable[Future[list[Prefetched]]], usual: int) -> int:
    """Pixels of all groups that were begun; an unfinished group counts as `usual`, the size of the last one taken."""
    return sum(_pixels_of(f.result()) if f.done() and f.exception() is None else usual for f in begun)


def _pixels_of(group: Iterable[Prefetched]) -> int:
    """Width x height, summed over all images that a group holds in memory."""
    images = (i for ready in group for i in (*ready.sample.images, *(i for view in ready.views for i in view.images)))
    return sum({id(image): image.width * image.height for image in images}.values())


def _prepare_group(
    group: list[Pending], pixels: Pixels, keep: Callable[[Pending, PreparedSample], None]
) -> list[Prefetched]:
    ready, sample = [], None
    for pending in group:
        sample = prepare(pending.sample, pending.policy, sample)
        keep(pending, sample)
        views = dict.fromkeys(view for view, _ in pending.missing)
        ready.append(Prefetched(pending, sample, tuple(_prepare_view(sample, view, pixels) for view in views)))
    return ready


def _prepare_view(sample: PreparedSample, view: str, pixels: Pixels) -> PreparedView:
    images, error = show(sample, view)
    try:
        sized = tuple(map(pixels.apply, images))
    except (MemoryError, ValueError) as reason:  # for example, a strip one pixel wide fits no size within the bounds
        return PreparedView(view, (), (), f"the image cannot be brought within the pixel bounds ({reason}).")
    stored = {id(image): encoded for image, encoded in zip(sample.images, sample.encoded, strict=True)}
    return PreparedView(view, sized, tuple(stored.get(id(image)) for image in sized), error)
