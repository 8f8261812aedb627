"""A benchmark: its card, and a function that yields its samples.

    Benchmark("mine", Card(name="mine", title="Mine", source="here", licence="own"), make).samples(limit=10)

`fingerprint` identifies all that is asked, so that a run can refuse to go on with other questions.
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
    """A benchmark that can be asked for its samples; `parameters` are those given, defaults left out.

    `data` is a local copy of its data (a folder or file). A `make` with a parameter named `data` is handed that, or
    else what `gapbench.data.hub.fetch` brings from the Hub, once samples are asked for.
    """

    name: str
    card: Card
    make: Callable[..., Iterable[Sample]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    data: Path | None = None

    @property
    def settable(self) -> dict[str, inspect.Parameter]:
        """The parameters one may set, by name."""
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        found = inspect.signature(self.make).parameters
        return {k: p for k, p in found.items() if p.kind in kinds and k != "data"}

    @property
    def takes_data(self) -> bool:
        """Whether it reads files, which may be a local copy."""
        return "data" in inspect.signature(self.make).parameters

    def samples(self, limit: int | None = None) -> list[Sample]:
        """The first `limit` samples, or all.

        Raises SettingError for a limit below 1, and BenchmarkError when there is none, when an id comes twice, when a
        sample's fields are not what `gapbench.types.Sample` says, or when the benchmark's own code fails.
        """
        if limit is not None and limit < 1:
            raise SettingError(f"--limit {limit}: expected at least 1.")
        try:
            given = {"data": self.data or sources.fetch(self.card)} if self.takes_data else {}
            made = list(itertools.islice(self.make(**given, **self.parameters), limit))
        except GapbenchError:
            raise
        except Exception as error:
            failed = f"its samples() failed with {type(error).__name__}: {error}. --debug shows where."
            if isinstance(error, OSError) and error.filename:
                failed = f"{error.strerror}: {error.filename}. Check the path, its permissions and the disk's space."
            raise BenchmarkError(f"{self.name}: {failed}") from error
        if not made:
            raise BenchmarkError(f"{self.name}: it has no samples. Expected at least one question; check its source.")
        seen: set[str] = set()
        for number, sample in enumerate(made, 1):
            _check_fields(sample, f"{self.name}: sample {number}")
            if sample.box_format is None:
                made[number - 1] = replace(sample, box_format=self.card.box_format)
            if sample.id in seen:
                raise BenchmarkError(f"{self.name}: the id {sample.id!r} comes twice. Ids must be unique.")
            seen.add(sample.id)
        return made


def fingerprint(samples: Iterable[Sample]) -> str:
    """32 hex digits over all that is asked: ids, questions, options, answers, boxes, and the images' identity.

    An image in a file counts by name and size, so that naming a benchmark of many gigabytes costs no reading; the
    content of every image that was shown is hashed in its record. The same on every machine and in every process.
    """
    digest = hashlib.sha256()
    others = {f.name for f in fields(Sample)} - {"image", "crop_image", "more_images"}
    for sample in samples:
        values = {name: _identity(getattr(sample, name)) for name in others}
        values |= {"image": _image_identity(sample.image), "crop_image": _image_identity(sample.crop_image)}
        values["more_images"] = [_image_identity(source) for source in sample.more_images]
        digest.update(json.dumps(values, sort_keys=True, ensure_ascii=True).encode())
    return digest.hexdigest()[:32]


def group_of(sample: Sample) -> str:
    """What keeps samples together: the cluster, or the image where it can be told without decoding, or nothing."""
    if sample.cluster:
        return f"cluster {sample.cluster}"
    if isinstance(sample.image, str | Path | bytes | Mapping | partial):
        return f"picture {fingerprint([Sample(id='', image=sample.image, question='', answers=())])}"
    return f"sample {sample.id}"


def _image_identity(source: Any) -> Any:
    if isinstance(source, Mapping):  # as `gapbench.views.images` reads it: the path beside the bytes is some cache's
        source = source.get("bytes") or source.get("path")
    return _identity(Path(source) if isinstance(source, str) and not is_base64(source) else source)


def _identity(value: Any) -> Any:
    """JSON that stands for a value, free of folders, memory addresses and the order of sets."""
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
        except Exception:  # an image whose file is damaged, as its own record will say
            content = b""
        return hashlib.sha256(repr(value.size).encode() + content).hexdigest()
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # ValueError: no path at all, such as one with a NUL
        return None


def _check_fields(sample: Any, where: str) -> None:
    """What a type checker would say of a benchmark file, for authors who run none."""
    if not isinstance(sample, Sample):
        raise BenchmarkError(f"{where}: found {type(sample).__name__}; expected a gapbench Sample.")
    for name in ("id", "question", "category", "cluster"):
        if not is_text(getattr(sample, name)):
            raise BenchmarkError(f"{where}: {name} is {getattr(sample, name)!r}; expected text.")
    for name in ("answers", "options"):
        value = getattr(sample, name)
        if not isinstance(value, tuple) or not all(map(is_text, value)):
            raise BenchmarkError(
                f'{where} ({sample.id!r}): {name} is {value!r}; expected a tuple of text, as ("STOP",).'
            )
    for name, example in (("boxes", "((10, 20, 40, 60),)"), ("more_images", '("second.png",)')):
        value = getattr(sample, name)
        if not isinstance(value, tuple):
            found = f"{type(value).__name__} ({str(value)[:200]})"
            raise BenchmarkError(f"{where} ({sample.id!r}): {name} is {found}; expected a tuple, as {example}.")


def is_text(value: Any) -> bool:
    """A string that can be written as UTF-8; a lone surrogate is no character and no tokenizer takes it."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)
