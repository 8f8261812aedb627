"""TreeBench, OCR: the question is a panel drawn into the image. See `_treebench.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import _treebench

from gapbench.types import Sample

CARD = replace(
    _treebench.CARD,
    name="treebench_ocr",
    title="TreeBench: text whose question is a panel in the image",
    region="mosaic",
    expected={"samples": 68, "with evidence box": 68, "Perception/OCR": 68},
    traps=(
        *_treebench.CARD.traps,
        "All 68 rows have the same text, which says to read question and options in the image. The last box of "
        "each (from 50, 50) is that panel: the region is a mosaic of all boxes, so that the crop keeps the question. "
        "It is a smaller reading task all the same, and no part of the headline.",
        "The authors' script means to leave the options out of these prompts and never does (it compares the category "
        "with `OCR`); they are given here, too.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """`data` holds `TreeBench.tsv`."""
    return _treebench.read(data, lambda first, second: (first, second) == ("Perception", "OCR"))
