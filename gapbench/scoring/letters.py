"""The option's letter, where and only where the output gives one explicitly.

    score_letter("The answer is (B) because A is wrong.", ["B"], ("red", "blue")).parsed       # "B"

Explicit, in order of weight: an answer statement that begins with a letter ("Answer: **D**", a boxed D, "B is
correct"); else, all together, lines that are or begin with a delimited letter ("B", "b)", "B: red"), bracketed letters and
"option C". A capital within prose is never a letter ("A dog", "I think so"). Text that is exactly one option's text is
that option. Letters that contradict each other, or lie outside the options, are unparsed.

Limits: 26 options; without options, and with none lettered in the question, the letters A to K are allowed. A letter in
brackets that denotes something else, such as a mark in the picture, is taken for an answer.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from gapbench.errors import BenchmarkError
from gapbench.scoring.clean import clean, fold, plain
from gapbench.scoring.statements import MOST_STATEMENTS, PLAIN, WEAK, Statement, conclude, is_denied, statements
from gapbench.scoring.text import extents, normal
from gapbench.scoring.verdict import Verdict, decided, unparsed

_HEAD = re.compile(
    r"""[\s"'(\[{<:]{0,4}(?:(?i:option|choice|letter|answer|选项)[ ]?:?[ ]?["'(\[{]{0,2})?"""
    r"""(?P<letter>[A-Za-z])(?P<close>["')\]}>]{0,3})"""
)
_DELIMITED = re.compile(
    r"""\s*(?:\Z|[.,;:!)\]}\u2014\u2013\n]|[^\x00-\x7f])|[ ][-(]"""
    r"""|[ ](?i:because|since|as|for|given|based|due|where|which|with|is)\b"""
)
_GLUED = re.compile(r"[A-Za-z0-9_À-ɏ]|[-.'][A-Za-z0-9]|[ ]?\?|,?[ ]if\b")
_ANOTHER = re.compile(
    r"""["')\]]{0,2}[ ]?(?:,?[ ]?(?:/|&|\+|\bor\b|\band\b|或|和|、)|,)[ ]?"""
    r"""(?:option[ ])?["'(\[]{0,2}(?P<letter>[A-Za-z])"""
    r"""(?=["')\].,;:!?/、]|\Z|[ ](?:and|or|are|is|both|could|may|might|seems?)\b|[^\x00-\x7f])"""
    r"""(?![ ](?:is|are|was)[ ](?:wrong|incorrect|not|false|excluded))"""
)
_LINE = re.compile(
    r"""["'(\[]{0,2}(?:(?:[A-Z]|[a-z])(?=["')\]]{0,2}(?:\Z|[.):](?:[ ]|\Z)|[):]\w))|[A-HJ-Z](?=,[ ]|[ ](?:because|since)\b|[ ][-\u2013\u2014][ ]))"""
)
_MENTION = re.compile(
    r"""(?<![A-Za-z0-9_)\]])[(\[](?P<bracketed>[A-Za-z])[)\]](?![A-Za-z0-9])"""
    r"""|(?:(?<![A-Za-z])(?i:option|choice)[ ]|选项[ ]?)["'(\[]{0,2}"""
    r"""(?P<named>[A-Z](?![A-Za-z0-9_'])|[a-z](?=[)\]}"'.,;:!]|\Z))"""
)
_REJECTED_BEFORE = re.compile(
    r"(?:\bnot|n't|\bneither|\bnor|\bexclud\w+|\beliminat\w+|\brul\w+ out|\bexcept|\brather than|\binstead of|不是?)"
    r"(?: (?:be|the|option|answer|either)){0,3} ?\Z",
    re.I,
)
_REJECTED_AFTER = re.compile(
    r"[\s)\]\"']{0,3}(?:\([^)\n]{0,60}\) ?)?(?:"
    r"(?:is|are|was|were|seems|appears|looks|does|do|can|could|must|should|has|would)(?:n't| \w+){0,2}? ?"
    r"(?:n't|not|wrong|incorrect|false|ruled|eliminated|excluded|unlikely|impossible)\b"
    r"|cannot\b|can't\b|[.:\-\u2013] ?(?:wrong|incorrect)\b|是?(?:错|不))",
    re.I,
)
_CORRECT = re.compile(
    r"(?<![A-Za-z0-9_'])[(\[]?(?P<letter>[A-Z])[)\]]?(?: \([^)\n]{0,60}\))? ?"
    r"(?:(?i:(?:is|must be|seems|looks) (?:(?:the|most|therefore|thus|clearly|indeed) ){0,2}"
    r"(?:correct(?! for)|answer|(?:best|right)(?= answer| option| choice| one|[.,;!]|\Z)))"
    r"|(?:选项)?是?(?:正确|对的))"
)
_LABEL = re.compile(r"[(\[]?([A-Za-z])[)\]]?(?:[.):] ?|(?<=[)\]]) ?)")
_LABELLED = re.compile(r"(?:(?<=\s)|\A)\(?([A-Z])[.):]\s")


