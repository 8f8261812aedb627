"""Finds benchmarks: by name in the catalogue, as a Python file, or as a JSONL of the user's own.

    benchmark = load("signs:canvas=2048,options=true")
    samples = benchmark.samples(limit=100)

A benchmark file defines `CARD` (a `gapbench.types.Card`) and `samples(...)`, a function that yields `Sample`s; its
keyword arguments are the parameters one may set behind a colon. A user's own file works exactly like a built-in one,
and is run as code: only name files you trust. JSONL is data and never run (`gapbench.user_data`).

Limits: all samples of a benchmark are held in memory, so their pictures should be paths or functions.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.util
import inspect
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from gapbench.errors import BenchmarkError, GapbenchError, SettingError
from gapbench.types import Card, Sample
from gapbench.views import parse_policy

_PACKAGE = Path(__file__).parent
FOLDER = next(
    (p for p in (_PACKAGE / "_shipped" / "benchmarks", _PACKAGE.parent / "benchmarks") if p.is_dir()),
    _PACKAGE / "_shipped" / "benchmarks",
)
"""The catalogue: inside an installed wheel, or beside the package in a checkout."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that can be asked for its samples; `parameters` are those given, defaults left out."""

    name: str
    card: Card
    make: Callable[..., Iterable[Sample]]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def samples(self, limit: int | None = None) -> list[Sample]:
        """The first `limit` samples, or all.

        Raises BenchmarkError when there is none, when an id comes twice, when a sample's fields are not what
        `gapbench.types.Sample` says, or when the benchmark's own code fails.
        """
        try:
            made = list(itertools.islice(self.make(**self.parameters), limit))
        except GapbenchError:
            raise
        except Exception as error:
            raise BenchmarkError(f"{self.name}: its samples() failed with {type(error).__name__}: {error}") from error
        if not made:
            raise BenchmarkError(f"{self.name}: it has no samples. Expected at least one question; check its source.")
        seen: set[str] = set()
        for number, sample in enumerate(made, 1):
            _check_fields(sample, f"{self.name}: sample {number}")
            if sample.id in seen:
                raise BenchmarkError(f"{self.name}: the id {sample.id!r} comes twice. Ids must be unique.")
            seen.add(sample.id)
        return made


def names() -> list[str]:
    """The catalogue's names, sorted."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))


def load(spec: str, defaults: Mapping[str, Mapping[str, Any]] | None = None) -> Benchmark:
    """The benchmark behind `NAME`, `FILE.py` or `FILE.jsonl`, each optionally with `:key=value,key=value`.

    `defaults` maps a benchmark's name to parameters used where `spec` sets none: a model's own wishes.
    Raises BenchmarkError naming the nearest known names, or the parameters that exist.
    """
    target, given = _split(spec)
    path = Path(target)
    if path.suffix == ".jsonl":
        from gapbench import user_data  # which builds on this module

        benchmark = user_data.load(path)
    elif path.suffix == ".py":
        benchmark = _from_file(path)
    elif target in names():
        benchmark = _from_file(FOLDER / f"{target}.py")
    else:
        near = difflib.get_close_matches(target, names(), n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise BenchmarkError(
            f"Benchmark {target!r} is not in the catalogue. {hint}Known are {', '.join(names())}; "
            "a file of your own must end in .py or .jsonl."
        )
    wishes = dict((defaults or {}).get(benchmark.name, {}))
    return replace(benchmark, parameters=_checked(benchmark, {**wishes, **given}))


def fingerprint(samples: Iterable[Sample]) -> str:
    """32 hex digits over all that is asked: ids, questions, options, answers, boxes, and the pictures' identity.

    A picture in a file counts by name and size, so that naming a benchmark of many gigabytes costs no reading; the
    content of every picture that was shown is hashed in its record. The same on every machine and in every process.
    """
    digest = hashlib.sha256()
    for sample in samples:
        values = {f.name: _identity(getattr(sample, f.name)) for f in fields(sample)}
        values |= {"image": _picture_identity(sample.image), "crop_image": _picture_identity(sample.crop_image)}
        digest.update(json.dumps(values, sort_keys=True, ensure_ascii=True).encode())
    return digest.hexdigest()[:32]


def _picture_identity(source: Any) -> Any:
    if isinstance(source, Mapping):  # as `gapbench.images` reads it: the path beside the bytes is some cache's
        source = source.get("bytes") or source.get("path")
    return _identity(Path(source) if isinstance(source, str) else source)


def _identity(value: Any) -> Any:
    """JSON that stands for a value, free of folders, memory addresses and the order of sets."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return [value.name, _size(value)]
        case bytes():
            return hashlib.sha256(value).hexdigest()
        case list() | tuple():
            return [_identity(v) for v in value]
        case set() | frozenset():
            return sorted(json.dumps(_identity(v), sort_keys=True) for v in value)
        case Mapping():
            return {str(k): _identity(v) for k, v in value.items()}
        case partial():
            return [_identity(value.func), _identity(value.args), _identity(value.keywords)]
    if hasattr(value, "tobytes") and hasattr(value, "size"):  # a picture or an array
        return hashlib.sha256(repr(value.size).encode() + value.tobytes()).hexdigest()
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # ValueError: no path at all, such as one with a NUL
        return None


