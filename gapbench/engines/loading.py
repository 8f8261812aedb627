"""Load an engine by name, and check its options.

    engine = load("Qwen/Qwen3-VL-4B-Instruct", "vllm", tensor_parallel=2, max_new_tokens=64)

Every engine is a module with a `load` function, whose signature lists the options it takes. An option that the engine
does not take is an error.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from gapbench.errors import SettingError
from gapbench.types import Engine

ENGINES = ("transformers", "vllm", "server")
FLAGS = {"base_urls": "--base-url", "processor_kwargs": "--processor"}
"""Flags of the options whose flag is not their name."""


class EngineOptions(TypedDict, total=False):
    """The options of all engines. None, "auto", False and empty values all mean "not set".

    `dtype`, `revision`, `trust_remote_code`, `chat_template`, `processor_kwargs`: transformers and vllm.
    `device`, `attn_implementation`, `batch_size`: transformers. `tensor_parallel` (number of devices), `engine_args`
    (vLLM's own arguments): vllm. `base_urls`, `concurrency` (requests in flight), `timeout` (seconds per request),
    `api_key_env` (the environment variable that holds the key): server.
    """

    dtype: str
    device: str
    revision: str | None
    trust_remote_code: bool
    chat_template: Path | None
    attn_implementation: str | None
    processor_kwargs: Mapping[str, Any] | None
    batch_size: int | None
    tensor_parallel: int | None
    engine_args: Mapping[str, Any] | None
    base_urls: Sequence[str]
    concurrency: int | None
    timeout: float | None
    api_key_env: str


def load(
    model: str, engine: str = "transformers", *, settings: Mapping[str, Any], **options: Unpack[EngineOptions]
) -> Engine:
    """The engine for `model`. `settings` are those of every engine: pixels, max_new_tokens, temperature, seed.

    Raises SettingError for an unknown engine or an option that the engine does not take, and what its `load` raises.
    """
    set_options = check(model, engine, **options)
    if engine == "server":
        set_options.setdefault("base_urls", ())  # the engine's error explains how to set it
    loaded: Engine = _module(engine).load(model, **settings, **set_options)
    return loaded


def check(model: str, engine: str, **options: Unpack[EngineOptions]) -> dict[str, Any]:
    """The options that are set. Loads nothing. Raises SettingError as `load` does."""
    if engine not in ENGINES:
        raise SettingError(f"--engine {engine}: expected {', '.join(ENGINES[:-1])} or {ENGINES[-1]}.")
    if not model.strip():
        raise SettingError(
            "MODEL is empty; expected a Hub id, a folder, `glance`, or the name that a server gives its model."
        )
    unknown = sorted(set(options) - set(EngineOptions.__annotations__))
    if unknown:
        raise SettingError(f"{unknown[0]}: no such setting. Engines take {', '.join(EngineOptions.__annotations__)}.")
    set_options = {name: value for name, value in options.items() if _is_set(value)}
    for name in set_options:  # the message leaves out the value: it may be a misplaced key or password
        takers = [candidate for candidate in ENGINES if name in _parameters(candidate)]
        if engine not in takers:
            flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
            server_hint = "The server decides it: start it accordingly. " if engine == "server" else ""
            raise SettingError(
                f"{flag}: --engine {engine} has no such setting, it is for {' and '.join(takers)}. {server_hint}"
                f"Leave it out, or use --engine {takers[0]}."
            )
    return set_options


def _is_set(value: Any) -> bool:
    return not (value is None or value is False or value in ("", "auto", (), [], {}))


def _parameters(engine: str) -> Mapping[str, Any]:
    return inspect.signature(_module(engine).load).parameters


def _module(engine: str) -> Any:
    return importlib.import_module(f"gapbench.engines.{engine}")
