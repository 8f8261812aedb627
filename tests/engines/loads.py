"""An engine's module whose `load` takes settings of every kind by name, as tests like to write them.

    from engines.loads import transformers
    engine = transformers.load("glance", max_new_tokens=4, batch_size=2, pixels=Pixels(max_pixels=500))

Everything else is the module's own.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from gapbench.engines.loading import choose
from gapbench.engines.options import Generation
from gapbench.views.pixels import Pixels


@dataclass(frozen=True)
class Loads:
    """The module of one engine."""

    engine: str

    def load(self, model: str, *, pixels: Pixels | None = None, **settings: Any) -> Any:
        generation = {name: settings.pop(name) for name in Generation.__dataclass_fields__ if name in settings}
        choice = choose(model, self.engine, settings)
        module = importlib.import_module(f"gapbench.engines.{self.engine}")
        return module.load(model, Generation(**generation), pixels or Pixels(), choice.options)

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(f"gapbench.engines.{self.engine}"), name)


transformers, vllm, server = Loads("transformers"), Loads("vllm"), Loads("server")
