"""hr_bench_4k.parquet."""

from benchmarks.miniatures._hrbench import write_4k as write

__all__ = ["write"]
