"""The training loop of on-policy self-distillation, one step from top to bottom.

    train(TrainingSetup(recipe, pairs, accelerator, student, teacher, optimizer, folder))

In a step the student answers each prompt a few times from its own view. Every answer is then read under both views, and
the student's next-token distributions are moved towards the teacher's. The answers are on-policy, each batch is used
once, and the reference answers of the data are never read (Vision-OPD, arXiv:2605.18740, section 3).

Limits: one optimizer step per batch of rollouts; generation and training take turns.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from gapbench.distillation import checkpoints
from gapbench.distillation.batches import MicroBatch, pack
from gapbench.distillation.divergence import Totals, chunked_divergence, sequence_weights
from gapbench.distillation.forward import head, hidden_states, process
from gapbench.distillation.pairs import Pairs, TrainingPrompt
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.rollouts import Prompt, Rollout, Sampling, random_key
from gapbench.distillation.samplers import REFERENCE, Sampler
from gapbench.distillation.student import ModelRole
from gapbench.distillation.teachers import Teacher
from gapbench.errors import ModelError
from gapbench.util.ahead import read_ahead

LOG = "train.jsonl"
"""The log of a training; one line per step."""


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that stays the same during a training. `sampler` writes the rollouts."""

    recipe: Recipe
    pairs: Pairs
    accelerator: Any
    student: ModelRole
    teacher: Teacher
    optimizer: Any
    folder: Path
    sampler: Sampler = REFERENCE


