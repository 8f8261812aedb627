"""Answer statements, with which an output marks its answer: "The answer is B", "Answer: 12", a box, an answer tag.

    [s.value for s in statements("It may be A. Final answer: B")]      # ["B"]

A statement has a rank. FINAL: a box, an answer tag, "final answer". PLAIN: "the answer is", "Answer:", "答案是".
BARE: an answer without a lead, which the answer types find. WEAK: "it is", "I think", "so". A higher rank overrides a
lower rank. Within a rank the last statement wins only if the text turns ("but") or, unless the output opens with the
earlier one, concludes ("so") before it, or revises ("wait"), which overrides a higher rank as well. Otherwise
statements that contradict each other decide nothing. A denied, supposed or asked statement does not count.

A statement that a sentence quotes ('write "Answer: B"') counts no more than a denied one.

Limits: English, Chinese and a little of eight other languages; only the last 64 statements of an output are weighed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from gapbench.scoring.clean import CLOSE, OPEN, plain
from gapbench.scoring.outcome import unparsed
from gapbench.scoring.phrases import form

WEAK, BARE, PLAIN, FINAL = 1, 2, 3, 4
LONGEST_VALUE = 400
MOST_STATEMENTS = 64
OPENING = 24
REFUSAL = unparsed("refusal", "the output says that the answer cannot be given")
CONFLICT = unparsed("conflict", "answer statements that contradict each other")

_LEAD, _FILLER, _CLAUSE_START = form("lead"), form("filler"), form("clause_start")
_DENIED, _SUPPOSED, _QUESTION = form("denied"), form("supposed"), form("question")
_REVISION, _TURN, _CONCLUSION, _REFUSAL = (form(n) for n in ("revision", "turn", "conclusion", "refusal"))

_IN_QUOTES = re.compile(r"\w\S? '(?:the |my )?\Z", re.I)


@dataclass(frozen=True)
class Statement:
    """An answer statement: a lead such as "The answer is", and its value.

    `value` is the text after the lead up to the end of the line, at most 400 characters. The lead begins at `start` and
    the value at `end`, in characters of the cleaned text.
    """

    rank: int
    start: int
    end: int
    value: str


Value = TypeVar("Value")


@dataclass(frozen=True)
class Conclusion(Generic[Value]):
    """The statement that decides for an output, and its value. `agreed` is False if statements contradict it."""

    statement: Statement
    value: Value
    agreed: bool


def statements(text: str) -> list[Statement]:
    """The answer statements of a cleaned text, in order. "Final answer: the answer is B" is one statement."""
    in_order: list[Statement] = []
    for lead in list(_LEAD.finditer(text))[-2 * MOST_STATEMENTS :]:
        denied = is_denied(text, lead.start()) and not _CLAUSE_START.match(lead[0])
        if lead["tag"] is None and (denied or is_question(text[lead.end() : lead.end() + 82])):
            continue
        final = lead["tag"] or lead["h_final"] or lead["p_final"] or lead["c_final"]
        rank = FINAL if final else WEAK if lead["weak"] or " not " in lead[0] else PLAIN
        statement = Statement(rank, lead.start(), lead.end(), _value(text, lead))
        near = in_order and lead.start() - in_order[-1].end <= 20
        if near and _FILLER.fullmatch(text, in_order[-1].end, lead.start()):
            statement = replace(statement, rank=max(statement.rank, in_order.pop().rank))
        in_order.append(statement)
    return in_order[-MOST_STATEMENTS:]


def conclude(stated: Sequence[tuple[Statement, Value]], text: str) -> Conclusion[Value] | None:
    """Weigh statements and their values in order, by rank and by changes of mind; None if there are no statements."""
    conclusion: Conclusion[Value] | None = None
    for statement, value in stated:
        if conclusion is None:
            conclusion = Conclusion(statement, value, True)
            continue
        last = conclusion.statement
        after = last.start if last.end > statement.start else last.end
        between = text[max(after, statement.start - 200) : statement.end]
        concludes = _CONCLUSION.search(between) and (last.start > OPENING or last.rank < BARE)
        if statement.rank > last.rank:
            conclusion = Conclusion(statement, value, True)
        elif value == conclusion.value and conclusion.agreed:
            conclusion = replace(conclusion, statement=replace(statement, rank=last.rank))
        elif _REVISION.search(between) or (statement.rank == last.rank and (concludes or _TURN.search(between))):
            conclusion = Conclusion(replace(statement, rank=last.rank), value, True)
        elif statement.rank == last.rank:
            conclusion = Conclusion(statement, value, False)
    return conclusion


def refuses(text: str) -> bool:
    """Whether a text says that the answer cannot be given."""
    return _REFUSAL.search(text) is not None


def latest(text: str) -> str:
    """What follows the last change of mind in a text; the whole text without one, or with nothing after it."""
    ends = [0, *(revision.end() for revision in _REVISION.finditer(text))]
    return text[ends[-1] :].lstrip(" .,;:!") * (len(ends) > 1) or text


def revises(text: str) -> bool:
    """Whether a text changes its mind."""
    return _REVISION.search(text) is not None


def is_question(text: str) -> bool:
    """Whether the first sentence of a text is a question."""
    return _QUESTION.match(text) is not None


def _value(text: str, lead: re.Match[str]) -> str:
    following = text[lead.end() : lead.end() + LONGEST_VALUE]
    return plain(re.split(f"[{OPEN}{CLOSE}]" if lead["tag"] else "\n", following, maxsplit=1)[0])


def is_denied(text: str, start: int, supposed: bool = False) -> bool:
    """Whether the clause before `start` denies or supposes what follows, or quotes it; `supposed` ignores denials."""
    line = text[text.rfind("\n", 0, start) + 1 : start]
    if (line.count('"') % 2 and re.search(r"\w", line.split('"')[0])) or _IN_QUOTES.search(line[-20:]):
        return True
    denied = not supposed and _DENIED.search(_CLAUSE_START.split(text[max(0, start - 60) : start])[-1])
    return bool(denied or _SUPPOSED.search(text[max(0, start - 240) : start]))
