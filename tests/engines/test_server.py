"""The server engine against a stub on loopback: what is asked, what is understood, what is recorded, how it stops."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from engines.loads import server
from engines.stub_server import HttpRequest, Response, Stub, chat, error
from gapbench.engines.server import pipeline
from gapbench.errors import ModelError, SettingError
from gapbench.types import Answer, Request


def requests(count: int) -> list[Request]:
    return [Request(i, (), f"question {i}") for i in range(count)]


def ask(stub: Stub | list[str], count: int = 1, **settings: Any) -> dict[Any, Answer]:
    urls = [stub.url] if isinstance(stub, Stub) else stub
    return dict(server.load("stub", base_urls=urls, backoff=0.02, **settings).generate(requests(count)))


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("gapbench")]


def test_every_question_gets_its_own_answer() -> None:
    with Stub(delay=0.01) as stub:
        answers = ask(stub, 200)

    assert {k: a.text for k, a in answers.items()} == {i: f"echo: question {i}" for i in range(200)}
    assert len(stub.requests) == 200
    assert not threads()


def test_greedy_neutral_and_without_thinking_is_what_is_asked_for() -> None:
    with Stub() as stub:
        ask(stub, max_new_tokens=9, seed=3)

    body = stub.requests[0].json
    assert body.pop("messages") == [{"role": "user", "content": "question 0"}]
    assert body == {
        "model": "stub", "stream": False, "temperature": 0.0, "max_tokens": 9, "seed": 3, "repetition_penalty": 1.0,
        "skip_special_tokens": False,
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False, "thinking_mode": "disabled"},
    }  # fmt: skip


def test_sampling_leaves_no_filter_to_the_servers_defaults() -> None:
    with Stub() as stub:
        ask(stub, temperature=0.7, extra={"presence_penalty": 0})

    body = stub.requests[0].json
    assert (body["temperature"], body["top_p"], body["top_k"], body["presence_penalty"]) == (0.7, 1.0, -1, 0)


def test_repeats_are_sampled_apart_and_again_the_same_when_asked_again() -> None:
    repeats = [Request(("sample", "full", repeat), (), "?") for repeat in range(5)]
    with Stub() as stub:
        for _ in range(2):
            list(server.load("stub", base_urls=[stub.url], temperature=0.7, concurrency=1).generate(repeats))

    seeds = [request.json["seed"] for request in stub.requests]
    assert len(set(seeds)) == 5
    assert sorted(seeds[:5]) == sorted(seeds[5:])


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_a_base_url_may_end_as_users_write_it(ending: str) -> None:
    with Stub() as stub:
        assert ask([stub.root + ending])[0].text == "echo: question 0"


def test_a_path_with_another_version_is_left_alone() -> None:
    from gapbench.engines.server.endpoints import base_url

    assert base_url("https://example.org/v1beta/openai/") == "https://example.org/v1beta/openai"
    assert base_url("https://example.org/prefix") == "https://example.org/prefix/v1"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", "http://x:port/v1", "http://x:99999"])
def test_what_is_no_url_is_said_to_be_none(url: str) -> None:
    with pytest.raises(SettingError, match="--base-url"):
        server.load("stub", base_urls=[url])


@pytest.mark.parametrize(
    "url", ["http://user:planted-password@127.0.0.1/v1", "http://127.0.0.1/v1?key=planted-password"]
)
def test_a_url_with_a_secret_in_it_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingError) as caught:
        server.load("stub", base_urls=[url])

    assert "planted" not in str(caught.value)
    assert "--api-key-env" in str(caught.value)


def test_info_says_what_was_asked_and_what_the_server_says_of_itself() -> None:
    with Stub() as stub:
        info = server.load("stub", base_urls=[stub.url], concurrency=4).info
        url = stub.url

    assert info["engine"] == "server"
    assert info["base_urls"] == [url]
    assert info["concurrency"] == 4
    models = [{"id": "stub", "root": "stub", "context_length": 4096}]
    assert info["servers"] == [{"url": url, "models": models, "version": "1.2.3"}]
    assert "server_defaults" not in info


def test_a_server_that_lists_nothing_is_taken_as_it_is() -> None:
    with Stub(models=error(500, "no cache folder")) as stub:
        engine = server.load("stub", base_urls=[stub.url])
        assert "models" not in engine.info["servers"][0]
        assert dict(engine.generate(requests(1)))[0].text == "echo: question 0"


def listing(*models: dict[str, Any]) -> Response:
    return Response(body=json.dumps({"data": models}).encode())


def warned(*models: Response) -> list[str]:
    """What is said while servers are looked at that list these."""
    with ExitStack() as stack, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        urls = [stack.enter_context(Stub(models=listed)).url for listed in models]
        server.load("stub", base_urls=urls)
    return [str(one.message) for one in caught]


def test_a_server_that_lists_other_models_is_doubted() -> None:
    (said,) = warned(listing({"id": "other"}, {"id": "third"}), listing({"id": "stub"}))
    assert said.endswith("lists no model stub, but other, third. Check --base-url and the model's name.")
    assert not warned(listing({"id": "other"}, {"id": "stub"}))
    assert not warned(listing()), "says nothing"
    assert not warned(listing(*({"id": f"model {i}"} for i in range(300)))), "not all of them were looked at"


def test_two_models_under_one_name_are_doubted() -> None:
    (said,) = warned(listing({"id": "stub", "root": "org/large"}), listing({"id": "stub", "root": "org/small"}))
    assert "org/large (http://127.0.0.1" in said
    assert "org/small (http://127.0.0.1" in said
    assert not warned(listing({"id": "stub", "root": "org/large"}), listing({"id": "stub", "root": "org/large"}))
    assert not warned(listing({"id": "stub", "root": "org/large"}), listing({"id": "stub"}))


def test_one_server_of_several_that_is_not_there_is_said() -> None:
    with Stub() as gone:
        pass
    with Stub() as stub, pytest.warns(UserWarning, match=rf"not reached so far: {gone.url} .*The other servers"):
        server.load("stub", base_urls=[stub.url, gone.url])


def test_no_server_at_the_url_is_said_before_anything_is_asked() -> None:
    with Stub() as stub:
        url = stub.url
    with pytest.raises(ModelError, match=r"No server was reached: http://127.0.0.1.*Start it"):
        server.load("stub", base_urls=[url])


@pytest.mark.parametrize(
    ("named", "settings"),
    [("chat_template_kwargs", {}), ("seed", {}), ("repetition_penalty", {}), ("top_k", {"temperature": 1.0})],
)
def test_a_field_that_a_server_refuses_by_name_is_left_out_and_recorded(named: str, settings: dict[str, Any]) -> None:
    def reply(request: HttpRequest, number: int) -> Response:
        return error(400, f"Unknown parameter: '{named}'.") if named in request.json else chat("fine")

    with Stub(reply) as stub:
        engine = server.load("stub", base_urls=[stub.url], concurrency=1, **settings)
        answers = dict(engine.generate(requests(10)))

    assert {a.text for a in answers.values()} == {"fine"}
    assert len(stub.requests) == 11, "refused once, then remembered"
    assert engine.info["server_defaults"] == [named]
    assert not engine.client.faults


def test_a_gateway_that_hides_which_field_is_refused_is_asked_without_those_that_few_servers_have() -> None:
    """LiteLLM's proxy before `transformers serve`."""
    hidden = error(422, "litellm.BadRequestError: OpenAIException - Error code: 422")

    def reply(request: HttpRequest, number: int) -> Response:
        return hidden if "repetition_penalty" in request.json else chat("fine")

    with Stub(reply, delay=0.05) as stub:
        engine = server.load("stub", base_urls=[stub.url], concurrency=8)
        answers = dict(engine.generate(requests(30)))

    assert {a.text for a in answers.values()} == {"fine"}, "also those that were sent before the first answer"
    assert engine.info["server_defaults"] == ["repetition_penalty", "skip_special_tokens"]
    assert len(stub.requests) == 38
    assert "chat_template_kwargs" in stub.requests[-1].json


