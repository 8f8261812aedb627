"""vLLM's processes end with ours, however ours ends.

    end_with_us(multiprocessing.active_children())

vLLM works in child processes that wait for the next request for ever if whoever started them is killed outright; the
memory they hold on a device would keep the same command from going on. A guard waits for the end of a pipe, which
comes even then, and ends them.

Limits: a machine that kills the guard, too (a job's whole control group, say), ends vLLM's processes as well.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from multiprocessing.process import BaseProcess

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
