"""Measures one model: asks it about every sample in every view, keeps each answer, and computes the gap.

    import gapbench
    run = gapbench.measure("glance", ["signs"], views=("full", "crop"), out="runs/glance")
    run.summary["benchmarks"]["signs"]["gap"]

A run is a folder. Each answer is appended as a record with the key (benchmark, sample, view, repeat). After a kill, the
same call continues and skips the records that exist. The manifest (`run.json`) holds the settings, samples and prompts;
a call that differs from them is refused, so a run never mixes two. A sample that cannot be shown gets a `failed` record
with the reason, and the run goes on.

Each session keeps its throughput and the time that the full workload would take (`gapbench.runs.throughput`).

Limits: one engine per process. Answers to repeats of a greedy run differ only by numerical noise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gapbench.commands.report import write_results
from gapbench.data import catalogue
from gapbench.data.benchmark import Benchmark, fingerprint, group_of
from gapbench.data.region_file import read_regions
from gapbench.engines import loading
from gapbench.engines.hardware import hardware
from gapbench.engines.options import Generation
from gapbench.errors import BenchmarkError, SettingError
from gapbench.judging import Judge
from gapbench.runs import records, shards
from gapbench.runs.manifest import continue_or_start, make_manifest, new_session
from gapbench.runs.run import Run
from gapbench.runs.session import gallery_of, run_loop
from gapbench.runs.throughput import ThroughputMeter, Workload
from gapbench.scoring import score
from gapbench.selfcheck import check_first
from gapbench.types import Sample
from gapbench.views.pixels import Pixels
from gapbench.views.prefetch import Pending
from gapbench.views.prompts import NEUTRAL, prompt, template_of
from gapbench.views.regions import NEEDS_REGION, VIEWS, parse_policy


def measure(
    model: str,
    benchmarks: Sequence[str] | str,
    views: Sequence[str] = ("full", "crop"),
    out: str | Path = "runs/latest",
    *,
    engine: str = "auto",
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
    **options: Any,
) -> Run:
    """Measure `model` (Hub id, folder or `glance`) on `benchmarks` (names, files, folders, Hub ids) and return the run.

    - `limit` takes the first samples of each benchmark; `repeats` is the number of answers per sample and view.
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

    If some benchmarks have evidence, those without any are measured in the full view alone.

    Raises GapbenchError subclasses whose message names the setting or file and the remedy. Answers before an error stay
    in `out` and are not repeated.
    """
    from gapbench.commands.judge import judge_run
    from gapbench.engines import models
    from gapbench.judging.connection import connect

    generation, pixels = Generation(max_new_tokens, temperature, seed), Pixels(min_pixels, max_pixels)
    specs = [benchmarks] if isinstance(benchmarks, str) else list(benchmarks)
    _check_settings(views, limit, repeats, region)
    this_shard = shards.parse(shard) if shard else None
    choice = loading.choose(model, engine, options)
    model_defaults = models.benchmark_defaults(model, choice.engine)
    loaded_benchmarks = catalogue.load_all(specs, model_defaults)
    templates = {b.name: template_of(b.card, protocol) for b in loaded_benchmarks}
    samples = {b.name: b.samples(limit) for b in loaded_benchmarks}
    region_file = read_regions(Path(regions)) if regions else None
    if region_file:
        samples = region_file.apply(samples)
    views_of = _choose_views(loaded_benchmarks, samples, templates, views, region)
    folder = Path(out)
    earlier = _earlier_outcomes(folder)
    done = {key for key, outcome in earlier.items() if not (retry_failed and outcome == "failed")}
    samples_of_shard = shards.share(samples, this_shard, group_of) if this_shard else samples
    pending = _pending_samples(loaded_benchmarks, samples_of_shard, views_of, templates, region, repeats, done, earlier)
    judge_identity = connect(judge).identity if judge else None  # an unfit judge is found before a model is loaded
    loaded = loading.load(model, choice, generation, pixels)
    entries = {
        b.name: _manifest_entry(b, samples[b.name], region, templates[b.name], views, views_of[b.name])
        for b in loaded_benchmarks
    }
    manifest = make_manifest(
        loaded.info, entries, views, limit, repeats, seed, protocol, region_file.info if region_file else None
    )
    if this_shard:
        manifest["shard"] = shards.entry(this_shard, samples_of_shard, views_of, repeats)
    if judge_identity:
        manifest["judge"] = dict(judge_identity)
    if selfcheck and pending:
        manifest["selfcheck"] = check_first(loaded, quiet).json()
    python_call = f"gapbench.measure({model!r}, {specs!r}, views={list(views)!r}, out={str(out)!r}, …)"
    session = new_session(command or python_call, hardware())
    manifest = continue_or_start(folder, manifest, samples, session, fingerprint)
    if retry_failed:
        records.drop_failed(folder)
    throughput = ThroughputMeter(
        workload(
            loaded_benchmarks,
            samples_of_shard,
            views_of,
            repeats,
            limit,
            this_shard.of if this_shard else 1,
            model_defaults,
        )
    )
    run_loop(loaded, folder, manifest, pending, gallery_of(samples), pixels, throughput, len(done), quiet)
    if judge:
        judge_run(folder, judge, quiet, retry_failed)
    return write_results(folder)


def _check_settings(views: Sequence[str], limit: int | None, repeats: int, region: str) -> None:
    unknown = [v for v in views if v not in VIEWS]
    if unknown or not views or len(set(views)) < len(views):
        raise SettingError(
            f"--views {','.join(views)}: expected one or more of {', '.join(VIEWS)}, each once, with commas."
        )
    if limit is not None and limit < 1:
        raise SettingError(f"--limit {limit}: expected at least 1.")
    if repeats < 1:
        raise SettingError(f"--repeats {repeats}: expected at least 1.")
    if region:
        parse_policy(region)


def _choose_views(
    benchmarks: Sequence[Benchmark],
    samples: Mapping[str, list[Sample]],
    templates: Mapping[str, str],
    run_views: Sequence[str],
    region: str,
) -> dict[str, list[str]]:
    """The views of each benchmark. If some benchmarks have evidence, those without any get `full` alone.

    Raises BenchmarkError for a sample whose prompt cannot be written or whose answers no rule can score, so that the
    error comes before a model is loaded; and if a view needs evidence and no benchmark has any.
    """
    views_of: dict[str, list[str]] = {}
    messages: dict[str, str] = {}
    for benchmark in benchmarks:
        of_benchmark = samples[benchmark.name]
        for sample in of_benchmark:
            try:
                prompt(sample, templates[benchmark.name])
                score("", sample.answers, sample.answer_type, sample.options, sample.question)
            except BenchmarkError as error:
                raise BenchmarkError(f"{benchmark.name}: sample {sample.id!r}: {error}") from error
        policy, _ = parse_policy(region or benchmark.card.region)
        native = policy == "native"
        views_of[benchmark.name] = list(run_views)
        region_views = sorted(NEEDS_REGION.intersection(run_views))
        if region_views and not any(s.crop_image is not None if native else bool(s.boxes) for s in of_benchmark):
            remedy = (  # a benchmark that ships its crops has boxes only from a region file
                "Pass --region padded, which cuts out the boxes that it has."
                if any(s.boxes for s in of_benchmark)
                else "Measure --views full, give boxes (`bbox`, `bboxes`), or let a model find regions "
                "(`gapbench locate`) and pass them with --regions."
            )
            messages[benchmark.name] = (
                f"{benchmark.name}: none of its {len(of_benchmark)} samples has "
                f"{'a crop of its own' if native else 'an evidence box'}, so view {region_views[0]!r} with region "
                f"policy {policy!r} cannot be shown. {remedy}"
            )
            views_of[benchmark.name] = [v for v in run_views if v not in NEEDS_REGION]
    for name, message in messages.items():
        if len(messages) == len(benchmarks) or not views_of[name]:
            raise BenchmarkError(message)
    return views_of


def _manifest_entry(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    region: str,
    template: str,
    run_views: Sequence[str],
    views: Sequence[str],
) -> dict[str, Any]:
    """The benchmark's entry in the manifest. `run_views` are the views of the run, `views` those of this benchmark."""
    card = json.loads(json.dumps(asdict(benchmark.card)))
    return {
        "parameters": dict(benchmark.parameters),
        "samples": len(samples),
        "fingerprint": fingerprint(samples),
        "region": region or benchmark.card.region,
        "prompt": prompt(samples[0], template),
        **({"local_copy": True} if benchmark.data else {}),
        **({"views": list(views)} if list(views) != list(run_views) else {}),
        "card": {key: value for key, value in card.items() if value not in ("", [], {})},
    }


