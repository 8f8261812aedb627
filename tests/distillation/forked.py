"""`gapbench` in processes of its own, quickly: forked from one that has imported everything. They may be killed.

    ending = run(arguments(…), out, kill_at=17)              # killed before the 17th time it writes below `out`
    ending = run(arguments(…), out, FSDP, processes=2, seconds=3)      # two processes, both killed after 3 seconds

The processes of one training get the environment that `torchrun` or `accelerate launch` would give them. If one ends
with a fault, the others are killed, as a launcher does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillation.trainings import free_port

NEVER = 10**9
DDP: Mapping[str, str] = {}
FSDP: Mapping[str, str] = {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
}  # fmt: skip


@dataclass(frozen=True)
class Ending:
    """How the processes ended: exit codes (-9: killed), how often each wrote, and what they said on standard error."""

    codes: tuple[int, ...]
    moments: tuple[int, ...]
    errors: str


def run(
    words: Sequence[str], out: Path, launch: Mapping[str, str] | None = None, *, kill_at: int = NEVER, rank: int = 0,
    seconds: float = 600, processes: int = 1,
) -> Ending:  # fmt: skip
    """Run `gapbench` until it ends, until process `rank` is killed at its `kill_at`-th moment of writing below `out`,
    or until all processes are killed after `seconds`. `launch` is `DDP` or `FSDP`, or None for one process alone.

    A moment is before something is opened, renamed or removed: what was opened last may be half written then.
    """
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    folders = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    os.environ |= {**environment, "PYTHONPATH": os.pathsep.join(folders)}  # read once, when the server of forks starts
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distillation.preloaded"])
    world = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1",
             "MASTER_PORT": free_port()}  # fmt: skip
    started = []
    moments = [context.RawValue("i", 0) for _ in range(processes)]
    said = [out.with_name(f"{out.name}.{number}.txt") for number in range(processes)]
    for number in range(processes):
        ranks = {} if launch is None else {**launch, **world, "RANK": str(number), "LOCAL_RANK": str(number)}
        at = kill_at if number == rank else NEVER
        watched = (str(out), at, moments[number])
        arguments = (list(words), {**environment, **ranks}, watched, str(said[number]))
        started.append(context.Process(target=_gapbench, args=arguments))
    for process in started:
        process.start()
    deadline = time.monotonic() + seconds
    while any(p.exitcode is None for p in started) and not any(p.exitcode for p in started):
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    for process in started:
        if process.exitcode is None:
            process.kill()
        process.join()
    errors = "\n".join(path.read_text(errors="replace") for path in said if path.exists())
    return Ending(tuple(int(p.exitcode or 0) for p in started), tuple(m.value for m in moments), errors)


def _gapbench(words: list[str], environment: dict[str, str], watched: tuple[str, int, Any], said: str) -> None:
    """In the new process."""
    folder, kill_at, moments = watched
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ |= environment
    if "ACCELERATE_USE_FSDP" in environment:
        from accelerate.state import AcceleratorState

        from distillation.fsdp_on_cpu import _on_cpu

        AcceleratorState.__init__ = _on_cpu

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        moves = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
        writes = event == "open" and len(arguments) > 2 and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        inside = (os.fspath(a).startswith(folder) for a in arguments[:2] if isinstance(a, str | os.PathLike))
        if (moves or writes) and any(inside):
            moments.value += 1
            if moments.value == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    from gapbench.__main__ import main

    sys.argv = ["gapbench", *words]
    main()
