"""Teachers: whose weights say, token by token, how the crop would have been answered.

    teacher = Teacher(recipe, student)
    hidden = teacher.hidden(asked, groups)        # before the student's forward pass
    teacher.update(step)                          # after the optimizer's

| kind           | weights                                                                                         |
|----------------|-------------------------------------------------------------------------------------------------|
| `ema`          | running average of the student, `ema_rate` towards it at every step (the paper's)               |
| `frozen`       | the student's at the start                                                                      |
| `copy`         | the student's, copied every `copy_every` steps                                                  |
| `live`         | the student's now                                                                               |
| `trust_region` | logits between the frozen ones and the live ones, `trust_region` of the way (SDPO's teacher)    |
| `model`        | another model with the same vocabulary                                                          |

A teacher of the student's own architecture is not a second model: its trained weights, kept in float32 (a 5 % step
towards a change of 2e-6 vanishes in bfloat16), change places with the student's for its forward pass. So an adapter's
average starts from the student's adapter, memory is one copy of what is trained, and sharded weights stay sharded.

Limits: weights that are not trained are shared with the student, buffers too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from gapbench.distillation.forward import Groups, bounded, head, hidden_states, process
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.student import ModelRole
from gapbench.errors import ModelError

AVERAGED = frozenset({"ema", "copy", "frozen", "trust_region"})
"""Kinds that keep weights of their own."""


class Teacher:
    """See the module. `other` is the role of another model, for the kind `model` alone."""

    def __init__(self, recipe: Recipe, student: ModelRole, other: ModelRole | None = None) -> None:
        self.recipe, self.student = recipe, student
        self.role = other or student
        _reshard(student.inside)
        self.params = [p for p in student.model.parameters() if p.requires_grad]
        self.averages = [p.detach().clone() for p in self.params] if recipe.teacher in AVERAGED else []
        self.pairs = list(zip(self.averages, self.params, strict=True)) if self.averages else []
        self.projection = dict(self.role.model.get_output_embeddings().named_parameters())
        if other is not None:
            check_vocabulary(student, other)

    @contextmanager
    def weights(self) -> Iterator[None]:
        """The student's model holds the teacher's weights meanwhile; no graph of it may be alive."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def hidden(self, asked: Sequence[tuple[Any, str]], groups: Groups) -> Tensor:
        """Hidden states for the teacher's view, without gradient, for `head`; shape (tokens, width of `head`)."""
        role = self.role
        inputs = process(role.chat, role.model, asked, len(groups[0]), role.reading)
        with torch.no_grad(), self.weights():
            found: Tensor = role.inside(hidden_states, inputs, groups, role.reading)
        if self.recipe.teacher != "trust_region":
            return found
        with torch.no_grad():
            return torch.cat([found, role.inside(hidden_states, inputs, groups, role.reading)], 1)

    def head(self) -> Callable[[Tensor], Tensor]:
        """From `hidden` to float32 logits over the student's vocabulary."""
        live = head(self.role.model, self.role.reading)
        own = self._own_head(live)
        if self.recipe.teacher == "model":
            size = self.student.vocabulary
            return lambda states: _cut(live(states), size)
        if self.recipe.teacher != "trust_region":
            return own

        def between(states: Tensor) -> Tensor:
            frozen, now = states.chunk(2, 1)
            return torch.lerp(own(frozen), live(now), self.recipe.trust_region)

        return between

    def _own_head(self, live: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The output projection with the teacher's weights, if it is trained."""
        if not self.role.reading.split_head or not self.averages:
            return live
        projection = self.role.model.get_output_embeddings()
        trained = {
            name: next(_whole(a) for a, q in self.pairs if q is p)
            for name, p in self.projection.items()
            if any(q is p for q in self.params)
        }
        if not trained:
            return live
        weight, bias = trained.get("weight"), trained.get("bias")

        def logits(states: Tensor) -> Tensor:
            if weight is None:  # the projection has an adapter
                made: Tensor = torch.func.functional_call(projection, trained, (states,))
            else:
                made = torch.nn.functional.linear(states.to(weight.dtype), weight, bias)
            return bounded(made.float(), self.role.reading.cap)

        return logits

    def update(self, step: int) -> None:
        """Follow the student after step `step` (0-based)."""
        rate = {"ema": self.recipe.ema_rate, "copy": float((step + 1) % self.recipe.copy_every == 0)}
        if rate.get(self.recipe.teacher):
            with torch.no_grad():
                for average, param in self.pairs:
                    average.lerp_(param.detach(), rate[self.recipe.teacher])

    def distance(self) -> float | None:
        """||teacher - student|| / ||student|| over the trained weights; None without weights of its own."""
        if not self.averages:
            return None
        apart = sum(float(_whole((a - p.detach()).norm()) ** 2) for a, p in self.pairs)
        size = sum(float(_whole(p.detach().norm()) ** 2) for _, p in self.pairs)
        return float((apart / size) ** 0.5) if size else None

    def save(self, folder: Path, process: int) -> None:
        """Write the teacher's weights of this process; sharded weights are written shard by shard."""
        if self.averages and (process == 0 or isinstance(self.averages[0], DTensor)):
            tensors = {str(i): _local(a).contiguous() for i, a in enumerate(self.averages)}
            save_file(tensors, folder / f"teacher-{process}.safetensors")

    def load(self, folder: Path, process: int) -> None:
        """Read back what `save` wrote."""
        if not self.averages:
            return
        own = process if isinstance(self.averages[0], DTensor) else 0
        tensors = load_file(folder / f"teacher-{own}.safetensors")
        with torch.no_grad():
            for i, average in enumerate(self.averages):
                _local(average).copy_(tensors[str(i)])

    def _exchange(self) -> None:
        for average, param in self.pairs:
            if isinstance(param, DTensor):  # the shard's storage is known elsewhere, so values move and tensors stay
                with torch.no_grad():
                    held = param.detach().clone()
                    param.copy_(average)
                    average.copy_(held)
            else:
                param.data, average.data = average.data, param.data
        if self.pairs:
            _reshard(self.student.inside)


def check_vocabulary(student: ModelRole, teacher: ModelRole) -> None:
    """Raises ModelError if the two models do not mean the same by the same token id."""
    ours, theirs = (role.chat.processor.tokenizer.get_vocab() for role in (student, teacher))
    if ours == theirs:
        return
    differing = sorted(t for t in ours.keys() | theirs.keys() if ours.get(t) != theirs.get(t))
    token = differing[0]
    raise ModelError(
        f"teacher_model {teacher.name}: its vocabulary differs from that of {student.name} in {len(differing)} tokens; "
        f"the first is {token!r} (id {ours.get(token)} here, {theirs.get(token)} there). Token by token, only models "
        "of one vocabulary can be compared: choose a teacher of the same family."
    )


def _reshard(inside: Any) -> None:
    """Let FSDP drop the weights that it gathered: they may be old, and are not those that the optimizer moves."""
    for module in inside.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _cut(logits: Tensor, size: int) -> Tensor:
    """Logits over exactly `size` ids: models pad the same vocabulary to different widths."""
    missing = size - logits.shape[1]
    return torch.nn.functional.pad(logits, (0, missing), value=-torch.inf) if missing > 0 else logits[:, :size]


def _whole(tensor: Tensor) -> Tensor:
    whole: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole


def _local(tensor: Tensor) -> Tensor:
    local: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return local
