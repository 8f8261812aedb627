"""The held-out divergence, by which a training chooses its checkpoint without a test set and without answers.

    reference = first_expectations(setup)                  # before the first step
    line |= validate(setup, reference)                     # every `eval_every` steps
    chosen_step(lines, recipe)                             # 140

A part of the training data, whole images of it, is not trained on (`Pairs.validation`). Before the first step the
teacher answers it from its own view, greedily, and what it expects at every token is kept. The held-out divergence is
that between this expectation and the student's on the student's view, along the same answers: the JSD with weight 0.5
over the `KEPT` likeliest tokens of the teacher and the rest, mean over answers of token means, in nats, 0 to log 2. The
same on the teacher's view is 0 at first; it grows as the student forgets what it reads in the crop.

The yardstick stays where it was, because a teacher that follows the student may follow it into a collapse, and then the
two agree again.

Limits: it asks how near the student comes to its first teacher, so it sees no training beyond that teacher. Answers are
compared up to `LONGEST` tokens. With `validation=answers` the reference answers of the held-out part decide instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gapbench.distillation.divergence import jensen_shannon, with_rest
from gapbench.distillation.forward import ForwardMode, Groups, ImageTexts, head, hidden_states, process
from gapbench.distillation.pairs import TrainingPrompt
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.rollouts import REFERENCE, Prompt, Sampling, longest
from gapbench.distillation.student import ModelRole
from gapbench.engines.local import Replies
from gapbench.scoring import score
from gapbench.types import Answer

if TYPE_CHECKING:
    from gapbench.distillation.loop import TrainingSetup

KEPT = 100
"""Tokens whose probability the reference holds at each position."""
LONGEST = 256
"""Tokens of an answer that are compared."""
CRITERIA = {"divergence": "validation_divergence", "answers": "validation_accuracy"}
"""The entry of a line of the log by which a checkpoint is chosen."""


@dataclass(frozen=True)
class Reference:
    """What the first teacher expects along its own answers to the held-out prompts.

    `answers` holds a row of token ids for each prompt, M tokens together. `ids` (M, K) are the likeliest tokens at
    each, `log_probs` (M, K + 1) their log-probabilities and, last, that of all others.
    """

    answers: tuple[tuple[int, ...], ...]
    ids: Tensor
    log_probs: Tensor


def first_expectations(setup: TrainingSetup) -> Reference:
    """The reference of a training. The weights must be those before the first step, also where it is resumed."""
    role, prompts = setup.teacher.role, setup.pairs.validation_prompts()
    sampling = Sampling(min(LONGEST, setup.recipe.max_new_tokens), 0.0, 1.0, setup.recipe.rollout_tokens)
    rollouts = REFERENCE(role, [Prompt(p.teacher, p.text, (0,)) for p in prompts], sampling)
    answers = tuple(answers[0].ids for answers in rollouts)
    parts = [role.run_without_grad(_expected, role, batch, groups, role.mode)
             for batch, groups in _batches(setup, role, prompts, answers, "teacher")]  # fmt: skip
    ids, log_probs = (torch.cat(x) for x in zip(*parts, strict=True))
    return Reference(answers, ids, log_probs)


def validate(setup: TrainingSetup, reference: Reference) -> dict[str, float | None]:
    """The entries of the log: the held-out divergence on the student's view (`validation_divergence`) and on the
    teacher's (`validation_crop`), and the accuracy on the student's (`validation_accuracy`, if the recipe reads
    answers).
    """
    prompts, student = setup.pairs.validation_prompts(), setup.student
    found: dict[str, float | None] = {}
    for name, view in (("validation_divergence", "student"), ("validation_crop", "teacher")):
        start, means = 0, []
        for batch, groups in _batches(setup, student, prompts, reference.answers, view):
            lengths = [len(group[0]) for group in groups]
            part = slice(start, start := start + sum(lengths))
            log_probs = student.run_without_grad(_expected_of, student, batch, groups, reference.ids[part])
            values = jensen_shannon(reference.log_probs[part].to(log_probs.device), log_probs, 0.5)
            means += [float(x.mean()) for x in torch.split(values, lengths)]
        found[name] = sum(means) / len(means)
    reads_answers = setup.recipe.validation == "answers"
    found["validation_accuracy"] = _accuracy(setup, prompts) if reads_answers else None
    return found


def chosen_step(lines: Sequence[Mapping[str, Any]], recipe: Recipe) -> int | None:
    """The step whose weights become the trained model, from the lines of the log; None if nothing was validated.

    The lowest held-out divergence, or with `validation=answers` the highest accuracy and then the lowest divergence; of
    equals the earliest.
    """
    key = CRITERIA[recipe.validation]
    measured = [line for line in lines if line.get(key) is not None]
    if not measured:
        return None

    def order(line: Mapping[str, Any]) -> tuple[float, ...]:
        first = -line[key] if recipe.validation == "answers" else line[key]
        return first, line["validation_divergence"], line["step"]

    return int(min(measured, key=order)["step"])


def remark(before: Mapping[str, float | None], chosen: Mapping[str, Any], recipe: Recipe) -> str:
    """A sentence if the chosen step is no better on the held-out part than the untrained model; else empty."""
    key = CRITERIA[recipe.validation]
    then, now = before[key], chosen[key]
    if then is None or (now < then if key == "validation_divergence" else now > then):
        return ""
    return (
        f"no step is better on the held-out part than the model before training ({key}: {then:.3g} before, {now:.3g} "
        f"at step {chosen['step']}). Do not use this model. Look at the training data, then lower learning_rate."
    )


def _accuracy(setup: TrainingSetup, prompts: Sequence[TrainingPrompt]) -> float:
    """The mean score of the student's greedy answers to the held-out prompts, from its own view, by rule; 0..1."""
    recipe = setup.recipe
    sampling = Sampling(recipe.max_new_tokens, 0.0, 1.0, recipe.rollout_tokens)
    rollouts = REFERENCE(setup.student, [Prompt(p.student, p.text, (0,)) for p in prompts], sampling)
    samples = {s.id: s for s in setup.pairs.validation}
    replies = Replies(setup.student.name, setup.student.chat.processor.tokenizer, None)
    total = 0.0
    for prompt, (rollout,) in zip(prompts, rollouts, strict=True):
        ids = rollout.ids if rollout.truncated else rollout.ids[:-1]
        answer = replies.answer(Answer(), [], list(ids), rollout.truncated, 0.0)
        sample = samples[prompt.key]
        scored = score(answer.text, sample.answers, sample.answer_type, sample.options, sample.question)
        total += 0.0 if answer.thought_cut_off else scored.score or 0.0
    return total / len(prompts)