def test_a_finish_reason_that_nobody_knows_is_said_once_and_costs_no_answer() -> None:
    with Stub(lambda request, number: chat("A", "because\x1b[31m")) as stub:
        engine = server.load("stub", base_urls=[stub.url])
        with pytest.warns(UserWarning, match=r"finish_reason 'because \[31m', which gapbench does not know") as said:
            answers = dict(engine.generate(requests(5)))

    assert [warning.category for warning in said].count(UserWarning) == 1
    assert {a.text for a in answers.values()} == {"A"}
    assert engine.trouble["odd_endings"] == {"because [31m": 5}


def test_a_server_that_closes_the_connection_after_an_error_was_reached() -> None:
    """Uvicorn does, and `transformers serve` without a cache of the Hub cannot list its models."""
    broken = Response(raw=b"HTTP/1.1 500 Said\r\nContent-Length: 0\r\n\r\n")
    with Stub(models=broken) as stub:
        stub.version = Response(raw=b"")
        assert ask(stub)[0].text == "echo: question 0"


def test_max_tokens_goes_under_its_newer_name_where_the_older_is_refused() -> None:
    def reply(request: HttpRequest, number: int) -> Response:
        if "max_tokens" in request.json:
            return error(400, "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
        return chat(str(request.json["max_completion_tokens"]))

    with Stub(reply) as stub:
        assert ask(stub, max_new_tokens=5)[0].text == "5"


def test_a_field_that_is_only_mentioned_is_not_given_up() -> None:
    def reply(request: HttpRequest, number: int) -> Response:
        return error(400, "'max_tokens' is too large: 128") if number < 2 else chat("fine")

    with Stub(reply) as stub:
        engine = server.load("stub", base_urls=[stub.url], concurrency=1)
        answers = dict(engine.generate(requests(3)))

    assert "too large" in answers[0].error
    assert "server_defaults" not in engine.info
    assert "max_tokens" in stub.requests[-1].json


@pytest.mark.parametrize(
    ("response", "text", "cut_off"),
    [
        (chat(""), "", False),
        (chat("half", finish="length"), "half", True),
        (chat("half", finish="MAX_TOKENS"), "half", True),
        (chat("whole", finish="STOP"), "whole", False),
        (chat("no reason given", finish=""), "no reason given", False),
        (Response(body=chat("text/plain").body, headers={"Content-Type": "text/plain"}), "text/plain", False),
        (chat("no reason given", finish=None), "no reason given", False),
        (chat([{"type": "text", "text": "a"}, {"type": "thinking"}, {"type": "text", "text": "b"}]), "ab", False),
        (chat("\ud800 lone"), "? lone", False),
        (chat("error: 500"), "error: 500", False),
    ],
)
def test_what_is_an_answer(response: Response, text: str, cut_off: bool) -> None:
    with Stub(lambda request, number: response) as stub:
        answer = ask(stub)[0]

    assert (answer.text, answer.cut_off, answer.error) == (text, cut_off, "")
    assert (answer.prompt_tokens, answer.output_tokens) == (7, 3)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (chat(None), "no content"),
        (chat([]), "no content"),
        (chat(None, reasoning_content="Let me see"), "Serve the model with thinking off"),
        (chat("", reasoning_content="Let me see"), "Serve the model with thinking off"),
        (chat("", thought_summary={"thought_parts": [{"text": "Hm"}]}), "Serve the model with thinking off"),
        (chat("", "length", reasoning_content="Let me see"), "holds reasoning only, and it is cut off"),
        (chat(" \n", "length"), "is blank and cut off (length). Raise --max-new-tokens, or serve"),
        (chat("", "dunno"), "does not say that the model stopped (finish_reason 'dunno')"),
        (chat("half of", "SAFETY"), "SAFETY"),
        (chat("half of", "abort"), "abort"),
        (Response(body=b"<html>", headers={"Content-Type": "text/html"}), "text/html, 6 bytes that are not JSON"),
        (chat("", finish=None), "does not say that the model stopped"),
        (chat("I would rather not", refusal="I cannot help"), "refused: I cannot help"),
        (chat("half of", finish="content_filter"), "content_filter"),
        (chat(None, finish="tool_calls"), "tool_calls"),
        (chat(7), "found int"),
        (error(400, "At most 1 image(s) may be provided"), "HTTP 400: At most 1 image"),
        (error(413, "too large"), "HTTP 413"),
        (error(403, "flagged"), "HTTP 403: flagged"),
        (Response(400, b'{"detail": [{"loc": ["body"], "msg": "bad"}]}'), '"msg": "bad"'),
        (Response(422, b"\x1b[31m  no\nJSON \x00"), "HTTP 422: [31m no JSON"),
        (error(400, "x" * 5000), "x" * 300 + "…"),
    ],
)
def test_what_is_none_says_why(response: Response, said: str) -> None:
    with Stub(lambda request, number: response) as stub:
        answer = ask(stub, tries=2)[0]

    assert answer.text == ""
    assert said in answer.error
    assert answer.error.startswith(stub.url)
    assert len(answer.error) < 450


