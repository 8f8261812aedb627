"""From a recipe to a trained model folder: load, check, train, save.

    run("glance", recipe, pairs, make_accelerator(recipe, folder), folder, ...)

Everything that touches torch, accelerate and peft on behalf of `pipeline`; the loop itself is in `loop`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from gapbench.distillation import checkpoints, loop
from gapbench.distillation.forward_check import Finding, check_vllm, find_reading
from gapbench.distillation.health import warnings
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.samplers import Sampler, TransformersSampler
from gapbench.distillation.saving import save_model
from gapbench.distillation.student import ModelRole, make_role
from gapbench.distillation.teachers import Teacher
from gapbench.distillation.vllm import rollouts as vllm_rollouts
from gapbench.engines import models
from gapbench.errors import SettingError
from gapbench.util.files import write_text
from gapbench.util.interrupt import remember_interrupt
from gapbench.util.progress import progress

WAIT = timedelta(hours=24)
"""How long processes wait for the one that measures."""


def make_accelerator(recipe: Recipe, folder: Path) -> Any:
    """The accelerate object that knows devices, processes and precision."""
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import set_seed

    lacking = sorted(set(recipe.trackers).difference(map(str, get_available_trackers())))
    if lacking:  # accelerate itself leaves it out without a word
        raise SettingError(
            f"trackers: the package {lacking[0]} is not installed. pip install {lacking[0]}, or omit it."
        )
    logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)  # tells of tied weights at every checkpoint
    AcceleratorState._reset_state()  # an earlier training in this Python may have had another precision
    on_cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    precision = recipe.precision if recipe.precision != "auto" else ("no" if on_cpu else "bf16")
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=on_cpu,
        log_with=list(recipe.trackers) or None,
        project_dir=str(folder),
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),  # towers keep layers that nothing reads
            InitProcessGroupKwargs(timeout=WAIT),
        ],
    )
    if recipe.prompts_per_step % accelerator.num_processes:
        raise SettingError(
            f"prompts_per_step={recipe.prompts_per_step} cannot be shared equally by {accelerator.num_processes} "
            f"processes. Make it a multiple of {accelerator.num_processes}."
        )
    if accelerator.distributed_type in ("FSDP", "DEEPSPEED", "MEGATRON_LM") and not accelerator.is_fsdp2:
        raise SettingError(
            f"accelerate launch with {accelerator.distributed_type.value}: expected DDP (--multi_gpu) or FSDP2 "
            "(--use_fsdp --fsdp_version 2)."
        )
    if recipe.lora and accelerator.distributed_type == "FSDP":
        raise SettingError("lora: not with FSDP. Launch with DDP (accelerate launch --multi_gpu); adapters are small.")
    if recipe.use_vllm and accelerator.distributed_type == "FSDP":
        raise SettingError("use_vllm: not with FSDP. Launch with DDP (torchrun), or set use_vllm=false.")
    set_seed(recipe.seed % (1 << 32))
    return accelerator


def run(
    model: str, recipe: Recipe, pairs: Pairs, accelerator: Any, folder: Path, resume: bool, revision: str | None,
    trust_remote_code: bool, say: Callable[[str], None], quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """Train and write `model/`; returns what `distill.json` keeps of it.

    Raises ModelError, SettingError or RunError.
    """
    start = checkpoints.newest(folder / "checkpoints") if resume else None
    loaded = _load(model, recipe, accelerator, revision, trust_remote_code)
    generation = loaded.model.generation_config
    student = make_role(loaded, recipe)
    loaded.model.eval()
    other = _other_teacher(recipe, accelerator, revision, trust_remote_code)
    optimizer = torch.optim.AdamW(
        [p for p in student.model.parameters() if p.requires_grad],
        lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), weight_decay=recipe.weight_decay,
    )  # fmt: skip
    inside, optimizer = accelerator.prepare(student.inside, optimizer)
    student = replace(student, inside=inside)
    precision = {"bf16": "bfloat16", "fp16": "float16"}.get(accelerator.mixed_precision, "float32")
    student, other, found = _checked(student, other, pairs, recipe, precision, say)
    sampler: Sampler = TransformersSampler(
        found.expand_rollouts, accelerator.distributed_type == "FSDP", found.sampling
    )
    if recipe.use_vllm:
        sampler = _start_vllm(model, student, pairs, recipe, accelerator, precision, revision, trust_remote_code, say)
    teacher = Teacher(recipe, student, other)
    setup = loop.TrainingSetup(recipe, pairs, accelerator, student, teacher, optimizer, folder, sampler)
    first, probe = 0, []
    if start:
        state = checkpoints.restore(start, accelerator, teacher)
        first, probe = int(state["step"]), state["probe"]
        say(f"resuming after step {first}")
    elif recipe.probe_every:
        probe = loop.first_answers(setup)
    if accelerator.is_main_process:
        _keep_lines(folder / loop.LOG, first)
    accelerator.wait_for_everyone()
    accelerator.init_trackers("gapbench-distill", config=_flat(recipe))
    try:
        with _watching(folder, first, recipe.steps, quiet or not accelerator.is_main_process) as watch:
            loop.train(setup, first, probe, watch)
    finally:
        sampler.close()
    save_model(accelerator, student, recipe, model, folder / "model", generation, revision, trust_remote_code)
    return {
        "training": {
            "steps": recipe.steps,
            "processes": accelerator.num_processes,
            "distributed": str(accelerator.distributed_type.value),
            "precision": precision,
            "device": str(accelerator.device),
            "parameters_trained": sum(p.numel() for p in teacher.params),
            "rollouts": sampler.info,
            "selfcheck": {**asdict(found.reading), "expand_rollouts": found.expand_rollouts,
                          "share_rollouts": found.sampling is not None,
                          "difference": found.difference, "refused": list(found.refused)},
        }
    }  # fmt: skip


def finish(accelerator: Any) -> None:
    """End what all processes shared; the last thing that they do."""
    vllm_rollouts.stop_sharing()
    accelerator.end_training()


def _load(
    model: str, recipe: Recipe, accelerator: Any, revision: str | None, trust_remote_code: bool, trained: bool = True
) -> models.Loaded:
    """The model on this process's device."""
    low = accelerator.mixed_precision == "bf16" and (recipe.lora or not trained)
    return models.load(
        model,
        dtype="bfloat16" if low else "float32",
        device=str(accelerator.device),
        attn_implementation=recipe.attn_implementation,
        revision=revision,
        trust_remote_code=trust_remote_code,
    )


