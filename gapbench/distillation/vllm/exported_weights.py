"""A model's weights as its published folder would hold them, with names and values, while it is being trained.

    for name, tensor in published_weights(model): ...

A program that reads published folders needs merged adapters, tied weights once, and the names of the folder that the
model was loaded from (and its tensors, which for mixtures of experts are cut differently). The names in memory are
others. Merging makes new tensors, one layer at a time, and never changes the model's own. So no merge has to be undone
and rounding does not accumulate.

Limits: adapters must be those of `student` (LoRA without biases). Sharded weights are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

LAYER = re.compile(r"(.*?\.\d+)\.")
"""Matches the part of a parameter's name that identifies its layer."""


def published_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every weight, in the dtype and on the device of the model; merged weights are in float32."""
    from transformers.core_model_loading import revert_weight_conversion

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    tied = getattr(base, "all_tied_weights_keys", {})
    names = {name: name.replace(".base_layer", "") for name in base.state_dict() if ".lora_" not in name}
    for _, layer_names in groupby(names, lambda name: match[1] if (match := LAYER.match(name)) else name):
        layer = {names[name]: _merged_weight(base, name) for name in layer_names if names[name] not in tied}
        yield from revert_weight_conversion(base, layer).items()


def _merged_weight(base: Any, name: str) -> Tensor:
    """A weight, including what its adapters add."""
    module, _, kind = name.rpartition(".")
    tensor: Tensor = getattr(base.get_submodule(module), kind).detach()
    while module.endswith(".base_layer"):  # the weight that an adapter wraps; around experts it has another name
        module = module.removesuffix(".base_layer")
        adapter = base.get_submodule(module)
        if kind == getattr(adapter, "parameter_name", "weight"):
            with torch.no_grad():
                tensor = tensor.float() + sum(adapter.get_delta_weight(active) for active in adapter.active_adapters)
    return tensor
