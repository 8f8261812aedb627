"""A session: one process that adds answers to a run. Here is the run loop that all commands share.

    run_loop(engine.generate(requests), write, progress(total, done, "glance", quiet=False))
    answer_pending(engine, folder, manifest, pending, pixels, meter, bar)

Records are appended as answers come, in any order. When the session ends, even by an error or an interrupt, it adds to
the manifest: its throughput, its repairs, the engine's trouble, and the settings that a server does not accept.

Limits: a session that is killed leaves its records and nothing else.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from gapbench.errors import SampleError
from gapbench.runs import records
from gapbench.runs.manifest import FILE, Manifest, write_manifest
from gapbench.runs.throughput import ThroughputMeter
from gapbench.scoring import THOUGHT_CUT_OFF, Score, score, unparsed
from gapbench.types import NO_BOX, TOO_LONG, Answer, Box, Engine, Record, Request
from gapbench.util.interrupt import remember_interrupt
from gapbench.util.progress import Advance
from gapbench.views.boxes import normalise
from gapbench.views.pixels import Pixels, TokenCount, not_counted
from gapbench.views.prefetch import Pending, PreparedView, prepared
from gapbench.views.prepare import PreparedSample

Answered = TypeVar("Answered")


def run_loop(
    replies: Iterator[tuple[Hashable, Answered]],
    write: Callable[[Any, Answered], tuple[str, int]],
    bar: AbstractContextManager[Advance],
) -> None:
    """Write each reply as it comes and count it in the progress `bar`.

    `write` gets the key of the request and the reply, and returns the error, or "", and the number of new tokens. After
    an error or an interrupt, `replies` is closed. Raises what `replies` and `write` raise, and KeyboardInterrupt.
    """
    with bar as advance, remember_interrupt() as check_interrupt:
        try:
            for key, reply in replies:
                advance(*write(key, reply))
                check_interrupt()
        finally:
            if isinstance(replies, Generator):  # a notebook keeps the traceback, which would keep it open
                replies.close()


def answer_pending(
    engine: Engine,
    folder: Path,
    manifest: Manifest,
    pending: Sequence[Pending],
    pixels: Pixels,
    meter: ThroughputMeter,
    bar: AbstractContextManager[Advance],
    tokens: TokenCount = not_counted,
) -> None:
    """Have the engine answer all pending samples, and append one record per answer.

    `manifest` is the one in the run's folder; the session's results are added to it. `tokens` counts what the model
    makes of an image. Raises what the engine raises.
    """
    in_flight: dict[tuple[str, str, str], tuple[PreparedView, int]] = {}  # with the number of answers still to come
    uncounted_repairs: dict[tuple[str, str], tuple[str, ...]] = {}
    repairs: Counter[str] = Counter()
    models: Counter[str] = Counter()

    def requests() -> Iterator[Request]:
        with closing(prepared(pending, pixels, tokens=tokens)) as prefetched:
            for ready in prefetched:
                item = ready.pending
                if item.new:  # an earlier session counted the repairs of the others
                    uncounted_repairs[item.task, item.sample.id] = ready.sample.repairs
                views = {view.view.name: view for view in ready.views}
                missing = Counter(view.name for view, _ in item.missing)
                for name, view in views.items():
                    in_flight[item.task, item.sample.id, name] = view.without_images(), missing[name]
                for asked, repeat in item.missing:
                    view = views[asked.name]
                    key = item.task, item.sample.id, asked.name, repeat
                    yield Request(key, view.images, view.prompt, view.error, view.encoded)

    waited_before = engine.waited
    with records.Writer(folder) as writer:

        def write(key: records.RecordKey, answer: Answer) -> tuple[str, int]:
            task, sample_id, view, repeat = key
            shown, missing = in_flight.pop((task, sample_id, view))
            on_evidence = evidence_tokens(shown, answer, tokens)
            record = to_record(task, shown.sample, view, repeat, answer, on_evidence)
            writer.write(record)
            if missing > 1:
                in_flight[task, sample_id, view] = shown, missing - 1
            repairs.update(f"{task}: {repair}" for repair in uncounted_repairs.pop((task, sample_id), ()))
            meter.count(answer)
            models[answer.model] += 1
            return "" if record.rule == NO_BOX else answer.error, answer.output_tokens or 0

        try:
            run_loop(engine.generate(requests()), write, bar)
        finally:
            if meter.answers and writer.in_place:  # else the folder is gone, or is another run's now
                waited = None if waited_before is None else (engine.waited or 0.0) - waited_before
                _update_manifest(folder, manifest, engine, meter.json(waited), repairs, models)


def _update_manifest(
    folder: Path,
    manifest: Manifest,
    engine: Engine,
    throughput: Mapping[str, Any],
    repairs: Counter[str],
    models: Mapping[str, int],
) -> None:
    """Add the session's results to the manifest and write it."""
    session: dict[str, Any] = {"throughput": throughput}
    if engine.trouble:
        session["trouble"] = dict(engine.trouble)
    names = sorted(filter(None, models))
    if names:  # failed answers, and all answers of other engines, have no model name
        session["answered_by"] = {name: models[name] for name in names}
    if len(names) > 1:
        warnings.warn(
            f"the answers come from several models: {', '.join(names)} (as the server reports; run.json has the number "
            "of answers from each). Their mean describes none of them.",
            stacklevel=2,
        )
    sessions = [*manifest.sessions[:-1], manifest.sessions[-1].model_copy(update=session)]
    changes: dict[str, Any] = {"sessions": sessions}
    if repairs:
        changes["repairs"] = dict(sorted((Counter(manifest.repairs or {}) + repairs).items()))
    if defaults := {*(manifest.server_defaults or ()), *engine.info.get("server_defaults", ())}:
        changes["server_defaults"] = sorted(defaults)
    write_manifest(folder / FILE, manifest.model_copy(update=changes))


