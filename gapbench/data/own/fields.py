"""From a row to a sample; whatever is wrong with it is said by its column.

sample(Fields(columns, {"image": "street.jpg", "question": "What?", "answer": "STOP"}), "1", Path("data"), {})
"""

from __future__ import annotations

import ast
import json
import math
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from gapbench.data.benchmark import is_text
from gapbench.data.own.columns import Fields, refuse_misspelt, settle
from gapbench.data.own.image_cells import images, place
from gapbench.data.own.readers import Reader
from gapbench.errors import BenchmarkError, GapbenchError
from gapbench.scoring import score
from gapbench.types import AnswerType, Box, BoxFormat, Sample
from gapbench.views.boxes import FORMATS, four_numbers

ANSWER_TYPES: tuple[str, ...] = get_args(AnswerType)

T = TypeVar("T")


@dataclass(frozen=True)
class Manner:
    """How cells are to be understood: the separator of lists in text, and what images may be."""

    list_separator: str = ""
    urls: bool = False
    max_image_pixels: int = 0


def samples(reader: Reader, given: Mapping[str, str], manner: Manner) -> Iterator[Sample]:
    """The samples in order. Raises BenchmarkError naming the row, what was found and what was expected."""
    columns = settle(given, reader.columns if given else (), reader.name)
    first: dict[str, str] = {}
    for where, row in reader.read(columns.images):
        try:
            refuse_misspelt(columns, row)
            sample = _sample(Fields(columns, row), where.rpartition(" ")[2], reader.folder, manner)
            if first.setdefault(sample.id, where) != where:
                raise BenchmarkError(
                    f"id {sample.id!r} is that of {first[sample.id]}, too. Make it unique, or say :id=- behind the "
                    "name to count instead."
                )
        except GapbenchError as error:
            raise BenchmarkError(f"{reader.name} {where}: {error}") from error
        yield sample


def _sample(fields: Fields, number: str, folder: Path, manner: Manner) -> Sample:
    def read_images(value: Any) -> tuple[Any, ...]:
        return images(_several(value), folder, manner.urls)

    shown = _needed(fields, "image", "an image", read_images)
    more = _read(fields, "more_images", read_images) or ()
    crops = _read(fields, "crop_image", read_images) or (None,)
    if len(crops) > 1:
        raise BenchmarkError(f"{fields.called('crop_image')} has {len(crops)} images; expected one.")
    options = _texts(fields, "options", manner)
    kind = _text(fields, "answer_type") or ("letter" if options else "text")
    answers = _answers(fields, kind, options, manner)
    boxes = _boxes(fields)
    question = _needed(fields, "question", "text", _as_text)
    sample = Sample(
        id=_text(fields, "id") or number,
        image=shown[0],
        more_images=shown[1:] + more,
        question=question,
        answers=answers,
        options=options,
        answer_type=cast("AnswerType", kind),
        boxes=boxes,
        box_format=_box_format(fields, boxes),
        category=_text(fields, "category") or "",
        cluster=_text(fields, "group") or place(_several(fields.value("image"))),
        crop_image=crops[0],
        max_image_pixels=manner.max_image_pixels,
    )
    score("", answers, sample.answer_type, options, question)  # an answer its type cannot hold is refused now
    return sample


def _read(fields: Fields, field: str, read: Callable[[Any], T]) -> T | None:
    """A field as `read` understands it; None if it is empty. Complaints name its column."""
    value = fields.value(field)
    if _is_empty(value):
        return None
    try:
        return read(value)
    except GapbenchError as error:
        raise BenchmarkError(f"{fields.called(field)}: {error}") from error


def _is_empty(value: Any) -> bool:
    """Nothing, not a number, blank text, an empty list, or an image of the Hub without bytes and path."""
    if isinstance(value, Mapping):
        return bool(value) and value.keys() <= {"bytes", "path"} and not any(value.values())
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], b"")


def _needed(fields: Fields, field: str, expected: str, read: Callable[[Any], T]) -> T:
    found = _read(fields, field, read)
    if found is None:
        raise fields.lacks(field, expected)
    return found


def _text(fields: Fields, field: str) -> str | None:
    return _read(fields, field, _as_text)


