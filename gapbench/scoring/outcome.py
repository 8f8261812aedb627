"""The score that a rule returns: the outcome of one answer, and the rule that led to it.

    decided({"B"}, "B", "letter-statement").outcome      # "right"

Limits: scoring never gives the outcome `failed`. Answers that an engine failed to give are not scored.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gapbench.types import Outcome


@dataclass(frozen=True)
class Score:
    """The outcome of one answer.

    `score` is in 0..1: 1 for right, 0 for wrong or unparsed, and the soft value for `vqa` and `anls`. `parsed` is the
    answer that the rule read (None if unparsed), `rule` the short name of the rule that decided (see the table in
    `gapbench.scoring`), `reason` why an answer is unparsed, else the empty string.
    """

    outcome: Outcome
    score: float | None
    parsed: str | None
    rule: str
    reason: str


def decided(accepted: Collection[str], parsed: str, rule: str) -> Score:
    """The score of a parsed answer: right if `parsed` is among the accepted answers, else wrong."""
    right = parsed in accepted
    return Score("right" if right else "wrong", float(right), parsed, rule, "")


def unparsed(rule: str, reason: str) -> Score:
    """The score of an answer that no rule could read: 0, reported apart from wrong answers."""
    return Score("unparsed", 0.0, None, rule, reason)
