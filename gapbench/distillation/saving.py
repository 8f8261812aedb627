"""The trained model as a folder that `from_pretrained`, vLLM and `gapbench measure` can load.

    save_model(job, accelerator, student, generation_config)      # job.folder / "model"

The folder is the source's with other weights: it has the same names, dtype, configuration, processor, chat template and
`gapbench.json`. It is written under a draft name and renamed when it is complete.

Limits: all weights get one dtype, that of the source's configuration.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gapbench.distillation.checkpoints import replacing_folder
from gapbench.distillation.job import Job
from gapbench.distillation.student import ModelRole
from gapbench.engines import models


def save_model(job: Job, accelerator: Any, student: ModelRole, generation: Any) -> None:
    """Write the trained model as `model/`, a folder in the Hub's format, with the `generation` settings of its source.

    Adapters are merged into the weights and also saved by themselves in `adapter/`, beside the model. Raises RunError
    if a folder cannot be written; the last checkpoint is complete in that case.
    """
    checkpoints, model = job.folder / "checkpoints", student.model
    state = accelerator.get_state_dict(student.wrapped)  # gathers shards, so every process must call it
    state = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    if job.recipe.lora:
        with replacing_folder(job.folder / "adapter", accelerator, checkpoints) as draft:
            if accelerator.is_main_process:
                model.save_pretrained(draft)
                model = model.merge_and_unload()
                state = model.state_dict()
    with replacing_folder(job.folder / "model", accelerator, checkpoints) as draft:
        if accelerator.is_main_process:
            _write_model(draft, job, model, state, generation)
    accelerator.wait_for_everyone()


def _write_model(draft: Path, job: Job, model: Any, state: Mapping[str, Tensor], generation: Any) -> None:
    from transformers import AutoConfig, AutoProcessor, GenerationConfig

    source = models.resolve(job.model)
    options: dict[str, Any] = {"revision": job.revision, "trust_remote_code": job.trust_remote_code}
    published = AutoConfig.from_pretrained(source, **options)
    dtypes = (getattr(config, "dtype", None) for config in (published, published.get_text_config()))
    dtype = next((d for d in dtypes if isinstance(d, torch.dtype)), torch.float32)
    # Tied weights are copies after conversion and would be saved twice.
    tied = getattr(model, "all_tied_weights_keys", {})
    state = {name: t.to("cpu", dtype if t.is_floating_point() else t.dtype)
             for name, t in state.items() if name not in tied}  # fmt: skip
    model.generation_config = GenerationConfig()  # transformers refuses to save a published one that contradicts itself
    model.save_pretrained(draft, state_dict=state, safe_serialization=True)
    generation.to_json_file(draft / "generation_config.json")
    # Overwrites the training dtype that save_pretrained wrote for every part of the model.
    published.save_pretrained(draft)
    AutoProcessor.from_pretrained(source, **options).save_pretrained(draft)
    defaults = Path(source) / "gapbench.json"
    if defaults.is_file():
        shutil.copy(defaults, draft / defaults.name)
