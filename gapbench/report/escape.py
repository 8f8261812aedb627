"""Escape untrusted text for Markdown and for JSON inside HTML. Jinja's autoescape does the same for HTML.

markdown_text("a|b <i>")         'a\\|b &lt;i&gt;'
"""

from __future__ import annotations

import json
import re
from typing import Any

from gapbench.util.text import MISSING, printable

_MARKUP = re.compile(r"([\\`*\[\]|#~]|(?<![^\W_])_|_(?![^\W_])|/(?=/)|(?<=www)\.)", re.IGNORECASE)
_MENTION = re.compile(r"(?<![\w.+-])([\w.+-]*@[\w@.+/-]*\w)")


def json_block(value: Any) -> str:
    """JSON that is safe between `<script type="application/json">` and `</script>`, whatever it holds.

    It is ASCII without `<`, `>` and `&`, so `</script>`, `<!--` and U+2028 cannot appear in it.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def markdown_text(value: object) -> str:
    """Untrusted text as one Markdown line or table cell, without markup, HTML, mathematics, links or line breaks.

    A word with an @ becomes a code span: GitHub links mentions and mail addresses even behind a backslash.
    """
    pieces = _MENTION.split(" ".join(printable(value).split()))
    return "".join(f"`{piece}`" if n % 2 else _escaped(piece) for n, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    text = _MARKUP.sub(r"\\\1", text)  # before the entities, which hold a #
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("$", "&#36;")


def markdown_code(value: object) -> str:
    """Untrusted text as a code span that is also safe in a table cell. A line break becomes U+23CE.

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
    """Untrusted text, possibly of several lines, as a fenced code block."""
    text = printable(value)
    fence = "`" * max(3, _longest_backticks(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def _longest_backticks(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
