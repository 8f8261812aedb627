"""The main job: ask one model every question in every view, keep each answer, and say what the gap is.

    import gapbench
    run = gapbench.measure("glance", ["signs"], views=("full", "crop"), out="runs/glance")
    run.summary["benchmarks"]["signs"]["gap"]

A run is a folder. Records are appended as answers come, keyed by (benchmark, sample, view, repeat); the same call after
a kill skips what is there. `run.json` says what was asked, and a call that asks something else is refused instead of
mixed in. One sample that cannot be shown is recorded as `failed` with its reason and ends nothing.

Limits: one engine per process; answers to repeats of a greedy run differ only by numerical noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gapbench import catalogue, records, shards, views
from gapbench.benchmark import Benchmark
from gapbench.cases import Case, judge, prepare, show
from gapbench.engines import Engine, Request
from gapbench.engines.selfcheck import check_first
from gapbench.errors import BenchmarkError, SettingError
from gapbench.files import write_json
from gapbench.interrupt import remember_interrupt
from gapbench.plan import continue_or_start, make_plan
from gapbench.progress import progress
from gapbench.prompts import NEUTRAL, prompt, template_of
from gapbench.regions import read_regions
from gapbench.run import Run, write_results
from gapbench.scoring import score
from gapbench.types import Sample

THUMBNAILS = 400
"""Samples per benchmark whose pictures are kept, small, for the report's gallery."""


def measure(
    model: str,
    benchmarks: Sequence[str] | str,
    views: Sequence[str] = ("full", "crop"),
    out: str | Path = "runs/latest",
    *,
    limit: int | None = None,
    seed: int = 0,
    repeats: int = 1,
    region: str = "",
    regions: str | Path = "",
    protocol: str = NEUTRAL,
    shard: str = "",
    selfcheck: bool = True,
    batch_size: int | None = None,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    chat_template: Path | None = None,
    attn_implementation: str | None = None,
    processor_kwargs: Mapping[str, Any] | None = None,
    quiet: bool = True,
    command: str = "",
) -> Run:
    """Measure `model` (Hub id, folder or `glance`) on `benchmarks` (names, files, folders, Hub ids) and return the run.

    `limit` takes the first questions of each benchmark; `repeats` asks each of them so many times; `region` overrides
    every benchmark's own region policy; `regions` is a file of boxes that a model made (`gapbench locate`), which take
    the place of any others; `protocol` names how to ask (`gapbench benchmarks show`); pixel bounds are width x height.
    Beside benchmarks with evidence, one without any is measured in the full view alone. `batch_size` None is automatic.
    `shard` (`2/8`) asks this worker's share of the run alone (`gapbench.shards`); `selfcheck` first asks the engine
    about pictures that we drew (`gapbench.engines.selfcheck`).

    Raises GapbenchError subclasses whose message names the setting or file and the remedy. What was answered before an
    error stays in `out` and is not asked again.
    """
    from gapbench import models
    from gapbench.engines import transformers
    from gapbench.pixels import Pixels

    specs = [benchmarks] if isinstance(benchmarks, str) else list(benchmarks)
    _check_settings(views, limit, repeats, region)
    part = shards.parse(shard) if shard else None
    chosen = catalogue.load_all(specs, models.benchmark_defaults(model))
    templates = {b.name: template_of(b.card, protocol) for b in chosen}
    asked = {b.name: b.samples(limit) for b in chosen}
    located = read_regions(Path(regions)) if regions else None
    if located:
        asked = located.apply(asked)
    shown = _views_of(chosen, asked, templates, views, region)
    folder = Path(out)
    done = _done(folder)
    mine = shards.share(asked, part) if part else asked
    todo = _todo(chosen, mine, shown, repeats, done)
    engine = transformers.load(
        model,
        dtype=dtype,
        device=device,
        revision=revision,
        trust_remote_code=trust_remote_code,
        chat_template=chat_template,
        attn_implementation=attn_implementation,
        pixels=Pixels(min_pixels, max_pixels),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        batch_size=batch_size,
        seed=seed,
        processor_kwargs=processor_kwargs,
    )
    plan = make_plan(engine, chosen, asked, views, region, limit, repeats, seed, protocol, located, shown)
    if part:
        plan["shard"] = shards.entry(part, mine, shown, repeats)
    if selfcheck and todo:
        plan["selfcheck"] = check_first(engine, quiet).json()
    plan = continue_or_start(
        folder,
        plan,
        asked,
        command or f"gapbench.measure({model!r}, {specs!r}, views={list(views)!r}, out={str(out)!r}, …)",
    )
    _ask(engine, folder, plan, todo, asked, len(done), quiet)
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


