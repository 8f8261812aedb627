"""What the student is moved towards: against numbers computed by hand, and a plain reference in float64."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distillation.test_divergence import (
    EVERY,
    TEACHER_WIDTH,
    VOCABULARY,
    WIDTH,
    hidden,
    ids,
    kept_ids,
    kl,
    label,
    logits,
    model,
    packings,
)
from gapbench.distillation.divergence import Divergence, Tokens, chunked_divergence, sequence_weights, token_divergence
from gapbench.distillation.targets import FLOOR, Target, target, tilted

TILTS = (("tilt", 4.0), ("hard", 4.0), ("hard", 0.0))
TARGETS = [
    replace(d, target=kind, tilt=tilt)
    for d, (kind, tilt) in itertools.product(EVERY, TILTS)
    if d.name != "sampled_token" and not (kind == "hard" and d.name == "reverse_kl") and d.temperature != 0.7
]
"""Every divergence with every target that it can take."""


def name(d: Divergence) -> str:
    return f"{d.target}{d.tilt:g}-{label(d)}"


# --- by hand -------------------------------------------------------------------------------------------------------


def logs(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


TEACHER, NULL = logs(1 / 2, 1 / 4, 1 / 4), logs(1 / 4, 1 / 4, 1 / 2)


def test_a_tilt_of_1_by_hand() -> None:
    """q is in proportion to p+^2 / p0: 1, 1/4, 1/8."""
    torch.testing.assert_close(tilted(TEACHER, NULL, 1.0).exp(), logs(8 / 11, 2 / 11, 1 / 11).exp())


def test_opd_ahas_tilt_by_hand() -> None:
    """q is in proportion to p+^5 / p0^4: 8, 1/4, 1/64."""
    torch.testing.assert_close(target("tilt", TEACHER, NULL, 4.0, True).exp(), logs(512 / 529, 16 / 529, 1 / 529).exp())


def test_the_tail_is_summed_first_and_tilted_then() -> None:
    """p+ = 1/2, 1/4, 1/8, 1/8 and p0 = 1/4, 1/4, 1/8, 3/8; of the student's two likeliest and a tail of 1/4 and 1/2."""
    teacher, null = logs(1 / 2, 1 / 4, 1 / 8, 1 / 8), logs(1 / 4, 1 / 4, 1 / 8, 3 / 8)
    student = logs(0.4, 0.3, 0.2, 0.1)
    d = Divergence("forward_kl", support="student", top_k=2, target="tilt", tilt=4.0)
    q = (512 / 529, 16 / 529, 1 / 529)
    expected = sum(q_i * math.log(q_i / p_i) for q_i, p_i in zip(q, (0.4, 0.3, 0.3), strict=True))
    assert token_divergence(student, teacher, ids(1), d, null).item() == pytest.approx(expected, rel=1e-12)


def test_without_a_tail_both_sides_are_rescaled_before_the_tilt() -> None:
    """Of the first two tokens: p+ = 2/3, 1/3 and p0 = 1/2, 1/2, so q is in proportion to 4, 1."""
    teacher, null = logs(1 / 2, 1 / 4, 1 / 4), logs(1 / 4, 1 / 4, 1 / 2)
    d = Divergence("forward_kl", support="student", top_k=2, tail=False, target="tilt", tilt=1.0)
    expected = 4 / 5 * math.log(4 / 5 / (4 / 7)) + 1 / 5 * math.log(1 / 5 / (3 / 7))
    assert token_divergence(logs(0.4, 0.3, 0.3), teacher, ids(1), d, null).item() == pytest.approx(expected, rel=1e-12)


def test_a_label_is_the_token_that_the_tilt_finds_likeliest_and_never_the_tail() -> None:
    """p+^5 / p0^4 is largest at the second token, p+ at the third; the tail, last, is larger than both."""
    teacher, null = logs(0.1, 0.2, 0.3, 0.4), logs(0.1, 0.05, 0.35, 0.5)
    assert target("hard", teacher, null, 4.0, True).exp().tolist() == [[0, 1, 0, 0]]
    assert target("hard", teacher, None, 0.0, True).exp().tolist() == [[0, 0, 1, 0]]
    assert target("hard", teacher, None, 0.0, False).exp().tolist() == [[0, 0, 0, 1]]


def test_the_forward_kl_to_a_label_is_the_cross_entropy_of_the_whole_vocabulary() -> None:
    student, teacher, null = logits(0).requires_grad_(), logits(1), logits(2)
    d = Divergence("forward_kl", support="student", top_k=4, target="hard", tilt=4.0)
    kept = student.topk(4).indices
    scores = 5 * teacher.log_softmax(-1) - 4 * null.log_softmax(-1)
    labels = kept.gather(1, scores.gather(1, kept).argmax(1, keepdim=True))[:, 0]
    value, expected = token_divergence(student, teacher, ids(), d, null), torch.nn.functional.cross_entropy
    torch.testing.assert_close(value, expected(student, labels, reduction="none"))
    (ours,) = torch.autograd.grad(value.sum(), student)
    (theirs,) = torch.autograd.grad(expected(student, labels, reduction="sum"), student)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


