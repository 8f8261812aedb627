"""Makes a benchmark from a user's own file, folder or Hub data set.

    load("mine.csv").samples(10)
    load("owner/name").samples(10)          # downloaded by `datasets`, unless it is in its cache

A folder with `metadata.jsonl`, `metadata.csv` or `metadata.parquet` is an image folder of the Hub: the column
`file_name` is the image, `crop_image_file_name` the crop. Any other folder is one table in Parquet shards. If the names
of its files and folders indicate several splits, `split` selects one.

Limits: only Parquet files can form a table together; any other file must be named alone.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gapbench.data.benchmark import Benchmark
from gapbench.data.own.columns import FIELDS
from gapbench.data.own.fields import ANSWER_FORMATS, CellRules, only_images
from gapbench.data.own.fields import samples as samples_of
from gapbench.data.own.hub_dataset import choose_split, open_hub
from gapbench.data.own.readers import JsonArray, JsonLines, Reader
from gapbench.data.table_files import SEPARATORS
from gapbench.data.table_reader import open_table
from gapbench.errors import BenchmarkError
from gapbench.types import Card, Sample

SUFFIXES = (".jsonl", ".json", *SEPARATORS, ".parquet")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")

WORDS = {"comma": ",", "semicolon": ";", "pipe": "|", "newline": "\n", "tab": "\t", "space": " "}
"""Names for separators that have a meaning to the shell or after the colon."""

SPLITS = ("train", "training", "test", "testing", "testmini", "validation", "valid", "val", "dev", "eval", "evaluation")
"""Words that the Hub takes for a split at the beginning of a file's name."""

MAX_HASHED = 1 << 30
"""Bytes; data up to this size is hashed for the card's revision."""

READING = {*FIELDS, "separator", "list_separator", "orientation", "answer_format", "urls", "max_image_pixels"}
"""Parameters that say how rows are read. The others (`split`, `config`, `revision`) say which rows."""


def is_data(target: str) -> bool:
    """Whether `-b TARGET` names data: it has the suffix of data, exists as a path, or has the form of a Hub id."""
    by_suffix = Path(target).suffix.lower() in SUFFIXES
    return by_suffix or (bool(target) and os.path.exists(target)) or bool(HUB_ID.fullmatch(target))


def read(target: str | Path, **parameters: Any) -> Iterator[Sample]:
    """The samples in a file, a folder or a Hub data set, for use in code; `parameters` as after the colon."""
    yield from load(str(target)).make(**parameters)


def images(target: str, **parameters: Any) -> Iterator[Sample]:
    """The images in a file, a folder of tables or a Hub data set, as samples without question and answer.

    `parameters` as after the colon. Raises BenchmarkError.
    """
    yield from load(target, only_images).make(**parameters)


SamplesOf = Callable[[Reader, Mapping[str, str], CellRules], Iterator[Sample]]


def load(target: str, rows: SamplesOf = samples_of) -> Benchmark:
    """The benchmark of a file, a folder or a Hub data set, named after it. Raises BenchmarkError if it is missing.

    `rows` makes samples of its rows.
    """
    path = Path(target).expanduser()
    if path.exists():
        files = _files(path)
        name = path.stem if path.is_file() else path.resolve().name
        card = Card(name, f"Own data: {path.name}", path.name, licence="own", revision=_revision(files))
        if proposal := _proposal(path):
            card = replace(card, role="training", notice=proposal)
        splits = _splits(path, files)
        settings = (
            ("separator",) if files[0].suffix.lower() in SEPARATORS else () if list(splits) == [""] else ("split",)
        )
        return Benchmark(
            name, card, _maker(partial(_open, str(path), splits), rows, *settings), reading=frozenset(READING)
        )
    if path.suffix.lower() in SUFFIXES or not HUB_ID.fullmatch(target):
        raise BenchmarkError(f"Benchmark file {path}: not found.")
    page = f"https://huggingface.co/datasets/{target}"
    card = Card(path.name, f"Hub data set {target}", page, licence="see its page", hub=target)
    return Benchmark(
        path.name,
        card,
        _maker(partial(open_hub, target), rows, "split", "config", "revision"),
        reading=frozenset(READING),
    )


