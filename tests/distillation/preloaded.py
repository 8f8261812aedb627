"""What a training imports, imported at once; `forked` forks its processes after that."""

from __future__ import annotations

import importlib

from gapbench.util.torchvision_repair import repair

repair()
for name in (
    "torch.distributed.fsdp", "transformers.models.auto.processing_auto",
    "transformers.models.qwen3_vl.modeling_qwen3_vl", "gapbench.commands.compare", "gapbench.commands.distill",
    "gapbench.commands.measure", "gapbench.distillation.training", "distillation.fsdp_on_cpu",
):  # fmt: skip
    importlib.import_module(name)
