"""`gapbench` sharded by FSDP2 over CPU processes, for the tests: the same code as on GPUs, without one.

    accelerate launch --use_fsdp --fsdp_version 2 --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP --num_processes 2 \\
        tests/distillation/fsdp_on_cpu.py distill …

torch shards on a CPU, but accelerate turns to it on GPUs alone; all that is changed here is that it does on a CPU, too,
under the same policy of precisions.
"""

from __future__ import annotations

from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from gapbench.__main__ import main

_as_published = AcceleratorState.__init__


def _on_cpu(self: Any, *arguments: Any, fsdp_plugin: Any = None, **more: Any) -> None:
    new = not self.initialized
    _as_published(self, *arguments, fsdp_plugin=fsdp_plugin, **more)
    if new and fsdp_plugin is not None:
        if self._mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(self._mixed_precision)
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def shard_on_cpu() -> None:
    """Let accelerate shard in this process."""
    AcceleratorState.__init__ = _on_cpu


if __name__ == "__main__":
    shard_on_cpu()
    main()
