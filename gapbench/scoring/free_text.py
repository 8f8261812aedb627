"""Free text: an answer is right if it equals an accepted answer, or states it in few other words.

    score_text("The letter is K.", ["k"]).outcome         # "right"

The steps: 1. a statement; 2. the whole output, its first line or its first sentence; 3. what a single sentence says of
what was asked ("It is a bright red"), or the only member of a closed set of `options` that the output says.

Both sides are normalised: Unicode NFKC, case folded, without articles and punctuation (signs, currencies, comparisons
and marks between digits stay), number words as digits. A statement or sentence is right if it contains an accepted
answer as whole words, has at most three other words of substance, and neither denies nor doubts the answer, nor says it
of something else ("next to the red lorry"), nor offers a second one ("red or blue").

Limits: prose that mentions an accepted answer without stating it is unparsed, as reading it would be a guess. The other
words of a statement are counted, not understood: "dark red" counts as "red".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gapbench.scoring.clean import fold, plain
from gapbench.scoring.outcome import Score, decided, unparsed
from gapbench.scoring.phrases import form, word_set
from gapbench.scoring.statements import PLAIN, REFUSED, Conclusion, conclude, refuses, revises, statements

MOST_OTHER_WORDS = 3

_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * tens for tens, word in enumerate(_TENS_WORDS.split(), start=2)}
SMALL_NUMBERS = {word: value for value, word in enumerate(_UNITS.split())} | _TENS
"""Numbers below a hundred that are a single word."""

_ACRONYM = re.compile(r"(?<!\w)(?:[^\W\d_]\.){2,20}")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SIGN = r"[<>=≤≥≠±+#$€£¥₩₹¢]"
_HAN = r"\u3040-\u30ff\u3400-\u9fff"  # no spaces between words, so each character is one
_APART = re.compile(r"(?<=[<>≤≥$€£¥]) (?=-?\d)|(?<=\d) (?=%)")
_TOKEN = re.compile(
    rf"(?:(?<!\w){_SIGN}{{1,2}})?(?:(?<!\w)-?\d+(?:[.:/]\d+){{1,8}}(?!\w)|(?<!\w)-\d+(?!\w)|[{_HAN}]|[^\W{_HAN}]+)"
    rf"(?:[+#%€£$¥¢]|-(?!\w)){{0,2}}"
    rf"|{_SIGN}{{1,3}}|(?<=\d )-(?= \d)"
)
ARTICLES = word_set("articles")
DENIALS, DOUBTS = word_set("denials"), word_set("doubts")
_EMPTY_WORDS = ARTICLES | word_set("function")
_VERBS = word_set("verbs")
_COPULA, _SENTENCE, _OPEN_SENTENCE = form("copula"), form("sentence"), form("open_sentence")
_SENTENCE_END, _CLAUSE_END, _CLAUSE = form("sentence_end"), form("clause_end"), form("clause")
_LIST_MARK = re.compile(r"[,、]\s?\w|(?<!\d)/|/(?!\d)")


def words(text: str) -> list[str]:
    """The normalised words of a text, with its articles; the A of "point A" or "A is closer" stays a capital."""
    text = fold(text).replace("'", "")
    text = _ACRONYM.sub(lambda acronym: acronym[0].replace(".", ""), _APART.sub("", _THOUSANDS.sub("", text)))
    found, capitals = _TOKEN.findall(text), text.isupper()
    tokens: list[str] = []
    after_tens = 0
    for word, following in zip(found, [*found[1:], ""], strict=False):
        token = word.casefold()
        value = SMALL_NUMBERS.get(token)
        if value is not None and after_tens and 0 < value < 10:
            tokens[-1] = str(after_tens + value)
        elif word == "A" and (tokens or following in _VERBS) and not capitals:
            tokens.append(word)
        else:
            tokens.append(token if value is None else str(value))
        after_tens = _TENS.get(token, 0)
    return tokens


def normal(text: str) -> str:
    """The normalised text without articles; a text of articles or symbols alone is only case folded."""
    tokens = words(text)
    kept = [word.lower() for word in tokens[:-1] if word not in ARTICLES] + [word.lower() for word in tokens[-1:]]
    return " ".join(kept if len(tokens) > 1 else tokens) or fold(text).casefold().strip()


def extents(value: str) -> list[str]:
    """The parts of a statement that may be the answer: the whole line, the first sentence, the first clause."""
    ends = [match.start() for match in (_SENTENCE_END.search(value), _CLAUSE_END.search(value)) if match]
    return [value, *(value[:end] for end in ends if end)]


def conclusion_of(text: str) -> Conclusion[str] | None:
    """The conclusion from the PLAIN and FINAL answer statements of a cleaned text, compared as normalised clauses."""
    clauses = [(s, normal(extents(s.value)[-1])) for s in statements(text) if s.rank >= PLAIN and s.value]
    return conclude(clauses, text)


def score_text(text: str, answers: Sequence[str], options: Sequence[str] = (), question: str = "") -> Score:
    """Score a cleaned text; any of `answers` is right. `options` is the closed set of possible answers, if any.

    Words of `question` are not counted as other words of an answer.
    """
    accepted = {normal(answer) for answer in answers if answer.strip()}
    conclusion = conclusion_of(text)
    if conclusion is not None and not conclusion.agreed:
        return unparsed("conflict", "answer statements that contradict each other")
    body = conclusion.statement.value if conclusion else plain(text)
    rule = "text-statement" if conclusion else "text-exact"
    alone = extents(body) if conclusion else [body, *([] if revises(body) else [_SENTENCE.match(body)[0]])]  # type: ignore[index]
    for candidate in alone:
        if normal(candidate) in accepted:
            return Score("right", 1.0, candidate.strip(), rule, "")
    if refuses(body):
        return unparsed("refusal", REFUSED)
    clause = extents(body)[-1] if conclusion else body
    named = affirmed(clause, [*map(spoken, options)]) or {
        option for option in map(normal, options) if option == normal(clause)
    }
    if len(named) > 1:
        return unparsed("alternatives", f"several possible answers are named: {', '.join(sorted(named))}")
    if named:
        return decided({spoken(answer) for answer in answers}, named.pop(), "text-option")

    predicate = clause if conclusion else _predicate(body, question)
    claim = body if predicate is None else predicate
    if normal(claim) in accepted:
        return Score("right", 1.0, claim.strip(), "text-contained", "")
    contained = [answer for answer in accepted if f" {answer} " in f" {normal(claim)} "]
    if not contained:
        return Score("wrong", 0.0, body, rule, "")
    if predicate is None and ("\n" in body or _COPULA.search(body) or _SENTENCE_END.search(body[:-1])):  # prose
        return unparsed("mentioned", "the accepted answer is mentioned, but not stated as the answer")
    tokens = set(words(claim))
    if not affirmed(claim, [spoken(answer) for answer in answers if normal(answer) in contained], question):
        return unparsed("denied", "the accepted answer is denied, doubted, or said of something else")
    if word_set("alternatives") & tokens or _LIST_MARK.search(claim):
        return unparsed("alternatives", "the accepted answer is one of several that are offered")
    if predicate is None:
        return Score("wrong", 0.0, body, rule, "")
    others = tokens - _EMPTY_WORDS - set(words(question)) - set(" ".join(contained).split())
    if len(others) > MOST_OTHER_WORDS:
        return unparsed("mentioned", "the accepted answer appears among too many other words")
    return Score("right", 1.0, predicate.strip(), "text-contained", "")


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, each with its end."""
    return [sentence for sentence in _SENTENCE.findall(text) if sentence]


