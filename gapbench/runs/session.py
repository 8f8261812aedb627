"""The run loop of a session: feeds pending samples to an engine and appends its answers to `records.jsonl`.

    meter = ThroughputMeter(Workload(samples=191, views=2, answers=382))
    run_loop(engine, folder, manifest, pending, gallery_of(samples_by_benchmark), pixels, meter, done=0, quiet=False)

Records are appended as answers come, in any order. When the session ends, even by an error or an interrupt, it adds to
the manifest: its throughput, its repairs, the engine's trouble, and the settings that a server does not accept.

Limits: a session that is killed leaves its records and nothing else.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from gapbench.runs import records
from gapbench.runs.throughput import ThroughputMeter
from gapbench.scoring import Score, score
from gapbench.types import Answer, Engine, Record, Request, Sample
from gapbench.util.files import replacing, write_json
from gapbench.util.interrupt import remember_interrupt
from gapbench.util.progress import progress
from gapbench.views import regions
from gapbench.views.pixels import Pixels
from gapbench.views.prefetch import Pending, prepared
from gapbench.views.prepare import PreparedSample

THUMBNAILS = 400
"""Samples per benchmark with thumbnails for the report's gallery."""


def run_loop(
    engine: Engine,
    folder: Path,
    manifest: dict[str, Any],
    pending: Sequence[Pending],
    gallery: Mapping[tuple[str, str], str],
    pixels: Pixels,
    meter: ThroughputMeter,
    done: int,
    quiet: bool,
) -> None:
    """Have the engine answer all pending samples and append one record per answer, under a progress bar.

    `manifest` is the one in the run's folder; the session's results are added to it. `gallery` is from `gallery_of`.
    `done` is the number of records that earlier sessions wrote. Raises what the engine raises.
    """
    in_flight: dict[tuple[str, str], tuple[PreparedSample, int]] = {}  # with the number of answers still to come
    uncounted_repairs: dict[tuple[str, str], tuple[str, ...]] = {}
    repairs: Counter[str] = Counter()
    models: Counter[str] = Counter()
    (folder / "thumbnails").mkdir(exist_ok=True)

    def keep(item: Pending, sample: PreparedSample) -> None:
        if thumbnail := gallery.get((item.benchmark, item.sample.id)):
            _save_thumbnails(folder / "thumbnails", thumbnail, sample)

    def requests() -> Iterator[Request]:
        with closing(prepared(pending, pixels, keep=keep)) as prefetched:
            for ready in prefetched:
                item, sample = ready.pending, ready.sample
                sample_key = item.benchmark, item.sample.id
                in_flight[sample_key] = sample.without_images(), len(item.missing)
                if item.new:  # an earlier session counted the repairs of the others
                    uncounted_repairs[sample_key] = sample.repairs
                views = {view.view: view for view in ready.views}
                for name, repeat in item.missing:
                    view = views[name]
                    yield Request((*sample_key, name, repeat), view.images, item.prompt, view.error, view.encoded)

    waited_before = _waited(engine)
    remaining = sum(len(item.missing) for item in pending)
    with (
        records.Writer(folder) as writer,
        progress(done + remaining, done, str(engine.info["model"]), quiet, about=meter.text) as advance,
        remember_interrupt() as check_interrupt,
    ):
        answers = engine.generate(requests())
        try:
            for key, answer in answers:
                assert isinstance(key, tuple)
                benchmark, sample_id, view_name, repeat = key
                sample, missing = in_flight.pop((benchmark, sample_id))
                writer.write(to_record(benchmark, sample, view_name, repeat, answer))
                if missing > 1:
                    in_flight[benchmark, sample_id] = sample, missing - 1
                repairs.update(f"{benchmark}: {repair}" for repair in uncounted_repairs.pop((benchmark, sample_id), ()))
                meter.count(answer)
                models[answer.model] += 1
                advance(answer.error, answer.output_tokens or 0)
                check_interrupt()
        finally:
            if isinstance(answers, Generator):  # a notebook keeps the traceback, which would keep it open
                answers.close()
            if meter.answers:
                throughput = meter.json(None if waited_before is None else (_waited(engine) or 0.0) - waited_before)
                _update_manifest(folder, manifest, engine, throughput, repairs, models)
                if len(names := sorted(filter(None, models))) > 1 and not quiet:
                    print(f"gapbench: warning: the answers come from several models: {', '.join(names)} (as the server "
                          "reports; run.json has the number of answers from each). Their mean describes none of them.",
                          file=sys.stderr, flush=True)  # fmt: skip


