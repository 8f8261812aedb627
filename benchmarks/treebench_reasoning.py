"""TreeBench, reasoning: perspective, order, contact, containment, comparison. See `_treebench.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import _treebench

from gapbench.data import Sample

CARD = replace(
    _treebench.CARD,
    name="treebench_reasoning",
    title="TreeBench: reasoning about several targets",
    expected={
        "samples": 256,
        "with evidence box": 256,
        "Reasoning/Perspective Transform": 85,
        "Reasoning/Ordering": 57,
        "Reasoning/Comparison": 44,
        "Reasoning/Contact and Occlusion": 41,
        "Reasoning/Spatial Containment": 29,
        "oddity: equal options": 1,
    },
    traps=(
        *_treebench.CARD.traps,
        "Magnification helps with few of these questions: a 9B model reportedly reaches about 53 with the annotated "
        "crop. Expect a small gap, and look at the region's area: if targets are far apart, their union is most of the "
        "image.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """`data` holds `TreeBench.tsv`."""
    return _treebench.read(data, lambda first, second: first == "Reasoning")
