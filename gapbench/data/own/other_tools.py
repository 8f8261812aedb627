"""Rows as other tools write them, put into the fields of own data.

    with_conversation({"image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhich?"}, …]})

LLaVA: `conversations` of one question and one answer become `question` and `answer`. `<image>` marks the place of an
image in its text. VLMEvalKit: an image may be the id of another row, which holds it.

Limits: images are always shown before the text, so a mark inside a sentence becomes words.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from gapbench.errors import BenchmarkError

MARK = "<image>"


def with_conversation(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with the `question` and the `answer` of its `conversations`, if it has these alone.

    Raises BenchmarkError unless they are one question and one answer.
    """
    turns = row.get("conversations")
    if turns is None or "question" in row or "answer" in row:
        return row
    match turns:
        case [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]:
            return {**row, "question": question, "answer": answer}
    count = f"{len(turns)} turns" if isinstance(turns, list) else type(turns).__name__
    fault = f"column 'conversations': found {count}; expected one of human and one of gpt."
    raise BenchmarkError(f"{fault} Write each question and its answer as a row of its own.")


def without_marks(question: str) -> str:
    """The question without `<image>` at its beginning or end; elsewhere the mark becomes `image 1` and so on."""
    text = question.strip()
    while text != (text := text.removeprefix(MARK).removesuffix(MARK).strip()):
        pass
    numbers = itertools.count(1)
    first, *rest = text.split(MARK)
    return first + "".join(f"image {next(numbers)}{part}" for part in rest)
