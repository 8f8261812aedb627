"""TextVQA with ground-truth boxes: scene text with one clear target, from ViCrop (arXiv:2502.17422)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _reading import boxes_of, field

from gapbench.data.table_reader import read_rows
from gapbench.errors import BenchmarkError
from gapbench.types import Box, Card, Sample
from gapbench.views.boxes import TOLERANCE
from gapbench.views.images import stored_size

LOOKED_AT = 200
"""Images whose size is compared with their boxes before anything is asked, spread over all rows."""

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
    expected={"samples": 4370, "with evidence box": 4370},
    traps=(
        "That boxes are x, y, width, height is reported by two users and in no schema. The loader compares a sample of "
        f"{LOOKED_AT} boxes with their images and stops if fewer than 99 % fit; `check` compares them all.",
        "ViCrop itself shows the full image and the crop together; the gap is between the one and the other.",
        "ViCrop's categories are bins of the box's share of the image: S below 0.005, M below 0.05, L. They are no "
        "category here, as they need every image's size; records and reports have the evidence area.",
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
    found = boxes_of(value, where)
    if len(found) != 1:
        raise BenchmarkError(f"{where}: found {len(found)} boxes; expected one.")
    return found[0]


def _check_format(images: Sequence[Any], boxes: Sequence[Box]) -> None:
    """Whether boxes are a corner with width and height, in pixels: read so, two corners leave half of the images."""
    step = -(-len(boxes) // LOOKED_AT) or 1
    pairs = zip(images[::step], boxes[::step], strict=True)
    looked = [(stored_size(cell), box) for cell, box in pairs if cell is not None]
    wrong = [(size, box) for size, box in looked if not _fits(box, size)]
    if len(wrong) > 0.01 * len(looked):
        size, box = wrong[0]
        raise BenchmarkError(
            f"{CARD.name}: {len(wrong)} of {len(looked)} boxes are not x, y, width, height in pixels of the image, "
            f"such as {list(box)} in {size[0]} x {size[1]} px. Find out their format before you measure a gap: give "
            "the data as your own, with the right `bbox_format`."
        )


def _fits(box: Box, size: tuple[int, int]) -> bool:
    x, y, width, height = box
    inside = min(x, y, width, height) >= 0 and x + width <= size[0] + TOLERANCE and y + height <= size[1] + TOLERANCE
    return inside and max(box) > TOLERANCE  # else it is a fraction of the image
