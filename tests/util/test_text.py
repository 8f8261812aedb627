"""Numbers keep their sign and never show NaN; cut text ends in an ellipsis."""

from __future__ import annotations

import math

import pytest

from gapbench.util import text


@pytest.mark.parametrize(
    ("formatted", "expected"),
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
        (text.shorten("abc", 3), "abc"),
        (text.quoted({"a": "b" * 9}, 9), '\'{"a": "b…\''),
        (text.quoted("é", 8), "'é'"),
        (text.listed("abc"), "a, b, c"),
        (text.listed("abcde", 2, "; "), "a; b and 3 more"),
        (text.listed([]), ""),
        (text.first_line(ValueError("one\ntwo")), "one"),
        (text.first_line(ValueError()), "ValueError"),
        (text.error_line(ValueError("\n one\ntwo")), "ValueError: one"),
        (text.error_line(ValueError()), "ValueError: no message"),
        (text.percent_in_words(0.41523), "41.5%"),
        (text.percent_in_words(-0.0001), "0.0%"),
        (text.percent_in_words(None), "-"),
        (text.points_in_words(-0.00001), "0.0"),
        (text.points_in_words(-0.0001), "-0.01"),
        (text.points_in_words(-0.315), "-31.5"),
    ],
)
def test_formats(formatted: str, expected: str) -> None:
    assert formatted == expected


def test_printable_text_shows_what_would_hide() -> None:
    assert text.printable("a\x00b\x1bc\r\nd\u202ee\ud800f") == "a␀b␛c\nd\ufffde\ufffdf"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("https://user:token@host/a.png", "https://…@host/a.png"),
        ("https:/token@host/a", "https:/…@host/a"),  # as `Path` writes it
        ("for url 'http://me:p@ss@mirror:81/api/x'", "for url 'http://…@mirror:81/api/x'"),
        ("https://h/a.png?id=7&token=abc", "https://h/a.png?id=7&token=…"),
        ("https://h/a?X-Amz-Credential=AK%2F1&X-Amz-Signature=0f&v=2", "https://h/a?X-Amz-Credential=…&X-Amz-Signature=…&v=2"),
        ("https://h/a?sv=2024&sig=ab%3D and more", "https://h/a?sv=2024&sig=… and more"),
        ("no path '/x?access_token=abc'", "no path '/x?access_token=…'"),
        ("https://h/#access_token=abc", "https://h/#access_token=…"),
        ("https://h/a?x=0123456789abcdef", "https://h/a?x=…"),  # long enough for a secret
        ("https://h/a?image=12345&page=2", "https://h/a?image=12345&page=2"),
        ("mail me@host, C:/users/a@b, see https://h/@me", "mail me@host, C:/users/a@b, see https://h/@me"),
        ("-b mine.csv:question=Frage,bbox=x+y --token", "-b mine.csv:question=Frage,bbox=x+y --token"),
    ],
)  # fmt: skip
def test_addresses_lose_their_credentials_and_nothing_else(found: str, expected: str) -> None:
    assert text.redacted(found) == expected


def test_an_error_of_a_library_is_quoted_without_credentials() -> None:
    assert text.error_line(OSError("for url https://me:token@host/")) == "OSError: for url https://…@host/"


def test_counts_have_the_number_of_their_noun() -> None:
    assert [text.counted(n, "sample") for n in (0, 1, 2, 1234)] == [
        "0 samples",
        "1 sample",
        "2 samples",
        "1,234 samples",
    ]


def test_points_in_sentences_can_have_a_sign() -> None:
    assert [text.signed_in_words(value) for value in (0.421, -0.05, 0.0, 0.0004)] == ["+42.1", "-5.0", "0.0", "+0.04"]
