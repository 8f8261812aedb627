"""RealWorldQA: spatial questions about photographs, many from cars; a hold-out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from _lettered import is_option, letter_of, split_options
from _parts import parts

from gapbench.data import AnswerType, Card, Protocol, Sample, read_rows

CARD = Card(
    name="realworldqa",
    title="RealWorldQA: understanding of real-world space",
    source="xAI, Grok-1.5 Vision Preview, x.ai/blog/grok-1.5v",
    licence="CC BY-ND 4.0 as released by xAI; the copy that is read is tagged CC BY 4.0",
    role="hold-out",
    hub="lmms-lab/RealWorldQA",
    revision="907c4e5228fd1703c710ed937601cb5f89ab8d5c",
    files=("data/test-*.parquet",),
    split="test",
    scoring="letter if there are options; else yes or no, a number, or a short text by normalised match",
    cluster="image",
    restricted="no derivatives (CC BY-ND 4.0): changed images may not be passed on",
    protocols={
        "original": Protocol(
            prompt="{published}",
            source="EvolvingLMMs-Lab/lmms-eval lmms_eval/tasks/realworldqa; the text is xAI's",
            note="Theirs compares the whole answer after light filtering; ours also finds an answer in a sentence.",
        )
    },
    expected={"samples": 765},
    traps=(
        "Questions end with an instruction on the form of the answer; the neutral prompt replaces it by its own.",
        "Images are WebP. No column identifies a question, so ids are row numbers from 0.",
    ),
)

_NEEDS = ("image", "question", "answer")
_INSTRUCTION = re.compile(r"\s*Please answer directly with [^\n]*\Z")
_LETTER = re.compile(r"[A-H]")


def samples(data: Path) -> Iterator[Sample]:
    for number, row in enumerate(read_rows(parts(data, CARD.files[0]), lazy=("image",), needs=_NEEDS)):
        published, answer = str(row["question"]).strip(), str(row["answer"]).strip()
        plain = _INSTRUCTION.sub("", published)
        kind = _kind(answer)
        question, options, after = split_options(plain)
        if after or kind != "letter" or not is_option(answer, options):
            question, options = plain, ()
        yield Sample(
            id=str(number),
            image=row["image"],
            question=question,
            options=options,
            answers=(letter_of(answer, options, f"realworldqa row {number}") if kind == "letter" else answer,),
            answer_type=kind,
            published=published,
        )


def _kind(answer: str) -> AnswerType:
    if _LETTER.fullmatch(answer):
        return "letter"
    if answer.casefold().strip(".") in ("yes", "no"):
        return "yes_no"
    return "number" if re.fullmatch(r"\d+", answer) else "text"