# --- against the reference -----------------------------------------------------------------------------------------


def reference(student: Tensor, teacher: Tensor, null: Tensor, d: Divergence) -> Tensor:
    """One position at a time, probabilities instead of log-probabilities."""
    rows = zip(student.double(), teacher.double(), null.double(), strict=True)
    return torch.stack([of_position(s, t, n, d) for s, t, n in rows])


def of_position(student: Tensor, teacher: Tensor, null: Tensor, d: Divergence) -> Tensor:
    sides = [(x / d.temperature).exp() / (x / d.temperature).exp().sum() for x in (student, teacher, null)]
    kept = kept_ids(sides[0].tolist(), sides[1].tolist(), d)
    p, q, n = ([side[i] for i in kept] for side in sides)
    tail = d.tail and len(kept) < len(student)
    if tail:
        p, q, n = ([*x, 1 - sum(x)] for x in (p, q, n))
    elif len(kept) < len(student):
        p, q, n = ([y / sum(x) for y in x] for x in (p, q, n))
    raised = [a ** (1 + d.tilt) / b**d.tilt for a, b in zip(q, n, strict=True)]
    q = [x / sum(raised) for x in raised]
    if d.target == "hard":
        tokens = [float(x) for x in (q[:-1] if tail else q)]
        chosen = tokens.index(max(tokens))
        p_label = p[chosen]
        if d.name == "forward_kl":
            return -p_label.log()
        # The terms of tokens with a target of 0 are (1 - w) p log (p / ((1 - w) p)).
        w, s = d.mixture, 1 - d.mixture
        m = w + s * p_label
        rest = sum(x for i, x in enumerate(p) if i != chosen)
        return w * -m.log() + s * (p_label * (p_label / m).log() - rest * math.log(s))
    if d.name == "forward_kl":
        return kl(q, p)
    if d.name == "reverse_kl":
        return kl(p, q)
    m = [d.mixture * y + (1 - d.mixture) * x for x, y in zip(p, q, strict=True)]
    return d.mixture * kl(q, m) + (1 - d.mixture) * kl(p, m)


@pytest.mark.parametrize("d", TARGETS, ids=name)
def test_value_and_gradient_are_those_of_the_reference(d: Divergence) -> None:
    teacher, null = logits(1), logits(2)
    ours, plain = logits(0).requires_grad_(), logits(0).double().requires_grad_()
    value, expected = token_divergence(ours, teacher, ids(), d, null), reference(plain, teacher, null, d)
    weights = torch.linspace(0.5, 2, 5)
    (weights * value).sum().backward()
    (weights * expected).sum().backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, atol=1e-5, rtol=1e-5)
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad.double(), plain.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("d", TARGETS, ids=name)
def test_in_float64_the_value_is_the_references_to_eleven_digits(d: Divergence) -> None:
    student, teacher, null = (logits(seed, dtype=torch.float64) for seed in (2, 3, 4))
    value = token_divergence(student, teacher, ids(), d, null)
    torch.testing.assert_close(value, reference(student, teacher, null, d), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("d", [d for d in TARGETS if d.temperature == 2.0], ids=name)
def test_gradient_is_that_of_finite_differences(d: Divergence) -> None:
    student, teacher, null = (logits(seed, 2, 9, dtype=torch.float64) for seed in (4, 5, 6))
    assert torch.autograd.gradcheck(
        lambda x: token_divergence(x, teacher, ids(2, 9), d, null), (student.requires_grad_(),)
    )


# --- what it promises ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [d for d in TARGETS if d.temperature == 1.0], ids=name)
def test_neither_the_teacher_nor_its_null_view_gets_a_gradient(d: Divergence) -> None:
    student, teacher, null = (logits(seed).requires_grad_() for seed in (0, 1, 2))
    token_divergence(student, teacher, ids(), d, null).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert null.grad is None


@pytest.mark.parametrize("d", [d for d in EVERY if d.name != "sampled_token"], ids=label)
def test_a_tilt_away_from_the_teacher_itself_is_the_teacher(d: Divergence) -> None:
    student, teacher = logits(0, dtype=torch.float64), logits(1, dtype=torch.float64)
    same = token_divergence(student, teacher, ids(), replace(d, target="tilt"), teacher)
    torch.testing.assert_close(same, token_divergence(student, teacher, ids(), d))


@pytest.mark.parametrize("kind", [kind for kind in get_args(Target) if kind != "teacher"])
def test_a_tilt_without_a_null_view_is_an_error_and_not_the_teacher(kind: str) -> None:
    with pytest.raises(ValueError, match="null view"):
        token_divergence(logits(0), logits(1), ids(), Divergence(target=kind))


@pytest.mark.parametrize("ruled_out", [-1e4, -math.inf])
@pytest.mark.parametrize("by", ["student", "teacher", "null", "teacher and null", "student, teacher and null"])
@pytest.mark.parametrize("d", [d for d in TARGETS if d.temperature == 1.0 and d.name != "reverse_kl"], ids=name)
def test_ruled_out_tokens_give_finite_values_and_gradients(d: Divergence, by: str, ruled_out: float) -> None:
    sides = {"student": logits(0), "teacher": logits(1), "null": logits(2)}
    for who, x in sides.items():
        if who in by:
            x[:, 2:12] = ruled_out  # leaves fewer tokens than top_k
            x[0, 1] = ruled_out
    student = sides["student"].requires_grad_()
    value = token_divergence(student, sides["teacher"], ids(), d, sides["null"])
    value.sum().backward()
    assert value.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 8), st.booleans(), st.sampled_from([0.1, 2.0, 20.0]))
