"""How far the student's next-token distribution is from the teacher's, and its gradient to the student alone.

    settings = Divergence("jsd", mixture=0.5, support="student", top_k=100, tail=True)
    token_divergence(student_logits, teacher_logits, sampled, settings)     # (M, V), (M, V), (M,) -> (M,)

Four divergences (Agarwal et al. 2024, "On-Policy Distillation of Language Models", arXiv:2306.13649):

`forward_kl`     KL(teacher || student): covers everything the teacher would say.
`reverse_kl`     KL(student || teacher): keeps to what the teacher finds likely.
`jsd`            the generalised Jensen-Shannon divergence between them. It tends to 0, not to a KL, as its mixture
weight tends to 0 or 1; hence the name of a divergence and its mixture weight are separate settings.
`sampled_token`  the sampled token alone, as a policy gradient: its expected *gradient* over tokens sampled from the
student is that of the reverse KL; its *value* is no divergence and may be negative.

The first three compare the full vocabulary or a few likely tokens (`support`). `chunked_divergence` goes from hidden
states to the loss of many tokens, and never holds full-vocabulary logits of more than `chunk` of them.

Everything is computed in float32 (float64 where the logits are). Limits: a log-probability counts as at least -1e6, so
a KL against a token ruled out by a logit of -inf is large but finite, and has no gradient there. A loss at another
temperature is not rescaled by its square.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gapbench.errors import SettingError

Head = Callable[[Tensor], Tensor]
"""From the last hidden states (M, H) to logits (M, V)."""

NAMES = ("jsd", "forward_kl", "reverse_kl", "sampled_token")
SUPPORTS = ("full", "student", "teacher", "union")

FLOOR = -1e6
"""Stands for log 0: its exp is exactly 0, and unlike -inf it can be multiplied by that 0."""


@dataclass(frozen=True)
class Divergence:
    """What is compared, and on which part of the vocabulary. Raises SettingError for a value out of range.

    `mixture`, above 0 and below 1, is of `jsd` alone: m = mixture p_T + (1 - mixture) p_S, and
    D = mixture KL(p_T || m) + (1 - mixture) KL(p_S || m). `support`, `top_k` and `tail` are of all but
    `sampled_token`: the tokens kept are the `top_k` likeliest of the student, the teacher or either (`union`), or all
    (`full`, or `top_k` no smaller than the vocabulary). With `tail` the rest of the mass is one further category;
    without, the kept probabilities are rescaled to sum to 1. `temperature` divides both logits; it is not the
    temperature of sampling. The defaults are those of Vision-OPD's released code.
    """

    name: str = "jsd"
    mixture: float = 0.5
    support: str = "student"
    top_k: int = 100
    tail: bool = True
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for setting, known in (("name", NAMES), ("support", SUPPORTS)):
            if getattr(self, setting) not in known:
                raise SettingError(
                    f"Divergence {setting}={getattr(self, setting)!r} is unknown. Expected one of {', '.join(known)}."
                )
        if not 0 < self.mixture < 1:
            raise SettingError(
                f"Divergence mixture={self.mixture}: expected a number above 0 and below 1. At either end the "
                "Jensen-Shannon divergence is 0; for a KL set the name to forward_kl or reverse_kl."
            )
        if self.top_k < 1:
            raise SettingError(f"Divergence top_k={self.top_k}: expected at least 1. All tokens: support full.")
        if not 0 < self.temperature < math.inf:
            raise SettingError(f"Divergence temperature={self.temperature}: expected a number above 0.")


@dataclass(frozen=True)
class Totals:
    """The loss of M tokens, and what health lines need of them; only `loss` carries a gradient.

    `loss` is the weighted and `divergence` the plain sum of the divergences, `entropy` the sum of the student's
    entropies in nats (all scalars). `student_log_probs` and `teacher_log_probs`, each (M,), are of the sampled tokens.
    Entropy and log-probs are of the models as they are, at temperature 1 and over the full vocabulary.
    """

    loss: Tensor
    divergence: Tensor
    entropy: Tensor
    student_log_probs: Tensor
    teacher_log_probs: Tensor


def token_divergence(student: Tensor, teacher: Tensor, sampled: Tensor, settings: Divergence) -> Tensor:
    """The divergence at each of M positions, (M,), from logits (M, V); the gradient goes to `student` alone.

    `sampled` (M,) holds the ids that were sampled; only `sampled_token` reads it:
    stopgrad(log p_S - log p_T) * log p_S.
    """
    student, teacher = _float(student), _float(teacher.detach())
    if settings.temperature != 1:
        student, teacher = student / settings.temperature, teacher / settings.temperature
    if settings.name == "sampled_token":
        s, t = (_log_probs(logits, sampled[:, None]).squeeze(-1) for logits in (student, teacher))
        return (s - t).detach() * s
    s, t = _on_support(student, teacher, settings)
    if settings.name == "forward_kl":
        return _kl(t, s)
    if settings.name == "reverse_kl":
        return _kl(s, t)
    w = settings.mixture
    m = torch.logaddexp(t + math.log(w), s + math.log1p(-w))
    return w * _kl(t, m) + (1 - w) * _kl(s, m)


@torch.no_grad()
def sampled_log_probs(logits: Tensor, sampled: Tensor) -> Tensor:
    """Log-probabilities (M,) of the ids `sampled` (M,) under logits (M, V), without a gradient."""
    return _log_probs(_float(logits), sampled[:, None]).squeeze(-1)


@torch.no_grad()
def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, (M,), of the distributions with logits (M, V), without a gradient."""
    terms: Tensor = torch.special.entr(_float(logits).softmax(-1))
    return terms.sum(-1)


