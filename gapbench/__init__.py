"""gapbench: measure, explain and close the regional-to-global perception gap of multimodal models.

    import gapbench
    run = gapbench.measure("glance", ["signs"], out="runs/glance")
    print(run.summary["verdict"])
    done = gapbench.distill("glance", "signs", recipe="demo", eval=["signs"], out="runs/distill")
    print(done.comparison.summary["verdict"])

Importing this package loads neither torch nor transformers. The functions that need them import them when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gapbench.version import VERSION

__version__ = VERSION
__all__ = [
    "Card", "Comparison", "Distilled", "Judge", "Record", "Run", "Sample", "__version__", "compare", "distill",
    "load_run", "locate", "measure", "merge",
]  # fmt: skip

if TYPE_CHECKING:
    from gapbench.commands.compare import Comparison, compare
    from gapbench.commands.distill import Distilled, distill
    from gapbench.commands.locate import locate
    from gapbench.commands.measure import measure
    from gapbench.commands.merge import merge
    from gapbench.commands.report import load_run
    from gapbench.judging import Judge
    from gapbench.runs.run import Run
    from gapbench.types import Card, Record, Sample

_HOMES = {
    "measure": "commands.measure",
    "merge": "commands.merge",
    "Judge": "judging",
    "locate": "commands.locate",
    "distill": "commands.distill",
    "Distilled": "commands.distill",
    "compare": "commands.compare",
    "Comparison": "commands.compare",
    "Run": "runs.run",
    "load_run": "commands.report",
    "Sample": "types",
    "Record": "types",
    "Card": "types",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gapbench' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"gapbench.{_HOMES[name]}"), name)
