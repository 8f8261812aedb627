"""A run folder with records as rules left them, and a judge: the stub server, answering by a rule that a test gives."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from engines.stub_server import HttpRequest, Response, chat

from gapbench.judging import Judge
from gapbench.judging.prompt import PLAIN, prompt
from gapbench.runs.manifest import make_manifest, write_manifest
from gapbench.runs.records import Writer
from gapbench.types import Record

UNREAD = Record(
    benchmark="signs", sample="0", view="full", repeat=0, outcome="unparsed", score=0.0, output="Perhaps green.",
    parsed=None, rule="no-letter", reason="no letter of an option in the answer", question="Which colour is the sign?",
    options=("red", "green"), answers=("B",), answer_type="letter", category="", cluster="", image_hash="ab" * 12,
    image_size=(96, 96), boxes=((1.0, 2.0, 3.5, 4.0),), evidence="annotated", evidence_area=0.01,
    region_policy="padded", region=(0.0, 0.0, 16.0, 16.0), region_area=0.03, images=1, sent_size=(96, 96),
    sent_pixels=9216, image_tokens=9, prompt_tokens=40, output_tokens=2, seconds=0.25,
)  # fmt: skip
READ = {"outcome": "right", "score": 1.0, "rule": "letter-bare", "reason": "", "parsed": "B", "output": "B"}

Rule = Callable[[str], Any]
PLAIN_PROMPTS = {prompt(row): verdict for row, verdict in PLAIN}


def answer_in(text: str) -> str:
    """What a judge's prompt quotes as the answer."""
    found = re.search(r"\] ANSWER TO CHECK\n(.*)\n\[\w{32}\] END OF ANSWER TO CHECK\n", text, re.DOTALL)
    assert found
    return found[1]


def judging(rule: Rule) -> Callable[[HttpRequest, int], Response]:
    """A stub's reply: the plain questions as they should be, and else what `rule` says of the answer: a verdict, the
    raw text after `raw:`, or a Response."""

    def reply(request: HttpRequest, number: int) -> Response:
        verdict = PLAIN_PROMPTS.get(request.prompt) or rule(answer_in(request.prompt))
        if isinstance(verdict, Response):
            return verdict
        return chat(verdict.removeprefix("raw:") if verdict.startswith("raw:") else json.dumps({"verdict": verdict}))

    return reply


def by_word(answer: str) -> str:
    return "yes" if "green" in answer else "cannot tell" if "perhaps" in answer.lower() else "no"


def judge_at(url: str, **changes: Any) -> Judge:
    return Judge(**{"url": url, "model": "stub", "timeout": 2.0, "tries": 2, "backoff": 0.01, **changes})


def answers(requests: Sequence[HttpRequest]) -> list[str]:
    """The answers in a judge's requests, without the test questions."""
    return [answer_in(request.prompt) for request in requests if request.prompt not in PLAIN_PROMPTS]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """make_run("Perhaps green.", {"output": "B", ...}) -> a run with one record per output or change, in both views."""

    def make(*given: str | dict[str, Any], name: str = "run", **manifest: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        write_records(folder, given)
        entry = {"region": "padded", "prompt": "?", "samples": len(given), "fingerprint": "0" * 32, "parameters": {}}
        run = {"model": "m", "tasks": {"signs": {**entry, "views": {"full": {}, "crop": {}}}}, "sessions": []}
        write_manifest(folder / "run.json", make_manifest({**run, **manifest}))
        return folder

    return make


def write_records(folder: Path, given: Sequence[str | dict[str, Any]]) -> None:
    with Writer(folder) as writer:
        for number, one in enumerate(given):
            changes = {"output": one} if isinstance(one, str) else one
            for view in ("full", "crop"):
                writer.write(dataclasses.replace(UNREAD, **{"sample": str(number), "view": view, **changes}))
