"""CV-Bench: counting, relations, depth and distance from ADE20K, COCO and Omni3D; a hold-out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from _lettered import letter_of, option_texts, split_options

from gapbench.data import Card, Protocol, Published, Sample, read_rows

CARD = Card(
    name="cvbench",
    title="CV-Bench: 2D and 3D understanding",
    source="Tong et al., Cambrian-1, arXiv 2406.16860",
    licence="Apache-2.0",
    role="hold-out",
    hub="nyu-visionx/CV-Bench",
    revision="bc284db50d036958861cb60cdd7b77612052ce0d",
    files=("test_2d.parquet", "test_3d.parquet"),
    split="test (configurations 2D and 3D)",
    scoring="letter; half 2D and half 3D",
    official="cv-bench",
    cluster="image",
    metrics=("category_mean", "nested_mean"),
    protocols={
        "original": Protocol(
            prompt="{published}\nAnswer with the option's letter from the given choices directly.",
            metric="nested_mean",
            source="cambrian-mllm/cambrian eval/eval/ade/ade_eval.py; the formula is the data set page's",
            note="Half of (the mean of ADE20K and COCO) plus half of Omni3D.",
        ),
        "vision-opd": Protocol(
            prompt="{published}",
            metric="category_mean",
            source="VisionOPD/Vision-OPD eval/prepare_data.py and cal_acc.py",
            note="The mean of 2D and 3D. Theirs is graded by rules and then by an LLM judge, ours by rules.",
        ),
    },
    expected={"samples": 2638, "3D/Omni3D": 1200},
    reference=(
        Published("Qwen3.5-4B", 87.21, "WormLK reproduction", metric="category_mean", note="also cited as the paper's"),
        Published("Qwen3.5-4B", 87.13, "Vision-OPD paper, cited by others", "full", "vision-opd", "category_mean"),
    ),
    traps=(
        "Three averages are in use: over all questions (lmms-eval), of 2D and 3D (Vision-OPD), and over sources first "
        "(the authors).",
        "`idx` may restart in each file, so ids contain 2D or 3D.",
        "Other columns hold boxes of the objects that are marked in the image. They are not evidence, and are not "
        "read.",
        "Older commits have one test.parquet instead of the two files.",
    ),
)

_NEEDS = ("idx", "type", "image", "question", "choices", "answer", "prompt", "source")


def samples(data: Path) -> Iterator[Sample]:
    for name in CARD.files:
        for row in read_rows(data / name, lazy=("image",), needs=_NEEDS):
            where = f"{name} row {row['idx']}"
            published = str(row["prompt"]).strip()
            choices = row["choices"]
            options = option_texts(choices if isinstance(choices, list) else split_options(published)[1], where)
            yield Sample(
                id=f"{row['type']}-{row['idx']}",
                image=row["image"],
                question=str(row["question"]).strip(),
                options=options,
                answers=(letter_of(row["answer"], options, where),),
                answer_type="letter",
                category=f"{row['type']}/{row['source']}",
                published=published,
            )
