"""The training loop of on-policy self-distillation, to be read from top to bottom.

    train(recipe, pairs, accelerator, student, teacher, optimizer, folder)

One step: take the prompts, let the student answer each a few times from its own view, read every answer under both
views, and move the student's next-token distributions towards the teacher's. Answers are on-policy, each batch is used
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
from gapbench.distillation.batches import Micro, pack
from gapbench.distillation.divergence import Totals, chunked_divergence, sequence_weights
from gapbench.distillation.forward import head, hidden_states, process
from gapbench.distillation.pairs import Pairs, TrainingPrompt
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.rollouts import Prompt, Rollout, Sampling, random_key
from gapbench.distillation.samplers import REFERENCE, Sampler
from gapbench.distillation.student import ModelRole
from gapbench.distillation.teachers import Teacher
from gapbench.errors import ModelError
from gapbench.util.ahead import ahead

LOG = "train.jsonl"


@dataclass(frozen=True)
class TrainingSetup:
    """What does not change while training. `sampler` writes the rollouts."""

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
    """Train from step `first` (0-based) to the recipe's last; one line per step goes to `train.jsonl` and to `watch`.

    `probe` holds the answers that the teacher gave to `pairs.probe` at the start. Raises ModelError when the loss is
    not finite (the last checkpoint is from before), RunError when a checkpoint cannot be written.
    """
    recipe, accelerator, student, teacher = setup.recipe, setup.accelerator, setup.student, setup.teacher
    size = recipe.prompts_per_step * recipe.rollouts_per_prompt
    shares = setup.pairs.steps(first, accelerator.process_index, accelerator.num_processes)
    for step, pairs in enumerate(ahead(shares, depth=1), first):
        began = time.perf_counter()
        rollouts = roll_out(setup, pairs, step)
        rolled = time.perf_counter()

        tokens = _sum(setup, float(sum(len(r.ids) for answers in rollouts for r in answers)))
        micros = _micro_batches(setup, rollouts)
        for group in setup.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate(recipe, step)
        sums, farthest = torch.zeros(4, dtype=torch.float64), 0.0
        for number, micro in enumerate(micros):
            last = number == len(micros) - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(student.inside):
                totals, apart = _divergence(setup, pairs, rollouts, micro, size, int(tokens))
                # Processes average their gradients, and every loss is already its share of the whole batch.
                accelerator.backward(totals.loss * accelerator.num_processes)
            sums += torch.tensor([float(totals.loss.detach()), float(totals.divergence), float(totals.entropy),
                                  float(apart.sum())])  # fmt: skip
            farthest = max(farthest, float(apart.max()))
        loss, divergence, entropy, off = (_sum(setup, float(x)) for x in sums)
        norm = float(accelerator.clip_grad_norm_(student.inside.parameters(), recipe.max_grad_norm))
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise ModelError(_not_finite(setup, step, f"loss {loss}, gradient norm {norm}"))
        setup.optimizer.step()
        setup.optimizer.zero_grad()
        if not math.isfinite(_size(teacher.params)):
            raise ModelError(_not_finite(setup, step, "its update made weights that are not finite"))
        before = teacher.distance()
        teacher.update(step)
        trained = time.perf_counter()

        done = step + 1
        line: dict[str, Any] = {
            "step": done,
            "loss": loss,
            "divergence": divergence / tokens,
            "entropy": entropy / tokens,
            "logp_gap": off / tokens if recipe.rollouts_from == "student" else None,
            "logp_gap_max": _max(setup, farthest) if recipe.rollouts_from == "student" else None,
            "mean_length": tokens / size,
            "truncated": _sum(setup, sum(r.truncated for a in rollouts for r in a)) / size,
            "grad_norm": norm,
            "lr": recipe.learning_rate * rate(recipe, step),
            "teacher": recipe.teacher,
            "ema_distance": teacher.distance(),
            "teacher_moved": _moved(before, teacher.distance()),
            "probe_confidence": None,
            "probe_student": None,
            "tokens_per_second": tokens / (trained - began),
            "seconds": round(trained - began, 4),
            "seconds_rollouts": round(rolled - began, 4),
            "memory_gib": _memory(accelerator),
        }
        if probe and recipe.probe_every and (done % recipe.probe_every == 0 or done == recipe.steps):
            line["probe_confidence"], line["probe_student"] = confidence(setup, probe)
        if accelerator.is_main_process:
            with (setup.folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        accelerator.log({k: v for k, v in line.items() if isinstance(v, float)}, step=done)
        watch(line)
        if done % recipe.save_every == 0 or done == recipe.steps:
            state = {"probe": [list(p) for p in probe]}
            checkpoints.save(setup.folder / "checkpoints", done, accelerator, teacher, state, recipe.keep_checkpoints)


def roll_out(setup: TrainingSetup, pairs: Sequence[TrainingPrompt], step: int) -> list[list[Rollout]]:
    """Answers to each prompt: the student's from its own view, or (off-policy) the teacher's from the teacher's."""
    recipe, role = setup.recipe, setup.student
    teaching = recipe.rollouts_from == "teacher"
    prompts = [
        Prompt(
            pair.teacher if teaching else pair.student,
            pair.text,
            tuple(random_key(recipe.seed, step, pair.key, n) for n in range(recipe.rollouts_per_prompt)),
        )
        for pair in pairs
    ]
    sampling = Sampling(recipe.max_new_tokens, recipe.temperature, recipe.top_p, recipe.rollout_tokens)
    with setup.teacher.weights() if teaching else contextlib.nullcontext():
        return setup.sampler(role, prompts, sampling)


