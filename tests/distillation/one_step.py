"""One training step on answers that are given, not sampled: its loss and its gradients, under any launcher.

    accelerate launch … tests/distillation/one_step.py MODEL DATA OUT precision=bf16 …

The answers are the same in every precision, so two results differ by arithmetic alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from distillation.trainings import SMALL, steps
from gapbench.data import catalogue
from gapbench.distillation import loop, training
from gapbench.distillation.job import Job
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.recipe import load
from gapbench.distillation.rollouts import Prompt, Rollout, Rollouts, Sampling
from gapbench.distillation.student import ModelRole
from gapbench.distillation.teachers import Teacher

STEP = (*SMALL, "steps=1", "probe_every=0", "max_new_tokens=9", "max_grad_norm=1e9")
SAMPLER_LOG_PROB = -6.1234567
"""What the sampler is said to have given every token; no bfloat16."""


@dataclass(frozen=True)
class GivenAnswers:
    """Answers of 3 to 9 token ids that depend on the prompt's keys alone."""

    info: dict[str, Any] = field(default_factory=dict)

    def __call__(self, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> Rollouts:
        def answer(prompt: Prompt, key: int) -> Rollout:
            ids = tuple(20 + (key >> 7 * place) % 400 for place in range(3 + key % 7))
            length = int(role.chat.batch([((prompt.image,), prompt.text)])["attention_mask"].sum())
            return Rollout(ids, (SAMPLER_LOG_PROB,) * len(ids), False, length)

        return [[answer(prompt, key) for key in prompt.keys] for prompt in prompts]

    def close(self) -> None:
        """Nothing to release."""


def one_step(model: str, data: str, out: Path, *settings: str, plain_bfloat16: bool = False) -> dict[str, Any]:
    """Train one step; its log line as "line", and the gradient of every weight by name as "gradients".

    The first process also writes them to `OUT/gradients.pt`. `plain_bfloat16` is what the policy of FSDP2 means, by the
    shortest way: a model in bfloat16 in a single process, whose gradients are added up in float32.
    """
    recipe = load("vision-opd", [*STEP, *settings])
    out.mkdir(parents=True, exist_ok=True)
    accelerator = training.make_accelerator(recipe, out)
    job, pairs = Job(model, recipe, out), Pairs(catalogue.load(data), recipe)
    setup, _ = training.set_up(job, pairs, accelerator, training._load(job, accelerator))
    setup = replace(setup, sampler=GivenAnswers())
    params = dict(setup.student.model.named_parameters())
    gradients: dict[str, Tensor] = {name: torch.zeros(p.shape) for name, p in params.items()}
    if plain_bfloat16:
        for name, param in params.items():
            param.data = param.data.bfloat16()
            param.register_post_accumulate_grad_hook(lambda p, name=name: _move(p, gradients[name]))
        setup = replace(setup, teacher=Teacher(recipe, setup.student))
    update = setup.optimizer.step

    def keep(*arguments: Any) -> None:
        for name, param in params.items():
            if param.grad is not None:
                gradients[name] += param.grad.full_tensor() if isinstance(param.grad, DTensor) else param.grad
        update(*arguments)

    setup.optimizer.step = keep
    loop.train(setup)
    result = {"line": steps(out)[0], "gradients": gradients}
    if accelerator.is_main_process:
        torch.save(result, out / "gradients.pt")
    training.finish(accelerator)
    return result


def _move(param: Any, total: Tensor) -> None:
    total += param.grad.float()
    param.grad = None


if __name__ == "__main__":
    from distillation.fsdp_on_cpu import shard_on_cpu

    shard_on_cpu()
    one_step(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
