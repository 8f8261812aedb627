"""The same file as `treebench`, another part of it."""

from benchmarks.miniatures.treebench import write

__all__ = ["write"]
