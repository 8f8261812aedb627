"""MME-RealWorld: three sets in one format, with base64 text in the column `bytes` and some malformed options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from _lettered import is_option, letter_of, split_options
from _parts import parts

from gapbench.data import Protocol, Sample, read_rows

FILES = ("data/train-*.parquet",)
LICENCE = (
    "academic research only, no redistribution without approval (README of yfzhang114/MME-RealWorld); a Hub tag says "
    "apache-2.0"
)
RESTRICTED = "academic research only; no commercial use, no redistribution in whole or in part"
SCORING = "letter; accuracy over all questions, and by task and subtask"
ENGLISH = "The choices are listed below:"
CHINESE = "选项如下所示:"
MOST_PIXELS = 500_000_000
"""By the README, remote sensing images exceed 25 MP on average; their maximum is not known."""

TRAPS = (
    "Identify samples by `index`: `Question_id` of the raw files is not unique, and several questions share an image.",
    "`bytes` is base64 text, not bytes. Some images are RGBA or have a palette.",
    "Questions have five options; E says that the image does not show it. Two rows of Lite list (D) twice: they have "
    "five options, not six. One option contains a line break.",
    "Options that are not lettered A, B, C in order stay in the question text, as published.",
    "`l2-category` is not read: its spellings differ in case and letters (person, Person; Pedestrain).",
)

_NEEDS = ("index", "bytes", "question", "multi-choice options", "answer", "category")
_FULL_WIDTH = re.compile(r"\A\s*\uff08([A-Z])\uff09")
_PROMPTS = {
    ENGLISH: (
        "{published}\nSelect the best answer to the above multiple-choice question based on the image. "
        "Respond with only the letter (A, B, C, D, or E) of the correct option.\nThe best answer is: "
    ),
    CHINESE: (
        "{published}\n根据图像选择上述多项选择题的最佳答案。只需回答正确选项的字母（A, B, C, D 或 E）。\n最佳答案为： "  # noqa: RUF001
    ),
}


def protocols(lead: str) -> dict[str, Protocol]:
    """The protocols of a set; `lead` is ENGLISH or CHINESE. Both have one prompt and differ in grading."""
    return {
        "original": Protocol(
            prompt=_PROMPTS[lead],
            source="EvolvingLMMs-Lab/lmms-eval lmms_eval/tasks/mme_realworld/utils.py, by the authors",
            note="Theirs takes the first capital from A to E, wherever it stands; ours only a letter given as one.",
        ),
        "vision-opd": Protocol(
            prompt=_PROMPTS[lead],
            source="VisionOPD/Vision-OPD eval/prepare_data.py",
            note="Theirs is graded by rules and then by an LLM judge, ours by rules.",
        ),
    }


def samples_of(data: Path, lead: str) -> Iterator[Sample]:
    """The samples in `data/train-*.parquet`; `lead` precedes the options in the authors' prompt."""
    for row in read_rows(parts(data, FILES[0]), lazy=("bytes",), needs=_NEEDS):
        published = row["multi-choice options"] or ()
        lines = [str(line).strip() for line in (published.splitlines() if isinstance(published, str) else published)]
        question = str(row["question"]).strip()
        unique_lines = dict.fromkeys(_FULL_WIDTH.sub(r"(\1) ", " ".join(line.split())) for line in lines)
        before, options, after = split_options("\n".join(unique_lines))
        clean = options and not before and not after and is_option(row["answer"], options)
        yield Sample(
            id=str(row["index"]),
            image=row["bytes"],
            question=question if clean else "\n".join([question, *lines]),
            options=options if clean else (),
            answers=(letter_of(row["answer"], options if clean else (), f"row {row['index']}"),),
            answer_type="letter",
            category=str(row["category"] or ""),
            published="\n".join([f"{question} {lead}", *lines]),
            max_image_pixels=MOST_PIXELS,
        )