@dataclass(frozen=True)
class _Choices:
    """The letters that may be given, and the normalised text of each option (empty if unknown)."""

    letters: str
    texts: tuple[str, ...]

    def named(self, text: str) -> frozenset[str]:
        """Letters of the options whose text is exactly this one."""
        wanted = normal(text)
        return frozenset(c for c, option in zip(self.letters, self.texts, strict=False) if option == wanted != "")


def score_letter(text: str, answers: Sequence[str], options: Sequence[str] = (), question: str = "") -> Verdict:
    """Score a cleaned text; `answers` are letters or texts of options, any one of which is accepted.

    Raises BenchmarkError for an accepted answer that is no option, and for more than 26 options.
    """
    choices = _choices(answers, options, question)
    accepted = frozenset().union(*(_gold(answer, choices) for answer in answers))
    whole = plain(text)
    if not whole:
        return unparsed("empty", "the output is empty")
    same = choices.named(whole)
    if len(same) == 1 and len(whole.strip(" .:()[]\"'")) > 1:
        return decided(accepted, min(same), "option-text")

    found = sorted((*statements(text), *_called_correct(text)), key=lambda statement: statement.start)
    read = {statement: _read(statement, choices) for statement in found}
    conclusion = conclude([(statement, letters) for statement, (letters, _) in read.items() if letters], text)
    if conclusion is None:
        bare = _bare(whole, choices)
        return _one_letter(bare | _mentions(whole), accepted, choices, "letter-bare" if bare else "letter-mention")
    if not conclusion.agreed:
        return unparsed("conflict", "answer statements that contradict each other")
    stated = next(rule for letters, rule in read.values() if letters == conclusion.value)
    return _one_letter(conclusion.value, accepted, choices, stated)


def _one_letter(found: frozenset[str], accepted: frozenset[str], choices: _Choices, rule: str) -> Verdict:
    if not found:
        return unparsed("no-letter", "no explicit option letter, and not the exact text of one option")
    if len(found) > 1:
        return unparsed("conflict", f"several letters are given: {', '.join(sorted(found))}")
    letter = min(found)
    if letter not in choices.letters:
        last = choices.letters[-1]
        return unparsed("outside-options", f"{letter} is not among the options {choices.letters[0]} to {last}")
    return decided(accepted, letter, rule)


def _read(statement: Statement, choices: _Choices) -> tuple[frozenset[str], str]:
    """The letters a statement's value begins with, or the letter of the option whose text it is."""
    # "B because it is green" states no option's text, "It is green." does
    for extent in extents(statement.value) if statement.rank > WEAK or statement.start == 0 else ():
        same = choices.named(extent)
        if len(same) == 1 and len(extent.strip(" .:()[]\"'")) > 1:
            return same, "option-text"
    letters = _head(statement.value, strict=statement.rank == WEAK, choices=choices)
    if letters and not letters & set(choices.letters):  # options whose text is itself a letter
        letters = choices.named(extents(statement.value)[-1]) or letters
    return letters, "letter-statement"


