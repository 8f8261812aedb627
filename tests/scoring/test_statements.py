"""Where an answer is stated, and what becomes of statements that differ."""

# ruff: noqa: RUF001  (full-width characters are what some models write)

from __future__ import annotations

import pytest

from gapbench.scoring.clean import clean
from gapbench.scoring.statements import FINAL, PLAIN, WEAK, conclude, statements


@pytest.mark.parametrize(
    ("output", "rank", "value"),
    [
        ("The answer is red", PLAIN, "red"),
        ("My answer: red", PLAIN, "red"),
        ("The best answer to the question is probably red", PLAIN, "red"),
        ("Answer\nred", PLAIN, "red"),
        ("答案是红色", PLAIN, "红色"),
        ("Final answer: red", FINAL, "red"),
        ("最终答案：红色", FINAL, "红色"),
        (r"Hence \boxed{red}.", FINAL, "red"),
        ("<answer>red</answer>", FINAL, "red"),
        ("Final answer: the answer is red", FINAL, "red"),
        (r"The answer is \boxed{red}", FINAL, "red"),
        ("I think it is red", WEAK, "red"),
        ("There are 3 cars", WEAK, "3 cars"),
    ],
)
def test_one_statement(output: str, rank: int, value: str) -> None:
    (statement,) = statements(clean(output))
    assert (statement.rank, statement.value) == (rank, value)


@pytest.mark.parametrize(
    "output",
    [
        "Answer with the option's letter.",
        "If the answer is red",
        "I don't think the answer is red",
        "I doubt that the answer is red",
        "The answer could be red",
        "The answers differ",
    ],
)
def test_no_statement(output: str) -> None:
    assert statements(clean(output)) == []


@pytest.mark.parametrize(
    ("output", "value", "agreed"),
    [
        ("The answer is red. The answer is red.", "red", True),
        ("The answer is red. The answer is blue.", "blue", False),
        ("The answer is red. Wait, the answer is blue.", "blue", True),
        ("The answer is red. Actually, the answer is blue.", "blue", True),
        ("The answer is red. Final answer: blue.", "blue", True),
        ("Final answer: blue. The answer is red.", "blue", True),
        ("Final answer: blue. Wait, the answer is red.", "red", True),
        ("The answer is red. The answer is blue. Final answer: red.", "red", True),
        (r"\boxed{red} \boxed{blue}", "blue", False),
    ],
)
def test_the_last_word_counts_only_where_the_text_says_so(output: str, value: str, agreed: bool) -> None:
    text = clean(output)
    conclusion = conclude([(s, s.value.split(".")[0]) for s in statements(text)], text)
    assert conclusion is not None
    assert (conclusion.value, conclusion.agreed) == (value, agreed)


def test_no_statements_conclude_nothing() -> None:
    assert conclude([], "") is None
