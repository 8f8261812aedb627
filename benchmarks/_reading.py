"""Helpers of the loaders: JSON files and fields with errors that name file and row, and boxes written as text.

for number, row in enumerate(json_lines(data / "metadata.jsonl"), 1):
    where = f"metadata.jsonl line {number}"
    question, boxes = field(row, "question", where), boxes_of(field(row, "bbox", where), where)
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from gapbench.data import BenchmarkError, Box, SampleError, four_numbers


def json_file(path: Path) -> Any:
    """The content of a JSON file. Raises BenchmarkError if the file is missing or not JSON."""
    return _parsed(_text(path), path.name)


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file, in order. Raises BenchmarkError naming a line that is not a JSON object."""
    rows = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            row = _parsed(line, f"{path.name} line {number}")
            if not isinstance(row, dict):
                raise BenchmarkError(f"{path.name} line {number}: found {type(row).__name__}; expected a JSON object.")
            rows.append(row)
    return rows


def field(row: Mapping[str, Any], name: str, where: str) -> Any:
    """The value of a required field. Raises BenchmarkError naming the row and the fields it has."""
    if not isinstance(row, Mapping) or row.get(name) is None:
        content = ", ".join(map(repr, row)) if isinstance(row, Mapping) else repr(row)[:80]
        raise BenchmarkError(f"{where}: {name!r} is missing or empty. Found: {content}.")
    return row[name]


def boxes_of(value: Any, where: str) -> tuple[Box, ...]:
    """The boxes in a value that is one box, a list of boxes, or either as text; None and "" hold no box.

    Raises BenchmarkError naming the row for any other value.
    """
    try:
        if isinstance(value, str):
            value = ast.literal_eval(value.strip() or "[]")
        boxes = [] if value is None else list(value)
        return tuple(map(four_numbers, [boxes] if boxes and isinstance(boxes[0], Real) else boxes))
    except (SampleError, SyntaxError, TypeError, ValueError, MemoryError, RecursionError) as error:
        raise BenchmarkError(
            f"{where}: its boxes are {str(value)[:120]!r}; expected one or more of four numbers each ({error})."
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}). Is the local copy complete?"
        ) from error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{where}: not JSON ({error}). Fetch the file again.") from error
