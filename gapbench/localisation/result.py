"""The result of `gapbench.locate`: counts, reasons, and agreement with people's boxes, as data and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapbench.analysis.statistics import merge_clusters
from gapbench.errors import SampleError
from gapbench.localisation import agreement
from gapbench.types import Box, Sample
from gapbench.util.text import percent_in_words
from gapbench.views import boxes


@dataclass(frozen=True)
class Located:
    """A region file and its summary: counts, reasons and agreement by benchmark."""

    path: Path
    summary: dict[str, Any]

    def text(self) -> str:
        """The summary in words."""
        lines = []
        for name, entry in self.summary["benchmarks"].items():
            locator = f"{self.summary['method']} ({self.summary['model']})"
            lines.append(f"{name}: {entry['located']} of {entry['samples']} samples located by {locator}.")
            lines += [f"  no box: {count} x {reason}" for reason, count in entry["not_located"].items()]
            lines += _agreement_text(entry["agreement"])
        return "\n".join(lines)


def summarise(name: str, samples: Sequence[Sample], lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A benchmark's counts, reasons, and agreement with the evidence that people marked (None if they marked none)."""
    line_of = {line["id"]: line for line in lines if line["benchmark"] == name}
    reasons = Counter(line["reason"].partition(": ")[0] if line["reason"].startswith(NOT_ANSWERED) else line["reason"]
                      for line in line_of.values() if not line["bboxes"])  # fmt: skip
    rows, clusters, hashes = [], [], []
    for sample in samples:
        line = line_of.get(sample.id)
        if line is None or not line["bboxes"] or sample.evidence != "annotated":
            continue
        size = (line["image_size"][0], line["image_size"][1])
        try:
            evidence, _ = boxes.normalise(sample.boxes, sample.box_format or "xyxy", size)
        except SampleError:  # `gapbench benchmarks check` reports it
            continue
        if evidence:
            rows.append(agreement.agreement([boxes.four_numbers(b) for b in line["bboxes"]], evidence, size, sample.id))
            clusters.append(sample.cluster)
            hashes.append(line["image_hash"])
    return {
        "samples": len(samples),
        "located": sum(bool(line["bboxes"]) for line in line_of.values()),
        "not_located": dict(reasons.most_common()),
        "agreement": agreement.summarise(rows, merge_clusters(clusters, hashes).tolist()) if rows else None,
    }


def _agreement_text(summary: Mapping[str, Any] | None) -> list[str]:
    if summary is None:
        return ["  unchecked: no located sample has evidence that people marked."]

    def interval(estimate: Mapping[str, Any]) -> str:
        low, high = estimate["ci"] or (None, None)
        return f"{percent_in_words(estimate['estimate'])} [{percent_in_words(low)}, {percent_in_words(high)}]"

    head = f"  against people's boxes ({summary['n']} samples, {summary['clusters']} clusters; 95 % intervals):"
    rows = [
        f"    {words:34} {interval(summary[name]['located']):>24}   "
        f"by chance {percent_in_words(summary[name]['chance']):>7}"
        for name, words in agreement.MEASURES.items()
    ]
    area = f"    {'share of the image in the box':34} {interval(summary['area']):>24}"
    return [head, *rows, area, "    (by chance: the same box at a random place)"]


NOT_ANSWERED = "not answered"
"""First words of a `reason` that comes from the engine, not from an answer; details follow a colon."""


@dataclass(frozen=True)
class LocatedBoxes:
    """The boxes of one sample as fractions 0..1 of the image's width and height, or none and the `reason`.

    `score` is the locator's own confidence, 0..1 (None without one); `output` is the answer that was read.
    """

    boxes: tuple[Box, ...] = ()
    score: float | None = None
    reason: str = ""
    output: str = ""
