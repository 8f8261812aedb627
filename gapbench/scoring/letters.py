"""Letters: the option letter of an output, if the output gives one explicitly.

    score_letter("The answer is (B) because A is wrong.", ["B"], ("red", "blue")).parsed       # "B"

The steps: 1. a statement that begins with a letter or an option's text; 2. a letter alone on a line, or at its start
before a delimiter ("b)", "B: red", "B is correct"); 3. the text of the only option that the conclusion, the last
sentence or the output says affirmatively.

A capital within prose is never a letter ("A dog"), nor is a label of a list that runs from A, a rejected letter, a
question, or the A of "A: blue", which may stand for Answer.

Limits: a letter that is only mentioned ("see (B)") is not read, even where it is the only one.
"""

from __future__ import annotations

import re
import string
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache

from gapbench.scoring import clauses
from gapbench.scoring import statements as stated
from gapbench.scoring.choices import Choices, accepted_letters, choices_of, is_letter_of
from gapbench.scoring.clean import plain
from gapbench.scoring.outcome import Score, decided, unparsed
from gapbench.scoring.phrases import form, word_list
from gapbench.scoring.statements import BARE, MOST_STATEMENTS, REFUSAL, WEAK, Statement
from gapbench.scoring.words import normal
from gapbench.scoring.yes_no import score_yes_no

_NO_LETTER = unparsed("no-letter", "no explicit option letter, and not the text of exactly one option")
_HEAD, _DELIMITED, _GLUED, _ANOTHER = (form(name, 0) for name in ("head", "delimited", "glued", "another"))
_LINE, _LABEL, _CORRECT, _LEANING = (form(name, 0) for name in ("line", "label", "correct", "leaning"))
_REJECTED_BEFORE, _REJECTED_AFTER = form("rejected_before", 0), form("rejected_after", 0)
_IS, _REASON, _BUT = form("is", 0), form("reason"), re.compile(",? but\\b")
_MARKED, _NEXT = re.compile(r"\(([A-Z])\)"), re.compile(r" \((?P<letter>[A-Z])(?=\) )")
_NEITHER = re.compile(r"\b[Nn]either\b[^.\n]* [A-Z] n?or [A-Z]\b")
_ENDS_MARKED, _PAUSE = re.compile(r"\([A-Z]\)[.!]?\s*\Z"), re.compile(r"[,;:]")
_PLACES, _ORDINAL = word_list("places"), form("by_place")
_LABELLED = re.compile(r"[A-Z] ?[(:]")
Reading = tuple[Statement, frozenset[str], str]
"""A statement, its letters, and the rule that reads them."""


def score_letter(text: str, answers: Sequence[str], options: Sequence[str] = (), question: str = "") -> Score:
    """Score a cleaned text. `answers` are letters or texts of options; any of them is right.

    Raises BenchmarkError for an accepted answer that is no option, and for more than 26 options.
    """
    choices = choices_of(answers, options, question)
    accepted = frozenset().union(*(accepted_letters(answer, choices) for answer in answers))
    text = _ORDINAL.sub(lambda ordinal: _by_place(ordinal, choices.letters[: len(choices.texts)]), text)
    output = plain(text)
    if whole := choices.single_letter_of(output):
        return decided(accepted, min(whole), "option-text")

    listed = _enumeration(text)
    found: list[Reading] = [
        (s, *_letters_in(s, choices)) for s in stated.statements(text) if not {s.end, s.end + 1} & listed
    ]
    found += [*_correct(text, choices), *deque(_bare(text, choices, listed), MOST_STATEMENTS)]
    tail = stated.latest(text)
    named = choices.affirmed_in(tail) if tail != text and len(clauses.sentences(tail)) < 3 else frozenset()
    if len(named) == 1 and _marks(tail) <= named:  # "Wait, it is the blue one."
        found.append((Statement(BARE, len(text) - len(tail), len(text), tail), named, "option-text"))
    found.sort(key=lambda reading: reading[0].start)
    conclusion = stated.conclude([(statement, letters) for statement, letters, _ in found if letters], text)
    if conclusion is None:
        return _by_text(output, accepted, choices, question)
    if not conclusion.agreed:
        return unparsed("conflict", "answers that contradict each other, none of them marked as final")
    letter, *others = sorted(conclusion.value)
    _, rule = max((statement.rank, rule) for statement, said, rule in found if said == conclusion.value)
    if rule != "option-text" and _contradicts(conclusion.statement, letter, choices):
        return unparsed("conflict", "the letter stands beside the text of another option")
    if others:
        return unparsed("conflict", f"several letters are given: {letter}, {', '.join(others)}")
    if letter not in choices.letters:
        allowed = f"{choices.letters[0]} to {choices.letters[-1]}"
        return unparsed("outside-options", f"{letter} is not among the options {allowed}")
    return decided(accepted, letter, rule)


def _by_place(ordinal: re.Match[str], letters: str) -> str:
    """ "option B" for "the second option"; the words themselves if there is no such option."""
    place = len(letters) - 1 if ordinal[1].lower() == "last" else _PLACES.index(ordinal[1].lower())
    return f"option {letters[place]}" if 0 <= place < len(letters) else ordinal[0]


