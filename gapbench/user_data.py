"""A user's own data with no code: one JSON object a line.

    {"id": "1", "image": "street.jpg", "question": "What does the sign say?", "answer": "STOP",
     "bbox": [810, 402, 846, 431], "bbox_format": "xyxy"}

    gapbench measure MODEL -b mine.jsonl --out runs/mine

Needs `image` (a path relative to the file), `question` and `answer` or `answers`; takes `id` (default: the line's
number), `options`, `answer_type` (default: letter with options, else text), `bbox` or `bboxes` with `bbox_format`,
`crop_image`, `category` and `group` (samples of one group are one cluster; default: those that share a picture).

Limits: UTF-8 only; other columns are ignored, unless one looks like a misspelt name from above.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import string
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from gapbench.benchmark import Benchmark, is_text
from gapbench.boxes import FORMATS, four_numbers
from gapbench.errors import BenchmarkError, GapbenchError
from gapbench.images import URL
from gapbench.scoring import score
from gapbench.types import AnswerType, Box, BoxFormat, Card, Sample

ANSWER_TYPES: tuple[str, ...] = get_args(AnswerType)
COLUMNS = (
    "id", "image", "question", "answer", "answers", "options", "answer_type",
    "bbox", "bboxes", "bbox_format", "crop_image", "category", "group",
)  # fmt: skip


def load(path: Path) -> Benchmark:
    """The benchmark in a JSONL file; its name is the file's stem. Raises BenchmarkError when the file is missing."""
    if not path.is_file():
        raise BenchmarkError(f"Benchmark file {path}: not found.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    card = Card(
        name=path.stem, title=f"Own data: {path.name}", source=path.name, revision=f"sha256:{digest}", licence="own"
    )
    return Benchmark(path.stem, card, partial(read, path))


def read(path: Path) -> Iterator[Sample]:
    """The file's samples in order. Raises BenchmarkError naming the line, what was found and what was expected."""
    lines: dict[str, int] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                sample = _sample(path, number, _row(line))
            except GapbenchError as error:
                raise BenchmarkError(f"{path.name} line {number}: {error}") from error
            first = lines.setdefault(sample.id, number)
            if first != number:
                raise BenchmarkError(f"{path.name} line {number}: id {sample.id!r} is that of line {first}, too.")
            yield sample


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"not UTF-8 ({error.reason} at byte {error.start}). Save the file as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"not JSON ({error}). Expected one object a line.") from error
    if not isinstance(row, dict):
        raise BenchmarkError(f"found {type(row).__name__}; expected a JSON object.")
    for column in row.keys() - set(COLUMNS):
        near = difflib.get_close_matches(column, COLUMNS, n=1, cutoff=0.85)
        if near and near[0] not in row:
            raise BenchmarkError(f"column {column!r} is unknown. Did you mean {near[0]!r}?")
    return row


def _sample(path: Path, number: int, row: dict[str, Any]) -> Sample:
    for column in ("image", "question"):
        if _text(row, column) is None:
            raise BenchmarkError(f"column {column!r} is missing; expected text. Found columns: {', '.join(row)}.")
    options = _texts(row.get("options"), "options")
    kind = _text(row, "answer_type") or ("letter" if options else "text")
    answers = _answers(row, kind, options)
    boxes = _boxes(row)
    sample = Sample(
        id=_text(row, "id") or str(number),
        image=_path(path, row["image"]),
        question=row["question"],
        answers=answers,
        options=options,
        answer_type=cast("AnswerType", kind),
        boxes=boxes,
        box_format=_box_format(row, boxes),
        category=_text(row, "category") or "",
        cluster=_text(row, "group") or os.path.normpath(row["image"]),
        crop_image=_path(path, row["crop_image"]) if _text(row, "crop_image") else None,
    )
    score("", answers, sample.answer_type, options, sample.question)  # an answer its type cannot hold is refused now
    return sample


def _answers(row: dict[str, Any], kind: str, options: tuple[str, ...]) -> tuple[str, ...]:
    if kind not in ANSWER_TYPES:
        raise BenchmarkError(f"answer_type is {kind!r}; expected one of {', '.join(ANSWER_TYPES)}.")
    given = row.get("answers")
    if given is None and row.get("answer") is not None:
        given = [row["answer"]]
    if not given:
        raise BenchmarkError(
            f"column 'answer' (or 'answers') is missing or empty; expected text. Found columns: {', '.join(row)}."
        )
    answers = _texts(given, "answers")
    if kind != "letter":
        return answers
    if not 0 < len(options) <= len(string.ascii_uppercase):
        raise BenchmarkError(f"answer_type letter with {len(options)} options; expected a list of 1 to 26 `options`.")
    return tuple(_letter(answer, options) for answer in answers)


def _letter(answer: str, options: tuple[str, ...]) -> str:
    """The option's letter, whether the file gives the letter or the option's text."""
    letters = string.ascii_uppercase[: len(options)]
    by_text = [letter for letter, text in zip(letters, options, strict=True) if text.strip() == answer.strip()]
    by_letter = [letter for letter in letters if letter == answer.strip().strip("().").upper()]
    found = set(by_text + by_letter)
    if len(found) != 1:
        raise BenchmarkError(
            f"answer {answer!r} {'names several' if found else 'is none'} of the options {list(options)}. "
            "Give the option's letter or its exact text."
        )
    return found.pop()


def _boxes(row: dict[str, Any]) -> tuple[Box, ...]:
    if row.get("bbox") and row.get("bboxes"):
        raise BenchmarkError("it has both 'bbox' and 'bboxes'. Give all boxes in 'bboxes'.")
    boxes = row.get("bboxes") or ([row["bbox"]] if row.get("bbox") else [])
    if not isinstance(boxes, list):
        raise BenchmarkError(f"column 'bboxes' is {boxes!r}; expected a list of boxes.")
    return tuple(four_numbers(box) for box in boxes)


def _box_format(row: dict[str, Any], boxes: tuple[Box, ...]) -> BoxFormat:
    given = _text(row, "bbox_format")
    if given is None and boxes:
        raise BenchmarkError(f"it has boxes but no 'bbox_format'. Say which of {', '.join(FORMATS)} they are.")
    spelt = (given or "xyxy").strip().lower().replace("normalized", "normalised")
    if spelt not in FORMATS:
        raise BenchmarkError(f"bbox_format is {given!r}; expected one of {', '.join(FORMATS)}.")
    return cast("BoxFormat", spelt)


def _path(path: Path, given: str) -> Path:
    if URL.match(given):
        raise BenchmarkError(f"image {given[:200]}: URLs are not fetched. Download the file and give its path.")
    return path.parent / given


def _text(row: dict[str, Any], column: str) -> str | None:
    """A column's text, a number written out; None where it is missing, null or blank."""
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise BenchmarkError(f"column {column!r} is {str(value)[:200]!r} ({type(value).__name__}); expected text.")
    text = "" if value is None else str(value)
    if not is_text(text):
        raise BenchmarkError(f"column {column!r} is {text[:200]!r}, which holds half a surrogate pair; expected text.")
    return text if text.strip() else None


def _texts(value: Any, column: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BenchmarkError(f"column {column!r} is {value!r}; expected a list.")
    texts = [_text({column: v}, column) for v in value]
    if None in texts:
        raise BenchmarkError(f"column {column!r} is {value!r}; expected no empty entries.")
    return tuple(t for t in texts if t is not None)
