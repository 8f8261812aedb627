"""The commands of the workflow in docs/, run as GitHub would: exit codes 0, 1 and 2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

WORKFLOW = Path(__file__).parents[2] / "docs" / "ci-gate.yml"


def run_step(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A step of the workflow, with this checkout as the installed gapbench."""
    shim = folder / "bin" / "gapbench"
    shim.parent.mkdir(exist_ok=True)
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gapbench "$@"\n')
    shim.chmod(0o755)
    paths = {"PATH": f"{shim.parent}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    return subprocess.run(
        ["bash", "-e", "-c", command], cwd=folder, env={**os.environ, **paths, **environment},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_workflow_passes_fails_and_says_what_it_cannot_evaluate(tmp_path: Path) -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    steps = {step["name"]: step["run"] for step in workflow["jobs"]["gate"]["steps"] if "run" in step}
    assert steps.pop("Install") == "pip install gapbench"
    environment = {**workflow["env"], "LIMIT": "40"}
    measured = run_step(steps["Measure"], tmp_path, **environment)
    assert measured.returncode == 0, measured.stderr
    shutil.copytree(tmp_path / "runs" / "candidate", tmp_path / "runs" / "baseline")

    passed = run_step(steps["Compare"], tmp_path, **environment)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert passed.stdout.count("ok: ") == 2
    assert "pull-request" in (tmp_path / "runs" / "gate" / "comparison.md").read_text()
    assert run_step(steps["Summary"], tmp_path, **environment).returncode == 0
    assert "pull-request" in (tmp_path / "summary.md").read_text()

    # A run is not worse than itself. The interval around its change lies below a high limit.
    failed = run_step(steps["Compare"].replace("full < -2", "full < 99"), tmp_path, **environment)
    assert (failed.returncode, failed.stdout.count("FAIL: full < 99: pull-request on signs")) == (1, 1), failed.stdout
    unknown = run_step(steps["Compare"].replace("full < -2", "speed < -2"), tmp_path, **environment)
    assert unknown.returncode == 2
    assert "the metric 'speed' is unknown" in unknown.stderr
