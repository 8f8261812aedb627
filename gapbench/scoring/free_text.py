"""Free text: normalised equality, then whole-word containment in what the output states.

    score_text("The letter is K.", ["k"]).outcome         # "right"

Normalised: Unicode NFKC, case folded, no articles, no punctuation (a minus sign, and marks between digits, stay),
number words as digits. An answer statement, or a single sentence such as "It is a bright red", is right if it contains
an accepted answer as whole words with at most three other words of substance, and neither denies it nor offers
another ("red or blue"). With a closed set of `options`, whichever one member is named is the answer; two are unparsed.

Limits: prose that mentions an accepted answer without stating it is unparsed, as reading it would be a guess. The other
words of a statement are counted, not understood: "dark red" counts as "red".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gapbench.scoring.clean import fold, plain
from gapbench.scoring.outcome import Score, decided, unparsed
from gapbench.scoring.statements import PLAIN, Conclusion, conclude, statements

MOST_OTHER_WORDS = 3

_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * tens for tens, word in enumerate(_TENS_WORDS.split(), start=2)}
SMALL_NUMBERS = {word: value for value, word in enumerate(_UNITS.split())} | _TENS
"""Number words below a hundred that are one word."""

_ACRONYM = re.compile(r"(?<!\w)(?:[^\W\d_]\.){2,20}")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_TOKEN = re.compile(r"(?<!\w)-?\d+(?:[.:/]\d+){1,8}(?!\w)|(?<!\w)-\d+(?!\w)|\w+")
_ARTICLES = frozenset({"a", "an", "the"})
_FUNCTION_WORDS = """in on at of to with by for from as it its is are was were there this that which color colour
    colored coloured letter word number sign text image picture"""
_DENIAL_WORDS = """not no never neither nor without cannot cant isnt arent wasnt werent dont doesnt except unlike
    instead rather"""
_EMPTY_WORDS = _ARTICLES | frozenset(_FUNCTION_WORDS.split())
_DENIALS = frozenset(_DENIAL_WORDS.split())
_ALTERNATIVES = frozenset({"or", "and", "either", "but", "maybe", "perhaps", "possibly"})
_COPULA = re.compile(
    r"\b(?:it|that|there|this|he|she|they|what|who)'(?:s|re)\b"
    r"|\b(?:is|are|was|were)(?:n't)?\b|\b(?:says?|said|reads?|shows?|displays?|spells?|states?|contains?)\b",
    re.I,
)
_LIST_MARK = re.compile(r"[,、]\s?\w|(?<!\d)/|/(?!\d)")
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)|。")
_CLAUSE_END = re.compile(r"[.!?](?=\s|\Z)|[;(。]|,? (?:because|since|as|which|where|based)\b")


def words(text: str) -> list[str]:
    """Normalised words of a text, articles included."""
    text = fold(text).casefold().replace("'", "")
    text = _ACRONYM.sub(lambda acronym: acronym[0].replace(".", ""), _THOUSANDS.sub("", text))
    tokens: list[str] = []
    after_tens = 0
    for token in _TOKEN.findall(text):
        value = SMALL_NUMBERS.get(token)
        if value is not None and after_tens and 0 < value < 10:
            tokens[-1] = str(after_tens + value)
        else:
            tokens.append(token if value is None else str(value))
        after_tens = _TENS.get(token, 0)
    return tokens


def normal(text: str) -> str:
    """Normalised text without articles; what is nothing but articles or symbols stays as it is, case folded."""
    tokens = words(text)
    return " ".join([word for word in tokens if word not in _ARTICLES] or tokens) or fold(text).casefold().strip()


def extents(value: str) -> list[str]:
    """What a statement may come to: its whole line, its first sentence, its first clause."""
    ends = [match.start() for match in (_SENTENCE_END.search(value), _CLAUSE_END.search(value)) if match]
    return [value, *(value[:end] for end in ends if end)]


def stated(text: str) -> Conclusion[str] | None:
    """The conclusion of the plain and final answer statements of a cleaned text, compared as normalised clauses."""
    found = [(s, normal(extents(s.value)[-1])) for s in statements(text) if s.rank >= PLAIN and s.value]
    return conclude(found, text)


def score_text(text: str, answers: Sequence[str], options: Sequence[str] = (), question: str = "") -> Score:
    """Score a cleaned text against any one of `answers`; `options` is the closed set of possible answers, if any."""
    accepted = {normal(answer) for answer in answers if answer.strip()}
    claim = stated(text)
    if claim is not None and not claim.agreed:
        return unparsed("conflict", "answer statements that contradict each other")
    body = claim.statement.value if claim else plain(text)
    for candidate in extents(body) if claim else [body]:
        if normal(candidate) in accepted:
            return Score("right", 1.0, candidate.strip(), "text-statement" if claim else "text-exact", "")
    named = _named(extents(body)[-1] if claim else body, options)
    if len(named) > 1:
        return unparsed("alternatives", f"several possible answers are named: {', '.join(sorted(named))}")
    if named:
        return decided(accepted, named.pop(), "text-option")

    predicate = extents(body)[-1] if claim else _predicate(body)
    rule = "text-statement" if claim else "text-exact"
    heard = body if predicate is None else predicate
    contained = [answer for answer in accepted if _contains(normal(heard), answer)]
    if not contained:
        return Score("wrong", 0.0, body, rule, "")
    if predicate is None and _is_prose(body):
        return unparsed("mentioned", "the accepted answer is mentioned, but not stated as the answer")
    tokens = set(words(heard))
    if _DENIALS & tokens:
        return unparsed("denied", "the accepted answer appears with a denial")
    if _ALTERNATIVES & tokens or _LIST_MARK.search(heard):
        return unparsed("alternatives", "the accepted answer is one of several that are offered")
    if predicate is None:
        return Score("wrong", 0.0, body, rule, "")
    others = tokens - _EMPTY_WORDS - set(words(question)) - set(" ".join(contained).split())
    if len(others) > MOST_OTHER_WORDS:
        return unparsed("mentioned", "the accepted answer appears among too many other words")
    return Score("right", 1.0, predicate.strip(), "text-contained", "")


def _named(body: str, options: Sequence[str]) -> set[str]:
    """Members of a closed set that are named as whole words, longer ones first, denied ones left out."""
    left = f" {normal(body)} "
    named = set()
    for option in sorted({normal(option) for option in options}, key=lambda o: (-len(o), o)):
        pieces = left.split(f" {option} ") if option else [left]
        if any(not piece.split()[-1:] or piece.split()[-1] not in _DENIALS for piece in pieces[:-1]):
            named.add(option)
        left = " \0 ".join(pieces)
    return named


def _predicate(body: str) -> str | None:
    """What follows the only verb of being or showing in a one-sentence text, with the "n't" of that verb.

    None if the text is anything else.
    """
    sentence = body.strip()
    if len(sentence) > 300 or "\n" in sentence or _SENTENCE_END.search(sentence[:-1]):
        return None
    verb = _COPULA.search(sentence)
    if verb is None or _COPULA.search(sentence, verb.end()):
        return None
    return ("not " if verb[0].endswith("n't") else "") + sentence[verb.end() :]


def _is_prose(body: str) -> bool:
    return "\n" in body or _COPULA.search(body) is not None or _SENTENCE_END.search(body[:-1]) is not None


def _contains(normalised: str, answer: str) -> bool:
    return answer != "" and f" {answer} " in f" {normalised} "
