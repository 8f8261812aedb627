"""What a real pass takes on the CPU, counted apart from the package: by PyTorch's profiler and by hooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


@dataclass
class Peak:
    """The most bytes that were held at once by what was allocated meanwhile."""

    bytes: int = 0


@contextmanager
def profiled() -> Iterator[Peak]:
    """Counts every allocation of PyTorch on the CPU."""
    found = Peak()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as prof:
        yield found
    results: Any = prof.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    held = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        found.bytes = max(found.bytes, held)


@contextmanager
def kept_for_backward(besides: list[Tensor]) -> Iterator[dict[int, int]]:
    """The bytes of each storage that a forward pass keeps for its gradient, without those of the tensors `besides`."""
    left_out = {tensor.untyped_storage().data_ptr() for tensor in besides}
    found: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.is_floating_point() and storage.data_ptr() not in left_out:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found
