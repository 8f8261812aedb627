"""A task: a benchmark as it is asked in a run, with its samples, views, region policy and prompt.

    (task,) = make_tasks(["signs:canvas=2048"], TaskSettings(views=parse_views("full,crop"), limit=100))
    task.name                          # 'signs:canvas=2048', the key of its records

A task's name holds the parameters that the user set, so that one benchmark may be part of a run with several of them.
How a file of own data is read (its columns, its separator) stands in a name only where two tasks of a run need it.
If some tasks of a run have evidence, those without any are asked in the views that need none.

Limits: all samples of all tasks are held in memory.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gapbench.data import catalogue, suites
from gapbench.data.benchmark import Benchmark, fingerprint, group_of
from gapbench.data.region_file import Regions, read_regions
from gapbench.errors import BenchmarkError, SettingError
from gapbench.types import Sample
from gapbench.views.prompts import NEUTRAL, prompt, template_of
from gapbench.views.regions import parse_policy
from gapbench.views.views import View, parse_views


@dataclass(frozen=True)
class Task:
    """A benchmark as asked: `template` is its prompt's (empty: the neutral one), `region` its region policy.

    `limit` is the most samples that were asked for; None for all. `suite` has the `name` and the `sha256` of the suite
    that asks it.
    """

    name: str
    benchmark: Benchmark
    samples: tuple[Sample, ...]
    views: tuple[View, ...] = ()
    region: str = ""
    template: str = ""
    limit: int | None = None
    suite: Mapping[str, str] | None = None

    def prompt(self, sample: Sample) -> str:
        """The prompt of one of its samples. Raises BenchmarkError as `gapbench.views.prompts.prompt` does."""
        return prompt(sample, self.template)

    def fingerprint(self, count: int | None = None) -> str:
        """A hash over the first `count` samples, or over all."""
        return fingerprint(self.samples[:count])

    @property
    def groups(self) -> list[str]:
        """For each sample, the group of samples that stay in one shard."""
        return [group_of(sample) for sample in self.samples]

    @property
    def possible_views(self) -> tuple[View, ...]:
        """Those of `views` that need no region, or whose evidence some sample has."""
        return tuple(view for view in self.views if not view.needs_region or self.has_evidence(view))

    def has_evidence(self, view: View) -> bool:
        """Whether some sample can be shown in a view that needs a region."""
        native = parse_policy(view.policy(self.region))[0] == "native"
        return any(s.crop_image is not None if native else bool(s.boxes) for s in self.samples)

    def entry(self) -> dict[str, Any]:
        """The task's entry in the manifest (`gapbench.runs.manifest.TaskEntry`)."""
        card = json.loads(json.dumps(asdict(self.benchmark.card)))
        return {
            "benchmark": self.benchmark.name,
            "parameters": dict(self.benchmark.parameters),
            "samples": len(self.samples),
            "limit": self.limit,
            **({"suite": dict(self.suite)} if self.suite else {}),
            "fingerprint": self.fingerprint(),
            "region": self.region,
            "prompt": self.prompt(self.samples[0]),
            "views": {v.name: {"region": v.policy(self.region)} if v.needs_region else {} for v in self.views},
            **({"local_copy": True} if self.benchmark.data else {}),
            "card": {key: value for key, value in card.items() if value not in ("", [], {})},
        }


@dataclass(frozen=True)
class TaskSettings:
    """What all tasks of a run share.

    `limit` takes the first samples of each benchmark. `region` replaces every card's region policy. `protocol` names
    the prompt wording. `regions` is a region file, of which the boxes replace all others.
    """

    views: tuple[View, ...] = ()
    limit: int | None = None
    region: str = ""
    protocol: str = NEUTRAL
    regions: Path | None = None
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.region:
            parse_policy(self.region)


