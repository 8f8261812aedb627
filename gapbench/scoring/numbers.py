"""Numbers, compared by value: digits or words, with thousands commas, fractions, magnitudes and units.

    score_number("There are twenty-one cars.", ["21"]).outcome        # "right"

The steps: 1. a statement with a number; 2. a number alone on a line; 3. the number of the clause that answers, else the
only number of the output, its total where the other numbers add up to it, or the one right before what is asked about.
"No cars" is 0, "a single car" 1 and "a pair" 2 if there is no other number.

Two integers must be equal; if either side has a fractional part, a relative tolerance of 1e-6 applies. Units and the
per cent sign are ignored. "3k" is 3000, "half a dozen" 6, "two thirds" 0.667. Bounds ("at least 3", "100+"), denied and
vague numbers, ordinals and numbers of lists ("Step 1") are no answers.

Limits: commas and spaces separate thousands (12,5 is two numbers, 1.024,5 one); units are not compared; of Chinese
numerals only those below a hundred before a measure word, of other languages only the words from two to ten.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice

from gapbench.errors import BenchmarkError
from gapbench.scoring.clauses import EMPTY_WORDS, answering, asserted, denies, extents, is_cut_off
from gapbench.scoring.clean import clean, plain
from gapbench.scoring.outcome import Score, unparsed
from gapbench.scoring.phrases import form, word_list, word_set
from gapbench.scoring.statements import CONFLICT, REFUSAL, WEAK, conclude, latest, refuses, statements
from gapbench.scoring.words import SMALL_NUMBERS, stem, words

RELATIVE_TOLERANCE = 1e-6

_MAGNITUDES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "k": 1000, "dozen": 12}
_PARTS = ("halve", "third", "quarter", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_MOST_NUMBERS = 1000
_DIGITS, _WORDS, _HAN = form("digits"), form("number_words"), form("han_number")
_HAN_VALUES = {han: value for value, han in enumerate("〇一二三四五六七八九")} | {"两": 2, "兩": 2}
_NO_VALUE, _BOUND, _PRONOUN = form("no_value"), form("bound"), form("pronoun")
_LIST_MARK, _PART, _TOTAL, _RANGE = form("list_mark"), form("part"), form("total"), form("range")
_MULTIPLIED = form("multiplied")
_AS_WORDS = [form(name) for name in ("none", "single", "pair")]  # 0, 1, 2
_VALUES = SMALL_NUMBERS | {
    word: value for value, name in enumerate(word_list("below_hundred")[2:11], 2) for word in word_list(name)
}
_CHAIN, _ORDINAL = re.compile(r"[^=A-Za-z,;]*="), re.compile(r"st|nd|rd|th", re.I)
_PHRASE, _BEFORE = re.compile(r"[\d.,]*[ -]?([\w ]{0,40})"), re.compile(r"\w+(?=[ :]\Z)")
_EMPTY = EMPTY_WORDS.union(*map(word_set, ("auxiliaries", "further", "alternatives")))
_NAMING = word_set("naming")
_LIST_START = re.compile(r"(?m:^ ?1[.)] )")


def score_number(text: str, answers: Sequence[str], question: str = "") -> Score:
    """Score a cleaned text by value. Numbers of `question` ("in 2015") do not count beside others.

    Raises BenchmarkError for an accepted answer that is not exactly one number.
    """
    accepted = [_accepted_number(answer) for answer in answers]
    output = plain(text)
    sums = not is_cut_off(output)
    stated = [
        s for s in statements(text) if s.rank > WEAK or (sums and text[s.start] == "=" and not _CHAIN.match(s.value))
    ]
    conclusion = conclude([(s, values) for s in stated if (values := _first_numbers(s.value))], text)
    if conclusion is not None and not conclusion.agreed and conclusion.statement.rank > WEAK:
        return CONFLICT
    tail = latest(text)
    if conclusion and conclusion.statement.end + len(tail) < len(text) and numbers(asserted(tail)):
        conclusion = None  # "The answer is 3. Wait, it is 4."
    lines = frozenset().union(*(numbers(line) for line in output.split("\n") if _DIGITS.fullmatch(line.rstrip(". "))))
    if conclusion and conclusion.agreed:
        values, rule = conclusion.value, "number-statement"
    elif len(lines) == 1:
        values, rule = lines, "number-bare"
    elif refuses(output):
        return REFUSAL
    else:
        values, rule = _only(output, question), "number-only"
    if not values:
        return unparsed("no-number", "no number is given")
    if len(values) > 1:
        return unparsed("conflict", f"{len(values)} different numbers are given")
    value = min(values)
    right = any(equal(value, number) for number in accepted)
    return Score("right" if right else "wrong", float(right), _digits(value), rule, "")


def _only(output: str, question: str) -> frozenset[Decimal]:
    """The number of a text in prose: the only one, else that of the clauses that answer; several if none is."""
    if is_cut_off(output):
        return frozenset()
    text = asserted(output, sure=True)
    claims = [numbers(claim) for claim in answering(output, question) if not denies(claim)]
    values = frozenset().union(*claims) or numbers(latest(text)) or numbers(text)
    if not values and not _LIST_MARK.search(text):
        return frozenset(Decimal(value) for value, word in enumerate(_AS_WORDS) if word.search(text))
    if len(values) > 1 and not _MULTIPLIED.search(text) and len(counted := _counted(latest(text), question)) == 1:
        return counted
    asked = frozenset(value for _, _, value in _found(question))
    others = frozenset(value for _, _, value in islice(_found(text), _MOST_NUMBERS)) - asked
    return others if others and values <= asked else values - asked or values


def _counted(text: str, question: str) -> frozenset[Decimal]:
    """The numbers right before what is asked about ("3 dogs and 2 cats"); none if a number may go on with the count.

    It goes on ("and 1 on the floor", "1 hour and 5 minutes") unless it counts or names another thing ("platform 14").
    """
    asked = {stem(word) for word in words(question) if word not in _EMPTY}
    counted: set[Decimal] = set()
    for start, end, value in islice(_found(text), _MOST_NUMBERS):
        phrase = _PHRASE.match(text, start if text[start].isdigit() else end)
        after = [word for word in words(phrase[1] if phrase else "") if word.isascii() or word not in _EMPTY][:2]
        name = _BEFORE.search(text, max(0, start - 20), start)
        if after and after[0] not in _EMPTY and text[start - 1 : start] not in (",", "万", "千"):  # 3,5
            counted |= {value} if asked.intersection(map(stem, after)) else set()
        elif not name or not (name[0].lower() in _NAMING or stem(name[0].lower()) in asked):
            return frozenset()
    return frozenset(counted)


def equal(a: Decimal, b: Decimal) -> bool:
    """Whether two numbers are equal: exactly for two integers, else within a relative tolerance of 1e-6."""
    if a == b:
        return True
    both_integers = a == a.to_integral_value() and b == b.to_integral_value()
    return not both_integers and math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE)


def numbers(text: str) -> frozenset[Decimal]:
    """The different numbers that a cleaned text gives: its total alone where the other numbers add up to it.

    Denied numbers, bounds and marks of lists are none. If numbers differ, those in brackets or of parts do not count.
    """
    if _LIST_START.search(text):
        text = _LIST_MARK.sub(" ", text)
    found = sorted(islice(_found(text), _MOST_NUMBERS))
    values = [value for _, _, value in found]
    if len(found) > 2:
        first_gap, last_gap = text[found[0][1] : found[1][0]], text[found[-2][1] : found[-1][0]]
        if sum(values[1:]) == values[0] and re.search(r"[^\W\d_]", first_gap) and not _RANGE.search(first_gap):
            return frozenset(values[:1])
        if sum(values[:-1]) == values[-1] and _TOTAL.search(last_gap):
            return frozenset(values[-1:])
    rest = {value for _, _, value in _found(_PART.sub(" ", text))} if len(set(values)) > 1 else set()
    return frozenset(rest or values)


def _found(text: str) -> Iterator[tuple[int, int, Decimal]]:
    """Start, end and value of the numbers of a text that are neither denied nor bounds nor asked about."""
    for match in _DIGITS.finditer(text):
        value = _digits_value(match)
        if value is not None and _is_given(text, match):
            yield match.start(), match.end(), value
    blank = _DIGITS.sub(lambda digits: "|" * len(digits[0]), text)
    for match in _WORDS.finditer(blank):
        if _is_given(text, match):
            yield from ((match.start(), match.end(), value) for value in _words_values(match))
    for match in _HAN.finditer(blank):
        if match.start() == 0 or text[match.start() - 1] not in (*_HAN_VALUES, *"十百千万零"):
            tens, ten, ones = match[0].rpartition("十")
            count = 10 * _HAN_VALUES.get(tens, 1) * bool(ten) + _HAN_VALUES.get(ones, 0)
            yield match.start(), match.end(), Decimal(count)


def _is_given(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - 20) : match.start()]
    end = match.start("glued") if match.re is _DIGITS and match["number"] else match.end()
    pronoun = match[0].lower() == "one" and _PRONOUN.search(before)
    return not (pronoun or _NO_VALUE.search(before) or _BOUND.match(text, end))


def _first_numbers(value: str) -> frozenset[Decimal]:
    """Numbers of a statement's first clause, else of its first sentence or line, so that "3 (2 big, 1 small)" is 3."""
    return next((values for extent in reversed(extents(value)) if (values := numbers(extent))), frozenset())


