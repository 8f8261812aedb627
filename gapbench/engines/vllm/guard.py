"""vLLM's processes end with ours, however ours ends; and where one of theirs ends, ours is told.

    end_with_us(children)                # children = multiprocessing.active_children()
    tell_of_their_end(children, llm)

vLLM works in child processes that wait for the next request for ever if whoever started them is killed outright; the
memory they hold on a device would keep the same command from going on. A guard waits for the end of a pipe, which
comes even then, and ends them. The other way round, vLLM (0.32) notices that a process of its own was killed, by want
of memory say, but whoever waits for an answer at that moment is not woken, and would wait for ever.

Limits: a machine that kills the guard, too (a job's whole control group, say), ends vLLM's processes as well.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

GUARD = """
import sys
import psutil
sys.stdin.read()
left = []
for number, began in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        process = psutil.Process(int(number))
        if process.create_time() == float(began):
            process.terminate()
            left.append(process)
    except psutil.Error:
        pass
for process in psutil.wait_procs(left, timeout=10)[1]:
    process.kill()
"""
_guards: list[subprocess.Popen[bytes]] = []  # a pipe is closed when nothing refers to it any more


def end_with_us(processes: Iterable[BaseProcess]) -> None:
    """End these children when this process is gone, kindly at first."""
    import psutil

    named = [str(x) for p in processes for x in (p.pid, psutil.Process(p.pid).create_time())]
    if named:  # in a session of its own, where Ctrl-C does not reach it
        command = [sys.executable, "-c", GUARD, *named]
        _guards.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))  # noqa: S603


def tell_of_their_end(processes: Sequence[BaseProcess], llm: Any) -> None:
    """Wake who waits for vLLM's next answer when one of these is gone; vLLM then raises that it is dead."""
    answers = getattr(llm.llm_engine.engine_core, "outputs_queue", None)
    if answers is None or not processes:  # vLLM works in this process
        return
    sentinels = [process.sentinel for process in processes]

    def watch() -> None:  # without a reference to `llm`, which ends its processes when nothing refers to it
        wait(sentinels)
        answers.put(RuntimeError("a process of vLLM has ended"))

    threading.Thread(target=watch, name="gapbench-vllm-watch", daemon=True).start()
