"""Teachers: the weights that define the target distributions of the student.

    teacher = Teacher(recipe, student)
    states = teacher.read(pairs, groups)          # before the student's forward pass
    teacher.update(step)                          # after the optimizer's

| kind           | weights                                                                                         |
|----------------|-------------------------------------------------------------------------------------------------|
| `ema`          | exponential moving average of the student, by `ema_rate` per step (the paper's)                 |
| `frozen`       | the student's at the start                                                                      |
| `copy`         | the student's, copied every `copy_every` steps                                                  |
| `live`         | the student's current ones                                                                      |
| `trust_region` | logits interpolated from the frozen to the live weights by `trust_region` (SDPO's teacher)      |
| `model`        | another model with the same vocabulary                                                          |

A teacher of the student's own architecture is not a second model. It keeps a copy of the trained weights, which changes
places with the student's for the teacher's forward pass. So the EMA of an adapter starts from the student's adapter,
memory grows by one copy of what is trained, and sharded weights stay sharded. The copy is in float32: in bfloat16 a
step of 5 % towards a change of 2e-6 would be lost.

Limits: the teacher shares untrained weights and all buffers with the student.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from gapbench.distillation.forward import Groups, ImageTexts, bounded, head, hidden_states, process
from gapbench.distillation.pairs import TrainingPrompt
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.student import ModelRole
from gapbench.errors import ModelError

WITH_OWN_WEIGHTS = frozenset({"ema", "copy", "frozen", "trust_region"})
"""Kinds that keep a copy of the trained weights."""


@dataclass(frozen=True)
class TeacherStates:
    """Hidden states of the teacher for the tokens of answers, (tokens, width): on its view, and on its null view if the
    recipe uses one.
    """

    hidden: Tensor
    null: Tensor | None = None

    def to(self, device: Any) -> TeacherStates:
        """The same on another device."""
        return TeacherStates(self.hidden.to(device), None if self.null is None else self.null.to(device))


class Teacher:
    """The teacher of a training; see the module. `external` is the role of another model, for the kind `model` only."""

    def __init__(self, recipe: Recipe, student: ModelRole, external: ModelRole | None = None) -> None:
        self.recipe, self.student = recipe, student
        self.role = external or student
        _reshard(student.wrapped)
        self.params = [p for p in student.model.parameters() if p.requires_grad]
        self.averages = [p.detach().clone() for p in self.params] if recipe.teacher in WITH_OWN_WEIGHTS else []
        self.pairs = list(zip(self.averages, self.params, strict=False))  # none without own weights
        self.projection = dict(self.role.model.get_output_embeddings().named_parameters())
        if external is not None:
            check_vocabulary(student, external)

    @contextmanager
    def weights(self) -> Iterator[None]:
        """Inside this context the student's model holds the teacher's weights. No graph of the model may be alive."""
        self._swap_weights()
        try:
            yield
        finally:
            self._swap_weights()

    def read(self, pairs: Sequence[TrainingPrompt], groups: Groups) -> TeacherStates:
        """The teacher's states for the answers `groups` to these prompts, without gradient."""
        hidden = self.hidden([(pair.teacher, pair.text) for pair in pairs], groups)
        nulls = [(pair.null, pair.text) for pair in pairs if pair.null is not None]
        return TeacherStates(hidden, self.hidden(nulls, groups) if nulls else None)

    @torch.no_grad()
    def hidden(self, prompts: ImageTexts, groups: Groups) -> Tensor:
        """Hidden states for the teacher's prompts, without gradient, as input of `head`; shape (tokens, width)."""
        role = self.role
        inputs = process(role.chat, role.model, prompts, len(groups[0]), role.mode)
        with self.weights():
            states: Tensor = role.wrapped(hidden_states, inputs, groups, role.mode)
        if self.recipe.teacher != "trust_region":
            return states
        return torch.cat([states, role.wrapped(hidden_states, inputs, groups, role.mode)], 1)

    def head(self, dtype: torch.dtype = torch.float32) -> Callable[[Tensor], Tensor]:
        """The function from `hidden`, of this dtype, to float32 logits over the student's vocabulary.

        Its arithmetic is the student's: sharded weights are gathered in the dtype of the hidden states.
        """
        live_head = head(self.role.model, self.role.mode)
        if self.recipe.teacher == "model":
            size = self.student.vocabulary
            return lambda states: _fit_to_vocabulary(live_head(states), size)
        own_head = self._own_head(live_head, dtype)
        if self.recipe.teacher != "trust_region":
            return own_head

        def interpolated(states: Tensor) -> Tensor:
            frozen, now = states.chunk(2, 1)
            return torch.lerp(own_head(frozen), live_head(now), self.recipe.trust_region)

        return interpolated

    def _own_head(self, live_head: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The output projection with the teacher's weights, if it is trained."""
        if not self.role.mode.split_head:
            return live_head
        trained = {
            name: _full_tensor(a.to(dtype)) for name, p in self.projection.items() for a, q in self.pairs if q is p
        }
        if not trained:
            return live_head
        projection = self.role.model.get_output_embeddings()
        weight, bias = trained.get("weight"), trained.get("bias")

        def logits(states: Tensor) -> Tensor:
            if weight is None:  # the projection has an adapter
                projected: Tensor = torch.func.functional_call(projection, trained, (states,))
            else:
                projected = torch.nn.functional.linear(states.to(weight.dtype), weight, bias)
            return bounded(projected.float(), self.role.mode.cap)

        return logits

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the student after step `step` (0-based)."""
        rates = {"ema": self.recipe.ema_rate, "copy": float((step + 1) % self.recipe.copy_every == 0)}
        if rate := rates.get(self.recipe.teacher):
            for average, param in self.pairs:
                average.lerp_(param.detach(), rate)

    def distance(self) -> float | None:
        """||teacher - student|| / ||student|| over the trained weights; None for a teacher without own weights."""
        if not self.averages:
            return None
        difference = sum(float(_full_tensor((a - p.detach()).norm()) ** 2) for a, p in self.pairs)
        size = sum(float(_full_tensor(p.detach().norm()) ** 2) for _, p in self.pairs)
        return float((difference / size) ** 0.5) if size else None

    def reshard(self) -> None:
        """Let FSDP read the shards again, after they were changed from outside."""
        _reshard(self.student.wrapped)

    @torch.no_grad()
    def _swap_weights(self) -> None:
        for average, param in self.pairs:
            if isinstance(param, DTensor):  # FSDP holds references to the shards, so values move and tensors stay
                copy = param.detach().clone()
                param.copy_(average)
                average.copy_(copy)
            else:
                param.data, average.data = average.data, param.data
        if self.pairs:
            _reshard(self.student.wrapped)


def check_vocabulary(student: ModelRole, teacher: ModelRole) -> None:
    """Raise ModelError if a token id means different tokens to the two models."""
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


def _reshard(wrapped: Any) -> None:
    """Let FSDP drop the weights that it gathered: they may be outdated, and the optimizer changes the shards."""
    for module in wrapped.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _fit_to_vocabulary(logits: Tensor, size: int) -> Tensor:
    """Logits over exactly `size` ids: models pad the same vocabulary to different widths."""
    missing = size - logits.shape[1]
    return torch.nn.functional.pad(logits, (0, missing), value=-torch.inf) if missing > 0 else logits[:, :size]


def _full_tensor(tensor: Tensor) -> Tensor:
    full: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full
