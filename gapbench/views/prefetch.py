"""Read-ahead for the engine: threads decode, crop and resize images; samples come out in their order.

    for ready in prepared(pending, Pixels(max_pixels=1048576)):
        [(view.view.name, view.images, view.prompt) for view in ready.views]

One thread prepares consecutive samples about one image, so that the image is decoded once. The number of pixels that
wait for the engine is bounded. The pixel bounds are applied here and nowhere else.

Limits: a single image may have any size, and each thread decodes one at a time. Memory is therefore bounded by
`AHEAD_PIXELS` plus the largest images times the number of threads. Pillow releases the interpreter lock while it
decodes and resizes; Python code that makes images does not.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gapbench.types import Sample
from gapbench.util.ahead import map_ahead
from gapbench.views.pixels import Budget, Pixels, TokenCount, not_counted
from gapbench.views.prepare import PreparedSample, prepare, same_source, show, with_region
from gapbench.views.regions import Images, Size
from gapbench.views.views import View

if TYPE_CHECKING:
    from PIL.Image import Image

WORKERS = min(16, os.cpu_count() or 1)
"""Threads that prepare images."""
AHEAD_PIXELS = 250_000_000
"""No new group is started while this many pixels wait for the engine: 750 MB of RGB."""
GROUP_LIMIT = 16
"""Largest number of samples about one image that one thread prepares together."""


@dataclass(frozen=True)
class Pending:
    """A sample of a task, its region policy and prompt, and the (view, repeat) pairs that lack an answer.

    `new` says that no earlier session wrote a record of it.
    """

    task: str
    sample: Sample
    policy: str
    prompt: str
    missing: tuple[tuple[View, int], ...]
    new: bool = True


@dataclass(frozen=True)
class PreparedView:
    """The images of a view within the pixel bounds and its prompt, or no images and the reason.

    `sample` is the prepared sample without its images, with the view's own region; `encoded` is as in `Request`,
    `evidence` as in `Shown`, and `sizes` are the (width, height) of the images.
    """

    view: View
    sample: PreparedSample
    prompt: str
    images: Images
    encoded: tuple[bytes | None, ...]
    error: str
    evidence: tuple[float, ...] = ()
    sizes: tuple[Size, ...] = ()

    def without_images(self) -> PreparedView:
        """A copy without images, enough for the record of an answer."""
        return replace(self, images=(), encoded=())


@dataclass(frozen=True)
class Prefetched:
    """A pending sample, the prepared sample, and one entry for each view that lacks an answer."""

    pending: Pending
    sample: PreparedSample
    views: tuple[PreparedView, ...]


def prepared(
    samples: Iterable[Pending], pixels: Pixels, workers: int = WORKERS, tokens: TokenCount = not_counted
) -> Generator[Prefetched, None, None]:
    """Prepare every sample and yield them in order; a sample or view that fails carries its error as text.

    Views ask `tokens` what the model makes of an image.
    """

    def prepare_group(group: list[Pending]) -> list[Prefetched]:
        ready, sample = [], None
        sized: dict[int, tuple[Image, Image]] = {}  # by identity, so that an image of several samples is resized once
        for pending in group:
            sample = prepare(pending.sample, pending.policy, sample)
            views = {view.name: view for view, _ in pending.missing}.values()
            budget = Budget(pixels.target(sample.size) if sample.size else None, pixels, tokens)
            shown = (_prepare_view(sample, view, pending.prompt, budget, sized) for view in views)
            ready.append(Prefetched(pending, sample, tuple(shown)))
        return ready

    with closing(map_ahead(prepare_group, _groups(samples), workers, _pixels_of, AHEAD_PIXELS)) as groups:
        for group in groups:
            yield from group


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


def _pixels_of(group: Iterable[Prefetched]) -> int:
    """Width x height, summed over all images that a group holds in memory."""
    images = (i for ready in group for i in (*ready.sample.images, *(i for view in ready.views for i in view.images)))
    return sum({id(image): image.width * image.height for image in images}.values())


def _prepare_view(
    sample: PreparedSample, view: View, prompt: str, budget: Budget, sized: dict[int, tuple[Image, Image]]
) -> PreparedView:
    """`sized` maps the identity of an image to the image and its resized form; the images of the sample are added."""
    policy = view.policy(sample.policy)
    own = sample if policy == sample.policy else with_region(sample, policy)
    shown, error = show(own, view, prompt, budget)
    images: list[Image] = []
    try:
        for image in shown.images:
            if any(image is own_image for own_image in sample.images):
                images.append(_once(sized, image, budget.pixels))
            else:
                images.append(budget.pixels.apply(image))
    except (MemoryError, ValueError) as reason:  # for example, a strip one pixel wide fits no size within the bounds
        images, error = [], f"the image cannot be brought within the pixel bounds ({reason})."
    stored = {id(image): encoded for image, encoded in zip(sample.images, sample.encoded, strict=True)}
    encoded = tuple(stored.get(id(image)) for image in images)
    sizes = tuple(image.size for image in images)
    own = own.without_images()
    return PreparedView(view, own, shown.prompt, tuple(images), encoded, error, shown.evidence, sizes)


def _once(sized: dict[int, tuple[Image, Image]], image: Image, pixels: Pixels) -> Image:
    if id(image) not in sized:
        sized[id(image)] = image, pixels.apply(image)
    return sized[id(image)][1]
