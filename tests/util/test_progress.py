"""Progress: plain lines in a log, a bar on a terminal, nothing when quiet."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import time

import pytest

from gapbench.util.progress import progress


def test_quiet_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with progress(3, 0, "glance", quiet=True) as advance:
        advance("")
    assert capfd.readouterr() == ("", "")


def test_a_log_ends_with_what_was_done_and_what_failed(capfd: pytest.CaptureFixture[str]) -> None:
    with progress(10, 4, "glance", quiet=False) as advance:
        for error in ("", "out of memory", ""):
            advance(error)
    out, printed = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"glance: 7/10 answers, [\d.]+/s, 0:00:0\d left, 1 failed\n", printed)


def test_tokens_and_what_a_larger_job_would_take_are_said(capfd: pytest.CaptureFixture[str]) -> None:
    texts = iter(["", "9 samples: about 3 min at this rate"])
    calls = []

    def about() -> str:
        calls.append(next(texts, "9 samples: about 4 min at this rate"))
        return calls[-1]

    with progress(10, 0, "glance", quiet=False, about=about) as advance:
        advance("", 12)
        advance("too long", 0)
        time.sleep(0.01)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == len(calls) == 1
    assert re.fullmatch(r"glance: 2/10 answers, [\d.]+/s, [\d,]+ tokens/s, \S+ left, 1 failed", lines[0])
    with progress(10, 0, "glance", quiet=False, about=about) as advance:
        advance("", 12)
    assert capfd.readouterr().err.endswith("left (9 samples: about 3 min at this rate)\n")


def test_what_has_no_tokens_says_nothing_of_them(capfd: pytest.CaptureFixture[str]) -> None:
    with progress(10, 0, "glance", quiet=False) as advance:
        advance("", 0)
    assert "tokens" not in capfd.readouterr().err


def test_quiet_does_not_ask_what_to_say(capfd: pytest.CaptureFixture[str]) -> None:
    with progress(10, 0, "glance", quiet=True, about=lambda: 1 // 0) as advance:  # type: ignore[arg-type, return-value]
        advance("", 5)
    assert capfd.readouterr() == ("", "")


def test_lines_come_at_most_every_few_seconds(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 4))  # four seconds an answer
    monkeypatch.setattr("gapbench.util.progress.time.monotonic", lambda: float(next(clock)))
    with progress(100, 0, "glance", quiet=False) as advance:
        for _ in range(9):
            advance("")
    printed = capfd.readouterr().err.splitlines()
    assert [line.split(" ")[1] for line in printed] == ["3/100", "6/100", "9/100", "9/100"]
    assert printed[0] == "glance: 3/100 answers, 0.2/s, 0:06:28 left"  # 97 answers at four seconds


def test_an_interrupted_run_says_how_far_it_came(capfd: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        with progress(10, 0, "glance", quiet=False) as advance:
            advance("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "1/10 answers" in capfd.readouterr().err


def test_nothing_to_do_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with progress(10, 10, "glance", quiet=False):
        pass
    assert capfd.readouterr().err == ""


def test_on_a_terminal_there_is_one_bar() -> None:
    pty = pytest.importorskip("pty")
    del pty
    code = """
        import os, pty, sys, textwrap
        inner = '''
        from gapbench.util.progress import progress
        with progress(5, 2, "glance", quiet=False, about=lambda: "all of it: 2 min") as advance:
            advance("", 40)
            advance("broken")
        '''
        os.environ.update(TERM="xterm", COLUMNS="160")
        pty.spawn([sys.executable, "-c", textwrap.dedent(inner)])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL)
    assert re.search(r"glance.*4/5.*tokens/s 1 failed.*all of it: 2 min", done.stdout)
