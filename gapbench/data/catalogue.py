"""Finds benchmarks: by name in the catalogue, as a Python file, or as data of the user's own.

    benchmark = load("signs:canvas=2048,options=true")
    samples = benchmark.samples(limit=100)
    load("vstar=/data/vstar")                            # a local copy instead of the Hub

A benchmark file defines `CARD` (a `gapbench.types.Card`) and `samples(...)`, a function that yields `Sample`s; its
keyword arguments are the parameters one may set behind a colon. A user's own file works exactly like a built-in one,
and is run as code: only name files you trust. A `samples` with a parameter `data` is handed the folder of its files: a
local copy, or what the card's `hub` says, fetched. Data of one's own (JSONL, CSV, TSV, Parquet, a folder, a data set of
the Hub) is never run; see `gapbench.data.own` for what may stand behind its colon.

Limits: all samples of a benchmark are held in memory, so their images should be paths or functions.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from gapbench.data import own as user_data
from gapbench.data.benchmark import Benchmark
from gapbench.errors import BenchmarkError, SettingError
from gapbench.types import METRICS, Card
from gapbench.views.boxes import FORMATS
from gapbench.views.regions import parse_policy

_PACKAGE = Path(__file__).parent.parent
FOLDER = next(
    (p for p in (_PACKAGE / "_shipped" / "benchmarks", _PACKAGE.parent / "benchmarks") if p.is_dir()),
    _PACKAGE / "_shipped" / "benchmarks",
)
"""The catalogue: inside an installed wheel, or beside the package in a checkout."""

_BESIDE: dict[str, str] = {}
"""Modules that benchmark files brought with them, and the folders they came from."""


def names() -> list[str]:
    """The catalogue's names, sorted."""
    return sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))


def load(spec: str, defaults: Mapping[str, Mapping[str, Any]] | None = None) -> Benchmark:
    """The benchmark behind `NAME`, `FILE.py` or data, each optionally with `:key=value,key=value`.

    `defaults` maps a benchmark's name to parameters used where `spec` sets none: a model's own wishes.
    Raises BenchmarkError naming the nearest known names, or the parameters that exist.
    """
    target, given = _split(spec)
    target, place = _local_copy(target)
    path = Path(target)
    if path.suffix == ".py":
        benchmark = _from_file(path)
    elif target in names():
        benchmark = _from_file(FOLDER / f"{target}.py")
    elif user_data.is_data(target):
        benchmark = user_data.load(target)
    else:
        near = difflib.get_close_matches(target, names(), n=3, cutoff=0.6)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise BenchmarkError(
            f"Benchmark {target!r} is not in the catalogue. {hint}Known are {', '.join(names())}; "
            f"data of your own is {', '.join(user_data.SUFFIXES)}, a folder or OWNER/NAME on the Hub, code of your "
            "own .py."
        )
    if place is not None and not benchmark.takes_data:
        raise BenchmarkError(f"{benchmark.name}: it reads no data, so {str(place)!r} cannot be its local copy.")
    wishes = dict((defaults or {}).get(benchmark.name, {}))
    return replace(benchmark, parameters=_checked(benchmark, {**wishes, **given}), data=place)


def load_all(specs: Sequence[str], defaults: Mapping[str, Mapping[str, Any]] | None = None) -> list[Benchmark]:
    """`load` for each. Raises SettingError where none is named, or one twice: their records could not be told apart."""
    if not specs:
        raise SettingError(
            f"-b: no benchmark was named. Known are {', '.join(names())}, or a file or folder of your own."
        )
    found = [load(spec, defaults) for spec in specs]
    twice = [name for name, count in Counter(b.name for b in found).items() if count > 1]
    if twice:
        raise SettingError(f"-b: the benchmark {twice[0]!r} is asked for twice. Give the second an --out of its own.")
    return found


def _local_copy(target: str) -> tuple[str, Path | None]:
    """`vstar=/data/vstar` -> ("vstar", Path("/data/vstar")). A file of such a name is taken as it is."""
    name, equals, place = target.partition("=")
    if not equals or Path(target).exists() or not (name in names() or name.endswith(".py")):
        return target, None
    found = Path(place).expanduser()
    if not place or not found.exists():
        raise BenchmarkError(f"{target!r}: {place or 'the path'} not found. Expected NAME=FOLDER, a copy of its data.")
    return name, found


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
    known = benchmark.settable
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


def _from_file(path: Path) -> Benchmark:
    if not path.is_file():
        raise BenchmarkError(f"Benchmark file {path}: not found.")
    module_spec = importlib.util.spec_from_file_location(f"gapbench_benchmark_{path.stem}", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up by name
    try:
        with _modules_beside(path):
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
    if card.box_format not in FORMATS:
        raise BenchmarkError(
            f"Benchmark file {path}: its CARD says box_format {card.box_format!r}; expected one of "
            f"{', '.join(FORMATS)}."
        )
    try:
        parse_policy(card.region)
        for metric in (*card.metrics, *(p.metric for p in card.protocols.values())):
            if metric not in METRICS:
                raise SettingError(
                    f"there is no metric {metric!r}. Known are {', '.join(METRICS)}; correct the benchmark's card."
                )
    except SettingError as error:
        raise BenchmarkError(f"Benchmark file {path}: in its CARD: {error}") from error
    return Benchmark(card.name, card, make)


@contextlib.contextmanager
def _modules_beside(path: Path) -> Iterator[None]:
    """Files may share code in a `_name.py` beside them; one of that name beside another file is not taken for it."""
    folder = str(path.parent.resolve())
    for name in [name for name, other in _BESIDE.items() if other != folder]:
        sys.modules.pop(name, None)
        del _BESIDE[name]
    before = set(sys.modules)
    sys.path.append(folder)  # at the end, it shadows nothing
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if str(Path(getattr(sys.modules[name], "__file__", None) or "").parent) == folder:
                _BESIDE[name] = folder
