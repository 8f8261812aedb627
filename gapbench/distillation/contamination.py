"""Training images that also occur in an evaluation, matched by the pixels of the decoded image.

    find_shared(pairs, [("signs", samples)])         # {training id: "also in signs (sample id)"}

Limits: only equal pixels match, so a resized or lossily re-encoded copy is not recognised. A sample that replaces an
unusable one while training is not checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from gapbench.distillation.pairs import Pairs
from gapbench.errors import SampleError
from gapbench.types import Sample
from gapbench.util.progress import progress
from gapbench.views import images


def find_shared(
    pairs: Pairs, evaluations: Sequence[tuple[str, Sequence[Sample]]], quiet: bool = True
) -> dict[str, str]:
    """The training samples whose image is also in an evaluation, each with the place where it occurs.

    Checks the samples that the training would use, and then those that take the place of the shared ones.
    """
    place_of_image: dict[str, str] = {}
    for name, samples in evaluations:
        for sample, digest in _image_hashes(samples, f"images of {name}", quiet):
            place_of_image.setdefault(digest, f"also in {name} (sample {sample.id})")
    shared: dict[str, str] = {}
    checked: set[str] = set()
    remaining = pairs
    while unchecked := [s for s in remaining.used() if s.id not in checked]:
        checked |= {s.id for s in unchecked}
        hashes = _image_hashes(unchecked, "training images", quiet)
        shared |= {s.id: place_of_image[h] for s, h in hashes if h in place_of_image}
        if len(shared) == len(pairs.samples):
            break
        remaining = pairs.without(frozenset(shared))
    return shared


def _image_hashes(samples: Sequence[Sample], label: str, quiet: bool) -> Iterator[tuple[Sample, str]]:
    """(sample, hash) of every image that can be decoded. An image that several samples share is decoded once."""
    hash_of: dict[int, str] = {}
    with progress(len(samples), 0, f"comparing {label}", quiet, "images") as advance:
        for sample in samples:
            advance("")
            for image in (sample.image, *sample.more_images):
                if id(image) not in hash_of:
                    hash_of[id(image)] = _pixel_hash(image, sample.max_image_pixels)
                if hash_of[id(image)]:
                    yield sample, hash_of[id(image)]


def _pixel_hash(source: Any, max_pixels: int) -> str:
    """The hash of the decoded pixels, or an empty text if the image cannot be decoded."""
    try:
        image = images.decode(source, max_pixels)[0]
    except SampleError:
        return ""
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