def _waited(engine: Engine) -> float | None:
    """Seconds that the engine has waited for requests since it was loaded; None if it does not measure them."""
    return getattr(engine, "waited", None)


def _update_manifest(
    folder: Path,
    manifest: dict[str, Any],
    engine: Engine,
    throughput: Mapping[str, Any],
    repairs: Counter[str],
    models: Mapping[str, int],
) -> None:
    """Add the session's results to the manifest and write it."""
    manifest["sessions"][-1]["throughput"] = throughput
    if trouble := getattr(engine, "trouble", None):
        manifest["sessions"][-1]["trouble"] = dict(trouble)
    if any(models):  # failed answers, and all answers of other engines, have no model name
        manifest["sessions"][-1]["answered_by"] = {name: models[name] for name in sorted(filter(None, models))}
    if repairs:
        earlier = manifest.get("repairs", {})
        manifest["repairs"] = {key: earlier.get(key, 0) + repairs[key] for key in sorted(repairs | Counter(earlier))}
    server_defaults = {*manifest.get("server_defaults", ()), *engine.info.get("server_defaults", ())}
    if server_defaults:
        manifest["server_defaults"] = sorted(server_defaults)
    write_json(folder / "run.json", manifest)


def gallery_of(samples_by_benchmark: Mapping[str, list[Sample]]) -> dict[tuple[str, str], str]:
    """(benchmark, sample id) -> thumbnail key, for the samples of the report's gallery.

    The draw depends only on names and ids, so it is the same for every model and after every resume.
    """
    from gapbench.runs.thumbnails import thumbnail_key

    drawn: dict[tuple[str, str], str] = {}
    for name, samples in samples_by_benchmark.items():
        keys = sorted((thumbnail_key(name, s.id), s.id) for s in samples)
        drawn |= {(name, sample_id): key for key, sample_id in keys[:THUMBNAILS]}
    return drawn


def _save_thumbnails(folder: Path, key: str, sample: PreparedSample) -> None:
    """Save a sample's first image, and its crops side by side, for the report's gallery.

    The first image is written last and replaces its file in one step, so its presence shows that both were saved. An
    OSError is ignored: a missing thumbnail must not end a run, and a full disk is reported when the record is written.
    """
    from gapbench.runs.thumbnails import save_thumbnail

    first_image = folder / f"{key}-full.jpg"
    if sample.image is None or first_image.exists():
        return
    with suppress(OSError):
        if sample.region is not None:
            save_thumbnail(regions.mosaic(regions.crop(sample.images, sample.region)), folder / f"{key}-crop.jpg")
        with replacing(first_image) as draft:
            save_thumbnail(sample.image, draft)


def to_record(benchmark: str, prepared_sample: PreparedSample, view: str, repeat: int, answer: Answer) -> Record:
    """Score an answer by rule and return its record."""
    sample = prepared_sample.sample
    if answer.error:
        scored = Score("failed", None, None, "", answer.error)
    else:
        scored = score(answer.text, sample.answers, sample.answer_type, sample.options, sample.question)
    truncation = "stopped at the limit of new tokens" if answer.truncated else ""
    return Record(
        benchmark=benchmark,
        sample=sample.id,
        view=view,
        repeat=repeat,
        outcome=scored.outcome,
        score=scored.score,
        output=answer.text,
        parsed=scored.parsed,
        rule=scored.rule,
        reason="; ".join(filter(None, (scored.reason, truncation))),
        question=sample.question,
        options=sample.options,
        answers=sample.answers,
        answer_type=sample.answer_type,
        category=sample.category,
        cluster=sample.cluster,
        image_hash=prepared_sample.image_hash,
        image_size=prepared_sample.size,
        boxes=prepared_sample.boxes,
        evidence=sample.evidence if prepared_sample.boxes or sample.crop_image is not None else "",
        evidence_area=prepared_sample.evidence_area,
        region_policy=prepared_sample.policy,
        region=prepared_sample.region.box if prepared_sample.region else None,
        region_area=prepared_sample.region_area,
        images=answer.images,
        sent_size=answer.sent_size,
        sent_pixels=answer.sent_pixels,
        image_tokens=answer.image_tokens,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        seconds=answer.seconds,
    )
