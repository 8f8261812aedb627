"""Samplers: who writes the rollouts. Training needs only the protocol below, so it does not matter which.

    sampler = TransformersSampler()
    rollouts = sampler(role, prompts, Sampling(max_new_tokens=64))

`TransformersSampler` is the reference: the trained model itself, through `rollouts`. `vllm_rollouts.VllmSampler` is an
accelerator, and has to agree with the reference (`selfcheck.check_sampler`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gapbench.distillation.forward import Reading
from gapbench.distillation.rollouts import Prompt, Rollout, Sampling, sample
from gapbench.distillation.student import ModelRole


class Sampler(Protocol):
    """What the loop needs of whoever answers."""

    @property
    def info(self) -> dict[str, Any]:
        """What `distill.json` keeps of it."""
        ...

    def __call__(self, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Rollout]]:
        """Answers to each prompt, one for each of its keys, by the weights that the role's model has now.

        All processes call it at the same time. Raises ModelError.
        """
        ...

    def close(self) -> None:
        """Give back what it holds; it is not called again."""
        ...


@dataclass(frozen=True)
class TransformersSampler:
    """The trained model itself answers. `expand`, `synced` and `shared` are those of `rollouts.sample`."""

    expand: bool = True
    synced: bool = False
    shared: Reading | None = None

    @property
    def info(self) -> dict[str, Any]:
        """See `Sampler`."""
        return {"engine": "transformers"}

    def __call__(self, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Rollout]]:
        """See `Sampler`."""
        made: list[list[Rollout]] = role.ask(
            sample,
            role.chat,
            prompts,
            sampling,
            role.ends,
            role.suppressed,
            self.expand,
            self.synced,
            None if self.synced else self.shared,
        )
        return made

    def close(self) -> None:
        """See `Sampler`; the model is the trainer's own."""


REFERENCE = TransformersSampler()
"""For any model; what it may save on others is for the self-check to find."""
