"""Every rule has an example that holds, and `docs/scoring.md` shows it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import scoring_page

import gapbench.scoring
from gapbench.scoring import score


@pytest.mark.parametrize(
    "example", scoring_page.examples(), ids=lambda example: f"{example['rule']}-{example['output']}"
)
def test_the_rule_decides_as_the_page_says(example: dict[str, Any]) -> None:
    options, question = example.get("options", ()), example.get("question", "")
    found = score(example["output"], example["answers"], example["answer_type"], options, question)
    assert (found.outcome, found.rule) == (example["expected"], example["rule"])


def test_every_rule_has_an_example() -> None:
    table = re.findall(r"^\| ([a-z, -]+) \|", gapbench.scoring.__doc__ or "", re.M)[1:]
    named = {name for names in table for name in names.split(", ")} - {"judge"}
    assert named == {example["rule"] for example in scoring_page.examples()}


def test_the_written_page_is_that_of_the_code() -> None:
    assert scoring_page.PAGE.read_text(encoding="utf-8") == scoring_page.page(), "python scripts/scoring_page.py"
