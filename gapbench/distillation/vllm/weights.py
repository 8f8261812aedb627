"""How a vLLM in this very process is given new weights: a backend of vLLM's public weight-transfer interface.

    register()
    llm = LLM(..., weight_transfer_config=WeightTransferConfig(backend=BACKEND))     # vLLM works in this process
    llm.init_weight_transfer_engine({"init_info": {}})
    push(llm, published_weights(model))

vLLM's own backends carry weights between processes: NCCL to another GPU, CUDA IPC to another process on the same GPU.
Here both sides are one process, so tensors are handed over as they are, on a GPU as on a CPU. What vLLM makes of them
(names, fused projections, kernel layouts, dtype) is vLLM's own layerwise reloading, as in its backends:
https://docs.vllm.ai/en/v0.32.0/training/weight_transfer/ and https://docs.vllm.ai/en/latest/training/layerwise/.

Limits: `VLLM_ENABLE_V1_MULTIPROCESSING=0`, and one GPU for each copy of the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from gapbench.errors import ModelError

BACKEND = "gapbench"
"""Its name in vLLM's registry."""


@dataclass
class Init(WeightTransferInitInfo):  # type: ignore[misc]
    """Nothing has to be agreed on."""


@dataclass
class Update(WeightTransferUpdateInfo):  # type: ignore[misc]
    """Names and tensors as in the model's published folder, read once."""

    weights: Iterable[tuple[str, Tensor]]


class SameProcess(WeightTransferEngine):  # type: ignore[misc]
    """vLLM's side of the transfer."""

    init_info_cls = Init
    update_info_cls = Update

    def init_transfer_engine(self, init_info: Init) -> None:
        """Nothing to connect to."""

    def start_weight_update(self) -> None:
        """vLLM makes room for weights in the layout of a published folder."""
        self.wanted = {
            name for name, _ in self.model.named_parameters()
        }  # each of those that are tied has its room then
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """As in the base class, which asks for an accelerator to wait for."""
        self.receive_weights(self.parse_update_info(update_info))
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: Update) -> None:
        """Load them. Raises ModelError if a weight is left over: after a sleep it would hold anything at all."""
        loaded = self.model.load_weights(iter(update_info.weights))
        if lacking := sorted(self.wanted - loaded) if loaded is not None else []:
            raise ModelError(
                f"use_vllm: {len(lacking)} weights that vLLM needs were not among those of the trained model, first "
                f"{lacking[0]}. vLLM names this model's weights otherwise than transformers does: set use_vllm=false."
            )

    def finish_weight_update(self) -> None:
        """vLLM brings them into the layout of its kernels, in the memory that its graphs know."""
        finalize_layerwise_reload(self.model, self.model_config)
        seen: set[int] = set()
        for layer in self.model.modules():
            for param in layer.parameters(recurse=False):
                # vLLM does this for one of the layers that share a weight; on a CPU a tied head has a copy of its own.
                if id(param) in seen and hasattr(layer, "quant_method"):
                    layer.quant_method.process_weights_after_loading(layer)
                seen.add(id(param))

    def shutdown(self) -> None:
        """Nothing to give back."""


def register() -> None:
    """Make the backend known to vLLM; once is enough."""
    try:
        WeightTransferEngineFactory.register_engine(BACKEND, SameProcess)
    except ValueError:  # it is known already
        return


def push(llm: Any, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Replace all weights, and forget what was computed with the old ones."""
    llm.start_weight_update()
    llm.update_weights({"update_info": {"weights": weights}})
    llm.finish_weight_update()
    llm.reset_prefix_cache()
    llm.llm_engine.reset_encoder_cache()
