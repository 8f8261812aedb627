"""MMStar: multiple choice that cannot be answered without the image; a hold-out."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from pathlib import Path

from _lettered import is_option, letter_of, option_texts, split_options

from gapbench.data import BenchmarkError, Card, Protocol, Published, Sample, read_rows

CARD = Card(
    name="mmstar",
    title="MMStar: six capabilities, 250 questions each",
    source="Chen et al., Are We on the Right Way for Evaluating Large Vision-Language Models?, arXiv 2403.20330",
    licence="none stated on the data set page; collected from MMBench, SEED, ScienceQA, AI2D, MMMU and MathVista",
    role="hold-out",
    hub="Lin-Chen/MMStar",
    revision="bc98d668301da7b14f648724866e57302778ab27",
    files=("mmstar.parquet",),
    split="val",
    scoring="letter; accuracy, and by capability",
    official="mmstar",
    cluster="image",
    protocols={
        "original": Protocol(
            prompt=(
                "Question: {question}\nOptions:{dotted}\nPlease select the correct answer from the options above. \n"
            ),
            source="MMStar-Benchmark/MMStar eval/vlmeval/utils/dataset.py",
            note=(
                "Theirs reads options from columns of MMStar.tsv, ours takes them out of the question; where that is "
                "not possible they stand in the question."
            ),
        ),
        "vision-opd": Protocol(
            prompt="{published}",
            source="VisionOPD/Vision-OPD eval/prepare_data.py",
            note=(
                "Theirs takes the first capital before a full stop, a bracket or a space for the letter, then asks an "
                "LLM judge: 'Answer: **D**' is read as A. Ours reads D."
            ),
        ),
    },
    expected={
        "samples": 1500,
        "coarse perception": 250,
        "fine-grained perception": 250,
        "instance reasoning": 250,
        "logical reasoning": 250,
        "math": 250,
        "science & technology": 250,
        "oddity: equal options": 6,
    },
    reference=(
        Published("Qwen3.5-4B", 80.0, "WormLK reproduction", note="also cited as the Vision-OPD paper's"),
        Published("Qwen3.5-4B", 78.53, "Vision-OPD paper, cited by others", protocol="vision-opd"),
    ),
    checked="all questions and answers, MMStar-Benchmark/MMStar @ 88f243a (2026-11); no images",
    traps=(
        "`image` holds raw bytes and is not a Hub image, although the README says so.",
        "Options are part of `question`, mostly as 'Options: A: ..., B: ...'. Options in another form stay in it.",
        "Questions with two or three options are filled up to four with options that read nan (176 are reported). The "
        "neutral prompt leaves these out; the protocol vision-opd shows them as published. In two questions the right "
        "option reads nan: it was 'None' until a program read it as a missing value (VLMEvalKit issue 1559).",
        "In six questions two options are the same.",
        "Questions from MathVista begin with a hint on the form of the answer, which the neutral prompt leaves out.",
    ),
)

_NEEDS = ("index", "question", "image", "answer", "category")
_HINT = re.compile(r"\AHint: Please answer the question and provide the correct option letter[^\n]*\nQuestion: *")
_OPTION = re.compile(r"(?:\A|,|\n)\s*([A-H]):")


def samples(data: Path) -> Iterator[Sample]:
    for row in read_rows(data / "mmstar.parquet", lazy=("image",), needs=_NEEDS):
        published = str(row["question"]).strip()
        question, options = _split_question(published, str(row["answer"]).strip())
        yield Sample(
            id=str(row["index"]),
            image=row["image"],
            question=question,
            options=options,
            answers=(letter_of(row["answer"], options, f"mmstar row {row['index']}"),),
            answer_type="letter",
            category=str(row["category"]),
            published=published,
        )


def _split_question(published: str, answer: str) -> tuple[str, tuple[str, ...]]:
    """The question and its options, or the entire text and no options if they cannot be clearly separated."""
    question, options, after = split_options(published)
    if options and not after:
        question = _HINT.sub("", question.removesuffix("Choices:"))
    else:
        question, _, inline = published.rpartition("\nOptions:")
        options = _inline(inline)
    while options and options[-1].casefold() == "nan" and answer != string.ascii_uppercase[len(options) - 1]:
        options = options[:-1]
    clear = question.strip() and len(options) > 1 and is_option(answer, options)
    return (question.strip(), options) if clear else (published, ())


def _inline(text: str) -> tuple[str, ...]:
    """The options of a text such as `A: red, B: blue, green, C: grey`; empty for any other text."""
    before, *pieces = _OPTION.split(text.strip())
    options = tuple(piece.strip() for piece in pieces[1::2])
    if not before and all(options) and "".join(pieces[::2]) == string.ascii_uppercase[: len(options)]:
        return options
    try:
        return option_texts(text, "")
    except BenchmarkError:
        return ()
