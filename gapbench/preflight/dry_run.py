"""Runs a model without its weights: floating-point tensors have shapes and no data, and their memory is counted.

    with torch.device("meta"):
        model = AutoModelForMultimodalLM.from_config(config)
    inputs = without_data(processor(...))
    with dry_run() as memory, torch.no_grad():
        model(**inputs)
    memory.peak             # bytes, besides the weights and the inputs

What is counted is what the model's own code allocates, whatever its family. Integers and booleans are computed as ever,
because token ids, grids and masks decide shapes. Where a mask depends on a tensor without data, all its elements count
as true. Attention through `scaled_dot_product_attention` counts as a fused kernel: no matrix of scores.

Limits: a kernel's own workspace and an allocator's rounding are not counted. `autocast` covers the operations that
models consist of (`LOWERED`), not all that PyTorch lowers. A model whose shapes depend on computed values cannot run.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

META = torch.device("meta")
INDEXING = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default,
            torch.ops.aten._unsafe_index.Tensor)  # fmt: skip
LOWERED = frozenset(
    [functional.linear, functional.conv1d, functional.conv2d, functional.conv3d, torch.matmul, torch.bmm, torch.addmm,
     torch.baddbmm, torch.mm, Tensor.matmul, Tensor.__matmul__, Tensor.bmm, Tensor.mm]
)  # fmt: skip
"""Functions whose float32 arguments autocast turns to half precision (ATen/autocast_mode.h, `lower_precision_fp`)."""


@dataclass
class MemoryCount:
    """Bytes of tensors without data that were made in a dry run: those alive now, and the most at any moment."""

    live: int = 0
    peak: int = 0
    _known: Any = field(default_factory=weakref.WeakKeyDictionary, repr=False)

    def add(self, tensor: Tensor) -> None:
        """Count the tensor's memory until it is freed, unless it is counted or left out already."""
        storage = tensor.untyped_storage()
        if storage not in self._known:
            size = storage.nbytes()
            self._known[storage] = True
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, size)

    def leave_out(self, tensor: Tensor) -> None:
        """Never count the tensor's memory, unless it is counted already: it was there before, as weights are."""
        self._known.setdefault(tensor.untyped_storage(), True)

    def _free(self, size: int) -> None:
        self.live -= size


@contextmanager
def dry_run(autocast: torch.dtype | None = None) -> Iterator[MemoryCount]:
    """Inside, models on the meta device run without data, and what they allocate is counted.

    With `autocast`, float32 arguments of `LOWERED` functions are turned to this dtype. Copies of trained weights are
    kept to the end, as `torch.autocast` does, or until a pass with gradients follows one without.
    """
    memory = MemoryCount()
    with ExitStack() as stack:
        stack.enter_context(_FusedAttentionAndAutocast(autocast))
        stack.enter_context(_Shapes(memory))
        yield memory


def without_data(inputs: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """A processor's output with its images on the meta device, in `dtype`.

    Integers and masks, of whatever dtype, keep their data. Labels are left out.
    """

    placed = {name: value for name, value in inputs.items() if name != "labels"}
    for name, value in placed.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            is_mask = ((value == 0) | (value == 1)).all() and value.any()
            placed[name] = value if is_mask else torch.empty_like(value, dtype=dtype, device=META)
    return placed


def backward(loss: Tensor) -> None:
    """`loss.backward()` for a dry run. PyTorch's own leaves the dry run while a checkpointed layer runs again."""
    engine: Any = torch.autograd.Variable._execution_engine
    engine.run_backward(
        (loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True
    )


class _FusedAttention(torch.autograd.Function):
    """The memory of a fused kernel: the output, and for the gradient one number for each query."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(x) for x in ctx.saved_tensors[:3])


class _FusedAttentionAndAutocast(TorchFunctionMode):
    def __init__(self, autocast: torch.dtype | None) -> None:
        super().__init__()
        self.autocast = autocast
        self.copies: dict[int, tuple[Tensor, Tensor]] = {}
        self.with_gradient = True

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is functional.scaled_dot_product_attention:
            named = [kwargs[name] for name in ("query", "key", "value") if name in kwargs]
            tensors = (self._lowered(_on_meta(tensor)) for tensor in [*args, *named][:3])
            return _FusedAttention.apply(*tensors)  # type: ignore[no-untyped-call]
        if self.autocast and func in LOWERED:
            args, kwargs = tree_map_only(Tensor, self._lowered, (tuple(args), kwargs))
        return func(*args, **kwargs)

    def _lowered(self, tensor: Tensor) -> Tensor:
        if not self.autocast or tensor.dtype != torch.float32:
            return tensor
        if not (tensor.is_leaf and tensor.requires_grad):
            return tensor.to(self.autocast)
        if self.with_gradient != torch.is_grad_enabled():  # another forward pass, and autocast forgets its copies
            self.with_gradient = torch.is_grad_enabled()
            self.copies.clear()
        if id(tensor) not in self.copies:
            self.copies[id(tensor)] = tensor, tensor.to(self.autocast)
        return self.copies[id(tensor)][1]


class _Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs an operation on the meta device if any argument is there, and otherwise with data, also if it was to make
    integers on the meta device."""

    def __init__(self, memory: MemoryCount) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.memory = memory

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [*_tensors_in(args), *_tensors_in(kwargs.values())]
        without = [tensor for tensor in tensors if tensor.is_meta]
        for tensor in without:
            self.memory.leave_out(tensor)
        if kwargs.get("device") is not None:
            stays = torch.device(kwargs["device"]) == META and _has_no_data(args, kwargs)
            kwargs["device"] = META if without or stays else torch.device("cpu")
        if without and func is torch.ops.aten._local_scalar_dense.default and without[0].dtype == torch.bool:
            return True
        if without and func._schema.is_mutable and tensors[0] is not without[0]:
            if tensors[0].is_floating_point():
                raise NotImplementedError(f"{func} writes what has no data into a tensor that has")
            return tensors[0]  # positions that are computed from images: they stay what they were
        if without:
            if func in INDEXING:
                args = (args[0], [x for index in args[1] for x in _indices(index)], *args[2:])
            if len(without) < len(tensors):
                args, kwargs = tree_map_only(Tensor, _on_meta, (tuple(args), kwargs))
        out = func(*args, **kwargs)
        for tensor in _tensors_in((out,)):
            if tensor.is_meta:
                self.memory.add(tensor)
        return out


def _tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among an operation's arguments or results, which nest them in lists at most."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors_in(value)


def _has_no_data(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether what an operation makes on the meta device stays there: floating-point tensors, but for small constants
    such as arange, of which models compute shapes."""
    if any(isinstance(value, int | float) for value in args):
        return False
    dtype = kwargs.get("dtype") or next((tensor.dtype for tensor in _tensors_in(args)), torch.float32)
    return bool(dtype.is_floating_point)


def _on_meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else tensor.to(META)


def _indices(index: Tensor | None) -> Iterator[Tensor | None]:
    """A mask as the indices of its true elements, since their number decides a shape; other indices as they are."""
    if index is None or index.dtype not in (torch.bool, torch.uint8):
        yield index
    elif index.is_meta:
        yield from (torch.empty(index.numel(), dtype=torch.long, device=META) for _ in range(index.dim()))
    else:
        yield from (part.to(META) for part in index.nonzero(as_tuple=True))
