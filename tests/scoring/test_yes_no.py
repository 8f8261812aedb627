"""Yes and no, where they are said, not where they could be inferred."""

# ruff: noqa: RUF001  (full-width characters are what some models write)

from __future__ import annotations

import pytest

from gapbench.errors import BenchmarkError
from gapbench.scoring import score

SAID = {
    "yes": "yes",
    "No.": "no",
    "NO": "no",
    "**Yes**": "yes",
    "Yes, there is a dog on the left.": "yes",
    "Yes, no dog is visible.": "yes",
    "Yes there is": "yes",
    "No, there isn't.": "no",
    "No - the street is empty.": "no",
    "I looked twice. Yes.": "yes",
    "Answer: No": "no",
    "The answer is no, because the street is empty.": "no",
    r"\boxed{No}": "no",
    "<answer>yes</answer>": "yes",
    "<think>no?</think>Yes": "yes",
    "Yes! It is no problem.": "yes",
    "Answer: yes. Wait, the answer is no.": "no",
    "true": "yes",
    "False": "no",
    "是": "yes",
    "是的。": "yes",
    "不是": "no",
    "否": "no",
    "没有": "no",
    "答案：是": "yes",
    "答案是否": "no",
}


@pytest.mark.parametrize(("output", "said"), SAID.items())
def test_what_is_said_is_read(output: str, said: str) -> None:
    assert score(output, [said], "yes_no").outcome == "right"
    assert score(output, ["no" if said == "yes" else "yes"], "yes_no").outcome == "wrong"


@pytest.mark.parametrize(
    "output",
    [
        "yes and no",
        "Yes or no?",
        "yes/no",
        "Yes. No.",
        "The answer is yes. The answer is no.",
        "not sure",
        "I don't know",
        "No idea",
        "No dogs",
        "There is no dog.",
        "I think so",
        "Not yes",
        "Nothing",
        "Yesterday",
        "是否",
        "The answer is not yes",
        "If the answer is yes, then there is a dog.",
        "",
    ],
)
@pytest.mark.parametrize("gold", ["yes", "no"])
def test_what_is_unsure_or_both_or_only_implied_is_unparsed(output: str, gold: str) -> None:
    verdict = score(output, [gold], "yes_no")
    assert verdict.outcome == "unparsed"
    assert verdict.reason


@pytest.mark.parametrize("gold", ["Yes", "yes.", "TRUE", "是"])
def test_spellings_of_the_accepted_answer(gold: str) -> None:
    assert score("yes", [gold], "yes_no").outcome == "right"


def test_an_accepted_answer_that_is_neither_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="'maybe'"):
        score("yes", ["maybe"], "yes_no")
