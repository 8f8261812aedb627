"""Is teacher forcing telling the truth? Checked with the model itself, before anything is trained.

    found = find_reading(role, asked, recipe)      # the economies that change neither log-probabilities nor gradients

Short greedy answers are generated, and their log-probabilities are compared with those of the teacher-forced pass:
wrong token-type ids, positions or masks corrupt four model families without any error. Economies (`forward.Reading`)
are tried from the fastest to none; the first that agrees with generation in log-probabilities, and with the plain pass
in the gradient of some small parameters, is used. If even the plain pass disagrees, training is refused.

Limits: agreement on a few short answers; a model that is wrong only for long ones is not caught.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gapbench.distillation.forward import PLAIN, Groups, Reading, head, hidden_states, logit_cap, process
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.rollouts import Prompt, Sampling, random_key, sample
from gapbench.distillation.student import ModelRole
from gapbench.distillation.vllm.rollouts import VllmSampler
from gapbench.errors import ModelError
from gapbench.util.text import error_line

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25, "float16": 0.05}
"""Largest difference of a log-probability, in nats. Right passes in float32 stay below 1e-5, wrong ones exceed 0.07."""
VLLM_TOLERANCE = {"float32": 1e-2, "bfloat16": 1.0, "float16": 0.25}
"""The same for vLLM's other kernels. On a CPU in float32 ten families stay below 1e-5, and Gemma 3, whose images vLLM
masks otherwise there, differs by 0.06 and more. In bfloat16 means of 0.01 to 0.06 are reported (see `health`), with a
few tokens far above; the bound is for what is plainly another model, the mean is watched while training."""
TOKENS = 6
"""Length of the answers compared."""
GRADIENT = {"float32": 2e-2, "bfloat16": 0.4, "float16": 0.2}
"""Largest relative difference of a gradient. Right ones stay below 1e-4 and 0.15 (bfloat16); one that lost its way
through the prompt differs by 0.85 and more."""


@dataclass(frozen=True)
class Finding:
    """What the check found: the reading to train with, whether `generate` may repeat prompts by itself, and how well it
    agrees (the largest difference in log-probability, nats). `sampling` is the reading that rollouts may share a prompt
    with, or None."""

    reading: Reading
    expand_rollouts: bool
    difference: float
    sampling: Reading | None = None
    refused: tuple[str, ...] = ()


def find_reading(
    role: ModelRole, asked: Sequence[tuple[Any, str]], recipe: Recipe, precision: str = "float32"
) -> Finding:
    """The fastest reading that agrees with generation on these (image, text) prompts.

    Raises ModelError if teacher forcing fails, or disagrees with generation, in every way.
    """
    tolerance = TOLERANCE[precision]
    try:
        ids, logps = role.ask(_generate, role, asked, recipe)
        groups = [[row, row] for row in ids]
        target = logps.repeat_interleave(2, 0).flatten()
        difference, plain_gradient = _agreement(role, asked, groups, target, PLAIN)
    except Exception as error:
        raise ModelError(
            f"Model {role.name}: it cannot be read and asked as training does ({error_line(error)}). Upgrade "
            "transformers, or set attn_implementation=eager; if memory is short, lower max_pixels."
        ) from error
    refused: list[str] = []
    if not difference <= tolerance:  # NaN is no agreement
        raise ModelError(
            f"Model {role.name}: log-probabilities of a teacher-forced pass differ from generation's by up to "
            f"{difference:.3g} nats (at most {tolerance:g} is rounding). Training on them would teach noise. Upgrade "
            "transformers, or set attn_implementation=eager; if it stays, the model's code is at fault."
        )
    best, cap = PLAIN, role.ask(_cap, role, asked)
    for economies in _readings(recipe):
        reading = replace(economies, cap=cap) if economies.split_head else economies
        try:
            off, gradient = _agreement(role, asked, groups, target, reading)
        except Exception as error:
            refused.append(f"{_name(reading)}: {error_line(error)}")
            continue
        apart = _apart(gradient, plain_gradient)
        if not (off <= tolerance and apart <= GRADIENT[precision]):
            refused.append(f"{_name(reading)}: log-probabilities differ by {off:.2g}, gradients by {apart:.2g}")
            continue
        best, difference = reading, off
        break
    if recipe.use_vllm:
        return Finding(best, False, difference, None, tuple(refused))
    shared = replace(best, share_prompt=True, expand=True)
    sampling = shared if recipe.share_prompt and _rollouts_agree(role, asked, recipe, best, tolerance, shared) else None
    expand = _rollouts_agree(role, asked, recipe, best, tolerance, None)
    return Finding(best, expand, difference, sampling, tuple(refused))


def check_vllm(
    role: ModelRole,
    sampler: VllmSampler,
    asked: Sequence[tuple[Any, str]],
    recipe: Recipe,
    precision: str = "float32",
) -> float:
    """The largest difference between vLLM's log-probabilities of a few of its answers and teacher forcing's, in nats.

    Raises ModelError if it is no rounding, or if a prompt's token ids are not those that the trainer reads.
    """
    prompts = [Prompt(p, t, tuple(random_key("check", i, n) for n in (0, 1))) for i, (p, t) in enumerate(asked)]
    for (image, text), theirs in zip(asked, sampler.prompt_ids(role, prompts), strict=True):
        ours = role.chat.batch([((image,), text)])["input_ids"][0].tolist()
        if ours != theirs:
            raise ModelError(
                f"Model {role.name}: vLLM reads a prompt as other tokens ({len(theirs)} of them) than the trainer does "
                f"({len(ours)}). Its answers would be to another question: set use_vllm=false."
            )
    made = sampler(role, prompts, Sampling(TOKENS, recipe.temperature))
    groups = [[r.ids for r in rollouts] for rollouts in made]
    target = torch.tensor([logp for rollouts in made for r in rollouts for logp in r.logps])
    off = _agreement(role, asked, groups, target, role.reading)[0]
    if not off <= VLLM_TOLERANCE[precision]:
        raise ModelError(
            f"Model {role.name}: log-probabilities of vLLM's answers differ from the trainer's by up to {off:.3g} nats "
            f"(at most {VLLM_TOLERANCE[precision]:g} is rounding). vLLM runs this model otherwise than transformers "
            "does: set use_vllm=false."
        )
    return off


def _readings(recipe: Recipe) -> list[Reading]:
    # Checkpointing keeps no cache, and a prompt with one answer is read once anyway.
    shared = recipe.share_prompt and not recipe.gradient_checkpointing and recipe.rollouts_per_prompt > 1
    wanted = [Reading(share, split, expand) for share in (True, False) for split in (True, False)
              for expand in (True, False)]  # fmt: skip
    # A shared prompt is read once, so nothing is left to expand.
    return [r for r in wanted if (r.share_prompt, r.expand) != (True, False) and (shared or not r.share_prompt)]


def _cap(model: Any, role: ModelRole, asked: Sequence[tuple[Any, str]]) -> float | None:
    return logit_cap(model, process(role.chat, model, asked[:1], 1, PLAIN))


def _generate(
    model: Any, role: ModelRole, asked: Sequence[tuple[Any, str]], recipe: Recipe
) -> tuple[list[Any], Tensor]:
    """Greedy answers of `TOKENS` tokens, never ended, and their log-probabilities by generation's own logits."""
    from transformers import GenerationConfig

    inputs = process(role.chat, model, asked, 1, PLAIN)
    settings = GenerationConfig(
        max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, output_logits=True, return_dict_in_generate=True,
        suppress_tokens=list(role.suppressed) or None, pad_token_id=model.generation_config.pad_token_id,
    )  # fmt: skip
    with torch.no_grad():
        out = model.generate(**inputs, generation_config=settings)
    ids = out.sequences[:, -TOKENS:]
    logps = torch.log_softmax(torch.stack(out.logits, 1).float(), -1).gather(2, ids[..., None])[..., 0]
    return ids.tolist(), logps


