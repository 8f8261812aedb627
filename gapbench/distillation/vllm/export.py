"""A model's weights as its published folder would have them: names and values, while it is being trained.

    for name, tensor in published_weights(model): ...

What another program that reads published folders must be given: adapters merged, tied weights once, and the names (and,
for mixtures of experts, the cuts) of the folder that the model was loaded from, which are not those of the model in
memory. Merging makes new tensors, one layer at a time; the model's own are never touched, so nothing has to be taken
back and no rounding adds up.

Limits: adapters as `student` makes them (LoRA, without biases of their own). Sharded weights are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

LAYER = re.compile(r"(.*?\.\d+)\.")
"""The part of a parameter's name that says which layer it is in."""


def published_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every weight, in the dtypes and on the devices of the model; merged ones are in float32."""
    from transformers.core_model_loading import revert_weight_conversion

    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    tied = getattr(whole, "all_tied_weights_keys", {})
    names = {name: name.replace(".base_layer", "") for name in whole.state_dict() if ".lora_" not in name}
    for _, group in groupby(names, lambda name: found[1] if (found := LAYER.match(name)) else name):
        layer = {names[name]: _value(whole, name) for name in group if names[name] not in tied}
        yield from revert_weight_conversion(whole, layer).items()


def _value(whole: Any, name: str) -> Tensor:
    """One weight, with what its adapters add to it."""
    module, _, kind = name.rpartition(".")
    tensor: Tensor = getattr(whole.get_submodule(module), kind).detach()
    while module.endswith(".base_layer"):  # what is inside an adapter; one around experts has a weight of another name
        module = module.removesuffix(".base_layer")
        adapter = whole.get_submodule(module)
        if kind == getattr(adapter, "parameter_name", "weight"):
            with torch.no_grad():
                tensor = tensor.float() + sum(adapter.get_delta_weight(active) for active in adapter.active_adapters)
    return tensor
