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
        "measure": "gapbench.commands.measure",
        "merge": "gapbench.commands.merge",
        "Judge": "gapbench.judging",
        "locate": "gapbench.commands.locate",
        "propose": "gapbench.commands.propose",
        "distill": "gapbench.commands.distill",
        "doctor": "gapbench.commands.doctor",
        "Distilled": "gapbench.commands.distill",
        "board": "gapbench.commands.board",
        "Board": "gapbench.commands.board",
        "compare": "gapbench.commands.compare",
        "Comparison": "gapbench.commands.compare",
        "power": "gapbench.commands.power",
        "Run": "gapbench.runs.run",
        "export": "gapbench.commands.export",
        "load_run": "gapbench.commands.report",
        "load_runs": "gapbench.commands.report",
        "score": "gapbench.scoring",
        "Sample": "gapbench.types",
        "Record": "gapbench.types",
        "Card": "gapbench.types",
    },
)


def __dir__() -> list[str]:
    return __all__
