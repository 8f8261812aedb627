"""Labelled answers: `kinds.jsonl` has what independent checks found misread, `styles.jsonl` the styles of real models
and, from its 519th line on, what the author of a rule invented for it, or took
from public outputs (BLINK's) in other words, and labelled.

Each line has an output, what is accepted, and the outcome that a person gave it ("wrong or unparsed" where both do).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gapbench.scoring import score


def _labelled() -> list[dict[str, Any]]:
    files = [Path(__file__).with_name(name) for name in ("kinds.jsonl", "styles.jsonl")]
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", _labelled(), ids=lambda case: case["output"][-60:])
def test_an_answer_has_the_outcome_that_a_person_gives_it(case: dict[str, Any]) -> None:
    found = score(
        case["output"], case["answers"], case["answer_type"], case.get("options", ()), case.get("question", "")
    )
    assert found.outcome in case["expected"].split(" or "), (found.parsed, found.rule)
