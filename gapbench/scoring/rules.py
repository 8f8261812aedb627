"""The entry to scoring: cleans an output and applies the rules of its answer type.

    score("The answer is B", ["B"], "letter", ("red", "blue"))

Limits: an answer that no rule can read is unparsed, never guessed. Of a runaway output only the last 40,000 characters
are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gapbench.errors import BenchmarkError
from gapbench.scoring.clean import clean, plain
from gapbench.scoring.free_text import score_text
from gapbench.scoring.letters import score_letter
from gapbench.scoring.numbers import score_number
from gapbench.scoring.outcome import Score, unparsed
from gapbench.scoring.phrases import form
from gapbench.scoring.soft import anls, score_soft, vqa_accuracy
from gapbench.scoring.thoughts import split
from gapbench.scoring.yes_no import score_yes_no
from gapbench.types import AnswerType

LONGEST_READ = 40_000
_COUNTERFACTUAL = form("counterfactual")

THOUGHT_CUT_OFF = ("thought-cut-off", "the output ends before its thought does, so there is no answer")
"""Rule and reason of an output that is all thought."""


def score(
    output: str, answers: Sequence[str], answer_type: AnswerType, options: Sequence[str] = (), question: str = ""
) -> Score:
    """The score of one raw output; see the table of rules in `gapbench.scoring`.

    `answers` are the accepted answers: letters or texts of options for `letter`, the human references for `vqa`.
    `options` are the texts behind the letters for `letter`, and the closed set of possible answers for `text`. For
    `letter`, the options may also be listed in `question`. For `text`, words of `question` add nothing to an answer;
    for `yes_no`, a statement that repeats the question answers it; for `number`, its numbers do not count.

    Raises BenchmarkError for an unknown answer type, for a sample without an accepted answer, and for an accepted
    answer that does not fit its type (no option, no number, neither yes nor no), whatever the output is.
    """
    if isinstance(answers, str):  # a string is a sequence of its characters, which is never meant
        answers = (answers,)
    parts = split(output)
    cleaned = clean(parts.answer[-LONGEST_READ:])
    text = _COUNTERFACTUAL.sub(" ", cleaned)
    rules: dict[AnswerType, Callable[[], Score]] = {
        "letter": lambda: score_letter(text, answers, options, question),
        "yes_no": lambda: score_yes_no(text, answers, question),
        "number": lambda: score_number(text, answers, question),
        "text": lambda: score_text(text, answers, options, question),
        "vqa": lambda: score_soft(text, lambda part: vqa_accuracy(part, answers), "vqa"),
        "anls": lambda: score_soft(text, lambda part: anls(part, answers), "anls"),
    }
    if answer_type not in rules:
        raise BenchmarkError(
            f"The answer type {answer_type!r} is unknown; expected one of {', '.join(rules)}. Correct it."
        )
    if not answers or not any(accepted.strip() for accepted in answers):
        raise BenchmarkError(
            "A sample without an accepted answer cannot be scored. Give at least one accepted answer that is not empty."
        )
    result = rules[answer_type]()
    if parts.cut_off:
        return unparsed(*THOUGHT_CUT_OFF)
    return result if plain(cleaned) else unparsed("empty", "the output is empty")
