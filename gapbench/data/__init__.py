"""From benchmark files to samples, and the names that the author of a benchmark file needs, all in one place.

    from gapbench.data import Card, Sample, read_rows

Importing this package loads none of its modules; each name is imported from its module when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gapbench.util.lazy import lazy_names

__all__ = [
    "TOLERANCE", "AnswerType", "BenchmarkError", "Box", "Card", "Protocol", "Published", "Row", "Sample", "SampleError",
    "four_numbers", "inside", "open_table", "read_rows", "stored_size", "unpacked",
]  # fmt: skip

if TYPE_CHECKING:
    from gapbench.data.archives import inside, unpacked
    from gapbench.data.table_reader import Row, open_table, read_rows
    from gapbench.errors import BenchmarkError, SampleError
    from gapbench.types import AnswerType, Box, Card, Protocol, Published, Sample
    from gapbench.views.boxes import TOLERANCE, four_numbers
    from gapbench.views.images import stored_size

__getattr__ = lazy_names(
    __name__,
    {
        "gapbench.types": ("AnswerType", "Box", "Card", "Protocol", "Published", "Sample"),
        "gapbench.errors": ("BenchmarkError", "SampleError"),
        "gapbench.data.table_reader": ("Row", "open_table", "read_rows"),
        "gapbench.data.archives": ("inside", "unpacked"),
        "gapbench.views.images": ("stored_size",),
        "gapbench.views.boxes": ("TOLERANCE", "four_numbers"),
    },
)
