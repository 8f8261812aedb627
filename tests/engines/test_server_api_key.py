"""An API key is used, and is seen nowhere: a planted one is looked for in everything the engine gives out."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from typing import Any

import pytest

from engines.loads import server
from engines.stub_server import HttpRequest, Response, Stub, chat, error
from gapbench.engines.server.api_key import read_key
from gapbench.errors import GapbenchError, SettingError
from gapbench.types import Request

KEY = 'sk-planted-0123456789/abc+"def'


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", KEY)


def requests(count: int = 3) -> list[Request]:
    return [Request(i, (), f"question {i}") for i in range(count)]


def parrot(request: HttpRequest) -> str:
    """What a careless server says."""
    return f"You sent {request.headers['authorization']}, or {json.dumps(KEY)}; " + "z" * 200 + KEY


def test_the_key_is_sent_and_not_recorded() -> None:
    with Stub() as stub:
        engine = server.load("stub", base_urls=[stub.url], api_key_env="PLANTED_KEY")
        answers = dict(engine.generate(requests()))

    assert stub.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "planted" not in json.dumps(engine.info) + repr(engine) + repr(answers)


def test_without_a_name_no_key_is_sent() -> None:
    with Stub() as stub:
        dict(server.load("stub", base_urls=[stub.url]).generate(requests()))

    assert "authorization" not in stub.requests[0].headers


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_a_server_that_repeats_the_key_is_not_quoted(
    status: int, kind: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def reply(request: HttpRequest, number: int) -> Response:
        headers = {"Content-Type": kind, "Location": f"http://x/{KEY}"}
        body = chat(parrot(request)) if status == 200 else error(status, parrot(request))
        return Response(status, body.body, headers)

    models = Response(body=json.dumps({"data": [{"id": KEY, "max_model_len": 1}, {"id": "stub"}]}).encode())
    with Stub(reply, models=models) as stub:
        engine = server.load("stub", base_urls=[stub.url], api_key_env="PLANTED_KEY", tries=2, backoff=0.01)
        seen: list[Any] = []
        try:
            seen.append(list(engine.generate(requests())))
        except GapbenchError as caught:
            seen.append(str(caught))
        seen += [engine.info, engine.client, capfd.readouterr()]

    everything = repr(seen) + caplog.text
    assert "planted" not in everything
    assert "[API key]" in everything


@pytest.mark.parametrize("status", [401, 403])
def test_nor_while_it_is_looked_at(status: int) -> None:
    refusal = Response(status, json.dumps({"error": {"message": f"bad key {KEY}"}}).encode())
    with Stub(models=refusal) as stub:
        try:
            shown = repr(server.load("stub", base_urls=[stub.url], api_key_env="PLANTED_KEY").info)
        except GapbenchError as caught:
            shown = str(caught)

    assert "planted" not in shown


def test_nor_in_a_traceback() -> None:
    code = """
import sys
from gapbench.engines import server; from gapbench.types import Request
from gapbench.engines.options import Generation; from gapbench.views.pixels import Pixels
options = server.ServerOptions(base_urls=(sys.argv[1],), api_key_env="PLANTED_KEY")
for _ in server.load("stub", Generation(), Pixels(), options).generate([Request(0, (), "x")]): pass
"""
    with Stub(lambda request, number: error(404, parrot(request))) as stub:
        done = subprocess.run([sys.executable, "-c", code, stub.url], capture_output=True, text=True, check=False)

    assert "ModelError" in done.stderr
    assert "planted" not in done.stderr + done.stdout


@pytest.mark.parametrize("name", ["NO_SUCH_VARIABLE", KEY, "hf_planted0123456789", "AKIAIOSFODNN7EXAMPLE"])
def test_a_name_without_a_variable_is_not_shown_for_it_may_be_a_key(name: str) -> None:
    with pytest.raises(SettingError, match="--api-key-env: no such environment variable") as caught:
        read_key(name)

    assert name not in str(caught.value)


def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", "planted\nHost: evil")
    with pytest.raises(SettingError, match="--api-key-env PLANTED_KEY") as caught:
        read_key("PLANTED_KEY")

    assert "evil" not in str(caught.value)


def test_a_placeholder_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", "EMPTY")

    assert read_key("PLANTED_KEY").redact("the shelf is EMPTY") == "the shelf is EMPTY"


def test_a_key_in_the_clear_is_warned_about_but_not_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gapbench.engines.server.describe_servers", lambda urls, key: [])
    with pytest.warns(UserWarning, match="plain http to http://gpu.example.org") as caught:
        server.load("m", base_urls=["http://gpu.example.org"], api_key_env="PLANTED_KEY")
    assert [warning.category for warning in caught].count(UserWarning) == 1
    assert all("planted" not in str(warning.message) for warning in caught)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for url in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://gpu.example.org"):
            server.load("m", base_urls=[url], api_key_env="PLANTED_KEY")
        server.load("m", base_urls=["http://gpu.example.org"])
