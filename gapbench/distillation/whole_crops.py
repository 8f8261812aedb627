"""Crops that are the whole image: the teacher sees no more than the student does, so such a sample teaches nothing.

    print(whole_crops(pairs))       # "mine: for 3 of 40 samples the crop is the whole image …", or ""

Limits: only the headers of the images are read; one that cannot be read does not count.
"""

from __future__ import annotations

from math import ceil

from gapbench.distillation.pairs import Pairs
from gapbench.errors import BenchmarkError, SampleError
from gapbench.types import Sample
from gapbench.views import boxes, images, regions


def whole_crops(pairs: Pairs) -> str:
    """For how many samples the crop is the whole image, as a sentence; empty if for none, or if no side sees a crop.

    Raises BenchmarkError if it is for all of them.
    """
    if {pairs.recipe.student_view, pairs.recipe.teacher_view} != {"full", "crop"}:
        return ""
    found = [s for s in pairs.samples if _is_whole(s, pairs.region)]
    if not found:
        return ""
    name, total = pairs.benchmark.name, len(pairs.samples)
    which = f"{name}: for {len(found):,} of {total:,} samples the crop is the whole image (region {pairs.region!r})"
    effect = "the teacher sees no more than the student there"
    remedy = "Draw the boxes around the evidence alone, or set a smaller region."
    if len(found) == total:
        raise BenchmarkError(f"{which}; {effect}, and nothing can be learnt from it. {remedy}")
    return f"{which}, such as {found[0].id}; {effect}. {remedy}"


def _is_whole(sample: Sample, policy: str) -> bool:
    box_format = sample.box_format or "xyxy"

    def covered(size: tuple[int, int]) -> bool:
        evidence, _ = boxes.normalise(sample.boxes, box_format, size)
        return bool(evidence) and regions.find_region(policy, evidence, size).boxes == ((0.0, 0.0, *map(float, size)),)

    try:
        if regions.parse_policy(policy)[0] == "native":
            crop = sample.crop_image
            return crop is not None and images.stored_size(crop) == images.stored_size(sample.image)
        if box_format in ("xyxy", "xywh"):
            # Most images need not be opened: a region that leaves a part of the smallest image that holds its boxes
            # leaves a part of any larger one.
            evidence, _ = boxes.normalise(sample.boxes, box_format, LARGEST)
            if not evidence or not covered((ceil(max(b[2] for b in evidence)), ceil(max(b[3] for b in evidence)))):
                return False
        if sample.upright:
            return covered(images.decode(sample.image, sample.max_image_pixels, upright=True)[0].size)
        return covered(images.stored_size(sample.image))
    except SampleError:
        return False


LARGEST = (1 << 30, 1 << 30)
"""No image is larger."""
