"""Records regrouped by sample, for the flip matrix and the gallery.

    cases = cases_of(frame)
    [case.sample for case in stratified(cases) if case.flip == "crop_only"]

A case is one sample with its answers in every view. Its flip says which of the two headline views got it right:
`both`, `crop_only`, `full_only`, `neither`, or `dropped` when one of them has no score.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gapbench.runs.thumbnails import thumbnail_key
from gapbench.util.text import missing

if TYPE_CHECKING:
    from pandas import DataFrame

FLIPS = ("crop_only", "full_only", "neither", "both", "dropped")
"""Most telling first; the gallery takes them in turn."""

Rectangle = tuple[float, float, float, float]
"""x, y, width, height in percent of the full image."""


@dataclass(frozen=True)
class AnswerEntry:
    """The first repeat's answer in one view; `score` is the mean over `repeats`, None if none was scored."""

    view: str
    outcome: str
    output: str
    parsed: str
    rule: str
    reason: str
    score: float | None
    repeats: int
    sent_size: tuple[int, int] | None
    image_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True)
class SampleCard:
    """One sample and what was answered, keyed by view. Rectangles are clipped to the image.

    `model_made`: the evidence boxes are a model's and not an annotator's.
    """

    key: str
    benchmark: str
    sample: str
    category: str
    question: str
    options: tuple[str, ...]
    accepted: tuple[str, ...]
    flip: str
    image_size: tuple[int, int] | None
    evidence: tuple[Rectangle, ...]
    model_made: bool
    evidence_area: float | None
    region: Rectangle | None
    region_policy: str
    answers: Mapping[str, AnswerEntry]


def cases_of(records: DataFrame) -> list[SampleCard]:
    """One case per (benchmark, sample), in the order of the records."""
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in records.to_dict("records"):
        grouped[str(row["benchmark"]), str(row["sample"])].append({str(key): row[key] for key in row})
    return [_case(benchmark, sample, rows) for (benchmark, sample), rows in grouped.items()]


def stratified(cases: Iterable[SampleCard], first: Iterable[str] = ()) -> list[SampleCard]:
    """All cases, taken in turn from every (benchmark, flip), so that any beginning is a fair choice.

    Within a stratum the order is that of the hashed key, hence random but reproducible. Cases whose key is in `first`
    (samples that have images) take their turns before the others.
    """
    preferred = set(first)
    strata: dict[tuple[bool, int, str], list[SampleCard]] = defaultdict(list)
    for case in cases:
        strata[case.key not in preferred, FLIPS.index(case.flip), case.benchmark].append(case)
    turns = [
        ((stratum[0], rank, *stratum[1:]), case)
        for stratum, members in strata.items()
        for rank, case in enumerate(sorted(members, key=lambda one: one.key))
    ]
    return [case for _, case in sorted(turns, key=lambda turn: turn[0])]


def _case(benchmark: str, sample: str, rows: list[dict[str, Any]]) -> SampleCard:
    by_view: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row.get("repeat") or 0)):
        by_view[str(row["view"])].append(row)
    answers = {view: _answer(view, repeats) for view, repeats in by_view.items()}
    seen = by_view.get("full", rows)[0]
    cut = by_view.get("crop", rows)[0]
    image_size = _size(seen.get("image_size")) or _size(cut.get("image_size"))
    boxes = [_rectangle(box, image_size) for box in _items(seen.get("boxes"))]
    return SampleCard(
        key=thumbnail_key(benchmark, sample),
        benchmark=benchmark,
        sample=sample,
        category=_text(seen.get("category")),
        question=_text(seen.get("question")),
        options=tuple(map(str, _items(seen.get("options")))),
        accepted=tuple(map(str, _items(seen.get("answers")))),
        flip=_flip(answers),
        image_size=image_size,
        evidence=tuple(box for box in boxes if box is not None),
        model_made=any(row.get("evidence") == "model" for row in rows),
        evidence_area=None if missing(seen.get("evidence_area")) else float(seen["evidence_area"]),
        region=_rectangle(_items(cut.get("region")), image_size),
        region_policy=_text(cut.get("region_policy")),
        answers=answers,
    )


def _answer(view: str, repeats: list[dict[str, Any]]) -> AnswerEntry:
    row = repeats[0]
    scores = [float(one["score"]) for one in repeats if not missing(one.get("score"))]
    return AnswerEntry(
        view=view,
        outcome=_text(row.get("outcome")),
        output=_text(row.get("output")),
        parsed=_text(row.get("parsed")),
        rule=_text(row.get("rule")),
        reason=_text(row.get("reason")),
        score=sum(scores) / len(scores) if scores else None,
        repeats=len(repeats),
        sent_size=_size(row.get("sent_size")),
        image_tokens=_integer(row.get("image_tokens")),
        output_tokens=_integer(row.get("output_tokens")),
    )


def _flip(answers: Mapping[str, AnswerEntry]) -> str:
    scores = [answers[view].score if view in answers else None for view in ("crop", "full")]
    if any(score is None for score in scores):
        return "dropped"
    crop, full = (score is not None and score >= 0.5 for score in scores)
    return "both" if crop and full else "crop_only" if crop else "full_only" if full else "neither"


def _rectangle(box: Sequence[Any], image_size: tuple[int, int] | None) -> Rectangle | None:
    if image_size is None or len(box) != 4 or min(image_size) <= 0 or any(missing(edge) for edge in box):
        return None
    width, height = image_size
    x0, x1 = (min(100.0, max(0.0, 100 * float(edge) / width)) for edge in (box[0], box[2]))
    y0, y1 = (min(100.0, max(0.0, 100 * float(edge) / height)) for edge in (box[1], box[3]))
    return x0, y0, max(0.0, x1 - x0), max(0.0, y1 - y0)


def _items(value: Any) -> Sequence[Any]:
    return () if value is None or isinstance(value, float) else list(value)


def _size(value: Any) -> tuple[int, int] | None:
    sides = _items(value)
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 else None


def _integer(value: Any) -> int | None:
    return None if missing(value) else int(value)


def _text(value: Any) -> str:
    return "" if missing(value) else str(value)
