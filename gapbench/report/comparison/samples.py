"""The questions whose answer from the full image changed between right and wrong, with their images.

    cases = changed_cases(summary, before, after)
    [one.case.question for one in cases if one.way == "broken"]

Taken in turn from every benchmark, questions with images first, so that any beginning is a fair choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gapbench.report.run.gallery import OUTCOMES, GalleryImage, read_images
from gapbench.report.run.samples import AnswerEntry, SampleCard, cases_of
from gapbench.report.run.summary_tables import area_percent
from gapbench.report.tables import benchmarks_of
from gapbench.runs.thumbnails import thumbnail_key
from gapbench.util.text import size

if TYPE_CHECKING:
    from jinja2 import Template

    from gapbench.analysis.comparison.runs import LoadedRun

WAYS = ("fixed", "broken")
CARDS = 36
"""Cards of each way."""
CONSIDERED = 2_000
"""Changed questions of each way that are looked at in the records; the rest are counted only."""
PICTURE_BUDGET = 5_000_000
"""Bytes of images of each way."""
OUTPUT_LIMIT = 600
FIELD_LIMIT = 600
OPTIONS = 12


@dataclass(frozen=True)
class Changed:
    """One question that was `fixed` or `broken`: how it looks, and both runs' answers from the full image.

    `crops` are both runs' answers from the crop, where there are any.
    """

    way: str
    case: SampleCard
    before: AnswerEntry
    after: AnswerEntry
    crops: tuple[AnswerEntry | None, AnswerEntry | None]


@dataclass(frozen=True)
class Cards:
    """Rendered cards of one way, and how many questions changed that way in all."""

    way: str
    cards: tuple[str, ...]
    total: int


def changed_cases(summary: Mapping[str, Any], before: LoadedRun, after: LoadedRun) -> list[Changed]:
    """Fixed and broken questions, each way in turn from every benchmark, those with stored images first."""
    chosen = {way: _in_turn(summary, way, (before, after))[:CONSIDERED] for way in WAYS}
    wanted = {key for keys in chosen.values() for key in keys}
    sides = []
    for run in (before, after):
        frame = run.records[
            [key in wanted for key in zip(run.records["benchmark"], run.records["sample"], strict=True)]
        ]
        sides.append({(one.benchmark, one.sample): one for one in cases_of(frame)})
    found = []
    for way, keys in chosen.items():
        for key in keys:
            old, new = (side[key] for side in sides)
            crops = old.answers.get("crop"), new.answers.get("crop")
            case = new if new.evidence or new.region else old
            found.append(Changed(way, case, old.answers["full"], new.answers["full"], crops))
    return found


def rendered(
    summary: Mapping[str, Any],
    cases: Sequence[Changed],
    runs: Sequence[LoadedRun],
    template: Template,
    sides: tuple[str, ...],
) -> list[Cards]:
    """The cards of each way; images come from the folders of `runs`, none for no runs."""
    found = []
    for way in WAYS:
        budget, cards = PICTURE_BUDGET, []
        these = [one for one in cases if one.way == way]
        for one in these[:CARDS]:
            images = _images(one.case.key, runs)
            weight = sum(len(image.uri) for image in images.values() if image)
            if weight > budget:
                images, weight = {}, 0
            budget -= weight
            cards.append(
                template.render(
                    changed=one,
                    card=one.case,
                    images=images,
                    sides=sides,
                    outcomes=OUTCOMES,
                    size=size,
                    area=area_percent,
                    output_limit=OUTPUT_LIMIT,
                    field_limit=FIELD_LIMIT,
                    option_limit=OPTIONS,
                )
            )
        found.append(Cards(way, tuple(cards), total_of(summary, way)))
    return found


def total_of(summary: Mapping[str, Any], way: str) -> int:
    """How many questions were `fixed` or `broken` in all."""
    return sum(entry[way] or 0 for entry in benchmarks_of(summary).values())


def _in_turn(summary: Mapping[str, Any], way: str, runs: Sequence[LoadedRun]) -> list[tuple[str, str]]:
    stored = {path.name.partition("-")[0] for run in runs for path in (run.path / "thumbnails").glob("*-full.jpg")}
    turns = []
    for name, entry in benchmarks_of(summary).items():
        keyed = [(thumbnail_key(name, sample), sample) for sample in entry["changed"][way]]
        keyed.sort(key=lambda one: (one[0] not in stored, one[0]))
        turns += [(rank, name, sample) for rank, (_, sample) in enumerate(keyed)]
    return [(name, sample) for _, name, sample in sorted(turns)]


def _images(key: str, runs: Sequence[LoadedRun]) -> dict[str, GalleryImage | None]:
    """The first run that kept the full image has the crop that goes with it."""
    for run in runs:
        found = read_images(run.path / "thumbnails", key)
        if found.get("full"):
            return found
    return {}
