"""gapbench: measure, explain and close the regional-to-global perception gap of multimodal models.

    import gapbench
    run = gapbench.measure("glance", ["signs"], out="runs/glance")
    print(run.summary["verdict"])
    done = gapbench.distill("glance", "signs", recipe="demo", eval=["signs"], out="runs/distill")
    print(done.comparison.summary["verdict"])

Importing this package loads neither torch nor transformers. The functions that need them import them when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gapbench.util.lazy import lazy_names
from gapbench.version import VERSION

__version__ = VERSION
__all__ = [
    "Board", "Card", "Comparison", "Distilled", "Judge", "Record", "Run", "Sample", "__version__", "board", "compare",
    "distill", "doctor", "export", "load_run", "load_runs", "locate", "measure", "merge", "power", "propose", "score",
]  # fmt: skip

if TYPE_CHECKING:
    from gapbench.commands.board import Board, board
    from gapbench.commands.compare import Comparison, compare
    from gapbench.commands.distill import Distilled, distill
    from gapbench.commands.doctor import doctor
    from gapbench.commands.export import export
    from gapbench.commands.locate import locate
    from gapbench.commands.measure import measure
    from gapbench.commands.merge import merge
    from gapbench.commands.power import power
    from gapbench.commands.propose import propose
    from gapbench.commands.report import load_run, load_runs
    from gapbench.judging import Judge
    from gapbench.runs.run import Run
    from gapbench.scoring import score
    from gapbench.types import Card, Record, Sample

__getattr__ = lazy_names(
    __name__,
    {
        "gapbench.commands.board": ("Board", "board"),
        "gapbench.commands.compare": ("Comparison", "compare"),
        "gapbench.commands.distill": ("Distilled", "distill"),
        "gapbench.commands.doctor": ("doctor",),
        "gapbench.commands.export": ("export",),
        "gapbench.commands.locate": ("locate",),
        "gapbench.commands.measure": ("measure",),
        "gapbench.commands.merge": ("merge",),
        "gapbench.commands.power": ("power",),
        "gapbench.commands.propose": ("propose",),
        "gapbench.commands.report": ("load_run", "load_runs"),
        "gapbench.judging": ("Judge",),
        "gapbench.runs.run": ("Run",),
        "gapbench.scoring": ("score",),
        "gapbench.types": ("Card", "Record", "Sample"),
    },
)


def __dir__() -> list[str]:
    return __all__
