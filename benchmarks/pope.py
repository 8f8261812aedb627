"""POPE: questions whether an object is in the image; a hold-out for hallucination."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from _parts import parts

from gapbench.data import Card, Protocol, Published, Sample, read_rows

CARD = Card(
    name="pope",
    title="POPE: polling for objects that are there and objects that are not",
    source="Li et al., Evaluating Object Hallucination in Large Vision-Language Models, arXiv 2305.10355",
    licence="none stated on the data set page; images of MS COCO",
    role="hold-out",
    hub="lmms-lab/POPE",
    revision="4db1276663dfa5eb8ad16a52d24c31a09e470896",
    files=("data/test-*.parquet",),
    split="test",
    scoring="yes or no; accuracy, F1 of yes, and the share of answers that are yes",
    official="pope",
    cluster="image (18 questions)",
    metrics=("yes_f1", "yes_ratio"),
    protocols={
        "original": Protocol(
            prompt="{question}",
            metric="yes_f1",
            source="AoiDragon/POPE, arXiv 2305.10355",
            note=(
                "Theirs takes every answer without 'no' or 'not' for a yes; ours leaves unclear ones unparsed. They "
                "report the three ways to choose objects apart: see the categories."
            ),
        ),
        "vision-opd": Protocol(
            prompt="{question}\nAnswer the question using a single word or phrase.",
            source="VisionOPD/Vision-OPD eval/prepare_data.py and cal_acc.py",
            note="Their yes ratio is that of the true answers, ours that of the model's.",
        ),
    },
    expected={
        "samples": 9000,
        "clusters": 500,
        "adversarial": 3000,
        "popular": 3000,
        "random": 3000,
    },
    reference=(
        Published("Qwen3.5-4B", 89.27, "WormLK reproduction", note="also cited as the Vision-OPD paper's"),
        Published("Qwen3.5-4B", 88.28, "Vision-OPD paper, cited by others", protocol="vision-opd"),
    ),
    checked="all questions and answers, AoiDragon/POPE @ 08d957b (2026-11); no images",
    traps=(
        "Questions about objects that are present are the same in all three categories, so the 9,000 rows hold fewer "
        "distinct questions. The 18 questions about one image are not independent of each other.",
        "`question_id` restarts in each category, so ids contain the category.",
        "Half of the true answers are yes, so the yes ratio of the true answers says nothing about a model.",
        "The Hub data set holds the same rows a second time under Full/.",
    ),
)

_NEEDS = ("question_id", "question", "answer", "image_source", "image", "category")


def samples(data: Path) -> Iterator[Sample]:
    for row in read_rows(parts(data, CARD.files[0]), lazy=("image",), needs=_NEEDS):
        yield Sample(
            id=f"{row['category']}-{row['question_id']}",
            image=row["image"],
            question=str(row["question"]).strip(),
            answers=(str(row["answer"]).strip().lower(),),
            answer_type="yes_no",
            category=str(row["category"]),
            cluster=str(row["image_source"]),
        )
