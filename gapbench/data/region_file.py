"""Regions from outside: a file of boxes that a model made, for benchmarks that have none.

    located = read_regions(Path("regions.jsonl"))
    asked = located.apply({"hrbench_4k": samples})

One JSON object a line: `id`, `bbox` or `bboxes` (xyxy pixels of the decoded image), and optionally `benchmark` (else
the line is for any), `score`, `method` and `model`; several lines with one id are several boxes. A line with a `reason`
and no box says why a locator found nothing. `gapbench locate` writes such files; anything else may, too.

Samples carry `evidence="model"` from then on, so that their gap never shares a table with one from annotated boxes. The
file's boxes replace all others: a sample that it does not name has none, and counts as failed in the views that need
one. Lines about samples that are not asked are fine, since a file may cover more than one run does.

Limits: without `benchmark` in its lines, a file for another benchmark is noticed only if no id fits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gapbench.data.benchmark import is_text
from gapbench.errors import BenchmarkError, SampleError
from gapbench.types import Box, Sample
from gapbench.util.files import json_object
from gapbench.util.text import listed
from gapbench.views.boxes import four_numbers

RegionKey = tuple[str, str]
"""(benchmark, or "" for any; sample id)"""


@dataclass(frozen=True)
class Regions:
    """Boxes by (benchmark or "", sample id); `info` identifies the file in `run.json`."""

    boxes: Mapping[RegionKey, tuple[Box, ...]]
    info: Mapping[str, Any]

    def replace_boxes(self, benchmark: str, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with these boxes instead of their own; those that the file does not name have none."""
        return [
            replace(s, boxes=found, box_format="xyxy", crop_image=None, evidence="model")
            for s in samples
            for found in [self.boxes.get((benchmark, s.id)) or self.boxes.get(("", s.id), ())]
        ]

    def apply(self, asked: Mapping[str, Sequence[Sample]]) -> dict[str, list[Sample]]:
        """`replace_boxes` for the benchmarks of a run. Raises BenchmarkError if the file fits none of their samples.

        A benchmark without any box beside others that have some is measured in the full view alone.
        """
        located = {name: self.replace_boxes(name, samples) for name, samples in asked.items()}
        if not any(s.boxes for samples in located.values() for s in samples):
            theirs = sorted({f"{b}: {i}" if b else i for b, i in self.boxes})
            ours = [f"{name}: {s.id}" for name, samples in asked.items() for s in samples]
            raise BenchmarkError(
                f"--regions {self.info['file']}: it has a box for none of the {len(ours)} samples. It names "
                f"{listed(map(repr, theirs))}; the samples are {listed(map(repr, ours))}. Pass the file made for this "
                "benchmark (gapbench locate MODEL -b NAME --out FILE)."
            )
        return located


def read_regions(path: Path) -> Regions:
    """Read a region file. Raises BenchmarkError naming the line, what was found, what was expected and the remedy."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BenchmarkError(
            f"--regions {path}: cannot be read ({error.strerror}). Expected a JSONL file of boxes, as gapbench locate "
            "makes them."
        ) from error
    boxes: dict[RegionKey, tuple[Box, ...]] = {}
    named: dict[str, set[str]] = {"method": set(), "model": set()}
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            key, found, labels = _line(line)
        except (BenchmarkError, SampleError) as error:
            raise BenchmarkError(f"--regions {path.name} line {number}: {error}") from error
        boxes[key] = tuple(dict.fromkeys((*boxes.get(key, ()), *found)))
        for column, values in named.items():
            values.update(filter(None, [labels[column]]))
    filled = {key: found for key, found in boxes.items() if found}
    if not filled:
        raise BenchmarkError(f"--regions {path.name}: no box in any of its {len(boxes)} entries. Locate again.")
    info = {
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest()[:32],
        "methods": sorted(named["method"]),
        "models": sorted(named["model"]),
        "samples": len(filled),
        "boxes": sum(map(len, filled.values())),
        "without_box": len(boxes) - len(filled),
    }
    return Regions(filled, info)


def _line(line: bytes) -> tuple[RegionKey, tuple[Box, ...], dict[str, str]]:
    """One line's key, its boxes, and what it says of their origin."""
    row = json_object(line)
    sample = row.get("id")
    if isinstance(sample, bool) or not isinstance(sample, str | int) or not is_text(str(sample)) or not str(sample):
        raise BenchmarkError(f"id is {sample!r}; expected the id of a sample, as text.")
    labels = {column: row.get(column) or "" for column in ("benchmark", "method", "model")}
    for column, value in labels.items():
        if not is_text(value):
            raise BenchmarkError(f"{column} is {value!r}; expected text.")
    return (labels["benchmark"], str(sample)), _boxes(row), labels


def _boxes(row: Mapping[str, Any]) -> tuple[Box, ...]:
    if row.get("bbox") and row.get("bboxes"):
        raise BenchmarkError("it has both 'bbox' and 'bboxes'. Give all boxes in 'bboxes'.")
    given = row.get("bboxes") or ([row["bbox"]] if row.get("bbox") else [])
    if not isinstance(given, list):
        raise BenchmarkError(f"bboxes is {given!r}; expected a list of boxes.")
    if not given and not row.get("reason"):
        raise BenchmarkError(
            f"it has no 'bbox' or 'bboxes'. Found: {', '.join(map(str, row))}. Expected xyxy pixels; where nothing was "
            "found, say so in 'reason'."
        )
    return tuple(_box(box) for box in given)


def _box(given: Any) -> Box:
    box = x0, y0, x1, y1 = four_numbers(given)
    if x0 >= x1 or y0 >= y1:
        raise BenchmarkError(f"bbox is {given!r}; expected xyxy with x0 < x1 and y0 < y1. Is it xywh? Convert it.")
    if max(box) <= 1:
        raise BenchmarkError(f"bbox is {given!r}, which lies within one pixel; expected pixels, not fractions.")
    return box
