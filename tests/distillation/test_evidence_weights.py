"""Weights of rollouts by their evidence: by hand, against plain numpy, and the same however a step is cut up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distillation.small import Tiny, benchmark, recipe, role
from gapbench.distillation import loop
from gapbench.distillation.batches import MicroBatch, pack
from gapbench.distillation.evidence_weights import RolloutWeights, relative_weights, score, weigh
from gapbench.distillation.forward import ForwardMode, log_probs
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.rollouts import Rollout
from gapbench.distillation.teachers import Teacher

WEIGHTED = {"weights": "evidence", "null_view": "random_crop", "region": "union"}

# --- by hand -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "gamma", "expected"),
    [
        ([0.5, -0.25], 1.0, 0.125),
        ([0.5, -0.25], 0.0, 0.25),  # what the evidence makes less likely does not count
        ([0.5, -0.25, 1.0, -0.75], 2.0, (1.5 - 2 * 1.0) / 4),
        ([-2.0], 0.5, -1.0),
    ],
)
def test_a_score_by_hand(differences: list[float], gamma: float, expected: float) -> None:
    assert score(torch.tensor(differences), gamma) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [1 - 0.5 * 1.2247449, 1, 1 + 0.5 * 1.2247449]),  # z of 1, 2, 3: their standard deviation is sqrt(2 / 3)
        ({"weight_alpha": 2.0}, [0, 1, 2]),
        ({"weight_alpha": 2.0, "weight_min": 0.25, "weight_max": 1.5}, [0.25, 1, 1.5]),
    ],
)
def test_weights_by_hand(changes: dict[str, Any], expected: list[float]) -> None:
    assert relative_weights([1.0, 2.0, 3.0], recipe(**WEIGHTED, **changes)) == pytest.approx(expected, abs=1e-5)


def test_rollouts_with_the_same_evidence_weigh_the_same() -> None:
    assert relative_weights([0.3, 0.3, 0.3], recipe(**WEIGHTED)) == [1, 1, 1]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=6), min_size=2, max_size=6),
    st.floats(0, 3), st.floats(0, 3), st.floats(0, 1), st.floats(1, 4),
)  # fmt: skip
def test_weights_are_those_of_plain_numpy(
    answers: list[list[float]], gamma: float, alpha: float, smallest: float, largest: float
) -> None:
    s = np.array([np.mean(np.where(np.array(d) > 0, d, gamma * np.array(d))) for d in answers], dtype=np.float64)
    expected = np.clip(1 + alpha * (s - s.mean()) / (s.std() + 1e-6), smallest, largest)
    settings_ = recipe(**WEIGHTED, weight_alpha=alpha, weight_gamma=gamma, weight_min=smallest, weight_max=largest)
    found = relative_weights([score(torch.tensor(d), gamma) for d in answers], settings_)
    np.testing.assert_allclose(found, expected, atol=2e-2 if np.ptp(s) < 1e-3 else 1e-3)


# --- of a model ----------------------------------------------------------------------------------------------------

LENGTHS = ((3, 5), (1, 4), (2, 2), (6, 1))


def rollouts(prompt_tokens: int = 300) -> list[list[Rollout]]:
    """Two answers of some length to each of four prompts."""
    made: list[list[Rollout]] = []
    for i, lengths in enumerate(LENGTHS):
        ids = [tuple(30 + (7 * i + 11 * n + 3 * place) % 90 for place in range(size)) for n, size in enumerate(lengths)]
        made.append([Rollout(one, (0.0,) * len(one), False, prompt_tokens) for one in ids])
    return made


def weighed(
    tiny: Tiny, budget: int, mode: ForwardMode, **changes: Any
) -> tuple[RolloutWeights, Any, Any, list[MicroBatch]]:
    made = recipe(**WEIGHTED, prompts_per_step=4, micro_batch_tokens=budget, **changes)
    student = role(tiny("qwen3_vl"), made).with_mode(mode)
    teacher, pairs = Teacher(made, student), Pairs(benchmark(8), made).step(0)
    batches = pack(rollouts(), budget, mode.share_prompt)
    return weigh(student, teacher, pairs, rollouts(), batches), teacher, pairs, batches


def test_d_is_the_difference_of_log_probabilities_on_the_two_views(tiny: Tiny) -> None:
    evidence, teacher, pairs, _ = weighed(tiny, 100_000, ForwardMode(True, True, True))
    expected, total = [], 0.0
    for pair, answers in zip(pairs, rollouts(), strict=True):
        scores = []
        for answer in answers:
            on_view, on_null = (
                teacher.role.run_without_grad(
                    log_probs, teacher.role.chat, [(image, pair.text)], [[answer.ids]], ForwardMode(False, False, False)
                )
                for image in (pair.teacher, pair.null)
            )
            scores.append(score(on_view - on_null, 1.0))
            total += float((on_view - on_null).abs().sum())
        expected.append(relative_weights(scores, teacher.recipe))
    for ours, theirs in zip(evidence.weights, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3)
    assert evidence.differences == pytest.approx(total, rel=1e-4)
    assert evidence.differences > 1e-2, "the two views say different things"


@pytest.mark.parametrize("mode", [ForwardMode(True, True, True), ForwardMode(False, False, False)], ids=str)
@pytest.mark.parametrize("budget", [6, 700, 100_000])
def test_weights_do_not_depend_on_the_micro_batches(tiny: Tiny, budget: int, mode: ForwardMode) -> None:
    whole, *_ = weighed(tiny, 100_000, ForwardMode(True, True, True))
    cut, _, _, batches = weighed(tiny, max(budget, 7), mode, max_new_tokens=6)
    assert len(batches) > 1 or budget == 100_000
    for ours, theirs in zip(cut.weights, whole.weights, strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3)
    spread = [of for batch in batches for of in cut.of(batch)]
    assert sorted(spread) == sorted(w for of_prompt in cut.weights for w in of_prompt)


def test_what_the_teacher_read_is_kept_unless_it_is_logits(tiny: Tiny) -> None:
    kept, teacher, pairs, batches = weighed(tiny, 700, ForwardMode(True, True, True))
    assert set(kept.states) == set(batches)
    for batch, states in kept.states.items():
        again = teacher.read([pairs[i] for i in batch.prompts], batch.groups(rollouts()))
        assert torch.equal(states.hidden, again.hidden)
        assert states.null is None, "the target does not need it"
    tilted, *_ = weighed(tiny, 700, ForwardMode(True, True, True), target="tilt")
    assert all(states.null is not None for states in tilted.states.values())
    assert weighed(tiny, 700, ForwardMode(False, False, False))[0].states == {}


@pytest.mark.parametrize("aggregation", ["sequence", "token"])
@pytest.mark.parametrize("target", ["teacher", "tilt"])
def test_the_weight_multiplies_the_loss_and_the_gradient_of_the_whole_answer(
    aggregation: str, target: str, tiny: Tiny, tmp_path: Path
) -> None:
    """Each answer alone, in a step of which all others weigh nothing, and then the sum with the weights."""
    made = recipe(**WEIGHTED, prompts_per_step=4, aggregation=aggregation, target=target)
    student = role(tiny("qwen3_vl"), made).with_mode(ForwardMode(True, True, True))
    teacher, pairs = Teacher(made, student), Pairs(benchmark(8), made)
    answers, prompts, tokens = rollouts(), pairs.step(0), sum(map(sum, LENGTHS))
    answers = [
        [
            replace(r, prompt_tokens=int(student.chat.batch([((p.student,), p.text)])["attention_mask"].sum()))
            for r in of
        ]
        for p, of in zip(prompts, answers, strict=True)
    ]
    accelerator = Accelerator(cpu=True)
    setup = loop.TrainingSetup(made, pairs, accelerator, student, teacher, None, tmp_path)
    (batch,) = pack(answers, 100_000, True)
    weight = student.model.get_output_embeddings().weight

    def loss(weights: list[list[float]] | None) -> tuple[float, Tensor]:
        evidence = None if weights is None else RolloutWeights(weights, 0.0, {})
        totals, _ = loop._micro_batch_loss(setup, prompts, answers, batch, tokens, evidence)
        (gradient,) = torch.autograd.grad(totals.loss, weight)
        return totals.loss.item(), gradient

    weights = [[0.5, 1.5], [0.0, 2.0], [1.0, 1.0], [0.3, 0.7]]
    alone = [
        [loss([[float((i, n) == (a, b)) for b in range(2)] for a in range(4)]) for n in range(2)] for i in range(4)
    ]
    for given_weights, of in ((None, [[1.0, 1.0]] * 4), (weights, weights)):
        found, gradient = loss(given_weights)
        parts = [(w, part) for row, parts in zip(of, alone, strict=True) for w, part in zip(row, parts, strict=True)]
        assert found == pytest.approx(sum(w * value for w, (value, _) in parts), rel=1e-4)
        expected = torch.stack([w * one for w, (_, one) in parts]).sum(0)
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-3)