@pytest.mark.parametrize(
    "said",
    [
        "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
        "Unsupported parameter: 'temperature' is not supported with this model.",
        "these models don't support temperature=0.0. Only temperature=1 is supported.",
    ],
)
def test_a_model_that_gives_no_greedy_answers_is_said_to_be_none_for_us(said: str) -> None:
    with Stub(lambda request, number: error(400, said)) as stub:
        assert "gapbench asks for greedy answers" in ask(stub)[0].error
        assert "greedy" not in ask(stub, temperature=0.7)[0].error
    with Stub(lambda request, number: error(400, "The temperature on the sign cannot be read")) as stub:
        assert "greedy" not in ask(stub)[0].error


def test_a_client_error_is_not_tried_again() -> None:
    with Stub(lambda request, number: error(400, "no")) as stub:
        ask(stub, 3)

    assert len(stub.requests) == 3


def test_tokens_of_images_are_taken_from_usage_where_a_server_counts_them() -> None:
    usage = b'"usage": {"prompt_tokens": 90, "completion_tokens": true, "prompt_tokens_details": '
    start = b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], '
    bodies = (b'{"multimodal_tokens": {"image": 64}}}}', b'{"image_tokens": 64}}}')
    for body in bodies:
        with Stub(lambda request, number, body=body: Response(body=start + usage + body)) as stub:
            answer = ask(stub)[0]
        assert (answer.image_tokens, answer.prompt_tokens, answer.output_tokens) == (64, 90, None)


