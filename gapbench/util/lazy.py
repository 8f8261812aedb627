"""Names of a package that are imported from their modules when they are first used.

    __getattr__ = lazy_names(__name__, {"measure": "gapbench.commands.measure"})

So `import gapbench` loads neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`; `modules` maps each name to the module that defines it."""

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    return get
