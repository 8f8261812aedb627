"""From sample to record: make a sample ready, show it in a view, judge the answer.

    case = prepare(sample, "padded")
    picture, error = show(case, "crop")
    record = judge("signs", case, "crop", repeat=0, answer=answer)

Whatever is wrong with one sample becomes text in its record; nothing here ends a run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gapbench import boxes, images, views
from gapbench.engines import Answer
from gapbench.errors import SampleError
from gapbench.scoring import Verdict, score
from gapbench.types import Box, Record, Sample

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Case:
    """One sample made ready: its picture, evidence and region, or the reason why there is none."""

    sample: Sample
    policy: str
    image: Image | None = None
    image_hash: str = ""
    boxes: tuple[Box, ...] = ()
    region: views.Region | None = None
    repairs: tuple[str, ...] = ()
    error: str = ""
    region_error: str = ""


def prepare(sample: Sample, policy: str, before: Case | None = None) -> Case:
    """Decode the picture, normalise the boxes and find the region; whatever fails is kept as text.

    `before` is the case made just before: a picture that several questions in a row share is decoded once.
    """
    try:
        if before is not None and before.image is not None and _same_source(before.sample.image, sample.image):
            image, digest = before.image, before.image_hash
        else:
            image, digest = images.decode(sample.image)
    except SampleError as error:
        return Case(sample, policy, error=str(error))
    case = Case(sample, policy, image, digest)
    try:
        native = images.decode(sample.crop_image)[0] if sample.crop_image is not None else None
        evidence, repairs = boxes.normalise(sample.boxes, sample.box_format, image.size)
        case = replace(case, boxes=evidence, repairs=(*repairs, *images.notes(image)))
        return replace(case, region=views.find_region(policy, evidence, image.size, native))
    except SampleError as error:
        return replace(case, region_error=str(error))


def _same_source(one: object, other: object) -> bool:
    return one is other or (isinstance(one, str | Path) and isinstance(other, str | Path) and Path(one) == Path(other))


def show(case: Case, view: str) -> tuple[Image | None, str]:
    """What the model is shown in a view, or the reason why it cannot be shown."""
    if case.image is None:
        return None, case.error
    if case.region is None and view in views.NEEDS_REGION:
        return None, case.region_error
    return views.VIEWS[view](case.image, case.region), ""


def judge(benchmark: str, case: Case, view: str, repeat: int, answer: Answer) -> Record:
    """Judge an answer by rule and write down all that statistics and reports will ask for."""
    sample = case.sample
    if answer.error:
        verdict = Verdict("failed", None, None, "", answer.error)
    else:
        verdict = score(answer.text, sample.answers, sample.answer_type, sample.options, sample.question)
    cut_off = "stopped at the limit of new tokens" if answer.truncated else ""
    size = case.image.size if case.image else None
    area = size[0] * size[1] if size else 0
    box = case.region.box if case.region else None
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
        image_size=size,
        boxes=case.boxes,
        evidence=sample.evidence if case.boxes or sample.crop_image is not None else "",
        evidence_area=boxes.union_area(case.boxes) / area if case.boxes else None,
        region_policy=case.policy,
        region=box,
        region_area=(box[2] - box[0]) * (box[3] - box[1]) / area if box else None,
        pictures=1,
        sent_size=answer.sent_size,
        sent_pixels=answer.sent_size[0] * answer.sent_size[1] if answer.sent_size else None,
        image_tokens=answer.image_tokens,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        seconds=answer.seconds,
    )
