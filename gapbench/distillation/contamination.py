"""Training images that also occur in an evaluation: the same file, the same pixels, a copy or a crop.

    found = find_shared(pairs, [("signs", samples)])
    found.samples["train-12"]       # [Occurrence(benchmark="signs", sample="test-3", kind="crop", similarity=0.98)]

`gapbench.distillation.copies` says when two images show the same, and what it does not find. A crop that the training
data supplies is searched like an image. Images without structure, such as blank pages, match nothing.

Limits: images that a function makes match those with the same pixels alone. Images are compared as stored, so a copy
that was turned as its EXIF orientation says is not recognised. Of the evaluation images that show the same, one a
benchmark is named. A sample that replaces an unusable one while training is not checked. All signatures of the
evaluation are in memory, about 150 kB an image.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from gapbench.distillation.copies import Index, Match, Signature, signature
from gapbench.distillation.pairs import Pairs
from gapbench.errors import SampleError
from gapbench.types import Sample
from gapbench.util.ahead import map_ahead
from gapbench.util.progress import progress
from gapbench.views import images

Found = TypeVar("Found")

WORKERS = min(8, os.cpu_count() or 1)

CopyKind = Literal["bytes", "pixels", "copy", "crop"]
KINDS: dict[CopyKind, str] = {
    "bytes": "the same file",
    "pixels": "the same pixels",
    "copy": "rescaled or re-encoded",
    "crop": "a crop",
}
"""Of what kind the two images are, and its words: one may be a crop of the other, or both of a third image."""


@dataclass(frozen=True)
class Occurrence:
    """Where an image of a training sample occurs, as what, and how similar the two are (at most 1)."""

    benchmark: str
    sample: str
    kind: CopyKind
    similarity: float

    def __str__(self) -> str:
        return f"also in {self.benchmark} (sample {self.sample}; {KINDS[self.kind]})"


@dataclass
class SharedImages:
    """What `find_shared` found.

    `samples` has the best occurrence in each benchmark of every training sample that has one. `images` counts the
    training images that were compared, `evaluations` for each benchmark how many of them occur there, by kind. Images
    stored in the same bytes count once.
    """

    samples: dict[str, list[Occurrence]] = field(default_factory=dict)
    images: int = 0
    evaluations: dict[str, Counter[CopyKind]] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """The entry `contamination` of `distill.json`, without the policy."""
        counts = {name: {kind: count[kind] for kind in KINDS} for name, count in self.evaluations.items()}
        shared = {key: [asdict(o) for o in occurrences] for key, occurrences in self.samples.items()}
        return {"images": self.images, "evaluations": counts, "shared": shared}


class _Place(NamedTuple):
    """An image of a sample of a benchmark."""

    benchmark: str
    sample: Sample
    image: Any


def find_shared(pairs: Pairs, evaluations: Sequence[tuple[str, Sequence[Sample]]], quiet: bool = True) -> SharedImages:
    """The training samples that show an image of an evaluation, each with the places where it occurs.

    Checks the samples that the training would use, and then, if the recipe drops the shared ones, those that take
    their place.
    """
    found = SharedImages(evaluations={name: Counter() for name, _ in evaluations})
    tested: dict[tuple[str, str], tuple[_Place, Signature]] = {}
    for name, samples in evaluations:
        for place, signed in _each(_signature, _images(name, samples), f"images of {name}", quiet):
            tested.setdefault((name, signed.digest), (place, signed))
    if not tested:
        return found
    places = [place for place, _ in tested.values()]
    index = Index([signed for _, signed in tested.values()])

    def search(place: _Place) -> tuple[str, list[Occurrence]] | None:
        signed = _signature(place)
        return (signed.digest, _occurrences(place, places, index.find(signed))) if signed else None

    checked: set[str] = set()
    known: dict[Any, tuple[str, list[Occurrence]]] = {}
    remaining = pairs
    while unchecked := [s for s in remaining.used() if s.id not in checked]:
        checked |= {s.id for s in unchecked}
        new = [place for place in _images("", unchecked, crops=True) if _key(place.image) not in known]
        known |= {_key(place.image): result for place, result in _each(search, new, "training images", quiet)}
        for sample in unchecked:
            keys = [_key(image) for image in _all_images(sample, crops=True)]
            if best := _best(occurrence for key in keys if key in known for occurrence in known[key][1]):
                found.samples[sample.id] = best
        if pairs.recipe.contamination != "drop" or all(s.id in found.samples for s in pairs.samples):
            break
        remaining = pairs.without(frozenset(found.samples))
    once = dict(known.values())
    found.images = len(once)
    for occurrences in once.values():
        for occurrence in _best(occurrences):
            found.evaluations[occurrence.benchmark][occurrence.kind] += 1
    return found


def _each(
    function: Callable[[_Place], Found | None], places: Sequence[_Place], label: str, quiet: bool
) -> Iterator[tuple[_Place, Found]]:
    """Every place with what the function finds there. Images that cannot be decoded are passed over."""
    with progress(len(places), 0, f"comparing {label}", quiet, "images") as advance:
        for place, result in zip(places, map_ahead(function, places, WORKERS), strict=True):
            advance("" if result else "cannot be decoded")
            if result:
                yield place, result


def _best(occurrences: Iterable[Occurrence]) -> list[Occurrence]:
    """The most similar one of each benchmark; of equals, the first."""
    best: dict[str, Occurrence] = {}
    for occurrence in occurrences:
        if occurrence.benchmark not in best or occurrence.similarity > best[occurrence.benchmark].similarity:
            best[occurrence.benchmark] = occurrence
    return list(best.values())


def _occurrences(place: _Place, tested: Sequence[_Place], matches: Sequence[Match]) -> list[Occurrence]:
    """One for each match, the most similar first."""
    found = []
    for match in matches:
        there = tested[match.number]
        kind = _same(place, there) if match.kind == "copy" else match.kind
        found.append(Occurrence(there.benchmark, there.sample.id, kind or match.kind, match.similarity))
    return found


def _same(one: _Place, other: _Place) -> CopyKind | None:
    """Whether two images are the same file, or have the same pixels."""
    (a, a_digest), (b, b_digest) = (images.decode(at.image, at.sample.max_image_pixels) for at in (one, other))
    if a_digest == b_digest:
        return "bytes"
    return "pixels" if a.size == b.size and a.tobytes() == b.tobytes() else None


def _signature(place: _Place) -> Signature | None:
    """None if the image cannot be decoded."""
    try:
        stored = images.resolve(place.image)
        # What a program drew has no copies in another form, and two drawn scenes look alike.
        return signature(stored, place.sample.max_image_pixels, exact=not isinstance(stored, str | Path | bytes))
    except SampleError:
        return None


def _images(benchmark: str, samples: Sequence[Sample], crops: bool = False) -> list[_Place]:
    """Every image of the samples. One that several samples share comes once, with the first of them."""
    places: dict[Any, _Place] = {}
    for sample in samples:
        for image in _all_images(sample, crops):
            places.setdefault(_key(image), _Place(benchmark, sample, image))
    return list(places.values())


def _all_images(sample: Sample, crops: bool) -> list[Any]:
    own = [sample.crop_image] if crops and sample.crop_image is not None else []
    return [sample.image, *sample.more_images, *own]


def _key(image: Any) -> Any:
    """Tells images apart without decoding: a path by its text, all else by the object, which its sample keeps."""
    return str(image) if isinstance(image, str | Path) else id(image)
