"""The self-check before a training: does teacher forcing agree with generation?

    check = find_forward_mode(role, prompts, recipe)      # check.mode: the fastest mode that changes nothing

The model generates short greedy answers, and their log-probabilities are compared with those of a teacher-forced pass.
Wrong token-type ids, positions or masks corrupt four model families without raising an error. Forward modes
(`forward.ForwardMode`) are tried from the fastest to the plain one. The first that agrees with generation in
log-probabilities, and with the plain pass in the gradient of a few small parameters, is used. If even the plain pass
disagrees with generation, training is refused.

Limits: the check compares a few short answers. It does not notice a model that is wrong for long answers only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from gapbench.distillation.forward import PLAIN, ForwardMode, Groups, ImageTexts, log_probs, logit_cap, process
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.rollouts import REFERENCE, Prompt, Sampler, Sampling, TransformersSampler, random_key
from gapbench.distillation.student import ModelRole
from gapbench.distillation.vllm.rollouts import VllmSampler
from gapbench.errors import ModelError
from gapbench.util.text import error_line

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25}
"""Largest accepted difference of a log-probability, in nats. Correct passes in float32 stay below 1e-5; wrong ones
exceed 0.07.
"""
VLLM_TOLERANCE = {"float32": 1e-2, "bfloat16": 1.0}
"""The same for vLLM, whose kernels differ. On a CPU in float32 ten families stay below 1e-5; Gemma 3, whose images vLLM
masks differently there, differs by 0.06 and more. In bfloat16 means of 0.01 to 0.06 are reported (see `health`), and a
few tokens differ far more. So this bound only catches a model that is plainly another one; `health` watches the mean
while training.
"""
ANSWER_TOKENS = 6
"""Length of the answers that are compared."""
GRADIENT_TOLERANCE = {"float32": 2e-2, "bfloat16": 0.4}
"""Largest accepted relative difference of a gradient. Correct ones stay below 1e-4, or 0.15 in bfloat16. A gradient
that is lost in the prompt differs by 0.85 and more.
"""


@dataclass(frozen=True)
class ForwardCheck:
    """The result of the self-check.

    `mode` is the forward mode to train with, and `difference` its largest difference from generation in log-probability
    (nats). `rollout_mode` is the mode in which rollouts share a prompt, or None if they must not. `expand_rollouts`:
    `generate` may repeat a prompt itself. `refused` names the modes that disagree, with the reason.
    """

    mode: ForwardMode
    expand_rollouts: bool
    difference: float
    rollout_mode: ForwardMode | None = None
    refused: tuple[str, ...] = ()


def find_forward_mode(role: ModelRole, prompts: ImageTexts, recipe: Recipe, precision: str = "float32") -> ForwardCheck:
    """The fastest forward mode that agrees with generation on these (image, text) prompts.

    Raises ModelError if generation or the plain pass fails, or if they disagree.
    """
    tolerance = TOLERANCE[precision]
    try:
        ids, logps = role.run_without_grad(_generate, role, prompts)
        groups = [[row, row] for row in ids]
        generated = logps.repeat_interleave(2, 0).flatten()
        difference, plain_gradient = _compare(role, prompts, groups, generated, PLAIN)
    except Exception as error:
        raise ModelError(
            f"Model {role.name}: generation or teacher forcing fails ({error_line(error)}). Upgrade "
            "transformers, or set attn_implementation=eager; if memory is short, lower max_pixels."
        ) from error
    if not difference <= tolerance:  # true for NaN, too
        raise ModelError(
            f"Model {role.name}: log-probabilities of a teacher-forced pass differ from generation's by up to "
            f"{difference:.3g} nats (rounding explains at most {tolerance:g}). Training on them would teach noise. "
            "Upgrade transformers, or set attn_implementation=eager. If this does not help, the model's code is wrong."
        )
    cap = role.run_without_grad(lambda model: logit_cap(model, process(role.chat, model, prompts[:1], 1, PLAIN)))
    accepted, refused = PLAIN, []
    for mode in _candidate_modes(recipe, cap):
        try:
            log_prob_difference, gradient = _compare(role, prompts, groups, generated, mode)
        except Exception as error:
            refused.append(f"{mode}: {error_line(error)}")
            continue
        gradient_difference = _gradient_difference(gradient, plain_gradient)
        if log_prob_difference <= tolerance and gradient_difference <= GRADIENT_TOLERANCE[precision]:
            accepted, difference = mode, log_prob_difference
            break
        refused.append(
            f"{mode}: log-probabilities differ by {log_prob_difference:.2g}, gradients by {gradient_difference:.2g}"
        )
    shared_mode = replace(accepted, share_prompt=True, expand=True)

    def agree(sampler: TransformersSampler) -> bool:
        try:
            return _sampler_difference(role, sampler, prompts, recipe, accepted) <= tolerance
        except Exception:
            return False

    share = not recipe.use_vllm and recipe.share_prompt and agree(TransformersSampler(mode=shared_mode))
    expand = not recipe.use_vllm and (recipe.rollouts_per_prompt == 1 or agree(REFERENCE))
    return ForwardCheck(accepted, expand, difference, shared_mode if share else None, tuple(refused))


def check_vllm(
    role: ModelRole, sampler: VllmSampler, image_texts: ImageTexts, recipe: Recipe, precision: str = "float32"
) -> float:
    """The largest difference in log-probability between vLLM and teacher forcing, in nats, over a few answers of vLLM.

    Raises ModelError if it exceeds `VLLM_TOLERANCE`, or if vLLM and the trainer read a prompt as different token ids.
    """
    for (image, text), theirs in zip(image_texts, sampler.prompt_ids(role, _with_keys(image_texts)), strict=True):
        ours = role.chat.batch([((image,), text)])["input_ids"][0].tolist()
        if ours != theirs:
            raise ModelError(
                f"Model {role.name}: vLLM reads a prompt as other tokens ({len(theirs)}) than the trainer "
                f"({len(ours)}). Its answers would belong to another prompt: set use_vllm=false."
            )
    difference = _sampler_difference(role, sampler, image_texts, recipe, role.mode)
    if not difference <= VLLM_TOLERANCE[precision]:
        raise ModelError(
            f"Model {role.name}: log-probabilities of vLLM's answers differ from the trainer's by up to "
            f"{difference:.3g} nats (rounding explains at most {VLLM_TOLERANCE[precision]:g}). vLLM and "
            "transformers run this model differently: set use_vllm=false."
        )
    return difference


def _candidate_modes(recipe: Recipe, cap: float | None) -> list[ForwardMode]:
    """The forward modes that the recipe allows and that take a shortcut, the fastest first."""
    # Gradient checkpointing keeps no cache, and a prompt with a single answer is read once anyway.
    may_share = recipe.share_prompt and not recipe.gradient_checkpointing and recipe.rollouts_per_prompt > 1
    modes = [ForwardMode(share, split, expand, cap if split else None)
             for share, split, expand in product((True, False), repeat=3)]  # fmt: skip
    # A shared prompt is processed once anyway, so `share_prompt` without `expand` is no other mode.
    return [m for m in modes if (m.share_prompt, m.expand) != (True, False) and (may_share or not m.share_prompt)]


def _generate(model: Any, role: ModelRole, prompts: ImageTexts) -> tuple[list[Any], Tensor]:
    """Greedy answers of `ANSWER_TOKENS` tokens, never ended, and their log-probabilities from generation's logits."""
    from transformers import GenerationConfig

    inputs = process(role.chat, model, prompts, 1, PLAIN)
    settings = GenerationConfig(
        max_new_tokens=ANSWER_TOKENS, min_new_tokens=ANSWER_TOKENS, do_sample=False, output_logits=True,
        return_dict_in_generate=True, suppress_tokens=list(role.suppressed) or None,
        pad_token_id=model.generation_config.pad_token_id,
    )  # fmt: skip
    out = model.generate(**inputs, generation_config=settings)
    ids = out.sequences[:, -ANSWER_TOKENS:]
    logps = torch.log_softmax(torch.stack(out.logits, 1).float(), -1).gather(2, ids[..., None])[..., 0]
    return ids.tolist(), logps


