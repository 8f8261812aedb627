"""Weights of rollouts by their evidence: an answer that the evidence makes likelier counts more than its siblings.

    evidence = weigh(student, teacher, pairs, rollouts, micro_batches)
    evidence.weights[prompt][answer]                                    # multiplies the loss of that answer

V-Zero (arXiv:2606.25319; verl/trainer/distillation/evidence_weighting.py of github.com/eVI-group-SCU/V-Zero): with
d = log p+ - log p0 of each sampled token, by the teacher on its view and on its null view,

    s = mean over the answer's tokens of relu(d) - gamma relu(-d)
    z = (s - mean) / (standard deviation + 1e-6)     among the rollouts of one prompt, dividing by their number
    w = clip(1 + alpha z, minimum, maximum)

Limits: z has no unit, so rollouts that differ by rounding alone get weights that differ as much as any others. The
weights of a prompt add up to the number of its rollouts only where nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gapbench.distillation.batches import MicroBatch
from gapbench.distillation.divergence import sampled_log_probs
from gapbench.distillation.forward import token_ids
from gapbench.distillation.pairs import TrainingPrompt
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.rollouts import Rollouts
from gapbench.distillation.student import ModelRole
from gapbench.distillation.teachers import Teacher, TeacherStates

EPSILON = 1e-6
"""Added to the standard deviation."""


@dataclass(frozen=True)
class RolloutWeights:
    """The weight of every answer, by prompt, and the sum of |d| over all tokens.

    `states` are the teacher's states for the micro-batches, on the CPU: with them the teacher need not read again.
    """

    weights: Sequence[Sequence[float]]
    differences: float
    states: Mapping[MicroBatch, TeacherStates]

    def of(self, batch: MicroBatch) -> list[float]:
        """The weights of the answers in a micro-batch, in their order there."""
        return [weight for i in batch.prompts for weight in self.weights[i][batch.first : batch.last]]


def score(differences: Tensor, gamma: float) -> float:
    """The evidence of one answer, in nats per token, from d of its tokens, (tokens,)."""
    return float((differences.clamp(min=0) - gamma * (-differences).clamp(min=0)).double().mean())


def relative_weights(scores: Sequence[float], recipe: Recipe) -> list[float]:
    """The weights of the rollouts of one prompt, from their scores."""
    mean = sum(scores) / len(scores)
    deviation = (sum((s - mean) ** 2 for s in scores) / len(scores)) ** 0.5
    relative = [(s - mean) / (deviation + EPSILON) for s in scores]
    return [min(max(1 + recipe.weight_alpha * z, recipe.weight_min), recipe.weight_max) for z in relative]


def weigh(
    student: ModelRole, teacher: Teacher, pairs: Sequence[TrainingPrompt], rollouts: Rollouts,
    micro_batches: Sequence[MicroBatch],
) -> RolloutWeights:  # fmt: skip
    """The weights of all rollouts of a step. The answers of one prompt may lie in several micro-batches."""
    recipe = teacher.recipe
    scores = [[0.0] * len(answers) for answers in rollouts]
    kept: dict[MicroBatch, TeacherStates] = {}
    total = 0.0
    for batch in micro_batches:
        groups = batch.groups(rollouts)
        states = teacher.read([pairs[i] for i in batch.prompts], groups)
        ids = token_ids(groups, states.hidden.device)
        # Inside the forward pass, where sharded weights are gathered.
        differences: Tensor = student.run_without_grad(
            _differences, states, teacher.head(states.hidden.dtype), ids, recipe.chunk_tokens
        ).cpu()
        total += float(differences.abs().sum())
        parts = iter(torch.split(differences, [len(row) for group in groups for row in group]))
        for i in batch.prompts:
            for answer in range(batch.first, batch.last):
                scores[i][answer] = score(next(parts), recipe.weight_gamma)
        if teacher.role.mode.split_head:  # otherwise the states are logits, which would fill the memory
            kept[batch] = TeacherStates(states.hidden, states.null if recipe.tilts else None).to("cpu")
    return RolloutWeights([relative_weights(of_prompt, recipe) for of_prompt in scores], total, kept)


def _differences(
    model: Any, states: TeacherStates, head: Callable[[Tensor], Tensor], ids: Tensor, chunk: int
) -> Tensor:
    """log p+ - log p0 of the tokens `ids`; shape (tokens,)."""
    if states.null is None:
        raise ValueError("weights by evidence need the teacher's states on a null view")
    chunks = zip(*(torch.split(x, chunk) for x in (states.hidden, states.null, ids)), strict=True)
    return torch.cat([sampled_log_probs(head(h), i) - sampled_log_probs(head(n), i) for h, n, i in chunks])