def task_name(benchmark: Benchmark, whole: bool = False) -> str:
    """`signs:canvas=2048,options=true`: the benchmark's name, and the parameters that the user set, sorted.

    Those that say how a file is read belong to the `whole` name alone.
    """
    chosen = {k: v for k, v in benchmark.chosen.items() if whole or k not in benchmark.reading}
    texts = {k: v if isinstance(v, str) else json.dumps(v, default=str) for k, v in chosen.items()}
    parameters = ",".join(f"{key}={texts[key]}" for key in sorted(texts))
    return f"{benchmark.name}:{parameters}" if parameters else benchmark.name


def make_task(benchmark: Benchmark, settings: TaskSettings) -> Task:
    """The task of one benchmark, whatever evidence it has. Raises as `Benchmark.samples` does."""
    samples = tuple(benchmark.samples(settings.limit))
    region = settings.region or benchmark.card.region
    template = template_of(benchmark.card, settings.protocol)
    return Task(task_name(benchmark), benchmark, samples, settings.views, region, template, settings.limit)


def make_tasks(
    specs: Sequence[str] | str, settings: TaskSettings, preferred: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[list[Task], Mapping[str, Any] | None]:
    """The tasks that `specs` name, and what identifies the region file; None without one.

    `preferred` are a model's parameters by benchmark. Raises SettingError for a benchmark that comes twice with equal
    parameters, BenchmarkError as `Benchmark.samples` does, and if a view needs evidence and no benchmark has any.
    """
    plans = planned([specs] if isinstance(specs, str) else specs, settings, preferred)
    uses = Counter(plan.name for plan in plans)
    plans = [
        replace(plan, name=task_name(plan.benchmark, whole=uses[plan.name] > 1)) if not plan.suite else plan
        for plan in plans
    ]
    asked: dict[tuple[str, str], str] = {}
    for plan in plans:
        key = plan.benchmark.name, json.dumps(plan.benchmark.parameters, sort_keys=True, default=str)
        if key in asked or plan.name in asked.values():
            raise SettingError(
                f"-b: the benchmark {plan.name!r} is asked for twice. Name it once, or with other parameters "
                "(NAME:key=value)."
            )
        asked[key] = plan.name
    tasks = [plan.make() for plan in plans]
    for task in tasks:
        refuse_proposed(task.name, task.samples)
    regions = read_regions(settings.regions) if settings.regions else None
    if regions:
        tasks = with_regions(tasks, regions)
    return _with_possible_views(tasks), regions.info if regions else None


@dataclass(frozen=True)
class PlannedTask:
    """A task before its samples are made, which may take a download."""

    name: str
    benchmark: Benchmark
    settings: TaskSettings
    suite: Mapping[str, str] | None = None

    def make(self) -> Task:
        """The task with its samples. Raises as `Benchmark.samples` does."""
        return replace(make_task(self.benchmark, self.settings), name=self.name, suite=self.suite)


def planned(
    specs: Sequence[str], settings: TaskSettings, preferred: Mapping[str, Mapping[str, Any]] | None
) -> list[PlannedTask]:
    """The tasks that `specs` name, before their samples are made; those of a suite as the suite has them.

    Raises SettingError for a setting that a suite fixes.
    """
    plans: list[PlannedTask] = []
    for spec in specs:
        if not suites.is_suite(spec) or Path(spec).exists():
            benchmark = catalogue.load(spec, preferred)
            plans.append(PlannedTask(task_name(benchmark), benchmark, settings))
            continue
        suite, views = suites.load(spec), ",".join(view.name for view in settings.views)
        suites.refuse_other(
            spec,
            {"--protocol": suite.protocol, "--views": suite.views},
            {
                "--limit": settings.limit,
                "--region": settings.region,
                "--regions": settings.regions and str(settings.regions),
                "--protocol": settings.protocol if settings.protocol != NEUTRAL else None,
                "--views": views if views != "full,crop" else None,
                "--temperature": settings.temperature if settings.temperature != suite.temperature else None,
                "--seed": settings.seed if settings.seed != suite.seed else None,
            },
        )
        identity = {"name": spec, "sha256": suite.sha256}
        for one in suite.tasks:
            own = replace(settings, limit=one.limit, region=one.region, protocol=suite.protocol)
            own = replace(own, views=parse_views(suite.views)) if settings.views else own
            plans.append(PlannedTask(one.name or one.benchmark, one.loaded(), own, identity))
    if not plans:
        known = f"Known are {', '.join(catalogue.names())}, or data of your own."
        raise SettingError(f"-b: no benchmark was named. {known}")
    return plans


def refuse_proposed(name: str, samples: Sequence[Sample]) -> None:
    """Raise BenchmarkError if questions were made by a model, so that nobody knows their answers."""
    if made := sum(sample.evidence == "model" and not sample.answers for sample in samples):
        raise BenchmarkError(
            f"{name}: a model made {made:,} of its {len(samples):,} questions and boxes (gapbench propose), and they "
            "have no answers: a model would be measured against itself. Train on them (gapbench distill --data), and "
            "measure on a benchmark."
        )


def with_regions(tasks: Sequence[Task], regions: Regions) -> list[Task]:
    """The tasks with the boxes of a region file instead of their own.

    Warns of samples that the file does not name. Raises BenchmarkError if no sample has a box.
    """
    names = {t.name for t in tasks}  # boxes of a benchmark serve it with other parameters, unless it is a task itself
    wholes = {t.name: task_name(t.benchmark, whole=True) for t in tasks}  # as earlier versions wrote them
    names_of = {
        t.name: [t.name, wholes[t.name], *({t.benchmark.name} - names - _of_another_split(t.benchmark))] for t in tasks
    }
    located = [replace(t, samples=tuple(regions.replace_boxes(names_of[t.name], t.samples))) for t in tasks]
    if not any(sample.boxes for task in located for sample in task.samples):
        raise regions.no_box_error([f"{task.name}: {sample.id}" for task in tasks for sample in task.samples])
    for task in tasks:
        regions.warn_of_untried(names_of[task.name], task.samples)
    return located


def _of_another_split(benchmark: Benchmark) -> set[str]:
    """The benchmark's name if a region file means another split by it, in which equal ids may be other samples."""
    parameter = benchmark.settable.get("split")
    default = parameter.default if parameter else ""  # "" is the only split that there is
    other = isinstance(default, str) and default and benchmark.parameters.get("split", default) != default
    return {benchmark.name} if other else set()


def _with_possible_views(tasks: Sequence[Task]) -> list[Task]:
    """The tasks, without the views whose evidence they lack.

    Raises BenchmarkError if a task has none left, or if no task has any left that needs a region. Warns where a task
    keeps some of those that need one.
    """
    reduced, messages = [], []
    for task in tasks:
        possible = task.possible_views
        missing = next((view for view in task.views if view not in possible), None)
        if missing:
            message = no_evidence(task, missing)
            if not possible:
                raise BenchmarkError(message)
            if any(view.needs_region for view in possible):
                warnings.warn(f"{message} The other views are asked.", stacklevel=2)
            else:
                messages.append(message)
        reduced.append(replace(task, views=possible))
    if messages and len(messages) == len(tasks):
        raise BenchmarkError(messages[0])
    return reduced


def no_evidence(task: Task, view: View) -> str:
    """Why a task without evidence cannot be shown in a view that needs a region, with a remedy."""
    policy = parse_policy(view.policy(task.region))[0]
    remedy = (  # a benchmark that ships its crops has boxes only from a region file
        "Pass --region padded, which cuts out the boxes that it has."
        if any(s.boxes for s in task.samples)
        else "Measure --views full, give boxes (`bbox`, `bboxes`), or let a model find regions (`gapbench locate`) and "
        "pass them with --regions."
    )
    return (
        f"{task.name}: none of its {len(task.samples)} samples has "
        f"{'a crop of its own' if policy == 'native' else 'an evidence box'}, so view {view.name!r} with region policy "
        f"{policy!r} cannot be shown. {remedy}"
    )
