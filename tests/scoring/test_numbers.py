"""Numbers by value, and the numbers that answer nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapbench.errors import BenchmarkError
from gapbench.scoring import score
from gapbench.scoring.numbers import equal, numbers

EQUAL = [
    ("3", "3"),
    ("3.", "3"),
    ("3.0", "3"),
    ("**7**", "7"),
    ("three", "3"),
    ("3", "three"),
    ("There are 3 cars", "3"),
    ("There are three cars in the image.", "3"),
    ("3 cars", "3 cars"),
    ("1,200", "1200"),
    ("12.5 %", "12.5"),
    ("12.5", "12.5%"),
    ("$5", "5"),
    ("-5", "-5"),
    ("-3 °C", "-3"),
    ("\u22125", "-5"),
    ("5 m²", "5"),
    ("1e3", "1000"),
    ("3k", "3000"),
    ("2.5 million", "2500000"),
    ("twenty-one", "21"),
    ("twenty one", "21"),
    ("two hundred and five", "205"),
    ("one thousand two hundred", "1200"),
    ("three dozen", "36"),
    ("½", "0.5"),
    ("1½", "1.5"),
    (r"$\frac{3}{4}$", "0.75"),
    ("3/4", "0.75"),
    ("0.3333333", "1/3"),
    (r"\boxed{42}", "42"),
    ("I count 2 and 3, so the answer is 5", "5"),
    ("2+3=5", "5"),
    ("The answer is 3 (2 big and 1 small).", "3"),
    ("Answer: 3. Wait, I missed one. The answer is 4.", "4"),
    ("<think>2? 3?</think>4", "4"),
    ("about 3", "3"),
    ("12345678901234567", "12345678901234567"),
]


@pytest.mark.parametrize(("output", "gold"), EQUAL)
def test_equal_values_are_right(output: str, gold: str) -> None:
    assert score(output, [gold], "number").outcome == "right"


@pytest.mark.parametrize(
    ("output", "gold"),
    [
        ("3", "4"),
        ("3", "-3"),
        ("1000001", "1000000"),
        ("12345678901234567", "12345678901234568"),
        ("3.01", "3"),
        ("12.5%", "0.125"),
        ("no cars", "3"),
    ],
)
def test_other_values_are_wrong(output: str, gold: str) -> None:
    assert score(output, [gold], "number").outcome == "wrong"


@pytest.mark.parametrize(
    "output",
    [
        "3 or 4",
        "3-4",
        "between 3 and 4",
        "1,2",
        "12:30",
        "1.2.3",
        "There are 3 cars. 2 are red.",
        "The answer is 3. The answer is 4.",
        "at least 3",
        "more than three",
        "not 3",
        "> 3",
        "3rd",
        "B3",
        "10²",
        "3M",
        "9" * 50,
        "many",
        "",
    ],
)
def test_what_is_not_one_number_is_unparsed(output: str) -> None:
    verdict = score(output, ["3"], "number")
    assert verdict.outcome == "unparsed"
    assert verdict.reason


def test_any_accepted_number_is_right() -> None:
    assert score("4", ["3", "four"], "number").outcome == "right"


@pytest.mark.parametrize("gold", ["many", "3 or 4", "unanswerable"])
def test_an_accepted_answer_that_is_not_one_number_is_an_error(gold: str) -> None:
    with pytest.raises(BenchmarkError, match="exactly one"):
        score("3", [gold], "number")


def test_integers_are_exact_and_fractions_have_a_tolerance() -> None:
    assert equal(Decimal("0.1234567"), Decimal("0.12345671"))
    assert not equal(Decimal("0.12345"), Decimal("0.12346"))
    assert not equal(Decimal(10**9), Decimal(10**9 + 1))


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**12), 10**12))
def test_an_integer_survives_thousands_commas_and_prose(value: int) -> None:
    assert numbers(f"{value:,}") == {Decimal(value)}
    assert score(f"The answer is {value:,} cars.", [str(value)], "number").outcome == "right"
