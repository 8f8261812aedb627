"""What a window shows, as facts of one object, and when two windows say the same.

    agree({"colour": "red", "letter": "H"}, {"colour": "Red", "letter": "H"}, ("colour", "letter"))     # True
    may_be({"name": "mug"}, {"name": "mug", "attribute": "red"}, ("name", "attribute"))                 # True

Facts are compared attribute by attribute, by their words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

Facts = Mapping[str, str]
"""Attribute -> value, such as {"name": "mug", "attribute": "red", "text": "MUM"}."""
IGNORED = frozenset(("a", "an", "the", "of", "with", "on", "in"))


def all_words(text: str) -> tuple[str, ...]:
    """The words, in lower case."""
    return tuple(re.findall(r"\w+", text.casefold()))


def words(text: str) -> tuple[str, ...]:
    """The words that count, in lower case."""
    found = all_words(text)
    return tuple(word for word in found if word not in IGNORED) or found


def alike(a: str, b: str) -> bool:
    """Whether two values have the same words, or one has all words of the other."""
    first, second = set(words(a)), set(words(b))
    return bool(first and second) and (first <= second or second <= first)


def agree(a: Facts, b: Facts, names: Iterable[str]) -> bool:
    """Whether both have these attributes and they are alike; an attribute that neither has does not count."""
    return all(alike(a.get(name, ""), b.get(name, "")) for name in names if a.get(name) or b.get(name))


def may_be(a: Facts, b: Facts, names: Iterable[str]) -> bool:
    """Whether what has the facts `b` may be meant by a description of `a` by these attributes."""
    return all(not a.get(name) or not b.get(name) or alike(a[name], b[name]) for name in names)
