"""V* Bench: a small object, or the relation of two, in high-resolution photographs (arXiv:2312.14135).

Only the side file, the JSON file beside each image, has the boxes. `test_questions.jsonl` has the question, the order
of its options and the answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _lettered import letter_of, split_options
from _reading import boxes_of, field, json_file, json_lines

from gapbench.data import BenchmarkError, Card, Protocol, Published, Sample, inside

FOLDERS = ("direct_attributes", "relative_position")
QUESTIONS = "test_questions.jsonl"

CARD = Card(
    name="vstar",
    title="V* Bench: attributes and relations of small objects in large photographs",
    source="huggingface.co/datasets/craigwu/vstar_bench; code github.com/penghao-wu/vstar",
    licence="none stated for the data (code: MIT); the images are from SA-1B",
    hub="craigwu/vstar_bench",
    revision="d9ae62c903da0c98336e85c5ee89cd863b04b4da",
    files=(QUESTIONS, *(f"{folder}/*" for folder in FOLDERS)),
    split="test",
    region="padded:factor=1.2,min_side=224",
    box_format="xywh",
    scoring="letter",
    protocols={
        "original": Protocol(
            prompt="{published}",
            source="the text of test_questions.jsonl",
            note="The authors' own script compares likelihoods of sentences instead (vstar_bench_eval.py): not "
            "offered.",
        ),
        "vision-opd": Protocol(
            prompt="{question}{options}\nAnswer with the option's letter from the given choices directly.",
            source="VisionOPD/Vision-OPD eval/prepare_data.py",
            note="They re-encode images as PNG of at most 20 MB and let a judge see what their letter rule calls "
            "wrong; here images stay as stored and rules alone decide.",
        ),
    },
    expected={
        "samples": 191,
        "with evidence box": 191,
        "direct_attributes": 115,
        "relative_position": 76,
    },
    reference=(
        Published("Qwen2.5-VL-7B", 75.5, "Mini-o3"),
        Published("Qwen2.5-VL-7B", 71.2, "CVSearch"),
        Published("Qwen2.5-VL-7B", 80.1, "ZwZ model card"),
        Published("Qwen3.5-4B", 84.29, "Vision-OPD paper", protocol="vision-opd"),
        Published("Qwen3.5-4B", 82.72, "WormLK reproduction"),
        Published("Qwen3.5-4B", 83.48, "WormLK reproduction", part="direct_attributes"),
        Published("Qwen3.5-4B", 81.58, "WormLK reproduction", part="relative_position"),
        Published("Qwen3.5-9B", 82.72, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-4B", 92.15, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-9B", 94.76, "Vision-OPD paper", protocol="vision-opd"),
        Published("GPT-5-mini", 73.8, "InSight-o3"),
    ),
    checked="all questions and answers, m-Just/InSight-o3 @ 21acec8 (2026-11); no images, no boxes",
    traps=(
        "Boxes are x, y, width, height: read as two corners they are inverted or tiny.",
        "The Parquet view of the Hub and other copies (lmms-lab/vstar-bench, VStarBench.tsv) have no boxes.",
        "The folders GPT4V-hard and OCR are not part of the 191.",
        "In the side files (the JSON beside each image) the first option is always right, and options are sentences. "
        "Evaluators that keep that order reward a bias towards A. Here the options and their order come from "
        "test_questions.jsonl. Without that file, the sentences are shuffled with one seed per question.",
        "A relation needs both objects, so the region is the union of the targets, padded as V* pads (1.2-fold, at "
        "least 224 px).",
        "Published scores of one model differ by up to 9 points, by prompt and pixel budget. One question is 0.52 "
        "points.",
        "Reportedly, 21 of the images also occur in Vision-OPD-6K.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """`data` holds the two folders of images and side files, and `test_questions.jsonl`."""
    if not any(next((data / folder).glob("*.json"), None) for folder in FOLDERS):
        raise BenchmarkError(
            f"{data}: found no side files ({FOLDERS[0]}/*.json), the only ones with the boxes of V*. Use the files "
            f"of {CARD.hub}; Parquet and TSV copies have no boxes, and can only be measured in the full view, as your "
            "own data."
        )
    yield from _from_questions(data) if (data / QUESTIONS).is_file() else _from_side_files(data)


def _from_questions(data: Path) -> Iterator[Sample]:
    for number, row in enumerate(json_lines(data / QUESTIONS), 1):
        where = f"{QUESTIONS} line {number}"
        image = inside(data, field(row, "image", where))
        if image.parent.name not in FOLDERS:
            continue
        text = field(row, "text", where)
        question, options, _ = split_options(text)
        if not question or not options:
            raise BenchmarkError(f"{where}: its text is {text!r}; expected a question and lettered lines '(A) ...'.")
        answer = letter_of(field(row, "label", where), options, where)
        yield _sample(image, json_file(image.with_suffix(".json")), question, options, answer, text.strip())


def _from_side_files(data: Path) -> Iterator[Sample]:
    for folder in FOLDERS:
        for path in sorted((data / folder).glob("*.json")):
            side, where = json_file(path), f"{folder}/{path.name}"
            options = tuple(field(side, "options", where))
            order = random.Random(f"vstar {folder}/{path.stem}").sample(range(len(options)), len(options))
            answer = "ABCDEFGHIJK"[order.index(0)]
            shuffled = tuple(options[i] for i in order)
            yield _sample(path.with_suffix(".jpg"), side, field(side, "question", where), shuffled, answer)


def _sample(
    image: Path, side: Any, question: str, options: tuple[str, ...], answer: str, published: str = ""
) -> Sample:
    name = f"{image.parent.name}/{image.stem}"
    return Sample(
        id=name,
        image=image,
        question=question,
        answers=(answer,),
        options=options,
        answer_type="letter",
        boxes=boxes_of(field(side, "bbox", f"{name}.json"), f"{name}.json"),
        category=image.parent.name,
        published=published,
    )
