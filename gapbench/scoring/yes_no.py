"""Yes or no: the answer of an output that begins with yes or no, or states it.

    score_yes_no("Yes, there is a dog on the left.", ["yes"]).outcome         # "right"

The steps: 1. a statement ("The answer is no"); 2. a sentence that begins with yes or no, the last one after a change of
mind; 3. the question said as a statement, or its denial ("There is no dog in the image."). "true" and "absolutely"
count as yes, "false" as no. An output that is unsure, says both, refuses, or says yes and denies what was asked is
unparsed.

Limits: English, Chinese and Japanese words only; step 3 compares words, so "The dog has left" is unparsed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from gapbench.errors import BenchmarkError
from gapbench.scoring.clauses import ASIDE, DENIALS, DOUBTS, EMPHASIS, LOOKS_LIKE, SPLIT, THEREFORE, asserted, sentences
from gapbench.scoring.clean import plain
from gapbench.scoring.outcome import Score, decided, unparsed
from gapbench.scoring.phrases import form, word_set
from gapbench.scoring.statements import (
    BARE,
    MOST_STATEMENTS,
    REFUSED,
    WEAK,
    Statement,
    conclude,
    is_denied,
    refuses,
    revises,
    statements,
)
from gapbench.scoring.words import ARTICLES, stem, words

_HEAD, _SECOND, _EITHER, _START = form("yes_no"), form("second"), form("either"), form("yes_no_start")
_YES, _NO, _AUXILIARIES = word_set("yes"), word_set("no"), word_set("auxiliaries")
_DENIALS, _DOUBTS = DENIALS | word_set("absences"), DOUBTS | word_set("partly")
_NOTS = form("nots")
_COMMA, _FOLLOWS = re.compile(r",\s|,(?=\D)"), form("follows")
_NO_ANSWER = unparsed("no-yes-no", "neither begins with yes or no nor states it")


def score_yes_no(text: str, answers: Sequence[str], question: str = "") -> Score:
    """Score a cleaned text. `question` is read where the output repeats it as a statement ("There is no dog").

    Raises BenchmarkError for an accepted answer that is neither yes nor no.
    """
    accepted = {yes_or_no(answer) for answer in answers}
    output = plain(text)
    stated = [(statement, said) for statement in statements(text) if (said := _leading_words(statement.value))]
    if not any(statement.rank > WEAK for statement, _ in stated) and refuses(output):
        return unparsed("refusal", REFUSED)
    for start in islice(_START.finditer(text), MOST_STATEMENTS):
        supposed = is_denied(text, start.end(), supposed=True)
        if (said := _leading_words(text[start.end() : start.end() + 80])) and not supposed:
            stated.append((Statement(BARE, start.end(), start.end() + 2, ""), said))
    conclusion = conclude(sorted(stated, key=lambda reading: reading[0].start), text)
    repeated = _as_asked(output, question)
    if conclusion is None:
        return decided(accepted, min(repeated), "yes-no-text") if len(repeated) == 1 else _NO_ANSWER
    denied = conclusion.statement.rank == BARE and repeated - conclusion.value and not revises(output)
    if denied or not conclusion.agreed or len(conclusion.value) > 1:
        return unparsed("conflict", "both yes and no are given")
    rule = "yes-no-lead" if conclusion.statement.rank == BARE else "yes-no-statement"
    return decided(accepted, min(conclusion.value), rule)


def _as_asked(output: str, question: str) -> set[str]:
    """What a text says by repeating the question as a statement: `yes`, or `no` with a denial."""
    particle = frozenset(words(question)[-1:]) & {"on", "in"}  # "Are the lights on?"
    asked = _content(question, particle)
    if not asked or "or" in words(question):
        return set()
    relations = word_set("relations").union({"from"}).difference(words(question))
    parts = [part for sentence in sentences(asserted(output)) for part in SPLIT.split(_NOTS.sub(" not ", EMPHASIS.sub(" ", sentence)))]
    parts += [part for whole in parts for part in THEREFORE.split(whole)[1:]]  # "so they are not parallel"
    return {said for part in parts for said in _repeated(part, asked, relations, particle)}


def _repeated(sentence: str, asked: list[str], relations: frozenset[str], particle: frozenset[str]) -> set[str]:
    """What a sentence says: `no` if it denies asked words, `yes` if it has all of them in order."""
    said = words(sentence)
    content = _content(sentence, particle)
    if _DOUBTS.intersection(said) or not content:
        return set()
    if "than" in said and not _within([word for word in content if word in asked], asked):  # "not larger than the dog"
        return set()
    if _DENIALS.intersection(said) and set(content) <= set(asked):
        return {"no"}
    found = set()
    for clause in map(words, _COMMA.split(ASIDE.sub(" ", LOOKS_LIKE.sub(r"\1", sentence)))):
        content = _content(" ".join(clause), particle)
        last = max((place for place, word in enumerate(clause) if stem(word) in asked), default=0)
        denied = [place < last for place, word in enumerate(clause) if word in _DENIALS]
        beside = relations.intersection(clause[:last])
        apart = all(map(_FOLLOWS.fullmatch, clause[last + 1 : last + 2]))  # "dog house" is no dog
        if apart and not beside and set(asked) <= set(content) and (all(denied) if denied else _within(asked, content)):
            found.add("no" if denied else "yes")
    return found


def _within(part: list[str], whole: list[str]) -> bool:
    """Whether all words of a part are in the whole, in the same order."""
    left = iter(whole)
    return all(word in left for word in part)


def _content(text: str, particle: frozenset[str]) -> list[str]:
    """The stems of the words of substance in a text, and of a particle that the question ends with."""
    return [stem(word) for word in words(text) if word not in (_AUXILIARIES | ARTICLES | _DENIALS) - particle]


def _leading_words(value: str) -> frozenset[str]:
    """The `yes` and `no` that a text begins with: both for "yes or no", none for other text."""
    if _EITHER.match(value):
        return frozenset({"yes", "no"})
    head = _HEAD.match(value)
    if head is None:
        return frozenset()
    said = {"yes" if head["yes"] else "no"}
    second = _SECOND.match(value, head.end())
    return frozenset(said | ({yes_or_no(second["second"])} if second else set()))


def yes_or_no(answer: str) -> str:
    """The meaning of an accepted answer: `yes` or `no`. Raises BenchmarkError for anything else."""
    word = plain(answer).strip(" .!。'\"").casefold()
    if word not in _YES | _NO:
        raise BenchmarkError(
            f"The accepted answer {answer!r} is neither yes nor no, as answer_type yes_no expects. "
            "Correct the answer, or use answer_type text."
        )
    return "yes" if word in _YES else "no"