def _as_text(value: Any) -> str:
    """Text, a number written out."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BenchmarkError(f"found {str(value)[:200]!r} ({type(value).__name__}); expected text.")
    text = str(value)
    if not is_text(text):
        raise BenchmarkError(f"found {text[:200]!r}, which holds half a surrogate pair; expected text.")
    return text


def _texts(fields: Fields, field: str, manner: Manner) -> tuple[str, ...]:
    def read(value: Any) -> tuple[str, ...]:
        items = _as_list(value, manner.list_separator)
        if any(map(_is_empty, items)):
            raise BenchmarkError(f"found {str(value)[:200]}; expected no empty entries.")
        return tuple(map(_as_text, items))

    return _read(fields, field, read) or ()


def _as_list(value: Any, separator: str = "") -> list[Any]:
    """A list, also from its text: separated as declared, or written in JSON or Python."""
    if isinstance(value, list):
        return value
    if isinstance(value, str) and separator and value.strip()[:1] not in "[(":
        return [part.strip() for part in value.split(separator)]
    parsed = _literal(value) if isinstance(value, str) else None
    if isinstance(parsed, list | tuple):
        return list(parsed)
    if isinstance(value, str):
        raise BenchmarkError(
            f'found {value[:200]!r}; expected a list, as ["red", "blue"]. If it is one in other words, say what '
            "stands between its entries: :list_separator=semicolon behind the name."
        )
    raise BenchmarkError(f"found {str(value)[:200]!r} ({type(value).__name__}); expected a list.")


def _several(value: Any) -> list[Any]:
    """The images in a cell, which holds one or a list."""
    parsed = _literal(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    return parsed if isinstance(parsed, list) else [value]


def _literal(text: str) -> Any:
    """A value written in JSON or Python; None for anything else."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last two: nested too deeply
            continue
    return None


def _answers(fields: Fields, kind: str, options: tuple[str, ...], manner: Manner) -> tuple[str, ...]:
    if kind not in ANSWER_TYPES:
        raise BenchmarkError(f"{fields.called('answer_type')} is {kind!r}; expected one of {', '.join(ANSWER_TYPES)}.")
    answers = _texts(fields, "answers", manner)
    if not answers:
        one = _text(fields, "answer")
        if one is None:
            mapped_or_there = "answers" in fields.row or fields.columns.held.get("answers", ("answers",)) != (
                "answers",
            )
            raise fields.lacks("answers" if mapped_or_there else "answer", "text")
        answers = (one,)
    if kind != "letter":
        return answers
    if not 0 < len(options) <= len(string.ascii_uppercase):
        raise BenchmarkError(f"answer_type letter with {len(options)} options; expected a list of 1 to 26 `options`.")
    return tuple(_letter(answer, options) for answer in answers)


def _letter(answer: str, options: tuple[str, ...]) -> str:
    """The option's letter, whether the data gives the letter or the option's text."""
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


def _boxes(fields: Fields) -> tuple[Box, ...]:
    one, several = _read(fields, "bbox", _as_list), _read(fields, "bboxes", _as_list)
    if one and several:
        raise BenchmarkError(
            "it has both 'bbox' and 'bboxes'. Give all boxes in 'bboxes', or say :bbox=- behind the name."
        )
    if one and fields.several("bbox"):
        one = [_number(v) if isinstance(v, str) else v for v in one]
    field, boxes = ("bbox", [one]) if one else ("bboxes", several or [])
    return _read(fields, field, lambda _: tuple(map(four_numbers, boxes))) or ()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _box_format(fields: Fields, boxes: tuple[Box, ...]) -> BoxFormat:
    given = _text(fields, "bbox_format")
    if given is None and boxes:
        raise BenchmarkError(
            f"it has boxes but no 'bbox_format'. Say which of {', '.join(FORMATS)} they are: in a column of that name, "
            "or for all rows with :bbox_format=… behind the name."
        )
    spelt = (given or "xyxy").strip().lower().replace("normalized", "normalised")
    if spelt not in FORMATS:
        raise BenchmarkError(f"{fields.called('bbox_format')} is {given!r}; expected one of {', '.join(FORMATS)}.")
    return cast("BoxFormat", spelt)
