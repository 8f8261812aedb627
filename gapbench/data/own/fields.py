"""Makes a sample from each row; errors name the row and the column.

for sample in samples(reader, {"question": "Frage"}, CellRules(list_separator=";")): ...
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import re
import string
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from gapbench.data.benchmark import is_text
from gapbench.data.own.columns import Fields, map_fields, refuse_misspelt
from gapbench.data.own.image_cells import image_path, image_source
from gapbench.data.own.other_tools import MARK, with_conversation, without_marks
from gapbench.data.own.readers import Reader, read
from gapbench.data.table_reader import Row
from gapbench.errors import BenchmarkError, GapbenchError
from gapbench.scoring import score
from gapbench.types import AnswerType, Box, BoxFormat, Evidence, Sample
from gapbench.views.boxes import FORMATS, four_numbers, parse_format

ANSWER_TYPES: tuple[str, ...] = get_args(AnswerType)

NEEDED = (("image",), ("question",), ("answer", "answers"))
"""Fields that every sample needs; one name of each."""

ANSWER_FORMATS = ("letter", "text", "index")
"""How answers may name options: by letter, by exact text, or by a number from 0."""

OWN_LETTER = re.compile(r"\s*\(?([A-Z])(?:\)|[.:、])[.:]?\s*(?=\S)")
"""An option's letter in its own text: `A. red`, `(A) red`, `A: red`."""

BOX_KEYS = (
    ("xyxy", ("x1", "y1", "x2", "y2")),
    ("xyxy", ("x0", "y0", "x1", "y1")),
    ("xyxy", ("xmin", "ymin", "xmax", "ymax")),
    ("xyxy", ("left", "top", "right", "bottom")),
    ("xywh", ("x", "y", "w", "h")),
    ("xywh", ("x", "y", "width", "height")),
    ("xywh", ("left", "top", "width", "height")),
)
"""Keys of boxes that are written as objects, without `_` and in lower case, and the order of numbers that they say."""

T = TypeVar("T")


@dataclass(frozen=True)
class CellRules:
    """How to read cells.

    `list_separator` separates lists in text, `answer_format` is one of `ANSWER_FORMATS` or empty, `roots` are those of
    `image_source`, and `upright` turns images as their EXIF orientation says.
    """

    list_separator: str = ""
    answer_format: str = ""
    urls: bool = False
    max_image_pixels: int = 0
    upright: bool = False
    roots: tuple[Path, ...] = ()


def samples(reader: Reader, mapping: Mapping[str, str], rules: CellRules) -> Iterator[Sample]:
    """The samples, in the order of the rows; `mapping` is the user's FIELD=COLUMN.

    Raises BenchmarkError naming the row, what was found and what was expected.
    """
    columns = map_fields(mapping, reader.columns if mapping else (), reader.name)
    first_use: dict[str, str] = {}
    id_columns, image_columns = columns.by_field.get("id", ()), columns.by_field.get("image", ())

    @cache
    def images_by_id() -> dict[str, Any]:
        rows = read(reader, columns.images)
        return {str(row.get(id_columns[0])): row.get(image_columns[0]) for _, row in rows}

    def with_image_of(row: Row) -> Row:
        """The row with the image of another, if its own is the id of that row and no file (VLMEvalKit)."""
        image = row.get(image_columns[0]) if len(id_columns) == len(image_columns) == 1 else None
        if not isinstance(image, str) or not image.isdecimal() or (reader.folder / image).exists():
            return row
        other = images_by_id().get(image)
        return row if other is None else {**row, image_columns[0]: other}

    for where, row in read(reader, columns.images):
        try:
            row = with_conversation(row)
            refuse_misspelt(columns, row)
            row = with_image_of(row)
            sample = _sample(Fields(columns, row), where.rpartition(" ")[2], reader.folder, rules)
            if first_use.setdefault(sample.id, where) != where:
                fault = f"id {sample.id!r} is that of {first_use[sample.id]}, too."
                raise BenchmarkError(f"{fault} Make it unique, or number the samples instead: :id=- behind the name.")
        except GapbenchError as error:
            raise BenchmarkError(f"{reader.name} {where}: {error}") from error
        yield sample