def _head(value: str, strict: bool, choices: _Choices) -> frozenset[str]:
    """All letters of the list ("B", "B or C") that the value begins with; none if it begins with prose.

    `strict` asks for a delimiter after the letter, as do A and I, which are words, and lower-case letters.
    """
    head = _HEAD.match(value)
    if head is None or _GLUED.match(value, head.end()):
        return frozenset()
    letter, at = head["letter"], head.start("letter")
    others = _listed(value, head.end("letter"))
    if others:
        return others | {letter.upper()}
    enclosed = bool(head["close"]) and value[at - 1 : at] in set("\"'([{<")
    if enclosed or _DELIMITED.match(value, head.end()) or not (strict or letter in "AI" or letter.islower()):
        return frozenset(letter.upper())
    index = choices.letters.find(letter.upper())
    own = choices.texts[index] if 0 <= index < len(choices.texts) else ""
    return frozenset(letter.upper()) if own and normal(value[head.end() :]).startswith(own) else frozenset()


def _listed(value: str, end: int) -> frozenset[str]:
    """Further letters of a list such as "B, C or D" whose first letter ends at `end`."""
    letters = set()
    while another := _ANOTHER.match(value, end):
        letters.add(another["letter"].upper())
        end = another.end("letter")
    return frozenset(letters)


def _called_correct(text: str) -> list[Statement]:
    """Statements that come after their letter: "B is correct", "(B) is the best answer"."""
    return [
        Statement(PLAIN, match.start(), match.end(), match["letter"])
        for match in list(_CORRECT.finditer(text))[-MOST_STATEMENTS:]
        if not is_denied(text, match.start())
    ]


def _bare(text: str, choices: _Choices) -> frozenset[str]:
    """Letters that stand alone on a line, or begin one and are set off by a delimiter."""
    found: set[str] = set()
    for line in text.split("\n"):
        lead = _LINE.match(line)
        if lead is None:
            continue
        rest = line[lead.end() :]
        if not _REJECTED_AFTER.match(rest) or choices.named(rest):
            found |= {lead[0][-1].upper()} | _listed(line, lead.end())
    return frozenset(found)


def _mentions(text: str) -> frozenset[str]:
    """Bracketed letters and "option C" anywhere, except those that are being ruled out."""
    return frozenset(
        (match["bracketed"] or match["named"]).upper()
        for match in _MENTION.finditer(text)
        if not _REJECTED_BEFORE.search(text[max(0, match.start() - 40) : match.start()])
        and not _REJECTED_AFTER.match(text, match.end())
    )


def _choices(answers: Sequence[str], options: Sequence[str], question: str) -> _Choices:
    texts = list(options) or _lettered_in(question)
    if len(texts) > len(string.ascii_uppercase):
        raise BenchmarkError(
            f"A question with {len(texts)} options was found; answer_type letter allows 26. Use answer_type text."
        )
    letters = string.ascii_uppercase[: len(texts)]
    if not texts:
        highest = max(
            [answer.strip("() .").upper() for answer in answers if len(answer.strip("() .")) == 1], default="K"
        )
        letters = string.ascii_uppercase[: max(11, string.ascii_uppercase.find(highest) + 1)]
    labels = [_LABEL.match(fold(text).strip()) for text in texts]
    if texts and all(label and label[1].upper() == letter for label, letter in zip(labels, letters, strict=True)):
        texts = [fold(text).strip()[label.end() :] for text, label in zip(texts, labels, strict=True) if label]
    return _Choices(letters, tuple(normal(clean(text)) for text in texts))


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


def _gold(answer: str, choices: _Choices) -> frozenset[str]:
    """The letters an accepted answer stands for: its own, or those of the options with its text."""
    text = clean(answer)
    letter = text.strip(" ().:[]").upper()
    if len(letter) == 1 and letter in choices.letters:
        return frozenset(letter)
    label = _LABEL.match(text)
    found = choices.named(plain(text)) or (choices.named(text[label.end() :]) & {label[1].upper()} if label else None)
    if not found:
        raise BenchmarkError(
            f"The accepted answer {answer!r} is no option of its question: expected a letter from "
            f"{choices.letters[0]} to {choices.letters[-1]}, or the text of an option. Correct the answer or the options."
        )
    return found
