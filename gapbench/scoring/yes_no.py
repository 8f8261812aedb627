"""Yes or no: the answer of an output that begins with yes or no, or states it.

    score_yes_no("Yes, there is a dog on the left.", ["yes"]).outcome         # "right"

The steps: 1. a statement ("The answer is no"); 2. a sentence that begins with yes or no, the last one after a change of
mind; 3. the question said as a statement, or its denial ("There is no dog in the image."). "true" and "absolutely"
count as yes, "false" as no. An output that says both, or says yes and denies what was asked, is unparsed.

Limits: of other languages than English and Chinese only the words for yes and no (`phrases.toml`); step 3 compares
words, so "The dog has left" is unparsed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from gapbench.errors import BenchmarkError
from gapbench.scoring import clauses, statements
from gapbench.scoring.clean import plain
from gapbench.scoring.outcome import Score, decided, unparsed
from gapbench.scoring.phrases import form, word_set
from gapbench.scoring.statements import BARE, Statement
from gapbench.scoring.words import ARTICLES, stem, words

_HEAD, _SECOND, _START = form("yes_no"), form("second"), form("yes_no_start")
_YES, _NO, _AUXILIARIES = word_set("yes"), word_set("no"), word_set("auxiliaries")
_DENIALS, _DOUBTS = clauses.DENIALS | word_set("absences"), clauses.DOUBTS | word_set("partly")
_ASKED, _DENIED_IN_CHINESE = re.compile("[?\uff1f]"), re.compile(r"(?<!有)[没沒无無]|(.)不(?!\1)")  # 有没有 asks
_NOTS, _COMMA, _FOLLOWS = form("nots"), re.compile(r",\s|,(?=\D)"), form("follows")
_NO_ANSWER = unparsed("no-yes-no", "neither begins with yes or no nor states it")


def score_yes_no(text: str, answers: Sequence[str], question: str = "") -> Score:
    """Score a cleaned text. `question` is read where the output repeats it as a statement ("There is no dog").

    Raises BenchmarkError for an accepted answer that is neither yes nor no.
    """
    accepted = {yes_or_no(answer) for answer in answers}
    output = plain(text)
    stated = [(s, said) for s in statements.statements(text) if (said := _leading_words(s.value))]
    if not any(statement.rank > statements.WEAK for statement, _ in stated) and statements.refuses(output):
        return statements.REFUSAL
    for start in islice(_START.finditer(text), statements.MOST_STATEMENTS):
        said = _leading_words(text[start.end() : start.end() + 80])
        if said and not statements.is_denied(text, start.end(), supposed=True):
            stated.append((Statement(BARE, start.end(), start.end() + 2, ""), said))
    conclusion = statements.conclude(sorted(stated, key=lambda reading: reading[0].start), text)
    sentences = clauses.sentences(output)
    revised = max((index for index, sentence in enumerate(sentences) if statements.revises(sentence)), default=0)
    repeated = _as_asked(" ".join(sentences[revised:]), _ASKED.split(question, maxsplit=1)[0])
    if conclusion is None or (revised and repeated and conclusion.statement.start < text.rfind(sentences[revised])):
        return decided(accepted, min(repeated), "yes-no-text") if len(repeated) == 1 else _NO_ANSWER
    lead = conclusion.statement.rank == BARE
    if (lead and repeated - conclusion.value) or not conclusion.agreed or len(conclusion.value) > 1:
        return unparsed("conflict", "both yes and no are given")
    return decided(accepted, min(conclusion.value), "yes-no-lead" if lead else "yes-no-statement")


def _as_asked(output: str, question: str) -> set[str]:
    """What a text says by repeating the question as a statement: `yes`, or `no` with a denial."""
    particle = frozenset(words(question)[-1:]) & {"on", "in"}  # "Are the lights on?"
    asked = _content(question, particle)
    if not asked or "or" in words(question) or _DENIED_IN_CHINESE.search(question):
        return set()
    relations = word_set("relations").union({"from"}).difference(words(question))
    text = _NOTS.sub(" not ", clauses.EMPHASIS.sub(" ", clauses.asserted(output)))
    parts = [part for sentence in clauses.sentences(text) for part in clauses.SPLIT.split(sentence)]
    parts += [part for whole in parts for part in clauses.THEREFORE.split(whole)[1:]]  # "so they are not parallel"
    return {said for part in parts for said in _repeated(part, asked, relations, particle)}


def _repeated(sentence: str, asked: list[str], relations: frozenset[str], particle: frozenset[str]) -> set[str]:
    """What a sentence says: `no` if it denies asked words, `yes` if it has all of them in order."""
    said, content = words(sentence), _content(sentence, particle)
    backwards = "than" in said and not _within([word for word in content if word in asked], asked)
    if _DOUBTS.intersection(said) or not content or backwards:
        return set()
    if _DENIALS.intersection(said) and set(content) <= set(asked):
        return {"no"}
    found = set()
    for clause in map(words, _COMMA.split(clauses.ASIDE.sub(" ", clauses.LOOKS_LIKE.sub(r"\1", sentence)))):
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