def only_images(reader: Reader, mapping: Mapping[str, str], rules: CellRules) -> Iterator[Sample]:
    """A sample without question and answer for each image of each row: no column but `id` and `image` is looked at.

    Raises BenchmarkError naming the row.
    """
    named = {field: column for field, column in mapping.items() if field in ("id", "image")}
    columns = map_fields(named, reader.columns if named else (), reader.name)
    for where, row in read(reader, columns.images):
        try:
            fields = Fields(columns, row)
            sources = _needed(
                fields, "image", "an image",
                lambda value: [image_source(v, reader.folder, rules.urls, rules.roots) for v in _image_list(value)],
            )  # fmt: skip
            name = _text(fields, "id") or where.rpartition(" ")[2]
        except GapbenchError as error:
            raise BenchmarkError(f"{reader.name} {where}: {error}") from error
        for source in sources:
            yield Sample(name, source, "", (), max_image_pixels=rules.max_image_pixels, upright=rules.upright)


def _sample(fields: Fields, number: str, folder: Path, rules: CellRules) -> Sample:
    def read_images(value: Any) -> tuple[Any, ...]:
        return tuple(image_source(v, folder, rules.urls, rules.roots) for v in _image_list(value))

    evidence = _evidence(fields)
    needed = NEEDED[:2] if evidence == "model" else NEEDED
    lacking = [names for names in needed if not any(map(fields.has, names))]
    if len(lacking) > 1:
        named = ", ".join(" or ".join(names) for names in lacking)
        fault = f"it has no column {named}. Found columns: {', '.join(fields.row)}."
        remedy = ",".join(f"{names[0]}=COLUMN" for names in lacking)
        raise BenchmarkError(f"{fault} Name the right ones: :{remedy} behind the name.")
    first_images = _needed(fields, "image", "an image", read_images)
    more_images = _read(fields, "more_images", read_images) or ()
    crops = _read(fields, "crop_image", read_images) or (None,)
    if len(crops) > 1:
        raise BenchmarkError(f"{fields.describe('crop_image')} has {len(crops)} images; expected one.")
    options = _texts(fields, "options", rules)
    is_bool = isinstance(fields.value("answer"), bool)
    kind = _text(fields, "answer_type") or ("letter" if options else "yes_no" if is_bool else "text")
    unanswered = evidence == "model" and _is_empty(fields.value("answer")) and _is_empty(fields.value("answers"))
    answers = () if unanswered else _answers(fields, kind, options, rules)
    given_options, options = options, tuple(without_letters(options))
    box_format = _box_format(fields)
    boxes = _boxes(fields, rules, box_format)
    written = _needed(fields, "question", "text", _as_text)
    question = without_marks(written) if MARK in written else written
    said = {"<image> in questions": question != written, "letters in options": options != given_options}
    for what in (what for what, changed in said.items() if changed):
        warnings.warn(f"{what} is taken out: images come before the text, letters before options.", stacklevel=2)
    if boxes and box_format is None:
        fault = f"it has boxes but no 'bbox_format'. Say which of {', '.join(FORMATS)} they are"
        raise BenchmarkError(f"{fault}: in a column of that name, or for all rows with :bbox_format=… behind the name.")
    sample = Sample(
        id=_text(fields, "id") or number,
        image=first_images[0],
        more_images=first_images[1:] + more_images,
        question=question,
        answers=answers,
        options=options,
        answer_type=cast("AnswerType", kind),
        boxes=boxes,
        box_format=box_format or "xyxy",
        category=_text(fields, "category") or "",
        cluster=_text(fields, "group") or image_path(_image_list(fields.value("image"))),
        crop_image=crops[0],
        max_image_pixels=rules.max_image_pixels,
        upright=rules.upright,
        evidence=evidence,
    )
    if answers:
        score("", answers, sample.answer_type, options, question)  # refuses an answer that does not fit its type
    return sample


def _read(fields: Fields, field: str, read: Callable[[Any], T]) -> T | None:
    """The value of a field after `read`; None if it is empty. Errors name its column."""
    value = fields.value(field)
    if _is_empty(value):
        return None
    try:
        return read(value)
    except GapbenchError as error:
        raise BenchmarkError(f"{fields.describe(field)}: {error}") from error


