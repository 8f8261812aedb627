"""Images ahead of the engine: decoded, cropped and resized in threads, handed out in the order of the questions.

    for ready in prepared(questions, Pixels(max_pixels=1048576)):
        ready.case, [(shown.view, shown.images) for shown in ready.shown]

Questions in a row about one image are made ready together, so that it is decoded once. What is ready and not yet
taken is bounded by its pixels.

Limits: one image may be as large as it likes, and a few are decoded side by side: memory is bounded by the largest
images times the number of threads, beside `AHEAD_PIXELS`. Pillow lets go of the interpreter lock while it decodes and
resizes, Python code that makes images does not.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from gapbench.types import Sample
from gapbench.views import regions as views
from gapbench.views.pixels import Pixels
from gapbench.views.prepare import PreparedSample, prepare, same_source, show

WORKERS = min(16, os.cpu_count() or 1)
"""Threads that make images ready."""
AHEAD_PIXELS = 250_000_000
"""Pixels that lie ready at most before no more are begun: 750 MB of RGB."""
TOGETHER = 16
"""Questions about one image that one thread makes ready, at most."""


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
    """What the model is shown in a view, within the pixel bounds, or nothing and why; `encoded` as in `Request`."""

    view: str
    images: views.Images
    encoded: tuple[bytes | None, ...]
    error: str


@dataclass(frozen=True)
class Prefetched:
    """A question, its case, and one entry for each view that is asked."""

    question: Pending
    case: PreparedSample
    shown: tuple[PreparedView, ...]


def prepared(
    questions: Iterable[Pending],
    pixels: Pixels,
    workers: int = WORKERS,
    keep: Callable[[Pending, PreparedSample], None] = lambda question, case: None,
) -> Generator[Prefetched, None, None]:
    """Every question made ready, in order; whatever is wrong with one is text in its case or view.

    `keep` is called with each in the thread that makes it ready, its images at hand; what it raises ends all.
    """
    groups = _about_one_image(questions)
    with ThreadPoolExecutor(workers, thread_name_prefix="gapbench-prepare") as pool:
        begun: deque[Future[list[Prefetched]]] = deque()
        usual = AHEAD_PIXELS // workers
        try:
            while True:
                while len(begun) < 2 * workers and _pixels(begun, usual) < AHEAD_PIXELS:
                    if (group := next(groups, None)) is None:
                        break
                    begun.append(pool.submit(_make_ready, group, pixels, keep))
                if not begun:
                    return
                usual = _pixels_of(begun[0].result())
                yield from begun.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _about_one_image(questions: Iterable[Pending]) -> Iterator[list[Pending]]:
    group: list[Pending] = []
    for question in questions:
        if group and (len(group) == TOGETHER or not same_source(group[-1].sample.image, question.sample.image)):
            yield group
            group = []
        group.append(question)
    if group:
        yield group


def _pixels(begun: Iterable[Future[list[Prefetched]]], usual: int) -> int:
    """Of what lies ready and, reckoned to be like what was taken last, of what is being made."""
    return sum(_pixels_of(f.result()) if f.done() and f.exception() is None else usual for f in begun)


def _pixels_of(group: Iterable[Prefetched]) -> int:
    """Width x height, summed over all images that these keep in memory."""
    kept = (p for r in group for p in (*r.case.images, *(p for shown in r.shown for p in shown.images)))
    return sum({id(image): image.width * image.height for image in kept}.values())


def _make_ready(
    group: list[Pending], pixels: Pixels, keep: Callable[[Pending, PreparedSample], None]
) -> list[Prefetched]:
    made, case = [], None
    for question in group:
        case = prepare(question.sample, question.policy, case)
        keep(question, case)
        asked = dict.fromkeys(view for view, _ in question.missing)
        made.append(Prefetched(question, case, tuple(_shown(case, view, pixels) for view in asked)))
    return made


def _shown(case: PreparedSample, view: str, pixels: Pixels) -> PreparedView:
    images, error = show(case, view)
    try:
        sized = tuple(map(pixels.apply, images))
    except (MemoryError, ValueError) as reason:  # a strip of a pixel's width has no size within some bounds
        return PreparedView(view, (), (), f"the image cannot be brought within the pixel bounds ({reason}).")
    stored = {id(image): encoded for image, encoded in zip(case.images, case.encoded, strict=True)}
    return PreparedView(view, sized, tuple(stored.get(id(image)) for image in sized), error)
