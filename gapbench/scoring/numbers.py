"""Numbers, compared by value: digits or words, with thousands commas, fractions, magnitudes and units.

    score_number("There are twenty-one cars.", ["21"]).outcome        # "right"

Two integers must be equal; if either side has a fractional part, a relative tolerance of 1e-6 applies. Units and the
per cent sign are ignored on both sides: "12.5 %" equals "12.5". "3k" is 3000. An output with several different numbers
needs an answer statement with a single number. Bounds ("at least 3"), denied numbers ("not 3") and ordinals are no
answers.

Limits: commas separate thousands (12,5 is two numbers); units are not compared; "no cars" is not read as 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

from gapbench.errors import BenchmarkError
from gapbench.scoring.clean import clean, plain
from gapbench.scoring.free_text import SMALL_NUMBERS, extents
from gapbench.scoring.outcome import Score, unparsed
from gapbench.scoring.statements import WEAK, conclude, statements

RELATIVE_TOLERANCE = 1e-6

_MAGNITUDES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "k": 1000, "dozen": 12}
_SMALL = "|".join(sorted(SMALL_NUMBERS, key=len, reverse=True))
_DIGITS = re.compile(
    r"""(?<![\w.^])(?<![^\W\d]-)(?P<minus>(?<!\d[ ])(?<!\d)-)?(?:
      (?:(?P<whole>\d{1,15})[ ])?(?P<top>\d{1,15})/(?P<bottom>\d{1,15})(?![\d/])
    | (?P<number>(?:\d{1,3}(?:,\d{3}){1,10}(?!,?\d)|\d{1,40})(?:\.\d{1,40})?|\.\d{1,40})(?P<exponent>e[-+]?\d{1,2})?
      (?P<glued>[^\W\d_]{0,12})(?![\d^]|\.\d)(?:[ ](?P<magnitude>hundred|thousand|million|billion|dozen)\b)?
    )""",
    re.I | re.X,
)
_WORD = rf"(?:{_SMALL}|hundred|thousand|million|billion|dozen)"
_WORDS = re.compile(
    rf"(?<![\w-])(?:an? (?=hundred|thousand|million|dozen))?{_WORD}(?:(?: and |[- ]){_WORD}){{0,12}}(?![\w])", re.I
)
_ORDINAL = re.compile(r"st|nd|rd|th", re.I)
_NO_VALUE = re.compile(
    r"(?:\b(?:not|at least|at most|more than|less than|fewer than|greater than|up to|over|under|above|below"
    r"|no more than|nearly|almost)|n't|[<>≤≥]) ?\Z",
    re.I,
)


def score_number(text: str, answers: Sequence[str]) -> Score:
    """Score a cleaned text by value. Raises BenchmarkError for an accepted answer that is not exactly one number."""
    accepted = [_accepted_number(answer) for answer in answers]
    stated = [(statement, values) for statement in statements(text) if (values := _first_numbers(statement.value))]
    conclusion = conclude(stated, text)
    if conclusion is not None and not conclusion.agreed:
        return unparsed("conflict", "answer statements that contradict each other")
    values = conclusion.value if conclusion else numbers(plain(text))
    if conclusion and conclusion.statement.rank == WEAK:  # "There are 3 cars. 2 are red." gives no single answer
        values |= numbers(plain(text[conclusion.statement.end :]))
    if not values:
        return unparsed("no-number", "no number is given")
    if len(values) > 1:
        return unparsed("conflict", f"{len(values)} different numbers are given")
    value = min(values)
    right = any(equal(value, number) for number in accepted)
    rule = "number-statement" if conclusion else "number-only"
    return Score("right" if right else "wrong", float(right), _digits(value), rule, "")


def equal(a: Decimal, b: Decimal) -> bool:
    """Whether two numbers are equal: exactly for two integers, else within a relative tolerance of 1e-6."""
    if a == b:
        return True
    both_integers = a == a.to_integral_value() and b == b.to_integral_value()
    return not both_integers and math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE)


def numbers(text: str) -> frozenset[Decimal]:
    """The different numbers in a cleaned text, in digits or words, without denied numbers and bounds."""
    values = set()
    for match in _asserted(_DIGITS, text):
        value = _digits_value(match)
        if value is not None:
            values.add(value)
    for match in _asserted(_WORDS, _DIGITS.sub("|", text)):
        values.update(_words_values(match[0].lower()))
    return frozenset(values)


def _asserted(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Matches that are neither denied nor a bound; equal matches are given once."""
    seen: set[str] = set()
    for match in pattern.finditer(text):
        if match[0] not in seen and not _NO_VALUE.search(text[max(0, match.start() - 20) : match.start()]):
            seen.add(match[0])
            yield match


def _first_numbers(value: str) -> frozenset[Decimal]:
    """Numbers of a statement's first clause, else of its first sentence or line, so that "3 (2 big, 1 small)" is 3."""
    return next((values for extent in reversed(extents(value)) if (values := numbers(extent))), frozenset())


def _digits_value(match: re.Match[str]) -> Decimal | None:
    """Value of a match of `_DIGITS`; None for an ordinal, a division by zero, and a letter that may be a unit."""
    if match["bottom"]:
        if int(match["bottom"]) == 0:
            return None
        value = Decimal(match["whole"] or 0) + Decimal(match["top"]) / Decimal(match["bottom"])
        return -value if match["minus"] else value
    glued = match["glued"].lower()
    if _ORDINAL.fullmatch(glued) or (glued in ("m", "b", "bn") and match["glued"].isupper()):
        return None  # 5M may be metres or millions
    value = Decimal(match["number"].replace(",", "") + (match["exponent"] or ""))
    value *= _MAGNITUDES.get((match["magnitude"] or glued).lower(), 1)
    return -value if match["minus"] else value


def _words_values(phrase: str) -> set[Decimal]:
    """Value of a number in words ("two hundred and five" is 205); several values if the words form several numbers."""
    values: set[Decimal] = set()
    total = group = 0
    last = math.inf  # value of the last word below a hundred, which tells "twenty one" from "one two"
    for word in re.split(r"[- ]", phrase):
        if word in SMALL_NUMBERS:
            value = SMALL_NUMBERS[word]
            if last == math.inf or (last >= 20 and last % 10 == 0 and 0 < value < 10):
                group += value
            else:
                values.add(Decimal(total + group))
                total, group = 0, value
            last = value
        elif word in ("hundred", "dozen"):
            group, last = max(group, 1) * _MAGNITUDES[word], math.inf
        elif word in _MAGNITUDES:
            total, group, last = total + max(group, 1) * _MAGNITUDES[word], 0, math.inf
    return values | {Decimal(total + group)}


def _accepted_number(answer: str) -> Decimal:
    values = numbers(plain(clean(answer)))
    if len(values) != 1:
        raise BenchmarkError(
            f"The accepted answer {answer!r} has {len(values)} numbers; answer_type number expects exactly one. "
            "Correct the answer, or use answer_type text."
        )
    return min(values)


def _digits(value: Decimal) -> str:
    """The number in plain digits, without trailing zeros after the point."""
    return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"
