"""Proposed rows against a benchmark's own boxes and answers, after the data are made: nothing of it decides a row.

    truth = compare(rows, images, benchmark.samples())
    truth["recall"], truth["contains"], truth["answers"]

Limits: a benchmark marks what its questions ask about, seldom every object. So a proposed box that holds no marked one
need not be wrong, and only questions that the benchmark asks word for word are compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from gapbench.data.plain_images import image_key
from gapbench.errors import SampleError
from gapbench.proposals.windows import area, overlap
from gapbench.scoring import score
from gapbench.types import Box, Sample
from gapbench.views import boxes

WHOLE = 0.95
"""Share of a marked box from which it counts as inside a proposed one: windows have whole pixels."""


def compare(
    lines: Sequence[Mapping[str, Any]], images: Sequence[Sample], samples: Sequence[Sample]
) -> dict[str, Any] | None:
    """Counts over all images of the audit file's lines; None if no sample has a marked box.

    `marked` boxes, of which `found` lie inside a proposed one; `proposed` boxes, of which `contains` hold a marked one;
    `asked`: kept rows whose question the benchmark asks of the same image, of which `right` have its answer.
    """
    numbers = {image_key(image): number for number, image in enumerate(images)}
    of_image: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if (number := numbers.get(image_key(sample))) is not None:
            of_image[number].append(sample)
    counts = dict.fromkeys(("marked", "found", "proposed", "contains", "asked", "right"), 0)
    for line in lines:
        kept = [row for row in line["rows"] if not row["rejected"]]
        proposed = {boxes.four_numbers(row["bbox"]) for row in kept}
        marked = _marked(of_image[line["number"]], line["size"])
        counts["marked"] += len(marked)
        counts["found"] += sum(any(_inside(one, box) for box in proposed) for one in marked)
        counts["proposed"] += len(proposed)
        counts["contains"] += sum(any(_inside(one, box) for one in marked) for box in proposed)
        known = {sample.question: sample for sample in of_image[line["number"]]}
        for row in kept:
            if same := known.get(row["question"]):
                counts["asked"] += 1
                scored = score(row["listed"], same.answers, same.answer_type, same.options, same.question)
                counts["right"] += scored.outcome == "right"
    return counts if counts["marked"] else None


def _marked(samples: Sequence[Sample], size: Sequence[int] | None) -> set[Box]:
    found: set[Box] = set()
    for sample in samples:
        if size and sample.boxes and sample.evidence == "annotated":
            try:
                found.update(boxes.normalise(sample.boxes, sample.box_format or "xyxy", (size[0], size[1]))[0])
            except SampleError:  # `gapbench benchmarks check` reports it
                continue
    return found


def _inside(one: Box, box: Box) -> bool:
    return area(one) <= area(box) and overlap(one, box) >= WHOLE


def in_words(counts: Mapping[str, int]) -> str:
    """The counts as a sentence."""
    return (
        f"against the benchmark's own boxes: {counts['contains']} of {counts['proposed']} proposed boxes hold a marked "
        f"one, {counts['found']} of {counts['marked']} marked boxes are found; of {counts['asked']} questions that it "
        f"asks as well, {counts['right']} have its answer. Boxes of unmarked objects count as holding none."
    )
