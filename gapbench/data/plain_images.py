"""Images without anything else: of a folder, a file, a Hub data set, or a benchmark. Nothing but the images is used.

    name, images = plain_images("photos", limit=20)
    name, images = plain_images("signs:split=train,samples=4000", limit=1200, defaults=benchmark_defaults("glance"))

The images are samples without question, answer and box. Photos of a folder are turned as their EXIF orientation says;
what `gapbench propose` wrote there (`NAME_images` beside `NAME.run.json`) is left out. A file whose name is not UTF-8
is one that cannot be read.

Limits: a benchmark's samples are made to find its images, and then dropped. Images that are equal but not the same file
or bytes count as different.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gapbench.data import catalogue, own
from gapbench.data.benchmark import fingerprint
from gapbench.errors import BenchmarkError, SampleError, SettingError
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
    if folder.is_dir() and not any((folder / name).is_file() for name in own.METADATA):
        if files := _files(folder):
            found = (_bare(path, str(path.relative_to(folder)), upright=True) for path in files)
            return folder.resolve().name, list(itertools.islice(found, limit))
        if spec not in catalogue.names() and not any(folder.rglob("*.parquet")):
            raise _no_image(folder)
    target, parameters = catalogue.split(spec)
    try:
        if target not in catalogue.names() and not target.endswith(".py") and own.is_data(target):
            name, samples = Path(target).stem, own.images(target, **parameters)
        else:
            benchmark = catalogue.load(spec, defaults)
            name, samples = benchmark.name, iter(benchmark.samples())
        images = list(itertools.islice(_different(samples), limit))
    except BenchmarkError as error:
        if target in catalogue.names() or Path(target).expanduser().exists():
            raise
        raise BenchmarkError(f"{target}: no such folder or file. Read as a benchmark or Hub data: {error}") from error
    if not images:
        raise BenchmarkError(f"{spec}: no image in it. Expected a folder of images, a file of rows, or a benchmark.")
    return name, images


def _no_image(folder: Path) -> BenchmarkError:
    kinds = Counter(path.suffix.lower() or "without a suffix" for path in folder.rglob("*") if path.is_file())
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(8)) or "nothing"
    heic = " Convert .heic to .jpg first." if kinds.keys() & {".heic", ".heif"} else ""
    return BenchmarkError(
        f"{folder}: no image in this folder. Found: {found}. Expected {', '.join(SUFFIXES)}.{heic} A folder of tables "
        "has .parquet files, metadata.jsonl or metadata.csv."
    )


def _files(folder: Path) -> list[Path]:
    """The images in a folder, but for those that `gapbench propose` wrote there."""

    def made(path: Path) -> bool:
        return any(
            p.name.endswith("_images") and p.with_name(f"{p.name.removesuffix('_images')}.run.json").exists()
            for p in path.parents if folder in p.parents
        )  # fmt: skip

    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not made(p))


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
    if isinstance(image, str | Path) and (shown := _utf8(str(image))) != str(image):
        name, image = _utf8(name), partial(_not_utf8, shown)  # it can be named neither in JSON nor on a page
    return Sample(name, image, "", (), upright=upright, max_image_pixels=max_pixels)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _not_utf8(name: str) -> Any:
    raise SampleError(f"image {name}: its name is not UTF-8. Rename the file.")
