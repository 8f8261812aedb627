"""Numbers by value: digits or words, with thousands commas, fractions, magnitudes and units.

    score_number("There are twenty-one cars.", ["21"]).outcome        # "right"

Integers must be equal; where either side has a fractional part, a relative tolerance of 1e-6 applies. Units and the per
cent sign are read over, on both sides: "12.5 %" equals "12.5"; "3k" is 3000. An output with several different
numbers is read only where an answer statement gives one; bounds ("at least 3"), denied numbers ("not 3") and ordinals
are no answer.

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
    accepted = [_gold(answer) for answer in answers]
    whole = plain(text)
    found = [(statement, values) for statement in statements(text) if (values := _first_with_numbers(statement.value))]
    conclusion = conclude(found, text)
    if conclusion is not None and not conclusion.agreed:
        return unparsed("conflict", "answer statements that contradict each other")
    values = conclusion.value if conclusion else numbers(whole)
    if conclusion and conclusion.statement.rank == WEAK:  # "There are 3 cars. 2 are red." answers nothing
        values |= numbers(plain(text[conclusion.statement.end :]))
    if not values:
        return unparsed("no-number", "no number is given")
    if len(values) > 1:
        return unparsed("conflict", f"{len(values)} different numbers are given")
    value = min(values)
    right = any(equal(value, gold) for gold in accepted)
    rule = "number-statement" if conclusion else "number-only"
    return Score("right" if right else "wrong", float(right), _plain(value), rule, "")


def equal(a: Decimal, b: Decimal) -> bool:
    """Exact for integers, else within a relative tolerance of 1e-6."""
    if a == b:
        return True
    both_integers = a == a.to_integral_value() and b == b.to_integral_value()
    return not both_integers and math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE)


def numbers(text: str) -> frozenset[Decimal]:
    """The different numbers that a cleaned text gives in digits or words."""
    found = set()
    for match in _asserted(_DIGITS, text):
        value = _digits_value(match)
        if value is not None:
            found.add(value)
    for match in _asserted(_WORDS, _DIGITS.sub("|", text)):
        found.update(_words_values(match[0].lower()))
    return frozenset(found)


def _asserted(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """The first occurrence of each match that is neither denied nor a bound."""
    seen: set[str] = set()
    for match in pattern.finditer(text):
        if match[0] not in seen and not _NO_VALUE.search(text[max(0, match.start() - 20) : match.start()]):
            seen.add(match[0])
            yield match


def _first_with_numbers(value: str) -> frozenset[Decimal]:
    """Numbers of the first clause of a statement, else of its sentence, so that "3 (2 big, 1 small)" is 3."""
    return next((found for extent in reversed(extents(value)) if (found := numbers(extent))), frozenset())


def _digits_value(match: re.Match[str]) -> Decimal | None:
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
    """Value of a number in words ("two hundred and five" is 205); several if the words do not make one number."""
    found: set[Decimal] = set()
    total = group = 0
    last = math.inf  # the last word below a hundred, to tell "twenty one" from "one two"
    for word in re.split(r"[- ]", phrase):
        if word in SMALL_NUMBERS:
            value = SMALL_NUMBERS[word]
            if last == math.inf or (last >= 20 and last % 10 == 0 and 0 < value < 10):
                group += value
            else:
                found.add(Decimal(total + group))
                total, group = 0, value
            last = value
        elif word in ("hundred", "dozen"):
            group, last = max(group, 1) * _MAGNITUDES[word], math.inf
        elif word in _MAGNITUDES:
            total, group, last = total + max(group, 1) * _MAGNITUDES[word], 0, math.inf
    return found | {Decimal(total + group)}


def _gold(answer: str) -> Decimal:
    found = numbers(plain(clean(answer)))
    if len(found) != 1:
        raise BenchmarkError(
            f"The accepted answer {answer!r} holds {len(found)} numbers; answer_type number expects exactly one. "
            "Correct the answer, or use answer_type text."
        )
    return min(found)


def _plain(value: Decimal) -> str:
    return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"
