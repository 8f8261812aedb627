"""Free text: an answer is right if it equals an accepted answer, or states it in few other words.

    score_text("The letter is K.", ["k"]).outcome         # "right"

The steps: 1. a statement; 2. the whole output, its first line or sentence, or its labelled last line ("Place: Paris");
3. the only member of a closed set of `options` that the output says, or what the clause that answers says of what was
asked ("It is a bright red").

Both sides are normalised (`words`), and a plural s makes no difference to a plain word. A clause is right if it says an
accepted answer as whole words with at most three other words of substance, and wrong if it is as short, but gives
another answer.

Limits: prose that mentions an accepted answer without stating it is unparsed, as reading it would be a guess. The other
words of a clause are counted, not understood: "dark red" counts as "red".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import pairwise

from gapbench.scoring import clauses, statements
from gapbench.scoring.clean import plain
from gapbench.scoring.outcome import Score, decided, unparsed
from gapbench.scoring.phrases import form, word_set
from gapbench.scoring.words import ARTICLES, normal, stem, stems, words

MOST_OTHER_WORDS, _LONGEST_SUBJECT, _LONGEST_BARE = 3, 5, 8
_ASIDE, _PARTS, _RELATIVE, _FIRST, _TAIL = map(form, ("closer", "parts", "relative", "first", "tail"))
_QUOTE = re.compile(r'"([^"\n]+)"|(?<!\w)\'([^\'\n]+)\'(?!\w)')
_VAGUE, _QUOTED, _ALTERNATIVES, _PRONOUN = form("vague"), form("quoted"), word_set("alternatives"), form("personal")
_PERSONS = word_set("persons")
_LABELLED = form("labelled")
_SLASH = re.compile(r"(?<!\d)/|/(?!\d)")
_NO_TEXT = unparsed("no-text", "no clause gives an answer")
_DENIED = unparsed("denied", "the accepted answer is denied, doubted, or said of something else")
_OFFERED = unparsed("alternatives", "the accepted answer is one of several that are offered")


def conclusion_of(text: str) -> statements.Conclusion[str] | None:
    """The conclusion from the PLAIN and FINAL answer statements of a cleaned text, compared as normalised clauses."""
    found = [s for s in statements.statements(text) if s.rank >= statements.PLAIN and s.value]
    return statements.conclude([(s, normal(clauses.extents(s.value)[-1])) for s in found], text)


def score_text(text: str, answers: Sequence[str], options: Sequence[str] = (), question: str = "") -> Score:
    """Score a cleaned text; any of `answers` is right. `options` is the closed set of possible answers, if any.

    Words of `question` are not counted as other words of an answer.
    """
    accepted = {normal(answer) for answer in answers if answer.strip()}
    conclusion = conclusion_of(text)
    if conclusion is not None and not conclusion.agreed:
        return statements.CONFLICT
    tail = statements.latest(text)
    if conclusion and conclusion.statement.end + len(tail) < len(text) and len(clauses.sentences(tail)) == 1:
        conclusion = None  # "The answer is red. Wait, it is blue."
    body = conclusion.statement.value if conclusion else plain(text)
    rule = "text-statement" if conclusion else "text-exact"
    first = clauses.sentences(body)[:1] * (not statements.revises(body))
    alone = clauses.extents(body) if conclusion else [body, *first, *_LABELLED.findall(body)]
    if exact := [said for said in alone if _is_one_of(normal(said), accepted)]:
        return Score("right", 1.0, exact[0].strip(), rule, "")
    if statements.refuses(body):
        return statements.REFUSAL
    if not conclusion and clauses.is_cut_off(body):
        return _NO_TEXT
    clause = clauses.extents(body)[-1] if conclusion else statements.latest(body)
    named = clauses.affirmed(clause, [*map(clauses.spoken, options)]) or {normal(clause)} & {*map(normal, options)}
    if len(named) > 1:
        return unparsed("alternatives", f"several possible answers are named: {', '.join(sorted(named))}")
    if named:
        return decided({clauses.spoken(answer) for answer in answers}, named.pop(), "text-option")
    if conclusion:
        return _read(clause, accepted, question, rule)
    claims = clauses.answering(body, question) or clauses.sentences(body)[: bool(_FIRST.match(body))]
    scores = [_read(claim, accepted, question, rule) for claim in claims]
    if not any(score.parsed for score in scores):
        scores = [_read(claim, accepted, question, rule) for claim in clauses.filled(body, question)] or scores
    if scores and len({score.outcome for score in scores}) == 1:
        return scores[0]
    if not any(f" {answer} " in f" {normal(body)} " for answer in accepted):
        return _NO_TEXT
    mentioned = unparsed("mentioned", "the accepted answer is mentioned, but not stated as the answer")
    return _DENIED if clauses.denies(body) else mentioned


def _read(claim: str, accepted: Collection[str], question: str, rule: str) -> Score:
    """The score of a clause that answers, or of the value of a statement."""
    stated = rule == "text-statement"
    claim = _RELATIVE.sub("", claim)
    verb = None if stated else clauses.COPULA.search(claim)
    predicate = claim[verb.end() :] if verb and not clauses.COPULA.search(claim, verb.end()) else claim
    asked = ARTICLES | stems(question)
    quotes = [*map("".join, _QUOTE.findall(claim))]
    for candidate in (predicate, claim.rpartition(": ")[2], *quotes * (len(quotes) == 1)):
        if _is_one_of(normal(candidate), accepted):
            return Score("right", 1.0, candidate.strip(), "text-contained", "")
    if verb and not _others(predicate, asked):  # "A parrot is in the cage."
        predicate = claim[: verb.start()]
    main, *asides = [f" {normal(part)} " for part in _PARTS.split(predicate)]
    longest_first = sorted(accepted, key=lambda answer: (-len(answer), answer))
    found = [answer for answer in longest_first if f" {answer} " in f" {normal(predicate)} "]
    contained = [a for a in found if stated or f" {a} " in main or not any(f" {a} " in aside for aside in asides)]
    aside = bool(asides) and _ASIDE.match(asides[0])
    if found and not contained and not (aside and asked.isdisjoint(map(stem, words(asides[0])))):
        return _OFFERED
    rest = [word for word in words(predicate) if word not in " ".join(contained).split()]
    starts = any(normal(claim).startswith(f"{answer} ") for answer in contained) and asked.intersection(map(stem, rest))
    is_sentence = stated or verb or starts or _PRONOUN.match(claim) or clauses.is_about(claim, question)
    if not contained:
        told = _others(main if aside else predicate, asked) or _others(claim, asked)
        short = 0 < len(told) <= MOST_OTHER_WORDS or not (is_sentence or len(words(claim)) > _LONGEST_BARE)
        commits = (short or _QUOTED.search(claim)) and not _VAGUE.search(predicate)
        return Score("wrong", 0.0, claim, rule, "") if commits else _NO_TEXT
    if not clauses.affirmed(predicate, contained, question):
        return _DENIED
    if any(_is_listed(answer, predicate) for answer in contained):
        return _OFFERED
    if not is_sentence and len(words(claim)) < _LONGEST_SUBJECT:  # "red car" is not "red"
        return Score("wrong", 0.0, claim, rule, "")
    names = [_longer_name(a).search(f" {predicate}", predicate == claim and not stated) for a in contained]
    if any(name and stem(name[1].lower()) not in asked for name in names) and _PERSONS.isdisjoint(words(question)):
        return unparsed("mentioned", "the accepted answer is the end of a longer name")
    before, _, after = f" {normal(predicate)} ".partition(f" {contained[0]} ")
    others = _others(before + _TAIL.split(after)[0], asked)
    subject = _others(claim[: verb.start()] if verb else "", asked)
    if not is_sentence or len(others) > MOST_OTHER_WORDS or len(subject) > _LONGEST_SUBJECT:
        return unparsed("mentioned", "the accepted answer appears among too many other words")
    return Score("right", 1.0, predicate.strip(), "text-contained", "")


def _others(text: str, asked: Collection[str]) -> list[str]:
    """The words of substance in a text, without the stems that are asked about."""
    return [word for word in words(text) if word not in clauses.EMPTY_WORDS and stem(word) not in asked]


def _is_listed(answer: str, predicate: str) -> bool:
    """Whether an answer stands in a list: beside "and" or "or", or beside a comma and one or two other words."""
    parts = f"| {clauses.spoken(_SLASH.sub(' or ', predicate))} |".split(f" {answer} ")
    for before, after in pairwise(parts):
        if {before.split()[-1], after.split()[0]} & _ALTERNATIVES:
            return True
        segments = [*before.split("|")[-2:-1] * before.endswith("|"), *after.split("|")[1:2] * after.startswith("|")]
        if any(0 < len(segment.split()) <= (4 if " and " in after or " or " in after else 2) for segment in segments):
            return True
    return False


@lru_cache(maxsize=64)
def _longer_name(answer: str) -> re.Pattern[str]:
    """The form of a name that ends with an answer: "New York" for "York"."""
    return re.compile(rf"(?<=\s)(?!The |An? )([A-Z][a-z]+) (?=[A-Z])(?i:{re.escape(answer)})\b")


def _is_one_of(text: str, accepted: Collection[str]) -> bool:
    """Whether a normalised text is an accepted answer, or its plural or singular if that is letters alone."""
    forms = {text, text + "s", text + "es", text.removesuffix("s"), text.removesuffix("es")}
    return text in accepted or any(answer in forms for answer in accepted if answer.isalpha())
