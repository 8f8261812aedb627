"""Regions from outside: a file of boxes that a model made, for benchmarks that have none.

    located = read_regions(Path("regions.jsonl"))
    samples = located.replace_boxes("hrbench_4k", samples)

One JSON object a line: `id`, `bbox` (xyxy pixels of the decoded picture), and optionally `benchmark`, `score`, `method`
and `model`. `gapbench locate` writes such files; anything else may, too. Samples carry `evidence="model"` from then on,
so that their gap never shares a table with one from annotated boxes. A sample the file does not name has no region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapbench.types import Box, Sample


@dataclass(frozen=True)
class Regions:
    """Boxes by (benchmark or "", sample id); `info` identifies the file in `run.json`."""

    boxes: Mapping[tuple[str, str], tuple[Box, ...]]
    info: Mapping[str, Any]

    def replace_boxes(self, benchmark: str, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with these boxes instead of their own."""
        raise NotImplementedError


def read_regions(path: Path) -> Regions:
    """Raises BenchmarkError naming the line."""
    raise NotImplementedError
