"""Measures one model: asks it about every sample in every view, keeps each answer, and computes the gap.

    import gapbench
    run = gapbench.measure("glance", ["signs"], views=("full", "crop"), out="runs/glance")
    run.summary["benchmarks"]["signs"]["gap"]

A run is a folder. Each answer is appended as a record with the key (task, sample, view, repeat). After a kill, the
same call continues and skips the records that exist; with another benchmark or view, it adds to the run. The manifest
(`run.json`) holds the settings, samples and prompts; a call that differs from them is refused, so a run never mixes
two. A second process on one run is refused at once (`gapbench.runs.lock`). A sample that cannot be shown gets a
`failed` record with the reason, and the run goes on.

Each session keeps its throughput and the time that the full workload would take (`gapbench.runs.throughput`).

Limits: one engine per process. Answers to repeats of a greedy run differ only by numerical noise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gapbench.commands.report import write_results
from gapbench.data.benchmark import fingerprint
from gapbench.data.task import Task, TaskSettings, make_tasks
from gapbench.engines import loading
from gapbench.engines.hardware import hardware
from gapbench.engines.options import THINKING_TOKENS, Generation
from gapbench.engines.visual_tokens import counter
from gapbench.errors import BenchmarkError, RunError, SettingError
from gapbench.judging import Judge
from gapbench.runs import records, shards
from gapbench.runs.listing import short_name
from gapbench.runs.lock import hold
from gapbench.runs.manifest import FILE, Manifest, continue_or_start, earlier_manifest, make_manifest, new_session
from gapbench.runs.run import Run
from gapbench.runs.session import answer_pending
from gapbench.runs.throughput import ThroughputMeter, Workload
from gapbench.runs.thumbnails import save_thumbnails, thumbnail_key
from gapbench.scoring import score
from gapbench.selfcheck import check_first
from gapbench.types import Engine
from gapbench.util.progress import progress
from gapbench.util.terminal import say
from gapbench.views.pixels import Pixels
from gapbench.views.prefetch import Pending
from gapbench.views.prompts import NEUTRAL
from gapbench.views.views import parse_views


def measure(
    model: str,
    benchmarks: Sequence[str] | str,
    views: Sequence[str] | str = ("full", "crop"),
    out: str | Path | None = None,
    *,
    engine: str = "auto",
    limit: int | None = None,
    seed: int = 0,
    repeats: int = 1,
    region: str = "",
    regions: str | Path | None = None,
    protocol: str = NEUTRAL,
    shard: str = "",
    selfcheck: bool = True,
    retry_failed: bool = False,
    judge: Judge | None = None,
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    quiet: bool = True,
    command: str = "",
    **options: Any,
) -> Run:
    """Measure `model` (Hub id, folder or `glance`) on `benchmarks` (names, files, folders, Hub ids) and return the run.

    - `out` is the folder of the run; by default it is named after the model, in `runs` (`default_folder`).
    - A benchmark may be a suite (`core@1`), which fixes what is asked (`gapbench.data.suites`).
    - `limit` takes the first samples of each benchmark; `repeats` is the number of answers per sample and view.
    - `max_new_tokens` is by default 128, and 4096 for a model that thinks before it answers.
    - `region` replaces the region policy of every benchmark. `regions` is a file of boxes from a model (`gapbench
      locate`), which replace all other boxes.
    - `protocol` names the prompt wording (`gapbench benchmarks show`).
    - `min_pixels` and `max_pixels` bound the width x height of each image.
    - `engine` is auto, transformers, vllm or server; `options` are the engine's own (`TransformersOptions`,
      `VllmOptions`, `ServerOptions` in `gapbench.engines`).
    - `retry_failed` repeats what failed in an earlier session, in the engine or the judge.
    - `judge` judges the answers that no rule decides (`gapbench.judging`).
    - `shard` (`2/8`) measures only this worker's share of the run (`gapbench.runs.shards`).
    - `selfcheck` first tests the engine with images that gapbench draws (`gapbench.selfcheck`).

    `views` are names with parameters, such as `crop:factor=2` (`gapbench.views.kinds`), and groups (`standard`,
    `factorial`, `cures`). If some benchmarks have evidence, those without any are measured in the views that need none.

    Raises GapbenchError subclasses whose message names the setting or file and the remedy. Answers before an error stay
    in `out` and are not repeated.
    """
    from gapbench.commands.judge import add_verdicts
    from gapbench.engines import models
    from gapbench.judging.connection import connect

    generation, pixels = Generation(max_new_tokens, temperature, seed), Pixels(min_pixels, max_pixels)
    if repeats < 1:
        raise SettingError(f"--repeats {repeats}: expected at least 1.")
    settings = TaskSettings(
        parse_views(views), limit, region, protocol, Path(regions) if regions else None, temperature, seed
    )
    this_shard = shards.parse(shard) if shard else None
    choice = loading.choose(model, engine, options)
    preferred = models.benchmark_defaults(model, choice.engine)
    tasks, region_file = make_tasks(benchmarks, settings, preferred)
    for task in tasks:
        _check_samples(task)
    folder = default_folder(model, shard) if out is None else Path(out)
    command = command or f"gapbench.measure({model!r}, {benchmarks!r}, views={views!r}, out={str(folder)!r}, …)"
    with hold(folder, command):
        earlier = earlier_manifest(folder / FILE)
        tasks = named_as_in(earlier, tasks)
        if max_new_tokens is None and earlier.generation:
            generation = replace(generation, max_new_tokens=earlier.generation.max_new_tokens)
        mine = [_of_shard(task, this_shard) for task in tasks] if this_shard else tasks
        outcomes = _earlier_outcomes(folder)
        done = {key for key, outcome in outcomes.items() if not (retry_failed and outcome == "failed")}
        recorded = {key[:2] for key in outcomes}
        pending = [item for task in mine for item in pending_samples(task, repeats, done, recorded)]
        judge_identity = connect(judge).identity if judge else None  # an unfit judge is found before a model is loaded
        choice.announce(quiet)
        with closing(loading.load(model, choice, generation, pixels)) as loaded:
            thinking = str(loaded.info["generation"]["thinking"])
            if not quiet and thinking.startswith("cannot"):
                say(f"{model}: thinking {thinking}. Answers have up to {_longest(loaded):,} tokens (--max-new-tokens).")
            checked = check_first(loaded, quiet) if selfcheck and pending else None
            if checked and checked.thinks and generation.max_new_tokens is None and _longest(loaded) < THINKING_TOKENS:
                loaded.allow(THINKING_TOKENS)
                checked = check_first(loaded, quiet)
            fields = {
                **loaded.info,
                "tasks": {task.name: {**task.entry(), "repeats": repeats} for task in tasks},
                "protocol": protocol,
                "seeds": {"sampling": seed, "statistics": 0},
                "regions": region_file,
                "judge": judge_identity,
                "shard": shards.entry(this_shard, _counts(mine, repeats)) if this_shard else None,
                "selfcheck": checked.json() if checked else None,
                "sessions": [new_session(command, hardware(), {**loaded.info, "engine_choice": choice.reason}, shard)],
            }
            samples = {task.name: task.samples for task in tasks}
            manifest = continue_or_start(
                folder / FILE, folder / records.FILE, make_manifest(fields), samples, fingerprint
            )
            if retry_failed:
                records.drop_failed(folder)
            if done and not quiet:
                say(f"{len(done):,} answers kept, {sum(len(item.missing) for item in pending):,} to go")
            meter = ThroughputMeter(workload(mine, repeats, limit, this_shard.of if this_shard else 1, preferred))
            total = sum(len(task.samples) * len(task.views) * repeats for task in mine)
            missing = sum(len(item.missing) for item in pending)
            bar = progress(total, total - missing, model, quiet, about=meter.text)
            answer_pending(loaded, folder, manifest, pending, pixels, meter, bar, counter(loaded))
        if judge:
            add_verdicts(folder, judge, quiet, retry_failed)
        return write_results(folder, illustrate=partial(_illustrate, folder / "thumbnails", mine))


def _illustrate(folder: Path, tasks: Sequence[Task], shown: Sequence[tuple[str, str]]) -> None:
    """Store the images of the (task, sample) pairs that the report shows, and of no others."""
    keys = {pair: thumbnail_key(*pair) for pair in shown}
    for path in folder.glob("*.jpg"):
        if path.name.partition("-")[0] not in keys.values():
            path.unlink(missing_ok=True)
    samples = {(task.name, sample.id): (sample, task.region) for task in tasks for sample in task.samples}
    save_thumbnails(folder, {key: samples[pair] for pair, key in keys.items() if pair in samples})


def default_folder(model: str, shard: str = "") -> Path:
    """`runs/Qwen-Qwen3-VL-4B-Instruct`: where a run lies that was given no folder; each shard has one of its own."""
    return of_shard(Path("runs", run_name(model)), shard)


def of_shard(folder: Path, shard: str) -> Path:
    """The folder of a shard (`2/8`) of a run, or of the whole run."""
    return folder / f"shard-{shard.strip().replace('/', '-of-')}" if shard else folder


def run_name(model: str) -> str:
    """A folder's name for a model: the last two parts of its name, in characters that every file system takes."""
    return re.sub(r"[^\w.-]+", "-", short_name(model.rstrip("/"))).strip("-.") or "model"


