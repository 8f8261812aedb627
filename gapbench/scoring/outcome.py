"""What a rule hands back: the outcome of one answer, and how it was reached.

    decided({"B"}, "B", "letter-statement").outcome      # "right"

Limits: a verdict says nothing of the engine; an engine that gave no answer is `failed` before it comes here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gapbench.types import Outcome


@dataclass(frozen=True)
class Score:
    """The outcome of one answer.

    `score` is in 0..1: 1 for right and 0 for wrong or unparsed, and the soft value for `vqa` and `anls`.
    `parsed` is what was read (None when nothing could be), `rule` the short name of the rule that decided
    (see the table in `gapbench.scoring`), `reason` why an answer is unparsed, else the empty string.
    """

    outcome: Outcome
    score: float | None
    parsed: str | None
    rule: str
    reason: str


def decided(accepted: Collection[str], parsed: str, rule: str) -> Score:
    """Right if `parsed` is among the accepted answers, else wrong."""
    right = parsed in accepted
    return Score("right" if right else "wrong", float(right), parsed, rule, "")


def unparsed(rule: str, reason: str) -> Score:
    """No rule could read the answer; it counts 0 and is reported apart from wrong answers."""
    return Score("unparsed", 0.0, None, rule, reason)
