"""Answer statements, with which an output marks its answer: "The answer is B", "Answer: 12", a box, an answer tag.

    [s.value for s in statements("It may be A. Final answer: B")]      # ["B"]

A statement has a rank. FINAL: a box, an answer tag, "final answer". PLAIN: "the answer is", "Answer:", "答案是".
WEAK: "it is", "I think", "there are", "so". A higher rank overrides a lower rank. Within a rank the last statement wins
only if the text marks a change of mind before it ("wait", "actually", "but", ...). Without such a mark, statements that
contradict each other decide nothing. A denied or supposed statement ("if the answer is A", "I don't think it is B")
does not count.

Limits: English and Chinese; only the last 64 statements of an output are weighed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from gapbench.scoring.clean import CLOSE, OPEN

WEAK, PLAIN, FINAL = 1, 2, 3
LONGEST_VALUE = 400
MOST_STATEMENTS = 64

_LEAD = re.compile(
    rf"""
    (?P<tag>{OPEN})[ \n]?
  | (?P<heading>(?:\A|(?<=\n))(?:(?P<h_final>final)[ ])?answer[.:]?\n)
  | (?P<plain>
      (?<![A-Za-z])(?:(?P<p_final>final)[ ])?(?:(?:correct|best|right|closest)[ ])?
      (?:answer|ans|choice|option|selection|correct(?=[ ]?:)|(?:correct|right|best)[ ]one)
      (?:[ ](?:to|for)[ ](?:the|this|your)[ ]question|[ ](?:letter|choice|option|here|value))?
      (?:["')]{{0,2}}
      (?: [ ]?(?:[:=→⇒]|->|[-\u2013\u2014](?=[ ]))
        | [ ](?:is|was|has[ ]to[ ]be|(?:should|must|would|will|seems[ ]to|appears[ ]to)[ ]be)(?![A-Za-z'])(?:[ ]?:)? )
      | [ ](?=["'(\[]?[A-Z]["')\]]?(?:[.,;:!\n]|\Z)) )
    )[ \n]?
    (?:(?:clearly|definitely|likely|probably|most[ ]likely|therefore|thus|indeed|simply|actually|that)\b
      [,:]?[ \n]?){{0,3}}
  | (?P<chinese>
      (?P<c_final>最终|最后)?的?(?:答案|选项|选择)[ ]?(?:应该|应|就|选)?[ ]?(?:是|为|选|:)(?!否\w)[ ]?[:]?[ \n]?
      | 选择?[ ]?:?[ ]?(?=["'(\[]?[A-Za-z](?![A-Za-z])) )
  | (?P<weak>
      (?<![A-Za-z])(?:
        (?:I|we)(?:'d|'ll|[ ]would|[ ]will)?[ ](?:think|believe|guess|say|chose|go[ ]with)(?:[ ]that)?
      | choose | pick | select
      | (?:it|that|this|there)(?:'s|[ ]is)
      | there[ ]are | total[ ]is | total: | therefore | thus | hence | so
      )(?![A-Za-z']),?
      | =(?=[ ]?[-$]?\d)
    )[ ]?
    """,
    re.I | re.X,
)
_ONLY_FILLER = re.compile(r"(?:\W|\b(?:the|that|my|our|is)\b)*\Z", re.I)
_CLAUSE_START = re.compile(r"[.!?;,:\n。]|\b(?:so|but|therefore|thus|hence|then)\b", re.I)
_DENIED = re.compile(r"\b(?:if|whether|unless|suppose|assum\w*|not|never|doubt)\b|n't\b|不|如果|若", re.I)
_REVISION = re.compile(
    r"\b(?:wait|actually|correct(?:ion|ing)|sorry|mistake|mistaken|on second thoughts?|let me re\w*|re-?check\w*"
    r"|instead|no,|but|however|change my|scratch that|i was wrong)\b|\bno[,.]|不对|更正|等等|实际上|但是",
    re.I,
)


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
        if lead["tag"] is None and is_denied(text, lead.start()):
            continue
        statement = Statement(_rank(lead), lead.start(), lead.end(), _value(text, lead))
        if in_order and _is_filler(text[in_order[-1].end : lead.start()]):
            statement = replace(statement, rank=max(statement.rank, in_order.pop().rank))
        in_order.append(statement)
    return in_order[-MOST_STATEMENTS:]


def conclude(stated: Sequence[tuple[Statement, Value]], text: str) -> Conclusion[Value] | None:
    """Weigh statements and their values in order, by rank and by changes of mind; None if there are no statements."""
    conclusion: Conclusion[Value] | None = None
    for statement, value in stated:
        if conclusion is None or statement.rank > conclusion.statement.rank:
            conclusion = Conclusion(statement, value, True)
        elif value == conclusion.value and conclusion.agreed:
            conclusion = replace(conclusion, statement=replace(statement, rank=conclusion.statement.rank))
        elif _REVISION.search(text[max(conclusion.statement.end, statement.start - 200) : statement.start]):
            conclusion = Conclusion(replace(statement, rank=conclusion.statement.rank), value, True)
        elif statement.rank == conclusion.statement.rank:
            conclusion = Conclusion(statement, value, False)
    return conclusion


def _rank(lead: re.Match[str]) -> int:
    if lead["tag"] or lead["h_final"] or lead["p_final"] or lead["c_final"]:
        return FINAL
    return WEAK if lead["weak"] else PLAIN


def _value(text: str, lead: re.Match[str]) -> str:
    following = text[lead.end() : lead.end() + LONGEST_VALUE]
    if lead["tag"]:
        return following.split(CLOSE, 1)[0].split(OPEN, 1)[0].strip()
    return following.split("\n", 1)[0].replace(OPEN, "").replace(CLOSE, "").strip()


def _is_filler(between: str) -> bool:
    return len(between) <= 20 and _ONLY_FILLER.match(between) is not None


def is_denied(text: str, start: int) -> bool:
    """Whether the clause before `start` denies or supposes the text that follows."""
    clause = _CLAUSE_START.split(text[max(0, start - 60) : start])[-1]
    return _DENIED.search(clause) is not None
