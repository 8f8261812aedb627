"""Files, progress, interrupts, reading ahead, text: what knows nothing of models or benchmarks."""
