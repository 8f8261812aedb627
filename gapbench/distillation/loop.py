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
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.distributed.tensor import DTensor

from gapbench.distillation import checkpoints
from gapbench.distillation.batches import MicroBatch, pack
from gapbench.distillation.divergence import Head, Tokens, Totals, chunked_divergence, sequence_weights
from gapbench.distillation.evidence_weights import RolloutWeights, weigh
from gapbench.distillation.forward import ForwardMode, Groups, head, hidden_states, log_probs, process, token_ids
from gapbench.distillation.pairs import Pairs, TrainingPrompt
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.rollouts import REFERENCE, Prompt, Rollouts, Sampler, Sampling, random_key
from gapbench.distillation.student import ModelRole
from gapbench.distillation.teachers import Teacher, TeacherStates
from gapbench.distillation.validation import Reference, chosen_step, validate
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

    @property
    def state(self) -> checkpoints.TrainingState:
        """What a checkpoint holds."""
        return checkpoints.TrainingState(self.teacher, self.optimizer)


def train(
    setup: TrainingSetup, first: int = 0, earlier: Sequence[Mapping[str, Any]] = (),
    probe: Sequence[Sequence[int]] = (), reference: Reference | None = None,
    watch: Callable[[Mapping[str, Any]], None] = lambda line: None,
) -> None:  # fmt: skip
    """Train from step `first` (0-based), before which the log has the `earlier` lines, to the last step of the recipe.

    `probe` has the teacher's first answers to `pairs.probe`, `reference` what it expects of the held-out part.

    Every step adds a line to `train.jsonl` and passes it to `watch`. A checkpoint is written every `save_every` steps,
    and when a step is better on the held-out part than all before. Raises ModelError if the loss or the weights are not
    finite (the last checkpoint is older than that), RunError if a checkpoint cannot be written.
    """
    recipe, accelerator, student, teacher = setup.recipe, setup.accelerator, setup.student, setup.teacher
    lines = [*earlier]
    own_answers = recipe.rollouts_from == "student"
    total = partial(_over_processes, accelerator, torch.sum)
    process, processes = accelerator.process_index, accelerator.num_processes
    shares = (setup.pairs.step(step, process, processes) for step in range(first, recipe.steps))
    for step, pairs in enumerate(read_ahead(shares, depth=1), first):
        start = time.perf_counter()
        rollouts = roll_out(setup, pairs, step)
        after_rollouts = time.perf_counter()

        tokens = total(float(sum(len(r.ids) for answers in rollouts for r in answers)))
        learning_rate = recipe.learning_rate * learning_rate_factor(recipe, step)
        micro_batches = _micro_batches(setup, rollouts)
        evidence = weigh(student, teacher, pairs, rollouts, micro_batches) if recipe.weights == "evidence" else None
        for group in setup.optimizer.param_groups:
            group["lr"] = learning_rate
        sums, largest_gap = torch.zeros(4, dtype=torch.float64), 0.0
        for number, micro_batch in enumerate(micro_batches):
            last = number == len(micro_batches) - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(student.wrapped):
                totals, gaps = _micro_batch_loss(setup, pairs, rollouts, micro_batch, int(tokens), evidence)
                # Processes average their gradients, but every loss is already a share of the whole batch.
                accelerator.backward(totals.loss * accelerator.num_processes)
            sums += torch.tensor([float(totals.loss.detach()), float(totals.divergence), float(totals.entropy),
                                  float(gaps.sum())])  # fmt: skip
            largest_gap = max(largest_gap, float(gaps.max()))
        loss, divergence, entropy, gap_sum = (total(float(x)) for x in sums)
        grad_norm = float(accelerator.clip_grad_norm_(student.wrapped.parameters(), recipe.max_grad_norm))
        _check_finite(setup, step, f"loss {loss}, gradient norm {grad_norm}", loss, grad_norm)
        setup.optimizer.step()
        setup.optimizer.zero_grad()
        _check_finite(setup, step, "the update made weights that are not finite", _weight_norm(teacher.params))
        distance_before = teacher.distance()
        teacher.update(step)
        distance, end = teacher.distance(), time.perf_counter()

        steps_done = step + 1
        line: dict[str, Any] = {
            "step": steps_done,
            "loss": loss,
            "divergence": divergence / tokens,
            "entropy": entropy / tokens,
            "logp_gap": gap_sum / tokens if own_answers else None,
            "logp_gap_max": _over_processes(accelerator, torch.max, largest_gap) if own_answers else None,
            "mean_length": tokens / recipe.sequences_per_step,
            "truncated": total(sum(r.truncated for a in rollouts for r in a)) / recipe.sequences_per_step,
            "grad_norm": grad_norm,
            "lr": learning_rate,
            "evidence": total(evidence.differences) / tokens if evidence else None,
            "teacher": recipe.teacher,
            "ema_distance": distance,
            "teacher_moved": None if distance is None else distance != distance_before,
            "probe_confidence": None,
            "probe_student": None,
            "tokens_per_second": tokens / (end - start),
            "seconds": round(end - start, 4),
            "seconds_rollouts": round(after_rollouts - start, 4),
            "memory_gib": _peak_memory(accelerator),
        }
        if probe and recipe.probe_every and (steps_done % recipe.probe_every == 0 or steps_done == recipe.steps):
            line["probe_confidence"], line["probe_student"] = confidence(setup, probe)
        if reference and (steps_done % recipe.eval_every == 0 or steps_done == recipe.steps):
            line |= validate(setup, reference)
        lines.append(line)
        chosen = chosen_step(lines, recipe)
        if accelerator.is_main_process:
            with (setup.folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        accelerator.log({k: v for k, v in line.items() if isinstance(v, float)}, step=steps_done)
        watch(line)
        if steps_done % recipe.save_every == 0 or steps_done in (recipe.steps, chosen):
            skipped = setup.pairs.skipped
            for of_process in gather_object([dict(skipped)]):  # each process sees its own share
                skipped.update(of_process)
            commit = getattr(student.model.config, "_commit_hash", None)
            notes = {"base": commit, "probe": [list(p) for p in probe], "skipped": dict(skipped)}
            folder = setup.folder / "checkpoints"
            checkpoints.save(folder, steps_done, accelerator, setup.state, notes)
            checkpoints.prune(folder, accelerator, recipe.keep_checkpoints, chosen)


def roll_out(setup: TrainingSetup, pairs: Sequence[TrainingPrompt], step: int) -> Rollouts:
    """Answers to each prompt: the student's from its own view, or (off-policy) the teacher's from its view."""
    recipe = setup.recipe
    by_teacher = recipe.rollouts_from == "teacher"
    prompts = []
    for pair in pairs:
        keys = tuple(random_key(recipe.seed, step, pair.slot, pair.key, n) for n in range(recipe.rollouts_per_prompt))
        prompts.append(Prompt(pair.teacher if by_teacher else pair.student, pair.text, keys))
    sampling = Sampling(recipe.max_new_tokens, recipe.temperature, recipe.top_p, recipe.rollout_tokens)
    with setup.teacher.weights() if by_teacher else contextlib.nullcontext():
        return setup.sampler(setup.student, prompts, sampling)


def _micro_batch_loss(
    setup: TrainingSetup, pairs: Sequence[TrainingPrompt], rollouts: Rollouts, micro_batch: MicroBatch, tokens: int,
    evidence: RolloutWeights | None = None,
) -> tuple[Totals, Tensor]:  # fmt: skip
    """The micro-batch's share of the loss, and |log p of the trainer - log p of the sampler| of each token."""
    recipe, student, teacher = setup.recipe, setup.student, setup.teacher
    batch_pairs = [pairs[i] for i in micro_batch.prompts]
    groups = micro_batch.groups(rollouts)
    kept = evidence.states.get(micro_batch) if evidence else None
    by_teacher = kept.to(setup.accelerator.device) if kept else teacher.read(batch_pairs, groups)
    device = by_teacher.hidden.device
    prompts = [(p.student, p.text) for p in batch_pairs]
    inputs = process(student.chat, student.model, prompts, len(groups[0]), student.mode)
    if recipe.rollouts_from == "student":
        lengths = [rollouts[i][0].prompt_tokens for i in micro_batch.prompts]
        _check_lengths(inputs["attention_mask"], lengths, batch_pairs)
    answers = [r for i in micro_batch.prompts for r in rollouts[i][micro_batch.first : micro_batch.last]]
    lengths_of_answers = torch.tensor([len(r.ids) for r in answers])
    weights = sequence_weights(lengths_of_answers, recipe.sequences_per_step, tokens, recipe.aggregation)
    if evidence:
        weights = weights * torch.tensor(evidence.of(micro_batch)).repeat_interleave(lengths_of_answers)
    sampler_log_probs = torch.tensor([logp for r in answers for logp in r.logps], device=device)
    sampled = Tokens(token_ids(groups, device), weights.to(device), sampler_log_probs)
    # A model is trained as it answers, without dropout; but layers that checkpoint gradients need the training mode.
    for module in student.model.modules():
        module.training = recipe.gradient_checkpointing and getattr(module, "gradient_checkpointing", False)
    try:
        teacher_head = teacher.head(by_teacher.hidden.dtype)
        totals: Totals = student.wrapped(
            _loss_in_forward, recipe, student.mode, inputs, groups, sampled, by_teacher, teacher_head
        )
    finally:
        student.model.eval()
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
    model: Any, recipe: Recipe, mode: ForwardMode, inputs: dict[str, Any], groups: Groups, tokens: Tokens,
    by_teacher: TeacherStates, teacher_head: Head,
) -> Totals:  # fmt: skip
    """The loss of a micro-batch; runs inside the student's forward pass."""
    states = hidden_states(model, inputs, groups, mode)
    student_head, null = head(model, mode), by_teacher.null if recipe.tilts else None
    return chunked_divergence(
        states, by_teacher.hidden, tokens, student_head, teacher_head, recipe.loss, recipe.chunk_tokens, null
    )


