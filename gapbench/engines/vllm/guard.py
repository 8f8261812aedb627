"""End vLLM's processes when this process ends, however it ends, and notice when one of vLLM's processes ends.

    guard = end_with_this_process(children)        # children = multiprocessing.active_children()
    end_now(process, guard)                        # the same at once
    wake_on_exit(children, llm)

If this process is killed outright, vLLM's child processes wait for the next request for ever, and the device memory
they hold would keep the same command from continuing. A guard process therefore waits for the end of a pipe, which
comes even after a kill, and ends the children with all of theirs. `end_now` closes the pipe earlier. Conversely, vLLM
(0.32) notices when one of its own processes is killed, for example when memory runs out, but does not wake the thread
that waits for an answer, which would wait for ever.

Limits: the guard itself can be killed, for example with a job's whole control group; that also kills vLLM's processes.
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
import contextlib, os, sys
numbers, groups, left = [int(number) for number in sys.argv[1::2]], [], []
for number in numbers:
    with contextlib.suppress(OSError):
        groups += [number] if os.getpgid(number) == number else []
import psutil
gone = (psutil.Error, OSError)
sys.stdin.read()
for number, began in zip(numbers, sys.argv[2::2]):
    with contextlib.suppress(*gone):
        process = psutil.Process(number)
        if process.create_time() == float(began):
            left += [process, *process.children(recursive=True)]
for process in left:
    with contextlib.suppress(*gone):
        process.terminate()
for process in psutil.wait_procs(left, timeout=10)[1]:
    with contextlib.suppress(*gone):
        process.kill()
for number in groups:  # orphans of a leader that died earlier
    with contextlib.suppress(*gone):
        os.killpg(number, 9)
"""
Guard = subprocess.Popen[bytes]
_guards: list[Guard] = []  # keeps the pipes open: a pipe closes when nothing refers to it


def end_with_this_process(processes: Iterable[BaseProcess | subprocess.Popen[bytes]]) -> Guard:
    """End these children once this process is gone: terminate them, and kill those that remain after 10 seconds.

    That includes their own children and, of the leader of a process group, the whole group.
    """
    import psutil

    ids_and_times = [str(x) for p in processes for x in (p.pid, psutil.Process(p.pid).create_time())]
    command = [sys.executable, "-c", GUARD, *ids_and_times]  # in a session of its own, out of reach of Ctrl-C
    _guards.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))  # noqa: S603
    return _guards[-1]


def end_now(process: subprocess.Popen[bytes], guard: Guard) -> None:
    """End the process and all that its guard ends; returns when they are gone."""
    assert guard.stdin is not None
    guard.stdin.close()
    process.wait()  # until this is called, the guard sees a process that is there, though it has ended
    guard.wait()
    _guards.remove(guard)


def wake_on_exit(processes: Sequence[BaseProcess], llm: Any) -> None:
    """Wake the thread that waits for vLLM's next answer once one of these is gone; vLLM then raises an error."""
    answers = getattr(llm.llm_engine.engine_core, "outputs_queue", None)
    if answers is None:  # vLLM works in this process
        return
    sentinels = [process.sentinel for process in processes]

    def watch() -> None:  # holds no reference to `llm`, which must end its processes when nothing else refers to it
        wait(sentinels)
        answers.put(RuntimeError("a process of vLLM has ended"))

    threading.Thread(target=watch, name="gapbench-vllm-watch", daemon=True).start()
