"""Prepare a sample: decode its images, find its region, and show it in a view.

    prepared = prepare(sample, "padded")
    shown, error = show(prepared, parse_view("crop"), "Which letter?")
    shown.images, shown.prompt

A fault of one sample becomes text, which its record keeps; it does not end the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gapbench.errors import SampleError
from gapbench.types import Box, Sample
from gapbench.views import boxes, images, regions
from gapbench.views.kinds import Shown
from gapbench.views.pixels import Budget
from gapbench.views.views import View

if TYPE_CHECKING:
    from PIL.Image import Image

UPRIGHT_REMEDY = (
    "If the boxes were drawn on the image as viewers turn it, add :orientation=upright behind the name of own data "
    "(in Python: Sample(upright=True))."
)
"""What helps if boxes and the stored image do not fit because of the image's EXIF orientation."""
ORIENTATION_IGNORED = (
    "an EXIF orientation, which is not applied: a model may be shown it turned, and boxes are taken to fit the stored "
    f"pixels. {UPRIGHT_REMEDY} If they do fit the stored pixels, orientation=stored says so and ends this note."
)
"""What an ignored orientation means, and what helps."""


@dataclass(frozen=True)
class PreparedSample:
    """A prepared sample: its images, evidence and region, or the reasons why they are missing.

    `size` is the first image's (width, height). `hashes` identify the stored images, in their order. `encoded` holds
    the stored bytes of each image, or None where another program may decode them differently
    (`gapbench.views.images.Decoded`). `notes` name oddities of the images; `repairs` are the repairs of boxes and
    the notes, to be counted. `error` says why there are no images, `region_error` why there is no region.
    """

    sample: Sample
    policy: str
    images: regions.Images = ()
    size: tuple[int, int] | None = None
    hashes: tuple[str, ...] = ()
    encoded: tuple[bytes | None, ...] = ()
    boxes: tuple[Box, ...] = ()
    region: regions.Region | None = None
    repairs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    region_error: str = ""

    @property
    def image(self) -> Image | None:
        """The first image, in which the evidence lies."""
        return self.images[0] if self.images else None

    def without_images(self) -> PreparedSample:
        """A copy without images, enough to score an answer: one 8K image takes 100 MB."""
        return replace(self, images=(), encoded=(), region=self.region and replace(self.region, image=None))

    @property
    def evidence_area(self) -> float | None:
        """The share of the first image that evidence boxes cover, 0..1; None without a box."""
        return self._share(self.boxes)

    @property
    def region_area(self) -> float | None:
        """The share of the first image that the region covers, 0..1; None if the region has no box."""
        return self._share(self.region.boxes) if self.region else None

    def _share(self, parts: Sequence[Box]) -> float | None:
        return boxes.union_area(parts) / (self.size[0] * self.size[1]) if self.size and parts else None

    @property
    def image_hash(self) -> str:
        """The hash of the image, or of all images in their order if the sample has several."""
        if len(self.hashes) < 2:
            return "".join(self.hashes)
        return hashlib.sha256(" ".join(self.hashes).encode()).hexdigest()[:24]


def prepare(sample: Sample, policy: str, previous: PreparedSample | None = None) -> PreparedSample:
    """Decode the images, normalise the boxes and find the region; a failure becomes text in the result.

    `previous` is the sample prepared just before: an image that both share is not decoded again.
    """
    try:
        decoded = _decode(sample, previous)
    except SampleError as error:
        return PreparedSample(sample, policy, error=str(error))
    shown, hashes, encoded = zip(*decoded, strict=True)
    size = shown[0].size
    notes = tuple(note for image in shown for note in images.notes(image))
    prepared = PreparedSample(sample, policy, shown, size, hashes, encoded, repairs=notes, notes=notes)
    try:
        if sample.boxes and sample.boxes_in not in (None, size):
            raise SampleError(
                f"its boxes were located in an image of {sample.boxes_in} px, and this one has {size} px. Locate again "
                "for this benchmark with these parameters."
            )
        evidence, repairs = boxes.normalise(sample.boxes, sample.box_format or "xyxy", size)
        return with_region(replace(prepared, boxes=evidence, repairs=(*repairs, *notes)), policy)
    except SampleError as error:
        return replace(prepared, region_error=str(error))


def with_region(prepared: PreparedSample, policy: str) -> PreparedSample:
    """The prepared sample with the region of `policy`, or the reason why it has none."""
    sample, size = prepared.sample, prepared.size
    if size is None:
        return prepared
    prepared = replace(prepared, policy=policy, region=None, region_error="")
    try:
        native = regions.parse_policy(policy)[0] == "native"
        if sample.boxes and not prepared.boxes and not native:
            found = f"boxes {[list(b) for b in sample.boxes]} ({sample.box_format})"
            remedy = "Check the box format (xyxy or xywh, in pixels or normalised)."
            if fits_only_upright(prepared):
                remedy = f"They fit only the upright image. {UPRIGHT_REMEDY}"
            raise SampleError(f"{found}: nothing is left inside the image of {size[0]} x {size[1]} px. {remedy}")
        ships = native and sample.crop_image is not None
        shipped = images.decode(sample.crop_image, sample.max_image_pixels, sample.upright)[0] if ships else None
        return replace(prepared, region=regions.find_region(policy, prepared.boxes, size, shipped))
    except SampleError as error:
        return replace(prepared, region_error=str(error))


def fits_only_upright(prepared: PreparedSample) -> bool:
    """Whether the boxes leave the stored image, and would lie inside it if its EXIF orientation were applied."""
    sample, image = prepared.sample, prepared.image
    if image is None or not {"outside", "empty"} & set(prepared.repairs):
        return False
    _, repairs = boxes.normalise(sample.boxes, sample.box_format or "xyxy", images.upright_size(image))
    return not {"outside", "empty"} & set(repairs)


def _decode(sample: Sample, previous: PreparedSample | None) -> list[images.Decoded]:
    """Each image, in order; an image that the previous sample shares is not decoded again."""
    before: list[tuple[object, images.Decoded]] = []
    if previous is not None and previous.sample.upright == sample.upright:
        results = map(images.Decoded, previous.images, previous.hashes, previous.encoded)
        before = list(zip((previous.sample.image, *previous.sample.more_images), results, strict=False))
    decoded = []
    for number, source in enumerate((sample.image, *sample.more_images), 1):
        same = next((image for earlier, image in before if same_source(earlier, source)), None)
        try:
            decoded.append(same or images.read(source, sample.max_image_pixels, sample.upright))
        except SampleError as error:
            which = f"image {number} of {1 + len(sample.more_images)}: " if sample.more_images else ""
            raise SampleError(f"{which}{error}") from error
    return decoded


def same_source(a: object, b: object) -> bool:
    """Whether two image sources are the same object or path, so that decoding one is enough."""
    return a is b or (isinstance(a, str | Path) and isinstance(b, str | Path) and str(a) == str(b))


def show(sample: PreparedSample, view: View, prompt: str = "", budget: Budget | None = None) -> tuple[Shown, str]:
    """What a view shows of a sample that has its region; no image, and the reason, if the view is not available."""
    nothing = Shown((), prompt)
    if not sample.images:
        return nothing, sample.error
    if sample.region is None and view.needs_region:
        return nothing, sample.region_error
    try:
        return view.show(sample.images, sample.region, prompt, budget), ""
    except SampleError as error:  # a shipped crop may have no box, which `boxed` needs
        return nothing, str(error)
