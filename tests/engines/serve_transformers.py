"""`transformers serve`, beside a CPU torch as well: `python tests/engines/serve_transformers.py MODEL --port …`.

PyPI's torchvision is compiled for CUDA, and beside a CPU torch it decodes no images. The server hands it all it gets,
so there Pillow decodes them: the same pixels for PNG.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from gapbench.util.torchvision_repair import repair


def decode_with_pillow() -> None:
    """Replace torchvision's decoder; to be called before anything of transformers is imported."""
    import numpy as np
    import torch
    import torchvision.io
    from PIL import Image

    def decode(data: torch.Tensor, mode: Any = None) -> torch.Tensor:
        image = Image.open(io.BytesIO(data.numpy().tobytes())).convert("RGB")
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()

    torchvision.io.decode_image = decode


if __name__ == "__main__":
    if repair() == "repaired":
        decode_with_pillow()
    from transformers.cli.transformers import app

    sys.argv.insert(1, "serve")
    app()
