"""Vision-OPD-6K: the training questions of Vision-OPD (arXiv:2605.18740), on clean images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _region_to_image import read

from gapbench.data import BenchmarkError, Card, Protocol, Sample

HINT = "Only focus on the objects inside the red bounding box in the image to answer this question."
OPTIONS = "{dotted}\n\nAnswer with the option's letter from the given choices."

CARD = Card(
    name="vision_opd_6k",
    title="Vision-OPD-6K: training questions on small regions, multiple choice",
    source="arXiv:2605.18740, github.com/VisionOPD/Vision-OPD",
    licence="none known to us",
    role="training",
    hub="yuanqianhao/Vision-OPD-6K",
    revision="eb5c1c2e7b9a7b6a619efe4161c7369c71bf8af4",
    files=("train.jsonl", "original_images/original_images.tar.gz*"),
    split="train",
    region="padded:factor=1.1",
    box_format="xyxy",
    scoring="letter; distillation reads no answers",
    restricted=(
        "the images are SA-1B's, by their names (sa_*.jpg), whose licence allows research only; of a licence of the "
        "data set itself we know nothing."
    ),
    notice=(
        "Only the clean images are read (original_images, 6.2 GB packed). The released training shows the student "
        "the image with a red box and adds a sentence about it; to do the same, set student_view=boxed and "
        "protocol=released."
    ),
    protocols={
        "original": Protocol(
            prompt=f"\n{{question}}\n{OPTIONS}",
            source="train.jsonl, without its sentence about the red box",
            note="The line break at its start follows the image. Training without another protocol uses this one.",
        ),
        "released": Protocol(
            prompt=f"\n{{question}}\n\n{HINT}\n{OPTIONS}",
            source="train.jsonl, as released",
            note="It belongs to the view `boxed`: the sentence speaks of a red box.",
        ),
    },
    expected={"samples": 6241, "with evidence box": 6241},
    traps=(
        "`images` shows a red box and `problem` mentions it. Both reveal where to look, so neither is used.",
        "Some questions repeat an option (row 3882, for one: two are SNCF); `check` reports them as problems.",
        "Questions were written for the crop alone: without the red box, some may fit several places in the image.",
        "Answers come from votes of models and were not checked by people. Letters are uneven: in a sample of 1,216, A "
        "was 29 %.",
        "One fork found 21 of V*'s 191 images in this data, another found 3 byte-identical ones: keep "
        "contamination=drop.",
        "It is not known whether paths in the archive begin with `original_images/`: both forms are read.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """One sample per row of train.jsonl."""
    yield from read(data, _rows(data / "train.jsonl"))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise BenchmarkError(f"{path}: not found. Is the local copy complete?")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            try:
                yield dict(json.loads(line))
            except ValueError as error:
                raise BenchmarkError(f"{path}: row {number} is not a JSON object ({error}). Fetch it again.") from error
