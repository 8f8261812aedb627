"""Samples that fail a check of the audit, with their images: is it the evidence box, the question, or a lucky guess?

    failing = failing_samples(summary, sample_cards(records))        # {"signs": {"Right …": [card, …]}}
    failing_cards(failing, folder / "thumbnails", template)

A few of each check are shown; `summary.json` names more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Template

from gapbench.report.cells import nested
from gapbench.report.run.gallery import HEAVY, CardImages, read_images, within
from gapbench.report.run.samples import SampleCard
from gapbench.report.tables import Summary, benchmarks_of

MOST = 4
"""Samples a check and a benchmark."""
BENCHMARKS = 10
BUDGET = 2_000_000
"""Bytes of images of each check."""
CHECKS = {
    "Right in full, wrong in the crop": ("sufficiency", ("full", "crop")),
    "Right although the evidence is hidden": ("necessity", ("hide", "full")),
}
"""A check in words, its name in the summary, and the kinds of views whose answers are shown."""

Failing = Mapping[str, Mapping[str, Sequence[SampleCard]]]


def failing_samples(summary: Summary, samples: Sequence[SampleCard]) -> Failing:
    """By benchmark and check, the first samples that fail it."""
    card_of = {(card.benchmark, card.sample): card for card in samples}
    found: dict[str, dict[str, list[SampleCard]]] = {}
    for name, entry in list(benchmarks_of(summary).items())[:BENCHMARKS]:
        for words, (check, _) in CHECKS.items():
            names = nested(entry, "anatomy", "audit", check, "samples") or []
            cards = [card for sample in names if (card := card_of.get((name, sample)))][:MOST]
            if cards:
                found.setdefault(name, {})[words] = cards
    return found


def failing_cards(failing: Failing, thumbnails: Path | None, template: Template) -> dict[str, dict[str, list[str]]]:
    """The same as HTML; `thumbnails=None` leaves out images."""

    def images_of(card: SampleCard) -> CardImages:
        return read_images(thumbnails, card.key, HEAVY) if thumbnails else {}

    def cards(words: str, samples: Sequence[SampleCard]) -> list[str]:
        kinds = CHECKS[words][1]

        def render(card: SampleCard, images: CardImages) -> str:
            answers: list[Any] = [answer for view, answer in card.answers.items() if view.partition(":")[0] in kinds]
            answers.sort(key=lambda answer: (kinds.index(answer.view.partition(":")[0]), answer.view))
            return template.render(card=card, images=images, answers=answers)

        return [html for _, html in within(samples, images_of, render, BUDGET)]

    return {name: {words: cards(words, some) for words, some in groups.items()} for name, groups in failing.items()}