def _done(folder: Path) -> set[records.Key]:
    """The keys of the records a run already has."""
    return {records.key(row) for row in records.read(folder)} if (folder / records.FILE).exists() else set()


def _todo(
    chosen: Sequence[Benchmark],
    asked: Mapping[str, list[Sample]],
    shown: Mapping[str, Sequence[str]],
    repeats: int,
    done: set[records.Key],
) -> list[tuple[Benchmark, Sample, list[tuple[str, int]]]]:
    """Samples that still lack answers, each with its missing (view, repeat) pairs."""
    todo = []
    for benchmark in chosen:
        for sample in asked[benchmark.name]:
            missing = [
                (view, repeat)
                for repeat in range(repeats)
                for view in shown[benchmark.name]
                if (benchmark.name, sample.id, view, repeat) not in done
            ]
            if missing:
                todo.append((benchmark, sample, missing))
    return todo


def _ask(
    engine: Engine,
    folder: Path,
    plan: dict[str, Any],
    todo: Sequence[tuple[Benchmark, Sample, list[tuple[str, int]]]],
    asked: Mapping[str, list[Sample]],
    done: int,
    quiet: bool,
) -> None:
    """Feed the engine and write what it answers, one record per line, while a bar shows what is left."""
    cases: dict[tuple[str, str], tuple[Case, int]] = {}
    repairs: Counter[str] = Counter()
    gallery = _shown_in_gallery(asked)
    (folder / "thumbnails").mkdir(exist_ok=True)

    def requests() -> Iterator[Request]:
        case: Case | None = None
        for benchmark, sample, missing in todo:
            case = prepare(sample, plan["benchmarks"][benchmark.name]["region"], case)
            repairs.update(f"{benchmark.name}: {r}" for r in case.repairs)
            if (benchmark.name, sample.id) in gallery:
                _keep_thumbnails(folder / "thumbnails", gallery[benchmark.name, sample.id], case)
            cases[benchmark.name, sample.id] = case, len(missing)
            text = prompt(sample, template_of(benchmark.card, plan["protocol"]))
            for view, repeat in missing:
                pictures, error = show(case, view)
                yield Request((benchmark.name, sample.id, view, repeat), pictures, text, error)

    left = sum(len(missing) for _, _, missing in todo)
    with (
        records.Writer(folder) as writer,
        progress(done + left, done, str(engine.info["model"]), quiet) as advance,
        remember_interrupt() as check_interrupt,
    ):
        for key, answer in engine.generate(requests()):
            assert isinstance(key, tuple)
            name, sample_id, view, repeat = key
            case, open_ = cases.pop((name, sample_id))
            writer.write(judge(name, case, view, repeat, answer))
            if open_ > 1:  # else let go of the picture: one of 8K is 100 MB
                cases[name, sample_id] = case, open_ - 1
            advance(answer.error)
            check_interrupt()
    if repairs:
        before = plan.get("repairs", {})
        plan["repairs"] = {k: before.get(k, 0) + repairs[k] for k in sorted(repairs | Counter(before))}
        write_json(folder / "run.json", plan)


def _keep_thumbnails(place: Path, key: str, case: Case) -> None:
    """Small pictures of a sample for the report's gallery: its first picture, and all that `crop` shows in one."""
    from gapbench.report.thumbnails import save_thumbnail

    if case.image is None or (place / f"{key}-full.jpg").exists():
        return
    save_thumbnail(case.image, place / f"{key}-full.jpg")
    if case.region is not None:
        save_thumbnail(views.mosaic(views.crop(case.pictures, case.region)), place / f"{key}-crop.jpg")


def _shown_in_gallery(asked: Mapping[str, list[Sample]]) -> dict[tuple[str, str], str]:
    """Thumbnail keys of the samples whose pictures are kept: a fixed draw, the same for every model and resume."""
    from gapbench.report.thumbnails import thumbnail_key

    drawn: dict[tuple[str, str], str] = {}
    for name, samples in asked.items():
        keys = sorted((thumbnail_key(name, s.id), s.id) for s in samples)
        drawn |= {(name, sample_id): key for key, sample_id in keys[:THUMBNAILS]}
    return drawn
