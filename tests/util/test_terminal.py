"""Whatever is printed is clean: by gapbench, and by the libraries below it once `guard_terminal` was called."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest
from helpers import HOSTILE, SECRET, raw

from gapbench.util import terminal
from gapbench.util.terminal import clean, complain, guard_terminal, say


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    make_record, show = logging.getLogRecordFactory(), warnings.showwarning
    guard_terminal()
    yield
    logging.setLogRecordFactory(make_record)
    warnings.showwarning = show


def warn_of_ours(text: str) -> None:
    warnings.showwarning(UserWarning(text), UserWarning, terminal.__file__, 1)


def warn_of_theirs(text: str) -> None:
    warnings.showwarning(UserWarning(text), UserWarning, "/site-packages/library.py", 1)


def log(text: str) -> None:
    logging.getLogger("library").warning("it said %s", text)


@pytest.mark.parametrize("printing", [say, complain, warn_of_ours, warn_of_theirs, log])
@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_hostile_is_printed(
    kind: str, printing: Callable[[str], None], guarded: None, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    printing(f"before {HOSTILE[kind]} after")
    out, err = capfd.readouterr()
    printed = out + (caplog.text if printing is log else err)
    assert "before" in printed
    assert raw(printed) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Zeile 1\n\tZeile 2: ≥ 3 größer, 图片, กา", "Zeile 1\n\tZeile 2: ≥ 3 größer, 图片, กา"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\U0001f4bb"),  # a joined emoji
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\ here", "click here"),
        ("\x1b]0;no end", "␛]0;no end"),
    ],
)
def test_text_to_read_stays_and_sequences_go(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_a_warning_is_one_line_and_cannot_add_another(guarded: None, capfd: pytest.CaptureFixture[str]) -> None:
    warn_of_ours("the model is x\ngapbench: all is well\r\nok")
    assert capfd.readouterr().err == "gapbench: warning: the model is x gapbench: all is well ok\n"


def test_hostile_text_is_cleaned_in_linear_time() -> None:
    for text in ("\x9d" * 200_000, "\x1b]" * 200_000, "?" + "token" * 40_000, "ab:/" * 50_000, "?a=" * 50_000):
        clean(text)  # minutes, if each beginning looked for its end


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_lacks_a_character_shows_another(encoding: str) -> None:
    code = (
        "from gapbench.util.terminal import guard_terminal, say; import sys; guard_terminal();"
        "say('2 \u2265 1 \u56fe', sys.stdout); say('2 \u2265 1 \u56fe'); print('\u2265 of a library')"
    )
    environment = {"PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"2 ? 1 ?\n? of a library\n", b"2 ? 1 ?\n")


def test_a_long_url_is_redacted_before_it_is_clipped() -> None:
    text = "x" * (terminal.LINE - 40) + f" https://{SECRET}:{SECRET}@host/"
    assert SECRET[:6] not in clean(text)