def test_a_target_is_a_distribution_and_no_log_probability_lies_below_the_floor(
    seed: int, strength: float, tail: bool, scale: float
) -> None:
    teacher, null = (logits(s, scale=scale, dtype=torch.float64).log_softmax(-1) for s in (seed, seed + 1))
    for kind in get_args(Target):
        log_q = target(kind, teacher, null, strength, tail)
        torch.testing.assert_close(log_q.exp().sum(-1), torch.ones(5, dtype=torch.float64))
        assert log_q.min() >= FLOOR


# --- chunks and packing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("d", [d for d in TARGETS if d.temperature == 2.0], ids=name)
def test_chunks_change_nothing(d: Divergence, chunk: int) -> None:
    head, teacher_head = model()
    student, teacher = hidden(7, WIDTH, 0).requires_grad_(), hidden(7, TEACHER_WIDTH, 1)
    null, weights = hidden(7, TEACHER_WIDTH, 2), torch.linspace(0.1, 1, 7, dtype=torch.float64)
    tokens = Tokens(ids(7, VOCABULARY), weights)
    totals = chunked_divergence(student, teacher, tokens, head, teacher_head, d, chunk, null)
    chunked = torch.autograd.grad(totals.loss, [student, *head.parameters()])
    divergence = token_divergence(head(student), teacher_head(teacher), tokens.ids, d, teacher_head(null))
    whole = torch.autograd.grad((weights * divergence).sum(), [student, *head.parameters()])
    torch.testing.assert_close(totals.loss, (weights * divergence).sum())
    torch.testing.assert_close(chunked, whole)


@settings(max_examples=40, deadline=None)
@given(packed=packings(), d=st.sampled_from(TARGETS))
def test_loss_and_gradient_are_the_weighted_mean_for_any_packing(
    packed: tuple[list[int], list[list[int]], int], d: Divergence
) -> None:
    """With a weight for every sequence, as weights by evidence give it."""
    lengths, batches, chunk = packed
    total, of_sequences = sum(lengths), torch.linspace(0, 2, len(lengths), dtype=torch.float64)
    head, teacher_head = model()
    student = hidden(total, WIDTH, 0).requires_grad_()
    teacher, null = hidden(total, TEACHER_WIDTH, 1), hidden(total, TEACHER_WIDTH, 2)
    sampled, rows = ids(total, VOCABULARY), list(torch.arange(total).split(lengths))

    losses = token_divergence(head(student), teacher_head(teacher), sampled, d, teacher_head(null))
    mean = (of_sequences * torch.stack([losses[r].mean() for r in rows])).mean()
    expected = torch.autograd.grad(mean, [student, *head.parameters()])

    loss = 0.0
    for batch in batches:
        row, sizes = torch.cat([rows[i] for i in batch]), torch.tensor([lengths[i] for i in batch])
        weights = sequence_weights(sizes, len(lengths), total, "sequence") * of_sequences[batch].repeat_interleave(
            sizes
        )
        tokens = Tokens(sampled[row], weights)
        part = chunked_divergence(student[row], teacher[row], tokens, head, teacher_head, d, chunk, null[row]).loss
        part.backward()
        loss += part.item()
    assert loss == pytest.approx(mean.item(), rel=1e-6, abs=1e-7)
    for x, y in zip([student, *head.parameters()], expected, strict=True):
        torch.testing.assert_close(x.grad, y, rtol=1e-6, atol=1e-7)
