"""The main job: ask one model every question in every view, keep each answer, and say what the gap is.

    import gapbench
    run = gapbench.measure("glance", ["signs"], views=("full", "crop"), out="runs/glance")
    run.summary["benchmarks"]["signs"]["gap"]

A run is a folder. Records are appended as answers come, keyed by (benchmark, sample, view, repeat); the same call after
a kill skips what is there. `run.json` says what was asked, and a call that asks something else is refused instead of
mixed in. One sample that cannot be shown is recorded as `failed` with its reason and ends nothing.

How fast it went, and what the whole would take, is kept with each session (`gapbench.runs.throughput`).

Limits: one engine per process; answers to repeats of a greedy run differ only by numerical noise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack

from gapbench.commands.report import write_results
from gapbench.data import catalogue
from gapbench.data.benchmark import Benchmark, fingerprint, group_of
from gapbench.data.region_file import read_regions
from gapbench.engines import loading
from gapbench.engines.hardware import hardware
from gapbench.engines.loading import EngineOptions
from gapbench.errors import BenchmarkError, SettingError
from gapbench.judging import Judge
from gapbench.runs import records, shards
from gapbench.runs.manifest import continue_or_start, make_manifest, new_session
from gapbench.runs.run import Run
from gapbench.runs.session import ask, gallery_of
from gapbench.runs.throughput import Pace, Whole
from gapbench.scoring import score
from gapbench.selfcheck import check_first
from gapbench.types import Sample
from gapbench.views import regions as views
from gapbench.views.pixels import Pixels
from gapbench.views.prefetch import Pending
from gapbench.views.prompts import NEUTRAL, prompt, template_of


def measure(
    model: str,
    benchmarks: Sequence[str] | str,
    views: Sequence[str] = ("full", "crop"),
    out: str | Path = "runs/latest",
    *,
    engine: str = "transformers",
    limit: int | None = None,
    seed: int = 0,
    repeats: int = 1,
    region: str = "",
    regions: str | Path = "",
    protocol: str = NEUTRAL,
    shard: str = "",
    selfcheck: bool = True,
    retry_failed: bool = False,
    judge: Judge | None = None,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    quiet: bool = True,
    command: str = "",
    **options: Unpack[EngineOptions],
) -> Run:
    """Measure `model` (Hub id, folder or `glance`) on `benchmarks` (names, files, folders, Hub ids) and return the run.

    `limit` takes the first questions of each benchmark; `repeats` asks each of them so many times; `region` overrides
    every benchmark's own region policy; `regions` is a file of boxes that a model made (`gapbench locate`), which take
    the place of any others; `protocol` names how to ask (`gapbench benchmarks show`); pixel bounds are width x height.
    Beside benchmarks with evidence, one without any is measured in the full view alone.
    `engine` is transformers, vllm or server, and `options` are what that one takes (`gapbench.engines.loading`).
    `retry_failed` asks again what an engine or a judge did not answer in an earlier session; `judge` is asked about the
    answers that no rule decides (`gapbench.judging`).
    `shard` (`2/8`) asks this worker's share of the run alone (`gapbench.runs.shards`); `selfcheck` first asks the
    engine about images that we drew (`gapbench.selfcheck`).

    Raises GapbenchError subclasses whose message names the setting or file and the remedy. What was answered before an
    error stays in `out` and is not asked again.
    """
    from gapbench.commands.judge import judge_run
    from gapbench.engines import models
    from gapbench.judging.connection import connect

    pixels = Pixels(min_pixels, max_pixels)
    specs = [benchmarks] if isinstance(benchmarks, str) else list(benchmarks)
    _check_settings(views, limit, repeats, region)
    part = shards.parse(shard) if shard else None
    loading.check(model, engine, **options)
    wishes = models.benchmark_defaults(model, engine)
    chosen = catalogue.load_all(specs, wishes)
    templates = {b.name: template_of(b.card, protocol) for b in chosen}
    asked = {b.name: b.samples(limit) for b in chosen}
    located = read_regions(Path(regions)) if regions else None
    if located:
        asked = located.apply(asked)
    shown = _views_of(chosen, asked, templates, views, region)
    folder = Path(out)
    before = _before(folder)
    done = {key for key, outcome in before.items() if not (retry_failed and outcome == "failed")}
    mine = shards.share(asked, part, group_of) if part else asked
    todo = _todo(chosen, mine, shown, templates, region, repeats, done, before)
    judge_identity = connect(judge).identity if judge else None  # before any time is spent
    loaded = loading.load(
        model,
        engine,
        settings={"pixels": pixels, "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed},
        **options,
    )
    entries = {b.name: _entry(b, asked[b.name], region, templates[b.name], views, shown[b.name]) for b in chosen}
    manifest = make_manifest(
        loaded.info, entries, views, limit, repeats, seed, protocol, located.info if located else None
    )
    if part:
        manifest["shard"] = shards.entry(part, mine, shown, repeats)
    if judge_identity:
        manifest["judge"] = dict(judge_identity)
    if selfcheck and todo:
        manifest["selfcheck"] = check_first(loaded, quiet).json()
    typed = f"gapbench.measure({model!r}, {specs!r}, views={list(views)!r}, out={str(out)!r}, …)"
    manifest = continue_or_start(folder, manifest, asked, new_session(command or typed, hardware()), fingerprint)
    if retry_failed:
        records.drop_failed(folder)
    pace = Pace(whole(chosen, mine, shown, repeats, limit, part.of if part else 1, wishes))
    ask(loaded, folder, manifest, todo, gallery_of(asked), pixels, pace, len(done), quiet)
    if judge:
        judge_run(folder, judge, quiet, retry_failed)
    return write_results(folder)


def _check_settings(chosen: Sequence[str], limit: int | None, repeats: int, region: str) -> None:
    unknown = [v for v in chosen if v not in views.VIEWS]
    if unknown or not chosen or len(set(chosen)) < len(chosen):
        raise SettingError(
            f"--views {','.join(chosen)}: expected one or more of {', '.join(views.VIEWS)}, each once, with commas."
        )
    if limit is not None and limit < 1:
        raise SettingError(f"--limit {limit}: expected at least 1.")
    if repeats < 1:
        raise SettingError(f"--repeats {repeats}: expected at least 1.")
    if region:
        views.parse_policy(region)


def _views_of(
    chosen: Sequence[Benchmark],
    asked: Mapping[str, list[Sample]],
    templates: Mapping[str, str],
    wanted: Sequence[str],
    region: str,
) -> dict[str, list[str]]:
    """The views of each benchmark: one without any evidence, beside others that have it, is asked in `full` alone.

    Every prompt must be writable and every answer judgeable before a model is loaded. Raises BenchmarkError, also if
    evidence is needed and no benchmark has any.
    """
    shown: dict[str, list[str]] = {}
    lacking: dict[str, str] = {}
    for benchmark in chosen:
        samples = asked[benchmark.name]
        for sample in samples:
            try:
                prompt(sample, templates[benchmark.name])
                score("", sample.answers, sample.answer_type, sample.options, sample.question)
            except BenchmarkError as error:
                raise BenchmarkError(f"{benchmark.name}: sample {sample.id!r}: {error}") from error
        policy, _ = views.parse_policy(region or benchmark.card.region)
        native = policy == "native"
        shown[benchmark.name] = list(wanted)
        needing = sorted(views.NEEDS_REGION.intersection(wanted))
        if needing and not any(s.crop_image is not None if native else bool(s.boxes) for s in samples):
            remedy = (  # with boxes, they are a region file's, for a benchmark that else ships its crops
                "Pass --region padded, which cuts out the boxes that it has."
                if any(s.boxes for s in samples)
                else "Measure --views full, give boxes (`bbox`, `bboxes`), or let a model find regions "
                "(`gapbench locate`) and pass them with --regions."
            )
            lacking[benchmark.name] = (
                f"{benchmark.name}: none of its {len(samples)} samples has "
                f"{'a crop of its own' if native else 'an evidence box'}, so view {needing[0]!r} with region policy "
                f"{policy!r} cannot be shown. {remedy}"
            )
            shown[benchmark.name] = [v for v in wanted if v not in views.NEEDS_REGION]
    for name, message in lacking.items():
        if len(lacking) == len(chosen) or not shown[name]:
            raise BenchmarkError(message)
    return shown


def _entry(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    region: str,
    template: str,
    wanted: Sequence[str],
    shown: Sequence[str],
) -> dict[str, Any]:
    """What `run.json` keeps of a benchmark; `wanted` are the views of the run, `shown` its own."""
    card = json.loads(json.dumps(asdict(benchmark.card)))
    return {
        "parameters": dict(benchmark.parameters),
        "samples": len(samples),
        "fingerprint": fingerprint(samples),
        "region": region or benchmark.card.region,
        "prompt": prompt(samples[0], template),
        **({"local_copy": True} if benchmark.data else {}),
        **({"views": list(shown)} if list(shown) != list(wanted) else {}),
        "card": {key: value for key, value in card.items() if value not in ("", [], {})},
    }


def _before(folder: Path) -> dict[records.RecordKey, str]:
    """The keys of the records a run already has, with their outcomes."""
    if not (folder / records.FILE).exists():
        return {}
    return {records.key(row): row["outcome"] for row in records.read(folder)}


def _todo(
    chosen: Sequence[Benchmark],
    asked: Mapping[str, list[Sample]],
    shown: Mapping[str, Sequence[str]],
    templates: Mapping[str, str],
    region: str,
    repeats: int,
    done: set[records.RecordKey],
    before: Iterable[records.RecordKey],
) -> list[Pending]:
    """What still lacks answers: all that is not `done`; of what is in `before`, there were records."""
    todo, known = [], {(name, sample) for name, sample, *_ in before}
    for benchmark in chosen:
        for sample in asked[benchmark.name]:
            missing = tuple(
                (view, repeat)
                for repeat in range(repeats)
                for view in shown[benchmark.name]
                if (benchmark.name, sample.id, view, repeat) not in done
            )
            if missing:
                text = prompt(sample, templates[benchmark.name])
                policy, new = region or benchmark.card.region, (benchmark.name, sample.id) not in known
                todo.append(Pending(benchmark.name, sample, policy, text, missing, new))
    return todo


def whole(
    chosen: Sequence[Benchmark],
    asked: Mapping[str, Sequence[Sample]],
    shown: Mapping[str, Sequence[str]],
    repeats: int,
    limit: int | None,
    shards: int,
    wishes: Mapping[str, Mapping[str, Any]],
) -> Whole:
    """What this worker, one of `shards`, would ask without `limit`; `asked` are its samples with it.

    A card knows how many questions there are without parameters; a model's own `wishes` for them are taken to leave
    the number as it is. Where a user gave others, it is what is asked.
    """
    counts = {b.name: len(asked[b.name]) for b in chosen}
    if limit is not None:
        published = (b for b in chosen if b.parameters in ({}, wishes.get(b.name)))
        counts |= {b.name: max(counts[b.name], b.card.expected.get("samples", 0) // shards) for b in published}
    numbers = {len(shown[name]) for name in counts}
    return Whole(
        sum(counts.values()),
        numbers.pop() if len(numbers) == 1 else None,
        sum(count * len(shown[name]) * repeats for name, count in counts.items()),
    )
