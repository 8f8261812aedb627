"""Suites: named, versioned sets of tasks, so that a gap can be cited (`core@1`). They are in `benchmarks/suites.yaml`.

    suite = load("signs-core@1")
    suite.sha256[:12], [task.benchmark for task in suite.tasks]

A suite fixes the benchmarks with their parameters, the views, the prompts (a protocol), the region policies, the
limits, the temperature and the seed. Its hash covers them, and of each benchmark the pinned revision and the prompt
template. So equal hashes mean equal questions, and the fingerprints in the manifest say that the data was equal, too.

Limits: a model's pixels, precision and engine are not a suite's; the manifest has them.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from gapbench.data import catalogue
from gapbench.data.benchmark import Benchmark
from gapbench.errors import BenchmarkError, SettingError
from gapbench.views.prompts import NEUTRAL, template_of

FILE = catalogue.FOLDER / "suites.yaml"
NAME = re.compile(r"[a-z][a-z0-9-]*@\d+")
CONFIG = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SuiteTask(BaseModel):
    """One benchmark of a suite, as it is asked."""

    model_config = CONFIG
    benchmark: str
    """Its name in the catalogue."""
    name: str = ""
    """The key of its records; the benchmark's name unless it occurs twice."""
    parameters: dict[str, Any] = {}
    """All parameters that are not at their defaults. What a model prefers does not count."""
    region: str = ""
    """The region policy; empty for a benchmark without evidence."""
    limit: int | None = None
    """The first samples; null for all."""

    def loaded(self) -> Benchmark:
        """The benchmark with these parameters and no others."""
        return catalogue.load(self.benchmark, {self.benchmark: self.parameters})


class Suite(BaseModel):
    """A named version of a set of tasks."""

    model_config = CONFIG
    title: str
    """What it is for, in words; not part of the hash."""
    tasks: tuple[SuiteTask, ...]
    """What is asked, in this order."""
    views: str = "full,crop"
    """The views, as for `--views`."""
    protocol: str = NEUTRAL
    """The wording of prompts, as for `--protocol`."""
    temperature: float = 0.0
    """0 is greedy."""
    seed: int = 0
    """Of sampling."""

    @property
    def sha256(self) -> str:
        """A hash over all that decides what is asked."""
        asked = self.model_dump(mode="json", exclude={"title"})
        for entry, task in zip(asked["tasks"], self.tasks, strict=True):
            card = task.loaded().card
            entry |= {"revision": card.revision, "template": template_of(card, self.protocol)}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def is_suite(spec: str) -> bool:
    """Whether `spec` has the form of a suite's name, such as `core@1`."""
    return NAME.fullmatch(spec) is not None


@cache
def all_suites() -> dict[str, Suite]:
    """Every suite by name. Raises BenchmarkError for a file that does not fit."""
    try:
        entries = yaml.safe_load(FILE.read_text(encoding="utf-8"))
        return {name: Suite.model_validate(entry) for name, entry in entries.items()}
    except (OSError, ValidationError, yaml.YAMLError, AttributeError) as error:
        raise BenchmarkError(f"{FILE}: {error}. Expected suites as docs/suites.md describes them.") from error


def load(name: str) -> Suite:
    """The suite of that name. Raises BenchmarkError with the names that exist."""
    suites = all_suites()
    if name not in suites:
        raise BenchmarkError(f"-b {name}: there is no such suite. Known are {', '.join(suites)}.")
    return suites[name]


def text_of(name: str) -> str:
    """A suite in words: what it is for, its hash, what it fixes, and a line per task."""
    suite = load(name)
    fixed = f"views {suite.views}, protocol {suite.protocol}, temperature {suite.temperature:g}, seed {suite.seed}"
    lines = [f"{name}: {suite.title}", f"sha256 {suite.sha256}", fixed]
    for task in suite.tasks:
        parts = [f"the first {task.limit:,} samples" if task.limit else "all samples"]
        parts += [f"region {task.region}"] if task.region else ["full view"]
        parts += [f"{key}={value}" for key, value in task.parameters.items()]
        own = f"{task.name} ({task.benchmark})" if task.name else task.benchmark
        lines.append(f"  {own}: {', '.join(parts)}")
    return "\n".join(lines)


def refuse_other(name: str, fixed: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise SettingError for a flag that a suite fixes. Of the call's values `given`, None and "" were not set."""
    for flag, value in given.items():
        if value not in (None, "") and value != fixed.get(flag):
            is_ = f"{flag} {fixed[flag]}" if fixed.get(flag) not in (None, "") else f"no {flag}"
            raise SettingError(
                f"{flag} {value}: the suite {name} fixes what is asked, and it has {is_}. Leave the flag out, or name "
                "the benchmarks one by one (-b NAME): they then carry no suite's name."
            )
