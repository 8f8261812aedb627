"""Shared by the training sets in ZwZ's form: a clean image, the evidence's box, and a question with its options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from gapbench.data.archives import inside, unpacked
from gapbench.errors import BenchmarkError, SampleError
from gapbench.types import Sample
from gapbench.views.boxes import four_numbers

PICTURES = "original_images/original_images.tar.gz*"
"""One gzip tar of the clean images, which may be split into parts; made to be unpacked where it lies."""

HINT = re.compile(r"Only focus on the \w+ inside the red bounding box[^.\n]*\.")
INSTRUCTION = re.compile(r"\s*Answer with the option's letter[^\n]*\s*$")
OPTION = re.compile(r"^\(?([A-Z])[.)][ \t]*(\S.*)$", re.MULTILINE)


def read(data: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[Sample]:
    """One sample per row, with the row's number (from 0) as its id. Images are unpacked when the first row comes."""
    base: Path | None = None
    for number, row in enumerate(rows):
        try:
            name = _only(row["original_images"])
            box = four_numbers(row["bbox"])
            question, options = asked(row)
            answer = str(row["answer"]).strip()
        except (KeyError, TypeError, SampleError) as error:
            raise BenchmarkError(
                f"{data}: row {number}: {error!r}. Expected original_images (a list of one path), bbox (four pixels), "
                f"problem and answer; found {', '.join(row)}."
            ) from error
        base = base or unpacked(data, PICTURES, name)
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


def asked(row: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The question without the sentence about the red box, and its options.

    Options stand below the question as `A. red`; which of the two texts of a row holds them is not known for sure. A
    text without any is kept as it is.
    """
    problem, clean = str(row["problem"]), str((row.get("extra_info") or {}).get("question") or "")
    question, options = _parted(clean or problem)
    return question, options or _parted(problem)[1]


def _parted(text: str) -> tuple[str, tuple[str, ...]]:
    text = INSTRUCTION.sub("", HINT.sub("", text.replace("<image>", ""))).strip()
    found = list(OPTION.finditer(text))
    if len(found) < 2 or [m[1] for m in found] != [chr(ord("A") + i) for i in range(len(found))]:
        return text, ()
    return text[: found[0].start()].strip(), tuple(m[2].strip() for m in found)


def _only(values: Any) -> str:
    if not isinstance(values, list) or len(values) != 1 or not isinstance(values[0], str):
        raise SampleError(f"original_images is {values!r}")
    return values[0]
