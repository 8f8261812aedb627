"""Scoring a file: rows in order, errors that name the line, earlier results never lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gapbench.commands.score import score_file
from gapbench.errors import BenchmarkError

ROWS: list[dict[str, Any]] = [
    {"id": 1, "output": "The answer is B", "answer": "B", "options": ["red", "blue"], "note": {"kept": [1]}},
    {"id": 2, "output": "A or B", "answer": "blue", "options": ["red", "blue"]},
    {"id": 3, "output": "STOP", "answers": ["stop", "halt"]},
    {"id": 4, "output": "four", "answer": 3, "answer_type": "number"},
    {"id": 5, "output": "Yes.", "answer": "yes", "answer_type": "yes_no", "options": None, "question": None},
    {"id": 6, "output": "停\ud800", "answer": "停", "answer_type": "anls"},
]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_come_back_in_order_with_their_fields_and_verdicts(tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "scored.jsonl"
    counts = score_file(write(tmp_path / "answers.jsonl", ROWS), out)
    scored = read(out)
    assert [row["outcome"] for row in scored] == ["right", "unparsed", "right", "wrong", "right", "wrong"]
    assert counts == {"right": 3, "wrong": 2, "unparsed": 1}
    for before, after in zip(ROWS, scored, strict=True):
        assert before.items() <= after.items()
        assert {"outcome", "score", "parsed", "rule", "reason"} <= after.keys()
    assert list(out.parent.iterdir()) == [out]


def test_scoring_a_scored_file_again_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "answers.jsonl", ROWS)
    score_file(path, path)
    once = path.read_bytes()
    score_file(path, path)
    assert path.read_bytes() == once


def test_blank_lines_a_byte_order_mark_and_windows_lines_are_read_over(tmp_path: Path) -> None:
    path, out = tmp_path / "answers.jsonl", tmp_path / "scored.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"output": "B", "answer": "B", "answer_type": "letter"}\r\n\r\n')
    assert score_file(path, out) == {"right": 1, "wrong": 0, "unparsed": 0}


BAD = {
    "{not json": "not JSON",
    "[1]": "found list; expected a JSON object",
    "[" * 100_000: "not JSON",
    '{"answer": "B"}': "`output` is missing",
    '{"output": null, "answer": "B"}': "`output` is missing or null",
    '{"output": 3, "answer": "B"}': "`output` is 3",
    '{"output": "B"}': "`answer` is missing",
    '{"output": "B", "answers": []}': r"`answers` is \[\]",
    '{"output": "B", "answer": true}': "`answer` is True",
    '{"output": "B", "answer": {"x": 1}}': "`answer` is",
    '{"output": "B", "answer": ""}': "accepted answer",
    '{"output": "B", "answer": "B", "options": "AB"}': "`options` is 'AB'",
    '{"output": "B", "answer": "B", "options": [1]}': "`options` is",
    '{"output": "B", "answer": "B", "answer_type": "essay"}': "'essay'.*letter, yes_no",
    '{"output": "B", "answer": "B", "answer_type": ["text"]}': "`answer_type` is",
    '{"output": "B", "answer": "B", "question": 3}': "`question` is 3",
    '{"output": "B", "answer": "Z", "options": ["red", "blue"]}': "'Z' is no option",
}


@pytest.mark.parametrize(("line", "message"), BAD.items(), ids=[line[:60] for line in BAD])
def test_a_bad_line_is_named_and_costs_nothing(tmp_path: Path, line: str, message: str) -> None:
    path, out = write(tmp_path / "answers.jsonl", ROWS), tmp_path / "scored.jsonl"
    score_file(path, out)
    before = out.read_bytes()
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(BenchmarkError, match=message) as error:
        score_file(path, out)
    assert f"line {len(ROWS) + 1}:" in str(error.value)
    assert len(str(error.value)) < 600
    assert out.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path, out]


def test_bytes_that_are_not_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b'{"output": "\xff", "answer": "B"}\n')
    with pytest.raises(BenchmarkError, match="line 1: not UTF-8"):
        score_file(path, tmp_path / "scored.jsonl")


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "answers.jsonl", ROWS)
    with pytest.raises(BenchmarkError, match=r"missing\.jsonl cannot be read"):
        score_file(tmp_path / "missing.jsonl", tmp_path / "scored.jsonl")
    with pytest.raises(BenchmarkError, match="holds no rows"):
        score_file(write(tmp_path / "empty.jsonl", []), tmp_path / "scored.jsonl")
    with pytest.raises(BenchmarkError, match="is not a file"):
        score_file(path, tmp_path)
    with pytest.raises(BenchmarkError, match="cannot be written"):
        score_file(path, path / "scored.jsonl")
