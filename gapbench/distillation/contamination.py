"""Training images that also occur in an evaluation, found by the content of the decoded image.

    find_shared(pairs, [("signs", samples)])         # {training id: "also in signs (sample id)"}

Limits: equal pixels only. A resized or lossily re-encoded copy is another image to a hash. A question that stands in
for an unusable one is not looked at.
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


def find_shared(pairs: Pairs, tested: Sequence[tuple[str, Sequence[Sample]]], quiet: bool = True) -> dict[str, str]:
    """The training questions whose image is also one of the evaluation's.

    All that the run would ask are looked at, and all that it asks instead once those found are left out.
    """
    seen: dict[str, str] = {}
    for name, samples in tested:
        for sample, digest in _hashes(samples, f"images of {name}", quiet):
            seen.setdefault(digest, f"also in {name} (sample {sample.id})")
    shared: dict[str, str] = {}
    looked: set[str] = set()
    while fresh := [s for s in _asked(pairs, shared) if s.id not in looked]:
        looked |= {s.id for s in fresh}
        shared |= {s.id: seen[h] for s, h in _hashes(fresh, "training images", quiet) if h in seen}
    return shared


def _asked(pairs: Pairs, shared: dict[str, str]) -> list[Sample]:
    """What the run asks when the shared ones are left out."""
    if len(shared) == len(pairs.samples):
        return []
    return (pairs.without(frozenset(shared)) if shared else pairs).used()


def _hashes(samples: Sequence[Sample], label: str, quiet: bool) -> Iterator[tuple[Sample, str]]:
    """(sample, hash) for every image that can be decoded; one shared by several samples is decoded once."""
    known: dict[int, str] = {}
    with progress(len(samples), 0, f"comparing {label}", quiet, "images") as advance:
        for sample in samples:
            advance("")
            for image in (sample.image, *sample.more_images):
                if id(image) not in known:
                    known[id(image)] = _hash(image, sample.max_image_pixels)
                if known[id(image)]:
                    yield sample, known[id(image)]


def _hash(source: Any, max_pixels: int) -> str:
    """Over the pixels; empty for an image that cannot be decoded."""
    try:
        image = images.decode(source, max_pixels)[0]
    except SampleError:
        return ""
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
