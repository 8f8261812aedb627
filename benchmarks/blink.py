"""BLINK: fourteen perception tasks that people solve within a blink, on one to four images; a hold-out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from _lettered import letter_of, option_texts, split_options
from _parts import parts

from gapbench.data import BenchmarkError, Card, Protocol, Sample, read_rows

TASKS = {
    "Art_Style": 117,
    "Counting": 120,
    "Forensic_Detection": 132,
    "Functional_Correspondence": 130,
    "IQ_Test": 150,
    "Jigsaw": 150,
    "Multi-view_Reasoning": 133,
    "Object_Localization": 122,
    "Relative_Depth": 124,
    "Relative_Reflectance": 134,
    "Semantic_Correspondence": 139,
    "Spatial_Relation": 143,
    "Visual_Correspondence": 172,
    "Visual_Similarity": 135,
}
"""Folders of the data set, with the sizes of their validation splits (source: evalscope's documentation)."""

CARD = Card(
    name="blink",
    title="BLINK: fourteen perception tasks, one to four images each",
    source="Fu et al., BLINK, arXiv 2404.12390",
    licence="Apache-2.0",
    role="hold-out",
    hub="BLINK-Benchmark/BLINK",
    revision="cbb5717ea541ba92bbf9a63b99972493a1a133b8",
    files=("*/val-*.parquet",),
    split="val",
    scoring="letter; the mean over the fourteen tasks",
    cluster="image (all images of a question together)",
    metrics=("category_mean",),
    protocols={
        "original": Protocol(
            prompt="{published}",
            metric="category_mean",
            source="zeyofu/BLINK_Benchmark eval/evaluate.py; the prompt is a column of the data",
            note="Theirs lets a GPT match unclear answers to options, ours are unparsed.",
        )
    },
    expected={"samples": 1901, **TASKS},
    checked="ids and answers, zeyofu/BLINK_Benchmark @ 2d6a779 (2026-11); no questions, no images",
    traps=(
        "Answers of the test split are hidden: only val is read.",
        "The column `question` is too short for many tasks: only `prompt` explains the marks REF, A and B, or says "
        "that the images are frames of a video. The question is therefore the text of `prompt`, up to its options.",
        "A question has up to four images, and all are shown, in order. An engine that takes one image cannot run "
        "this.",
        "Some images are marked (circles, boxes, letters): a crop or resize may remove what the question refers to.",
        "The official score is the mean over tasks, not over questions; tasks have 117 to 172 questions.",
    ),
)

_IMAGES = ("image_1", "image_2", "image_3", "image_4")
_NEEDS = ("idx", "question", "image_1", "choices", "answer", "prompt")
_OPTIONS = re.compile(r"\s*Select from the following (?:choices|options)\b.*\Z", re.DOTALL)
"""The start of the options in `prompt`; both wordings occur, after a space or a line break."""


def samples(data: Path) -> Iterator[Sample]:
    for task in TASKS:
        for row in read_rows(parts(data, f"{task}/val-*.parquet"), lazy=_IMAGES, needs=_NEEDS):
            where = f"{task} row {row['idx']}"
            published = str(row["prompt"]).strip()
            choices = row["choices"]
            options = option_texts(choices if isinstance(choices, list) else split_options(published)[1], where)
            images = [row[name] for name in _IMAGES if row[name] is not None]
            if not images:
                raise BenchmarkError(f"{where}: it has no image; expected one to four. Fetch the file again.")
            yield Sample(
                id=str(row["idx"]),
                image=images[0],
                more_images=tuple(images[1:]),
                question=_OPTIONS.sub("", published) or str(row["question"]).strip(),
                options=options,
                answers=(letter_of(row["answer"], options, where),),
                answer_type="letter",
                category=task,
                published=published,
            )