def _earlier_outcomes(folder: Path) -> dict[records.RecordKey, str]:
    """The outcome of each record that the run already has, by its key."""
    if not (folder / records.FILE).exists():
        return {}
    return {records.key(record): record["outcome"] for record in records.read(folder)}


def _pending_samples(
    benchmarks: Sequence[Benchmark],
    samples: Mapping[str, list[Sample]],
    views_of: Mapping[str, Sequence[str]],
    templates: Mapping[str, str],
    region: str,
    repeats: int,
    done: set[records.RecordKey],
    earlier: Iterable[records.RecordKey],
) -> list[Pending]:
    """The samples that lack an answer, each with its missing (view, repeat) pairs.

    `done` are the keys of answers that are not repeated. `earlier` are the keys of all records of the run; a sample
    without any is new.
    """
    pending, recorded = [], {(name, sample_id) for name, sample_id, *_ in earlier}
    for benchmark in benchmarks:
        for sample in samples[benchmark.name]:
            missing = tuple(
                (view, repeat)
                for repeat in range(repeats)
                for view in views_of[benchmark.name]
                if (benchmark.name, sample.id, view, repeat) not in done
            )
            if missing:
                text = prompt(sample, templates[benchmark.name])
                policy, new = region or benchmark.card.region, (benchmark.name, sample.id) not in recorded
                pending.append(Pending(benchmark.name, sample, policy, text, missing, new))
    return pending


def workload(
    benchmarks: Sequence[Benchmark],
    samples: Mapping[str, Sequence[Sample]],
    views_of: Mapping[str, Sequence[str]],
    repeats: int,
    limit: int | None,
    shards: int,
    model_defaults: Mapping[str, Mapping[str, Any]],
) -> Workload:
    """The workload of this worker, one of `shards`, if there were no `limit`. `samples` are its samples with `limit`.

    A benchmark's full size is the number of samples on its card, which holds for its default parameters. The model's
    own defaults for them count as equal in size. For any other parameters the size is the number in `samples`.
    """
    counts = {b.name: len(samples[b.name]) for b in benchmarks}
    if limit is not None:
        in_card_size = (b for b in benchmarks if b.parameters in ({}, model_defaults.get(b.name)))
        counts |= {b.name: max(counts[b.name], b.card.expected.get("samples", 0) // shards) for b in in_card_size}
    view_counts = {len(views_of[name]) for name in counts}
    return Workload(
        sum(counts.values()),
        view_counts.pop() if len(view_counts) == 1 else None,
        sum(count * len(views_of[name]) * repeats for name, count in counts.items()),
    )
