"""Our divergences against TRL's, on a CPU: `pip install "trl>=1.16"` into an environment of its own, then

    python -m pytest tests/distillation/test_divergence_trl.py -s      # -s prints the largest differences

TRL's alpha (beta) is 0 for the forward KL, 1 for the reverse KL, and the teacher's weight in the mixture in between.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor

from gapbench.distillation.divergence import Divergence, Tokens, chunked_divergence, token_divergence
from gapbench.distillation.targets import Target
from gapbench.util.torchvision_repair import repair

pytest.importorskip("trl", reason='TRL is an oracle, not a dependency; pip install "trl>=1.16" to compare')
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
repair()
of_top_k = pytest.importorskip("trl.experimental.sdft.loss_utils").compute_topk_self_distillation_loss
OfFullVocabulary = pytest.importorskip("trl.kernels.chunked_divergence").ChunkedDivergenceFunction

TOKENS, VOCABULARY, WIDTH, TEACHER_WIDTH = 40, 2000, 32, 48


def normal(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def of_alpha(alpha: float, **settings: Any) -> Divergence:
    ends = {0.0: "forward_kl", 1.0: "reverse_kl"}
    return Divergence(ends[alpha], **settings) if alpha in ends else Divergence("jsd", alpha, **settings)


def agree(what: str, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    gaps = {name: (ours[name] - theirs[name]).abs().max().item() for name in theirs}
    print(f"\n{what}: " + ", ".join(f"{name} {gap:.1e}" for name, gap in gaps.items()), end="")
    assert max(gaps.values()) <= 1e-5


@pytest.mark.parametrize("temperature", [1.0, 0.8])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_full_vocabulary_agrees_with_the_chunked_kernel(alpha: float, temperature: float) -> None:
    hidden, teacher_hidden = normal(TOKENS, WIDTH, seed=0), normal(TOKENS, TEACHER_WIDTH, seed=1)
    weight, teacher_weight = normal(VOCABULARY, WIDTH, seed=2, scale=0.3), normal(VOCABULARY, TEACHER_WIDTH, seed=3)
    token_weights = torch.linspace(0.1, 2, TOKENS) / TOKENS
    sampled = torch.arange(TOKENS)
    settings = of_alpha(alpha, support="full", temperature=temperature)

    h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    ours = chunked_divergence(
        h,
        teacher_hidden,
        Tokens(sampled, token_weights),
        lambda x: x @ w.T,
        lambda x: x @ teacher_weight.T,
        settings,
        16,
    )
    ours.loss.backward()
    per_token = token_divergence(hidden @ weight.T, teacher_hidden @ teacher_weight.T, sampled, settings)

    th, tw = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    divergence, entropy = OfFullVocabulary.apply(th, tw, None, teacher_hidden, teacher_weight, None, alpha, temperature)
    (token_weights * divergence).sum().backward()
    agree(
        f"alpha {alpha} T {temperature}",
        {"value": per_token, "hidden gradient": h.grad, "head gradient": w.grad, "loss": ours.loss.detach()},
        {
            "value": divergence.detach(),
            "hidden gradient": th.grad,
            "head gradient": tw.grad,
            "loss": (token_weights * divergence.detach()).sum(),
        },
    )
    if temperature == 1.0:
        agree("entropy", {"mean": ours.entropy / TOKENS}, {"mean": entropy.mean()})


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("k", [1, 20, 100])
@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_students_top_k_agrees_with_self_distillation(alpha: float, tail: bool, k: int, scale: float) -> None:
    student, teacher = normal(TOKENS, VOCABULARY, seed=4, scale=scale), normal(TOKENS, VOCABULARY, seed=5, scale=scale)
    settings = of_alpha(alpha, support="student", top_k=k, tail=tail)

    a, b = student.clone().requires_grad_(), student.clone().requires_grad_()
    ours = token_divergence(a, teacher, torch.zeros(TOKENS, dtype=torch.long), settings)
    ours.sum().backward()
    theirs = of_top_k(b, teacher, distillation_topk=k, distillation_alpha=alpha, distillation_add_tail=tail)
    theirs.sum().backward()
    agree(
        f"alpha {alpha} k {k} {'tail' if tail else 'renormalised'} scale {scale}",
        {"value": ours.detach(), "gradient": a.grad},
        {"value": theirs.detach(), "gradient": b.grad},
    )


@pytest.mark.parametrize("k", [20, 100])
@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("target", "tilt"), [("tilt", 4.0), ("tilt", 1.0), ("hard", 4.0), ("hard", 0.0)])
def test_targets_and_weights_agree_with_self_distillation_towards_a_teacher_that_is_the_target(
    target: Target, tilt: float, alpha: float, tail: bool, k: int
) -> None:
    """TRL knows neither targets nor null views, so it gets a teacher that has the target's probabilities; in float64,
    because its tail is one minus a sum.
    """
    if target == "hard" and alpha == 1.0:
        pytest.skip("the reverse KL to a label is infinite")
    student, teacher, null = (normal(TOKENS, VOCABULARY, seed=seed).double() for seed in (4, 5, 6))
    kept = student.topk(k).indices
    sides = [side.softmax(-1).gather(-1, kept) for side in (teacher, null)]
    p, n = (torch.cat([x, 1 - x.sum(-1, keepdim=True)], -1) if tail else x / x.sum(-1, keepdim=True) for x in sides)
    q = p ** (1 + tilt) / n**tilt
    q /= q.sum(-1, keepdim=True)
    if target == "hard":
        q = torch.zeros_like(q).scatter(-1, q[:, :k].argmax(-1, keepdim=True), 1.0)
    rest = q[:, k:].sum(-1, keepdim=True) / (VOCABULARY - k)
    made = rest.expand(TOKENS, VOCABULARY).scatter(-1, kept, q[:, :k]).clamp(min=1e-30).log()

    weights = torch.linspace(0, 2, TOKENS)  # as weights by evidence give them
    settings = of_alpha(alpha, support="student", top_k=k, tail=tail, target=target, tilt=tilt)
    a, b = student.clone().requires_grad_(), student.clone().requires_grad_()
    ours = token_divergence(a, teacher, torch.zeros(TOKENS, dtype=torch.long), settings, null)
    (weights * ours).sum().backward()
    theirs = of_top_k(b, made, distillation_topk=k, distillation_alpha=alpha, distillation_add_tail=tail)
    (weights * theirs).sum().backward()
    agree(
        f"{target} {tilt} alpha {alpha} k {k} {'tail' if tail else 'renormalised'}",
        {"value": ours.detach(), "gradient": a.grad},
        {"value": theirs.detach(), "gradient": b.grad},
    )
