"""Numbers and untrusted text, made ready for HTML, JSON inside HTML, and Markdown.

    percent(0.6125)                  '61.3%'
    points(0.213)                    '+21.3'
    markdown_text("a|b <i>")         'a\\|b &lt;i&gt;'

Proportions are 0..1 throughout; None and NaN become an en dash. HTML escaping itself is left to Jinja's autoescape.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

MISSING = "\u2013"
MINUS = "\u2212"

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")
_INVISIBLE = re.compile(r"[\x7f-\x9f\ud800-\udfff\ufffe\uffff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_EMPHASIS = re.compile(r"([\\`*\[\]|#~]|(?<!\w)_|_(?!\w))")


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
    text = printable(value)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "\u2026"


def number(value: float | None, digits: int = 0) -> str:
    """A plain number with thousands separators and a true minus sign."""
    if missing(value):
        return MISSING
    assert value is not None
    return f"{value:,.{digits}f}".replace("-", MINUS)


def percent(value: float | None, digits: int = 1) -> str:
    """A proportion 0..1 as a percentage."""
    return MISSING if missing(value) else number(100 * value, digits) + "%"  # type: ignore[operator]


def points(value: float | None, digits: int = 1) -> str:
    """A difference of proportions as signed percentage points."""
    if missing(value):
        return MISSING
    assert value is not None
    rounded = round(100 * value, digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    return ("+" if rounded > 0 else "") + number(rounded, digits)


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


def json_block(value: Any) -> str:
    """JSON that may stand between `<script type="application/json">` and `</script>`, whatever it holds.

    ASCII only, and without `<`, `>` and `&`, so that neither `</script>`, `<!--` nor U+2028 can appear in it.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def markdown_text(value: object) -> str:
    """Untrusted text for one Markdown line or table cell: no markup, HTML, mathematics or line break survives."""
    text = " ".join(printable(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("$", "&#36;")
    return _EMPHASIS.sub(r"\\\1", text)


def markdown_code(value: object) -> str:
    """Untrusted text as a code span that is safe in a table cell too, a line break shown as U+23CE.

    The fence is longer than any run of backticks inside; see CommonMark 0.31, section 6.1.
    """
    lines = (" ".join(line.split()) for line in printable(value).strip().split("\n"))
    text = " \u23ce ".join(lines).replace("|", "\\|")
    if not text:
        return MISSING
    fence = "`" * (_longest_backticks(text) + 1)
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def markdown_fence(value: object) -> str:
    """Untrusted text of several lines as a fenced code block."""
    text = printable(value)
    fence = "`" * max(3, _longest_backticks(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def _longest_backticks(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
