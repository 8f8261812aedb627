"""Region files: evidence boxes that a model found, for benchmarks without annotated ones.

    regions = read_regions(Path("regions.jsonl"))
    regions.replace_boxes(["hrbench_4k"], samples)

Each line is a JSON object with `id`, `bbox` or `bboxes` (xyxy pixels of the decoded image), and optionally `benchmark`,
`score`, `method`, `model` and `image_size` ([width, height]; boxes are used in no image of another size). A line
without `benchmark` holds for every benchmark. Several lines with one id are several boxes. A line without a box has a
`reason` why the locator found nothing. `gapbench locate` writes such files, and other programs may, too.

The samples get `evidence="model"`, so that their gap never shares a table with one from annotated boxes. The file's
boxes replace all others: a sample that the file does not name has no box and counts as failed in the views that need
one. The file may name samples that are not part of the run.

Limits: if the lines have no `benchmark`, a file for the wrong benchmark is noticed only if no id matches.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gapbench.data.benchmark import is_text
from gapbench.errors import BenchmarkError, SampleError
from gapbench.types import Box, Sample
from gapbench.util.files import json_object
from gapbench.util.text import listed
from gapbench.views.boxes import four_numbers

RegionKey = tuple[str, str]
"""(benchmark name, or "" for every benchmark; sample id)"""


@dataclass(frozen=True)
class Regions:
    """The boxes of a region file, by region key; `info` identifies the file in the manifest.

    `sizes` are the (width, height) of the images in which they were located, where the file says so. `tried` are the
    keys of all samples in the file, also of those without a box.
    """

    boxes: Mapping[RegionKey, tuple[Box, ...]]
    info: Mapping[str, Any]
    sizes: Mapping[RegionKey, tuple[int, int]] = field(default_factory=dict)
    tried: frozenset[RegionKey] = frozenset()

    def warn_of_untried(self, names: Sequence[str], samples: Sequence[Sample]) -> None:
        """Warn of samples that the file does not name, as if `gapbench locate` had been ended before them."""
        missing = sum(all((name, sample.id) not in self.tried for name in (*names, "")) for sample in samples)
        if 0 < missing < len(samples):
            warnings.warn(
                f"--regions {self.info['file']}: it names {len(samples) - missing:,} of {len(samples):,} samples of "
                f"{names[0]}. The others have no box: they fail in views that need a region, and nothing is trained on "
                "them. If gapbench locate was interrupted, run the same command again first.",
                stacklevel=2,
            )

    def replace_boxes(self, names: Sequence[str], samples: Sequence[Sample]) -> list[Sample]:
        """The samples with the file's boxes instead of their own; a sample that the file does not name has none.

        `names` are those under which the file may hold the benchmark, the first that it has counts.
        """
        keys = [next((k for name in (*names, "") if (k := (name, s.id)) in self.boxes), ("", s.id)) for s in samples]
        fixed: dict[str, Any] = {"box_format": "xyxy", "crop_image": None, "evidence": "model"}
        return [
            replace(sample, boxes=self.boxes.get(key, ()), boxes_in=self.sizes.get(key),
                    annotated=sample.boxes, annotated_format=sample.box_format, **fixed)
            for sample, key in zip(samples, keys, strict=True)
        ]  # fmt: skip

    def no_box_error(self, in_run: Sequence[str]) -> BenchmarkError:
        """The error for a run in which no sample has a box of this file. `in_run` names the samples."""
        in_file = sorted({f"{b}: {i}" if b else i for b, i in self.boxes})
        fault = f"it has a box for none of the {len(in_run)} samples"
        found = f"It names {listed(map(repr, in_file))}; the samples are {listed(map(repr, in_run))}."
        remedy = "Pass the file made for this benchmark (gapbench locate MODEL -b NAME --out FILE)."
        return BenchmarkError(f"--regions {self.info['file']}: {fault}. {found} {remedy}")


def origin_of(info: Mapping[str, Any]) -> str:
    """How and by which models the boxes of a file with this `Regions.info` were located; empty if it does not say."""
    return " with ".join(filter(None, (", ".join(map(str, info.get(key) or ())) for key in ("methods", "models"))))


def read_regions(path: Path) -> Regions:
    """Read a region file. Raises BenchmarkError naming the line, its content, what was expected and a remedy."""
    try:
        data = path.read_bytes()
    except OSError as error:
        expected = "Expected a JSONL file of boxes, as gapbench locate makes them."
        raise BenchmarkError(f"--regions {path}: cannot be read ({error.strerror}). {expected}") from error
    boxes: dict[RegionKey, tuple[Box, ...]] = {}
    sizes: dict[RegionKey, tuple[int, int]] = {}
    origins: list[dict[str, str]] = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            key, line_boxes, size, labels = _line(line)
        except (BenchmarkError, SampleError) as error:
            raise BenchmarkError(f"--regions {path.name} line {number}: {error}") from error
        boxes[key] = tuple(dict.fromkeys((*boxes.get(key, ()), *line_boxes)))
        sizes |= {key: size} if size else {}
        origins.append(labels)
    filled = {key: key_boxes for key, key_boxes in boxes.items() if key_boxes}
    if not filled:
        raise BenchmarkError(f"--regions {path.name}: no box in any of its {len(boxes)} entries. Locate again.")
    info = {
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest()[:32],
        "methods": sorted({labels["method"] for labels in origins} - {""}),
        "models": sorted({labels["model"] for labels in origins} - {""}),
        "samples": len(filled),
        "boxes": sum(map(len, filled.values())),
        "without_box": len(boxes) - len(filled),
    }
    return Regions(filled, info, sizes, frozenset(boxes))


def _line(line: bytes) -> tuple[RegionKey, tuple[Box, ...], tuple[int, int] | None, dict[str, str]]:
    """The key of a line, its boxes, the size of their image, and its `benchmark`, `method` and `model`."""
    row = json_object(line)
    sample = row.get("id")
    if isinstance(sample, bool) or not isinstance(sample, str | int) or not is_text(str(sample)) or not str(sample):
        raise BenchmarkError(f"id is {sample!r}; expected the id of a sample, as text.")
    labels = {column: row.get(column) or "" for column in ("benchmark", "method", "model")}
    for column, value in labels.items():
        if not is_text(value):
            raise BenchmarkError(f"{column} is {value!r}; expected text.")
    size = row.get("image_size")
    if size is not None and not (isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size)):
        raise BenchmarkError(f"image_size is {size!r}; expected [width, height] in pixels.")
    return (labels["benchmark"], str(sample)), _boxes(row), (size[0], size[1]) if size else None, labels


def _boxes(row: Mapping[str, Any]) -> tuple[Box, ...]:
    if row.get("bbox") and row.get("bboxes"):
        raise BenchmarkError("it has both 'bbox' and 'bboxes'. Give all boxes in 'bboxes'.")
    boxes = row.get("bboxes") or ([row["bbox"]] if row.get("bbox") else [])
    if not isinstance(boxes, list):
        raise BenchmarkError(f"bboxes is {boxes!r}; expected a list of boxes.")
    if not boxes and not row.get("reason"):
        found = ", ".join(row) or "nothing"
        raise BenchmarkError(f"it has no 'bbox' or 'bboxes'. Found: {found}. Give xyxy pixels, or a 'reason' why not.")
    return tuple(_box(box) for box in boxes)


def _box(value: Any) -> Box:
    box = x0, y0, x1, y1 = four_numbers(value)
    if x0 >= x1 or y0 >= y1:
        raise BenchmarkError(f"bbox is {value!r}; expected xyxy with x0 < x1 and y0 < y1. Is it xywh? Convert it.")
    if max(box) <= 1:
        raise BenchmarkError(f"bbox is {value!r}, which lies within one pixel; expected pixels, not fractions.")
    return box
