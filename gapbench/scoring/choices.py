"""The options of a question: their letters, their texts, and what an accepted answer stands for among them.

    choices_of(["green"], ("red", "green")).named("Green.")       # frozenset({"B"})

Options come from the sample, else from a question that letters them itself; with neither, the letters A to K are
allowed, and as many more as the accepted answer needs.

Limits: 26 options.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from gapbench.errors import BenchmarkError
from gapbench.scoring.clean import clean, fold, plain
from gapbench.scoring.free_text import normal

_LABEL = re.compile(r"[(\[]?([A-Za-z])[)\]]?(?:[.):] ?|(?<=[)\]]) ?|(?= \())")
_LABELLED = re.compile(r"(?:(?<=\s)|\A)\(?([A-Z])[.):]\s")


@dataclass(frozen=True)
class Choices:
    """The letters that may be given, and the normalised text of each option (empty if unknown)."""

    letters: str
    texts: tuple[str, ...]

    def named(self, text: str) -> frozenset[str]:
        """Letters of the options whose text is exactly this one."""
        wanted, label = normal(text), _LABEL.match(text)
        if label and wanted == normal(text[label.end() :]):  # "A. green": here A is a label and no article
            return frozenset()
        return frozenset(c for c, option in zip(self.letters, self.texts, strict=False) if option == wanted != "")

    def only(self, text: str) -> frozenset[str]:
        """The letter of the one option with this text; none if the text is an allowed letter, which goes first."""
        bare = text.strip(" .:()[]\"'").upper()
        same = self.named(text)
        return same if len(same) == 1 and not (len(bare) == 1 and bare in self.letters) else frozenset()


def choices_of(answers: Sequence[str], options: Sequence[str], question: str = "") -> Choices:
    """The letters and texts one may choose from. Raises BenchmarkError for more than 26 options."""
    texts = list(options) or _lettered_in(question)
    if len(texts) > len(string.ascii_uppercase):
        raise BenchmarkError(
            f"A question with {len(texts)} options was found; answer_type letter allows 26. Use answer_type text."
        )
    given = [letter for answer in answers if len(letter := fold(answer).strip(" ().:[]").upper()) == 1]
    highest = max((string.ascii_uppercase.find(letter) for letter in given), default=0)
    if not options and highest >= len(texts):  # the question's own lettering was not understood
        texts = []
    letters = string.ascii_uppercase[: len(texts) or max(11, highest + 1)]
    labels = [_LABEL.match(fold(text).strip()) for text in texts]
    if texts and all(label and label[1].upper() == letter for label, letter in zip(labels, letters, strict=True)):
        texts = [fold(text).strip()[label.end() :] for text, label in zip(texts, labels, strict=True) if label]
    return Choices(letters, tuple(normal(clean(text)) for text in texts))


def _lettered_in(question: str) -> list[str]:
    """Texts of options that the question itself letters in order, as ZoomBench does; empty if there are none."""
    labels: list[re.Match[str]] = []
    question = fold(question)
    for label in _LABELLED.finditer(question):
        if len(labels) < 26 and label[1] == string.ascii_uppercase[len(labels)]:
            labels.append(label)
    ends = [label.start() for label in labels[1:]] + [len(question)]
    texts = [question[label.end() : end].strip().split("\n")[0] for label, end in zip(labels, ends, strict=False)]
    return texts if len(texts) > 1 else []


def accepted_letters(answer: str, choices: Choices) -> frozenset[str]:
    """The letters an accepted answer stands for: its own, or those of the options with its text.

    Raises BenchmarkError if it is neither.
    """
    text = clean(answer)
    letter = text.strip(" ().:[]").upper()
    if len(letter) == 1 and letter in choices.letters:
        return frozenset(letter)
    label = _LABEL.match(text)
    found = choices.named(plain(text)) or (choices.named(text[label.end() :]) & {label[1].upper()} if label else None)
    if not found:
        raise BenchmarkError(
            f"The accepted answer {answer!r} is no option of its question: expected a letter from "
            f"{choices.letters[0]} to {choices.letters[-1]}, or the text of an option. "
            "Correct the answer or the options."
        )
    return found
