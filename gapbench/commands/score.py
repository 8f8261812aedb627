"""Scores answers from a file, such as those of another tool.

    score_file(Path("answers.jsonl"), Path("scored.jsonl"))      # {"right": 61, "wrong": 30, "unparsed": 9}

`score_file` scores every line before it writes anything, and replaces an earlier result in one step. After a bad line,
an earlier result stays as it was.

Limits: all rows are held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_args

from gapbench.errors import BenchmarkError
from gapbench.scoring.outcome import Score
from gapbench.scoring.rules import score
from gapbench.types import AnswerType
from gapbench.util.files import json_object, replacing
from gapbench.util.text import shorten


def score_file(answers: Path, out: Path) -> dict[str, int]:
    """Score a JSONL file of answers, and return the numbers of right, wrong and unparsed answers.

    Each row needs `output` (text) and `answer` or `answers` (text, a number, or a list of them). It may have `options`
    (list of texts), `question` (text) and `answer_type` (default: letter if it has options, else text). Rows are
    written to `out` in order, with all their fields and `outcome`, `score`, `parsed`, `rule` and `reason`.

    Raises BenchmarkError, which names the line, for a row that cannot be scored, and then writes nothing.
    """
    try:
        lines = answers.read_bytes().split(b"\n")
    except OSError as error:
        raise BenchmarkError(
            f"The answers file {answers} cannot be read ({error.strerror}). Give a JSONL file."
        ) from error
    counts = {"right": 0, "wrong": 0, "unparsed": 0}
    scored: list[bytes] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json_object(line)
            scored_row = _score_row(row)
        except BenchmarkError as error:
            raise BenchmarkError(f"{answers}, line {number}: {error}") from error
        counts[scored_row.outcome] += 1
        text = json.dumps({**row, **asdict(scored_row)}, ensure_ascii=False)
        # A lone surrogate has no UTF-8 form, but its backslash escape is JSON.
        scored.append(text.encode("utf-8", "backslashreplace") + b"\n")
    if not scored:
        raise BenchmarkError(f"The answers file {answers} holds no rows. Give a JSONL file with one answer a line.")
    if out.exists() and not out.is_file():
        raise BenchmarkError(f"{out} is not a file, so the scored answers cannot be written there. Name a file.")
    try:
        with replacing(out) as draft:
            draft.write_bytes(b"".join(scored))
    except OSError as error:
        raise BenchmarkError(
            f"The scored answers cannot be written to {out} ({error.strerror}). Name another file."
        ) from error
    return counts


def _score_row(row: Mapping[str, Any]) -> Score:
    output, question, options = row.get("output"), row.get("question"), row.get("options")
    if not isinstance(output, str):
        raise _refusal("output", output, "text", "Leave out rows without an answer.")
    if not isinstance(question, str | None):
        raise _refusal("question", question, "text", "Write it as text.")
    if not isinstance(options, list | None) or not all(isinstance(option, str) for option in options or []):
        raise _refusal("options", options, "a list of texts", "Write a list of texts.")
    answer_type = row.get("answer_type")
    if answer_type is None:
        answer_type = "letter" if options else "text"
    if answer_type not in get_args(AnswerType):
        expected = f"one of {', '.join(get_args(AnswerType))}"
        raise _refusal("answer_type", answer_type, expected, "Correct it or leave it out.")
    return score(output, _accepted_answers(row), cast(AnswerType, answer_type), options or [], question or "")


def _accepted_answers(row: Mapping[str, Any]) -> list[str]:
    """The accepted answers of a row. Numbers are written as text."""
    field = "answers" if row.get("answers") is not None else "answer"
    accepted = row.get(field)
    values = accepted if isinstance(accepted, list) else [accepted]
    if not values or not all(isinstance(value, str | int | float) and not isinstance(value, bool) for value in values):
        remedy = "Give the accepted answer in `answer`, or several in `answers`."
        raise _refusal(field, accepted, "text, a number or a list of them", remedy)
    return [str(value) for value in values]


def _refusal(field: str, value: object, expected: str, remedy: str) -> BenchmarkError:
    found = "missing or null" if value is None else shorten(repr(value), 60)
    return BenchmarkError(f"`{field}` is {found}, where {expected} was expected. {remedy}")
