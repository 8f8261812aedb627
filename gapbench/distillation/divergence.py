"""The divergence between the next-token distributions of student and teacher, with its gradient to the student.

    settings = Divergence("jsd", mixture=0.5, support="student", top_k=100, tail=True)
    token_divergence(student_logits, teacher_logits, sampled, settings)     # (M, V), (M, V), (M,) -> (M,)

There are four divergences (Agarwal et al. 2024, "On-Policy Distillation of Language Models", arXiv:2306.13649):

`forward_kl`     KL(teacher || student): the student must cover every answer that the teacher finds likely.
`reverse_kl`     KL(student || teacher): the student must keep to answers that the teacher finds likely.
`jsd`            the generalised Jensen-Shannon divergence. It tends to 0, not to a KL, as its mixture weight
                 tends to 0 or 1. Therefore the name of a divergence and its mixture weight are separate settings.
`sampled_token`  the sampled token alone, as a policy gradient. Over tokens sampled from the student its expected
                 *gradient* is that of the reverse KL. Its *value* is no divergence and may be negative.

The first three compare the full vocabulary or a few likely tokens (`support`), with the teacher or with a target made
of it (`gapbench.distillation.targets`). `chunked_divergence` computes the loss of many tokens from hidden states
and never holds the full-vocabulary logits of more than `chunk` tokens.

Everything is computed in float32, or in float64 for float64 logits.

Limits: a log-probability counts as at least -1e6. So a KL against a token that is ruled out by a logit of -inf is large
but finite, and has no gradient there. A loss at another temperature is not rescaled by the square of the temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gapbench.distillation.targets import FLOOR, Target, target

Head = Callable[[Tensor], Tensor]
"""The function from the last hidden states (M, H) to logits (M, V)."""

Name = Literal["jsd", "forward_kl", "reverse_kl", "sampled_token"]
Support = Literal["full", "student", "teacher", "union"]
Aggregation = Literal["sequence", "token"]


@dataclass(frozen=True)
class Divergence:
    """The divergence, and the part of the vocabulary that it compares. `Recipe` checks the values.

    `mixture`, above 0 and below 1, is used by `jsd` alone: m = mixture p_T + (1 - mixture) p_S, and D = mixture KL(p_T
    || m) + (1 - mixture) KL(p_S || m).

    `support`, `top_k` and `tail` are used by all but `sampled_token`. The compared tokens are the `top_k` likeliest of
    the student, of the teacher or of either (`union`), or all tokens (`full`, or `top_k` no smaller than the
    vocabulary). With `tail` the rest of the probability is one further category; without it the probabilities of the
    compared tokens are rescaled to sum to 1.

    `temperature` divides the logits of both; it is not the temperature of sampling. `importance_cap` weights tokens by
    an importance ratio, see `chunked_divergence`. `target` and `tilt`, the strength of a tilt, say what stands in the
    teacher's place; the compared tokens are still those of the teacher itself. The defaults are those of Vision-OPD's
    released code.
    """

    name: Name = "jsd"
    mixture: float = 0.5
    support: Support = "student"
    top_k: int = 100
    tail: bool = True
    temperature: float = 1.0
    importance_cap: float | None = None
    target: Target = "teacher"
    tilt: float = 4.0


@dataclass(frozen=True)
class Tokens:
    """The M tokens of sampled answers: `ids`, the weight of each in the loss (`sequence_weights`), and, unless unknown,
    the log-probability that the sampler gave each; all (M,).
    """

    ids: Tensor
    weights: Tensor
    sampler_log_probs: Tensor | None = None


@dataclass(frozen=True)
class Totals:
    """The loss of M tokens and the statistics for the training log; only `loss` carries a gradient.

    `loss` is the weighted sum of the divergences, `divergence` their plain sum, and `entropy` the sum of the student's
    entropies in nats (all scalars). `student_log_probs` (M,) are those of the sampled tokens. Entropy and
    log-probabilities are at temperature 1 and over the full vocabulary.
    """

    loss: Tensor
    divergence: Tensor
    entropy: Tensor
    student_log_probs: Tensor


def token_divergence(
    student: Tensor, teacher: Tensor, sampled: Tensor, settings: Divergence, null: Tensor | None = None
) -> Tensor:
    """The divergence at each of M positions, (M,), from logits (M, V); the gradient goes to `student` alone.

    `sampled` (M,) holds the sampled ids. Only `sampled_token` reads it: stopgrad(log p_S - log p_T) * log p_S, with the
    teacher itself as target. `null` are the teacher's logits on its null view, which a tilted target needs.
    """
    sides = [_float(student), _float(teacher.detach()), *([] if null is None else [_float(null.detach())])]
    if settings.temperature != 1:
        sides = [logits / settings.temperature for logits in sides]
    if settings.name == "sampled_token":
        s, t = (_log_probs(logits, sampled[:, None]).squeeze(-1) for logits in sides[:2])
        return (s - t).detach() * s
    (s, t, *n), tail = _on_support(sides, settings)
    t = target(settings.target, t, n[0] if n else None, settings.tilt, tail)
    if settings.name == "forward_kl":
        return _kl(t, s)
    if settings.name == "reverse_kl":
        return _kl(s, t)
    return jensen_shannon(t, s, settings.mixture)


def jensen_shannon(teacher: Tensor, student: Tensor, mixture: float) -> Tensor:
    """The generalised Jensen-Shannon divergence, (M,), of log-probabilities (M, K) that are nowhere -inf."""
    w = mixture
    m = torch.logaddexp(teacher + math.log(w), student + math.log1p(-w))
    return w * _kl(teacher, m) + (1 - w) * _kl(student, m)


def with_rest(logits: Tensor, ids: Tensor) -> Tensor:
    """Log-probabilities of the tokens `ids` (M, K), none of them twice, and last of all others together: (M, K + 1)."""
    return _reduced(_float(logits), ids, torch.zeros_like(ids, dtype=torch.bool), tail=True)


@torch.no_grad()
def sampled_log_probs(logits: Tensor, sampled: Tensor) -> Tensor:
    """Log-probabilities (M,) of the ids `sampled` (M,) under logits (M, V), without a gradient."""
    return _log_probs(_float(logits), sampled[:, None]).squeeze(-1)


@torch.no_grad()
def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, (M,), of the distributions with logits (M, V), without a gradient."""
    terms: Tensor = torch.special.entr(_float(logits).softmax(-1))
    return terms.sum(-1)


