"""Yes or no, where the output begins with it or states it.

    score_yes_no("Yes, there is a dog on the left.", ["yes"]).outcome         # "right"

Limits: English and Chinese words; "true" and "false" count as yes and no. What must be inferred ("There is no dog.")
is unparsed, and so is what is unsure or says both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gapbench.errors import BenchmarkError
from gapbench.scoring.clean import plain
from gapbench.scoring.outcome import Score, decided, unparsed
from gapbench.scoring.statements import conclude, statements

_END = r"(?=\s*(?:\Z|[.,;:!)\]}\"'\n。、\u2014\u2013-]))"
_HEAD = re.compile(
    rf"""[\s"'(\[]{{0,4}}(?:
      (?P<yes>(?:yes|yeah|yep|true)(?:{_END}|(?=[ ](?:there|it|he|she|they|the|this|that|i|we|because|since)\b))
            |(?:是的?|有的?|对的?|正确){_END})
    | (?P<no>(?:no|nope|false)(?:{_END}|(?=[ ](?:there|it|he|she|they|this|that|i|we|because|since)\b))
            |(?:不是的?|否|没有|不对|错误?|不){_END})
    )""",
    re.I | re.X,
)
_OTHER = re.compile(
    r"""["')\]]{0,2}[ ]?(?:,?[ ]?(?:or|and|/|&|或|和)|,)[ ]?["'(\[]?"""
    rf"""(?P<other>yes|no|true|false|是|否){_END}""",
    re.I,
)
_EITHER = re.compile(
    r"""[\s"'(\[]{0,4}(?:yes|no|true|false|是|否)["')\]]{0,2}[ ]?(?:or|and|/|&|或|和)[ ]?["'(\[]?"""
    r"""(?:yes|no|true|false|是|否)(?![A-Za-z])""",
    re.I,
)
_SENTENCE_START = re.compile(r"(?:[.!?;。][ ]|\n)")
_YES = frozenset({"yes", "true", "y", "是", "对", "有", "正确"})
_NO = frozenset({"no", "false", "n", "否", "不", "不是", "没有", "错", "错误"})


def score_yes_no(text: str, answers: Sequence[str]) -> Score:
    """Score a cleaned text. Raises BenchmarkError for an accepted answer that is neither yes nor no."""
    accepted = {yes_or_no(answer) for answer in answers}
    whole = plain(text)
    found = [(statement, said) for statement in statements(text) if (said := _said(statement.value))]
    conclusion = conclude(found, text)
    if conclusion is not None:
        if not conclusion.agreed:
            return unparsed("conflict", "answer statements that contradict each other")
        return _one(conclusion.value, accepted, "yes-no-statement")
    starts = [0, *(match.end() for match in _SENTENCE_START.finditer(whole))]
    said = frozenset[str]().union(*(_said(whole[start : start + 80]) for start in starts))
    return _one(said, accepted, "yes-no-lead")


def _one(said: frozenset[str], accepted: set[str], rule: str) -> Score:
    if not said:
        return unparsed("no-yes-no", "neither begins with yes or no nor states it")
    if len(said) > 1:
        return unparsed("conflict", "both yes and no are given")
    return decided(accepted, min(said), rule)


def _said(value: str) -> frozenset[str]:
    if _EITHER.match(value):
        return frozenset({"yes", "no"})
    head = _HEAD.match(value)
    if head is None:
        return frozenset()
    said = {"yes" if head["yes"] else "no"}
    other = _OTHER.match(value, head.end())
    return frozenset(said | ({yes_or_no(other["other"])} if other else set()))


def yes_or_no(answer: str) -> str:
    """What an accepted answer means: `yes` or `no`. Raises BenchmarkError for anything else."""
    word = plain(answer).strip(" .!。'\"").casefold()
    if word not in _YES | _NO:
        raise BenchmarkError(
            f"The accepted answer {answer!r} is neither yes nor no, as answer_type yes_no expects. "
            "Correct the answer, or use answer_type text."
        )
    return "yes" if word in _YES else "no"