def _longest(engine: Engine) -> int:
    """The longest answer, in tokens."""
    return int(engine.info["generation"]["max_new_tokens"])


def _check_samples(task: Task) -> None:
    """Raise BenchmarkError for a sample whose prompt cannot be written or whose answers no rule can score.

    So the error comes before a model is loaded.
    """
    for sample in task.samples:
        try:
            task.prompt(sample)
            score("", sample.answers, sample.answer_type, sample.options, sample.question)
        except BenchmarkError as error:
            raise BenchmarkError(f"{task.name}: sample {sample.id!r}: {error}") from error


def named_as_in(earlier: Manifest, tasks: Sequence[Task]) -> list[Task]:
    """The tasks, under the names that an earlier call's manifest has for them."""
    names = [earlier.task_name(task.benchmark.name, task.benchmark.parameters) for task in tasks]
    return [replace(task, name=name or task.name) for task, name in zip(tasks, names, strict=True)]


def _of_shard(task: Task, shard: shards.Shard) -> Task:
    """The task with the shard's samples alone."""
    numbers = shards.share(task.benchmark.name, task.groups, shard)
    return replace(task, samples=tuple(task.samples[number] for number in numbers))


def _counts(tasks: Sequence[Task], repeats: int) -> dict[str, dict[str, int]]:
    """For each task, how many samples and answers it has."""
    return {
        task.name: {"samples": len(task.samples), "answers": len(task.samples) * len(task.views) * repeats}
        for task in tasks
    }