def _is_empty(value: Any) -> bool:
    """Whether a cell is None, not-a-number, blank text, an empty list, or a Hub image without bytes and path."""
    if isinstance(value, Mapping):
        return bool(value) and value.keys() <= {"bytes", "path"} and not any(value.values())
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], b"")


def _needed(fields: Fields, field: str, expected: str, read: Callable[[Any], T]) -> T:
    value = _read(fields, field, read)
    if value is None:
        raise fields.missing(field, expected)
    return value


def _text(fields: Fields, field: str) -> str | None:
    return _read(fields, field, _as_text)


def _as_text(value: Any) -> str:
    """The cell as text; a number is written out."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BenchmarkError(f"found {str(value)[:200]!r} ({type(value).__name__}); expected text.")
    text = str(value)
    if not is_text(text):
        raise BenchmarkError(f"found {text[:200]!r}, which holds half a surrogate pair; expected text.")
    return text


def _texts(fields: Fields, field: str, rules: CellRules) -> tuple[str, ...]:
    def read(value: Any) -> tuple[str, ...]:
        items = _by_letter(value) if isinstance(value, Mapping) else _as_list(value, rules.list_separator)
        if any(map(_is_empty, items)):
            raise BenchmarkError(f"found {str(value)[:200]}; expected no empty entries.")
        return tuple(map(_as_answer, items))

    return _read(fields, field, read) or ()


def _as_answer(value: Any) -> str:
    """An answer or option as text; true and false are yes and no."""
    return ("yes" if value else "no") if isinstance(value, bool) else _as_text(value)


def _by_letter(value: Mapping[str, Any]) -> list[Any]:
    """The texts of options that are written as an object with their letters as keys."""
    found = {str(key).strip().upper(): text for key, text in value.items() if not _is_empty(text)}
    letters = list(string.ascii_uppercase[: len(found)])
    if sorted(found) != letters:
        raise BenchmarkError(f"found options with the keys {', '.join(map(str, value))}; expected A, B, C and so on.")
    return [found[letter] for letter in letters]


def without_letters(options: Sequence[str]) -> list[str]:
    """The options without the letters that they carry, if all carry their own: `A. red`, `(B) blue`.

    The prompt writes the letters itself.
    """
    matches = [OWN_LETTER.match(option) for option in options]
    letters = "".join(match[1] for match in matches if match)
    if len(options) < 2 or letters != string.ascii_uppercase[: len(options)]:
        return list(options)
    return [option[match.end() :] for option, match in zip(options, matches, strict=True) if match]


def _as_list(value: Any, separator: str = "") -> list[Any]:
    """The cell as a list; text is split at the declared separator, or parsed as JSON or Python."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise BenchmarkError(f"found {str(value)[:200]!r} ({type(value).__name__}); expected a list.")
    if separator and value.strip()[:1] not in "[(":
        return [part.strip() for part in value.split(separator)]
    parsed = _literal(value)
    if not isinstance(parsed, list | tuple):
        hint = "If the text is a list in another form, name the separator of its entries"
        fault = f'found {value[:200]!r}; expected a list, as ["red", "blue"].'
        raise BenchmarkError(f"{fault} {hint}: :list_separator=semicolon behind the name.")
    return list(parsed)


