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

WEAK, BARE, PLAIN, FINAL = 1, 2, 3, 4
LONGEST_VALUE = 400
MOST_STATEMENTS = 64

_LETTER = r"(?:option[ ])?[\"'(\[]?[A-Z][\"')\]]?(?:[.,;:!\n]|\Z|[ ](?:because|since|as|is|for)\b)"
_LEAD = re.compile(
    rf"""
    (?P<tag>{OPEN})[ \n]?
  | (?P<heading>(?:\A|(?<=\n))(?:(?P<h_final>final)[ ])?(?:answer|conclusion)[.:]?\n)
  | (?P<plain>
      (?<![A-Za-z])(?:(?P<p_final>final)[ _])?(?:(?:correct|best|right|closest|most[ ][a-z]{{1,12}})[ _]){{0,2}}
      (?:answer|ans|choice|option|selection|conclusion|guess|pick|result|response|correct(?=[ ]?:)
        |(?:correct|right|best)[ ]one)
      (?:,?[ ](?:to|for|among|from|based[ ]on|given|in|then|therefore)\b[^.:?\n{OPEN}]{{0,60}}?
        |[ _](?:letter|choice|option|here|value))?
      (?:["')]{{0,2}}
      (?: [ ]?(?:[:=→⇒|]|->|[-\u2013\u2014](?=[ ]))
        | (?<=answer')s(?![A-Za-z'])
        | ,?[ ](?:is|was|remains|has[ ]to[ ]be|(?:should|must|would|will|seems[ ]to|appears[ ]to)[ ]be)
          (?![A-Za-z'])(?:[ ]?:)? )
      | (?<=answer)[ ](?=["'(\[]?[A-Z]["')\]]?(?:[.,;:!\n]|\Z)) )
    )[ \n]?
    (?:(?:clearly|definitely|likely|probably|most[ ]likely|therefore|thus|indeed|simply|actually|that)\b
      [,:]?[ \n]?){{0,3}}
  | (?P<chinese>
      (?P<c_final>最终|最后|最終)?的?(?:答案|解答|结论|結論|选项|選項|选择|選擇|正解|答え|回答|答(?=:|\]))
      (?:\][ ]?:?|[ ]?(?:应该|應該|应|就|选)?[ ]?(?:是|为|為|选|選|は|:)(?!否\w))[ ]?[:]?[ \n]?
      | (?:答案|正解|(?:选|選)[择擇]?)[ ]?:?[ ]?(?=["'(\[]?[A-Za-z](?![A-Za-z])) )
  | (?P<weak>
      (?<![A-Za-z])(?:
        (?:I|we)(?:'d|'ll|'m|[ ](?:would|will|am|can))?[ ](?:(?:have[ ]to|most[ ]likely|rather|also|say)[ ])?
        (?:think|believe|guess|say|chose|go[ ](?:with|for)|opt[ ]for|lean(?:ing)?[ ]towards?|going[ ]with)(?:[ ]that)?
      | choose | pick | select | go[ ]with
      | (?:it|that|this|there)(?:'s|[ ]is|[ ](?:must|should|would|has[ ]to)[ ]be)
      | there[ ]are | total[ ]is | total: | therefore | thus | hence | so
      | (?:corresponds[ ]to|matches|aligns[ ]with|points[ ]to)(?=[ ](?:option|choice|\())
      | (?:but|no|wait|hmm|actually|rather|sorry|correction|instead|(?:most[ ])?likely|probably|definitely|certainly|sure|elimination|leaves|leaving)
        (?=(?:[,:.]|[ ]-)?[ ](?:actually,?[ ]|no,?[ ]|rather[ ]|it's[ ]|I'd[ ]say[ ])?{_LETTER})
      )(?![A-Za-z'])[,:.]?
      | =(?=[ ]?[-$]?\d)
    )[ ]?
    """,
    re.I | re.X,
)
_ONLY_FILLER = re.compile(r"(?:\W|\b(?:the|that|my|our|is|actually|no|it's|rather)\b)*\Z", re.I)
_CLAUSE_START = re.compile(r"[.!?;,:\n。，；]|\b(?:so|but|therefore|thus|hence|then)\b", re.I)
_DENIED = re.compile(
    r"\b(?:if|whether|unless|suppose|assum\w*|each|every|not|never|doubt|neither|nor|none|cannot|unable|might|maybe|perhaps"
    r"|possibly|why|is (?=it|that|this))\b|n't\b|不|如果|若",
    re.I,
)
_SUPPOSED = re.compile(r"(?:\A|[.!?\n] ?)(?:if(?! (?:I|we|you)\b)|suppose|assuming)\b[^.!?\n]*\Z", re.I)
_REVISION = re.compile(
    r"\b(?:wait|actually|correct(?:ion|ing)|sorry|mistake|mistaken|on second thoughts?|let me re\w*|re-?check\w*"
    r"|change my|scratch that|i was wrong|no[,.])|不对|不對|更正|等等|实际上|實際上",
    re.I,
)
_TURN = re.compile(
    r"\b(?:instead|but|however|therefore|thus|hence|so|finally|overall|in (?:conclusion|summary)|to sum up|based on)\b"
    r"|但是|因此|所以|综上|綜上",
    re.I,
)
_REFUSAL = re.compile(
    r"(?:\b(?:cannot|can't|can not|couldn't|could not|unable to|not (?:possible|able|enough information) to"
    r"|impossible to|(?:hard|difficult|tough) to|insufficient \w+ to|no way (?:to|of))"
    r"(?: (?:be|really|reliably|accurately|definitively|confidently|clearly|fully|make a|give an?|provide an?|see to)){0,3}"
    r" (?:determin\w+|tell|telling|say|judge|identif\w+|answer\w*|know\w*|read|make out|assist|help|confirm|verif\w+|decide"
    r"|infer\w*|ascertain\w*|discern\w*|choose|view|comply|provide|see (?:the|any|your|an) (?:image|picture|photo)\w*)\b"
    r"|\b(?:don't|do not) (?:really )?know\b|\b(?:not|n't|un)[- ]?(?:sure|certain|clear|answerable)\b"
    r"|\bno idea\b|\bas an ai\b|\bnone of the (?:above|options|given|choices)\b|\b(?:too|not) (?:small|blurr\w+|dark|legible)\b"
    r"|\b(?:isn't|is not|are not) (?:enough|sufficient|provided|shown in enough)\b"
    r"|无法|無法|不确定|不確定|不知道|看不清|不清楚|わかりません|分かりません|判断できません)",
    re.I,
)
_QUESTION = re.compile(r"[^.!?。\n]{0,80}[?？]")


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
        statement = Statement(_rank(lead), lead.start(), lead.end(), _value(text, lead))
        if in_order and _is_filler(text[in_order[-1].end : lead.start()]):
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
        between = text[
            max(last.start if last.end > statement.start else last.end, statement.start - 200) : statement.end
        ]
        if statement.rank > last.rank:
            conclusion = Conclusion(statement, value, True)
        elif value == conclusion.value and conclusion.agreed:
            conclusion = replace(conclusion, statement=replace(statement, rank=last.rank))
        elif _REVISION.search(between) or (statement.rank == last.rank and _TURN.search(between)):
            conclusion = Conclusion(replace(statement, rank=last.rank), value, True)
        elif statement.rank == last.rank:
            conclusion = Conclusion(statement, value, False)
    return conclusion


def refuses(text: str) -> bool:
    """Whether a text says that the answer cannot be given."""
    return _REFUSAL.search(text) is not None


def revises(text: str) -> bool:
    """Whether a text changes its mind."""
    return _REVISION.search(text) is not None


def is_question(text: str) -> bool:
    """Whether the first sentence of a text is a question."""
    return _QUESTION.match(text) is not None


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
    before = text[max(0, start - 60) : start]
    return _DENIED.search(_CLAUSE_START.split(before)[-1]) is not None or _SUPPOSED.search(before) is not None
