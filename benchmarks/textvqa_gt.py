"""TextVQA with ground-truth boxes: scene text with one clear target, from ViCrop (arXiv:2502.17422)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _reading import boxes_of, field

from gapbench.data import TOLERANCE, BenchmarkError, Box, Card, Sample, read_rows, stored_size

CHECKED_BOXES = 200
"""The loader compares about this many boxes, spread over all rows, with the sizes of their images."""

CARD = Card(
    name="textvqa_gt",
    title="TextVQA with ground-truth boxes: text in photographs, one target each",
    source="huggingface.co/datasets/jrzhang/TextVQA_GT_bbox; code github.com/saccharomycetes/mllms_know",
    licence="TextVQA: CC BY 4.0; none stated for the boxes",
    hub="jrzhang/TextVQA_GT_bbox",
    revision="4a0fae0da919af44db46d93ab1a1e128daad2de6",
    files=("*.parquet",),
    split="train (all there is: of the 5,000 validation questions of TextVQA, those with one clear target)",
    region="padded",
    box_format="xywh",
    scoring="vqa (10 references)",
    official="vicrop",
    expected={"samples": 4370, "with evidence box": 4370},
    traps=(
        "Two users report that boxes are x, y, width, height; no schema says so. The loader compares about "
        f"{CHECKED_BOXES} boxes with their images and stops if fewer than 99 % fit; `check` compares them all.",
        "ViCrop itself shows the full image and the crop together; the gap compares one with the other.",
        "ViCrop's categories are bins of the box's share of the image: S below 0.005, M below 0.05, L above. They need "
        "the size of every image, so they are not categories here; records and reports have the evidence area.",
        "ViCrop's min(0.3 * matches, 1) and the leave-one-out accuracy used here are equal for 10 references; tools "
        "differ in how they normalise text.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """`data` holds the Parquet file or files of the data set, at any depth."""
    files = sorted(data.rglob("*.parquet"))
    if not files:
        raise BenchmarkError(f"{data}: found no .parquet file. Expected the files of {CARD.hub}.")
    needs = ("image", "question", "answer", "dataset_id", "bbox")
    rows = list(read_rows(files, lazy=("image",), needs=needs))
    boxes = [_box(row["bbox"], f"row {number}") for number, row in enumerate(rows)]
    _check_format([row["image"] for row in rows], boxes)
    for number, (row, box) in enumerate(zip(rows, boxes, strict=True)):
        where = f"row {number}"
        yield Sample(
            id=str(field(row, "dataset_id", where)),
            image=row["image"],
            question=field(row, "question", where),
            answers=tuple(field(row, "answer", where)),
            answer_type="vqa",
            boxes=(box,),
        )


def _box(value: Any, where: str) -> Box:
    boxes = boxes_of(value, where)
    if len(boxes) != 1:
        raise BenchmarkError(f"{where}: found {len(boxes)} boxes; expected one.")
    return boxes[0]


def _check_format(images: Sequence[Any], boxes: Sequence[Box]) -> None:
    """Raise BenchmarkError unless boxes are x, y, width, height in pixels.

    If they were two corners, about half of them would reach beyond their images.
    """
    step = -(-len(boxes) // CHECKED_BOXES) or 1
    pairs = zip(images[::step], boxes[::step], strict=True)
    checked = [(stored_size(cell), box) for cell, box in pairs if cell is not None]
    wrong = [(size, box) for size, box in checked if not _fits(box, size)]
    if len(wrong) > 0.01 * len(checked):
        size, box = wrong[0]
        raise BenchmarkError(
            f"{CARD.name}: {len(wrong)} of {len(checked)} boxes are not x, y, width, height in pixels of the image, "
            f"such as {list(box)} in {size[0]} x {size[1]} px. Find out their format before you measure a gap: pass "
            "the data as your own, with the right `bbox_format`."
        )


def _fits(box: Box, size: tuple[int, int]) -> bool:
    x, y, width, height = box
    fits = min(x, y, width, height) >= 0 and x + width <= size[0] + TOLERANCE and y + height <= size[1] + TOLERANCE
    return fits and max(box) > TOLERANCE  # smaller values are fractions of the image
