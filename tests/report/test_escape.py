"""Untrusted text cannot become markup."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapbench.report import escape


@given(st.text())
def test_json_block_survives_the_html_parser_and_reads_back(value: str) -> None:
    block = escape.json_block({"text": value})
    assert not set("<>&\u2028\u2029") & set(block)
    assert block.isascii()
    assert json.loads(block) == {"text": value}


@given(st.text(alphabet="a1 |`<>&$*_[]~#\\\n\r\t"))
def test_markdown_text_leaves_no_markup(value: str) -> None:
    text = escape.markdown_text(value)
    assert not set("<>$\n") & set(text)
    bare = text.replace("\\\\", "").replace("&#36;", "")
    for special in "|`*[]~#":
        assert bare.count(special) == bare.count(f"\\{special}")


@pytest.mark.parametrize("value", ["plain", "a`b", "``", "a|b", "```js", "two\nlines", "`edge`"])
def test_markdown_code_is_one_span_in_one_table_cell(value: str) -> None:
    span = escape.markdown_code(value)
    fence = span[: len(span) - len(span.lstrip("`"))]
    assert span.endswith(fence)
    assert fence not in span[len(fence) : -len(fence)]
    assert "\n" not in span
    assert span.count("|") == span.count("\\|")


def test_markdown_fence_is_longer_than_any_run_inside() -> None:
    assert escape.markdown_fence("a ```` b").splitlines()[0] == "`````text"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("__init__", r"\_\_init\_\_"),
        ("a__b__c _d_ snake_case", r"a\_\_b\_\_c \_d\_ snake_case"),
        ("see https://evil.example/a_b or www.evil.example", r"see https:\//evil.example/a_b or www\.evil.example"),
        ("HTTP://A WWW.B ftp://c", r"HTTP:\//A WWW\.B ftp:\//c"),
        ("ask @octocat, (@org/team) or me@evil.example.", "ask `@octocat`, (`@org/team`) or `me@evil.example`."),
        ("mailto:a@b.c @a@b `@d`", r"mailto:`a@b.c` `@a@b` \``@d`\`"),
        ("core@1 of me/model@main, 3 @ 4", "`core@1` of me/`model@main`, 3 @ 4"),
        ("//x.com file:///y", r"\//x.com file:\/\//y"),
        ("12:30, C:/data, $5 & <b>", "12:30, C:/data, &#36;5 &amp; &lt;b&gt;"),
    ],
)
def test_markdown_text_has_no_links_and_no_mentions(value: str, text: str) -> None:
    """Looked at with cmark-gfm (cmarkgfm 2025.10.22) and markdown-it-py 4.3.0 with linkify: all of it stays text."""
    assert escape.markdown_text(value) == text
