"""New weights for a vLLM in the same process: a backend of vLLM's public weight-transfer interface.

    register()
    llm = LLM(..., weight_transfer_config=WeightTransferConfig(backend=BACKEND))     # vLLM works in this process
    llm.init_weight_transfer_engine({"init_info": {}})
    push(llm, published_weights(model))

vLLM's own backends carry weights between processes: NCCL to another GPU, CUDA IPC to another process on the same GPU.
Here both sides are one process, so tensors are passed as they are, on a GPU and on a CPU. As in vLLM's backends, vLLM's
layerwise reloading converts them (names, fused projections, kernel layouts, dtype):
https://docs.vllm.ai/en/v0.32.0/training/weight_transfer/ and https://docs.vllm.ai/en/latest/training/layerwise/.

Limits: `VLLM_ENABLE_V1_MULTIPROCESSING=0`, and one GPU for each copy of the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from gapbench.errors import ModelError

BACKEND = "gapbench"
"""The name of this backend in vLLM's registry."""


@dataclass
class InitInfo(WeightTransferInitInfo):  # type: ignore[misc]
    """Empty: nothing has to be agreed on."""


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):  # type: ignore[misc]
    """Names and tensors as in the model's published folder; read once."""

    weights: Iterable[tuple[str, Tensor]]


class SameProcess(WeightTransferEngine):  # type: ignore[misc]
    """vLLM's side of the transfer."""

    init_info_cls = InitInfo
    update_info_cls = UpdateInfo

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        """Nothing to connect to."""

    def start_weight_update(self) -> None:
        """vLLM allocates memory for weights in the layout of a published folder."""
        # Taken before the reload, in which every tied weight has its own memory.
        self.parameter_names = {name for name, _ in self.model.named_parameters()}
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """As in the base class, which would require an accelerator for its synchronisation."""
        self.receive_weights(self.parse_update_info(update_info))
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: UpdateInfo) -> None:
        """Load the weights. Raises ModelError if one is missing: after a sleep its memory holds arbitrary values."""
        loaded = self.model.load_weights(iter(update_info.weights))
        if missing := sorted(self.parameter_names - loaded) if loaded is not None else []:
            raise ModelError(
                f"use_vllm: {len(missing)} weights that vLLM needs were not among those of the trained model; the "
                f"first is {missing[0]}. vLLM and transformers name this model's weights differently: set "
                "use_vllm=false."
            )

    def finish_weight_update(self) -> None:
        """vLLM converts the weights to the layout of its kernels, in the memory that its graphs use."""
        finalize_layerwise_reload(self.model, self.model_config)
        seen: set[int] = set()
        for layer in self.model.modules():
            for param in layer.parameters(recurse=False):
                # vLLM processes only one of the layers that share a weight, but on a CPU a tied head has its own copy.
                if id(param) in seen and hasattr(layer, "quant_method"):
                    layer.quant_method.process_weights_after_loading(layer)
                seen.add(id(param))

    def shutdown(self) -> None:
        """Nothing to release."""


def register() -> None:
    """Register the backend with vLLM; further calls do nothing."""
    with suppress(ValueError):  # already registered
        WeightTransferEngineFactory.register_engine(BACKEND, SameProcess)


def push(llm: Any, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Replace all weights, and clear the caches that were computed with the old ones."""
    llm.start_weight_update()
    llm.update_weights({"update_info": {"weights": weights}})
    llm.finish_weight_update()
    llm.reset_prefix_cache()
    llm.llm_engine.reset_encoder_cache()
