"""Hostile text through every path that prints: none of it reaches the terminal raw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from engines.stub_server import HttpRequest, Response, Stub
from helpers import HOSTILE, raw, write_benchmark

from gapbench import selfcheck
from gapbench.cli import app
from gapbench.commands.check import Findings
from gapbench.data import catalogue, hub
from gapbench.data.benchmark import Benchmark
from gapbench.distillation.job import Job
from gapbench.engines.loading import Choice
from gapbench.engines.vllm import serving
from gapbench.errors import BenchmarkError
from gapbench.selfcheck.checks import Check
from gapbench.types import Card
from gapbench.util.progress import progress
from gapbench.util.terminal import say


def card(text: str) -> Card:
    return Card(text, title=text, source=text, licence=text, restricted=text, notice=text, traps=(text,), hub=text)


def run(error: Exception, code: int = 2) -> None:
    """The command line with a command that fails in this way."""

    def application(**_: object) -> None:
        raise error

    assert app.run(application) == code  # type: ignore[arg-type]


def debug(text: str, patch: pytest.MonkeyPatch) -> None:
    """The traceback, with the text of an error below the one that is raised."""
    patch.setattr(sys, "argv", ["gapbench", "--debug"])
    error = BenchmarkError("above")
    error.__cause__ = OSError(text)
    run(error, code=1)


class Usage(Exception):
    """A complaint as click's parser raises it."""

    def format_message(self) -> str:
        return str(self)


def show_progress(text: str) -> None:
    with progress(2, 0, text, quiet=False, about=lambda: text) as advance:
        advance(text)


def show_bar(text: str, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys.stderr, "isatty", lambda: True)
    patch.setenv("TERM", "dumb")  # rich writes no sequences of its own
    show_progress(text)


def show_card(text: str, patch: pytest.MonkeyPatch) -> None:
    own = Benchmark("mine", card(text), lambda: iter(()))
    patch.setattr(catalogue, "load", lambda name: own)
    app.show_benchmark("mine")


def list_cards(text: str, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(catalogue, "names", lambda: ["mine"])
    patch.setattr(catalogue, "load", lambda name: Benchmark("mine", card(text), lambda: iter(())))
    app.list_benchmarks(markdown=False)
    app.list_benchmarks(markdown=True)


def download(text: str, patch: pytest.MonkeyPatch) -> None:
    listed = SimpleNamespace(
        sha="0" * 40, card_data=None, siblings=[SimpleNamespace(rfilename="a\x1b[2Jb", size=2 * hub.LARGE)]
    )
    patch.setattr("huggingface_hub.HfApi.repo_info", lambda *_, **__: listed)
    patch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    hub._announce(card(text))


def wait_for_vllm(text: str, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(serving, "NOTICE_SECONDS", -1)
    ends = iter([None, 1])
    process: Any = SimpleNamespace(poll=lambda: next(ends), returncode=1)
    with open(os.devnull, "rb") as log:
        try:
            serving._wait(text, process, "http://127.0.0.1:9", log)
        except Exception as error:
            run(error)


def check_first(text: str, patch: pytest.MonkeyPatch) -> None:
    failed = Check("order", "failed", text, text, text, stops=False)
    patch.setattr(selfcheck, "selfcheck", lambda engine: selfcheck.Selfcheck((failed,), 1.0))
    result = selfcheck.check_first(SimpleNamespace(info={"model": text}), quiet=False)
    say(result.checks[0].found, sys.stdout)


def finish(text: str) -> None:
    found = SimpleNamespace(summary={"verdict": text, "alerts": []}, report=Path("/x") / "report.html")
    app._print_distilled(SimpleNamespace(model_path=Path("model"), comparison=found))


def findings(text: str) -> None:
    say(Findings({f"category {text}": 1}, {text: 2}, (text,)).text(), sys.stdout)


PATHS: dict[str, Callable[..., None]] = {
    "error": lambda text: run(BenchmarkError(text)),
    "OSError": lambda text: run(OSError(2, text, text)),
    "debug": debug,
    "usage": lambda text: run(Usage(text)),
    "unexpected": lambda text: run(RuntimeError(text)),
    "progress": show_progress,
    "bar": show_bar,
    "card": show_card,
    "list": list_cards,
    "download": download,
    "vllm": wait_for_vllm,
    "selfcheck": check_first,
    "verdict": finish,
    "check": findings,
    "engine": lambda text: Choice("vllm", SimpleNamespace(), text).announce(quiet=False),  # type: ignore[arg-type]
    "training": lambda text: Job("m", None, Path(), quiet=False).say(text),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_hostile_text_reaches_the_terminal(
    kind: str, path: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    function = PATHS[path]
    text = f"before {HOSTILE[kind]} after"
    function(*(text, monkeypatch)[: function.__code__.co_argcount])
    out, err = capfd.readouterr()
    assert "before" in out + err
    assert raw(out + err, longest=4_500) == []  # a progress line shows its text twice


def test_what_a_server_says_reaches_the_terminal_clean(tmp_path: Path) -> None:
    """Its models' names come in a warning, a redirection and the message in the error that ends the run."""
    everything = "".join(text for kind, text in HOSTILE.items() if kind not in ("half a pair", "long"))
    listed = {"data": [{"id": f"{everything}{n}"} for n in range(3)]}

    def reply(request: HttpRequest, number: int) -> Response:
        body = json.dumps({"error": {"message": everything}}).encode()
        return Response(302, body, {"Location": "http://h/\x1b[2J\x1b]0;owned\x07" + "x" * 20_000})

    with Stub(reply, models=Response(body=json.dumps(listed).encode())) as stub:
        done = subprocess.run(
            [sys.executable, "-m", "gapbench", "measure", "stub", "-b", write_benchmark(tmp_path / "data"), "--engine",
             "server", "--base-url", stub.url, "--no-selfcheck", "--out", tmp_path / "run"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "lists no model stub" in done.stderr
    assert "HTTP 302" in done.stderr
    assert raw(done.stdout + done.stderr) == []
    assert len(done.stderr) < 8_000


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_is_not_utf8_ends_no_command(encoding: str, tmp_path: Path) -> None:
    row = {"image": "图.png", "question": "Was?", "answer": "≥ 3", "category": "图片"}
    (tmp_path / "data.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    for arguments, code in ((["check", "data.jsonl"], 1), (["show", "mme_realworld_cn"], 0), (["--help"], 0)):
        done = subprocess.run(
            [sys.executable, "-m", "gapbench", "benchmarks", *arguments], capture_output=True, check=False, timeout=120,
            cwd=tmp_path, env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert (done.returncode, b"Unicode" in done.stderr) == (code, False), done.stderr


def test_the_recorded_command_has_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://me:hunter2@host/data.jsonl?token=hunter2"
    monkeypatch.setattr(sys, "argv", ["gapbench", "measure", "glance", "-b", url])
    assert app._command() == "gapbench measure glance -b 'https://…@host/data.jsonl?token=…'"