def _agreement(
    role: ModelRole, asked: Sequence[tuple[Any, str]], groups: Groups, target: Tensor, reading: Reading
) -> tuple[float, list[Tensor]]:
    """Largest difference of a log-probability, and the gradient of their sum for a few small parameters.

    Without DDP's synchronisation: it would go on waiting for the gradients of this pass in the first real one.
    """
    alone = getattr(role.inside, "no_sync", contextlib.nullcontext)
    with alone():
        return role.inside(_agreement_inside, role, asked, groups, target, reading)  # type: ignore[no-any-return]


def _agreement_inside(
    model: Any, role: ModelRole, asked: Sequence[tuple[Any, str]], groups: Groups, target: Tensor, reading: Reading
) -> tuple[float, list[Tensor]]:
    watched = _watched(model)
    with torch.set_grad_enabled(bool(watched)):
        inputs = process(role.chat, model, asked, len(groups[0]), reading)
        states = hidden_states(model, inputs, groups, reading)
        tokens = torch.tensor([t for group in groups for row in group for t in row], device=states.device)
        logps = torch.log_softmax(head(model, reading)(states), -1).gather(1, tokens[:, None])[:, 0]
        gradient = torch.autograd.grad(logps.sum(), watched, allow_unused=True) if watched else ()
    off = float((logps.detach() - target.to(logps)).abs().max())
    return off, [torch.zeros(1) if g is None else g.detach().float() for g in gradient]


def _watched(model: Any) -> list[Any]:
    """Up to eight small trained parameters spread over the model; sharded ones cannot be asked one by one.

    An odd stride, because every other matrix of an adapter (A) has no gradient at the start, its partner B being 0.
    """
    small = [p for p in model.parameters() if p.requires_grad and p.numel() <= 1 << 22]
    small = [p for p in small if type(p.data) is torch.Tensor]
    return small[:: len(small) // 8 | 1][:8]


def _apart(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Largest ||a - b|| / max(||b||, a thousandth of the largest ||b||)."""
    if not one:
        return 0.0
    floor = 1e-3 * max(float(b.norm()) for b in other) + 1e-12
    each = [float((a - b).norm()) / max(float(b.norm()), floor) for a, b in zip(one, other, strict=True)]
    return float(torch.tensor(each).max())  # NaN if any is


def _rollouts_agree(
    role: ModelRole, asked: Sequence[tuple[Any, str]], recipe: Recipe, reading: Reading, tolerance: float,
    shared: Reading | None,
) -> bool:  # fmt: skip
    """Whether sampling may share a prompt, or repeat it by itself: two answers each must agree with teacher forcing."""
    if recipe.rollouts_per_prompt == 1 and shared is None:
        return True
    prompts = [Prompt(p, t, (random_key("check", i, 0), random_key("check", i, 1))) for i, (p, t) in enumerate(asked)]
    sampling = Sampling(TOKENS, recipe.temperature)
    try:
        made = role.ask(sample, role.chat, prompts, sampling, role.ends, role.suppressed, True, False, shared)
    except Exception:
        return False
    groups = [[r.ids for r in rollouts] for rollouts in made]
    target = torch.tensor([logp for rollouts in made for r in rollouts for logp in r.logps])
    return _agreement(role, asked, groups, target, reading)[0] <= tolerance


def _name(reading: Reading) -> str:
    return ", ".join(name for name, on in vars(reading).items() if on is True) or "plain"