def sequence_weights(lengths: Tensor, total_sequences: int, total_tokens: int, aggregation: str) -> Tensor:
    """Weights of the tokens of concatenated sequences, (sum of `lengths`,), that make a sum of losses a mean.

    `sequence`: the mean over sequences of each one's mean over tokens, 1 / (length * total_sequences). `token`: the
    mean over tokens, 1 / total_tokens. `lengths` (S,) are those of one micro-batch, the totals those of the whole step
    over all processes; hence neither the loss nor its gradient depends on how sequences are packed into micro-batches.
    Raises SettingError for another aggregation.
    """
    if aggregation == "sequence":
        return (1 / (lengths * total_sequences)).repeat_interleave(lengths)
    if aggregation == "token":
        return torch.full((int(lengths.sum()),), 1 / total_tokens, device=lengths.device)
    raise SettingError(f"aggregation={aggregation!r} is unknown. Expected sequence or token.")


def chunked_divergence(
    student_hidden: Tensor,
    teacher_hidden: Tensor,
    sampled: Tensor,
    weights: Tensor,
    student_head: Head,
    teacher_head: Head,
    settings: Divergence,
    chunk: int,
    sampler_log_probs: Tensor | None = None,
    importance_cap: float | None = None,
) -> Totals:
    """The weighted sum of the divergences of M tokens, from hidden states (M, H_S) and (M, H_T).

    `sampled` and `weights` (M,): the sampled ids, and what each token counts for (`sequence_weights`). The heads need
    not be of one width, only of one vocabulary. The gradient goes to `student_hidden` and the student's head. Logits
    are computed for `chunk` tokens at a time and again when the gradient is: memory grows with chunk * V, not M * V.
    No tokens at all give a loss of 0 with a gradient of 0.

    With `importance_cap` a token's weight is multiplied by `min(p / q, importance_cap)`, a constant for the gradient: p
    is the student's probability of the sampled id, q that of its sampler, whose logarithms are `sampler_log_probs`
    (M,). This is truncated importance sampling (Ionides 2008), token by token.
    """

    def of_chunk(student: Tensor, teacher: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
        logits = student_head(student)
        with torch.no_grad():
            target = teacher_head(teacher)
        divergence = token_divergence(logits, target, ids, settings)
        # Last, because recomputation stops after the last tensor that the gradient needs.
        return divergence, entropy(logits), sampled_log_probs(logits, ids), sampled_log_probs(target, ids)

    chunks = zip(*(torch.split(x, chunk) for x in (student_hidden, teacher_hidden.detach(), sampled)), strict=True)
    parts = [checkpoint(of_chunk, *part, use_reentrant=False, preserve_rng_state=False) for part in chunks]
    divergences, entropies, student_log_probs, teacher_log_probs = (torch.cat(x) for x in zip(*parts, strict=True))
    if importance_cap is not None and sampler_log_probs is not None:
        ratio = (student_log_probs - sampler_log_probs).clamp(-20, 20).exp()
        weights = weights * ratio.clamp(max=importance_cap)
    return Totals(
        loss=(weights * divergences).sum(),
        divergence=divergences.detach().sum(),
        entropy=entropies.sum(),
        student_log_probs=student_log_probs,
        teacher_log_probs=teacher_log_probs,
    )


def _float(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) over the last axis, from log-probabilities that are nowhere -inf."""
    return (p.exp() * (p - q)).sum(-1)


def _log_probs(logits: Tensor, ids: Tensor) -> Tensor:
    """Full-vocabulary log-probabilities (M, K) of `ids` (M, K)."""
    return logits.log_softmax(-1).gather(-1, ids).clamp(min=FLOOR)


def _on_support(student: Tensor, teacher: Tensor, settings: Divergence) -> tuple[Tensor, Tensor]:
    """Log-probabilities of both on the same categories, (M, K): the kept tokens and, with `tail`, all others as one."""
    k = settings.top_k
    if settings.support == "full" or k >= student.shape[-1]:
        return student.log_softmax(-1).clamp(min=FLOOR), teacher.log_softmax(-1).clamp(min=FLOOR)
    choosers = {"student": (student,), "teacher": (teacher,), "union": (student, teacher)}[settings.support]
    ids = torch.cat([logits.detach().topk(k, sorted=False).indices for logits in choosers], -1).sort(-1).values
    # A token that both chose is the second of two equal neighbours.
    repeated = torch.nn.functional.pad(ids[:, 1:] == ids[:, :-1], (1, 0))
    return _kept(student, ids, repeated, settings.tail), _kept(teacher, ids, repeated, settings.tail)


def _kept(logits: Tensor, ids: Tensor, repeated: Tensor, tail: bool) -> Tensor:
    """Log-probabilities of the categories that `ids` (M, K) leave: (M, K + 1) with the tail, else (M, K)."""
    log_probs = logits.log_softmax(-1)
    kept = log_probs.gather(-1, ids).clamp(min=FLOOR).masked_fill(repeated, FLOOR)
    if not tail:
        return kept - kept.logsumexp(-1, keepdim=True)
    # Summed from what is not kept. Vision-OPD's released code takes log(1 - sum of the kept) instead: in float32 mostly
    # rounding where that sum is close to one, and clamped at 1e-7, below which it has no gradient.
    rest = log_probs.scatter(-1, ids, FLOOR).logsumexp(-1, keepdim=True)
    return torch.cat([kept, rest], -1)
