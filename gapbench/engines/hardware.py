"""What a session ran on."""

from __future__ import annotations

import os
import platform
from typing import Any


def hardware() -> dict[str, Any]:
    """Processor, cores, and accelerators by name; no host or user names."""
    import torch

    found: dict[str, Any] = {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count(),
                             "threads": torch.get_num_threads()}  # fmt: skip
    if torch.cuda.is_available():
        found["accelerators"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found["cuda"] = torch.version.cuda
    return found