def _proposal(path: Path) -> str:
    """What the card beside a file of `gapbench propose` says of it in a sentence; empty without one."""
    card = path.with_name(f"{path.stem}.proposal.json")
    if not path.is_file() or not card.is_file():
        return ""
    try:
        return str(json.loads(card.read_text(encoding="utf-8"))["notice"])
    except (ValueError, LookupError, TypeError) as error:
        raise BenchmarkError(f"{card}: not as gapbench propose wrote it ({error!r}). Restore it.") from error


def _revision(files: Sequence[Path]) -> str:
    """A hash of the data, or its size if hashing would take minutes."""
    size = sum(path.stat().st_size for path in files)
    if size > MAX_HASHED:
        return f"{len(files)} files, {size:,} bytes"
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return f"sha256:{digest.hexdigest()[:32]}"


def _maker(open_: Callable[..., Reader], rows: SamplesOf, *settings: str) -> Callable[..., Iterator[Sample]]:
    """A `samples` function; its parameters are the fields, and `settings` and the cell rules of this form."""

    def samples(
        *, list_separator: str = "", urls: bool = False, max_image_pixels: int = 0, **texts: str
    ) -> Iterator[Sample]:
        orientation = _one_of("orientation", texts.pop("orientation", ""), ("stored", "upright"))
        answer_format = _one_of("answer_format", texts.pop("answer_format", ""), ANSWER_FORMATS)
        reader = open_(**{key: texts.pop(key) for key in settings if key in texts})
        rules = CellRules(
            WORDS.get(list_separator, list_separator), answer_format, urls, max_image_pixels, orientation == "upright",
            getattr(reader, "roots", ()),
        )  # fmt: skip
        mapping = _image_folder_mapping(reader) | {field: text for field, text in texts.items() if text}
        yield from rows(reader, mapping, rules)

    texts = (*FIELDS, *settings, "list_separator", "orientation", "answer_format")
    defaults = dict.fromkeys(texts, "") | {"urls": False, "max_image_pixels": 0}
    samples.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in defaults.items()]
    )
    return samples


def _one_of(setting: str, value: str, allowed: Sequence[str]) -> str:
    if value and value not in allowed:
        raise BenchmarkError(f"{setting}={value}: expected one of {', '.join(allowed)}.")
    return value


def _files(path: Path) -> list[Path]:
    """The data files at a path, in their order."""
    forms = f"Expected {', '.join(SUFFIXES)}, or a folder of .parquet files or with metadata.jsonl or .csv."
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise BenchmarkError(f"{path}: its form is not known by its suffix. {forms}")
        return [path]
    metadata = [path / name for name in METADATA if (path / name).is_file()]
    if len(metadata) > 1:
        raise BenchmarkError(f"{path}: it has {' and '.join(p.name for p in metadata)}. Name the one to use.")
    files = metadata or sorted(path.rglob("*.parquet"))
    if not files:
        names = sorted(p.name for p in path.iterdir())
        raise BenchmarkError(f"{path}: found {', '.join(names[:10]) or 'nothing'} in this folder. {forms}")
    return files


def _image_folder_mapping(reader: Reader) -> dict[str, str]:
    """The columns of images in an image folder of the Hub, by field."""
    if reader.name not in METADATA:
        return {}
    pairs = {"image": "file_name", "crop_image": "crop_image_file_name"}
    return {field: c for field, c in pairs.items() if c in reader.columns and field not in reader.columns}


def _open(root: str, splits: Mapping[str, Sequence[Path]], separator: str = "", split: str = "") -> Reader:
    files = splits[choose_split(root, split, list(splits))]
    if reader := {".jsonl": JsonLines, ".json": JsonArray}.get(files[0].suffix.lower()):
        return reader(files[0])
    return open_table(files, separator=WORDS.get(separator, separator))


def _splits(root: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The shards of each split, named by their folders and the first word of the file name; "" is a single file."""
    if root.is_file() or files[0].name in METADATA:
        return {"": list(files)}
    splits: dict[str, list[Path]] = {}
    for path in files:
        shard = re.fullmatch(r"(.+?)-\d{5}-of-\d{5}.*", path.stem)
        first = re.split(r"[^A-Za-z]", path.stem, maxsplit=1)[0]
        split = shard[1] if shard else first if first.lower() in SPLITS else ""
        splits.setdefault("/".join(filter(None, [*path.relative_to(root).parent.parts, split])), []).append(path)
    return splits
