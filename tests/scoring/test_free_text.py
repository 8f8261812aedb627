"""Free text: equality, whole words within a statement, closed sets, and what only looks like a match."""

# ruff: noqa: RUF001  (full-width characters are what some models write)

from __future__ import annotations

import pytest

from gapbench.scoring import score
from gapbench.scoring.free_text import normal

RIGHT = [
    ("K", "K"),
    ("k.", "K"),
    ("**K**", "K"),
    ("'K'", "K"),
    ("The letter is K.", "K"),
    ("The letter is A.", "A"),
    ("A", "a"),
    ("It is red.", "red"),
    ("It's red", "red"),
    ("It is a bright red", "red"),
    ("The sign reads STOP", "stop"),
    ('The sign says "STOP".', "stop"),
    ("The answer is: **STOP**", "stop"),
    ("The answer is red, because of the sun.", "red"),
    ("The answer is Acme Corp.", "acme corp"),
    ("Answer: the red car", "red car"),
    (r"\boxed{red}", "red"),
    ("<think>blue?</think>red", "red"),
    ("The answer is blue. Final answer: red", "red"),
    ("three", "3"),
    ("twenty-one", "21"),
    ("1,200", "1200"),
    ("U.S.", "US"),
    ("ＳＴＯＰ", "stop"),
    ("Café", "cafe\u0301"),
    ("+", "+"),
    ("*", "*"),
    ("红色", "红色"),
    ("red and blue", "red and blue"),
]
WRONG = [
    ("M", "K"),
    ("OK", "K"),
    ("It is OK", "K"),
    ("It is a dog", "a"),
    ("The red car is blue", "red"),
    ("infrared", "red"),
    ("red car", "red"),
    ("New York", "new york city"),
    ("The answer is blue.", "red"),
    ("12:30", "1230"),
    ("-5", "5"),
]
UNPARSED = [
    ("not red", "red"),
    ("It is not red", "red"),
    ("It isn't red", "red"),
    ("The answer is not red", "red"),
    ("red or blue", "red"),
    ("It is red or blue", "red"),
    ("The answer is red, blue.", "red"),
    ("The answer is red/blue", "red"),
    ("The answer is red. The answer is blue.", "red"),
    ("The jacket is red and the hat is blue", "red"),
    ("I see a street. There is a sign with STOP on it.", "stop"),
    ("It is a very long and rusty old red pick-up lorry", "red"),
    ("?", "+"),
    ("", "red"),
    ("<think>red", "red"),
]


@pytest.mark.parametrize(("output", "gold"), RIGHT)
def test_right(output: str, gold: str) -> None:
    assert score(output, ["something else", gold], "text").outcome == "right"


@pytest.mark.parametrize(("output", "gold"), WRONG)
def test_wrong(output: str, gold: str) -> None:
    assert score(output, [gold], "text").outcome == "wrong"


@pytest.mark.parametrize(("output", "gold"), UNPARSED)
def test_unparsed(output: str, gold: str) -> None:
    verdict = score(output, [gold], "text")
    assert verdict.outcome == "unparsed"
    assert verdict.reason


CLOSED = [
    ("The sign says K", "K", "right"),
    ("It is K, I believe, near the door", "K", "right"),
    ("The sign says M", "K", "wrong"),
    ("Z", "K", "wrong"),
    ("OK", "K", "wrong"),
    ("K or M", "K", "unparsed"),
    ("It may be K. It may be M.", "K", "unparsed"),
    ("It is not K, it is M", "M", "right"),
    ("The answer is K, not M.", "K", "right"),
    ("First I saw M. The answer is K.", "K", "right"),
    ("The letter is A.", "A", "right"),
    ("A dog", "A", "wrong"),
]


@pytest.mark.parametrize(("output", "gold", "outcome"), CLOSED)
def test_a_closed_set_tells_the_alternatives_apart(output: str, gold: str, outcome: str) -> None:
    assert score(output, [gold], "text", ("A", "K", "M")).outcome == outcome


def test_the_longer_member_of_a_closed_set_is_meant() -> None:
    assert score("a dark red one", ["dark red"], "text", ("red", "dark red")).outcome == "right"
    assert score("a dark red one", ["red"], "text", ("red", "dark red")).outcome == "wrong"


def test_words_of_the_question_add_nothing() -> None:
    output, question = "It is the red lorry of the old baker outside", "Which lorry belongs to the old baker outside?"
    assert score(output, ["red"], "text").outcome == "unparsed"
    assert score(output, ["red"], "text", question=question).outcome == "right"


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The  Red, car!", "red car"),
        ("a", "a"),
        ("the", "the"),
        ("!?", "!?"),
        ("forty-two", "42"),
        ("O'Brien's", "obriens"),
        ("3.50", "3.50"),
        ("-5 °C", "-5 c"),
        ("", ""),
    ],
)
def test_normalisation(text: str, normalised: str) -> None:
    assert normal(text) == normalised


def test_of_several_accepted_texts_the_longest_is_read() -> None:
    """Twenty times, as a set has its texts in an order that differs from process to process."""
    for number in range(20):
        said = f"The ball is spot{number} the table, close to its left leg."
        assert score(said, [f"spot{number}", f"spot{number} the table"], "text").outcome == "right"
