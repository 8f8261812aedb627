"""Sentences and clauses: what a text asserts, and which part of it answers.

    answering("He wears an apron. Based on this, he is a baker.")       # ["he is a baker"]

A clause that asks, supposes, doubts or denies asserts nothing. What follows the last change of mind ("wait") replaces
what came before it. Of several clauses those answer that conclude ("so", "therefore"), else those about what is asked.

Limits: words decide, not grammar: a clause is about what is asked if its subject has no other words than the question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gapbench.scoring.phrases import form, word_set
from gapbench.scoring.statements import latest
from gapbench.scoring.words import ARTICLES, TOKEN, VERBS, normal, stem, stems, words

DENIALS, DOUBTS = word_set("denials") | word_set("han_denials"), word_set("doubts")
EMPTY_WORDS = ARTICLES | word_set("function")
_SENTENCE, _OPEN_SENTENCE, SPLIT, _CLAUSE = (form(n) for n in ("sentence", "open_sentence", "split", "clause"))
_SENTENCE_END, _CLAUSE_END, _CUT_OFF = form("sentence_end"), form("clause_end"), form("cut_off")
THEREFORE, _QUOTED, EMPHASIS, COPULA = (form(n) for n in ("therefore", "quoted", "emphasis", "copula"))
_REASONS, _UNLIKELY = ("because", "since"), form("unlikely")
ASIDE, _AND = form("aside"), re.compile(r",? (?:and|while|whereas) |(?<=[^\x00-\x7f]|\"),(?=[^\x00-\x7f])")
_BLANK, _PART = re.compile(r"([\u3400-\u9fff]{2})(?:什么|什麼|谁|誰|哪)"), re.compile(r"[,;。.!?\n]")
_THERE = re.compile(r"there\b", re.I)
LOOKS_LIKE = re.compile(r"\b(looks?|seems?|covered|filled|topped|decorated) (?:like|with)\b", re.I)


def extents(value: str) -> list[str]:
    """The parts of a statement that may be the answer: the whole line, the first sentence, the first clause."""
    ends = [match.start() for match in (_SENTENCE_END.search(value), _CLAUSE_END.search(value)) if match]
    return [value, *(value[:end] for end in ends if end)]


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, each with its full stop."""
    return [sentence for part in _SENTENCE.findall(text) if (sentence := part.strip())]


def asserted(text: str, sure: bool = False) -> str:
    """A text without its questions and suppositions; if `sure`, without its doubts as well."""
    kept = [sentence for sentence in _SENTENCE.findall(text) if not _OPEN_SENTENCE.search(sentence)]
    return "".join(sentence for sentence in kept if not (sure and DOUBTS.intersection(words(sentence))))


def is_cut_off(text: str) -> bool:
    """Whether a text ends in the middle of a sentence."""
    return _CUT_OFF.search(text[-200:]) is not None


def denies(clause: str) -> bool:
    """Whether a clause denies or doubts what it says; words that it only quotes do not."""
    return not (DENIALS | DOUBTS).isdisjoint(words(EMPHASIS.sub(" ", _QUOTED.sub(" ", clause))))


def answering(text: str, question: str = "") -> list[str]:
    """The clauses of a text that answer: see above."""
    said: list[str] = []
    concluding = None
    for half in [half for sentence in sentences(asserted(latest(text))) for half in SPLIT.split(sentence)]:
        for index, claim in enumerate(THEREFORE.split(half)):
            parts = [part for part in _halves(ASIDE.sub(" ", claim).strip(" ,")) if TOKEN.search(part)]
            if index and parts and not denies(parts[0]):
                concluding = len(said)
            said += parts
    if concluding is not None:
        claim, *later = said[concluding:]
        return [claim.strip(" .,"), *(clause for clause in later if not denies(clause) and is_about(clause, question))]
    found = [clause for clause in said if not denies(clause)]
    if len(said) < 2 or len(found) == 1:
        return found or [clause for clause in said if not COPULA.search(clause)]
    most = max((is_about(clause, question) for clause in found), default=0)
    about = [clause for clause in found if most and is_about(clause, question) == most]
    chosen = about[:1] if about[:1] == said[:1] else about[-1:]
    return parallel(about, chosen[0]) if chosen else []


def filled(text: str, question: str) -> list[str]:
    """What a text says in place of the "what" of a Chinese question: 筷子 of 她拿着筷子 for 她拿着什么."""
    blank = _BLANK.search(question)
    parts = [part for part in _PART.split(asserted(latest(text))) if blank and blank[1] in part and not denies(part)]
    said = parts[0].split(blank[1])[-1] if blank and len(parts) == 1 else ""
    return [f"是{said}"] if TOKEN.search(said) else []


def parallel(clauses: Sequence[str], clause: str) -> list[str]:
    """The clauses with the same subject and verb as a clause, which say the same or contradict it."""
    verb = COPULA.search(clause)
    head = normal(clause[: verb.end()]) if verb else "\0"
    return [other for other in clauses if normal(other).startswith(head)] or [clause]


def _halves(clause: str) -> list[str]:
    """The two clauses of "X is this and Y is that"."""
    halves = _AND.split(clause)
    verbs = [COPULA.search(half) for half in halves]
    return halves if all(verb and verb.start() for verb in verbs) else [clause]


def is_about(clause: str, question: str) -> int:
    """How many words of `question` are the subject of a clause; 0 if it has others."""
    asked = stems(question)
    verb = COPULA.search(clause)
    about = clause if not verb else clause[: verb.start()]
    if verb and _THERE.match(clause):  # "There are 4 chairs": what is there
        about = "".join(char for char in clause[verb.end() :] if not char.isdigit())
    subject = [stem(w) for w in words(about) if w not in EMPTY_WORDS]
    if verb:
        return len(set(subject)) if set(subject) <= asked else 0
    return int(bool(subject) and subject[0] in asked)


def affirmed(text: str, options: Sequence[str], question: str = "") -> set[str]:
    """Which of `options`, in the form of `spoken`, a cleaned text says affirmatively, as whole words.

    A question says nothing, nor does a clause with a denial or a doubt, nor what something else stands "next to",
    unless `question` asks what it stands next to. Longer options are looked for first, so that "dark red" does not say
    "red" as well.
    """
    text = _UNLIKELY.sub("unlikely", text)  # "either" of "either B or C"
    left = f" {' | . | '.join(map(spoken, sentences(asserted(text))))} "
    texts = sorted(set(options), key=lambda option: (-len(option), option))
    for index, option in enumerate(texts):
        if option:
            left = f" \0{index} ".join(left.split(f" {option} "))
    named = set()
    relations = word_set("relations").difference(words(question))
    denied = False
    for clause in left.split(" | "):
        said = clause.split() or ["."]
        listed = len(said) < 4 and said[0] not in (".", "but") and not VERBS.intersection(said)  # "not red, or blue"
        denied = bool(DENIALS.union(DOUBTS).intersection(said)) or (denied and (listed or said[0] in _REASONS))
        places = [place for place, word in enumerate(said) if word[0] == "\0"]
        if places and not denied:
            verb = max((place for place, word in enumerate(said[: places[0]]) if word in VERBS), default=0)
            if not relations.intersection(said[max(verb, places[0] - 4) : places[0]]):
                named |= {texts[int(said[place][1:])] for place in places}
    return named


def spoken(option: str) -> str:
    """A text as `affirmed` looks for it: normalised, its clauses set apart."""
    clauses = [normal(clause) for clause in _CLAUSE.split(LOOKS_LIKE.sub(r"\1", option))]
    return " | ".join(clause for clause in clauses if TOKEN.search(clause))
