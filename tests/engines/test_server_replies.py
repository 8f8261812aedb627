"""What real servers reply (`server_replies`, each with its source) becomes the answer or the fault that it should."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from engines.server_replies import OTHER, REPLIES, TOO_LONG, Reply
from gapbench.engines.context import TooLong, context_length, read_refusal
from gapbench.engines.server.responses import Fault, read
from gapbench.types import Answer


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.server)
def test_a_reply_is_read_as_it_should_be(reply: Reply) -> None:
    answer = read(reply.status, {"content-type": "application/json"}, reply.bytes)
    if reply.text is None:
        assert isinstance(answer, Fault)
        assert reply.said in answer.message
        assert answer.too_long == reply.too_long
    else:
        assert isinstance(answer, Answer)
        assert (answer.text, answer.thought, answer.cut_off) == (reply.text, reply.thought, reply.cut_off)


def test_every_reply_names_its_source() -> None:
    kinds = {reply.source.split(":")[0].split(" (")[0] for reply in REPLIES}
    assert kinds == {"documented", "from source", "reported", "run"}


@pytest.mark.parametrize(("text", "numbers"), TOO_LONG.items())
def test_a_refusal_of_a_long_prompt_is_known_by_its_words_and_gives_its_numbers(
    text: str, numbers: tuple[int | None, int | None]
) -> None:
    assert read_refusal(text) == TooLong(*numbers)


@pytest.mark.parametrize("text", OTHER)
def test_another_refusal_is_none(text: str) -> None:
    assert read_refusal(text) is None


def test_too_many_tokens_at_a_time_is_a_matter_of_waiting() -> None:
    fault = read(429, {}, json.dumps({"error": {"message": "maximum context length exceeded per minute"}}).encode())
    assert isinstance(fault, Fault)
    assert fault.too_long is None


@pytest.mark.parametrize(
    ("entry", "length"),
    [
        ({"id": "m", "max_model_len": 1024}, 1024),  # vLLM, SGLang
        ({"id": "m", "meta": {"n_ctx_train": 4096, "n_params": 7_000_000_000}}, 4096),  # llama.cpp
        ({"id": "m", "context_length": 8192, "top_provider": {"context_length": 4096}}, 8192),  # OpenRouter
        ({"id": "m", "max_model_len": None, "meta": []}, None),
        ({"id": "m"}, None),  # Ollama, LiteLLM, transformers serve
    ],
)
def test_a_server_may_say_how_long_a_prompt_may_be(entry: dict[str, object], length: int | None) -> None:
    assert context_length(entry) == length


@pytest.mark.parametrize(
    ("logprobs", "confidence"),
    [
        ({"content": [{"token": "a", "logprob": 0.0}, {"token": "b", "logprob": math.log(0.25)}]}, 0.25),
        ({"content": []}, None),
        ({"content": [{"token": "a", "logprob": None}]}, None),
        ({"content": "no list"}, None),
        (None, None),
    ],
)
def test_the_confidence_is_the_smallest_probability_of_a_token(logprobs: Any, confidence: float | None) -> None:
    choice = {"message": {"content": "ab"}, "finish_reason": "stop", "logprobs": logprobs}
    answer = read(200, {}, json.dumps({"choices": [choice]}).encode())
    assert isinstance(answer, Answer)
    assert answer.confidence == (None if confidence is None else pytest.approx(confidence))
