"""Samplers: they write the rollouts. Training depends only on the protocol below.

    sampler = TransformersSampler()
    rollouts = sampler(role, prompts, Sampling(max_new_tokens=64))

`TransformersSampler` is the reference: the trained model itself answers, through `rollouts`.
`vllm.rollouts.VllmSampler` is faster and must agree with the trainer (`forward_check.check_vllm`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gapbench.distillation.forward import ForwardMode
from gapbench.distillation.rollouts import Prompt, Rollout, Sampling, sample
from gapbench.distillation.student import ModelRole


class Sampler(Protocol):
    """What the training loop needs of a sampler."""

    @property
    def info(self) -> dict[str, Any]:
        """The entry of this sampler in `distill.json`."""
        ...

    def __call__(self, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Rollout]]:
        """Answers to each prompt, one for each of its keys, sampled with the current weights of the role's model.

        All processes call it at the same time. Raises ModelError.
        """
        ...

    def close(self) -> None:
        """Release all resources; called once."""
        ...


@dataclass(frozen=True)
class TransformersSampler:
    """The trained model itself answers. `expand`, `synced` and `mode` are those of `rollouts.sample`."""

    expand: bool = True
    synced: bool = False
    mode: ForwardMode | None = None

    @property
    def info(self) -> dict[str, Any]:
        """See `Sampler`."""
        return {"engine": "transformers"}

    def __call__(self, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Rollout]]:
        """See `Sampler`."""
        rollouts: list[list[Rollout]] = role.run_without_grad(
            sample,
            role.chat,
            prompts,
            sampling,
            role.ends,
            role.suppressed,
            self.expand,
            self.synced,
            None if self.synced else self.mode,
        )
        return rollouts

    def close(self) -> None:
        """See `Sampler`. Nothing to release: the model belongs to the trainer."""


REFERENCE = TransformersSampler()
"""Works for any model; the self-check finds out which shortcuts a model allows."""
