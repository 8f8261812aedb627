"""From sample to record: make a sample ready, show it in a view, score the answer by rule.

    case = prepare(sample, "padded")
    images, error = show(case, "crop")
    record = to_record("signs", case, "crop", repeat=0, answer=answer)

Whatever is wrong with one sample becomes text in its record; nothing here ends a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gapbench.errors import SampleError
from gapbench.types import Box, Sample
from gapbench.views import boxes, images
from gapbench.views import regions as views

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class PreparedSample:
    """One sample made ready: its images, evidence and region, or the reason why there is none.

    `size` is the first image's (width, height).
    `hashes` identify the stored images, in their order; `encoded` are their stored bytes, where these are as good as
    the images (`gapbench.views.images.Decoded`). `notes` name what is odd about images; `repairs` are those
    and what was done to boxes, to be counted.
    """

    sample: Sample
    policy: str
    images: views.Images = ()
    size: tuple[int, int] | None = None
    hashes: tuple[str, ...] = ()
    encoded: tuple[bytes | None, ...] = ()
    boxes: tuple[Box, ...] = ()
    region: views.Region | None = None
    repairs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    region_error: str = ""

    @property
    def image(self) -> Image | None:
        """The first image, in which the evidence lies."""
        return self.images[0] if self.images else None

    def without_images(self) -> PreparedSample:
        """What judging an answer needs of it: one image of 8K is 100 MB."""
        region = replace(self.region, image=None) if self.region else None
        return replace(self, images=(), encoded=(), region=region)

    @property
    def evidence_area(self) -> float | None:
        """The share of the first image that evidence boxes cover, 0..1; None without any."""
        return self._share(self.boxes)

    @property
    def region_area(self) -> float | None:
        """The same of the region."""
        return self._share(self.region.boxes) if self.region else None

    def _share(self, parts: Sequence[Box]) -> float | None:
        return boxes.union_area(parts) / (self.size[0] * self.size[1]) if self.size and parts else None

    @property
    def image_hash(self) -> str:
        """The image's hash; one over all of them where there are several, in their order."""
        if len(self.hashes) < 2:
            return "".join(self.hashes)
        return hashlib.sha256(" ".join(self.hashes).encode()).hexdigest()[:24]


def prepare(sample: Sample, policy: str, before: PreparedSample | None = None) -> PreparedSample:
    """Decode the images, normalise the boxes and find the region; whatever fails is kept as text.

    `before` is the case made just before: an image that several questions in a row share is decoded once.
    """
    try:
        found = _decoded(sample, before)
    except SampleError as error:
        return PreparedSample(sample, policy, error=str(error))
    decoded = tuple(one.image for one in found)
    hashes, encoded = tuple(one.digest for one in found), tuple(one.encoded for one in found)
    notes = tuple(note for image in decoded for note in images.notes(image))
    size = decoded[0].size
    case = PreparedSample(sample, policy, decoded, size, hashes, encoded, repairs=notes, notes=notes)
    try:
        evidence, repairs = boxes.normalise(sample.boxes, sample.box_format or "xyxy", size)
        case = replace(case, boxes=evidence, repairs=(*repairs, *notes))
        native = views.parse_policy(policy)[0] == "native"
        if sample.boxes and not evidence and not native:
            raise SampleError(_nothing_left(sample, size))
        ships = native and sample.crop_image is not None
        shipped = images.decode(sample.crop_image, sample.max_image_pixels)[0] if ships else None
        return replace(case, region=views.find_region(policy, evidence, size, shipped))
    except SampleError as error:
        return replace(case, region_error=str(error))


def _decoded(sample: Sample, before: PreparedSample | None) -> list[images.Decoded]:
    """Each image, in order; taken over from the case before where it is the same."""
    known: list[tuple[object, images.Decoded]] = []
    if before is not None and before.images:
        sources = before.sample.image, *before.sample.more_images
        made = map(images.Decoded, before.images, before.hashes, before.encoded)
        known = list(zip(sources, made, strict=True))
    found = []
    for number, source in enumerate((sample.image, *sample.more_images), 1):
        same = next((one for other, one in known if same_source(other, source)), None)
        try:
            found.append(same or images.read(source, sample.max_image_pixels))
        except SampleError as error:
            if not sample.more_images:
                raise
            raise SampleError(f"image {number} of {1 + len(sample.more_images)}: {error}") from error
    return found


def _nothing_left(sample: Sample, size: tuple[int, int]) -> str:
    return (
        f"boxes {[list(b) for b in sample.boxes]} ({sample.box_format}): nothing is left inside the image of "
        f"{size[0]} x {size[1]} px. Check the box format (xyxy or xywh, in pixels or normalised)."
    )


def same_source(one: object, other: object) -> bool:
    """Whether two images of samples are one without decoding either."""
    return one is other or (isinstance(one, str | Path) and isinstance(other, str | Path) and str(one) == str(other))


def show(case: PreparedSample, view: str) -> tuple[views.Images, str]:
    """What the model is shown in a view, or nothing and the reason why it cannot be shown."""
    if not case.images:
        return (), case.error
    if case.region is None and view in views.NEEDS_REGION:
        return (), case.region_error
    try:
        return views.VIEWS[view](case.images, case.region), ""
    except SampleError as error:  # a shipped crop is a region without a place in the image
        return (), str(error)
