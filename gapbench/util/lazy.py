"""Names of a package that are imported from their modules when they are first used.

    __getattr__ = lazy_names(__name__, {"gapbench.commands.measure": ("measure",)})

So `import gapbench` loads neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """A package's `__getattr__`; `names` maps each module to those that it defines."""
    module_of = {name: module for module, defined in names.items() for name in defined}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(module_of[name]), name)

    return get