def _divergence(
    setup: TrainingSetup,
    pairs: Sequence[TrainingPrompt],
    rollouts: Sequence[Sequence[Rollout]],
    micro: Micro,
    size: int,
    tokens: int,
) -> tuple[Totals, Tensor]:
    """The micro-batch's share of the loss, and |log p of the trainer - log p of the sampler| of each token."""
    recipe, student, teacher = setup.recipe, setup.student, setup.teacher
    shown = [pairs[i] for i in micro.prompts]
    groups = micro.groups(rollouts)
    taught = teacher.hidden([(p.teacher, p.text) for p in shown], groups)
    inputs = process(student.chat, student.model, [(p.student, p.text) for p in shown], len(groups[0]), student.reading)
    if recipe.rollouts_from == "student":
        _check_lengths(inputs["attention_mask"], [rollouts[i][0].prompt_tokens for i in micro.prompts], shown)
    ids = torch.tensor([token for group in groups for row in group for token in row], device=taught.device)
    lengths = torch.tensor([len(row) for group in groups for row in group])
    weights = sequence_weights(lengths, size, tokens, recipe.aggregation).to(taught.device)
    answers = [r for i in micro.prompts for r in rollouts[i][micro.first : micro.last]]
    sampled = torch.tensor([logp for r in answers for logp in r.logps], device=taught.device)
    with _training(student.model, recipe):
        totals: Totals = student.inside(
            _objective, student, recipe, inputs, groups, ids, weights, taught, teacher.head(), sampled
        )
    return totals, (totals.student_log_probs - sampled).abs()