def sequence_weights(lengths: Tensor, total_sequences: int, total_tokens: int, aggregation: Aggregation) -> Tensor:
    """The weights of the tokens of concatenated sequences, (sum of `lengths`,), that turn a sum of losses into a mean.

    `sequence`: the mean over sequences of the mean over tokens, 1 / (length * total_sequences). `token`: the mean over
    all tokens, 1 / total_tokens. `lengths` (S,) are those of one micro-batch; the totals are those of the whole step
    over all processes. So neither the loss nor its gradient depends on the packing into micro-batches.
    """
    if aggregation == "sequence":
        return (1 / (lengths * total_sequences)).repeat_interleave(lengths)
    return torch.full((int(lengths.sum()),), 1 / total_tokens, device=lengths.device)


def chunked_divergence(
    student_hidden: Tensor, teacher_hidden: Tensor, tokens: Tokens, student_head: Head, teacher_head: Head,
    settings: Divergence, chunk: int, null_hidden: Tensor | None = None,
) -> Totals:  # fmt: skip
    """The weighted sum of the divergences of M tokens, from hidden states (M, H_S) and (M, H_T).

    `null_hidden` (M, H_T) are the teacher's on its null view, which a tilted target needs. The heads may differ in
    width but must share a vocabulary. The gradient goes to `student_hidden` and the student's head. Logits are computed
    for `chunk` tokens at a time, and again for the gradient, so memory grows with chunk * V, not M * V. Without tokens
    the loss is 0 with a gradient of 0.

    With `settings.importance_cap` the weight of a token is multiplied by the importance ratio
    `min(p / q, importance_cap)`, a constant for the gradient. p is the student's probability of the sampled id, q that
    of the sampler. This is truncated importance sampling (Ionides 2008), token by token.
    """

    def of_chunk(student: Tensor, teacher: Tensor, ids: Tensor, null: Tensor | None = None) -> tuple[Tensor, ...]:
        logits = student_head(student)
        with torch.no_grad():
            by_teacher = teacher_head(teacher)
            without_evidence = None if null is None else teacher_head(null)
        divergence = token_divergence(logits, by_teacher, ids, settings, without_evidence)
        # The statistics come last: recomputation stops after the last tensor that the gradient needs.
        return divergence, entropy(logits), sampled_log_probs(logits, ids)

    columns = [student_hidden, teacher_hidden.detach(), tokens.ids]
    columns += [] if null_hidden is None else [null_hidden.detach()]
    chunks = zip(*(torch.split(x, chunk) for x in columns), strict=True)
    parts = [checkpoint(of_chunk, *part, use_reentrant=False, preserve_rng_state=False) for part in chunks]
    divergences, entropies, student_log_probs = (torch.cat(x) for x in zip(*parts, strict=True))
    weights = tokens.weights
    if settings.importance_cap is not None and tokens.sampler_log_probs is not None:
        ratio = (student_log_probs - tokens.sampler_log_probs).clamp(-20, 20).exp()
        weights = weights * ratio.clamp(max=settings.importance_cap)
    loss, divergence = (weights * divergences).sum(), divergences.detach().sum()
    return Totals(loss, divergence, entropies.sum(), student_log_probs)


