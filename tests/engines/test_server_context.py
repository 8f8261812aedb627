"""Prompts that are longer than the context of a server's model: failed with the numbers, and never graded."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

from engines.loads import server
from engines.stub_server import HttpRequest, Response, Stub, chat, error
from gapbench.types import Answer, Request

PROMPT, CONTEXT = 50, 60
"""Tokens of every prompt, and of the context, where a stub counts."""


def requests(count: int, text: str = "question") -> list[Request]:
    return [Request(f"{text} {i}", (), f"{text} {i}") for i in range(count)]


def refuse_long(request: HttpRequest, number: int) -> Response:
    said = "The input (1954 tokens) is longer than the model's context length (1024 tokens)."
    return error(400, said) if "long" in request.prompt else chat("fine")


def listing(**model: Any) -> Response:
    return Response(body=json.dumps({"data": [{"id": "stub", **model}]}).encode())


def ask(stub: Stub, **settings: Any) -> Answer:
    ((_, answer),) = server.load("stub", base_urls=[stub.url], **settings).generate(requests(1))
    return answer


def test_a_prompt_that_a_server_refuses_as_too_long_fails_with_both_numbers_and_a_remedy() -> None:
    with Stub(refuse_long) as stub:
        engine = server.load("stub", base_urls=[stub.url])
        answers = dict(engine.generate([*requests(1), *requests(1, "long")]))

    failed = answers["long 0"]
    assert answers["question 0"].text == "fine"
    assert (failed.text, failed.too_long) == ("", True)
    assert "the prompt has 1,954 tokens, the model was made for 1,024; lower --max-pixels" in failed.error
    assert "longer than the model's context length" in failed.error, "the server's own words"
    assert engine.trouble["faults"] == {"prompt too long": 1}
    assert len(stub.requests) == 2, "it is not tried again"


def test_any_number_of_them_ends_no_run_and_if_all_are_too_long_that_is_said() -> None:
    with Stub(refuse_long) as stub:
        engine = server.load("stub", base_urls=[stub.url], concurrency=1)
        with pytest.warns(UserWarning, match=r"every prompt is too long\. .*1,954 tokens") as said:
            answers = dict(engine.generate([*requests(40, "long"), *requests(1)]))
        with warnings.catch_warnings(action="error"):  # it has answered: it is the samples
            list(engine.generate(requests(40, "long")))

    assert [warning.category for warning in said].count(UserWarning) == 1
    assert [answer.too_long for answer in answers.values()] == [True] * 40 + [False]


@pytest.mark.parametrize(
    ("spare", "said"),
    [
        (0, "This model's maximum context length is {context} tokens. However, you requested {total} tokens ({prompt} "
            "in the messages, {new} in the completion)."),
        (1, "Requested token count exceeds the model's maximum context length of {context} tokens. You requested a "
            "total of {total} tokens: {prompt} tokens from the input messages and {new} tokens for the completion."),
    ],
    ids=["vLLM", "SGLang"],
)  # fmt: skip
def test_where_only_the_new_tokens_do_not_fit_it_is_asked_for_as_many_as_do(spare: int, said: str) -> None:
    """The engines in this process also stop at the end of the context. SGLang keeps one token free."""

    def reply(request: HttpRequest, number: int) -> Response:
        new = request.json["max_tokens"]
        if PROMPT + new > CONTEXT - spare:
            return error(400, said.format(context=CONTEXT, total=PROMPT + new, prompt=PROMPT, new=new))
        return chat(f"{new} tokens", "length")

    with Stub(reply) as stub:
        answer = ask(stub, max_new_tokens=128)

    assert (answer.text, answer.cut_off, answer.error) == (f"{10 - spare} tokens", True, "")


def test_more_new_tokens_than_the_whole_context_are_no_long_prompt() -> None:
    """vLLM refuses them before it counts the prompt, and cuts fewer by itself."""

    def reply(request: HttpRequest, number: int) -> Response:
        new = request.json["max_tokens"]
        said = f"max_tokens={new} cannot be greater than max_model_len={CONTEXT}. Please request fewer output tokens."
        return error(400, said) if new > CONTEXT else chat("fine")

    with Stub(reply) as stub:
        assert ask(stub, max_new_tokens=500).text == "fine"


@pytest.mark.parametrize(("length", "too_long"), [(7, True), (8, False), (None, False)])
def test_an_answer_to_a_prompt_that_fills_the_declared_context_is_not_graded(
    length: int | None, too_long: bool
) -> None:
    """A server may cut the prompt without a word; the stub counts 7 tokens in every prompt."""
    with Stub(models=listing(max_model_len=length)) as stub:
        answer = ask(stub)

    assert answer.too_long == too_long
    assert answer.text == ("" if too_long else "echo: question 0")
    assert ("7 tokens, the model was made for 7" in answer.error) == too_long
