"""Which engine, and what it may be told: nothing that is said is ignored, and no secret is repeated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engines.stub_server import Stub
from gapbench.engines import loading
from gapbench.engines.options import Generation, flag_of
from gapbench.engines.server import ServerEngine
from gapbench.engines.transformers import TransformersEngine
from gapbench.errors import SettingError


def choose(engine: str, **options: Any) -> loading.Choice:
    return loading.choose("some/model", engine, options)


def test_each_name_loads_its_engine() -> None:
    engine = loading.load("glance", loading.choose("glance", "transformers", {"batch_size": 3}), Generation(4))
    assert isinstance(engine, TransformersEngine)
    assert (engine.batch_size, engine.generation.max_new_tokens) == (3, 4)
    assert (engine.info["options"], engine.info["resources"]) == ({}, {"batch_size": 3})
    with Stub() as stub:
        choice = choose("server", base_urls=[stub.url], concurrency=2, timeout=9)
        served = loading.load("some/model", choice)
        assert isinstance(served, ServerEngine)
        assert served.info["resources"] == {"timeout": 9.0}


def test_every_engine_says_all_that_commands_use_and_closes() -> None:
    with Stub() as stub:
        for engine in (
            loading.load("glance", loading.choose("glance", "transformers")),
            loading.load("some/model", choose("server", base_urls=[stub.url])),
        ):
            assert isinstance(engine.waited, float)
            assert isinstance(engine.trouble, Mapping)
            engine.close()


@pytest.mark.parametrize(
    ("options", "possible", "vllm", "devices", "engine", "reason"),
    [
        ({}, loading.ENGINES, False, 1, "transformers", "auto: vLLM is not installed"),
        ({}, loading.ENGINES, True, 0, "transformers", "auto: vLLM is installed, but there is no GPU"),
        ({}, loading.ENGINES, True, 1, "vllm", "auto: vLLM is installed and there is a GPU"),
        ({"dtype": "bfloat16"}, loading.ENGINES, True, 1, "vllm", "auto: vLLM is installed and there is a GPU"),
        ({"batch_size": 2}, loading.ENGINES, True, 1, "transformers", "auto: it is the engine that has --batch-size"),
        ({"base_urls": ["http://a"]}, loading.ENGINES, True, 1, "server", "auto: it is the engine that has --base-url"),
        ({"tensor_parallel_size": 2, "dtype": "float16"}, loading.ENGINES, False, 0, "vllm",
         "auto: it is the engine that has --tensor-parallel-size, --dtype"),
        ({}, ("transformers",), True, 1, "transformers", "auto: no other engine can do this"),
    ],
)  # fmt: skip
def test_auto_takes_vllm_on_a_gpu_and_what_the_options_ask_for(
    options: dict[str, Any], possible: tuple[str, ...], vllm: bool, devices: int, engine: str, reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import torch

    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: vllm or None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    choice = loading.choose("some/model", "auto", options, possible)
    assert (choice.engine, choice.reason) == (engine, reason)


def test_options_that_no_engine_has_together_are_refused() -> None:
    with pytest.raises(SettingError, match=r"^--concurrency: --engine transformers has no such setting"):
        choose("auto", concurrency=2, batch_size=3)
    with pytest.raises(SettingError, match=r"--engine vllm: expected auto or transformers"):
        loading.choose("some/model", "vllm", {}, ("transformers",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "--dtype int8: expected one of auto, float32, bfloat16 or float16."),
        ({"batch_size": "many"}, "--batch-size many: expected a whole number (N|auto)."),
        ({"batch_size": 0}, "--batch-size 0: expected at least 1 (N|auto)."),
        ({"tensor_parallel_size": 0}, "--tensor-parallel-size 0: expected at least 1 (N)."),
        ({"timeout": -1}, "--timeout -1: expected more than 0 (SECONDS)."),
        ({"processor_kwargs": ["a"]}, "--processor 'a': expected KEY=VALUE, such as max_soft_tokens=280."),
        ({"reasoning_tags": ['["<plan>", ""]']}, "--reasoning-tags '[\"<plan>\", \"\"]': expected two different marks, "
         "[OPENING, CLOSING], such as '[\"<plan>\", \"</plan>\"]'."),
        ({"reasoning_tags": ['{"a": 1}']}, "--reasoning-tags '{\"a\": 1}': expected two different marks, "
         "[OPENING, CLOSING], such as '[\"<plan>\", \"</plan>\"]'."),
        ({"chat_template_kwargs": ['{"a": 1}']}, "--chat-template-kwargs '{\"a\": 1}': expected KEY=VALUE, "
         "such as enable_thinking=true."),
        ({"engine_args": ["a=["]}, "--engine-args a: found '[', expected a YAML value, such as max_model_len=16384."),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named_by_its_flag(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        choose("auto", **options)
    assert str(caught.value) == message


def test_text_from_the_command_line_becomes_values() -> None:
    choice = choose("auto", batch_size="4", processor_kwargs=["a=1", "b=[x]"], chat_template="t.jinja", device="auto")
    assert choice.options.model_dump(include=choice.options.model_fields_set) == {
        "batch_size": 4, "processor_kwargs": {"a": 1, "b": ["x"]}, "chat_template": Path("t.jinja"),
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [(0,), (4, -1.0), (4, float("nan"))])
def test_generation_settings_out_of_range_are_refused(wrong: tuple[Any, ...]) -> None:
    with pytest.raises(SettingError, match=r"^--(max-new-tokens|temperature) .*: expected at least"):
        Generation(*wrong)


@pytest.mark.parametrize("name", ["nonsense", "", "Server", "os"])
def test_an_engine_that_does_not_exist_is_named_with_those_that_do(name: str) -> None:
    with pytest.raises(SettingError, match=rf"--engine {name}: expected auto, transformers, vllm or server"):
        choose(name)


@pytest.mark.parametrize(
    ("engine", "options", "flag", "takers"),
    [
        ("transformers", {"tensor_parallel_size": 2}, "--tensor-parallel-size", "vllm"),
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
        ("server", {"tensor_parallel_size": 2}, "--tensor-parallel-size", "vllm"),
        ("server", {"device": "cpu"}, "--device", "transformers"),
    ],
)
def test_an_option_of_another_engine_is_refused_with_the_engine_that_takes_it(
    engine: str, options: dict[str, Any], flag: str, takers: str
) -> None:
    with pytest.raises(SettingError, match=rf"^{flag}: --engine {engine} has no such setting, it is for {takers}\."):
        choose(engine, **options)


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
        choose("server", base_urls=["http://127.0.0.1:9"], **options)


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
@pytest.mark.parametrize(
    "options", [{"api_key_env": "sk-planted-0123456789"}, {"base_urls": ["http://user:planted@localhost"]}]
)
def test_a_key_that_was_typed_in_the_wrong_place_is_not_repeated(engine: str, options: dict[str, Any]) -> None:
    with pytest.raises(SettingError) as caught:
        choose(engine, **options)
    assert "planted" not in str(caught.value)


def test_a_misspelt_setting_is_told_with_those_that_exist() -> None:
    with pytest.raises(SettingError, match=r"base_url: no such setting\. Engines take .*base_urls"):
        choose("server", base_url="http://localhost")


def test_a_server_without_an_address_says_how_to_give_one() -> None:
    with pytest.raises(SettingError, match=r"--base-url: expected one or more URLs, as in --base-url http"):
        loading.load("some/model", choose("server"))


def test_what_was_not_given_is_left_to_the_engine() -> None:
    """A command passes all its options; those left at their defaults are nobody's business."""
    unset = dict.fromkeys(loading.all_options()) | {"dtype": "auto", "trust_remote_code": False, "engine_args": ()}
    with Stub() as stub:
        choice = choose("server", **{**unset, "base_urls": [stub.url]})
        assert loading.load("some/model", choice).info["concurrency"] == "auto"


def test_every_option_is_described_and_typed_once() -> None:
    """An option that several engines have is the same for all of them, so one flag can stand for it."""
    options = loading.all_options()
    assert len({option.flag for option in options.values()}) == len(options)
    for name, option in options.items():
        assert flag_of(option.field).help or not flag_of(option.field).typed
        fields = [loading._options_of(engine).model_fields[name] for engine in option.engines]
        assert len({(str(f.annotation), str(f.metadata)) for f in fields}) == 1


def test_looking_for_an_engine_loads_nothing_heavy() -> None:
    code = """
import sys
from gapbench.engines import loading
from gapbench.errors import SettingError
try:
    loading.choose("m", "transformers", {"tensor_parallel_size": 2})
except SettingError:
    print([m for m in ("torch", "transformers", "vllm", "httpx2", "pandas") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
