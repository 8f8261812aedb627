"""The options of a sample: their letters, their texts, and the letters that an accepted answer stands for.

    choices_of(["green"], ("red", "green")).letters_of("Green.")       # frozenset({"B"})

Options come from the sample, else from the text of a question that lists lettered options. Without either, the letters
A to K are allowed, and more if an accepted answer needs them.

Limits: 26 options.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from gapbench.errors import BenchmarkError
from gapbench.scoring.clauses import affirmed, spoken
from gapbench.scoring.clean import clean, fold, plain
from gapbench.scoring.words import normal

_LABEL = re.compile(r"[(\[]?([A-Za-z])[)\]]?(?:[.):] ?|(?<=[)\]]) ?|(?= ?\())")
_LABELLED = re.compile(r"(?:(?<=\s)|\A)\(?([A-Z])[.):]\s")


@dataclass(frozen=True)
class Choices:
    """The allowed letters, and the text of each option: normalised, and as `affirmed` looks for it."""

    letters: str
    texts: tuple[str, ...]
    spoken: tuple[str, ...]

    def letters_of(self, text: str) -> frozenset[str]:
        """Letters of the options that have exactly this text."""
        normalised, label = normal(text), _LABEL.match(text)
        if label and normalised == normal(text[label.end() :]):  # "A. green": here A is a label and no article
            return frozenset()
        return frozenset(c for c, option in zip(self.letters, self.texts, strict=False) if option == normalised != "")

    def single_letter_of(self, text: str) -> frozenset[str]:
        """The letter of the only option with this text; empty if several have it or the text is an allowed letter."""
        letters = self.letters_of(text)
        return letters if len(letters) == 1 and not is_letter_of(text, self.letters) else frozenset()

    def text_of(self, letter: str) -> str:
        """The normalised text of an option; empty if it is unknown."""
        return dict(zip(self.letters, self.texts, strict=False)).get(letter, "")

    def affirmed_in(self, text: str) -> frozenset[str]:
        """Letters of the options whose text is said affirmatively; none for a text that two options share."""
        named = affirmed(text, [option for option in self.spoken if not is_letter_of(option, self.letters)])
        named = {option for option in named if option.startswith("all of ")} or named  # "all of the above"
        return frozenset(c for c, option in zip(self.letters, self.spoken, strict=False) if option in named)


def is_letter_of(text: str, letters: str) -> bool:
    """Whether a text is one of the letters and nothing else."""
    bare = text.strip(" .:()[]\"'").upper()
    return len(bare) == 1 and bare in letters


def choices_of(answers: Sequence[str], options: Sequence[str], question: str = "") -> Choices:
    """The letters and texts to choose from. Raises BenchmarkError for more than 26 options."""
    texts = list(options) or _lettered_in(question)
    if len(texts) > len(string.ascii_uppercase):
        raise BenchmarkError(f"A sample has {len(texts)} options; answer_type letter allows 26. Use answer_type text.")
    accepted = [letter for answer in answers if len(letter := fold(answer).strip(" ().:[]").upper()) == 1]
    highest = max((string.ascii_uppercase.find(letter) for letter in accepted), default=0)
    if not options and highest >= len(texts):  # the letters in the question were not recognised as options
        texts = []
    letters = string.ascii_uppercase[: len(texts) or max(11, highest + 1)]
    labels = [_LABEL.match(fold(text).strip()) for text in texts]
    if texts and all(label and label[1].upper() == letter for label, letter in zip(labels, letters, strict=True)):
        texts = [fold(text).strip()[label.end() :] for text, label in zip(texts, labels, strict=True) if label]
    plain_texts = [clean(text) for text in texts]
    return Choices(letters, tuple(map(normal, plain_texts)), tuple(map(spoken, plain_texts)))


def _lettered_in(question: str) -> list[str]:
    """Texts of the options that the question lists with letters in order, as in ZoomBench; empty if there are none."""
    labels: list[re.Match[str]] = []
    question = fold(question)
    for label in _LABELLED.finditer(question):
        if len(labels) < 26 and label[1] == string.ascii_uppercase[len(labels)]:
            labels.append(label)
    ends = [label.start() for label in labels[1:]] + [len(question)]
    texts = [question[label.end() : end].strip().split("\n")[0] for label, end in zip(labels, ends, strict=False)]
    return texts if len(texts) > 1 else []


def accepted_letters(answer: str, choices: Choices) -> frozenset[str]:
    """The letters that an accepted answer stands for: the answer itself, or the letters of the options with its text.

    Raises BenchmarkError if it is neither a letter nor the text of an option.
    """
    text = clean(answer)
    letter = text.strip(" ().:[]").upper()
    if len(letter) == 1 and letter in choices.letters:
        return frozenset(letter)
    label = _LABEL.match(text)
    letters = choices.letters_of(plain(text))
    if not letters and label:
        letters = choices.letters_of(text[label.end() :]) & {label[1].upper()}
    if not letters:
        raise BenchmarkError(
            f"The accepted answer {answer!r} is no option of its sample: expected a letter from "
            f"{choices.letters[0]} to {choices.letters[-1]}, or the text of an option. "
            "Correct the answer or the options."
        )
    return letters
