"""data/train-*.parquet in two parts."""

from benchmarks.miniatures._mme_realworld import write

__all__ = ["write"]
