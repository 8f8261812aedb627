"""The hardware of a session."""

from __future__ import annotations

import os
import platform
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
