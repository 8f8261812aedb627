"""Where a user's own data lies: a file, a folder, or a data set of the Hub; each becomes a benchmark.

    load("mine.csv").samples(10)
    load("owner/name").samples(10)          # fetched by `datasets`, from its cache when it is there

A folder with `metadata.jsonl`, `metadata.csv` or `metadata.parquet` is an image folder as the Hub has it: the column
`file_name` is the image, `crop_image_file_name` the crop. Otherwise it is one table in shards of Parquet; `split` says
which, where the names of files and folders tell several apart.

Limits: files of a folder are one table only if they are Parquet; name any other file.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gapbench.data.benchmark import Benchmark
from gapbench.data.own.columns import FIELDS
from gapbench.data.own.fields import Manner
from gapbench.data.own.fields import samples as samples_of
from gapbench.data.own.hub_dataset import choose_split, open_hub
from gapbench.data.own.readers import JsonLines, Reader, TableRows
from gapbench.data.table_files import SEPARATORS
from gapbench.data.table_reader import open_table
from gapbench.errors import BenchmarkError
from gapbench.types import Card, Sample

SUFFIXES = (".jsonl", *SEPARATORS, ".parquet")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")

WORDS = {"comma": ",", "semicolon": ";", "pipe": "|", "newline": "\n", "tab": "\t", "space": " "}
"""Names for separators that a shell or a colon list would take for its own."""

SPLITS = ("train", "training", "test", "testing", "testmini", "validation", "valid", "val", "dev", "eval", "evaluation")
"""Words by which a file's name says which split it is, as the Hub has them."""

HASHED = 1 << 30
"""Bytes up to which a card's revision is a hash of the whole data."""


def is_data(target: str) -> bool:
    """Whether `-b TARGET` means data: by suffix, as a path that is there, or by the form of a Hub id."""
    by_suffix = Path(target).suffix.lower() in SUFFIXES
    return by_suffix or (bool(target) and os.path.exists(target)) or bool(HUB_ID.fullmatch(target))


def read(target: str | Path, **given: Any) -> Iterator[Sample]:
    """The samples in a file, a folder or a Hub data set, for code that changes them; `given` as behind the colon."""
    yield from load(str(target)).make(**given)


def load(target: str) -> Benchmark:
    """The benchmark in a file, a folder or a Hub data set, named after it. Raises BenchmarkError when it is missing."""
    path = Path(target).expanduser()
    if path.exists():
        files = _files(path)
        name = path.stem if path.is_file() else path.resolve().name
        card = Card(name, f"Own data: {path.name}", path.name, licence="own", revision=_revision(files))
        splits = path.is_dir() and not _is_metadata(files) and list(_splits(path, files)) != [""]
        settings = ("separator",) if files[0].suffix.lower() in SEPARATORS else ("split",) if splits else ()
        return Benchmark(name, card, _maker(partial(_open, path, files), *settings))
    if path.suffix.lower() in SUFFIXES or not HUB_ID.fullmatch(target):
        raise BenchmarkError(f"Benchmark file {path}: not found.")
    page = f"https://huggingface.co/datasets/{target}"
    card = Card(path.name, f"Hub data set {target}", page, licence="see its page", hub=target)
    return Benchmark(path.name, card, _maker(partial(open_hub, target), "split", "config", "revision"))


def _revision(files: Sequence[Path]) -> str:
    """A hash of the data, or its size where hashing would take minutes."""
    size = sum(path.stat().st_size for path in files)
    if size > HASHED:
        return f"{len(files)} files, {size:,} bytes"
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()[:32]}"


def _maker(open_: Callable[..., Reader], *settings: str) -> Callable[..., Iterator[Sample]]:
    """A `samples` function whose parameters are the fields and what else may be said of this form."""

    def samples(
        *, list_separator: str = "", urls: bool = False, max_image_pixels: int = 0, **given: str
    ) -> Iterator[Sample]:
        reader = open_(**{key: given.pop(key) for key in settings if key in given})
        manner = Manner(WORDS.get(list_separator, list_separator), urls, max_image_pixels)
        yield from samples_of(reader, {**_of_image_folder(reader), **{k: v for k, v in given.items() if v}}, manner)

    defaults: dict[str, Any] = {**dict.fromkeys((*FIELDS, *settings, "list_separator"), ""),
                                "urls": False, "max_image_pixels": 0}  # fmt: skip
    samples.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in defaults.items()]
    )
    return samples


def _files(path: Path) -> list[Path]:
    """The files of the data in a place, in their order."""
    forms = f"Expected {', '.join(SUFFIXES)}, or a folder of .parquet files or with metadata.jsonl or .csv."
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise BenchmarkError(f"{path}: its form is not known by its suffix. {forms}")
        return [path]
    metadata = [path / name for name in METADATA if (path / name).is_file()]
    if len(metadata) > 1:
        raise BenchmarkError(f"{path}: it has {' and '.join(p.name for p in metadata)}. Name the one to use.")
    found = metadata or sorted(path.rglob("*.parquet"))
    if not found:
        others = sorted(p.name for p in path.iterdir())
        raise BenchmarkError(f"{path}: found {', '.join(others[:10]) or 'nothing'} in this folder. {forms}")
    return found


def _is_metadata(files: Sequence[Path]) -> bool:
    return files[0].name in METADATA


def _of_image_folder(reader: Reader) -> dict[str, str]:
    """What the Hub's image folders call the columns of images."""
    if reader.name not in METADATA:
        return {}
    pairs = {"image": "file_name", "crop_image": "crop_image_file_name"}
    return {field: c for field, c in pairs.items() if c in reader.columns and field not in reader.columns}


def _open(root: Path, files: Sequence[Path], separator: str = "", split: str = "") -> Reader:
    if files[0].suffix.lower() == ".jsonl":
        return JsonLines(files[0])
    if root.is_dir() and not _is_metadata(files):
        splits = _splits(root, files)
        files = splits[choose_split(str(root), split, list(splits))]
    return TableRows(open_table(files, separator=WORDS.get(separator, separator)))


def _splits(root: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The shards of each split, by the names of their folders and the first word of their own."""
    found: dict[str, list[Path]] = {}
    for path in files:
        shard = re.fullmatch(r"(.+?)-\d{5}-of-\d{5}.*", path.stem)
        first = re.split(r"[^A-Za-z]", path.stem, maxsplit=1)[0]
        own = shard[1] if shard else first if first.lower() in SPLITS else ""
        found.setdefault("/".join(filter(None, [*path.relative_to(root).parent.parts, own])), []).append(path)
    return found
