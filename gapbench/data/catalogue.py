"""Loads benchmarks: by name from the catalogue, from a Python file, or from the user's own data.

    benchmark = load("signs:canvas=2048,options=true")
    samples = benchmark.samples(limit=100)
    load("vstar=/data/vstar")                            # a local copy instead of the Hub

A benchmark file defines `CARD` (a `gapbench.data.Card`) and `samples(...)`, a function that yields `Sample`s. Its
keyword arguments are the parameters that the user may set after a colon. If it has a parameter `data`, it receives the
folder of its files: a local copy, or the download of the card's `hub`. A user's own file works exactly like a built-in
one and is run as code, so name only files you trust. Own data (JSONL, CSV, TSV, Parquet, a folder, a data set of the
Hub) is read and never run; `gapbench.data.own` lists the parameters it takes.

Limits: all samples of a benchmark are held in memory, so their images should be paths or functions, not pixels.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from gapbench.data import own
from gapbench.data.benchmark import Benchmark
from gapbench.errors import BenchmarkError, SettingError
from gapbench.scoring import official
from gapbench.types import METRIC_NAMES, Card, Published
from gapbench.views.boxes import FORMATS
from gapbench.views.prompts import NEUTRAL
from gapbench.views.regions import parse_policy

_PACKAGE = Path(__file__).parent.parent
_SHIPPED = _PACKAGE / "_shipped" / "benchmarks"
FOLDER = _SHIPPED if _SHIPPED.is_dir() else _PACKAGE.parent / "benchmarks"
"""The catalogue: inside an installed wheel, or beside the package in a checkout."""
PUBLISHED_VIEWS = ("full", "crop", "gap")


def names() -> list[str]:
    """The catalogue's names, sorted."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))


def load(spec: str, defaults: Mapping[str, Mapping[str, Any]] | None = None) -> Benchmark:
    """The benchmark that `spec` names: `NAME`, `FILE.py` or data, each optionally with `:key=value,key=value`.

    `defaults` maps a benchmark's name to the parameters that a model prefers; those in `spec` override them.
    Raises BenchmarkError naming the most similar benchmarks, or the parameters that exist.
    """
    target, parameters = split(spec)
    target, place = _local_copy(target)
    path = Path(target)
    if path.suffix == ".py":
        benchmark = _from_file(path)
    elif target in names():
        benchmark = _from_file(FOLDER / f"{target}.py")
    elif own.is_data(target):
        benchmark = own.load(target)
    else:
        near = difflib.get_close_matches(target, names(), n=3, cutoff=0.6)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        data = f"{', '.join(own.SUFFIXES)}, a folder or OWNER/NAME on the Hub"
        known = f"Known are {', '.join(names())}; data of your own is {data}, code of your own .py."
        raise BenchmarkError(f"Benchmark {target!r} is not in the catalogue. {hint}{known}")
    if place is not None and not benchmark.takes_data:
        raise BenchmarkError(f"{benchmark.name}: it reads no data, so {str(place)!r} cannot be its local copy.")
    values = _checked(benchmark, {**(defaults or {}).get(benchmark.name, {}), **parameters})
    return replace(benchmark, parameters=values, data=place, chosen={key: values[key] for key in parameters})


def _local_copy(target: str) -> tuple[str, Path | None]:
    """`vstar=/data/vstar` -> ("vstar", Path("/data/vstar")). If a file of that name exists, the target is that file."""
    name, equals, place = target.partition("=")
    if not equals or Path(target).exists() or not (name in names() or name.endswith(".py")):
        return target, None
    folder = Path(place).expanduser()
    if not place or not folder.exists():
        raise BenchmarkError(f"{target!r}: {place or 'the path'} not found. Expected NAME=FOLDER, a copy of its data.")
    return name, folder


