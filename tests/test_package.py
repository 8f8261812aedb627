"""What is installed is what was developed: the wheel finds the catalogue and the embedded model in a clean place."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    return next(out.glob("*.whl"))


def test_the_wheel_holds_catalogue_model_templates_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "gapbench/_shipped/benchmarks/signs.py",
        "gapbench/_shipped/benchmarks/suites.yaml",
        "gapbench/_shipped/distill/vision-opd.yaml",
        "gapbench/report/templates/comparison.html.j2",
        "gapbench/report/templates/board.js",
        "gapbench/glance/model/model.safetensors",
        "gapbench/report/templates/html.j2",
        "gapbench/judging/known_pairs.jsonl",
        "gapbench/py.typed",
    ):
        assert name in names
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/", "distill/"))]


@pytest.mark.slow
def test_an_installed_wheel_measures_like_a_checkout(wheel: Path, tmp_path: Path) -> None:
    """Installed into a fresh environment that shares only the dependencies with this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=300)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]  # the one that is here, as an install of it takes longer
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", wheel], check=True, timeout=300)
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # Only third-party packages are lent: an editable gapbench is found by a .pth file, which this path does not read.
    here = next(p for p in sys.path if p.endswith("site-packages"))
    environment = {**os.environ, "PYTHONPATH": here}
    code = "import gapbench, gapbench.data.catalogue as c, gapbench.distillation.recipe as r; "
    code += "print(gapbench.__file__, c.FOLDER, c.names(), r.load('demo').steps)"
    shown = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert packages in shown.stdout
    assert "signs" in shown.stdout
    done = subprocess.run(
        [python, "-m", "gapbench", "measure", "glance", "-b", "signs", "--limit", "20", "--out", tmp_path / "run"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "from the crop" in done.stdout
