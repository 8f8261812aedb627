"""hr_bench_8k.parquet."""

from benchmarks.miniatures._hrbench import write_8k as write

__all__ = ["write"]
