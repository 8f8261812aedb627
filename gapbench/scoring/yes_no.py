"""Yes or no: the answer of an output that begins with yes or no, or states it.

    score_yes_no("Yes, there is a dog on the left.", ["yes"]).outcome         # "right"

"true" counts as yes, "false" as no. An output that is unsure or says both is unparsed, and so is an answer that must be
inferred ("There is no dog.").

Limits: English and Chinese words only.
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
_SECOND = re.compile(
    r"""["')\]]{0,2}[ ]?(?:,?[ ]?(?:or|and|/|&|或|和)|,)[ ]?["'(\[]?"""
    rf"""(?P<second>yes|no|true|false|是|否){_END}""",
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
    stated = [(statement, words) for statement in statements(text) if (words := _leading_words(statement.value))]
    conclusion = conclude(stated, text)
    if conclusion is not None:
        if not conclusion.agreed:
            return unparsed("conflict", "answer statements that contradict each other")
        return _score(conclusion.value, accepted, "yes-no-statement")
    output = plain(text)
    starts = [0, *(match.end() for match in _SENTENCE_START.finditer(output))]
    words = frozenset[str]().union(*(_leading_words(output[start : start + 80]) for start in starts))
    return _score(words, accepted, "yes-no-lead")


def _score(words: frozenset[str], accepted: set[str], rule: str) -> Score:
    if not words:
        return unparsed("no-yes-no", "neither begins with yes or no nor states it")
    if len(words) > 1:
        return unparsed("conflict", "both yes and no are given")
    return decided(accepted, min(words), rule)


def _leading_words(value: str) -> frozenset[str]:
    """The `yes` and `no` that a text begins with: both for "yes or no", none for other text."""
    if _EITHER.match(value):
        return frozenset({"yes", "no"})
    head = _HEAD.match(value)
    if head is None:
        return frozenset()
    words = {"yes" if head["yes"] else "no"}
    second = _SECOND.match(value, head.end())
    return frozenset(words | ({yes_or_no(second["second"])} if second else set()))


def yes_or_no(answer: str) -> str:
    """The meaning of an accepted answer: `yes` or `no`. Raises BenchmarkError for anything else."""
    word = plain(answer).strip(" .!。'\"").casefold()
    if word not in _YES | _NO:
        raise BenchmarkError(
            f"The accepted answer {answer!r} is neither yes nor no, as answer_type yes_no expects. "
            "Correct the answer, or use answer_type text."
        )
    return "yes" if word in _YES else "no"