def _compare(
    role: ModelRole, prompts: ImageTexts, groups: Groups, expected: Tensor, mode: ForwardMode
) -> tuple[float, list[Tensor]]:
    """The largest difference from the expected log-probabilities, and the gradient of their sum for a few parameters.

    Runs without DDP's synchronisation: DDP would wait for the gradients of this pass in the first training step.
    """

    def inside(model: Any) -> tuple[float, list[Tensor]]:
        params = _compared_params(model)
        with torch.set_grad_enabled(bool(params)):
            logps = log_probs(model, role.chat, prompts, groups, mode)
            gradient = torch.autograd.grad(logps.sum(), params, allow_unused=True) if params else ()
        difference = float((logps.detach() - expected.to(logps)).abs().max())
        return difference, [torch.zeros(1) if g is None else g.detach().float() for g in gradient]

    with getattr(role.wrapped, "no_sync", contextlib.nullcontext)():
        return role.wrapped(inside)  # type: ignore[no-any-return]


def _compared_params(model: Any) -> list[Any]:
    """Up to eight small trained parameters, spread over the model; sharded ones cannot be read one by one.

    The stride is odd because every other matrix of a fresh adapter (A) has no gradient: its partner B is 0.
    """
    small = [p for p in model.parameters() if p.requires_grad and p.numel() <= 1 << 22]
    small = [p for p in small if type(p.data) is torch.Tensor]
    return small[:: len(small) // 8 | 1][:8]


def _gradient_difference(gradients: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest ||a - b|| / max(||b||, a thousandth of the largest ||b||), where b are the expected gradients."""
    if not gradients:
        return 0.0
    floor = 1e-3 * max(float(b.norm()) for b in expected) + 1e-12
    ratios = [float((a - b).norm()) / max(float(b.norm()), floor) for a, b in zip(gradients, expected, strict=True)]
    return float(torch.tensor(ratios).max())  # NaN if any ratio is NaN


def _with_keys(image_texts: ImageTexts) -> list[Prompt]:
    """The prompts of the check, for two answers each."""
    return [
        Prompt(image, text, tuple(random_key("check", i, n) for n in (0, 1)))
        for i, (image, text) in enumerate(image_texts)
    ]


def _sampler_difference(
    role: ModelRole, sampler: Sampler, image_texts: ImageTexts, recipe: Recipe, mode: ForwardMode
) -> float:
    """The largest difference in log-probability between a sampler and teacher forcing in `mode`, over a few answers."""
    rollouts_by_prompt = sampler(role, _with_keys(image_texts), Sampling(ANSWER_TOKENS, recipe.temperature))
    groups = [[r.ids for r in rollouts] for rollouts in rollouts_by_prompt]
    sampled = torch.tensor([logp for rollouts in rollouts_by_prompt for r in rollouts for logp in r.logps])
    return _compare(role, image_texts, groups, sampled, mode)[0]
