"""TreeBench, OCR: the question is a panel drawn into the image. See `_treebench.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import _treebench

from gapbench.data import Sample

CARD = replace(
    _treebench.CARD,
    name="treebench_ocr",
    title="TreeBench: text whose question is a panel in the image",
    region="mosaic",
    expected={"samples": 68, "with evidence box": 68, "Perception/OCR": 68},
    traps=(
        *_treebench.CARD.traps,
        "All 68 rows have the same text, which says to read question and options in the image. The last box of "
        "each row (from 50, 50) is the panel with the question. The region is a mosaic of all boxes, so that the crop "
        "keeps the question. It is still a smaller reading task, and not part of the headline.",
        "The authors' script intends to leave the options out of these prompts but never does (it compares the "
        "category with `OCR`); prompts contain them here, too.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """`data` holds `TreeBench.tsv`."""
    return _treebench.read(data, lambda first, second: (first, second) == ("Perception", "OCR"))
