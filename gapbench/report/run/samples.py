"""Records grouped by sample, for the gallery.

    cards = sample_cards(frame)
    [card.sample for card in stratified(cards) if card.flip == "crop_only"]

A card holds one sample and its answers in every view. Its flip names the headline views with a right answer: `both`,
`crop_only`, `full_only`, `neither`, or `dropped` if a headline view has no score.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from pandas import DataFrame

from gapbench.runs.thumbnails import thumbnail_key
from gapbench.util.text import missing

FLIP_NAMES = {
    "crop_only": "crop only",
    "full_only": "full only",
    "neither": "neither",
    "both": "both",
    "dropped": "left out",
}
"""The most informative flips first; the gallery takes cards from them in turn."""

Rows = list[dict[Hashable, Any]]
Rectangle = tuple[float, float, float, float]
"""x, y, width, height in percent of the full image."""


@dataclass(frozen=True)
class AnswerEntry:
    """The answer of the first repeat in one view. `score` is the mean over the repeats, or None without any score."""

    view: str
    outcome: str
    thought: str
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
    """One sample with its answers by view. Rectangles are clipped to the image.

    `model_made`: a model and not an annotator drew the evidence boxes.
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


def sample_cards(records: DataFrame) -> list[SampleCard]:
    """One card per (benchmark, sample), in the order of the records."""
    records_by_sample: dict[tuple[str, str], Rows] = defaultdict(list)
    for record in records.to_dict("records"):
        records_by_sample[str(record["benchmark"]), str(record["sample"])].append(record)
    return [_sample_card(benchmark, sample, group) for (benchmark, sample), group in records_by_sample.items()]


def stratified(cards: Iterable[SampleCard], first: Iterable[str] = ()) -> list[SampleCard]:
    """All cards, in turn from every flip, and for each flip in turn from every benchmark.

    So the first n cards hold every rare flip whole and an equal number of each frequent one, for any n. Within a
    stratum the order is that of the hashed key, hence random but reproducible; cards whose key is in `first` (samples
    with images) come before the others.
    """
    preferred = set(first)
    strata: dict[str, dict[str, list[SampleCard]]] = {flip: defaultdict(list) for flip in FLIP_NAMES}
    for card in sorted(cards, key=lambda card: (card.key not in preferred, card.key)):
        strata[card.flip][card.benchmark].append(card)
    return _in_turn([_in_turn([members[name] for name in sorted(members)]) for members in strata.values()])


def _in_turn(groups: Sequence[Sequence[SampleCard]]) -> list[SampleCard]:
    """The first of every group, then the second of every group, and so on."""
    return [card for turn in zip_longest(*groups) for card in turn if card is not None]


def _sample_card(benchmark: str, sample: str, records: Rows) -> SampleCard:
    by_view: dict[str, Rows] = defaultdict(list)
    for record in sorted(records, key=lambda record: int(record.get("repeat") or 0)):
        by_view[str(record["view"])].append(record)
    answers = {view: _answer(view, repeats) for view, repeats in by_view.items()}
    full = by_view.get("full", records)[0]
    crop = by_view.get("crop", records)[0]
    image_size = _size(full.get("image_size")) or _size(crop.get("image_size"))
    boxes = [_rectangle(box, image_size) for box in _items(full.get("boxes"))]
    return SampleCard(
        key=thumbnail_key(benchmark, sample),
        benchmark=benchmark,
        sample=sample,
        category=_text(full.get("category")),
        question=_text(full.get("question")),
        options=tuple(map(str, _items(full.get("options")))),
        accepted=tuple(map(str, _items(full.get("answers")))),
        flip=_flip(answers),
        image_size=image_size,
        evidence=tuple(box for box in boxes if box is not None),
        model_made=any(record.get("evidence") == "model" for record in records),
        evidence_area=None if missing(full.get("evidence_area")) else float(full["evidence_area"]),
        region=_rectangle(_items(crop.get("region")), image_size),
        region_policy=_text(crop.get("region_policy")),
        answers=answers,
    )


def _answer(view: str, repeats: Rows) -> AnswerEntry:
    first = repeats[0]
    scores = [float(record["score"]) for record in repeats if not missing(record.get("score"))]
    return AnswerEntry(
        view=view,
        outcome=_text(first.get("outcome")),
        thought=_text(first.get("thought")),
        output=_text(first.get("output")),
        parsed=_text(first.get("parsed")),
        rule=_text(first.get("rule")),
        reason=_text(first.get("reason")),
        score=sum(scores) / len(scores) if scores else None,
        repeats=len(repeats),
        sent_size=_size(first.get("sent_size")),
        image_tokens=_integer(first.get("image_tokens")),
        output_tokens=_integer(first.get("output_tokens")),
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
