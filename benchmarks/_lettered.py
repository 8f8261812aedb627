"""Options that a data set letters within a text, and the letter that an answer stands for.

    split("What is it made of?\n(A) wool\n(B) tin\nAnswer directly.")
    # ("What is it made of?", ("wool", "tin"), "Answer directly.")

Limits: only what is lettered in order from A, one option a line, is understood; everything else is left as it is.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gapbench.errors import BenchmarkError

_LABELLED = re.compile(r"\(?([A-Z])[).:]\s*(.*)")
_INLINE = re.compile(r"(?:(?<=\s)|\A)\(?([A-Z])[).:]\s")
_LETTER = re.compile(r"\(?([A-Za-z])[).:]{0,2}")


def split(text: str) -> tuple[str, tuple[str, ...], str]:
    """What stands before lettered lines, the options' texts without their letters, and what stands after.

    Without at least two lettered lines in a row, the whole text, no options and nothing after.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for start in range(len(lines)):
        options = _in_order(lines[start:])
        if len(options) > 1:
            end = start + len(options)
            return "\n".join(lines[:start]), options, "\n".join(lines[end:])
    return text.strip(), (), ""


def texts(value: Any, where: str) -> tuple[str, ...]:
    """The options in a field that holds nothing else: a list, a mapping from letters, or text that letters them.

    Raises BenchmarkError naming the row for anything else.
    """
    if isinstance(value, Mapping) and [str(k).upper() for k in value] == list(string.ascii_uppercase[: len(value)]):
        value = list(value.values())
    if isinstance(value, list | tuple) and len(value) > 1:
        items = [str(item).strip() for item in value]
        labelled = _in_order(items)
        return labelled if len(labelled) == len(items) else tuple(items)
    if isinstance(value, str):
        before, options, after = split(value)
        if options and not before and not after:
            return options
        options = _inline(value.strip())
        if options:
            return options
    raise BenchmarkError(
        f"{where}: its options are {str(value)[:200]!r}; expected a list, or lettered texts such as '(A) red (B) blue'."
    )


def letter_of(answer: Any, options: Sequence[str], where: str) -> str:
    """The letter of an accepted answer that is written as "B", "(B)", "B. tin" or "tin".

    Raises BenchmarkError naming the row if it is none of the options (A to K where their texts are not known).
    """
    text = str(answer).strip()
    letters = string.ascii_uppercase[: len(options) or 11]
    bare, labelled = _LETTER.fullmatch(text), _LABELLED.fullmatch(text)
    same = [letter for letter, option in zip(letters, options, strict=False) if option.casefold() == text.casefold()]
    for found in ([bare[1].upper()] if bare else [], same, [labelled[1]] if labelled else []):
        if len(found) == 1 and found[0] in letters:
            return found[0]
    raise BenchmarkError(
        f"{where}: its answer is {text[:80]!r}; expected a letter from A to {letters[-1]}"
        f"{' or one of ' + ', '.join(map(repr, options)) if options else ''}."
    )


def answered(answer: Any, options: Sequence[str]) -> bool:
    """Whether the answer is one of the options. If not, they were cut out wrongly: leave the text as it is."""
    try:
        letter_of(answer, options, "")
    except BenchmarkError:
        return False
    return True


def _in_order(lines: Iterable[str]) -> tuple[str, ...]:
    """The texts of the lines that are lettered A, B, C ... from the first one on."""
    found: list[str] = []
    for line, letter in zip(lines, string.ascii_uppercase, strict=False):
        label = _LABELLED.fullmatch(line)
        if label is None or label[1] != letter or not label[2].strip():
            break
        found.append(label[2].strip())
    return tuple(found)


def _inline(text: str) -> tuple[str, ...]:
    """The texts between labels A, B, C ... of a text that begins with one; empty if there are no two."""
    labels: list[re.Match[str]] = []
    for label in _INLINE.finditer(text):
        if len(labels) < 26 and label[1] == string.ascii_uppercase[len(labels)]:
            labels.append(label)
    if len(labels) < 2 or labels[0].start() > 0:
        return ()
    ends = [label.start() for label in labels[1:]] + [len(text)]
    found = tuple(text[label.end() : end].strip(" ,;\n\t") for label, end in zip(labels, ends, strict=True))
    return found if all(found) else ()
