"""Both files of HR-Bench; the 4K images are cut from the 8K ones."""

from pathlib import Path

from benchmarks.miniatures._hrbench import write_4k, write_8k


def write(folder: Path) -> None:
    write_4k(folder)
    write_8k(folder)