def _other_teacher(recipe: Recipe, accelerator: Any, revision: str | None, trust_remote_code: bool) -> ModelRole | None:
    if recipe.teacher != "model":
        return None
    wish = os.environ.pop("FSDP_CPU_RAM_EFFICIENT_LOADING", None)  # weights for the first process alone
    try:
        loaded = _load(recipe.teacher_model, recipe, accelerator, None, trust_remote_code, trained=False)
    finally:
        if wish is not None:
            os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = wish
    return make_role(loaded, recipe, trained=False)


def _checked(
    student: ModelRole,
    other: ModelRole | None,
    pairs: Pairs,
    recipe: Recipe,
    precision: str,
    say: Callable[[str], None],
) -> tuple[ModelRole, ModelRole | None, Finding]:
    """Both roles with the reading that their check allows, on the images of both views."""
    shown = pairs.probe(2)
    asked = [(p.student, p.text) for p in pairs.step(0)[:1]] + [(p.teacher, p.text) for p in shown]
    found = find_reading(student, asked, recipe, precision)
    on = ", ".join(name for name, value in asdict(found.reading).items() if value) or "none"
    say(f"self-check: teacher forcing agrees with generation to {found.difference:.1e} nats; economies: {on}")
    for text in found.refused:
        say(f"self-check: not used for this model: {text}")
    if other is not None:
        other = other.read_as(find_reading(other, asked[1:], recipe, precision).reading)
    return student.read_as(found.reading), other, found


def _start_vllm(
    model: str, student: ModelRole, pairs: Pairs, recipe: Recipe, accelerator: Any, precision: str,
    revision: str | None, trust_remote_code: bool, say: Callable[[str], None],
) -> Sampler:  # fmt: skip
    """vLLM beside the trainer, once it has shown that it answers as the trainer would."""
    say("starting vLLM for the rollouts")
    sampler = vllm_rollouts.start(model, recipe, precision, revision, trust_remote_code, accelerator.num_processes)
    asked = [(p.student, p.text) for p in (*pairs.step(0)[:1], *pairs.probe(2))]
    off = check_vllm(student, sampler, asked, recipe, precision)
    say(f"self-check: vLLM's log-probabilities agree with the trainer's to {off:.1e} nats")
    return replace(sampler, info={**sampler.info, "difference": off})


@contextmanager
def _watching(folder: Path, first: int, steps: int, quiet: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Progress, and each kind of warning once, with an interrupt that is never lost between two steps."""
    lines: list[Mapping[str, Any]] = []
    warned: set[str] = set()
    if (folder / loop.LOG).exists():
        lines = [json.loads(line) for line in (folder / loop.LOG).read_text(encoding="utf-8").splitlines()]
    with progress(steps, first, "training", quiet, "steps") as advance, remember_interrupt() as check:

        def watch(line: Mapping[str, Any]) -> None:
            lines.append(line)
            advance("")
            for kind, text in warnings(lines).items():
                if kind not in warned and not quiet:
                    warned.add(kind)
                    print(f"step {line['step']}: {text}", file=sys.stderr, flush=True)
            check()

        yield watch


def _keep_lines(log: Path, steps: int) -> None:
    """The log up to the checkpoint that is resumed; later steps are made again."""
    kept = log.read_text(encoding="utf-8").splitlines()[:steps] if log.exists() else []
    write_text(log, "".join(f"{line}\n" for line in kept))


def _flat(recipe: Recipe) -> dict[str, Any]:
    """The recipe as trackers take it: text and numbers."""
    return {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in recipe.model_dump().items()}