def _earlier_outcomes(folder: Path) -> dict[records.RecordKey, str]:
    """The outcome of each record that the run already has, by its key. Raises RunError if a key lies twice."""
    outcomes: dict[records.RecordKey, str] = {}
    for record in records.read(folder) if (folder / records.FILE).exists() else ():
        key = records.key(record)
        if key in outcomes:
            raise RunError(
                f"{folder}: the answer to {' '.join(map(str, key))} lies twice in {records.FILE}. gapbench report "
                f"{folder} --repair keeps the first of each; then run the same command again."
            )
        outcomes[key] = record["outcome"]
    return outcomes


def pending_samples(
    task: Task, repeats: int, done: Set[records.RecordKey], recorded: Set[tuple[str, str]]
) -> list[Pending]:
    """The samples that lack an answer, each with its missing (view, repeat) pairs.

    `done` are the keys of answers that are not repeated. `recorded` are the (task, sample) pairs with any record; a
    sample without one is new.
    """
    pending = []
    for sample in task.samples:
        missing = tuple(
            (view, repeat)
            for repeat in range(repeats)
            for view in task.views
            if (task.name, sample.id, view.name, repeat) not in done
        )
        if missing:
            new = (task.name, sample.id) not in recorded
            pending.append(Pending(task.name, sample, task.region, task.prompt(sample), missing, new))
    return pending


def workload(
    tasks: Sequence[Task],
    repeats: int,
    limit: int | None,
    shards: int,
    preferred: Mapping[str, Mapping[str, Any]],
) -> Workload:
    """The workload of this worker, one of `shards`, if there were no `limit`. The tasks hold its samples with `limit`.

    A benchmark's full size is the number of samples on its card, which holds for its default parameters. The model's
    own preferences for them count as equal in size. For any other parameters the size is that of the task.
    """
    counts = {task.name: len(task.samples) for task in tasks}
    if limit is not None:
        for task in tasks:
            benchmark = task.benchmark
            if benchmark.parameters in ({}, preferred.get(benchmark.name)):
                in_full = benchmark.card.expected.get("samples", 0) // shards
                counts[task.name] = max(counts[task.name], in_full)
    view_counts = {len(task.views) for task in tasks}
    return Workload(
        sum(counts.values()),
        view_counts.pop() if len(view_counts) == 1 else None,
        sum(counts[task.name] * len(task.views) * repeats for task in tasks),
    )
