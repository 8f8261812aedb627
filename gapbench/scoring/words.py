"""Normalised words: how texts are compared.

    normal("The  Red, car!")                              # "red car"

Unicode NFKC, case folded, without articles and punctuation (signs, currencies, comparisons and marks between digits
stay), number words as digits.

Limits: Han and kana characters are a word each.
"""

from __future__ import annotations

import re
from functools import lru_cache

from gapbench.scoring.clean import fold
from gapbench.scoring.phrases import word_list, word_set

SMALL_NUMBERS = {word: max(n, 10 * n - 180) for n, word in enumerate(word_list("below_hundred"))}  # the 21st is thirty
"""Numbers below a hundred that are a single word."""
_TENS = {word: value for word, value in SMALL_NUMBERS.items() if value >= 20}

ARTICLES, VERBS = word_set("articles"), word_set("verbs")
_ACRONYM = re.compile(r"(?<!\w)(?:[^\W\d_]\. ?){2,20}")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SIGN = r"[<>=≤≥≠±+#$€£¥₩₹¢]"
_HAN = r"\u3040-\u30ff\u3400-\u9fff"  # no spaces between words, so each character is one
_APART = re.compile(r"(?<=[<>≤≥$€£¥]) (?=-?\d)|(?<=\d) (?=%)")
TOKEN = re.compile(
    rf"(?:(?<!\w){_SIGN}{{1,2}})?(?:(?<!\w)-?\d+(?:[.:/]\d+){{1,8}}(?!\w)|(?<!\w)-\d+(?!\w)|[{_HAN}]|[^\W{_HAN}]+)"
    rf"(?:[+#%€£$¥¢]|-(?!\w)){{0,2}}"
    rf"|{_SIGN}{{1,3}}|(?<=\d )-(?= \d)"
)
_ENDING = re.compile(r"(?<=[a-z]{2})(?:i?es|(?<=[^su])s|y|ing|ed|e)\Z")


def words(text: str) -> list[str]:
    """The normalised words of a text, with its articles; the A of "point A" or "A is closer" stays a capital."""
    text = fold(text).replace("'", "")
    text = _ACRONYM.sub(lambda acronym: re.sub("[. ]", "", acronym[0]) + " ", _APART.sub("", _THOUSANDS.sub("", text)))
    found, capitals = TOKEN.findall(text), text.isupper()
    tokens: list[str] = []
    after_tens = 0
    for word, following in zip(found, [*found[1:], ""], strict=False):
        token = word.casefold()
        value = SMALL_NUMBERS.get(token)
        if value is not None and after_tens and 0 < value < 10:
            tokens[-1] = str(after_tens + value)
        elif word == "A" and (tokens or following in VERBS) and not capitals:
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


def stem(word: str) -> str:
    """A word without its ending, so that "labels", "labelled" and "labelling" are the same word."""
    bare = _ENDING.sub("", word)
    return bare[:-1] if bare[-1:] == bare[-2:-1] else bare


@lru_cache(maxsize=64)
def stems(text: str) -> frozenset[str]:
    """The stems of the words of a text."""
    return frozenset(map(stem, words(text)))
