"""A user's own data with no code: one JSON object a line.

    {"id": "1", "image": "street.jpg", "question": "What does the sign say?", "answer": "STOP",
     "bbox": [810, 402, 846, 431], "bbox_format": "xyxy"}

    gapbench measure MODEL -b mine.jsonl --out runs/mine

Needs `image` (a path relative to the file), `question` and `answer` or `answers`; takes `id` (default: the line's
number), `options`, `answer_type`, `bbox` or `bboxes` with `bbox_format`, `crop_image`, `category` and `group` (samples of
one group are one cluster; default: those that share a picture).
"""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gapbench.boxes import FORMATS
from gapbench.errors import BenchmarkError
from gapbench.types import AnswerType, Box, Card, Sample

if TYPE_CHECKING:
    from gapbench.catalogue import Benchmark

ANSWER_TYPES: tuple[str, ...] = get_args(AnswerType)
COLUMNS = frozenset(
    "id image question answer answers options answer_type bbox bboxes bbox_format crop_image category group".split()
)


def load(path: Path) -> Benchmark:
    """The benchmark in a JSONL file; its name is the file's stem. Raises BenchmarkError when the file is missing."""
    from gapbench.catalogue import Benchmark

    if not path.is_file():
        raise BenchmarkError(f"Benchmark file {path}: not found.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    card = Card(
        name=path.stem, title=f"Own data: {path.name}", source=path.name, revision=f"sha256:{digest}", licence="own"
    )
    return Benchmark(path.stem, card, partial(read, path))


def read(path: Path) -> Iterator[Sample]:
    """The file's samples in order. Raises BenchmarkError naming the line, what was found and what was expected."""
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _sample(path, number, line)


def _sample(path: Path, number: int, line: str) -> Sample:
    where = f"{path.name} line {number}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BenchmarkError(f"{where}: not JSON ({error}). Expected one object a line.") from error
    if not isinstance(row, dict):
        raise BenchmarkError(f"{where}: found {type(row).__name__}; expected a JSON object.")
    for column in ("image", "question"):
        if not isinstance(row.get(column), str) or not row[column].strip():
            raise BenchmarkError(
                f"{where}: column {column!r} is {'missing' if column not in row else repr(row[column])}; expected text. "
                f"Found columns: {', '.join(map(str, row))}."
            )
    options = tuple(map(str, _list(row.get("options"), where, "options")))
    answers = row.get("answers", [row["answer"]] if "answer" in row else None)
    if answers is None or answers in ([], [None], [""]):
        raise BenchmarkError(f"{where}: column 'answer' (or 'answers') is missing or empty.")
    answers = tuple(map(str, _list(answers, where, "answers")))
    kind = row.get("answer_type") or ("letter" if options else "text")
    if kind not in ANSWER_TYPES:
        raise BenchmarkError(f"{where}: answer_type is {kind!r}; expected one of {', '.join(ANSWER_TYPES)}.")
    if kind == "letter":
        answers = tuple(_letter(answer, options, where) for answer in answers)
    box_format = str(row.get("bbox_format", "xyxy")).replace("normalized", "normalised")
    boxes = _boxes(row, where)
    if boxes and "bbox_format" not in row:
        raise BenchmarkError(f"{where}: it has boxes but no 'bbox_format'. Say which of {', '.join(FORMATS)} they are.")
    if box_format not in FORMATS:
        raise BenchmarkError(f"{where}: bbox_format is {box_format!r}; expected one of {', '.join(FORMATS)}.")
    image = path.parent / row["image"]
    return Sample(
        id=str(row.get("id", number)),
        image=image,
        question=row["question"],
        answers=answers,
        options=options,
        answer_type=kind,
        boxes=boxes,
        box_format=box_format,
        category=str(row.get("category") or ""),
        cluster=str(row.get("group") or row["image"]),
        crop_image=path.parent / row["crop_image"] if row.get("crop_image") else None,
    )


def _letter(answer: str, options: tuple[str, ...], where: str) -> str:
    """The option's letter, whether the file gives the letter or the option's text."""
    letters = string.ascii_uppercase[: len(options)]
    by_text = [letter for letter, text in zip(letters, options, strict=False) if text.strip() == answer.strip()]
    by_letter = [letter for letter in letters if letter == answer.strip().strip("().").upper()]
    found = set(by_text + by_letter)
    if len(found) != 1:
        raise BenchmarkError(
            f"{where}: answer {answer!r} {'names several' if found else 'is none'} of the options {list(options)}. "
            "Give the option's letter or its exact text."
        )
    return found.pop()


def _boxes(row: dict[str, Any], where: str) -> tuple[Box, ...]:
    boxes = row.get("bboxes")
    if boxes is None:
        boxes = [] if row.get("bbox") is None else [row["bbox"]]
    result: list[Box] = []
    for box in _list(boxes, where, "bboxes"):
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
            raise BenchmarkError(f"{where}: box {box!r}; expected four numbers.")
        result.append((float(box[0]), float(box[1]), float(box[2]), float(box[3])))
    return tuple(result)


def _list(value: Any, where: str, column: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BenchmarkError(f"{where}: column {column!r} is {value!r}; expected a list.")
    return value
