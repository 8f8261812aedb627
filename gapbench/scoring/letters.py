"""Letters: the option letter of an output, if the output gives one explicitly.

    score_letter("The answer is (B) because A is wrong.", ["B"], ("red", "blue")).parsed       # "B"

Explicit letters, in order of weight:

1. an answer statement that begins with a letter: "Answer: **D**", a boxed D, "B is correct";
2. a line with nothing but a letter;
3. with equal weight, a line that begins with a delimited letter ("b)", "B: red"), a bracketed letter, "option C".

A capital within prose is never a letter ("A dog", "I think so"). An output that is exactly the text of one option gives
that option. Letters that contradict each other or are not among the options are unparsed.

Limits: a bracketed letter with another meaning, such as a mark in the image, is taken for an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gapbench.scoring.choices import Choices, accepted_letters, choices_of
from gapbench.scoring.clean import plain
from gapbench.scoring.free_text import extents, normal
from gapbench.scoring.outcome import Score, decided, unparsed
from gapbench.scoring.statements import MOST_STATEMENTS, PLAIN, WEAK, Statement, conclude, is_denied, statements

_HEAD = re.compile(
    r"""[\s"'(\[{<:]{0,4}(?:(?i:option|choice|letter|answer|选项)[ ]?:?[ ]?["'(\[{]{0,2})?"""
    r"""(?P<letter>[A-Za-z])(?P<close>["')\]}>]{0,3})"""
)
_DELIMITED = re.compile(
    r"""\s*(?:\Z|[.,;:!)\]}\u2014\u2013\n]|[^\x00-\x7f])|[ ][-(]"""
    r"""|[ ](?i:because|since|as|for|given|based|due|where|which|with|is|and|while|not|it)\b"""
)
_GLUED = re.compile(r"[A-Za-z0-9_À-ɏ]|[-.'][A-Za-z0-9]|[ ]?\?|,?[ ]if\b")
_ANOTHER = re.compile(
    r"""["')\]]{0,2}[ ]?(?:,?[ ]?(?:/|&|\+|\bor\b|\band\b|或|和|、)|,)[ ]?"""
    r"""(?:(?:option|maybe|perhaps|possibly)[ ]){0,2}["'(\[]{0,2}(?P<letter>[A-Za-z])"""
    r"""(?=["')\].,;:!?/、]|\Z|[ ](?:and|or|are|is|both|could|may|might|seems?)\b|[^\x00-\x7f])"""
    r"""(?![ ](?:is|are|was)[ ](?:wrong|incorrect|not|false|excluded))"""
)
_LINE = re.compile(
    r"""["'(\[]{0,2}(?:(?:[A-Z]|[a-z])(?=["')\]]{0,2}(?:\Z|[.):。、]{1,3}(?:[ ]|\Z)|[):、]\w))"""
    r"""|[A-HJ-Z](?=,[ ]|[ ](?:because|since)\b|[ ][-\u2013\u2014][ ]))"""
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


def score_letter(text: str, answers: Sequence[str], options: Sequence[str] = (), question: str = "") -> Score:
    """Score a cleaned text. `answers` are letters or texts of options; any of them is right.

    Raises BenchmarkError for an accepted answer that is no option, and for more than 26 options.
    """
    choices = choices_of(answers, options, question)
    accepted = frozenset().union(*(accepted_letters(answer, choices) for answer in answers))
    output = plain(text)
    if not output:
        return unparsed("empty", "the output is empty")
    if letter := choices.single_letter_of(output):
        return decided(accepted, min(letter), "option-text")

    in_order = sorted((*statements(text), *_correctness_statements(text)), key=lambda statement: statement.start)
    readings = {statement: _letters_in(statement, choices) for statement in in_order}
    conclusion = conclude([(statement, letters) for statement, (letters, _) in readings.items() if letters], text)
    if conclusion is None:
        alone, leading = _bare(output, choices)
        rule = "letter-bare" if alone or leading else "letter-mention"
        return _score(alone or leading | _mentions(output), accepted, choices, rule)
    if not conclusion.agreed:
        return unparsed("conflict", "answer statements that contradict each other")
    rule = next(rule for letters, rule in readings.values() if letters == conclusion.value)
    return _score(conclusion.value, accepted, choices, rule)


def _score(letters: frozenset[str], accepted: frozenset[str], choices: Choices, rule: str) -> Score:
    """Right or wrong for a single allowed letter, else unparsed."""
    if not letters:
        return unparsed("no-letter", "no explicit option letter, and not the exact text of one option")
    if len(letters) > 1:
        return unparsed("conflict", f"several letters are given: {', '.join(sorted(letters))}")
    letter = min(letters)
    if letter not in choices.letters:
        last = choices.letters[-1]
        return unparsed("outside-options", f"{letter} is not among the options {choices.letters[0]} to {last}")
    return decided(accepted, letter, rule)


def _letters_in(statement: Statement, choices: Choices) -> tuple[frozenset[str], str]:
    """The letters of a statement, and the rule: the option that has its text, else the letters it begins with."""
    # "It is green." states the text of an option, "B because it is green" does not.
    for extent in extents(statement.value) if statement.rank > WEAK or statement.start == 0 else ():
        if letter := choices.single_letter_of(extent):
            return letter, "option-text"
    return _head(statement.value, strict=statement.rank == WEAK, choices=choices), "letter-statement"


def _head(value: str, strict: bool, choices: Choices) -> frozenset[str]:
    """All letters of the list that the value begins with ("B", "B or C"); empty if it begins with prose.

    A delimiter must follow the letter if `strict`, if it is A or I, which are words, or if it is lower case.
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
    option = choices.texts[index] if 0 <= index < len(choices.texts) else ""
    return frozenset(letter.upper()) if option and normal(value[head.end() :]).startswith(option) else frozenset()


def _listed(value: str, end: int) -> frozenset[str]:
    """The letters after the first in a list such as "B, C or D"; the first letter ends at `end`."""
    letters = set()
    while another := _ANOTHER.match(value, end):
        letters.add(another["letter"].upper())
        end = another.end("letter")
    return frozenset(letters)


def _correctness_statements(text: str) -> list[Statement]:
    """Statements that begin with their letter: "B is correct", "(B) is the best answer"."""
    return [
        Statement(PLAIN, match.start(), match.end(), match["letter"])
        for match in list(_CORRECT.finditer(text))[-MOST_STATEMENTS:]
        if not is_denied(text, match.start())
    ]


def _bare(text: str, choices: Choices) -> tuple[frozenset[str], frozenset[str]]:
    """Letters alone on a line; letters at the start of a line, followed by a delimiter or the text of their option."""
    alone: set[str] = set()
    leading: set[str] = set()
    for line in text.split("\n"):
        lead = _LINE.match(line)
        if lead is None:
            index = choices.letters.find(line[:1]) if line[1:2] == " " else -1
            if 0 <= index < len(choices.texts) and normal(line[2:]) == choices.texts[index] != "":
                leading.add(line[0])
            continue
        rest = line[lead.end() :]
        letters = {lead[0][-1].upper()} | _listed(line, lead.end())
        if not rest.strip("\"')].:。 "):
            alone |= letters
        elif not _REJECTED_AFTER.match(rest) or choices.letters_of(rest):
            leading |= letters
    return frozenset(alone), frozenset(leading)


def _mentions(text: str) -> frozenset[str]:
    """Bracketed letters and the letter of "option C" anywhere in the text, without letters that it rules out."""
    letters: set[str] = set()
    for match in _MENTION.finditer(text):
        letter = (match["bracketed"] or match["named"]).upper()
        if letter not in letters and not (
            _REJECTED_BEFORE.search(text[max(0, match.start() - 40) : match.start()])
            or _REJECTED_AFTER.match(text, match.end())
        ):
            letters.add(letter)
    return frozenset(letters)
