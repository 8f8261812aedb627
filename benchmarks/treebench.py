"""TreeBench, perception without OCR panels: the 81 questions with a meaningful gap. See `_treebench.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import _treebench

from gapbench.data import Sample

CARD = replace(
    _treebench.CARD,
    title="TreeBench: perception of small targets (without the OCR panels)",
    expected={
        "samples": 81,
        "with evidence box": 81,
        "Perception/Attributes": 29,
        "Perception/Physical State": 23,
        "Perception/Object Retrieval": 16,
        "Perception/Material": 13,
    },
    traps=(
        *_treebench.CARD.traps,
        "All 68 Perception/OCR questions are drawn into the image as a panel, and a crop of the evidence cuts the "
        "question off. They are a benchmark of their own, treebench_ocr.",
        "One question is 1.2 points.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """`data` holds `TreeBench.tsv`."""
    return _treebench.read(data, lambda first, second: first == "Perception" and second != "OCR")