def asserted(text: str) -> str:
    """A text without its questions and suppositions."""
    return "".join(sentence for sentence in sentences(text) if not _OPEN_SENTENCE.search(sentence))


def affirmed(text: str, options: Sequence[str], question: str = "") -> set[str]:
    """Which of `options`, in the form of `spoken`, a cleaned text says affirmatively, as whole words.

    A question says nothing, nor does a clause with a denial or a doubt, nor what something else stands "next to",
    unless `question` asks what it stands next to. Longer options are looked for first, so that "dark red" does not say
    "red" as well.
    """
    left = f" {' | '.join(map(spoken, sentences(asserted(text))))} "
    texts = sorted(set(options), key=lambda option: (-len(option), option))
    for index, option in enumerate(texts):
        if option:
            left = f" \0{index} ".join(left.split(f" {option} "))
    named = set()
    relations = word_set("relations").difference(words(question))
    for clause in left.split(" | "):
        said = clause.split()
        places = [place for place, word in enumerate(said) if word[0] == "\0"]
        if places and not (DENIALS | DOUBTS).intersection(said):
            verb = max((place for place, word in enumerate(said[: places[0]]) if word in _VERBS), default=0)
            if not relations.intersection(said[max(verb, places[0] - 4) : places[0]]):
                named |= {texts[int(said[place][1:])] for place in places}
    return named


def spoken(option: str) -> str:
    """A text as `affirmed` looks for it: normalised, its clauses set apart."""
    clauses = [normal(clause) for clause in _CLAUSE.split(option)]
    return " | ".join(clause for clause in clauses if _TOKEN.search(clause))


def _predicate(body: str, question: str) -> str | None:
    """The words after the only verb of being or showing in a one-sentence text, with "not" if that verb ends in "n't".

    Of a longer text the first sentence, if it speaks of nothing but what `question` asks about. None if there is no
    such verb or several, or the text is too long.
    """
    sentence = _SENTENCE.match(body.strip())[0]  # type: ignore[index]
    verb = _COPULA.search(sentence)
    if len(sentence) > 300 or verb is None or _COPULA.search(sentence, verb.end()):
        return None
    if len(sentence) < len(body.strip()):
        subject = set(words(sentence[: verb.start()])) - _EMPTY_WORDS
        if revises(body) or not subject or subject - set(words(question)):
            return None
    return ("not " if verb[0].endswith("n't") else "") + sentence[verb.end() :]
