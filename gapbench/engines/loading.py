"""Choose an engine, check its options, and load it.

    choice = choose("Qwen/Qwen3-VL-4B-Instruct", "auto", {"dtype": "bfloat16"})     # loads nothing
    choice.engine, choice.reason                                    # "transformers", "auto: vLLM is not installed"
    engine = load("Qwen/Qwen3-VL-4B-Instruct", choice, Generation(max_new_tokens=64), Pixels(max_pixels=1048576))

Every engine is a module with a class of options and a function `load(model, generation, pixels, options)`. An option
that the engine does not have is an error.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gapbench.engines.options import Generation, flag_name, is_set, validated
from gapbench.errors import SettingError
from gapbench.types import Engine
from gapbench.util.terminal import say
from gapbench.views.pixels import Pixels

CLASSES = {"transformers": "TransformersOptions", "vllm": "VllmOptions", "server": "ServerOptions"}
"""The engines, each with the class of its options."""
ENGINES = tuple(CLASSES)


@dataclass(frozen=True)
class Choice:
    """An engine, its checked options, and why `auto` chose it: one sentence, empty if the user named the engine."""

    engine: str
    options: BaseModel
    reason: str = ""

    def announce(self, quiet: bool) -> None:
        """Print the reason on standard error, if there is one, unless `quiet`."""
        if self.reason and not quiet:
            say(f"--engine {self.engine} ({self.reason})")


@dataclass(frozen=True)
class KnownOption:
    """One option: its flag, its field (that of the first engine that has it), and the engines that have it."""

    flag: str
    field: FieldInfo
    engines: tuple[str, ...]


def all_options() -> dict[str, KnownOption]:
    """The options of all engines by name. Imports no model library."""
    known: dict[str, KnownOption] = {}
    for engine in ENGINES:
        for name, field in _options_of(engine).model_fields.items():
            option = known.get(name) or KnownOption(flag_name(name, field), field, ())
            known[name] = replace(option, engines=(*option.engines, engine))
    return known


def choose(
    model: str, engine: str = "auto", options: Mapping[str, Any] | None = None, possible: Sequence[str] = ENGINES
) -> Choice:
    """The engine for `model` with these options, of those that are `possible`. Loads nothing.

    `auto` is the only engine that has all the options that are set; of transformers and vLLM, it is vLLM where that is
    installed and a GPU is there. None, "auto", False and empty values mean "not set". Raises SettingError for an
    unknown engine, an option that the engine does not have, and a value that the option cannot take.
    """
    if engine != "auto" and engine not in possible:
        raise SettingError(f"--engine {engine}: expected {', '.join(('auto', *possible)[:-1])} or {possible[-1]}.")
    if not model.strip():
        raise SettingError(
            "MODEL is empty; expected a Hub id, a folder, `glance`, or the name that a server gives its model."
        )
    known = all_options()
    if unknown := sorted(set(options or ()) - set(known)):
        raise SettingError(f"{unknown[0]}: no such setting. Engines take {', '.join(known)}.")
    values = {name: value for name, value in (options or {}).items() if is_set(value)}
    reason = ""
    if engine == "auto":
        engine, reason = _automatic({known[name].flag: known[name].engines for name in values}, possible)
    for option in (known[name] for name in values):
        if engine not in option.engines:  # the message leaves out the value: it may be a misplaced key or password
            server_hint = "The server decides it: start it accordingly. " if engine == "server" else ""
            raise SettingError(
                f"{option.flag}: --engine {engine} has no such setting, it is for {' and '.join(option.engines)}. "
                f"{server_hint}Leave it out, or use --engine {option.engines[0]}."
            )
    return Choice(engine, validated(_options_of(engine), values), reason)


def load(model: str, choice: Choice, generation: Generation | None = None, pixels: Pixels | None = None) -> Engine:
    """The chosen engine. Its images must lie within `pixels`. Raises what the engine's own `load` raises."""
    module = importlib.import_module(f"gapbench.engines.{choice.engine}")
    loaded: Engine = module.load(model, generation or Generation(), pixels or Pixels(), choice.options)
    return loaded


def _automatic(takers: Mapping[str, Collection[str]], possible: Sequence[str]) -> tuple[str, str]:
    """The engine, and the reason. `takers` are the engines that have each option that is set, by its flag."""
    fitting = [engine for engine in possible if all(engine in of_option for of_option in takers.values())]
    local = [engine for engine in fitting if engine != "server"] or fitting
    if len(local) == 1:
        only = "no other engine can do this" if len(possible) == 1 else f"it is the engine that has {', '.join(takers)}"
        return local[0], f"auto: {only}"
    if not local:  # no engine has all of them; the caller names one that the nearest engine lacks
        return max(possible, key=lambda engine: sum(engine in engines for engines in takers.values())), ""
    if importlib.util.find_spec("vllm") is None:
        return "transformers", "auto: vLLM is not installed"
    import torch

    if not torch.cuda.device_count():  # counts without starting CUDA, which vLLM's own processes must do
        return "transformers", "auto: vLLM is installed, but there is no GPU"
    return "vllm", "auto: vLLM is installed and there is a GPU"


def _options_of(engine: str) -> type[BaseModel]:
    options: type[BaseModel] = getattr(importlib.import_module(f"gapbench.engines.{engine}"), CLASSES[engine])
    return options