@pytest.mark.parametrize("status", [401, 404, 405, 302])
def test_a_server_that_refuses_everyone_ends_the_run_at_once(status: int) -> None:
    reply = error(status, "the model `stub` does not exist", Location="http://elsewhere/v1")
    with Stub(lambda request, number: reply) as stub, pytest.raises(ModelError) as caught:
        ask(stub, 100)

    assert stub.url in str(caught.value)
    assert "does not exist" in str(caught.value)
    assert "--base-url" in str(caught.value)


def test_a_key_that_is_refused_is_noticed_before_anything_is_asked() -> None:
    with Stub(models=error(401, "no key")) as stub, pytest.raises(ModelError, match="--api-key-env"):
        server.load("stub", base_urls=[stub.url])


def test_a_run_whose_first_questions_all_fail_is_ended() -> None:
    with Stub(lambda request, number: error(400, "this model reads no images")) as stub:
        engine = server.load("stub", base_urls=[stub.url])
        got: list[Any] = []
        pixel = Image.new("RGB", (1, 1))
        with pytest.raises(ModelError, match=r"nothing was answered.*reads no images"):
            got.extend(engine.generate(replace(request, images=(pixel,)) for request in requests(5000)))

    assert got == [], "handed out, they would be recorded as failed and not be asked again"
    assert len(stub.requests) < 200


