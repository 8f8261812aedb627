"""From a recipe to a trained model folder: load, check, train, save.

    run("glance", recipe, pairs, make_accelerator(recipe, folder), folder, ...)

This module sets up torch, accelerate and peft for `gapbench.commands.distill`; the training loop is in `loop`.
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
from gapbench.distillation.forward_check import ForwardCheck, check_vllm, find_forward_mode
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
"""How long the other processes wait for the one that measures."""


def make_accelerator(recipe: Recipe, folder: Path) -> Any:
    """The accelerate object that manages devices, processes and precision. Raises SettingError."""
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import set_seed

    missing = sorted(set(recipe.trackers).difference(map(str, get_available_trackers())))
    if missing:  # accelerate would drop it silently
        raise SettingError(
            f"trackers: the package {missing[0]} is not installed. pip install {missing[0]}, or omit it."
        )
    # It warns about tied weights at every checkpoint.
    logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)
    AcceleratorState._reset_state()  # an earlier training in this process may have had another precision
    on_cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    precision = recipe.precision if recipe.precision != "auto" else ("no" if on_cpu else "bf16")
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=on_cpu,
        log_with=list(recipe.trackers) or None,
        project_dir=str(folder),
        kwargs_handlers=[
            # Vision towers contain layers whose output is unused.
            DistributedDataParallelKwargs(find_unused_parameters=True),
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
        raise SettingError("lora: not with FSDP. Launch with DDP (accelerate launch --multi_gpu): adapters are small.")
    if recipe.use_vllm and accelerator.distributed_type == "FSDP":
        raise SettingError("use_vllm: not with FSDP. Launch with DDP (torchrun), or set use_vllm=false.")
    set_seed(recipe.seed % (1 << 32))
    return accelerator


def run(
    model: str, recipe: Recipe, pairs: Pairs, accelerator: Any, folder: Path, resume: bool, revision: str | None,
    trust_remote_code: bool, say: Callable[[str], None], quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """Train and write `model/`; returns the `training` entry of `distill.json`.

    Raises ModelError, SettingError or RunError.
    """
    checkpoint = checkpoints.newest(folder / "checkpoints") if resume else None
    loaded = _load(model, recipe, accelerator, revision, trust_remote_code)
    generation = loaded.model.generation_config
    student = make_role(loaded, recipe)
    loaded.model.eval()
    external_teacher = _load_external_teacher(recipe, accelerator, revision, trust_remote_code)
    optimizer = torch.optim.AdamW(
        [p for p in student.model.parameters() if p.requires_grad],
        lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), weight_decay=recipe.weight_decay,
    )  # fmt: skip
    wrapped, optimizer = accelerator.prepare(student.wrapped, optimizer)
    student = replace(student, wrapped=wrapped)
    precision = {"bf16": "bfloat16", "fp16": "float16"}.get(accelerator.mixed_precision, "float32")
    student, external_teacher, check = _with_checked_modes(student, external_teacher, pairs, recipe, precision, say)
    sampler: Sampler = TransformersSampler(
        check.expand_rollouts, accelerator.distributed_type == "FSDP", check.rollout_mode
    )
    if recipe.use_vllm:
        sampler = _start_vllm(model, student, pairs, recipe, accelerator, precision, revision, trust_remote_code, say)
    teacher = Teacher(recipe, student, external_teacher)
    setup = loop.TrainingSetup(recipe, pairs, accelerator, student, teacher, optimizer, folder, sampler)
    first_step, probe = 0, []
    if checkpoint:
        state = checkpoints.restore(checkpoint, accelerator, teacher)
        first_step, probe = int(state["step"]), state["probe"]
        say(f"resuming after step {first_step}")
    elif recipe.probe_every:
        probe = loop.probe_answers(setup)
    if accelerator.is_main_process:
        _truncate_log(folder / loop.LOG, first_step)
    accelerator.wait_for_everyone()
    accelerator.init_trackers("gapbench-distill", config=_tracker_config(recipe))
    try:
        with _watching(folder, first_step, recipe.steps, quiet or not accelerator.is_main_process) as watch:
            loop.train(setup, first_step, probe, watch)
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
            "selfcheck": {**asdict(check.mode), "expand_rollouts": check.expand_rollouts,
                          "share_rollouts": check.rollout_mode is not None,
                          "difference": check.difference, "refused": list(check.refused)},
        }
    }  # fmt: skip


def finish(accelerator: Any) -> None:
    """Stop what the processes share; the last call of every process."""
    vllm_rollouts.stop_sharing()
    accelerator.end_training()


def _load(
    model: str, recipe: Recipe, accelerator: Any, revision: str | None, trust_remote_code: bool, trained: bool = True
) -> models.Loaded:
    """The model on this process's device."""
    half_precision = accelerator.mixed_precision == "bf16" and (recipe.lora or not trained)
    return models.load(
        model,
        dtype="bfloat16" if half_precision else "float32",
        device=str(accelerator.device),
        attn_implementation=recipe.attn_implementation,
        revision=revision,
        trust_remote_code=trust_remote_code,
    )


