"""Tools without knowledge of models or benchmarks: files, progress, interrupts, read-ahead, text, lazy imports."""
