"""Which engine, and what it may be told: nothing that is said is ignored, and no secret is repeated."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

from engines.stub_server import Stub
from gapbench.engines import loading
from gapbench.engines.server import ServerEngine
from gapbench.engines.transformers import TransformersEngine
from gapbench.errors import SettingError

SETTINGS: dict[str, Any] = {"pixels": None, "max_new_tokens": 4, "temperature": 0.0, "seed": 0}


def load(engine: str, **options: Any) -> Any:
    return loading.load("some/model", engine, settings=SETTINGS, **options)


def test_each_name_loads_its_engine() -> None:
    engine = loading.load("glance", settings=SETTINGS, batch_size=3)
    assert isinstance(engine, TransformersEngine)
    assert (engine.batch_size, engine.max_new_tokens) == (3, 4)
    with Stub() as stub:
        assert isinstance(load("server", base_urls=[stub.url], concurrency=2), ServerEngine)


@pytest.mark.parametrize("name", ["nonsense", "", "Server", "os"])
def test_an_engine_that_does_not_exist_is_named_with_those_that_do(name: str) -> None:
    with pytest.raises(SettingError, match=rf"--engine {name}: expected transformers, vllm or server"):
        load(name)


@pytest.mark.parametrize(
    ("engine", "options", "flag", "takers"),
    [
        ("transformers", {"tensor_parallel": 2}, "--tensor-parallel", "vllm"),
        ("transformers", {"engine_args": {"max_model_len": 5}}, "--engine-args", "vllm"),
        ("transformers", {"base_urls": ["http://localhost"]}, "--base-url", "server"),
        ("transformers", {"concurrency": 3}, "--concurrency", "server"),
        ("vllm", {"timeout": 60.0}, "--timeout", "server"),
        ("transformers", {"concurrency": 0}, "--concurrency", "server"),
        ("transformers", {"api_key_env": "NAME"}, "--api-key-env", "server"),
        ("vllm", {"batch_size": 3}, "--batch-size", "transformers"),
        ("vllm", {"device": "cuda"}, "--device", "transformers"),
        ("vllm", {"attn_implementation": "sdpa"}, "--attn-implementation", "transformers"),
        ("vllm", {"base_urls": ["http://localhost"]}, "--base-url", "server"),
        ("server", {"batch_size": 3}, "--batch-size", "transformers"),
        ("server", {"tensor_parallel": 2}, "--tensor-parallel", "vllm"),
        ("server", {"device": "cpu"}, "--device", "transformers"),
    ],
)
def test_an_option_of_another_engine_is_refused_with_the_engine_that_takes_it(
    engine: str, options: dict[str, Any], flag: str, takers: str
) -> None:
    with pytest.raises(SettingError, match=rf"^{flag}: --engine {engine} has no such setting, it is for {takers}\."):
        load(engine, **options)


@pytest.mark.parametrize(
    ("options", "flag"),
    [({"dtype": "bfloat16"}, "--dtype"), ({"revision": "main"}, "--revision"),
     ({"chat_template": "t"}, "--chat-template"),
     ({"trust_remote_code": True}, "--trust-remote-code"), ({"processor_kwargs": {"a": 1}}, "--processor")],
)  # fmt: skip
def test_what_a_server_decides_is_refused_by_the_flag_that_was_typed(options: dict[str, Any], flag: str) -> None:
    with pytest.raises(
        SettingError, match=rf"^{flag}: --engine server has no .*The server decides it: start it accordingly"
    ):
        load("server", base_urls=["http://127.0.0.1:9"], **options)


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
@pytest.mark.parametrize(
    "options", [{"api_key_env": "sk-planted-0123456789"}, {"base_urls": ["http://user:planted@localhost"]}]
)
def test_a_key_that_was_typed_in_the_wrong_place_is_not_repeated(engine: str, options: dict[str, Any]) -> None:
    with pytest.raises(SettingError) as caught:
        load(engine, **options)
    assert "planted" not in str(caught.value)


def test_a_misspelt_setting_is_told_with_those_that_exist() -> None:
    with pytest.raises(SettingError, match=r"base_url: no such setting\. Engines take .*base_urls"):
        load("server", base_url="http://localhost")


def test_a_server_without_an_address_says_how_to_give_one() -> None:
    with pytest.raises(SettingError, match=r"--base-url: expected one or more URLs, as in --base-url http"):
        load("server")


def test_what_was_not_given_is_left_to_the_engine() -> None:
    """A command passes all its options; those left at their defaults are nobody's business."""
    unset: dict[str, Any] = {"dtype": "auto", "device": "auto", "revision": None, "trust_remote_code": False,
                             "chat_template": None, "attn_implementation": None, "processor_kwargs": {},
                             "batch_size": None, "tensor_parallel": None, "engine_args": {}, "concurrency": None,
                             "timeout": None, "api_key_env": ""}  # fmt: skip
    assert {*unset, "base_urls"} == set(loading.EngineOptions.__annotations__)
    with Stub() as stub:
        assert load("server", **unset, base_urls=[stub.url]).info["concurrency"] == "auto"


@pytest.mark.parametrize("engine", loading.ENGINES)
def test_every_option_of_an_engine_can_be_given(engine: str) -> None:
    """What a `load` takes is a common setting, an option, or for callers in Python alone."""
    from importlib import import_module

    taken = set(inspect.signature(import_module(f"gapbench.engines.{engine}").load).parameters)
    only_in_python = {"tries", "backoff", "patience", "extra"} if engine == "server" else set()
    assert taken == {"model", *SETTINGS} | only_in_python | (taken & set(loading.EngineOptions.__annotations__))


def test_looking_for_an_engine_loads_nothing_heavy() -> None:
    code = """
import sys
from gapbench.engines import loading
from gapbench.errors import SettingError
try:
    loading.load("m", "transformers", settings={}, tensor_parallel=2)
except SettingError:
    print([m for m in ("torch", "transformers", "vllm", "httpx2", "pandas") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
