"""Feeds an engine and writes down what it answers: from what is to be asked to `records.jsonl`.

    ask(engine, folder, manifest, questions, gallery_of(asked), pixels, Pace(...), done=0, quiet=False)

Records are appended as answers come, whatever their order. What a session learnt beside them (repairs, how fast it
went, an engine's troubles, what a server would not let us set) goes into `run.json` when it ends, by an error or an
interrupt too.

Limits: a session that is killed outright leaves its records and nothing else.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from gapbench.runs import records
from gapbench.runs.throughput import Pace
from gapbench.scoring import Score, score
from gapbench.types import Answer, Engine, Record, Request, Sample
from gapbench.util.files import replacing, write_json
from gapbench.util.interrupt import remember_interrupt
from gapbench.util.progress import progress
from gapbench.views import regions as views
from gapbench.views.pixels import Pixels
from gapbench.views.prefetch import Pending, prepared
from gapbench.views.prepare import PreparedSample

THUMBNAILS = 400
"""Samples per benchmark whose images are kept, small, for the report's gallery."""


def ask(
    engine: Engine,
    folder: Path,
    manifest: dict[str, Any],
    todo: Sequence[Pending],
    gallery: Mapping[tuple[str, str], str],
    pixels: Pixels,
    pace: Pace,
    done: int,
    quiet: bool,
) -> None:
    """Ask `todo` and append one record per answer, while a bar shows what is left; `done` were answered before.

    `manifest` is the run's, as written; what this session learnt is added to it. Raises what the engine raises.
    """
    cases: dict[tuple[str, str], tuple[PreparedSample, int]] = {}
    uncounted: dict[tuple[str, str], tuple[str, ...]] = {}
    repairs: Counter[str] = Counter()
    models: Counter[str] = Counter()
    (folder / "thumbnails").mkdir(exist_ok=True)

    def keep(question: Pending, case: PreparedSample) -> None:
        if key := gallery.get((question.benchmark, question.sample.id)):
            _keep_thumbnails(folder / "thumbnails", key, case)

    def requests() -> Iterator[Request]:
        with closing(prepared(todo, pixels, keep=keep)) as all_ready:
            for ready in all_ready:
                question, case = ready.question, ready.case
                which = question.benchmark, question.sample.id
                cases[which] = case.without_images(), len(question.missing)
                if question.new:  # repairs of any other were counted with its first answer
                    uncounted[which] = case.repairs
                shown = {one.view: one for one in ready.shown}
                for view, repeat in question.missing:
                    one = shown[view]
                    yield Request((*which, view, repeat), one.images, question.prompt, one.error, one.encoded)

    waited = _waited(engine)
    left = sum(len(question.missing) for question in todo)
    with (
        records.Writer(folder) as writer,
        progress(done + left, done, str(engine.info["model"]), quiet, about=pace.text) as advance,
        remember_interrupt() as check_interrupt,
    ):
        answers = engine.generate(requests())
        try:
            for key, answer in answers:
                assert isinstance(key, tuple)
                name, sample_id, view, repeat = key
                case, open_ = cases.pop((name, sample_id))
                writer.write(to_record(name, case, view, repeat, answer))
                if open_ > 1:
                    cases[name, sample_id] = case, open_ - 1
                repairs.update(f"{name}: {repair}" for repair in uncounted.pop((name, sample_id), ()))
                pace.count(answer)
                models[answer.model] += 1
                advance(answer.error, answer.output_tokens or 0)
                check_interrupt()
        finally:
            if isinstance(answers, Generator):  # now, not when the traceback is let go of, which a notebook keeps
                answers.close()
            if pace.answers:
                throughput = pace.json(None if waited is None else (_waited(engine) or 0.0) - waited)
                _note(folder, manifest, engine, throughput, repairs, models)
                if len(names := sorted(filter(None, models))) > 1 and not quiet:
                    print(f"gapbench: warning: the answers come from several models: {', '.join(names)} (as the server "
                          "says; run.json has how many from each). Their mean is that of none of them.",
                          file=sys.stderr, flush=True)  # fmt: skip


