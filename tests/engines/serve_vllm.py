"""vLLM's own OpenAI-compatible server, ready in a third of the time: `python tests/engines/serve_vllm.py --model …`.

On a CPU vLLM spawns its processes, because OpenMP threads do not survive a fork, and each imports everything anew. With
one thread there is nothing to survive; everywhere else vLLM forks as well.
"""

from __future__ import annotations

import os
from typing import Any


def fork_workers() -> None:
    """Undo vLLM's choice; to be called before anything of vLLM is started."""
    from vllm.platforms.cpu import CpuPlatform

    check = CpuPlatform.check_and_update_config

    def forked(config: Any) -> None:
        check(config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    CpuPlatform.check_and_update_config = staticmethod(forked)
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"


if __name__ == "__main__":
    fork_workers()
    # Not `vllm serve`: the CPU build's command asks for the version of a package called vllm, which it is not.
    from vllm.entrypoints.launchers.api_server.entry import main

    main()