def _split(spec: str) -> tuple[str, dict[str, str]]:
    """The target and its parameters as text; a colon that no `key=` follows belongs to the target."""
    parts = re.fullmatch(r"(.+?):(\s*\w+\s*=.*)", spec, re.DOTALL)
    if parts is None:
        return spec, {}
    given: dict[str, str] = {}
    for item in parts[2].split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or key in given:
            fault = "is given twice" if equals else "is not a parameter"
            raise BenchmarkError(f"{spec!r}: {item!r} {fault}. Write NAME:key=value,key=value.")
        given[key] = value
    return parts[1], given


def _checked(benchmark: Benchmark, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with text read as the type of their default: text as it stands, all else as YAML."""
    settable = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {k: p for k, p in inspect.signature(benchmark.make).parameters.items() if p.kind in settable}
    checked: dict[str, Any] = {}
    for key, value in parameters.items():
        if key not in known:
            raise BenchmarkError(
                f"{benchmark.name}: it has no parameter {key!r}. It takes {', '.join(known) or 'none'}."
            )
        default = known[key].default
        typed = default is not inspect.Parameter.empty and default is not None
        if isinstance(value, str) and not isinstance(default, str):
            with contextlib.suppress(yaml.YAMLError):
                value = yaml.safe_load(value)
        if type(default) is float and type(value) is int:
            value = float(value)
        if typed and type(value) is not type(default):
            raise BenchmarkError(
                f"{benchmark.name}: parameter {key}={value!r} is {type(value).__name__}; "
                f"expected {type(default).__name__}, such as {default!r}."
            )
        checked[key] = value
    return checked


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


def is_text(value: Any) -> bool:
    """A string that can be written as UTF-8; a lone surrogate is no character and no tokenizer takes it."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _from_file(path: Path) -> Benchmark:
    if not path.is_file():
        raise BenchmarkError(f"Benchmark file {path}: not found.")
    module_spec = importlib.util.spec_from_file_location(f"gapbench_benchmark_{path.stem}", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up by name
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise BenchmarkError(
            f"Benchmark file {path}: it failed with {type(error).__name__}: {error}. Run it with Python to see where."
        ) from error
    card, make = getattr(module, "CARD", None), getattr(module, "samples", None)
    if not isinstance(card, Card) or not callable(make):
        raise BenchmarkError(
            f"Benchmark file {path}: expected `CARD`, a gapbench Card, and `samples`, a function that yields Samples; "
            f"found CARD: {type(card).__name__}, samples: {type(make).__name__}. See benchmarks/signs.py for an "
            "example."
        )
    try:
        parse_policy(card.region)
    except SettingError as error:
        raise BenchmarkError(f"Benchmark file {path}: in its CARD: {error}") from error
    return Benchmark(card.name, card, make)