def _by_text(output: str, accepted: frozenset[str], choices: Choices, question: str) -> Score:
    """The score of an output without an explicit letter: by the one option whose text it says affirmatively."""
    if stated.refuses(output):
        return REFUSAL
    if set(choices.texts) == {"yes", "no"}:
        said = score_yes_no(output, choices.texts).parsed if not _marks(output) else None
        letters = choices.letters_of(said or "")
    else:
        letters = frozenset() if clauses.is_cut_off(output) else _concluded(output, choices, question)
    return decided(accepted, min(letters), "option-text") if len(letters) == 1 else _NO_LETTER


def _concluded(output: str, choices: Choices, question: str) -> frozenset[str]:
    """The letters of the options whose text the last conclusion says, else the last sentence, else all the output."""
    said = clauses.sentences(clauses.asserted(output))
    texts = []
    for sentence, mark in [(s, mark) for s in said for mark in [*clauses.THEREFORE.finditer(s)][-1:]][-1:]:
        subject = _PAUSE.split(sentence[: mark.start()])[-1] if mark[0][0].isalpha() else ""  # "D therefore fits."
        texts += [sentence[mark.end() :]] + [subject + sentence[mark.end() :]] * (not subject.endswith("and "))
    for last in said[-1:]:
        label, verb = _LABEL.match(last), clauses.COPULA.search(last)
        marked = _ENDS_MARKED.search(last) or (label and choices.letters_of(last[label.end() :]))
        if marked and all(at < output.rfind(last) for at in _enumeration(output)):
            texts.append(last)
        elif verb and clauses.is_about(last, question) and [last] == clauses.parallel(said, last):
            texts.append("" if clauses.denies(last) else last[verb.end() :])  # "The car is blue."
    texts += [output] * (not (_NEITHER.search(output) or _LABEL.search(output) or _LABELLED.match(output)))
    named = [letters for text in texts if (letters := choices.affirmed_in(text)) and _marks(text) <= letters]
    return named[0] if named else frozenset()


def _marks(text: str) -> set[str]:
    """The letters that a text sets off, as labels or in brackets."""
    return {*_LABEL.findall(text), *_MARKED.findall(text)}


def _contradicts(statement: Statement, letter: str, choices: Choices) -> bool:
    """Whether a letter is followed by exactly the text of another option, as in "B) red"."""
    head = _HEAD.match(statement.value)
    rest = statement.value[head.end() :].lstrip(" .:)]") if head else ""
    texts = [choices.letters_of(text) for text in clauses.extents(rest)]
    return any(texts) and not any(letter in letters for letters in texts)


def _letters_in(statement: Statement, choices: Choices) -> tuple[frozenset[str], str]:
    """The letters of a statement, and the rule: the option that has its text, else the letters it begins with."""
    # "It is green." states the text of an option, "B because it is green" does not.
    texts = clauses.extents(statement.value) if statement.rank > WEAK or statement.start == 0 else []
    for extent in texts:
        if (letter := choices.single_letter_of(extent)) and set(_MARKED.findall(statement.value)) <= letter:
            return letter, "option-text"
    if letters := _head(statement.value, strict=statement.rank == WEAK, choices=choices):
        return letters, "letter-statement"
    named = choices.affirmed_in(texts[-1]) if texts and statement.rank > WEAK else frozenset[str]()
    return named if len(named) == 1 else frozenset(), "option-text"


def _head(value: str, strict: bool, choices: Choices) -> frozenset[str]:
    """All letters of the list that the value begins with ("B", "B or C"); empty if it begins with prose.

    A delimiter must follow the letter if `strict`, if it is A or I, which are words, or if it is lower case.
    """
    head = _HEAD.match(value)
    if head is None or _GLUED.match(value, head.end()):
        return frozenset()
    letter, at = head["letter"], head.start("letter")
    clause = clauses.extents(value)[-1] if len(value) > head.end() + 2 else ""
    labelled = {
        label["letter"]
        for label in _LABEL.finditer(clause, head.end())
        if not _REJECTED_BEFORE.search(clause, 0, label.end() - 2)
        and not _rejected(value, label.end(), label["letter"], choices)
    }
    if others := _listed(value, head.end("letter"), letter, choices)[0] | labelled - {letter}:
        return others | {letter.upper()}
    if _rejected(value, head.end(), letter, choices):
        return frozenset()
    enclosed = bool(head["close"]) and value[at - 1 : at] in set("\"'([{<")
    if enclosed or _DELIMITED.match(value, head.end()) or not (strict or letter in "AI" or letter.islower()):
        return frozenset(letter.upper())
    option = choices.text_of(letter.upper())
    return frozenset(letter.upper()) if option and normal(value[head.end() :]).startswith(option) else frozenset()


@lru_cache(maxsize=64)
def _option_form(option: str) -> re.Pattern[str]:
    """The form of an option's text, normalised, after its label."""
    words = r"\W{1,3}(?:(?:the|an?) )?".join(map(re.escape, option.split()))
    return re.compile(rf"[\s\"'().:\]-]{{0,4}}(?:(?:the|an?) )?{words}(?!\w)", re.I)


