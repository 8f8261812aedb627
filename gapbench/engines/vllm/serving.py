"""Several copies of a model: vLLM's own data-parallel server, started here and asked through the server engine.

    engine = serve(chat, {"model": "Qwen/Qwen3-VL-4B-Instruct", "data_parallel_size": 8, ...}, generation, pixels, info)
    engine.close()          # ends the server; so does the end of this process, whatever ends it

The server listens at a free port of loopback. It gets the arguments that vLLM gets in process, so `info` is the same
but for `resources`: the copies decide no answer.

Limits: sampling draws other tokens than in process. So far run on CPUs only, never on GPUs.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import IO, Any

from huggingface_hub.utils import are_progress_bars_disabled

from gapbench.engines import server
from gapbench.engines.chat import Chat
from gapbench.engines.options import Generation
from gapbench.engines.vllm.guard import end_now, end_with_this_process
from gapbench.engines.vllm.starting import start_error
from gapbench.scoring.thoughts import Tags
from gapbench.util.terminal import say
from gapbench.views.pixels import Pixels

LOG_CHARACTERS = 2000
"""Characters of the server's log that an error quotes: its end."""
NOTICE_SECONDS = 30
"""Seconds between two lines that say that the server is still starting."""


def serve(
    chat: Chat,
    arguments: Mapping[str, Any],
    generation: Generation,
    pixels: Pixels,
    info: dict[str, Any],
    tags: Tags = (),
) -> server.ServerEngine:
    """Start the server and wait until it is ready. Raises ModelError, with the end of its log, if it ends before."""
    model = str(info["model"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with tempfile.TemporaryFile() as log:  # a pipe that nobody reads would fill up and stop the server
        typed = command(model, port, arguments)  # in a session of its own, out of reach of Ctrl-C
        process = subprocess.Popen(typed, stdout=log, stderr=log, start_new_session=True)  # noqa: S603
        guard = end_with_this_process([process])
        try:
            _wait(model, process, f"http://127.0.0.1:{port}/health", log)
            off = {"chat_template_kwargs": dict(chat.thinking.switches)}
            options = server.ServerOptions(base_urls=(f"http://127.0.0.1:{port}/v1",), extra=off, reasoning_tags=tags)
            engine = server.load(model, generation, pixels, options)
            engine.client.escape = chat.escape
            return replace(engine, fixed_info=info, chat=chat, end=partial(end_now, process, guard))
        except BaseException:
            end_now(process, guard)
            raise


def command(model: str, port: int, arguments: Mapping[str, Any]) -> list[str]:
    """`vllm serve` with these arguments, as a command line. The server calls the model `model`."""
    typed = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(arguments["model"]), "--host=127.0.0.1",
             f"--port={port}", f"--served-model-name={model}", "--uvicorn-log-level=warning",
             "--enable-prompt-tokens-details"]  # fmt: skip
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            typed.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list | tuple):
            typed += [f"--{flag}", *map(str, value)]
        elif value is not None and name != "model":
            typed.append(f"--{flag}={json.dumps(value) if isinstance(value, Mapping) else value}")
    return typed


def _wait(model: str, process: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
    """Wait until the server answers at `url`. Raises ModelError if it ends instead."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is not behind a proxy
    started = said = time.monotonic()
    while process.poll() is None:
        try:
            with opener.open(url, timeout=10):
                return
        except OSError:
            time.sleep(0.5)
        if time.monotonic() - said > NOTICE_SECONDS and not are_progress_bars_disabled():
            said = time.monotonic()
            say(f"{model}: vLLM's server has been starting for {said - started:.0f} s …")
    log.seek(0)
    text = log.read().decode(errors="replace").strip()
    first = re.search(r"\w+(Error|Exception): .+", text)  # the cause; what follows it are its consequences
    cause = f", after {first[0]}" if first else ""
    tail = text[-LOG_CHARACTERS:]
    raise start_error(model, f"its server ended with code {process.returncode}{cause}; the end of its log: {tail}")
