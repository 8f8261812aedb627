"""Finds the numbered files into which the Hub splits a large table."""

from __future__ import annotations

from pathlib import Path

from gapbench.data import BenchmarkError


def parts(data: Path, pattern: str) -> list[Path]:
    """The files in a folder that match a pattern, sorted. Raises BenchmarkError if no file matches."""
    paths = sorted(data.glob(pattern))
    if not paths:
        raise BenchmarkError(f"{data}: no file matches {pattern}. Expected a copy of the Hub data set's folder.")
    return paths
