"""Reads training sets in the format of ZwZ: a clean image, an evidence box, and a question with its options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from gapbench.data import BenchmarkError, Sample, SampleError, four_numbers, inside, unpacked

IMAGE_ARCHIVE = "original_images/original_images.tar.gz*"
"""The clean images: a gzip tar, possibly in parts, whose file names start at `data` or at its own folder."""

HINT = re.compile(r"Only focus on the \w+ inside the red bounding box[^.\n]*\.")
INSTRUCTION = re.compile(r"\s*Answer with the option's letter[^\n]*\s*$")
OPTION = re.compile(r"^\(?([A-Z])[.)][ \t]*(\S.*)$", re.MULTILINE)


def read(data: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[Sample]:
    """One sample per row; its id is the number of the row, from 0. The first row unpacks the images."""
    base: Path | None = None
    for number, row in enumerate(rows):
        try:
            name = _single_path(row["original_images"])
            box = four_numbers(row["bbox"])
            question, options = question_and_options(row)
            answer = str(row["answer"]).strip()
        except (KeyError, TypeError, SampleError) as error:
            raise BenchmarkError(
                f"{data}: row {number}: {error!r}. Expected original_images (a list of one path), bbox (four pixels), "
                f"problem and answer; found {', '.join(row)}."
            ) from error
        base = base or unpacked(data, IMAGE_ARCHIVE, name)
        lettered = len(answer) == 1 and answer in ascii_uppercase[: len(options)]
        yield Sample(
            id=str(number),
            image=inside(base, name),
            question=question,
            answers=(answer,),
            options=options,
            answer_type="letter" if lettered else "text",
            boxes=(box,),
            cluster=Path(name).stem,
        )


def question_and_options(row: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The question without the sentence about the red box, and its options.

    Options follow the question as lines such as `A. red`, in one of the two texts of a row; it is not certain in which.
    A text without options stays as it is.
    """
    problem, clean = str(row["problem"]), str((row.get("extra_info") or {}).get("question") or "")
    question, options = _split_text(clean or problem)
    return question, options or _split_text(problem)[1]


def _split_text(text: str) -> tuple[str, tuple[str, ...]]:
    text = INSTRUCTION.sub("", HINT.sub("", text.replace("<image>", ""))).strip()
    labels = list(OPTION.finditer(text))
    if len(labels) < 2 or [m[1] for m in labels] != [chr(ord("A") + i) for i in range(len(labels))]:
        return text, ()
    return text[: labels[0].start()].strip(), tuple(m[2].strip() for m in labels)


def _single_path(values: Any) -> str:
    if not isinstance(values, list) or len(values) != 1 or not isinstance(values[0], str):
        raise SampleError(f"original_images is {values!r}")
    return values[0]
