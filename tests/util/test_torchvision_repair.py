"""torchvision imports beside a CPU-only torch after `repair()`; every other failure is explained.

Each test runs in a fresh interpreter, because earlier imports change the result.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BROKEN_LIKE_ON_CPU = """
import torch
for name in ("nms", "qnms"):
    @torch.library.register_fake(f"torchvision::{name}")
    def fake(dets, scores, iou_threshold):
        return dets
"""


def python(code: str, *folders: Path) -> str:
    """The output of `code` in a fresh interpreter that imports from `folders` first."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*folders, ROOT)))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fake_torchvision(folder: Path, code: str) -> Path:
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(code)
    return folder


def test_an_image_processor_imports_and_runs_after_the_repair() -> None:
    printed = python(
        "from gapbench.util.torchvision_repair import repair\n"
        "first = repair()\n"
        "from PIL import Image\n"
        "from transformers import Qwen2VLImageProcessor\n"
        "out = Qwen2VLImageProcessor()(images=Image.new('RGB', (56, 84), 'red'), return_tensors='pt')\n"
        "print(first, out['image_grid_thw'].tolist())"
    )
    assert printed in ("repaired [[1, 6, 4]]", "not needed [[1, 6, 4]]")


def test_the_second_call_does_nothing() -> None:
    printed = python(
        "import sys\n"
        "from gapbench.util.torchvision_repair import repair\n"
        "repair(); before = {n: id(m) for n, m in sys.modules.items()}\n"
        "second = repair(); after = {n: id(m) for n, m in sys.modules.items()}\n"
        "print(second, before == after)"
    )
    assert printed == "not needed True"


def test_undeclared_operators_are_declared(tmp_path: Path) -> None:
    printed = python(
        "from gapbench.util.torchvision_repair import repair\n"
        "print(repair(), repair())\n"
        "import torch\n"
        "print(torch.ops.torchvision.nms.default.name(), torch.ops.torchvision.qnms.default.name())",
        fake_torchvision(tmp_path, BROKEN_LIKE_ON_CPU),
    )
    assert printed.splitlines() == ["repaired not needed", "torchvision::nms torchvision::qnms"]


def test_a_failed_import_before_the_repair_does_no_harm(tmp_path: Path) -> None:
    printed = python(
        "try:\n    import torchvision\nexcept RuntimeError as error:\n    print(error)\n"
        "from gapbench.util.torchvision_repair import repair\n"
        "print(repair())",
        fake_torchvision(tmp_path, BROKEN_LIKE_ON_CPU),
    )
    assert printed.splitlines() == ["operator torchvision::nms does not exist", "repaired"]


CAUGHT = (
    "from gapbench.errors import ModelError\n"
    "from gapbench.util.torchvision_repair import repair\n"
    "try:\n    repair()\n    print('no error')\n"
    "except ModelError as error:\n    print(error)"
)


def test_a_missing_torchvision_says_what_to_install() -> None:
    printed = python(
        "import sys\nsys.modules['torchvision'] = None\nimport torch\ntorch.__version__ = '2.13.0+cpu'\n" + CAUGHT
    )
    assert "beside torch 2.13.0+cpu" in printed
    assert "torchvision 0.28.x" in printed
    assert "pip install torchvision==0.28.0" in printed


def test_a_missing_torch_says_what_to_install() -> None:
    assert "pip install torch" in python("import sys\nsys.modules['torch'] = None\n" + CAUGHT)


@pytest.mark.parametrize("failure", ["RuntimeError('CUDA major versions differ')", "OSError('libc10.so')"])
def test_any_other_failure_is_reported_not_repaired(tmp_path: Path, failure: str) -> None:
    printed = python(CAUGHT, fake_torchvision(tmp_path, f"raise {failure}"))
    assert failure.split("'")[1] in printed
    assert "pip install torchvision==" in printed
