"""One answer, one verdict: chooses the rules for an answer type.

    score("The answer is B", ["B"], "letter", ("red", "blue"))

Limits: rules alone decide; what no rule can read is unparsed and never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from gapbench.errors import BenchmarkError
from gapbench.scoring.clean import answer_part, clean, plain
from gapbench.scoring.free_text import score_text
from gapbench.scoring.letters import score_letter
from gapbench.scoring.numbers import score_number
from gapbench.scoring.outcome import Score, unparsed
from gapbench.scoring.soft import score_anls, score_vqa
from gapbench.scoring.yes_no import score_yes_no
from gapbench.types import AnswerType


def score(
    output: str, answers: Sequence[str], answer_type: AnswerType, options: Sequence[str] = (), question: str = ""
) -> Score:
    """The verdict on one raw output; see the table of rules in `gapbench.scoring`.

    `answers` are the accepted answers: letters or texts of options for `letter`, the human references for `vqa`.
    `options` are the texts behind the letters for `letter` and the closed set of possible answers for `text`;
    `question` lends `letter` the options it spells out, and `text` the words that add nothing to an answer.

    Raises BenchmarkError for an unknown answer type, for no accepted answer, and for one that its type cannot hold
    (no option, no number, neither yes nor no), whatever the output is.
    """
    if isinstance(answers, str):  # a lone text is a sequence of its letters, which nobody means
        answers = (answers,)
    if answer_type not in get_args(AnswerType):
        raise BenchmarkError(
            f"The answer type {answer_type!r} is unknown; expected one of {', '.join(get_args(AnswerType))}. "
            "Correct it."
        )
    if not answers or not any(answer.strip() for answer in answers):
        raise BenchmarkError(
            "A question without an accepted answer cannot be scored. Give at least one that is not empty."
        )
    spoken = answer_part(output)
    text = clean(spoken or "")
    verdict = _by_type(text, answers, answer_type, options, question)
    if spoken is None:
        return unparsed("truncated-thinking", "truncated thinking: the output ends before its thinking does")
    if not plain(text):
        return unparsed("empty", "the output is empty")
    return verdict


def _by_type(
    text: str, answers: Sequence[str], answer_type: AnswerType, options: Sequence[str], question: str
) -> Score:
    match answer_type:
        case "letter":
            return score_letter(text, answers, options, question)
        case "yes_no":
            return score_yes_no(text, answers)
        case "number":
            return score_number(text, answers)
        case "text":
            return score_text(text, answers, options, question)
        case "vqa":
            return score_vqa(text, answers)
        case "anls":
            return score_anls(text, answers)
