r"""From a model's answer to plain text: markup and typography undone.

    clean("**Answer:** \\boxed{\\text{B}}")    # "Answer: [B]", [ ] being OPEN, CLOSE

OPEN and CLOSE mark what was inside `\boxed{}` or `<answer>`, because the model marks its answer that way. The time of
every pattern is linear in the length of the text, so a runaway answer costs milliseconds.

Limits: LaTeX other than boxes, fonts and plain fractions stays as it is. A non-ASCII text of more than 20,000
characters keeps its full-width letters, since some characters unfold to eighteen.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

LONGEST_FOLDED = 20_000
OPEN, CLOSE = "\ue000", "\ue001"

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff\ue000\ue001]"
)
_VULGAR = [chr(code) for code in (*range(0xBC, 0xBF), *range(0x2150, 0x215F))]
# Unicode would fold 10² to 102 and 1½ to 11/2.
_BEFORE_FOLDING = str.maketrans(
    {c: "^" + unicodedata.normalize("NFKC", c) for c in "⁰¹²³⁴⁵⁶⁷⁸⁹"}
    | {c: " " + unicodedata.normalize("NFKC", c) for c in _VULGAR}
)
_AFTER_FOLDING = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2032": "'"}  # quotes and the prime
    | {"【": "[", "】": "]", "\u3014": "[", "\u3015": "]", "「": '"', "」": '"', "『": '"', "』": '"'}
    | {"\u2212": "-", "\u2044": "/"}  # minus sign, fraction slash
)

_ROLE = re.compile(r"\A\s*(?:assistant|model|bot|gpt)\s?:\s*", re.I)
_OPENING = re.compile(r"<(?:final_)?answer>|\[(?:final[ _])?answer\](?=\s*\S)|<conclusion>|<\|begin_of_box\|>", re.I)
_CLOSING = re.compile(r"</(?:final_)?answer>|\[/(?:final[ _])?answer\]|</conclusion>|<\|end_of_box\|>", re.I)
_COORDINATES = re.compile(
    r"<(?:box|quad|point)>[^<>A-Za-z]{0,400}</(?:box|quad|point)>|<\|(?:box|quad|point)_start\|>[^<>A-Za-z]{0,400}"
    r"<\|(?:box|quad|point)_end\|>|<points?\s[^<>]{0,4000}>|</points?>|</?ref>"
)
_STRUCK = re.compile(r"~~[^~\n]{1,400}~~|<(?:del|strike)>[^<>]{1,400}</(?:del|strike)>")
_TICKED, _CROSSED = re.compile(r"[✅✓✔☑]|(?<![\w\])])\[[xX]\](?= )"), re.compile(r"[❌✗✘☐]|\[ \]")
_DEGREES = re.compile(r" ?\^ ?(?:\\circ|\{ ?\\circ ?\})")
_TAG = re.compile(r"<\|[^|<>]{1,40}\|>|</?(?:s|b|i|u|p|br|em|strong|code|span|div|eos|bos|end_of_turn)\s?/?>")
_FRACTION = re.compile(r"\\[dt]?frac ?\{(\d{1,20})\} ?\{(\d{1,20})\}")
_FONT = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt)?|math(?:rm|bf|sf|it|tt|bb)?|operatorname|mbox|rm|bf) ?\{([^{}]*)\}")
_BOX = re.compile(r"\\(?:boxed|fbox) ?\{([^{}]*)(?:\}|\Z)")
_SPACING = re.compile(r"\\(?:[()\[\],;! ]|(?:quad|left|right|displaystyle)(?![A-Za-z]))")
_ESCAPED = re.compile(r"\\([%$#&_{}])")
_MATHS = re.compile(rf"\${{1,2}}(?=[A-Za-z\\({OPEN}])([^$\n]{{1,200}})\${{1,2}}|\$(\d[^$\n]{{0,30}})\$(?!\d)")
_EMPHASISED_LETTER = re.compile(r"(?<![A-Za-z0-9*_`])(\*{1,3}|_{1,2}|`{1,3})\(?([A-Za-z])\)?[.:]?\1(?![A-Za-z0-9*_`])")
_EMPHASIS = re.compile(r"\*{1,3}(?!\d)|(?<!\d)\*{1,3}|(?<![A-Za-z0-9])__|__(?![A-Za-z0-9])|`|~~")
_TABLE_RULE = re.compile(r"\|?[\s|:-]*-{3}[\s|:-]*")
_LINE_MARK = re.compile(r"^(?:#{1,6} |> ?(?=[A-Za-z*(])|[-•·] )")


def fold(text: str) -> str:
    """The text in Unicode NFKC (full-width letters become plain letters), with plain quotes and brackets, without
    invisible characters."""
    if not text.isascii():
        form: Literal["NFKC", "NFC"] = "NFKC" if len(text) <= LONGEST_FOLDED else "NFC"
        text = unicodedata.normalize(form, _stream_safe(text.translate(_BEFORE_FOLDING)))
        text = text.translate(_AFTER_FOLDING)
    return _INVISIBLE.sub("", text)


def clean(text: str) -> str:
    """Plain text of one answer: single spaces, no empty lines, OPEN and CLOSE around what the model boxed or tagged.

    An emphasised single letter becomes a bracketed letter, as both mark the letter as an answer.
    """
    text = _ROLE.sub("", fold(text))
    bare = text.strip()  # returned if nothing else is left: an answer may be a mark-up character such as an asterisk
    text = _TAG.sub(" ", _COORDINATES.sub(" ", _CLOSING.sub(CLOSE, _OPENING.sub(OPEN, text))))
    text = _STRUCK.sub(" ", text)
    if _TICKED.search(text) and _CROSSED.search(text):  # "❌ A" beside "✅ B"
        text = "\n".join(line for line in text.splitlines() if not _CROSSED.search(line))
    text = _TICKED.sub(" ", text)
    text = _MATHS.sub(lambda maths: maths[1] or maths[2], text)
    if "\\" in text:
        text = _DEGREES.sub("°", text)
        text = _FRACTION.sub(r" \1/\2", text)
        for _ in range(3):  # nesting such as \boxed{\text{\textbf{B}}} goes no deeper in practice
            text = _FONT.sub(r"\1", text)
        text = _BOX.sub(lambda box: OPEN + box[1] + CLOSE, text)
        text = _ESCAPED.sub(r"\1", _SPACING.sub(" ", text))
    text = _EMPHASIS.sub("", _EMPHASISED_LETTER.sub(r"(\2)", text))
    lines = (_LINE_MARK.sub("", _cells(" ".join(line.split()))) for line in text.splitlines())
    return "\n".join(line for line in lines if line) or bare


def _cells(line: str) -> str:
    """A row of a table as "heading: cell", its rule as nothing; another line as it is."""
    if len(line) < 3 or line[0] != "|":
        return line
    return "" if _TABLE_RULE.fullmatch(line) else line.strip("| ").replace(" | ", ": ")


def plain(text: str) -> str:
    """Cleaned text without the marks OPEN and CLOSE."""
    return text.replace(OPEN, "").replace(CLOSE, "").strip()


def _stream_safe(text: str, longest: int = 30) -> str:
    """At most `longest` combining marks in a row, as sorting them is quadratic (Unicode Annex 15, section 13)."""
    marks = "".join(char for char in set(text) if unicodedata.combining(unicodedata.normalize("NFKD", char)[0]))
    return re.sub(f"([{marks}]{{{longest}}})[{marks}]+", r"\1", text) if marks else text