def _load_external_teacher(
    recipe: Recipe, accelerator: Any, revision: str | None, trust_remote_code: bool
) -> ModelRole | None:
    if recipe.teacher != "model":
        return None
    # With this setting only the first process would load the weights.
    efficient_loading = os.environ.pop("FSDP_CPU_RAM_EFFICIENT_LOADING", None)
    try:
        loaded = _load(recipe.teacher_model, recipe, accelerator, None, trust_remote_code, trained=False)
    finally:
        if efficient_loading is not None:
            os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = efficient_loading
    return make_role(loaded, recipe, trained=False)


def _with_checked_modes(
    student: ModelRole,
    external_teacher: ModelRole | None,
    pairs: Pairs,
    recipe: Recipe,
    precision: str,
    say: Callable[[str], None],
) -> tuple[ModelRole, ModelRole | None, ForwardCheck]:
    """Both roles with the forward modes that the self-check accepts, on images of both views, and its result."""
    probe_pairs = pairs.probe(2)
    prompts = [(p.student, p.text) for p in pairs.step(0)[:1]] + [(p.teacher, p.text) for p in probe_pairs]
    check = find_forward_mode(student, prompts, recipe, precision)
    shortcuts = ", ".join(name for name, value in asdict(check.mode).items() if value) or "plain"
    say(f"self-check: teacher forcing agrees with generation to {check.difference:.1e} nats; forward mode: {shortcuts}")
    for text in check.refused:
        say(f"self-check: refused forward mode: {text}")
    if external_teacher is not None:
        external_teacher = external_teacher.with_mode(
            find_forward_mode(external_teacher, prompts[1:], recipe, precision).mode
        )
    return student.with_mode(check.mode), external_teacher, check


def _start_vllm(
    model: str, student: ModelRole, pairs: Pairs, recipe: Recipe, accelerator: Any, precision: str,
    revision: str | None, trust_remote_code: bool, say: Callable[[str], None],
) -> Sampler:  # fmt: skip
    """vLLM beside the trainer, once its answers agree with the trainer's log-probabilities."""
    say("starting vLLM for the rollouts")
    sampler = vllm_rollouts.start(model, recipe, precision, revision, trust_remote_code, accelerator.num_processes)
    prompts = [(p.student, p.text) for p in (*pairs.step(0)[:1], *pairs.probe(2))]
    difference = check_vllm(student, sampler, prompts, recipe, precision)
    say(f"self-check: vLLM's log-probabilities agree with the trainer's to {difference:.1e} nats")
    return replace(sampler, info={**sampler.info, "difference": difference})


@contextmanager
def _watching(folder: Path, first: int, steps: int, quiet: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Progress and warnings, each kind once; an interrupt takes effect between two steps."""
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


def _truncate_log(log: Path, steps: int) -> None:
    """Cut the log at the checkpoint that is resumed; later steps are trained again."""
    lines = log.read_text(encoding="utf-8").splitlines()[:steps] if log.exists() else []
    write_text(log, "".join(f"{line}\n" for line in lines))


def _tracker_config(recipe: Recipe) -> dict[str, Any]:
    """The recipe as trackers accept it: text and numbers."""
    return {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in recipe.model_dump().items()}
