"""Text for people: shortened strings, lists, percents and points, written the same way everywhere.

    percent(0.6125)                  '61.3%'      in tables; None and NaN become an en dash
    percent_in_words(0.6125)         '61 %'       in sentences and on terminals
    points(0.213)                    '+21.3'
    listed(["a", "b", "c", "d"])     'a, b, c and 1 more'
    error_line(error)                'RuntimeError: the first line of what it says'

Proportions are 0..1 throughout. Nothing here escapes for HTML or Markdown: see `gapbench.report.escape`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

MISSING = "\u2013"
MINUS = "\u2212"
ELLIPSIS = "\u2026"

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")
_INVISIBLE = re.compile(r"[\x7f-\x9f\ud800-\udfff\ufffe\uffff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def missing(value: object) -> bool:
    """True for None and NaN, which is what None becomes in a data frame's numeric column."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def printable(value: object) -> str:
    """Text in which no character can vanish, reorder its neighbours or break an XML parser.

    Control characters become their visible pictures (U+2400 block), lone surrogates, bidirectional overrides and
    non-characters become U+FFFD. Newlines and tabs stay.
    """
    text = ("" if missing(value) else str(value)).replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROL.sub(lambda match: chr(0x2400 + ord(match.group())), text)
    return _INVISIBLE.sub("\ufffd", text)


def clip(value: object, limit: int) -> str:
    """Printable text of at most `limit` characters, ending in an ellipsis where it was cut."""
    return shorten(printable(value), limit)


def shorten(text: str, limit: int = 200) -> str:
    """The text, or its first characters and an ellipsis: at most `limit` characters in all."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + ELLIPSIS


def quoted(value: Any, limit: int = 160) -> str:
    """A value in quotes, shortened: text as it is, anything else as JSON."""
    return repr(shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), limit))


def listed(texts: Iterable[str], most: int = 3, separator: str = ", ") -> str:
    """The first texts, and how many more there are."""
    every = list(texts)
    more = len(every) - most
    return separator.join(every[:most]) + (f" and {more} more" if more > 0 else "")


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of what an error says, or its type where it says nothing; some add pages."""
    return shorten(next(iter(str(error).strip().splitlines()), "") or type(error).__name__, limit)


def error_line(error: BaseException, limit: int = 200) -> str:
    """An error's type and the first line of what it says."""
    return f"{type(error).__name__}: {first_line(error, limit) if str(error).strip() else 'no message'}"


def number(value: float | None, digits: int = 0) -> str:
    """A plain number with thousands separators and a true minus sign."""
    if missing(value):
        return MISSING
    assert value is not None
    return f"{value:,.{digits}f}".replace("-", MINUS)


def percent(value: float | None, digits: int = 1) -> str:
    """A proportion as a percentage, for tables."""
    return MISSING if missing(value) else number(100 * value, digits) + "%"  # type: ignore[operator]


def percent_in_words(value: float | None, digits: int = 0) -> str:
    """A proportion as a percentage, for sentences and terminals; a hyphen where there is none."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def points(value: float | None, digits: int = 1) -> str:
    """A difference of proportions as signed percentage points, for tables."""
    if missing(value):
        return MISSING
    assert value is not None
    rounded = round(100 * value, digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    return ("+" if rounded > 0 else "") + number(rounded, digits)


def points_in_words(value: float, digits: int) -> str:
    """A difference of proportions in percentage points, for sentences; only a minus is written."""
    return f"{round(100 * value, digits) + 0.0:.{digits}f}"


def interval(bounds: Sequence[float | None] | None, digits: int = 1, *, signed: bool = False) -> str:
    """Two proportions as `[lo, hi]` in percent or points; empty when there is no interval."""
    if bounds is None or len(bounds) != 2 or any(missing(bound) for bound in bounds):
        return ""
    shown = (points(b, digits) if signed else number(100 * b, digits) for b in bounds)  # type: ignore[operator]
    return "[" + ", ".join(shown) + "]"


def p_value(value: float | None) -> str:
    """A p-value to three or four decimals, never printed as zero."""
    if missing(value):
        return MISSING
    assert value is not None
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.01 else f"{value:.3f}"


def size(value: Sequence[float] | None) -> str:
    """(width, height) in pixels."""
    return MISSING if value is None or len(value) != 2 else f"{value[0]:,.0f} \u00d7 {value[1]:,.0f}"