def _image_list(value: Any) -> list[Any]:
    """The images in a cell, which holds one image or a list."""
    parsed = _literal(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    return parsed if isinstance(parsed, list) else [value]


def _literal(text: str) -> Any:
    """A value written in JSON or Python; None for anything else."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last two: too deeply nested
            continue
    return None


def _answers(fields: Fields, kind: str, options: tuple[str, ...], rules: CellRules) -> tuple[str, ...]:
    if kind not in ANSWER_TYPES:
        expected = f"expected one of {', '.join(ANSWER_TYPES)}"
        raise BenchmarkError(f"{fields.describe('answer_type')} is {kind!r}; {expected}.")
    answers = _texts(fields, "answers", rules)
    if not answers:
        answer = _read(fields, "answer", _as_answer)
        if answer is None:
            mapped = fields.columns.by_field.get("answers", ("answers",)) != ("answers",)
            raise fields.missing("answers" if mapped or "answers" in fields.row else "answer", "text")
        answers = (answer,)
    if kind != "letter":
        return answers
    if not 0 < len(options) <= len(string.ascii_uppercase):
        raise BenchmarkError(f"answer_type letter with {len(options)} options; expected a list of 1 to 26 `options`.")
    return tuple(_letter(answer, options, rules.answer_format) for answer in answers)


def _letter(answer: str, options: tuple[str, ...], answer_format: str) -> str:
    """The letter of the option that `answer` names in one of `ANSWER_FORMATS`, or without one by its letter or text."""
    letters = string.ascii_uppercase[: len(options)]
    texts = (options, without_letters(options))
    named = {
        "text": {
            letter for own in texts for letter, text in zip(letters, own, strict=True) if text.strip() == answer.strip()
        },
        "letter": {letter for letter in letters if letter == answer.strip().strip("().").upper()},
        "index": {letter for n, letter in enumerate(letters) if str(n) == answer.strip()},
    }
    matches = named[answer_format] if answer_format else named["text"] | named["letter"]
    if len(matches) != 1:
        fault = f"answer {answer!r} {'names several' if matches else 'is none'} of the options {list(options)}"
        if answer_format:
            counted = " (the first is 0)" if answer_format == "index" else ""
            raise BenchmarkError(f"{fault} by its {answer_format}{counted}, as :answer_format={answer_format} says.")
        remedy = f"say what answers are: :answer_format={', '.join(ANSWER_FORMATS)} behind the name (index: from 0)"
        raise BenchmarkError(
            f"{fault}. Give the option's exact text, or its letter in brackets, as in (A); or {remedy}."
        )
    return matches.pop()


def _boxes(fields: Fields, rules: CellRules, box_format: BoxFormat | None) -> tuple[Box, ...]:
    split_text = len(fields.columns.by_field.get("bbox", ())) > 1 or bool(rules.list_separator)

    def read_box(value: Any) -> Any:
        value = _literal(value) if isinstance(value, str) and value.lstrip()[:1] == "{" else value
        if isinstance(value, Mapping):
            return _named_numbers(value, box_format)
        numbers = _as_list(value, rules.list_separator)
        if split_text:
            with contextlib.suppress(ValueError):  # text that is no number stays, and is named below
                return [float(v) if isinstance(v, str) else v for v in numbers]
        return numbers

    def read_boxes(value: Any) -> list[Any]:
        boxes = [value] if isinstance(value, Mapping) else _as_list(value, rules.list_separator)
        return [read_box(box) if isinstance(box, Mapping) else box for box in boxes]

    box, boxes = _read(fields, "bbox", read_box), _read(fields, "bboxes", read_boxes)
    if box and boxes:
        raise BenchmarkError("it has both 'bbox' and 'bboxes'. Give all in 'bboxes', or write :bbox=- behind the name.")
    field, values = ("bbox", [box]) if box else ("bboxes", boxes or [])
    return _read(fields, field, lambda _: tuple(map(four_numbers, values))) or ()


def _named_numbers(box: Mapping[str, Any], box_format: BoxFormat | None) -> list[Any]:
    """The four numbers of a box whose keys name them. The keys must agree with the declared format."""
    named = {str(key).lower().replace("_", ""): value for key, value in box.items()}
    for order, keys in BOX_KEYS:
        if named.keys() == set(keys):
            if box_format and not box_format.startswith(order):
                raise BenchmarkError(f"its keys {', '.join(box)} are {order}; bbox_format says {box_format}.")
            return [named[key] for key in keys]
    expected = "; ".join(", ".join(keys) for _, keys in BOX_KEYS)
    raise BenchmarkError(f"found a box with the keys {', '.join(map(str, box))}; expected one of: {expected}.")


def _evidence(fields: Fields) -> Evidence:
    """Who drew the boxes. What a model proposed has no answers."""
    value = _text(fields, "evidence") or "annotated"
    if value not in get_args(Evidence):
        raise BenchmarkError(f"{fields.describe('evidence')} is {value!r}; expected {' or '.join(get_args(Evidence))}.")
    return cast("Evidence", value)


def _box_format(fields: Fields) -> BoxFormat | None:
    return _read(fields, "bbox_format", lambda value: parse_format(_as_text(value)))