def _check_lengths(mask: Tensor, told: Sequence[int], shown: Sequence[TrainingPrompt]) -> None:
    """Whether the trainer reads as many prompt tokens as the sampler did: else it was shown another image."""
    rows = mask.sum(1)[:: len(mask) // len(told)].tolist()
    for pair, row, tokens in zip(shown, rows, told, strict=True):
        if row != tokens:
            raise ModelError(
                f"Question {pair.key}: the sampler read a prompt of {tokens} tokens, and the trainer reads {row}. They "
                "prepare images differently, so its answers are not to what is trained. Set use_vllm=false."
            )


def _objective(
    model: Any, student: ModelRole, recipe: Recipe, inputs: dict[str, Any], groups: Any, ids: Tensor, weights: Tensor,
    taught: Tensor, teacher_head: Callable[[Tensor], Tensor], sampled: Tensor,
) -> Totals:  # fmt: skip
    """Runs inside the student's forward pass."""
    states = hidden_states(model, inputs, groups, student.reading)
    own = head(model, student.reading)
    return chunked_divergence(
        states,
        taught,
        ids,
        weights,
        own,
        teacher_head,
        recipe.loss,
        recipe.chunk_tokens,
        sampled,
        recipe.importance_cap,
    )


def rate(recipe: Recipe, step: int) -> float:
    """Share of the learning rate at a step (0-based): linear warm-up, then the schedule down to 0."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    left = (recipe.steps - step) / max(1, recipe.steps - recipe.warmup_steps)
    return {"constant": 1.0, "linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left)}[recipe.schedule]


def first_answers(setup: TrainingSetup, tokens: int = 32) -> list[list[int]]:
    """What the teacher answers to the probe questions, greedily: kept to see whether it stays sure of them."""
    role, recipe = setup.teacher.role, setup.recipe
    asked = setup.pairs.probe(PROBES)
    prompts = [Prompt(p.teacher, p.text, (0,)) for p in asked]
    sampling = Sampling(min(tokens, recipe.max_new_tokens), 0.0, 1.0, recipe.rollout_tokens)
    made = REFERENCE(role, prompts, sampling)
    return [list(answers[0].ids) for answers in made]


PROBES = 32
"""Questions of the probe."""


def confidence(setup: TrainingSetup, answers: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Mean over the probe of exp(mean log p) that teacher and student give the first answers on the teacher's view."""
    asked = setup.pairs.probe(PROBES)
    found = []
    for own in (False, True):
        role = setup.student if own else setup.teacher.role
        values = []
        for start in range(0, len(asked), 8):
            part = asked[start : start + 8]
            groups = [[row] for row in answers[start : start + 8]]
            tokens = [t for group in groups for t in group[0]]
            with torch.no_grad(), contextlib.nullcontext() if own else setup.teacher.weights():
                logps = role.inside(_log_probs, role, [(p.teacher, p.text) for p in part], groups, tokens)
            values += [math.exp(float(x.mean())) for x in logps.split([len(g[0]) for g in groups])]
        found.append(sum(values) / len(values))
    return found[0], found[1]


def _log_probs(model: Any, role: ModelRole, asked: Sequence[tuple[Any, str]], groups: Any, tokens: list[int]) -> Tensor:
    states = hidden_states(model, process(role.chat, model, asked, 1, role.reading), groups, role.reading)
    ids = torch.tensor(tokens, device=states.device)
    return torch.log_softmax(head(model, role.reading)(states), -1).gather(1, ids[:, None])[:, 0].cpu()


def _micro_batches(setup: TrainingSetup, rollouts: Sequence[Sequence[Rollout]]) -> list[Micro]:
    """This process's micro-batches; all processes make the same number, as sharded models must stay in step."""
    budget, share = setup.recipe.micro_batch_tokens, setup.student.reading.share_prompt
    made = pack(rollouts, budget, share)
    counts = setup.accelerator.gather(torch.tensor([len(made)], device=setup.accelerator.device))
    return pack(rollouts, budget, share, least=int(counts.max()))


@contextlib.contextmanager
def _training(model: Any, recipe: Recipe) -> Any:
    """Checkpointing works in training mode alone; otherwise a model is trained as it answers, without dropout."""
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
    """The largest over all processes."""
    if setup.accelerator.num_processes == 1:
        return value
    return float(setup.accelerator.gather(torch.tensor([value], device=setup.accelerator.device)).max())


def _moved(before: float | None, after: float | None) -> bool | None:
    return None if before is None or after is None else before != after


def _memory(accelerator: Any) -> float:
    """Peak memory in GiB: of the accelerator, or of the process on a CPU."""
    if accelerator.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / (1 << 30)
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss counts the process that started this one as well
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / (1 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 30)  # bytes on macOS


def _not_finite(setup: TrainingSetup, step: int, found: str) -> str:
    before = checkpoints.newest(setup.folder / "checkpoints")
    kept = f"The last good checkpoint is {before}." if before else "There was no checkpoint yet."
    return (
        f"Step {step + 1}: {found}; expected finite numbers. Nothing of this step is kept. {kept} Lower learning_rate "
        "or max_grad_norm, or raise warmup_steps, in another --out."
    )


def _size(params: Sequence[Tensor]) -> float:
    """The norm of all weights together; not finite as soon as one of them is not."""
    norm: Any = torch.nn.utils.get_total_norm([p.detach() for p in params])
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
