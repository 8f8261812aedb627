"""The samples whose answer from the full image changed between right and wrong, as cards.

    samples = changed_samples(summary, before, after)
    [sample.card.question for sample in samples if sample.transition == "broken"]

Samples are taken in turn from every benchmark, those with images first, so that the first n samples are a fair
selection for any n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Template

from gapbench.analysis.comparison.runs import LoadedRun
from gapbench.report.run.gallery import CardImages, read_images, within
from gapbench.report.run.samples import AnswerEntry, SampleCard, sample_cards
from gapbench.report.tables import benchmarks_of
from gapbench.runs.thumbnails import thumbnail_key

TRANSITIONS = ("fixed", "broken")
CARDS = 36
"""Cards of each transition."""
CONSIDERED = 2_000
"""Changed samples of each transition that are read from the records; the rest are only counted."""
IMAGE_BUDGET = 5_000_000
"""Bytes of all images of each transition, as data URIs."""


@dataclass(frozen=True)
class ChangedSample:
    """One sample that was `fixed` or `broken`, with both runs' answers from the full image.

    `crops` are both runs' answers from the crop, None where there is no such answer.
    """

    transition: str
    card: SampleCard
    before: AnswerEntry
    after: AnswerEntry
    crops: tuple[AnswerEntry | None, AnswerEntry | None]


def changed_samples(summary: Mapping[str, Any], before: LoadedRun, after: LoadedRun) -> list[ChangedSample]:
    """Fixed samples, then broken ones, each in turn from every benchmark, those with stored images first."""
    keys_of = {transition: _in_turn(summary, transition, (before, after))[:CONSIDERED] for transition in TRANSITIONS}
    all_keys = {key for keys in keys_of.values() for key in keys}
    cards_of_runs = []
    for run in (before, after):
        frame = run.records[
            [key in all_keys for key in zip(run.records["benchmark"], run.records["sample"], strict=True)]
        ]
        cards_of_runs.append({(card.benchmark, card.sample): card for card in sample_cards(frame)})
    samples = []
    for transition, keys in keys_of.items():
        for key in keys:
            old, new = (cards[key] for cards in cards_of_runs)
            crops = old.answers.get("crop"), new.answers.get("crop")
            card = new if new.evidence or new.region else old
            samples.append(ChangedSample(transition, card, old.answers["full"], new.answers["full"], crops))
    return samples


def render_cards(
    summary: Mapping[str, Any],
    samples: Sequence[ChangedSample],
    runs: Sequence[LoadedRun],
    template: Template,
    sides: tuple[str, ...],
) -> list[dict[str, Any]]:
    """For each `transition` its `cards` as HTML and `total`, the number of its samples.

    Images come from the folders of `runs`; without runs there are no images.
    """

    def images_of(sample: ChangedSample) -> CardImages:
        """The images of the first run that stored the full image, so that full image and crop belong together."""
        found = (read_images(run.path / "thumbnails", sample.card.key) for run in runs)
        return next((images for images in found if images["full"]), {})

    def render(sample: ChangedSample, images: CardImages) -> str:
        return template.render(changed=sample, card=sample.card, images=images, sides=sides)

    groups = []
    for transition in TRANSITIONS:
        members = [sample for sample in samples if sample.transition == transition][:CARDS]
        cards = tuple(html for _, html in within(members, images_of, render, IMAGE_BUDGET))
        groups.append({"transition": transition, "cards": cards, "total": total_of(summary, transition)})
    return groups


def total_of(summary: Mapping[str, Any], transition: str) -> int:
    """The number of samples that were `fixed` or `broken`, over all benchmarks."""
    return sum(entry[transition] or 0 for entry in benchmarks_of(summary).values())


def _in_turn(summary: Mapping[str, Any], transition: str, runs: Sequence[LoadedRun]) -> list[tuple[str, str]]:
    """(benchmark, sample) of the changed samples, in turn from every benchmark, those with stored images first."""
    stored = {path.name.partition("-")[0] for run in runs for path in (run.path / "thumbnails").glob("*-full.jpg")}
    turns = []
    for name, entry in benchmarks_of(summary).items():
        keyed = [(thumbnail_key(name, sample), sample) for sample in entry["changed"][transition]]
        keyed.sort(key=lambda item: (item[0] not in stored, item[0]))
        turns += [(rank, name, sample) for rank, (_, sample) in enumerate(keyed)]
    return [(name, sample) for _, name, sample in sorted(turns)]
