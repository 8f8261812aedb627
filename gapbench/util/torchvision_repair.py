"""Make torchvision importable beside a CPU-only torch.

    from gapbench.util.torchvision_repair import repair
    repair()                      # "repaired" or "not needed"; call it before transformers is imported

The torchvision wheels on PyPI are compiled against CUDA. Beside a CPU-only torch their library cannot be loaded;
torchvision swallows that, then describes two operators that the library would have declared, and dies with
"operator torchvision::nms does not exist". Most image processors of transformers go down with it. Declaring the
two operators is enough: resizing, cropping and normalising are plain torch.

Limits: works in this process only, so a server started beside it needs its own working torchvision; box operators
(`torchvision.ops.nms`) and image decoding (`torchvision.io`) stay unavailable, and gapbench uses neither.
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
    """Import torchvision, declaring its two missing operators if that is all it lacks.

    Idempotent: once torchvision is imported, further calls do nothing and return "not needed".

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
    """The message for a torchvision that cannot be imported, naming the release made for this torch."""
    major, minor = torch_version.split(".")[:2]
    # torchvision 0.(15 + n) is the release made for torch 2.n: 0.15 for 2.0, 0.28 for 2.13.
    release = f"0.{15 + int(minor)}" if major == "2" else ""
    wanted = f"torchvision {release}.x, made for torch {major}.{minor}" if release else "the matching torchvision"
    package = f"torchvision=={release}.0" if release else "torchvision"
    return (
        f"torchvision cannot be imported beside torch {torch_version} ({type(error).__name__}: {error}). "
        f"Image processors need {wanted}: pip install {package}"
    )
