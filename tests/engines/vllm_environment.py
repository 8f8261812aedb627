"""The environment that has vLLM: its own, because vLLM wants its own torch. `.ci/vllm-environment` makes one in .vllm.

    answers = ask(folder, {"glance": entry("glance", requests)})["glance"]["answers"]
    with server("glance") as url: ...

`GAPBENCH_VLLM_PYTHON` names another one. Tests that need it are skipped where there is none.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gapbench.engines.models import resolve
from gapbench.types import Request

ROOT = Path(__file__).parents[2]
# One process, one thread, little memory: what suits tests on a shared machine. `load` itself sets none of it.
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
START_SECONDS = 400


def python() -> str:
    """The interpreter of that environment; skips the test where there is none, unless one was named."""
    if named := os.environ.get("GAPBENCH_VLLM_PYTHON"):
        return named
    interpreter = ROOT / ".vllm" / "bin" / "python"
    if not interpreter.exists():
        pytest.skip(f"no vLLM environment ({interpreter}); make one with .ci/vllm-environment, in minutes and 3 GB")
    return str(interpreter)


def environment(**more: str) -> dict[str, str]:
    """The variables its processes get."""
    return {**os.environ, **SETTINGS, "PYTHONPATH": str(ROOT), **more}


def entry(model: str, requests: Sequence[Request], load: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """One entry of a job of `ask`; see ask_vllm.py. `load` are more arguments of the engine's `load`."""
    arguments = {"model": model, "max_new_tokens": 8, **(load or {})}
    return {"load": arguments, "settings": {}, "requests": list(requests), **more}


def ask(folder: Path, job: dict[str, Any], **settings: str) -> dict[str, Any]:
    """Ask the vLLM engine in its environment; images travel as PNG files in `folder`."""
    interpreter = python()
    for name, part in job.items():
        for number, request in enumerate(part["requests"]):
            files = []
            for index, image in enumerate(request.images):
                files.append(f"{name}-{number}-{index}.png")
                image.save(folder / files[-1])
            part["requests"][number] = {
                "key": request.key, "images": files, "prompt": request.prompt, "error": request.error,
            }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job))
    command = [interpreter, str(ROOT / "tests" / "engines" / "ask_vllm.py"), str(folder)]
    # a session of its own, because a job may interrupt its whole process group
    done = subprocess.run(
        command, env=environment(**settings), capture_output=True, text=True, timeout=900, start_new_session=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answers: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    return answers


@contextmanager
def server(model: str, *arguments: str) -> Iterator[str]:
    """vLLM's own OpenAI-compatible server on loopback; the base URL, ending in /v1. The model is called `tested`."""
    port = free_port()
    process = start(model, port, *arguments)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def start(model: str, port: int, *arguments: str) -> subprocess.Popen[bytes]:
    """That server, ready at a port of loopback; the leader of its own process group, which the caller ends."""
    command = [
        python(), str(ROOT / "tests" / "engines" / "serve_vllm.py"), "--model", resolve(model), "--served-model-name",
        "tested", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len", "auto",
        "--enforce-eager", "--limit-mm-per-prompt", '{"video": 0}', *arguments,
    ]  # fmt: skip
    settings = environment(VLLM_ENABLE_V1_MULTIPROCESSING="1", VLLM_NO_USAGE_STATS="1", VLLM_SERVER_DEV_MODE="1")
    with tempfile.TemporaryFile() as output:  # a pipe that nobody reads would fill up and stop the server
        process = subprocess.Popen(command, env=settings, stdout=output, stderr=output, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    return process
            except OSError:
                time.sleep(0.5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
        output.seek(0)
        pytest.fail(f"vLLM's server did not start: {output.read().decode(errors='replace')[-4000:]}")
