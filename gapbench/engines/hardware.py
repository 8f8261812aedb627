"""The hardware of a session."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def hardware() -> dict[str, Any]:
    """Processor type, core and thread counts, and accelerator names. No host or user names."""
    import torch

    details: dict[str, Any] = {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count(),
                             "threads": torch.get_num_threads()}  # fmt: skip
    if torch.cuda.is_available():
        details["accelerators"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        details["cuda"] = torch.version.cuda
    return details


def memory(device: str) -> tuple[int, int] | None:
    """Bytes of memory of a device, all and free; for `cuda` of all GPUs together. None where nothing says it."""
    import torch

    kind, _, number = device.partition(":")
    if kind == "cuda":
        of_each = [torch.cuda.mem_get_info(int(n)) for n in ([number] if number else range(torch.cuda.device_count()))]
        return sum(total for _, total in of_each), sum(free for free, _ in of_each)
    try:  # a GPU of Apple shares the machine's memory
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return total, int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return total, total