def _digits_value(match: re.Match[str]) -> Decimal | None:
    """Value of a match of `_DIGITS`; None for an ordinal, a division by zero, and a letter that may be a unit."""
    glued = (match["glued"] or "").lower()
    if match["bottom"]:
        if int(match["bottom"]) == 0:
            return None
        value = Decimal(match["whole"] or 0) + Decimal(match["top"]) / Decimal(match["bottom"])
    elif match["european"]:
        value = Decimal(match["european"].replace(".", "").replace(",", "."))
    elif _ORDINAL.fullmatch(glued) or (glued in ("m", "b", "bn") and match["glued"].isupper()):
        return None  # 5M may be metres or millions
    else:
        value = Decimal(re.sub("[ ,]", "", match["number"]) + (match["exponent"] or ""))
        value *= _MAGNITUDES.get((match["magnitude"] or glued).lower(), 1)
        value += Decimal("0.5") * bool(match["half"])
    return -value if match["minus"] else value


def _words_values(match: re.Match[str]) -> set[Decimal]:
    """Value of a match of `_WORDS`; several values if the words form several numbers."""
    if match["only_half"]:
        values = {Decimal("0.5")}
    elif match["top"]:
        values = {Decimal(SMALL_NUMBERS[match["top"].lower()]) / (_PARTS.index(match["bottom"].lower()) + 2)}
    else:
        values = {value + Decimal("0.5") * bool(match["half"]) for value in _phrase_values(match["words"].lower())}
    factor = Decimal("0.5" if match["half_of"] else "1") * (-1 if match["minus"] else 1)
    return {value * factor for value in values}


def _phrase_values(phrase: str) -> set[Decimal]:
    """Value of a number in words ("two hundred and five" is 205); several values if the words form several numbers."""
    values: set[Decimal] = set()
    total = group = 0
    last = math.inf  # value of the last word below a hundred, which tells "twenty one" from "one two"
    for word in re.split(r"[- ]", phrase):
        value, magnitude = _VALUES.get(word), _MAGNITUDES.get(word, 1)
        if value is not None:
            if last != math.inf and not (last >= 20 and last % 10 == 0 and 0 < value < 10):
                values.add(Decimal(total + group))
                total = group = 0
            group, last = group + value, value
        elif magnitude >= 1000:
            total, group, last = total + max(group, 1) * magnitude, 0, math.inf
        elif magnitude > 1:
            group, last = max(group, 1) * magnitude, math.inf
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
