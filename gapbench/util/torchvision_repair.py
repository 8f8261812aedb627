"""Make torchvision importable beside a CPU-only torch.

    from gapbench.util.torchvision_repair import repair
    repair()                      # "repaired" or "not needed"; call it before transformers is imported

The torchvision wheels on PyPI are compiled against CUDA, and their library cannot be loaded beside a CPU-only torch.
torchvision ignores that, then registers two operators that the library would have declared, and fails with "operator
torchvision::nms does not exist". Most image processors of transformers then fail to import. Declaring the two
operators is enough, because resizing, cropping and normalising are plain torch.

Limits: the repair holds for this process only; a server in another process needs its own working torchvision. Box
operators (`torchvision.ops.nms`) and image decoding (`torchvision.io`) stay unavailable; gapbench uses neither.
"""

from __future__ import annotations

import importlib
import sys
from typing import Literal

from gapbench.errors import ModelError

_UNDECLARED = "operator torchvision::nms does not exist"
_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def repair() -> Literal["not needed", "repaired"]:
    """Import torchvision, and declare its two missing operators if nothing else is wrong.

    Once torchvision is imported, further calls do nothing and return "not needed".

    Raises ModelError if torch or torchvision is missing, or if torchvision fails for any other reason.
    """
    try:
        import torch
    except ImportError as error:
        raise ModelError(f"torch cannot be imported ({error}). Models need it: pip install torch") from error
    try:
        importlib.import_module("torchvision")
        return "not needed"
    except ImportError as error:
        raise ModelError(_remedy(torch.__version__, error)) from error
    except Exception as error:
        if _UNDECLARED not in str(error):
            raise ModelError(_remedy(torch.__version__, error)) from error
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    try:
        for operator in _OPERATORS:
            if not hasattr(torch.ops.torchvision, operator):
                torch.library.define(f"torchvision::{operator}", _SCHEMA)
        importlib.import_module("torchvision")
    except Exception as error:
        raise ModelError(_remedy(torch.__version__, error)) from error
    return "repaired"


def _remedy(torch_version: str, error: Exception) -> str:
    """The error message, with the release of torchvision that was made for this torch."""
    major, minor = torch_version.split(".")[:2]
    # torchvision 0.(15 + n) is the release made for torch 2.n: 0.15 for 2.0, 0.28 for 2.13.
    release = f"0.{15 + int(minor)}" if major == "2" else ""
    requirement = f"torchvision {release}.x, made for torch {major}.{minor}" if release else "the matching torchvision"
    package = f"torchvision=={release}.0" if release else "torchvision"
    return (
        f"torchvision cannot be imported beside torch {torch_version} ({type(error).__name__}: {error}). "
        f"Image processors need {requirement}: pip install {package}"
    )
