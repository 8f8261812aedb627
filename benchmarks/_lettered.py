"""Finds lettered options in a text, and the letter of the option that an answer names.

    split_options("What is it made of?\n(A) wool\n(B) tin\nAnswer directly.")
    # ("What is it made of?", ("wool", "tin"), "Answer directly.")

Limits: options must be lettered in order from A, one per line; any other text stays as it is.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gapbench.data import BenchmarkError

_LABELLED = re.compile(r"\(?([A-Z])[).:]\s*(.*)")
_INLINE = re.compile(r"(?:(?<=\s)|\A)\(?([A-Z])[).:]\s")
_LETTER = re.compile(r"\(?([A-Za-z])[).:]{0,2}")


def split_options(text: str) -> tuple[str, tuple[str, ...], str]:
    """The text before the lettered lines, the options without their letters, and the text after.

    If there are no two consecutive lettered lines, the entire text comes first and the rest is empty.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for start in range(len(lines)):
        options = _in_order(lines[start:])
        if len(options) > 1:
            end = start + len(options)
            return "\n".join(lines[:start]), options, "\n".join(lines[end:])
    return text.strip(), (), ""


def option_texts(value: Any, where: str) -> tuple[str, ...]:
    """The options in a field of options: a list, a mapping from letters, or a text with lettered options.

    Raises BenchmarkError naming the row for any other value.
    """
    if isinstance(value, Mapping) and [str(k).upper() for k in value] == list(string.ascii_uppercase[: len(value)]):
        value = list(value.values())
    if isinstance(value, list | tuple) and len(value) > 1:
        items = [str(item).strip() for item in value]
        labelled = _in_order(items)
        return labelled if len(labelled) == len(items) else tuple(items)
    if isinstance(value, str):
        before, options, after = split_options(value)
        if options and not before and not after:
            return options
        options = _inline(value.strip())
        if options:
            return options
    raise BenchmarkError(
        f"{where}: its options are {str(value)[:200]!r}; expected a list, or lettered texts such as '(A) red (B) blue'."
    )


def letter_of(answer: Any, options: Sequence[str], where: str) -> str:
    """The letter of the option that `answer` names, written as "B", "(B)", "B. tin" or "tin".

    Without `options`, the letters A to K are accepted. Raises BenchmarkError naming the row for any other answer.
    """
    text = str(answer).strip()
    letters = string.ascii_uppercase[: len(options) or 11]
    bare, labelled = _LETTER.fullmatch(text), _LABELLED.fullmatch(text)
    same = [letter for letter, option in zip(letters, options, strict=False) if option.casefold() == text.casefold()]
    for matches in ([bare[1].upper()] if bare else [], same, [labelled[1]] if labelled else []):
        if len(matches) == 1 and matches[0] in letters:
            return matches[0]
    raise BenchmarkError(
        f"{where}: its answer is {text[:80]!r}; expected a letter from A to {letters[-1]}"
        f"{' or one of ' + ', '.join(map(repr, options)) if options else ''}."
    )


def is_option(answer: Any, options: Sequence[str]) -> bool:
    """Whether the answer names one of the options. If not, the options were split wrongly: keep the text as it is."""
    try:
        letter_of(answer, options, "")
    except BenchmarkError:
        return False
    return True


def _in_order(lines: Iterable[str]) -> tuple[str, ...]:
    """The texts of the leading lines that are lettered A, B, C ... in order."""
    options: list[str] = []
    for line, letter in zip(lines, string.ascii_uppercase, strict=False):
        label = _LABELLED.fullmatch(line)
        if label is None or label[1] != letter or not label[2].strip():
            break
        options.append(label[2].strip())
    return tuple(options)


def _inline(text: str) -> tuple[str, ...]:
    """The texts after the labels A, B, C ... of a text that begins with a label; empty if it has fewer than two."""
    labels: list[re.Match[str]] = []
    for label in _INLINE.finditer(text):
        if len(labels) < 26 and label[1] == string.ascii_uppercase[len(labels)]:
            labels.append(label)
    if len(labels) < 2 or labels[0].start() > 0:
        return ()
    ends = [label.start() for label in labels[1:]] + [len(text)]
    options = tuple(text[label.end() : end].strip(" ,;\n\t") for label, end in zip(labels, ends, strict=True))
    return options if all(options) else ()
