"""Soft scores in 0..1: VQA accuracy over human references, and ANLS for text read from documents.

    vqa_accuracy("stop", ["stop"] * 2 + ["halt"] * 8)          # 0.6
    anls("STOP SIGN", ["stop sing"])                           # 0.78

Both score the answer statement of the output ("The answer is stop."): the best of its line, its first sentence and its
first clause; without one the whole output. At least 0.5 is right: for VQA accuracy two of ten people.

Limits: VQA normalisation is made for short English answers. ANLS takes time proportional to the product of both
lengths, divided by the machine's word size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import product

from gapbench.scoring.clauses import extents
from gapbench.scoring.clean import fold, plain
from gapbench.scoring.free_text import conclusion_of
from gapbench.scoring.outcome import Score
from gapbench.scoring.statements import CONFLICT, REFUSAL, refuses
from gapbench.scoring.words import ARTICLES, SMALL_NUMBERS
from gapbench.types import Outcome

RIGHT_FROM = 0.5
ANLS_THRESHOLD = 0.5

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA = re.compile(r"\d,\d")
_STRAY_PERIOD = re.compile(r"(?<!\d)\.|\.(?!\d)")
_NUMBER_WORDS = {word: str(value) for word, value in SMALL_NUMBERS.items() if value <= 10} | {"none": "0"}
_CONTRACTED = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "'ve": "could might must not should they we what where who would you",
    "'d": "he how it someone something there they where who you",
    "'ll": "how it somebody someone something they what who why you",
    "'s": "he how she that there what when where who why somebody someone",
    "'re": "there they what why you",
}


def _contractions() -> dict[str, str]:
    """Maps contractions without some of their apostrophes to the full form, except words such as "its" and "well"."""
    stems = {ending: words.split() for ending, words in _CONTRACTED.items()}
    full = [stem + ending for ending, words in stems.items() for stem in words]
    full += [form + "'ve" for form in full if form.endswith(("n't", "'d"))]
    full += ["she'd've", "we'd've", "i'd've", "ma'am", "o'clock", "'twas", "y'all", "y'all'll"]
    table = {}
    for form in full:
        for marks in product(("'", ""), repeat=form.count("'")):
            pieces = form.split("'")
            table["".join(a + b for a, b in zip(pieces, (*marks, ""), strict=True))] = form
    return table


_CONTRACTIONS = _contractions()


def score_soft(text: str, similarity: Callable[[str], float], rule: str) -> Score:
    """Score a cleaned text by the `similarity` (0..1) of its answer statement, or of the whole text."""
    conclusion = conclusion_of(text)
    if conclusion is not None and not conclusion.agreed:
        return CONFLICT
    candidates = extents(conclusion.statement.value) if conclusion else [plain(text)]
    value, best = max(((similarity(answer), answer) for answer in map(str.strip, candidates)), key=lambda pair: pair[0])
    if value < RIGHT_FROM and refuses(candidates[0]):
        return REFUSAL
    outcome: Outcome = "right" if value >= RIGHT_FROM else "wrong"
    return Score(outcome, value, best, f"{rule}-statement" if conclusion else rule, "")


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """VQA accuracy in 0..1: min(1, matches / 3), averaged over the sets that leave one reference out.

    Source: Antol et al., "VQA: Visual Question Answering", ICCV 2015, and its official evaluation. With ten references,
    1, 2, 3, 4 matches give 0.3, 0.6, 0.9, 1. With two or three references, their number minus one replaces the 3, so
    that full agreement still gives 1. With a single reference the result is 1 for a match, else 0.
    """
    normalised = vqa_normal(answer)
    matches = [vqa_normal(reference) == normalised for reference in references]
    if len(matches) == 1:
        return float(matches[0])
    needed = min(3, len(matches) - 1)
    total = sum(matches)
    return sum(min(1.0, (total - match) / needed) for match in matches) / len(matches)


def vqa_normal(text: str) -> str:
    """The official VQA v2 normalisation: punctuation, lower case, digits for number words, articles, contractions."""
    text = " ".join(fold(text).split())
    bare = text
    for mark in _PUNCTUATION:
        apart = f"{mark} " in text or f" {mark}" in text or _DIGIT_COMMA.search(text)
        bare = bare.replace(mark, "" if apart else " ")
    tokens = [_NUMBER_WORDS.get(word, word) for word in _STRAY_PERIOD.sub("", bare).lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in tokens if word not in ARTICLES)


def anls(answer: str, answers: Sequence[str]) -> float:
    """Normalised Levenshtein similarity in 0..1, the best over the accepted answers.

    1 - NL if the normalised distance NL = distance / longer length is below 0.5, else 0. Letter case and repeated
    spaces are ignored. Source: Biten et al., "Scene Text Visual Question Answering", ICCV 2019, equation 1.
    """
    normalised = _case_folded(answer)
    return max(_similarity(normalised, _case_folded(accepted)) for accepted in answers)


def levenshtein(a: str, b: str) -> int:
    """Edit distance by bit vectors: one pass over `b`, with one bit for each character of `a`.

    Source: Myers, Journal of the ACM 46(3), 1999, in the form of Hyyrö, Nordic Journal of Computing 10, 2003.
    """
    if not a:
        return len(b)
    places: dict[str, int] = {}
    for index, char in enumerate(a):
        places[char] = places.get(char, 0) | 1 << index
    everywhere, last = (1 << len(a)) - 1, 1 << len(a) - 1
    rises, falls, distance = everywhere, 0, len(a)
    for char in b:
        equal = places.get(char, 0)
        diagonal = ((equal & rises) + rises ^ rises) | equal | falls
        up, down = falls | ~(diagonal | rises) & everywhere, diagonal & rises
        distance += bool(up & last) - bool(down & last)
        up, down = up << 1 | 1, down << 1
        rises, falls = (down | ~(diagonal | up)) & everywhere, up & diagonal
    return distance


def _similarity(a: str, b: str) -> float:
    longer = max(len(a), len(b))
    if longer == 0:
        return 1.0
    if abs(len(a) - len(b)) >= ANLS_THRESHOLD * longer:  # the distance is at least the difference in length
        return 0.0
    distance = levenshtein(a, b) / longer
    return 1 - distance if distance < ANLS_THRESHOLD else 0.0


def _case_folded(text: str) -> str:
    return " ".join(fold(text).casefold().split())
