"""Finds benchmarks: by name in the catalogue, as a Python file, or as a JSONL of the user's own.

    benchmark = load("signs:canvas=2048,options=true")
    samples = benchmark.samples(limit=100)

A benchmark file defines `CARD` (a `gapbench.types.Card`) and `samples(...)`, a function that yields `Sample`s; its
keyword arguments are the parameters one may set behind a colon. A user's own file works exactly like a built-in one,
and is run as code: only name files you trust. JSONL is data and never run (`gapbench.user_data`).
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from gapbench.errors import BenchmarkError, GapbenchError
from gapbench.types import Card, Sample

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

        Raises BenchmarkError when there is none, when an id comes twice, or when the benchmark's own code fails.
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
        for sample in made:
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
        from gapbench import user_data

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
    parameters = {**(defaults or {}).get(benchmark.name, {}), **given}
    _check_parameters(benchmark, parameters)
    return Benchmark(benchmark.name, benchmark.card, benchmark.make, parameters)


def fingerprint(samples: Iterable[Sample]) -> str:
    """32 hex digits over all that is asked: ids, questions, options, answers, boxes, and the pictures' identity.

    A picture in a file counts by name and size, so that naming a benchmark of many gigabytes costs no reading; the
    content of every picture that was shown is hashed in its record.
    """
    digest = hashlib.sha256()
    for sample in samples:
        values = {f.name: _identity(getattr(sample, f.name)) for f in fields(sample)}
        digest.update(json.dumps(values, sort_keys=True, ensure_ascii=True).encode())
    return digest.hexdigest()[:32]


def _identity(value: Any) -> Any:
    if isinstance(value, Path):
        return [value.name, value.stat().st_size if value.exists() else None]
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, partial):
        return [value.func.__qualname__, repr(value.args), repr(sorted(value.keywords.items()))]
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    if hasattr(value, "tobytes") and hasattr(value, "size"):
        return hashlib.sha256(repr(value.size).encode() + value.tobytes()).hexdigest()
    if isinstance(value, Mapping):
        return {str(k): _identity(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _split(spec: str) -> tuple[str, dict[str, Any]]:
    target, colon, rest = spec.rpartition(":")
    if not colon or "=" not in rest:
        return spec, {}
    given: dict[str, Any] = {}
    for item in rest.split(","):
        key, equals, value = item.partition("=")
        if not equals:
            raise BenchmarkError(f"{spec!r}: {item!r} is not a parameter. Write NAME:key=value,key=value.")
        given[key.strip()] = yaml.safe_load(value)
    return target, given


def _check_parameters(benchmark: Benchmark, parameters: Mapping[str, Any]) -> None:
    known = inspect.signature(benchmark.make).parameters
    for key, value in parameters.items():
        if key not in known:
            raise BenchmarkError(
                f"{benchmark.name}: it has no parameter {key!r}. It takes {', '.join(known) or 'none'}."
            )
        default = known[key].default
        if default is not inspect.Parameter.empty and default is not None and type(value) is not type(default):
            raise BenchmarkError(
                f"{benchmark.name}: parameter {key}={value!r} is {type(value).__name__}; "
                f"expected {type(default).__name__}, such as {default!r}."
            )


def _from_file(path: Path) -> Benchmark:
    if not path.is_file():
        raise BenchmarkError(f"Benchmark file {path}: not found.")
    module_spec = importlib.util.spec_from_file_location(f"gapbench_benchmark_{path.stem}", path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise BenchmarkError(f"Benchmark file {path}: it failed with {type(error).__name__}: {error}") from error
    card, make = getattr(module, "CARD", None), getattr(module, "samples", None)
    if not isinstance(card, Card) or not callable(make):
        raise BenchmarkError(
            f"Benchmark file {path}: expected `CARD`, a gapbench Card, and `samples`, a function that yields Samples; "
            f"found CARD: {type(card).__name__}, samples: {type(make).__name__}. See benchmarks/signs.py for an example."
        )
    return Benchmark(card.name, card, make)
