"""The numbered parts of a table, which the Hub splits at some size."""

from __future__ import annotations

from pathlib import Path

from gapbench.errors import BenchmarkError


def parts(data: Path, pattern: str) -> list[Path]:
    """The files under a folder that match a pattern, in order. Raises BenchmarkError when there is none."""
    found = sorted(data.glob(pattern))
    if not found:
        raise BenchmarkError(f"{data}: no file matches {pattern}. Expected a copy of the Hub data set's folder.")
    return found
