"""Which engine asks the model, and what it may be told.

    engine = load("Qwen/Qwen3-VL-4B-Instruct", "vllm", tensor_parallel=2, max_new_tokens=64)

Every engine is a module with a `load`; which of the options below it takes is what its signature says. One that is
given and not taken is refused rather than ignored.
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
"""Options whose flag is not their name."""


class EngineOptions(TypedDict, total=False):
    """What an engine may be told; None, "auto", False and empty are all "not given".

    `dtype`, `revision`, `trust_remote_code`, `chat_template`, `processor_kwargs`: transformers and vllm.
    `device`, `attn_implementation`, `batch_size`: transformers. `tensor_parallel` (devices), `engine_args` (vLLM's
    own): vllm. `base_urls`, `concurrency` (requests under way), `timeout` (seconds a request may take), `api_key_env`
    (which variable holds the key): server.
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
    """The engine for `model`; `settings` are what all of them take: pixels, max_new_tokens, temperature, seed.

    Raises SettingError for an engine that does not exist or an option that it does not take, and what its `load` does.
    """
    given = check(model, engine, **options)
    if engine == "server":
        given.setdefault("base_urls", ())  # which it says how to give
    loaded: Engine = _module(engine).load(model, **settings, **given)
    return loaded


def check(model: str, engine: str, **options: Unpack[EngineOptions]) -> dict[str, Any]:
    """The options that are given, before anything is loaded. Raises SettingError as `load` does."""
    if engine not in ENGINES:
        raise SettingError(f"--engine {engine}: expected {', '.join(ENGINES[:-1])} or {ENGINES[-1]}.")
    if not model.strip():
        raise SettingError("MODEL is empty; expected a Hub id, a folder, `glance`, or a server's name for it.")
    unknown = sorted(set(options) - set(EngineOptions.__annotations__))
    if unknown:
        raise SettingError(f"{unknown[0]}: no such setting. Engines take {', '.join(EngineOptions.__annotations__)}.")
    given = {name: value for name, value in options.items() if _is_given(value)}
    for name in given:  # without its value: a key or a password may have been typed in the wrong place
        takers = [other for other in ENGINES if name in _taken_by(other)]
        if engine not in takers:
            flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
            decided = "The server decides it: start it accordingly. " if engine == "server" else ""
            raise SettingError(
                f"{flag}: --engine {engine} has no such setting, it is for {' and '.join(takers)}. {decided}Leave it "
                f"out, or use --engine {takers[0]}."
            )
    return given


def _is_given(value: Any) -> bool:
    return not (value is None or value is False or value in ("", "auto", (), [], {}))


def _taken_by(engine: str) -> Mapping[str, Any]:
    return inspect.signature(_module(engine).load).parameters


def _module(engine: str) -> Any:
    return importlib.import_module(f"gapbench.engines.{engine}")