def evidence_tokens(shown: PreparedView, answer: Answer, tokens: TokenCount) -> float | None:
    """How many visual tokens lie on the evidence (`gapbench.types.Record`)."""
    if answer.error or (shown.sizes and not shown.evidence):
        return None
    if not any(shown.evidence):
        return 0.0
    one = len(shown.sizes) == 1 and answer.image_tokens is not None
    found = [answer.image_tokens] if one else [tokens(size) for size in shown.sizes]
    counts = [count for count in found if count is not None]
    if len(counts) < len(found) or answer.image_tokens not in (None, sum(counts)):
        return None  # some processors make other tokens of an image that is not alone
    return round(sum(share * count for share, count in zip(shown.evidence, counts, strict=True)), 3)


def to_record(
    task: str,
    prepared_sample: PreparedSample,
    view: str,
    repeat: int,
    answer: Answer,
    on_evidence: float | None = None,
) -> Record:
    """Score an answer by rule and return its record; `on_evidence` are the visual tokens on the evidence."""
    sample = prepared_sample.sample
    if answer.error:
        bare = not sample.boxes and sample.crop_image is None and sample.evidence == "annotated"
        no_box = bare and answer.error == prepared_sample.region_error
        rule = NO_BOX if no_box else TOO_LONG if answer.too_long else ""
        scored = Score("failed", None, None, rule, answer.error)
    elif answer.thought_cut_off:
        scored = unparsed(*THOUGHT_CUT_OFF)
    else:
        scored = score(answer.text, sample.answers, sample.answer_type, sample.options, sample.question)
    limit = records.CUT_OFF if answer.cut_off else ""
    return Record(
        benchmark=task,
        sample=sample.id,
        view=view,
        repeat=repeat,
        outcome=scored.outcome,
        score=scored.score,
        output=answer.text,
        thought=answer.thought,
        cut_off=answer.cut_off,
        parsed=scored.parsed,
        rule=scored.rule,
        reason="; ".join(filter(None, (scored.reason, limit))),
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
        evidence_tokens=on_evidence,
        annotated_boxes=annotated_boxes(prepared_sample),
    )


def annotated_boxes(prepared_sample: PreparedSample) -> tuple[Box, ...]:
    """The annotated boxes in pixels of a sample whose boxes a model made; none if they are faulty."""
    sample = prepared_sample.sample
    if prepared_sample.size and sample.annotated:
        with suppress(SampleError):  # `gapbench benchmarks check` reports it
            return normalise(sample.annotated, sample.annotated_format or "xyxy", prepared_sample.size)[0]
    return ()