def learning_rate_factor(recipe: Recipe, step: int) -> float:
    """The factor of the learning rate at a step (0-based): linear warm-up from 0, then the schedule down to 0.

    As in transformers and in Vision-OPD's released code, the first update of a warm-up has the rate 0.
    """
    if step < recipe.warmup_steps:
        return step / recipe.warmup_steps
    left = (recipe.steps - step) / max(1, recipe.steps - recipe.warmup_steps)
    return {"constant": 1.0, "linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}[recipe.schedule]


def probe_answers(setup: TrainingSetup) -> list[list[int]]:
    """The teacher's greedy answers to the probe, of at most 32 tokens, at the start of a training."""
    prompts = [Prompt(p.teacher, p.text, (0,)) for p in setup.pairs.probe(PROBE_SIZE)]
    sampling = Sampling(min(32, setup.recipe.max_new_tokens), 0.0, 1.0, setup.recipe.rollout_tokens)
    return [list(answers[0].ids) for answers in REFERENCE(setup.teacher.role, prompts, sampling)]


PROBE_SIZE = 32
"""Number of samples in the probe."""


def confidence(setup: TrainingSetup, answers: Sequence[Sequence[int]]) -> tuple[float, float]:
    """The confidence of teacher and student in the first answers to the probe, on the teacher's view.

    It is the mean over the probe of exp(mean log p).
    """
    pairs = setup.pairs.probe(PROBE_SIZE)

    def of(role: ModelRole, weights: Callable[[], contextlib.AbstractContextManager[None]]) -> float:
        values = []
        for start in range(0, len(pairs), 8):
            prompts = [(p.teacher, p.text) for p in pairs[start : start + 8]]
            groups = [[row] for row in answers[start : start + 8]]
            with weights():
                logps = role.run_without_grad(log_probs, role.chat, prompts, groups, role.mode).cpu()
            values += [math.exp(float(x.mean())) for x in logps.split([len(g[0]) for g in groups])]
        return sum(values) / len(values)

    return of(setup.teacher.role, setup.teacher.weights), of(setup.student, contextlib.nullcontext)


def _micro_batches(setup: TrainingSetup, rollouts: Rollouts) -> list[MicroBatch]:
    """This process's micro-batches; all processes make the same number, because sharded models must stay in step."""
    budget, share = setup.recipe.micro_batch_tokens, setup.student.mode.share_prompt
    count = len(pack(rollouts, budget, share))
    return pack(rollouts, budget, share, minimum=int(_over_processes(setup.accelerator, torch.max, count)))


def _over_processes(accelerator: Any, reduce: Callable[[Tensor], Tensor], value: float) -> float:
    """The sum or the maximum of a number over all processes."""
    if accelerator.num_processes == 1:  # in float64
        return value
    return float(reduce(accelerator.gather(torch.tensor([float(value)], device=accelerator.device))))


def _peak_memory(accelerator: Any) -> float:
    """Peak memory in GiB: of the accelerator, or of this process on a CPU."""
    if accelerator.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / (1 << 30)
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss includes the parent process
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / (1 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 30)  # bytes on macOS


def _check_finite(setup: TrainingSetup, step: int, problem: str, *values: float) -> None:
    """Raise ModelError if any of the values is not finite."""
    if not all(map(math.isfinite, values)):
        last = checkpoints.newest(setup.folder / "checkpoints")
        raise ModelError(
            f"Step {step + 1}: {problem}; expected finite numbers. This step is discarded. "
            f"{f'The last good checkpoint is {last}' if last else 'There is no checkpoint yet'}. Lower learning_rate "
            "or max_grad_norm, or raise warmup_steps, and use another --out."
        )


def _weight_norm(params: Sequence[Tensor]) -> float:
    """The norm of all weights together; not finite if any weight is not."""
    norm: Any = torch.nn.utils.get_total_norm([p.detach() for p in params])
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