def _waited(engine: Engine) -> float | None:
    """Seconds for which the engine waited for images, in all its life; None where it does not say."""
    return getattr(engine, "waited", None)


def _note(
    folder: Path,
    manifest: dict[str, Any],
    engine: Engine,
    throughput: Mapping[str, Any],
    repairs: Counter[str],
    models: Mapping[str, int],
) -> None:
    """Add to `run.json` what this session learnt."""
    manifest["sessions"][-1]["throughput"] = throughput
    if trouble := getattr(engine, "trouble", None):
        manifest["sessions"][-1]["trouble"] = dict(trouble)
    if any(models):  # who servers say it was; they do not say it of what failed
        manifest["sessions"][-1]["answered_by"] = {name: models[name] for name in sorted(filter(None, models))}
    if repairs:
        before = manifest.get("repairs", {})
        manifest["repairs"] = {k: before.get(k, 0) + repairs[k] for k in sorted(repairs | Counter(before))}
    refused = {*manifest.get("server_defaults", ()), *engine.info.get("server_defaults", ())}
    if refused:
        manifest["server_defaults"] = sorted(refused)
    write_json(folder / "run.json", manifest)


def gallery_of(asked: Mapping[str, list[Sample]]) -> dict[tuple[str, str], str]:
    """Thumbnail keys of the samples whose images are kept: a fixed draw, the same for every model and resume."""
    from gapbench.runs.thumbnails import thumbnail_key

    drawn: dict[tuple[str, str], str] = {}
    for name, samples in asked.items():
        keys = sorted((thumbnail_key(name, s.id), s.id) for s in samples)
        drawn |= {(name, sample_id): key for key, sample_id in keys[:THUMBNAILS]}
    return drawn


def _keep_thumbnails(place: Path, key: str, case: PreparedSample) -> None:
    """Small images of a sample for the report's gallery: its first image, and all that `crop` shows in one.

    The first image comes last and at once, so that after a kill it stands for both. A gallery that lacks an image
    ends no run: a disk that is full is the records' to report.
    """
    from gapbench.runs.thumbnails import save_thumbnail

    last = place / f"{key}-full.jpg"
    if case.image is None or last.exists():
        return
    with suppress(OSError):
        if case.region is not None:
            save_thumbnail(views.mosaic(views.crop(case.images, case.region)), place / f"{key}-crop.jpg")
        with replacing(last) as draft:
            save_thumbnail(case.image, draft)


def to_record(benchmark: str, case: PreparedSample, view: str, repeat: int, answer: Answer) -> Record:
    """Score an answer by rule and write down all that statistics and reports will ask for."""
    sample = case.sample
    if answer.error:
        verdict = Score("failed", None, None, "", answer.error)
    else:
        verdict = score(answer.text, sample.answers, sample.answer_type, sample.options, sample.question)
    cut_off = "stopped at the limit of new tokens" if answer.truncated else ""
    return Record(
        benchmark=benchmark,
        sample=sample.id,
        view=view,
        repeat=repeat,
        outcome=verdict.outcome,
        score=verdict.score,
        output=answer.text,
        parsed=verdict.parsed,
        rule=verdict.rule,
        reason="; ".join(filter(None, (verdict.reason, cut_off))),
        question=sample.question,
        options=sample.options,
        answers=sample.answers,
        answer_type=sample.answer_type,
        category=sample.category,
        cluster=sample.cluster,
        image_hash=case.image_hash,
        image_size=case.size,
        boxes=case.boxes,
        evidence=sample.evidence if case.boxes or sample.crop_image is not None else "",
        evidence_area=case.evidence_area,
        region_policy=case.policy,
        region=case.region.box if case.region else None,
        region_area=case.region_area,
        images=answer.images,
        sent_size=answer.sent_size,
        sent_pixels=answer.sent_pixels,
        image_tokens=answer.image_tokens,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        seconds=answer.seconds,
    )
