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
    bare = text.replace("\\\\", "")
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
