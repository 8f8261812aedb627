"""What the divergences promise, against a plain float64 reference over probabilities, and what they hold in memory."""

from __future__ import annotations

import itertools
import math
import weakref
from typing import Any, Literal, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from gapbench.distillation.divergence import (
    Divergence,
    Name,
    Support,
    Tokens,
    chunked_divergence,
    entropy,
    sampled_log_probs,
    sequence_weights,
    token_divergence,
)

NAMES, SUPPORTS = get_args(Name), get_args(Support)
COMPARED = [name for name in NAMES if name != "sampled_token"]
EVERY = [
    Divergence(name, 0.3, support, 4, tail, temperature)
    for name, support, tail, temperature in itertools.product(NAMES, SUPPORTS, (True, False), (1.0, 0.7, 2.0))
]


def label(d: Divergence) -> str:
    return f"{d.name}-{d.support}-{'tail' if d.tail else 'renormalised'}-T{d.temperature}"


def logits(seed: int, m: int = 5, v: int = 13, scale: float = 2.0, dtype: torch.dtype = torch.float32) -> Tensor:
    return (scale * torch.randn(m, v, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def ids(m: int = 5, v: int = 13) -> Tensor:
    return torch.arange(m) * 5 % v


# --- the reference: one position at a time, probabilities instead of log-probabilities ---------------------------


def reference(student: Tensor, teacher: Tensor, sampled: Tensor, d: Divergence) -> Tensor:
    rows = zip(student.double(), teacher.double(), sampled.tolist(), strict=True)
    return torch.stack([of_position(s, t, i, d) for s, t, i in rows])


def of_position(student: Tensor, teacher: Tensor, sampled: int, d: Divergence) -> Tensor:
    s, t = (torch.exp(x / d.temperature) / torch.exp(x / d.temperature).sum() for x in (student, teacher))
    if d.name == "sampled_token":
        return (s[sampled] / t[sampled]).log().item() * s[sampled].log()
    kept = kept_ids(s.tolist(), t.tolist(), d)
    p, q = [s[i] for i in kept], [t[i] for i in kept]
    if len(kept) < len(s):
        if d.tail:
            p, q = [*p, 1 - sum(p)], [*q, 1 - sum(q)]
        else:
            p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
    if d.name == "forward_kl":
        return kl(q, p)
    if d.name == "reverse_kl":
        return kl(p, q)
    m = [d.mixture * y + (1 - d.mixture) * x for x, y in zip(p, q, strict=True)]
    return d.mixture * kl(q, m) + (1 - d.mixture) * kl(p, m)


def kept_ids(s: list[float], t: list[float], d: Divergence) -> list[int]:
    def top(p: list[float]) -> set[int]:
        return set(sorted(range(len(p)), key=lambda i: -p[i])[: d.top_k])

    kept = {"full": set(range(len(s))), "student": top(s), "teacher": top(t), "union": top(s) | top(t)}
    return sorted(kept[d.support])


def kl(p: list[Any], q: list[Any]) -> Any:
    return sum(x * (x / y).log() for x, y in zip(p, q, strict=True))


# --- values and gradients ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", EVERY, ids=label)
def test_value_and_gradient_are_those_of_the_reference(d: Divergence) -> None:
    teacher = logits(1)
    ours, plain = logits(0).requires_grad_(), logits(0).double().requires_grad_()
    value, expected = token_divergence(ours, teacher, ids(), d), reference(plain, teacher, ids(), d)
    weights = torch.linspace(0.5, 2, 5)
    (weights * value).sum().backward()
    (weights * expected).sum().backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, atol=1e-6, rtol=1e-6)
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad.double(), plain.grad, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("d", EVERY, ids=label)
def test_in_float64_the_value_is_the_references_to_twelve_digits(d: Divergence) -> None:
    student, teacher = logits(2, dtype=torch.float64), logits(3, dtype=torch.float64)
    value = token_divergence(student, teacher, ids(), d)
    torch.testing.assert_close(value, reference(student, teacher, ids(), d), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("d", [d for d in EVERY if d.name != "sampled_token"], ids=label)
def test_gradient_is_that_of_finite_differences(d: Divergence) -> None:
    student, teacher = logits(4, 2, 9, dtype=torch.float64).requires_grad_(), logits(5, 2, 9, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: token_divergence(x, teacher, ids(2, 9), d), (student,))


def test_sampled_token_gradient_is_the_reverse_kl_gradient_on_average() -> None:
    student, teacher = logits(6, 1, 7, dtype=torch.float64).requires_grad_(), logits(7, 1, 7, dtype=torch.float64)
    (exact,) = torch.autograd.grad(
        token_divergence(student, teacher, ids(1), Divergence("reverse_kl", support="full")).sum(), student
    )
    every = torch.arange(7)
    values = token_divergence(student.expand(7, 7), teacher.expand(7, 7), every, Divergence("sampled_token"))
    (mean,) = torch.autograd.grad((student.softmax(-1).detach()[0] * values).sum(), student)
    torch.testing.assert_close(mean, exact)


@pytest.mark.parametrize("d", EVERY, ids=label)
def test_the_teacher_gets_no_gradient(d: Divergence) -> None:
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    token_divergence(student, teacher, ids(), d).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize("d", EVERY, ids=label)
def test_half_precision_logits_are_compared_in_float32(d: Divergence) -> None:
    student, teacher = logits(0, dtype=torch.bfloat16), logits(1, dtype=torch.bfloat16)
    value = token_divergence(student, teacher, ids(), d)
    assert torch.equal(value, token_divergence(student.float(), teacher.float(), ids(), d))


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("sure", [10.0, 20.0, 40.0])
def test_float32_resolves_the_tail_of_a_model_that_is_sure(name: str, sure: float) -> None:
    d = Divergence(name, 0.5, "student", 3)
    student, teacher = logits(0, scale=1), logits(1, scale=1)
    student[:, 0] += sure
    teacher[:, 12] += 3
    single, double = student.clone().requires_grad_(), student.double().requires_grad_()
    value, exact = (token_divergence(x, teacher.to(x.dtype), ids(), d) for x in (single, double))
    value.sum().backward()
    exact.sum().backward()
    torch.testing.assert_close(value.double(), exact, atol=1e-6, rtol=1e-6)
    assert single.grad is not None
    torch.testing.assert_close(single.grad.double(), double.grad, atol=5e-6, rtol=1e-5)


# --- properties --------------------------------------------------------------------------------------------------


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Student and teacher logits, from nearly uniform to nearly one-hot, from nearly equal to unrelated."""
    m, v, seed = draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(0, 10**6))
    scale, distance = draw(st.sampled_from([0.01, 1.0, 5.0, 20.0])), draw(st.sampled_from([0.0, 0.01, 1.0, 10.0]))
    student = logits(seed, m, v, scale)
    return student, student + logits(seed + 1, m, v, distance)


divergences = st.builds(
    Divergence,
    st.sampled_from(COMPARED),
    st.floats(0.01, 0.99),
    st.sampled_from(SUPPORTS),
    st.integers(1, 45),
    st.booleans(),
    st.sampled_from([0.5, 1.0, 3.0]),
)


def near(scale: Tensor) -> Tensor:
    """Rounding that a divergence of this size may show."""
    return 2e-6 * (1 + scale)


@given(pairs(), divergences)
def test_never_below_zero_and_zero_for_equal_distributions(pair: tuple[Tensor, Tensor], d: Divergence) -> None:
    student, teacher = pair
    sampled = torch.zeros(len(student), dtype=torch.long)
    assert (token_divergence(student, teacher, sampled, d) >= -2e-6).all()
    assert (token_divergence(student, student, sampled, d).abs() <= 2e-6).all()


@pytest.mark.parametrize("name", COMPARED)
def test_above_zero_for_different_distributions(name: str) -> None:
    for support, tail in itertools.product(SUPPORTS, (True, False)):
        d = Divergence(name, support=support, top_k=4, tail=tail)
        assert (token_divergence(logits(0), logits(1), ids(), d) > 1e-3).all()


@given(pairs(), st.sampled_from(SUPPORTS), st.integers(1, 45), st.booleans())
def test_jensen_shannon_is_symmetric_and_at_most_log_2(
    pair: tuple[Tensor, Tensor], support: str, k: int, tail: bool
) -> None:
    student, teacher = pair
    sampled = torch.zeros(len(student), dtype=torch.long)
    swapped = {"student": "teacher", "teacher": "student"}.get(support, support)
    there = token_divergence(student, teacher, sampled, Divergence("jsd", 0.5, support, k, tail))
    back = token_divergence(teacher, student, sampled, Divergence("jsd", 0.5, swapped, k, tail))
    assert (there <= math.log(2) + 2e-6).all()
    torch.testing.assert_close(there, back, atol=2e-6, rtol=0)


@given(pairs(), st.sampled_from(COMPARED), st.sampled_from(SUPPORTS), st.integers(1, 45))
def test_a_tail_never_raises_the_divergence_above_the_full_one(
    pair: tuple[Tensor, Tensor], name: str, support: str, k: int
) -> None:
    sampled = torch.zeros(len(pair[0]), dtype=torch.long)
    full = token_divergence(*pair, sampled, Divergence(name, support="full"))
    kept = token_divergence(*pair, sampled, Divergence(name, support=support, top_k=k, tail=True))
    assert (kept <= full + near(full)).all()


@given(pairs(), divergences, st.floats(-50, 50))
def test_a_constant_added_to_all_logits_changes_nothing(
    pair: tuple[Tensor, Tensor], d: Divergence, constant: float
) -> None:
    student, teacher = (x.double() for x in pair)
    sampled = torch.zeros(len(student), dtype=torch.long)
    before = token_divergence(student, teacher, sampled, d)
    after = token_divergence(student + constant, teacher - 2 * constant, sampled, d)
    torch.testing.assert_close(before, after, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("k", [13, 14, 1000])
def test_as_many_kept_tokens_as_the_vocabulary_are_the_full_one(name: str, k: int) -> None:
    full = token_divergence(logits(0), logits(1), ids(), Divergence(name, support="full"))
    for support, tail in itertools.product(SUPPORTS, (True, False)):
        assert torch.equal(token_divergence(logits(0), logits(1), ids(), Divergence(name, 0.5, support, k, tail)), full)


def test_a_token_that_both_chose_counts_once() -> None:
    logit = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    other = torch.tensor([[2.0, 3.0, 0.0, 1.0]])
    union = Divergence("forward_kl", support="union", top_k=2, tail=False)
    same = Divergence("forward_kl", support="student", top_k=2, tail=False)
    assert token_divergence(logit, other, ids(1), union).item() == pytest.approx(
        token_divergence(logit, other, ids(1), same).item(), abs=1e-7
    )


# --- tokens that cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ruled_out", [-1e4, -math.inf, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("by", ["student", "teacher", "both"])
@pytest.mark.parametrize("d", EVERY, ids=label)
def test_ruled_out_tokens_give_finite_values_and_gradients(d: Divergence, by: str, ruled_out: float) -> None:
    student, teacher = logits(0), logits(1)
    for who, x in (("student", student), ("teacher", teacher)):
        if by in (who, "both"):
            x[:, 2:12] = ruled_out  # leaves fewer tokens than top_k
            x[0, 1] = ruled_out
    student.requires_grad_()
    value = token_divergence(student, teacher, ids(), d)
    value.sum().backward()
    assert value.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert entropy(student).isfinite().all()


@pytest.mark.parametrize("name", COMPARED)
def test_tokens_ruled_out_on_both_sides_are_as_if_absent(name: str) -> None:
    student, teacher = logits(0), logits(1)
    absent = token_divergence(student[:, :9], teacher[:, :9], ids(), Divergence(name, support="full"))
    student[:, 9:] = teacher[:, 9:] = -math.inf
    for support, k in (("full", 1), ("student", 9), ("teacher", 10), ("union", 9)):
        value = token_divergence(student, teacher, ids(), Divergence(name, support=support, top_k=k))
        torch.testing.assert_close(value, absent, atol=1e-6, rtol=0)


def test_a_nan_is_not_hidden() -> None:
    student = logits(0)
    student[1, 3] = math.nan
    for d in EVERY:
        assert token_divergence(student, logits(1), ids(), d)[1].isnan()


# --- settings ------------------------------------------------------------------------------------------------------


# --- statistics and weights ----------------------------------------------------------------------------------------


def test_entropy_and_log_probs_are_those_of_torch_distributions() -> None:
    categorical = torch.distributions.Categorical(logits=logits(0))
    torch.testing.assert_close(entropy(logits(0)), categorical.entropy())
    torch.testing.assert_close(sampled_log_probs(logits(0), ids()), categorical.log_prob(ids()))


def test_weights_make_a_sum_the_mean() -> None:
    losses = torch.tensor([1.0, 2.0, 3.0, 10.0])
    lengths = torch.tensor([3, 0, 1])
    assert (sequence_weights(lengths, 3, 4, "sequence") @ losses).item() == pytest.approx((2 + 0 + 10) / 3)
    assert (sequence_weights(lengths, 3, 4, "token") @ losses).item() == pytest.approx(16 / 4)


# --- chunks --------------------------------------------------------------------------------------------------------

WIDTH, TEACHER_WIDTH, VOCABULARY = 6, 4, 31


def model(seed: int = 0) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    torch.manual_seed(seed)
    heads = torch.nn.Linear(WIDTH, VOCABULARY), torch.nn.Linear(TEACHER_WIDTH, VOCABULARY, bias=False)
    return heads[0].double(), heads[1].double()


def hidden(m: int, width: int, seed: int) -> Tensor:
    return torch.randn(m, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("d", [d for d in EVERY if d.temperature == 2.0], ids=label)
def test_chunks_change_nothing(d: Divergence, chunk: int) -> None:
    head, teacher_head = model()
    student, teacher = hidden(7, WIDTH, 0).requires_grad_(), hidden(7, TEACHER_WIDTH, 1)
    sampled, weights = ids(7, VOCABULARY), torch.linspace(0.1, 1, 7, dtype=torch.float64)
    totals = chunked_divergence(student, teacher, Tokens(sampled, weights), head, teacher_head, d, chunk)
    chunked = torch.autograd.grad(totals.loss, [student, *head.parameters()])

    logits, target = head(student), teacher_head(teacher)
    divergence = token_divergence(logits, target, sampled, d)
    whole = torch.autograd.grad((weights * divergence).sum(), [student, *head.parameters()])
    torch.testing.assert_close(totals.loss, (weights * divergence).sum())
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(totals.divergence, divergence.detach().sum())
    torch.testing.assert_close(totals.entropy, entropy(logits).sum())
    torch.testing.assert_close(totals.student_log_probs, sampled_log_probs(logits, sampled))


def test_only_the_loss_carries_a_gradient_and_only_to_the_student() -> None:
    head, teacher_head = model()
    student, teacher = hidden(7, WIDTH, 0).requires_grad_(), hidden(7, TEACHER_WIDTH, 1).requires_grad_()
    totals = chunked_divergence(student, teacher, Tokens(ids(7), torch.ones(7)), head, teacher_head, Divergence(), 2)
    totals.loss.backward()
    assert teacher.grad is None
    assert teacher_head.weight.grad is None
    assert not any(getattr(totals, name).requires_grad for name in vars(totals) if name != "loss")


def test_no_tokens_give_no_loss_and_a_gradient_of_zero() -> None:
    head, teacher_head = model()
    student, none = hidden(0, WIDTH, 0).requires_grad_(), torch.empty(0)
    totals = chunked_divergence(
        student, hidden(0, TEACHER_WIDTH, 1), Tokens(none.long(), none), head, teacher_head, Divergence(top_k=5), 4
    )
    totals.loss.backward()
    assert totals.loss.item() == 0
    assert head.weight.grad is not None
    assert not head.weight.grad.any()
    assert totals.student_log_probs.shape == (0,)


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor any operation made, forward or backward."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for x in made if isinstance(made, tuple | list) else (made,):
            if isinstance(x, Tensor):
                self.elements = max(self.elements, x.numel())
        return made


class Watched:
    """A head that counts its calls and the elements of its logits that are alive, now and at most."""

    def __init__(self, head: torch.nn.Linear) -> None:
        self.head, self.calls, self.now, self.most = head, 0, 0, 0

    def __call__(self, x: Tensor) -> Tensor:
        logits = self.head(x)
        self.calls += 1
        self.now += logits.numel()
        self.most = max(self.most, self.now)
        weakref.finalize(logits, self.gone, logits.numel())
        return logits

    def gone(self, elements: int) -> None:
        self.now -= elements


@pytest.mark.parametrize("d", [d for d in EVERY if d.temperature == 1.0], ids=label)
def test_logits_of_more_than_one_chunk_are_never_held(d: Divergence) -> None:
    tokens, chunk, vocabulary = 40, 4, 500
    head = Watched(torch.nn.Linear(WIDTH, vocabulary))
    teacher_head = Watched(torch.nn.Linear(TEACHER_WIDTH, vocabulary))
    student = hidden(tokens, WIDTH, 0).float().requires_grad_()
    teacher = hidden(tokens, TEACHER_WIDTH, 1).float()
    saved: list[int] = []

    def keep(x: Tensor) -> Tensor:
        saved.append(x.numel())
        return x

    with Largest() as largest:
        with saved_tensors_hooks(keep, lambda x: x):
            sampled = Tokens(ids(tokens, vocabulary), torch.ones(tokens))
            totals = chunked_divergence(student, teacher, sampled, head, teacher_head, d, chunk)
        assert head.now == 0, "logits outlive the forward pass"
        totals.loss.backward()
    one_chunk = chunk * vocabulary
    assert sum(saved) < one_chunk
    assert largest.elements <= max(one_chunk, vocabulary * WIDTH)
    assert head.most <= one_chunk
    assert teacher_head.most <= one_chunk
    assert head.calls == 2 * tokens / chunk, "once forward, once for the gradient"


# --- importance ----------------------------------------------------------------------------------------------------


def test_a_token_that_its_sampler_found_likelier_weighs_less_up_to_the_cap() -> None:
    head, teacher_head = model()
    student, teacher = hidden(9, WIDTH, 0).requires_grad_(), hidden(9, TEACHER_WIDTH, 1)
    sampled, weights, cap = ids(9, VOCABULARY), torch.rand(9, dtype=torch.float64), 1.5
    own = torch.log_softmax(head(student), -1)[torch.arange(9), sampled].detach()
    # p of the student over p of the sampler: a half, the same, somewhat and far more, and one past all numbers.
    apart = torch.tensor([0.5, 1, 1.2, 4, math.inf, 1, 1, 1, 1], dtype=torch.float64).log()

    def totals(weights: Tensor, by_sampler: Tensor | None = None, cap: float | None = None) -> tuple[Tensor, Tensor]:
        tokens, settings = Tokens(sampled, weights, by_sampler), Divergence(importance_cap=cap)
        loss = chunked_divergence(student, teacher, tokens, head, teacher_head, settings, 4).loss
        return loss, torch.autograd.grad(loss, student)[0]

    expected = totals(weights * torch.tensor([0.5, 1, 1.2, 1.5, 1.5, 1, 1, 1, 1], dtype=torch.float64))
    for found, wanted in zip(totals(weights, own - apart, cap), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    for found, wanted in zip(totals(weights, own - apart, None), totals(weights), strict=True):
        assert torch.equal(found, wanted), "without a cap all weigh the same"


# --- packing -------------------------------------------------------------------------------------------------------


@st.composite
def packings(draw: st.DrawFn) -> tuple[list[int], list[list[int]], int]:
    """Lengths of sequences, the micro-batches they are dealt into, and a chunk size."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=7))
    order = draw(st.permutations(range(len(lengths))))
    cuts = sorted(draw(st.sets(st.integers(1, len(lengths) - 1)))) if len(lengths) > 1 else []
    batches = [list(order[a:b]) for a, b in itertools.pairwise([0, *cuts, len(lengths)])]
    return lengths, batches, draw(st.integers(1, 12))


@pytest.mark.parametrize("aggregation", ["sequence", "token"])
@settings(max_examples=40, deadline=None)
@given(packed=packings(), d=divergences)
def test_loss_and_gradient_are_the_mean_for_any_packing(
    aggregation: Literal["sequence", "token"], packed: tuple[list[int], list[list[int]], int], d: Divergence
) -> None:
    lengths, batches, chunk = packed
    total = sum(lengths)
    head, teacher_head = model()
    student = hidden(total, WIDTH, 0).requires_grad_()
    teacher, sampled = hidden(total, TEACHER_WIDTH, 1), ids(total, VOCABULARY)
    rows = list(torch.arange(total).split(lengths))

    losses = token_divergence(head(student), teacher_head(teacher), sampled, d)
    mean = torch.stack([losses[r].mean() for r in rows]).mean() if aggregation == "sequence" else losses.mean()
    expected = torch.autograd.grad(mean, [student, *head.parameters()])

    loss = 0.0
    for batch in batches:
        row = torch.cat([rows[i] for i in batch])
        weights = sequence_weights(torch.tensor([lengths[i] for i in batch]), len(lengths), total, aggregation)
        tokens = Tokens(sampled[row], weights)
        part = chunked_divergence(student[row], teacher[row], tokens, head, teacher_head, d, chunk).loss
        part.backward()
        loss += part.item()
    assert loss == pytest.approx(mean.item(), rel=1e-6, abs=1e-7)
    for x, y in zip([student, *head.parameters()], expected, strict=True):
        torch.testing.assert_close(x.grad, y, rtol=1e-6, atol=1e-7)
