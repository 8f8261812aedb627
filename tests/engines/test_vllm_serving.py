"""Copies of a model: vLLM's own data-parallel server is started, asked and ended, whatever ends this process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from engines.loads import transformers
from engines.vllm_environment import ROOT, environment, python
from gapbench.engines.vllm.serving import command
from gapbench.glance import FOLDER
from gapbench.types import Request


def test_the_server_gets_the_arguments_that_vllm_gets_in_process() -> None:
    arguments = {"model": "/models/a", "trust_remote_code": False, "enforce_eager": True, "max_model_len": -1,
                 "revision": None, "mm_processor_kwargs": {"max_pixels": 9}, "cudagraph_capture_sizes": [1, 2],
                 "data_parallel_size": 8}  # fmt: skip
    typed = command("owner/a", 4321, arguments)
    assert typed[:5] == [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", "/models/a"]
    assert typed[5:8] == ["--host=127.0.0.1", "--port=4321", "--served-model-name=owner/a"]
    assert typed[10:] == [
        "--no-trust-remote-code", "--enforce-eager", "--max-model-len=-1", '--mm-processor-kwargs={"max_pixels": 9}',
        "--cudagraph-capture-sizes", "1", "2", "--data-parallel-size=8",
    ]  # fmt: skip


@pytest.fixture
def served(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that can run `vllm serve`, which asks for the version of a package called vllm.

    The CPU build's package has another name.
    """
    python()
    metadata = tmp_path / "named" / "vllm-0.32.0+cpu.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")
    return environment(PYTHONPATH=f"{ROOT}:{metadata.parents[1]}")


CODE = """
import json, psutil, sys, time
from PIL import Image
from gapbench.engines import loading
from gapbench.engines.options import Generation
from gapbench.types import Request

model = sys.argv[2]
engine = loading.load(model, loading.choose(model, "auto", {"data_parallel_size": 2}), Generation(8))
children = [child.pid for child in psutil.Process().children(recursive=True)]
images = (Image.new("RGB", (100, 60), (20 * n, 0, 0)) for n in range(8))
answers = {key: answer.error or answer.text for key, answer in
           engine.generate(Request(n, (image,), "Which letter?") for n, image in enumerate(images))}
print(json.dumps({"info": engine.info, "children": children, "answers": answers}), flush=True)
if sys.argv[1] == "close":
    engine.close()
time.sleep(0 if sys.argv[1] == "close" else 600)
"""


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


@pytest.mark.evidence
@pytest.mark.parametrize("ending", ["close", "kill"])
def test_two_copies_answer_as_one_and_leave_nothing_behind(ending: str, served: dict[str, str]) -> None:
    process = subprocess.Popen([python(), "-c", CODE, ending, "glance"], env=served, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    result = json.loads(process.stdout.readline())
    if ending == "kill":
        process.kill()
    process.wait(timeout=60)
    deadline = time.monotonic() + 30
    while alive(result["children"]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not alive(result["children"])
    assert len(result["children"]) > 4, "two copies and more"
    info = result["info"]
    assert (info["engine"], info["dtype"], info["device"]) == ("vllm", "float32", "cpu")
    assert (info["options"], info["resources"]) == ({}, {"data_parallel_size": 2})
    images = (Image.new("RGB", (100, 60), (20 * n, 0, 0)) for n in range(8))
    requests = (Request(str(n), (image,), "Which letter?") for n, image in enumerate(images))
    expected = transformers.load("glance", max_new_tokens=8).generate(requests)
    assert result["answers"] == {key: answer.text for key, answer in expected}


@pytest.mark.evidence
def test_a_server_that_does_not_start_says_why_and_is_gone(served: dict[str, str], tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    typed = [python(), "-c", CODE, "close", str(folder)]
    done = subprocess.run(typed, env=served, capture_output=True, text=True, check=False)
    message = done.stderr[done.stderr.index("gapbench.errors.ModelError") :]
    assert "its server ended with code" in message
    assert "the end of its log" in message
    assert "Cannot find any model weights" in message