def test_a_server_that_takes_no_prompt_without_an_image_still_gets_those_with_one() -> None:
    def reply(request: HttpRequest, number: int) -> Response:
        return chat("fine") if request.urls else error(400, "an image is required")

    with Stub(reply) as stub:
        engine = server.load("stub", base_urls=[stub.url], concurrency=1)
        blind = [Request(f"blind {i}", (), "Which letter?") for i in range(40)]
        shown = [replace(request, images=(Image.new("RGB", (1, 1)),)) for request in requests(2)]
        answers = dict(engine.generate([*blind, *shown]))

    assert {key: answer.text for key, answer in answers.items() if not answer.error} == {0: "fine", 1: "fine"}
    assert "an image is required" in answers["blind 0"].error


def test_a_few_bad_questions_end_nothing() -> None:
    def reply(request: HttpRequest, number: int) -> Response:
        return chat("fine") if int(request.prompt.split()[-1]) % 20 == 15 else error(400, "too long")

    with Stub(reply) as stub:
        answers = ask(stub, 200, concurrency=1)

    assert sum(not a.error for a in answers.values()) == 10
    assert len(answers) == 200


def test_requests_with_an_error_are_answered_by_it_and_not_sent() -> None:
    with Stub() as stub:
        engine = server.load("stub", base_urls=[stub.url])
        answers = dict(engine.generate([Request(0, (), "", "the image is gone"), *requests(3)[1:]]))

    assert answers[0] == Answer(error="the image is gone")
    assert len(stub.requests) == 2


@pytest.mark.parametrize("concurrency", [1, 7])
def test_a_fixed_concurrency_is_kept(concurrency: int) -> None:
    with Stub(delay=0.01) as stub:
        ask(stub, 60, concurrency=concurrency)

    assert stub.most == concurrency


def test_an_automatic_concurrency_grows_while_that_makes_the_server_faster() -> None:
    with Stub(delay=0.1) as stub:
        ask(stub, 1200)

    assert stub.most >= 32, "it starts at 16"


def test_requests_are_read_lazily_and_no_more_than_are_in_hand() -> None:
    read = 0

    def endless() -> Iterator[Request]:
        nonlocal read
        while True:
            yield Request(read, (), f"question {read}")
            read += 1

    with Stub(delay=0.02) as stub:
        answers = server.load("stub", base_urls=[stub.url], concurrency=4).generate(endless())
        for taken, _ in zip(range(1, 100), answers, strict=False):
            assert read <= taken + 4 + pipeline.READ_AHEAD + 1
        time.sleep(0.5)  # nobody takes anything
        assert read <= 100 + 4 + pipeline.READ_AHEAD + 1
        assert isinstance(answers, Iterator)
        answers.close()  # type: ignore[attr-defined]


def slow_requests(count: int, seconds: float) -> Iterator[Request]:
    """Images that take their time."""
    for i in range(count):
        time.sleep(seconds)
        yield Request(i, (), f"question {i}")


def waited(requests: Iterator[Request], delay: float, **settings: Any) -> tuple[float, float]:
    """Seconds that the engine says it waited for images, and seconds that all of it took."""
    with Stub(delay=delay) as stub:
        engine = server.load("stub", base_urls=[stub.url], **settings)
        assert engine.waited == 0
        started = time.perf_counter()
        list(engine.generate(requests))
        return engine.waited, time.perf_counter() - started


