"""A model that thinks, measured through a server: longer answers by default, the same ones when the run goes on."""

from __future__ import annotations

import hashlib
import io
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from engines.stub_server import HttpRequest, Response, Stub, chat
from helpers import write_benchmark
from PIL import Image

import gapbench
from gapbench.engines.options import ANSWER_TOKENS, THINKING_TOKENS

pytestmark = pytest.mark.filterwarnings("ignore:.*lists no model")
THOUGHT = "The answer is B? Wait, no."


def thinks(request: HttpRequest, _number: int) -> Response:
    """A thought, and an answer that depends on question and images."""
    drawn = hashlib.sha256(str(request.json["messages"]).encode()).digest()[0]
    return chat(f"<think>{THOUGHT}</think>\n\n{('A', 'C', 'yes', 'no')[drawn % 4]}")


def measure(stub: Stub, mine: Path, out: Path, **changes: Any) -> gapbench.Run:
    return gapbench.measure("stub", [str(mine)], out=out, engine="server", base_urls=[stub.url], **changes)


def longest(stub: Stub) -> list[int]:
    return [request.json["max_tokens"] for request in stub.requests]


def test_a_model_that_thinks_may_answer_at_length_in_every_session(tmp_path: Path) -> None:
    mine, out = write_benchmark(tmp_path / "data"), tmp_path / "run"
    with Stub(thinks) as stub:
        first = measure(stub, mine, out, limit=4)
        assert longest(stub)[0] == ANSWER_TOKENS, "nothing was known of it yet"
        assert set(longest(stub)[-8:]) == {THINKING_TOKENS}
        assert first.manifest["generation"]["max_new_tokens"] == THINKING_TOKENS
        assert first.manifest["selfcheck"]["checks"]["thinking is off"]["outcome"] == "failed"

        stub.requests.clear()
        second = measure(stub, mine, out, limit=8, selfcheck=False)
        assert longest(stub) == [THINKING_TOKENS] * 8

    frame = second.frame()
    assert len(frame) == 16
    assert set(frame["thought"]) == {THOUGHT}
    assert not frame["output"].str.contains("think|B", regex=True).any()
    assert {view["thought"] for view in second.summary["benchmarks"]["mine"]["views"].values()} == {1.0}


def test_what_the_user_says_is_kept(tmp_path: Path) -> None:
    mine = write_benchmark(tmp_path / "data")
    with Stub(thinks) as stub:
        run = measure(stub, mine, tmp_path / "run", limit=2, max_new_tokens=64)
        assert set(longest(stub)) == {64}
    assert run.manifest["generation"]["max_new_tokens"] == 64


def is_full(request: HttpRequest) -> bool:
    return Image.open(io.BytesIO(b64decode(request.urls[0].partition(",")[2]))).size == (140, 100)


@pytest.mark.parametrize(
    ("full", "said"),
    [
        (chat("", "length", reasoning_content="It seems"), "no gap measured: 100.0% of the full"),
        (chat("<think>Is it yes or A?", "length"), "100.0% of the full and 0.0% of the crop answers are cut off"),
        (chat("It seems to be", "MAX_TOKENS"), "100.0% of the full and 0.0% of the crop answers are cut off"),
        (chat("half of", "SAFETY"), "no gap measured: 100.0% of the full and 0.0% of the crop requests failed"),
        (Response(400, b'{"error": {"message": "This model\'s maximum context length is 1024 tokens. However, your '
                       b'prompt contains 3500 input tokens."}}'), "prompts are longer than the model's context"),
    ],
    ids=["blank beside reasoning", "thought cut off", "cut off", "filtered", "too long"],
)  # fmt: skip
def test_a_fault_of_the_full_image_alone_is_never_a_plain_gap(full: Response, said: str, tmp_path: Path) -> None:
    mine = write_benchmark(tmp_path / "data", questions=24)

    def reply(request: HttpRequest, _number: int) -> Response:
        return full if is_full(request) else chat("yes" if "small patch " in request.prompt else "red")

    with Stub(reply) as stub:
        run = measure(stub, mine, tmp_path / "run", selfcheck=False)
    verdict = run.summary["verdict"]
    assert verdict.startswith("no gap")
    assert said in verdict
    assert said.removeprefix("no gap measured: ") in (run.path / "report.md").read_text().replace("\\", "")
