"""Text for readers: shortened strings, lists, percentages and points, in one form everywhere.

    percent(0.6125)                  # '61.3%', for tables; None and NaN become an en dash
    percent_in_words(0.6125)         # '61.2%', for sentences and terminals
    points(0.213)                    # '+21.3'
    counted(1, "sample")             # '1 sample'
    listed(["a", "b", "c", "d"])     # 'a, b, c and 1 more'
    error_line(error)                # 'RuntimeError: ' and the first line of its message

Proportions are in 0..1. Nothing here escapes HTML or Markdown; see `gapbench.report.escape`.
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

EVIDENCE_CAPTIONS = {"model": "Regions made by a model"}
"""Captions of tables by kind of evidence (`gapbench.types.Record`). Annotated evidence needs none."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")
_JOINERS = re.compile(r"[\u200c\u200d]")
_INVISIBLE = re.compile(
    r"[\x7f-\x9f\xad\u034f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\ufffe\uffff\U000e0000-\U000e0fff]"
)
_USER = re.compile(r"(?<=[a-z0-9+.-]{2}:/)(/?)[^\s/?#<>]*@", re.IGNORECASE)
_SECRET = re.compile(
    r"([?&;#][^\s=&?;]{0,60}(?:tok|key|sig|secret|passw|pwd|auth|cred|session|jwt|policy)[^\s=&?;]{0,60}="
    r"|[?&][^\s=&?;]+=(?=[^\s&;]{16}))[^\s&;'\"<>)\]}]+",
    re.IGNORECASE,
)


def missing(value: object) -> bool:
    """Whether a value is None or NaN. In a numeric column of a data frame, None becomes NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def printable(value: object) -> str:
    """Text in which no character is invisible, reorders its neighbours or breaks an XML parser.

    Control characters become the visible symbols of the U+2400 block. Lone surrogates, non-characters, tags, and what
    has no width or changes the direction become U+FFFD. Joiners, which scripts and emoji need, are left out. Newlines
    and tabs stay.
    """
    text = ("" if missing(value) else str(value)).replace("\r\n", "\n").replace("\r", "\n")
    text = _JOINERS.sub("", text)
    text = _CONTROL.sub(lambda match: chr(0x2400 + ord(match.group())), text)
    return _INVISIBLE.sub("\ufffd", text)


def redacted(text: str) -> str:
    """`text` in which addresses have no user, password, token or signature: each becomes an ellipsis.

    In a query, a value counts as secret by its name (`sig`, `X-Amz-Credential`) or by its length of 16 or more.
    """
    return _SECRET.sub(rf"\1{ELLIPSIS}", _USER.sub(rf"\1{ELLIPSIS}@", text))


def clip(value: object, limit: int) -> str:
    """Printable text of at most `limit` characters; a cut ends in an ellipsis."""
    return shorten(printable(value), limit)


def shorten(text: str, limit: int = 200) -> str:
    """Text of at most `limit` characters; a cut ends in an ellipsis, which counts."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + ELLIPSIS


def quoted(value: Any, limit: int = 160) -> str:
    """A value in quotes, shortened to `limit` characters. Values other than text are written as JSON."""
    return repr(shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), limit))


def in_words(value: Any, limit: int = 160) -> str:
    """A setting's value for a sentence: `not set`, `yes`, `min_side 3, factor 2`, or text in quotes."""
    match value:
        case None | "":
            return "not set"
        case bool():
            return "yes" if value else "no"
        case dict():
            return shorten(", ".join(f"{key} {in_words(inner)}" for key, inner in value.items()) or "not set", limit)
        case list() | tuple():
            return shorten(", ".join(map(str, value)) or "not set", limit)
        case str():
            return repr(shorten(value, limit))
    return str(value)


def listed(texts: Iterable[str], most: int = 3, separator: str = ", ") -> str:
    """The first `most` texts, and the number of the others."""
    items = list(texts)
    more = len(items) - most
    return separator.join(items[:most]) + (f" and {more} more" if more > 0 else "")


def capital(text: str) -> str:
    """A text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def p_in_words(value: float) -> str:
    """A p-value behind the letter p: `p = 0.012`, `p < 0.0001`."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def counted(count: int, noun: str) -> str:
    """`1 sample`, `1,234 samples`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells as columns of equal width, two spaces apart: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = (
        [
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    )
    return "\n".join("  ".join(row).rstrip() for row in rows)


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of an error's message without credentials, or its type if the message is empty."""
    return shorten(redacted(next(iter(str(error).strip().splitlines()), "")) or type(error).__name__, limit)


def error_line(error: BaseException, limit: int = 200) -> str:
    """An error's type and the first line of its message."""
    return f"{type(error).__name__}: {first_line(error, limit) if str(error).strip() else 'no message'}"


def number(value: float | None, digits: int = 0) -> str:
    """A number with thousands separators and a typographic minus sign."""
    return MISSING if missing(value) else f"{value:,.{digits}f}".replace("-", MINUS)


def percent(value: float | None, digits: int = 1) -> str:
    """A proportion as a percentage, for tables."""
    return MISSING if missing(value) else number(100 * value, digits) + "%"  # type: ignore[operator]


def percent_in_words(value: float | None) -> str:
    """A proportion as a percentage with tenths, for sentences and terminals; None becomes a hyphen."""
    return "-" if value is None else f"{round(100 * value, 1) + 0.0:.1f}%"


def points(value: float | None, digits: int = 1) -> str:
    """A difference of proportions as signed percentage points, for tables."""
    if value is None or math.isnan(value):
        return MISSING
    rounded = round(100 * value, digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    return ("+" if rounded > 0 else "") + number(rounded, digits)


def points_in_words(value: float) -> str:
    """A difference of proportions in percentage points with tenths, for sentences; positive numbers have no sign.

    What tenths would show as zero has hundredths, so that a limit beside zero does not look like one at zero.
    """
    digits = 1 if abs(value) >= 0.0005 or abs(value) < 0.00005 else 2
    return f"{round(100 * value, digits) + 0.0:.{digits}f}"


def signed_in_words(value: float) -> str:
    """`points_in_words` with the sign of a positive number."""
    text = points_in_words(value)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"


def interval(bounds: Sequence[float | None] | None, digits: int = 1, *, signed: bool = False) -> str:
    """Two proportions as `[lo, hi]`, in percent or, if `signed`, in points; empty without an interval."""
    if bounds is None or len(bounds) != 2 or any(missing(bound) for bound in bounds):
        return ""
    ends = (points(b, digits) if signed else number(100 * b, digits) for b in bounds)  # type: ignore[operator]
    return "[" + ", ".join(ends) + "]"


def p_value(value: float | None) -> str:
    """A p-value with three or four decimals; below 0.0001 it is `< 0.0001`, never zero."""
    if value is None or math.isnan(value):
        return MISSING
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.01 else f"{value:.3f}"


def size(value: Sequence[float] | None) -> str:
    """A (width, height) in pixels as text."""
    return MISSING if value is None or len(value) != 2 else f"{value[0]:,.0f} \u00d7 {value[1]:,.0f}"


def area_percent(area: float) -> str:
    """A fraction of the image as a percentage with two significant digits and no exponent."""
    return f"{float(f'{100 * area:.2g}'):.8f}".rstrip("0").rstrip(".") + "%"