def train(setup: TrainingSetup, first: int = 0, probe: Sequence[Sequence[int]] = (),
          watch: Callable[[Mapping[str, Any]], None] = lambda line: None) -> None:  # fmt: skip
    """Train from step `first` (0-based) to the last step of the recipe.

    Every step adds a line to `train.jsonl` and passes it to `watch`. `probe` holds the teacher's answers to
    `pairs.probe` at the start. Raises ModelError if the loss or the weights are not finite (the last checkpoint is
    older than that), RunError if a checkpoint cannot be written.
    """
    recipe, accelerator, student, teacher = setup.recipe, setup.accelerator, setup.student, setup.teacher
    size = recipe.prompts_per_step * recipe.rollouts_per_prompt
    shares = setup.pairs.steps(first, accelerator.process_index, accelerator.num_processes)
    for step, pairs in enumerate(read_ahead(shares, depth=1), first):
        start = time.perf_counter()
        rollouts = roll_out(setup, pairs, step)
        after_rollouts = time.perf_counter()

        tokens = _sum(setup, float(sum(len(r.ids) for answers in rollouts for r in answers)))
        micro_batches = _micro_batches(setup, rollouts)
        for group in setup.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * learning_rate_factor(recipe, step)
        sums, largest_gap = torch.zeros(4, dtype=torch.float64), 0.0
        for number, micro_batch in enumerate(micro_batches):
            last = number == len(micro_batches) - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(student.wrapped):
                totals, gaps = _micro_batch_loss(setup, pairs, rollouts, micro_batch, size, int(tokens))
                # Processes average their gradients, but every loss is already a share of the whole batch.
                accelerator.backward(totals.loss * accelerator.num_processes)
            sums += torch.tensor([float(totals.loss.detach()), float(totals.divergence), float(totals.entropy),
                                  float(gaps.sum())])  # fmt: skip
            largest_gap = max(largest_gap, float(gaps.max()))
        loss, divergence, entropy, gap_sum = (_sum(setup, float(x)) for x in sums)
        grad_norm = float(accelerator.clip_grad_norm_(student.wrapped.parameters(), recipe.max_grad_norm))
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            raise ModelError(_not_finite_message(setup, step, f"loss {loss}, gradient norm {grad_norm}"))
        setup.optimizer.step()
        setup.optimizer.zero_grad()
        if not math.isfinite(_weight_norm(teacher.params)):
            raise ModelError(_not_finite_message(setup, step, "the update made weights that are not finite"))
        distance_before = teacher.distance()
        teacher.update(step)
        end = time.perf_counter()

        steps_done = step + 1
        line: dict[str, Any] = {
            "step": steps_done,
            "loss": loss,
            "divergence": divergence / tokens,
            "entropy": entropy / tokens,
            "logp_gap": gap_sum / tokens if recipe.rollouts_from == "student" else None,
            "logp_gap_max": _max(setup, largest_gap) if recipe.rollouts_from == "student" else None,
            "mean_length": tokens / size,
            "truncated": _sum(setup, sum(r.truncated for a in rollouts for r in a)) / size,
            "grad_norm": grad_norm,
            "lr": recipe.learning_rate * learning_rate_factor(recipe, step),
            "teacher": recipe.teacher,
            "ema_distance": teacher.distance(),
            "teacher_moved": _moved(distance_before, teacher.distance()),
            "probe_confidence": None,
            "probe_student": None,
            "tokens_per_second": tokens / (end - start),
            "seconds": round(end - start, 4),
            "seconds_rollouts": round(after_rollouts - start, 4),
            "memory_gib": _peak_memory(accelerator),
        }
        if probe and recipe.probe_every and (steps_done % recipe.probe_every == 0 or steps_done == recipe.steps):
            line["probe_confidence"], line["probe_student"] = confidence(setup, probe)
        if accelerator.is_main_process:
            with (setup.folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        accelerator.log({k: v for k, v in line.items() if isinstance(v, float)}, step=steps_done)
        watch(line)
        if steps_done % recipe.save_every == 0 or steps_done == recipe.steps:
            state = {"probe": [list(p) for p in probe]}
            checkpoints.save(
                setup.folder / "checkpoints", steps_done, accelerator, teacher, state, recipe.keep_checkpoints
            )


def roll_out(setup: TrainingSetup, pairs: Sequence[TrainingPrompt], step: int) -> list[list[Rollout]]:
    """Answers to each prompt: the student's from its own view, or (off-policy) the teacher's from its view."""
    recipe, role = setup.recipe, setup.student
    by_teacher = recipe.rollouts_from == "teacher"
    prompts = [
        Prompt(
            pair.teacher if by_teacher else pair.student,
            pair.text,
            tuple(random_key(recipe.seed, step, pair.key, n) for n in range(recipe.rollouts_per_prompt)),
        )
        for pair in pairs
    ]
    sampling = Sampling(recipe.max_new_tokens, recipe.temperature, recipe.top_p, recipe.rollout_tokens)
    with setup.teacher.weights() if by_teacher else contextlib.nullcontext():
        return setup.sampler(role, prompts, sampling)


def _micro_batch_loss(
    setup: TrainingSetup,
    pairs: Sequence[TrainingPrompt],
    rollouts: Sequence[Sequence[Rollout]],
    micro_batch: MicroBatch,
    size: int,
    tokens: int,
) -> tuple[Totals, Tensor]:
    """The micro-batch's share of the loss, and |log p of the trainer - log p of the sampler| of each token."""
    recipe, student, teacher = setup.recipe, setup.student, setup.teacher
    batch_pairs = [pairs[i] for i in micro_batch.prompts]
    groups = micro_batch.groups(rollouts)
    teacher_hidden = teacher.hidden([(p.teacher, p.text) for p in batch_pairs], groups)
    inputs = process(
        student.chat, student.model, [(p.student, p.text) for p in batch_pairs], len(groups[0]), student.mode
    )
    if recipe.rollouts_from == "student":
        _check_lengths(
            inputs["attention_mask"], [rollouts[i][0].prompt_tokens for i in micro_batch.prompts], batch_pairs
        )
    ids = torch.tensor([token for group in groups for row in group for token in row], device=teacher_hidden.device)
    lengths = torch.tensor([len(row) for group in groups for row in group])
    weights = sequence_weights(lengths, size, tokens, recipe.aggregation).to(teacher_hidden.device)
    answers = [r for i in micro_batch.prompts for r in rollouts[i][micro_batch.first : micro_batch.last]]
    sampler_log_probs = torch.tensor([logp for r in answers for logp in r.logps], device=teacher_hidden.device)
    with _training_mode(student.model, recipe):
        totals: Totals = student.wrapped(
            _loss_in_forward,
            student,
            recipe,
            inputs,
            groups,
            ids,
            weights,
            teacher_hidden,
            teacher.head(),
            sampler_log_probs,
        )
    return totals, (totals.student_log_probs - sampler_log_probs).abs()


def _check_lengths(mask: Tensor, sampler_lengths: Sequence[int], pairs: Sequence[TrainingPrompt]) -> None:
    """Raise ModelError if trainer and sampler read prompts of different lengths: they saw different images."""
    trainer_lengths = mask.sum(1)[:: len(mask) // len(sampler_lengths)].tolist()
    for pair, trainer_tokens, sampler_tokens in zip(pairs, trainer_lengths, sampler_lengths, strict=True):
        if trainer_tokens != sampler_tokens:
            raise ModelError(
                f"Sample {pair.key}: the sampler read a prompt of {sampler_tokens} tokens, and the trainer reads "
                f"{trainer_tokens}. They prepare images differently, so the answers belong to another prompt. Set "
                "use_vllm=false."
            )


def _loss_in_forward(
    model: Any, student: ModelRole, recipe: Recipe, inputs: dict[str, Any], groups: Any, ids: Tensor, weights: Tensor,
    teacher_hidden: Tensor, teacher_head: Callable[[Tensor], Tensor], sampler_log_probs: Tensor,
) -> Totals:  # fmt: skip
    """The loss of a micro-batch; runs inside the student's forward pass."""
    states = hidden_states(model, inputs, groups, student.mode)
    student_head = head(model, student.mode)
    return chunked_divergence(
        states,
        teacher_hidden,
        ids,
        weights,
        student_head,
        teacher_head,
        recipe.loss,
        recipe.chunk_tokens,
        sampler_log_probs,
        recipe.importance_cap,
    )


def learning_rate_factor(recipe: Recipe, step: int) -> float:
    """The factor of the learning rate at a step (0-based): linear warm-up, then the schedule down to 0."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    left = (recipe.steps - step) / max(1, recipe.steps - recipe.warmup_steps)
    return {"constant": 1.0, "linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}[recipe.schedule]


def probe_answers(setup: TrainingSetup, tokens: int = 32) -> list[list[int]]:
    """The teacher's greedy answers to the probe, at the start of a training."""
    role, recipe = setup.teacher.role, setup.recipe
    pairs = setup.pairs.probe(PROBE_SIZE)
    prompts = [Prompt(p.teacher, p.text, (0,)) for p in pairs]
    sampling = Sampling(min(tokens, recipe.max_new_tokens), 0.0, 1.0, recipe.rollout_tokens)
    rollouts = REFERENCE(role, prompts, sampling)
    return [list(answers[0].ids) for answers in rollouts]


PROBE_SIZE = 32
"""Number of samples in the probe."""


def confidence(setup: TrainingSetup, answers: Sequence[Sequence[int]]) -> tuple[float, float]:
    """The confidence of teacher and student in the first answers to the probe, on the teacher's view.

    It is the mean over the probe of exp(mean log p).
    """
    pairs = setup.pairs.probe(PROBE_SIZE)
    confidences = []
    for of_student in (False, True):
        role = setup.student if of_student else setup.teacher.role
        values = []
        for start in range(0, len(pairs), 8):
            batch = pairs[start : start + 8]
            groups = [[row] for row in answers[start : start + 8]]
            tokens = [t for group in groups for t in group[0]]
            with torch.no_grad(), contextlib.nullcontext() if of_student else setup.teacher.weights():
                logps = role.wrapped(_log_probs, role, [(p.teacher, p.text) for p in batch], groups, tokens)
            values += [math.exp(float(x.mean())) for x in logps.split([len(g[0]) for g in groups])]
        confidences.append(sum(values) / len(values))
    return confidences[0], confidences[1]


def _log_probs(
    model: Any, role: ModelRole, prompts: Sequence[tuple[Any, str]], groups: Any, tokens: list[int]
) -> Tensor:
    states = hidden_states(model, process(role.chat, model, prompts, 1, role.mode), groups, role.mode)
    ids = torch.tensor(tokens, device=states.device)
    return torch.log_softmax(head(model, role.mode)(states), -1).gather(1, ids[:, None])[:, 0].cpu()


def _micro_batches(setup: TrainingSetup, rollouts: Sequence[Sequence[Rollout]]) -> list[MicroBatch]:
    """This process's micro-batches; all processes make the same number, because sharded models must stay in step."""
    budget, share = setup.recipe.micro_batch_tokens, setup.student.mode.share_prompt
    micro_batches = pack(rollouts, budget, share)
    counts = setup.accelerator.gather(torch.tensor([len(micro_batches)], device=setup.accelerator.device))
    return pack(rollouts, budget, share, minimum=int(counts.max()))


@contextlib.contextmanager
def _training_mode(model: Any, recipe: Recipe) -> Any:
    """Training mode, for gradient checkpointing only, which needs it.

    Otherwise a model is trained as it answers, without dropout.
    """
    if not recipe.gradient_checkpointing:
        yield
        return
    model.train()
    try:
        yield
    finally:
        model.eval()


def _sum(setup: TrainingSetup, value: float) -> float:
    """The sum over all processes."""
    if setup.accelerator.num_processes == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float32, device=setup.accelerator.device)
    return float(setup.accelerator.reduce(tensor, "sum"))


def _max(setup: TrainingSetup, value: float) -> float:
    """The maximum over all processes."""
    if setup.accelerator.num_processes == 1:
        return value
    return float(setup.accelerator.gather(torch.tensor([value], device=setup.accelerator.device)).max())


def _moved(before: float | None, after: float | None) -> bool | None:
    return None if before is None or after is None else before != after


def _peak_memory(accelerator: Any) -> float:
    """Peak memory in GiB: of the accelerator, or of this process on a CPU."""
    if accelerator.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / (1 << 30)
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss includes the parent process
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / (1 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 30)  # bytes on macOS


def _not_finite_message(setup: TrainingSetup, step: int, problem: str) -> str:
    last_checkpoint = checkpoints.newest(setup.folder / "checkpoints")
    checkpoint_text = (
        f"The last good checkpoint is {last_checkpoint}." if last_checkpoint else "There is no checkpoint yet."
    )
    return (
        f"Step {step + 1}: {problem}; expected finite numbers. This step is discarded. {checkpoint_text} Lower "
        "learning_rate or max_grad_norm, or raise warmup_steps, and use another --out."
    )


def _weight_norm(params: Sequence[Tensor]) -> float:
    """The norm of all weights together; not finite if any weight is not."""
    norm: Any = torch.nn.utils.get_total_norm([p.detach() for p in params])
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
