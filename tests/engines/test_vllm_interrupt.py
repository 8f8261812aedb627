"""Ctrl-C while vLLM is at work: the run ends at once, with what was answered, and nothing runs on behind our back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from engines import vllm_environment

pytestmark = pytest.mark.evidence


def test_ctrl_c_ends_vllm_and_keeps_what_was_answered(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command_line = [vllm_environment.python(), "-m", "gapbench", "measure", "glance", "-b", "signs:samples=600",
                    "--engine", "vllm", "--no-selfcheck", "--out", str(out)]  # fmt: skip
    process = subprocess.Popen(
        command_line, env=vllm_environment.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    path = out / "records.jsonl"
    try:
        while process.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") > 30):
            time.sleep(0.02)
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        took = time.monotonic() - started
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 130, errors
    assert took < 20
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    kept = path.read_bytes()
    assert kept.endswith(b"\n")
    throughput = json.loads((out / "run.json").read_text())["sessions"][0]["throughput"]
    assert throughput["answers"] == kept.count(b"\n") < 1200
    assert throughput["waited_for_images"] is not None
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
