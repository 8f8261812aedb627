"""From benchmark files to samples, and the names that the author of a benchmark file needs, all in one place.

    from gapbench.data import Card, Sample, read_rows

Importing this package loads none of its modules; each name is imported from its module when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "TOLERANCE", "AnswerType", "BenchmarkError", "Box", "Card", "Protocol", "Row", "Sample", "SampleError",
    "four_numbers", "inside", "open_table", "read_rows", "stored_size", "unpacked",
]  # fmt: skip

if TYPE_CHECKING:
    from gapbench.data.archives import inside, unpacked
    from gapbench.data.table_reader import Row, open_table, read_rows
    from gapbench.errors import BenchmarkError, SampleError
    from gapbench.types import AnswerType, Box, Card, Protocol, Sample
    from gapbench.views.boxes import TOLERANCE, four_numbers
    from gapbench.views.images import stored_size

_HOMES = {
    "AnswerType": "types",
    "Box": "types",
    "Card": "types",
    "Protocol": "types",
    "Sample": "types",
    "BenchmarkError": "errors",
    "SampleError": "errors",
    "Row": "data.table_reader",
    "open_table": "data.table_reader",
    "read_rows": "data.table_reader",
    "inside": "data.archives",
    "unpacked": "data.archives",
    "stored_size": "views.images",
    "TOLERANCE": "views.boxes",
    "four_numbers": "views.boxes",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gapbench.data' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"gapbench.{_HOMES[name]}"), name)
