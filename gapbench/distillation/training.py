"""From a recipe to a trained model folder: load, check, train, save.

    run(Job("glance", recipe, folder), pairs, make_accelerator(recipe, folder))

This module sets up torch, accelerate and peft for `gapbench.commands.distill`; the training loop is in `loop`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy

from gapbench.distillation import checkpoints, loop, validation
from gapbench.distillation.forward_check import ForwardCheck, check_vllm, find_forward_mode
from gapbench.distillation.health import collapse, warnings
from gapbench.distillation.job import Job
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.rollouts import Sampler, TransformersSampler
from gapbench.distillation.saving import save_model
from gapbench.distillation.student import ModelRole, make_role
from gapbench.distillation.teachers import Teacher
from gapbench.distillation.vllm import rollouts as vllm_rollouts
from gapbench.engines import models
from gapbench.errors import ModelError, RunError, SettingError
from gapbench.util.files import write_text
from gapbench.util.interrupt import remember_interrupt
from gapbench.util.progress import progress

WAIT = timedelta(hours=24)
"""How long the other processes wait for the one that measures."""
SHARDED = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
"""The precisions of FSDP2 in bf16: layers compute in bfloat16, and gradients are added up over micro-batches and
processes in float32, as in the released code of Vision-OPD. accelerate's own policy adds them up in bfloat16. It also
rounds all that enters or leaves a layer or the whole model: rotary angles, the weights of tokens, the sampler's
log-probabilities, the loss.
"""


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
    # Vision towers contain layers whose output is unused.
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True), InitProcessGroupKwargs(timeout=WAIT)]
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=on_cpu,
        log_with=list(recipe.trackers) or None,
        project_dir=str(folder),
        kwargs_handlers=handlers,
    )
    if accelerator.is_fsdp2 and precision == "bf16":
        accelerator.state.fsdp_plugin.mixed_precision_policy = SHARDED
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


def run(job: Job, pairs: Pairs, accelerator: Any) -> dict[str, Any]:
    """Train and write `model/`; returns the `training` entry of `distill.json`.

    Raises ModelError, SettingError or RunError.
    """
    recipe, folder = job.recipe, job.folder
    loaded = _load(job, accelerator)
    generation = loaded.model.generation_config
    setup, check = set_up(job, pairs, accelerator, loaded)
    first_step, probe = 0, []
    # The weights are still those before the first step, also where a training is resumed.
    reference = validation.first_expectations(setup) if recipe.eval_every else None
    before = validation.validate(setup, reference) if reference else {}
    if job.resume and (checkpoint := checkpoints.newest(folder / "checkpoints")):
        notes = checkpoints.restore(checkpoint, accelerator, setup.state)
        if (commit := getattr(loaded.model.config, "_commit_hash", None)) != notes["base"]:  # its part is not saved
            raise RunError(
                f"{checkpoint}: it was trained from {job.model} at commit {notes['base']}, and now that is at "
                f"{commit}. Resume with --revision {notes['base']}."
            )
        first_step, probe = int(notes["step"]), notes["probe"]
        pairs.skipped.update(notes["skipped"])
        job.say(f"resuming after step {first_step}")
    elif recipe.probe_every:
        probe = loop.probe_answers(setup)
    log = folder / loop.LOG  # steps after the checkpoint are trained again
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)[:first_step] if log.exists() else []
    earlier = [json.loads(line) for line in lines]
    accelerator.wait_for_everyone()  # every process has read it
    if accelerator.is_main_process:
        write_text(log, "".join(lines))
    if first_step:
        chosen_step = validation.chosen_step(earlier, recipe)
        checkpoints.prune(folder / "checkpoints", accelerator, recipe.keep_checkpoints, chosen_step)
    accelerator.wait_for_everyone()
    tracked = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in recipe.model_dump().items()}
    accelerator.init_trackers("gapbench-distill", config=tracked)
    try:
        # Data of a model without answers have nobody who vouches for them.
        proposed = any(sample.evidence == "model" and not sample.answers for sample in pairs.samples)
        with _watching(job, [*earlier], before if proposed else {}) as watch:
            loop.train(setup, first_step, earlier, probe, reference, watch)
    finally:
        setup.sampler.close()
    chosen = _choose(job, setup, before, len(reference.answers)) if reference else {}
    save_model(job, accelerator, setup.student, generation)
    return {
        "training": {
            "steps": recipe.steps,
            "processes": accelerator.num_processes,
            "distributed": str(accelerator.distributed_type.value),
            "precision": _precision(accelerator),
            "device": str(accelerator.device),
            "parameters_trained": sum(p.numel() for p in setup.teacher.params),
            "rollouts": setup.sampler.info,
            "selfcheck": {**asdict(check.mode), "expand_rollouts": check.expand_rollouts,
                          "share_rollouts": check.rollout_mode is not None,
                          "difference": check.difference, "refused": list(check.refused)},
            **chosen,
        }
    }  # fmt: skip


def _choose(job: Job, setup: loop.TrainingSetup, before: Mapping[str, float | None], samples: int) -> dict[str, Any]:
    """Give the student the weights of the step that `samples` validated; the entry `validation` of the training."""
    lines = [json.loads(line) for line in (job.folder / loop.LOG).read_text(encoding="utf-8").splitlines()]
    step = validation.chosen_step(lines, job.recipe) or job.recipe.steps
    line = lines[step - 1]
    if step != job.recipe.steps:
        checkpoints.restore(job.folder / "checkpoints" / f"step-{step}", setup.accelerator, setup.state)
    found = {key: line.get(key) for key in before}
    key = validation.CRITERIA[job.recipe.validation]
    job.say(f"chosen: step {step} of {job.recipe.steps}, {key} {line[key]:.3g} ({before[key]:.3g} before training)")
    if remark := validation.remark(before, line, job.recipe):
        job.say(remark)
    entry = {"by": job.recipe.validation, "samples": samples, "step": step,
             "before": dict(before), "chosen": found, "remark": remark}  # fmt: skip
    return {"validation": entry}


def set_up(job: Job, pairs: Pairs, accelerator: Any, loaded: models.Loaded) -> tuple[loop.TrainingSetup, ForwardCheck]:
    """Everything that a training of this model needs before its first step, and the self-check that chose its mode.

    Raises ModelError or SettingError.
    """
    recipe = job.recipe
    student = make_role(loaded, recipe)
    loaded.model.eval()
    external_teacher = _load_external_teacher(job, accelerator) if recipe.teacher == "model" else None
    optimizer = torch.optim.AdamW(
        [p for p in student.model.parameters() if p.requires_grad],
        lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), weight_decay=recipe.weight_decay,
    )  # fmt: skip
    wrapped, optimizer = accelerator.prepare(student.wrapped, optimizer)
    student = replace(student, wrapped=wrapped)
    precision = _precision(accelerator)
    first_prompts = [(p.student, p.text) for p in pairs.step(0)[:1]]
    teacher_prompts = [(p.teacher, p.text) for p in pairs.probe(2)]
    check = find_forward_mode(student, [*first_prompts, *teacher_prompts], recipe, precision)
    student = student.with_mode(check.mode)
    agreement = f"teacher forcing agrees with generation to {check.difference:.1e} nats"
    job.say(f"self-check: {agreement}; forward mode: {check.mode}")
    for text in check.refused:
        job.say(f"self-check: refused forward mode: {text}")
    if external_teacher:
        mode = find_forward_mode(external_teacher, teacher_prompts, recipe, precision).mode
        external_teacher = external_teacher.with_mode(mode)
    sampler: Sampler = TransformersSampler(
        check.expand_rollouts, accelerator.distributed_type == "FSDP", check.rollout_mode
    )
    if recipe.use_vllm:
        job.say("starting vLLM for the rollouts")
        vllm = vllm_rollouts.start(
            job.model, recipe, precision, job.revision, job.trust_remote_code, accelerator.num_processes
        )
        prompts = [*first_prompts, *((p.student, p.text) for p in pairs.probe(2))]
        difference = check_vllm(student, vllm, prompts, recipe, precision)
        job.say(f"self-check: vLLM's log-probabilities agree with the trainer's to {difference:.1e} nats")
        sampler = replace(vllm, info={**vllm.info, "difference": difference})
    teacher = Teacher(recipe, student, external_teacher)
    setup = loop.TrainingSetup(recipe, pairs, accelerator, student, teacher, optimizer, job.folder, sampler)
    return setup, check


def finish(accelerator: Any) -> None:
    """Stop what the processes share; the last call of every process."""
    vllm_rollouts.stop_sharing()
    accelerator.end_training()


def _precision(accelerator: Any) -> str:
    """The precision that the self-checks expect."""
    return "bfloat16" if accelerator.mixed_precision == "bf16" else "float32"


def _load(job: Job, accelerator: Any, trained: bool = True) -> models.Loaded:
    """The job's model on this process's device."""
    half_precision = accelerator.mixed_precision == "bf16" and (job.recipe.lora or not trained)
    return models.load(
        job.model,
        dtype="bfloat16" if half_precision else "float32",
        device=str(accelerator.device),
        attn_implementation=job.recipe.attn_implementation,
        revision=job.revision,
        trust_remote_code=job.trust_remote_code,
    )


def _load_external_teacher(job: Job, accelerator: Any) -> ModelRole:
    # With this setting only the first process would load the weights.
    efficient_loading = os.environ.pop("FSDP_CPU_RAM_EFFICIENT_LOADING", None)
    try:
        loaded = _load(replace(job, model=job.recipe.teacher_model, revision=None), accelerator, trained=False)
    finally:
        if efficient_loading is not None:
            os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = efficient_loading
    return make_role(loaded, job.recipe, trained=False)


@contextmanager
def _watching(
    job: Job, lines: list[Mapping[str, Any]], before: Mapping[str, float | None]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Progress and warnings, each kind once; an interrupt takes effect between two steps. `lines` are the log's.

    Raises ModelError where both views collapse from what they were `before` (empty: nobody looks).
    """
    warned: set[str] = set()
    bar = progress(job.recipe.steps, len(lines), "training", job.quiet, "steps")
    with bar as advance, remember_interrupt() as check:

        def watch(line: Mapping[str, Any]) -> None:
            lines.append(line)
            advance("")
            for kind, text in warnings(lines).items():
                if kind not in warned:
                    warned.add(kind)
                    job.say(f"step {line['step']}: {text}")
            if reason := collapse(before, lines):
                raise ModelError(f"Step {line['step']}: {reason}")
            check()

        yield watch
