"""Images without anything else: of a folder, a file, a Hub data set, or a benchmark. Nothing but the images is used.

    name, images = plain_images("photos", limit=20)
    name, images = plain_images("signs:split=train,samples=4000", limit=1200, defaults=benchmark_defaults("glance"))

The images are samples without question, answer and box. Photos of a folder are turned as their EXIF orientation says.

Limits: a benchmark's samples are made to find its images, and then dropped. Images that are equal but not the same file
or bytes count as different.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gapbench.data import catalogue, own
from gapbench.data.benchmark import fingerprint
from gapbench.errors import BenchmarkError, SettingError
from gapbench.types import Sample

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def plain_images(
    spec: str, limit: int | None = None, defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[str, list[Sample]]:
    """A name, and the first `limit` different images. `defaults` are a model's parameters by benchmark.

    Raises BenchmarkError if there is none, SettingError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise SettingError(f"--limit {limit}: expected at least 1.")
    folder = Path(spec).expanduser()
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if files and not any(folder.rglob("metadata.*")):
        found = (_bare(path, str(path.relative_to(folder)), upright=True) for path in files)
        return folder.resolve().name, list(itertools.islice(found, limit))
    target, parameters = catalogue.split(spec)
    if target not in catalogue.names() and not target.endswith(".py") and own.is_data(target):
        name, samples = Path(target).stem, own.images(target, **parameters)
    else:
        benchmark = catalogue.load(spec, defaults)
        name, samples = benchmark.name, iter(benchmark.samples())
    images = list(itertools.islice(_different(samples), limit))
    if not images:
        raise BenchmarkError(f"{spec}: no image in it. Expected a folder of images, a file of rows, or a benchmark.")
    return name, images


def image_key(sample: Sample) -> str:
    """Equal for samples that show the same image."""
    return str(sample.image) if isinstance(sample.image, str | Path) else fingerprint([_bare(sample.image, "")])


def _different(samples: Iterable[Sample]) -> Iterator[Sample]:
    seen: set[str] = set()
    for sample in samples:
        if (key := image_key(sample)) not in seen:
            yield _bare(sample.image, f"{len(seen):06d}", sample.upright, sample.max_image_pixels)
            seen.add(key)


def _bare(image: Any, name: str, upright: bool = False, max_pixels: int = 0) -> Sample:
    return Sample(name, image, "", (), upright=upright, max_image_pixels=max_pixels)