def _batches(
    setup: TrainingSetup,
    role: ModelRole,
    prompts: Sequence[TrainingPrompt],
    answers: Sequence[Sequence[int]],
    view: str,
) -> list[tuple[ImageTexts, Groups]]:
    """Prompts of a view with their answers, in batches within `micro_batch_tokens`."""
    shown = [Prompt(getattr(p, view), p.text, (0,)) for p in prompts]
    tokens = longest(role, shown) + max(map(len, answers))
    size = max(1, setup.recipe.micro_batch_tokens // tokens)
    return [
        ([(p.image, p.text) for p in shown[start : start + size]], [[row] for row in answers[start : start + size]])
        for start in range(0, len(shown), size)
    ]


def _logits(model: Any, role: ModelRole, prompts: ImageTexts, groups: Groups, mode: ForwardMode) -> Tensor:
    states = hidden_states(model, process(role.chat, model, prompts, 1, mode), groups, mode)
    return head(model, mode)(states)


def _expected(
    model: Any, role: ModelRole, prompts: ImageTexts, groups: Groups, mode: ForwardMode
) -> tuple[Tensor, Tensor]:
    """The likeliest ids (M, K) at each token of the answers, and log-probabilities (M, K + 1): theirs and the rest."""
    logits = _logits(model, role, prompts, groups, mode)
    ids = logits.topk(min(KEPT, logits.shape[-1] - 1)).indices
    return ids.cpu(), with_rest(logits, ids).cpu()


def _expected_of(model: Any, role: ModelRole, prompts: ImageTexts, groups: Groups, ids: Tensor) -> Tensor:
    """The log-probabilities (M, K + 1) of `ids` (M, K) and the rest at each token of the answers."""
    logits = _logits(model, role, prompts, groups, role.mode)
    return with_rest(logits, ids.to(logits.device))