def split(spec: str) -> tuple[str, dict[str, str]]:
    """The target and its parameters as text. A colon without `key=` after it belongs to the target."""
    parts = re.fullmatch(r"(.+?):(\s*\w+\s*=.*)", spec, re.DOTALL)
    if parts is None:
        return spec, {}
    parameters: dict[str, str] = {}
    for item in parts[2].split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or key in parameters:
            fault = "is given twice" if equals else "is not a parameter"
            raise BenchmarkError(f"{spec!r}: {item!r} {fault}. Write NAME:key=value,key=value.")
        parameters[key] = value
    return parts[1], parameters


def _checked(benchmark: Benchmark, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in the types of their defaults: text stays if the default is text, else it is read as YAML."""
    settable = benchmark.settable
    checked: dict[str, Any] = {}
    for key, value in parameters.items():
        if key not in settable:
            takes = ", ".join(settable) or "none"
            raise BenchmarkError(f"{benchmark.name}: it has no parameter {key!r}. It takes {takes}.")
        default = settable[key].default
        if isinstance(value, str) and not isinstance(default, str):
            with contextlib.suppress(yaml.YAMLError):
                value = yaml.safe_load(value)
        if type(default) is float and type(value) is int:
            value = float(value)
        if default not in (inspect.Parameter.empty, None) and type(value) is not type(default):
            expected = f"expected {type(default).__name__}, such as {default!r}"
            raise BenchmarkError(f"{benchmark.name}: parameter {key}={value!r} is {type(value).__name__}; {expected}.")
        checked[key] = value
    return checked


def _from_file(path: Path) -> Benchmark:
    where = f"Benchmark file {path}"
    if not path.is_file():
        raise BenchmarkError(f"{where}: not found.")
    module_spec = importlib.util.spec_from_file_location(f"gapbench_benchmark_{path.stem}", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module.__name__] = module  # dataclasses and pickle find a class's module by its name
    try:
        with _helper_imports(path):
            module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        failure = f"it failed with {type(error).__name__}: {error}. Run it with Python to see where."
        raise BenchmarkError(f"{where}: {failure}") from error
    card, make = getattr(module, "CARD", None), getattr(module, "samples", None)
    if not isinstance(card, Card) or not callable(make):
        expected = "`CARD`, a gapbench Card, and `samples`, a function that yields Samples, as in benchmarks/signs.py"
        found = f"CARD: {type(card).__name__}, samples: {type(make).__name__}"
        raise BenchmarkError(f"{where}: expected {expected}; found {found}.")
    if card.box_format not in FORMATS:
        expected = f"expected one of {', '.join(FORMATS)}"
        raise BenchmarkError(f"{where}: its CARD says box_format {card.box_format!r}; {expected}.")
    published = () if isinstance(card.reference, Mapping) else card.reference
    for one in published:
        sound = (
            isinstance(one, Published)
            and one.view in PUBLISHED_VIEWS
            and isinstance(one.value, int | float)
            and math.isfinite(one.value)
        )
        if not sound or one.protocol not in ("", NEUTRAL, *card.protocols):
            expected = (
                f"a Published with a number, a view ({', '.join(PUBLISHED_VIEWS)}), and a protocol of the card or none"
            )
            raise BenchmarkError(f"{where}: its CARD has the reference {one!r}; expected {expected}.")
    try:
        parse_policy(card.region)
        if card.official:
            official.find(card.official)
        metrics = (*card.metrics, *(p.metric for p in card.protocols.values()), *(one.metric for one in published))
        for metric in metrics:
            if metric not in METRIC_NAMES:
                known = f"Known are {', '.join(METRIC_NAMES)}; correct the benchmark's card."
                raise SettingError(f"there is no metric {metric!r}. {known}")
    except SettingError as error:
        raise BenchmarkError(f"{where}: in its CARD: {error}") from error
    return Benchmark(card.name, card, make)


@contextlib.contextmanager
def _helper_imports(path: Path) -> Iterator[None]:
    """Let a benchmark file import a `_name.py` from its own folder.

    That module is forgotten afterwards, so that a file in another folder gets its own module of that name.
    """
    folder = str(path.parent.resolve())
    before = set(sys.modules)
    sys.path.append(folder)  # last, so that it shadows nothing
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if str(Path(getattr(sys.modules[name], "__file__", None) or "").parent) == folder:
                del sys.modules[name]
