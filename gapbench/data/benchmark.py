"""A benchmark: its card, and a function that yields its samples.

    Benchmark("mine", Card(name="mine", title="Mine", source="here", licence="own"), make).samples(limit=10)

`fingerprint` identifies the samples, so that a resumed run can refuse to go on with different ones.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from gapbench.data import hub as sources
from gapbench.errors import BenchmarkError, GapbenchError, SettingError
from gapbench.types import Card, Sample
from gapbench.views.images import is_base64


@dataclass(frozen=True)
class Benchmark:
    """A benchmark and its parameters; those at their defaults are absent.

    `chosen` are those among `parameters` that the user set; the others are a model's preferences. `reading` are the
    parameters that say how a file is read, and so are no part of a task's name. `make` yields the samples. `data` is a
    local copy of the benchmark's data (a folder or file). If `make` has a parameter `data`, `samples` passes it this
    copy, or the folder that `gapbench.data.hub.fetch` downloads.
    """

    name: str
    card: Card
    make: Callable[..., Iterable[Sample]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    data: Path | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict)
    reading: frozenset[str] = frozenset()

    @property
    def settable(self) -> dict[str, inspect.Parameter]:
        """The parameters that the user may set, by name."""
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = inspect.signature(self.make).parameters
        return {k: p for k, p in parameters.items() if p.kind in kinds and k != "data"}

    @property
    def takes_data(self) -> bool:
        """Whether the benchmark reads files, so that a local copy can be passed."""
        return "data" in inspect.signature(self.make).parameters

    @property
    def is_local(self) -> bool:
        """Whether the samples can be made without a download."""
        return bool(self.data or not self.card.hub or (self.takes_data and sources.cached(self.card)))

    def samples(self, limit: int | None = None) -> list[Sample]:
        """The first `limit` samples, or all.

        Raises SettingError for a limit below 1, and BenchmarkError when there are no samples, when two have the same
        id, when a field has a type that `gapbench.types.Sample` does not allow, or when the benchmark's code fails.
        """
        if limit is not None and limit < 1:
            raise SettingError(f"--limit {limit}: expected at least 1.")
        try:
            data = {"data": self.data or sources.fetch(self.card)} if self.takes_data else {}
            samples = list(itertools.islice(self.make(**data, **self.parameters), limit))
        except GapbenchError:
            raise
        except Exception as error:
            failure = f"its samples() failed with {type(error).__name__}: {error}. --debug shows where."
            if isinstance(error, OSError) and error.filename:
                failure = f"{error.strerror}: {error.filename}. Check the path, its permissions and the disk's space."
            raise BenchmarkError(f"{self.name}: {failure}") from error
        if not samples:
            raise BenchmarkError(f"{self.name}: it has no samples. Expected at least one; check its source.")
        seen: set[str] = set()
        for number, sample in enumerate(samples, 1):
            _check_fields(sample, f"{self.name}: sample {number}")
            if sample.box_format is None:
                samples[number - 1] = replace(sample, box_format=self.card.box_format)
            if sample.id in seen:
                raise BenchmarkError(f"{self.name}: the id {sample.id!r} comes twice. Ids must be unique.")
            seen.add(sample.id)
        return samples


def fingerprint(samples: Iterable[Sample]) -> str:
    """32 hex digits over all samples: ids, questions, options, answers, boxes, and the identity of the images.

    A file counts by its name and size, so that a benchmark of many gigabytes need not be read; each record holds a hash
    of the content of its images. The result is the same on every machine and in every process.
    """
    digest = hashlib.sha256()
    of_images = {"image": _image_identity, "crop_image": _image_identity, "more_images": _image_identities}
    for sample in samples:
        values = {f.name: of_images.get(f.name, _identity)(getattr(sample, f.name)) for f in fields(Sample)}
        for key in ("boxes_in", "annotated", "annotated_format"):
            del values[key]  # follows from the region file, and is younger than many a fingerprint
        if not sample.upright:
            del values["upright"]  # younger, too
        digest.update(json.dumps(values, sort_keys=True, ensure_ascii=True).encode())
    return digest.hexdigest()[:32]


def group_of(sample: Sample) -> str:
    """The group that stays in one shard: the cluster, or the image if it can be identified without decoding, or none.

    Samples are dealt to shards by this text, so its words are fixed.
    """
    if sample.cluster:
        return f"cluster {sample.cluster}"
    if isinstance(sample.image, str | Path | bytes | Mapping | partial):
        return f"picture {fingerprint([Sample(id='', image=sample.image, question='', answers=())])}"
    return f"sample {sample.id}"


def _image_identities(sources: Any) -> Any:
    return list(map(_image_identity, sources))


def _image_identity(source: Any) -> Any:
    if isinstance(source, Mapping):  # `gapbench.views.images` prefers the bytes; the path depends on the machine
        source = source.get("bytes") or source.get("path")
    return _identity(Path(source) if isinstance(source, str) and not is_base64(source) else source)


def _identity(value: Any) -> Any:
    """A JSON value that identifies `value` without folders, memory addresses and the order of sets."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return [value.name, _size(value)]
        case bytes() | bytearray() | memoryview():
            return hashlib.sha256(bytes(value)).hexdigest()
        case list() | tuple():
            return [_identity(v) for v in value]
        case set() | frozenset():
            return sorted(json.dumps(_identity(v), sort_keys=True) for v in value)
        case Mapping():
            return {str(k): _identity(v) for k, v in value.items()}
        case partial():
            return [_identity(value.func), _identity(value.args), _identity(value.keywords)]
    if hasattr(value, "tobytes") and hasattr(value, "size"):  # an image or an array
        try:
            content = value.tobytes()
        except Exception:  # a damaged image file; its record will hold the error
            content = b""
        return hashlib.sha256(repr(value.size).encode() + content).hexdigest()
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # ValueError: not a valid path, such as one with a NUL
        return None


def _check_fields(sample: Any, where: str) -> None:
    """Check the types of a sample's fields, for authors of benchmark files who run no type checker."""
    if not isinstance(sample, Sample):
        raise BenchmarkError(f"{where}: found {type(sample).__name__}; expected a gapbench Sample.")
    for name in ("id", "question", "category", "cluster"):
        if not is_text(getattr(sample, name)):
            raise BenchmarkError(f"{where}: {name} is {getattr(sample, name)!r}; expected text.")
    examples = {"answers": '("STOP",)', "options": '("STOP",)', "boxes": "((10, 20, 40, 60),)"}
    for name, example in (examples | {"more_images": '("second.png",)'}).items():
        value, of_text = getattr(sample, name), name in ("answers", "options")
        if not isinstance(value, tuple) or (of_text and not all(map(is_text, value))):
            found = repr(value) if of_text else f"{type(value).__name__} ({str(value)[:200]})"
            expected = f"a tuple of text, as {example}" if of_text else f"a tuple, as {example}"
            raise BenchmarkError(f"{where} ({sample.id!r}): {name} is {found}; expected {expected}.")


def is_text(value: Any) -> bool:
    """Whether `value` is a string that can be written as UTF-8; tokenizers refuse lone surrogates."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)
