"""Numbers keep their sign and never show NaN; untrusted text cannot become markup."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapbench.report import text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.percent(0.6125), "61.3%"),
        (text.percent(None), "\u2013"),
        (text.percent(math.nan), "\u2013"),
        (text.points(0.213), "+21.3"),
        (text.points(-0.05), "\u22125.0"),
        (text.points(-0.0001), "0.0"),
        (text.interval((0.15, 0.27)), "[15.0, 27.0]"),
        (text.interval((-0.02, 0.27), signed=True), "[\u22122.0, +27.0]"),
        (text.interval(None), ""),
        (text.interval((None, 0.3)), ""),
        (text.p_value(0.0), "< 0.0001"),
        (text.p_value(0.0021), "0.0021"),
        (text.p_value(0.5), "0.500"),
        (text.number(12345), "12,345"),
        (text.size((1600, 1000)), "1,600 \u00d7 1,000"),
        (text.clip("abcdef", 4), "abc…"),
    ],
)
def test_formats(shown: str, expected: str) -> None:
    assert shown == expected


def test_printable_text_shows_what_would_hide() -> None:
    assert text.printable("a\x00b\x1bc\r\nd\u202ee\ud800f") == "a␀b␛c\nd\ufffde\ufffdf"


@given(st.text())
def test_json_block_survives_the_html_parser_and_reads_back(value: str) -> None:
    block = text.json_block({"text": value})
    assert not set("<>&\u2028\u2029") & set(block)
    assert block.isascii()
    assert json.loads(block) == {"text": value}


@given(st.text(alphabet="a1 |`<>&$*_[]~#\\\n\r\t"))
def test_markdown_text_leaves_no_markup(value: str) -> None:
    shown = text.markdown_text(value)
    assert not set("<>$\n") & set(shown)
    bare = shown.replace("\\\\", "")
    for special in "|`*[]~#":
        assert bare.count(special) == bare.count(f"\\{special}")


@pytest.mark.parametrize("value", ["plain", "a`b", "``", "a|b", "```js", "two\nlines", "`edge`"])
def test_markdown_code_is_one_span_in_one_table_cell(value: str) -> None:
    span = text.markdown_code(value)
    fence = span[: len(span) - len(span.lstrip("`"))]
    assert span.endswith(fence)
    assert fence not in span[len(fence) : -len(fence)]
    assert "\n" not in span
    assert span.count("|") == span.count("\\|")


def test_markdown_fence_is_longer_than_any_run_inside() -> None:
    assert text.markdown_fence("a ```` b").splitlines()[0] == "`````text"
