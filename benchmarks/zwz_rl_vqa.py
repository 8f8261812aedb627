"""ZwZ-RL-VQA: the training questions of Zooming without Zooming (arXiv:2602.11858), on clean images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from _region_to_image import read

from gapbench.data import BenchmarkError, Card, Sample, open_table, read_rows

CARD = Card(
    name="zwz_rl_vqa",
    title="ZwZ-RL-VQA: training questions on small regions, mostly with short answers",
    source="arXiv:2602.11858, github.com/inclusionAI/Zooming-without-Zooming",
    licence="Apache-2.0",
    role="training",
    hub="inclusionAI/ZwZ-RL-VQA",
    files=("train*.parquet", "original_images/original_images.tar.gz*"),
    split="train",
    region="padded:factor=1.1",
    box_format="xyxy",
    scoring="letter or text; distillation reads no answers",
    restricted=(
        "the images come from SA-1B, LAION, MetaCLIP, Visual Genome, CC12M and STPLS3D and keep their terms; that of "
        "SA-1B allows research only."
    ),
    notice=(
        "Not pinned: we know no commit of this data set, so the newest is fetched (about 48 GB of clean images). ZwZ "
        "itself trains on images with a red box. These are never read: their full view shows where to look, so no gap "
        "can be measured on them. student_view=boxed draws such a box."
    ),
    traps=(
        "The format is reported by two users of the data, not by its authors: train1.parquet names clean images in "
        "`original_images`. A table that has only `images` (with the red box) is refused.",
        "Row counts differ by source: 37K and 74K, and 110,988 for all tables together.",
        "Rows repeat: one user removed identical questions with different answers. `check` reports repeated questions.",
        "Answers come from votes of models and were not checked by people. Most are short texts, so exact match "
        "understates the accuracy.",
        "Many questions share an image; they are one cluster.",
    ),
)


def samples(data: Path, table: str = "train1.parquet") -> Iterator[Sample]:
    """One sample per row of one table."""
    columns = open_table(data / table, needs=("problem", "answer", "bbox")).data.column_names
    if "original_images" not in columns:
        raise BenchmarkError(
            f"{data / table}: it names no clean images (original_images): {', '.join(columns)}. `images` shows a "
            "red box, which reveals where to look: it is no full view. Name another table: "
            "zwz_rl_vqa:table=FILE.parquet."
        )
    yield from read(data, read_rows(data / table))