def test_waiting_for_images_is_counted() -> None:
    idle, took = waited(slow_requests(6, 0.2), delay=0.001, concurrency=1)
    assert 0.6 < idle <= took, "1.2 s went into making images, some of it while a request was under way"


def test_waiting_for_a_server_is_not() -> None:
    idle, took = waited(iter(requests(40)), delay=0.05, concurrency=2)
    assert took > 0.9
    assert idle < 0.2 * took


def test_half_of_the_places_empty_counts_half() -> None:
    idle, took = waited(slow_requests(40, 0.04), delay=0.08, concurrency=4)  # two of four are under way at a time
    assert 0.25 * took < idle < 0.75 * took


def test_the_end_of_a_run_is_no_waiting() -> None:
    idle, took = waited(iter(requests(2)), delay=0.5, concurrency=64)
    assert took > 0.5
    assert idle < 0.2


def test_the_last_image_is_waited_for_as_well() -> None:
    idle, _ = waited(slow_requests(1, 0.4), delay=0.001, concurrency=1)
    assert idle > 0.3


def test_the_pause_between_two_runs_is_no_waiting() -> None:
    with Stub() as stub:
        engine = server.load("stub", base_urls=[stub.url], concurrency=1)
        list(engine.generate(requests(3)))
        before = engine.waited
        time.sleep(0.5)
        list(engine.generate(requests(3)))
    assert engine.waited - before < 0.3


def test_closing_early_stops_threads_and_closes_the_requests_in_their_own_thread() -> None:
    closed: list[str] = []

    def endless() -> Iterator[Request]:
        try:
            for i in range(10**9):
                yield Request(i, (), f"question {i}")
        finally:
            closed.append(threading.current_thread().name)

    with Stub(delay=0.02) as stub:
        answers = server.load("stub", base_urls=[stub.url]).generate(endless())
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        deadline = time.monotonic() + 5
        while threads() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)  # what was on its way to the stub when we left
        before = len(stub.requests)
        time.sleep(0.3)

        assert not threads()
        assert [name.partition("_")[0] for name in closed] == ["gapbench-feed"]
        assert len(stub.requests) == before


def test_an_engine_that_was_stopped_can_be_asked_again() -> None:
    with Stub(delay=0.02) as stub:
        engine = server.load("stub", base_urls=[stub.url], concurrency=2)
        answers = engine.generate(requests(100))
        next(answers)
        answers.close()  # type: ignore[attr-defined]

        assert len(dict(engine.generate(requests(20)))) == 20


def test_an_error_of_the_requests_is_raised_and_stops_everything() -> None:
    def failing() -> Iterator[Request]:
        yield from requests(30)
        raise RuntimeError("the disk is gone")

    with Stub(delay=0.01) as stub:
        with pytest.raises(RuntimeError, match="the disk is gone"):
            dict(server.load("stub", base_urls=[stub.url]).generate(failing()))
        assert not threads()


def test_an_interrupt_ends_a_process_that_waits_for_an_answer() -> None:
    code = """
import sys
from gapbench.engines import server; from gapbench.types import Request
from gapbench.engines.options import Generation; from gapbench.views.pixels import Pixels
engine = server.load("stub", Generation(), Pixels(), server.ServerOptions(base_urls=(sys.argv[1],)))
try:
    for key, answer in engine.generate(Request(i, (), "x") for i in range(1000)):
        print("answered", flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""
    import signal

    with Stub(lambda request, number: chat("x"), delay=0.0) as stub:
        process = subprocess.Popen(
            [sys.executable, "-c", code, stub.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        stub.delay = 30
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=15)

    assert process.returncode == 130
    assert stderr == b""


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"max_new_tokens": 0}, {"temperature": -1}, {"base_urls": []}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="expected"):
        server.load("stub", **{"base_urls": ["http://127.0.0.1:9"], **wrong})


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, gapbench.engines.server; print([m for m in ('torch', 'httpx2', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