def _past_text(value: str, end: int, letter: str, choices: Choices) -> int:
    """Where the text of a letter's option ends that follows the letter, which ends at `end`; else `end`."""
    option = choices.text_of(letter.upper())
    named = _option_form(option).match(value, end) if option else None
    return named.end() if named else end


def _rejected(value: str, end: int, letter: str, choices: Choices) -> bool:
    """Whether a letter that ends at `end` is rejected there, or after the text of its option."""
    return bool(_REJECTED_AFTER.match(value, _past_text(value, end, letter, choices)))


def _listed(value: str, end: int, letter: str, choices: Choices) -> tuple[frozenset[str], int]:
    """The letters after the first in "B, C or D" or "(B) red (C) blue", and the end; the first letter ends at `end`."""
    letters: set[str] = set()
    while True:
        past = _past_text(value, end, letter, choices)
        another = _ANOTHER.match(value, end) or _ANOTHER.match(value, past)
        another = another or (_NEXT.match(value, past) if past > end else None)
        if not another or (past > end and _rejected(value, another.end("letter"), another["letter"], choices)):
            return frozenset(letters), end
        letter, end = another["letter"].upper(), another.end("letter")
        letters.add(letter)


def _correct(text: str, choices: Choices) -> Iterator[Reading]:
    """Statements that begin with their letter, and what is said to be it: "B is correct", "the red one is (B) red"."""
    for match in [*list(_CORRECT.finditer(text))[-MOST_STATEMENTS:], *list(_IS.finditer(text))[-MOST_STATEMENTS:]]:
        letter, end = match["letter"], match.end("letter")
        past = _past_text(text, end, letter, choices)
        if stated.is_denied(text, match.start()) or stated.is_question(text[match.end() : match.end() + 82]):
            continue
        if match.re is _IS:
            if (past > end or _REASON.match(text, end)) and not _rejected(text, end, letter, choices):
                letters = _listed(text, end, letter, choices)[0] | {letter}
                yield Statement(WEAK, match.start(), match.end(), letter), letters, "letter-statement"
        elif past > end or not match["prose"] or not _BUT.match(text, match.end()):
            rank = WEAK if _LEANING.search(match[0]) else BARE
            yield Statement(rank, match.start(), match.end(), letter), frozenset(letter), "letter-statement"


def _bare(text: str, choices: Choices, listed: set[int]) -> Iterator[Reading]:
    """Letters alone on a line, or at its start before a delimiter or the text of their option; not those of a list."""
    start = 0
    for line in text.split("\n"):
        lead = _LINE.match(line)
        option = choices.text_of(line[:1]) if line[1:2] == " " else ""
        cut = start and len(line) == 2 and line[0] == "("  # "(D", where the output was cut off
        if lead and not cut and start not in listed and not stated.is_question(line):
            alone = not line[lead.end() :].strip("\"')].:。 ")
            given = text.endswith((" is:\n", " be:\n"), 0, start)  # "It is:\n(A) red"
            given = given and _past_text(line, lead.end(), lead["letter"], choices) > lead.end()
            begun = lead["letter"] == "A" and text[max(0, start - 2) : start] == ":\n"  # of a list that was cut off
            whole = alone or given or not (begun or (start and clauses.is_cut_off(text)))
            if whole or _LABEL.search(text, start + lead.end()):
                rank = BARE if alone or given or not start else WEAK - 1  # a line within prose counts least
                statement = Statement(rank, start, start + lead.end(), line)
                yield statement, _letters_of(line, lead, choices), "letter-bare"
        elif option and normal(line[2:]) == option:
            yield Statement(BARE, start, start + 1, line), frozenset(line[0]), "letter-bare"
        start += len(line) + 1


def _letters_of(line: str, lead: re.Match[str], choices: Choices) -> frozenset[str]:
    """The letters that a line begins with; none if it rejects them, or if A stands for Answer ("A: blue")."""
    rest = line[lead.end() :]
    if lead["letter"] == "A" and rest.startswith(":") and not lead["option"]:
        said = {normal(rest), normal(clauses.extents(rest)[-1])}
        if is_letter_of(rest, choices.letters) or choices.text_of("A") not in said:
            return frozenset()
    elif _rejected(line, lead.end(), lead["letter"], choices) and not choices.letters_of(rest):
        return frozenset()
    others, end = _listed(line, lead.end(), lead["letter"], choices)
    return frozenset() if others and _REJECTED_AFTER.match(line, end) else others | {lead["letter"].upper()}


def _enumeration(text: str) -> set[int]:
    """Where the labels of lists begin: labels that run from A."""
    listed: set[int] = set()
    run: list[int] = []
    for label in _LABEL.finditer(text):
        index = string.ascii_uppercase.index(label["letter"])
        run = [*run, label.start()] if index == len(run) else [label.start()] if index == 0 else []
        if len(run) > 1:
            listed.update(run)
    return listed