def _float(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) over the last axis, from log-probabilities that are nowhere -inf."""
    return (p.exp() * (p - q)).sum(-1)


def _log_probs(logits: Tensor, ids: Tensor) -> Tensor:
    """Full-vocabulary log-probabilities (M, K) of `ids` (M, K)."""
    return logits.log_softmax(-1).gather(-1, ids).clamp(min=FLOOR)


def _on_support(sides: Sequence[Tensor], settings: Divergence) -> tuple[list[Tensor], bool]:
    """Log-probabilities of student, teacher and others over the same categories, (M, K), and whether the last category
    is the tail: the compared tokens and, with `tail`, the rest.
    """
    student, teacher = sides[:2]
    k = settings.top_k
    if settings.support == "full" or k >= student.shape[-1]:
        return [logits.log_softmax(-1).clamp(min=FLOOR) for logits in sides], False
    sources = {"student": (student,), "teacher": (teacher,), "union": (student, teacher)}[settings.support]
    ids = torch.cat([logits.detach().topk(k, sorted=False).indices for logits in sources], -1).sort(-1).values
    # The ids are sorted, so a token of both sources has an equal left neighbour.
    repeated = torch.nn.functional.pad(ids[:, 1:] == ids[:, :-1], (1, 0))
    return [_reduced(logits, ids, repeated, settings.tail) for logits in sides], settings.tail


def _reduced(logits: Tensor, ids: Tensor, repeated: Tensor, tail: bool) -> Tensor:
    """Log-probabilities of the tokens `ids` (M, K), and with `tail` of all others together: (M, K + 1), else (M, K)."""
    log_probs = logits.log_softmax(-1)
    log_probs_of_ids = log_probs.gather(-1, ids).clamp(min=FLOOR).masked_fill(repeated, FLOOR)
    if not tail:
        return log_probs_of_ids - log_probs_of_ids.logsumexp(-1, keepdim=True)
    # The sum over the tokens outside `ids`. Vision-OPD's released code takes log(1 - sum of the kept probabilities)
    # instead. In float32 that is mostly rounding if the sum is close to one, and it is clamped at 1e-7, below which it
    # has no gradient.
    tail_log_prob = log_probs.scatter(-1, ids, FLOOR).logsumexp(-1, keepdim=True)
    return torch.cat([log_probs_of_ids, tail_log_prob], -1)
