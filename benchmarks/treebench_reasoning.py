"""TreeBench, reasoning: perspective, order, contact, containment, comparison. See `_treebench.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import _treebench

from gapbench.types import Sample

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
    },
    traps=(
        *_treebench.CARD.traps,
        "Magnification answers few of these: with the annotated crop a 9B model is reported to reach about 53. "
        "Expect a small gap, and look at the region's area: where targets are far apart, the union is most of the "
        "image.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """`data` holds `TreeBench.tsv`."""
    return _treebench.read(data, lambda first, second: first == "Reasoning")
