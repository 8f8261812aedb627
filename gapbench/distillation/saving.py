"""The trained model as a folder that `from_pretrained`, vLLM and `gapbench measure` can load.

    save_model(accelerator, student, recipe, "glance", out / "model", generation_config, None, False)

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

from gapbench.distillation import checkpoints
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.student import ModelRole
from gapbench.engines import models
from gapbench.errors import RunError
from gapbench.util.text import first_line


def save_model(
    accelerator: Any, student: ModelRole, recipe: Recipe, source: str, folder: Path, generation: Any,
    revision: str | None, trust_remote_code: bool,
) -> None:  # fmt: skip
    """Write the trained model as a folder in the Hub's format.

    Adapters are merged into the weights and also saved by themselves in `adapter/`, beside the model. Raises RunError
    if the folder cannot be written; the last checkpoint is complete in that case.
    """
    state = accelerator.get_state_dict(student.wrapped)  # gathers shards, so every process must call it
    if accelerator.is_main_process:
        draft = folder.with_name(f".{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            _write_model(draft, student.model, recipe, state, models.resolve(source), generation,
                         {"revision": revision, "trust_remote_code": trust_remote_code})  # fmt: skip
        except checkpoints.WRITE_ERRORS as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise RunError(
                f"{folder}: the model could not be written ({first_line(error)}). Its weights are in "
                f"{checkpoints.newest(folder.parent / 'checkpoints')}. Free space on the disk, then run the same "
                "command with --resume."
            ) from error
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    accelerator.wait_for_everyone()


def _write_model(
    draft: Path, model: Any, recipe: Recipe, state: Mapping[str, Tensor], source: str, generation: Any,
    options: Mapping[str, Any],
) -> None:  # fmt: skip
    from transformers import AutoConfig, AutoProcessor, GenerationConfig

    if recipe.lora:
        model.save_pretrained(draft.parent / "adapter")
        model = model.merge_and_unload()
        state = model.state_dict()
    else:
        state = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    published = AutoConfig.from_pretrained(source, **options)
    dtypes = (getattr(config, "dtype", None) for config in (published, published.get_text_config()))
    dtype = next((d for d in dtypes if isinstance(d, torch.dtype)), torch.float32)
    tied = getattr(
        model, "all_tied_weights_keys", {}
    )  # tied weights are copies after conversion and would be saved twice
    state = {name: t.to("cpu", dtype if t.is_floating_point() else t.dtype)
             for name, t in state.items() if name not in tied}  # fmt: skip
    model.generation_config = GenerationConfig()  # transformers refuses to save a published one that contradicts itself
    model.save_pretrained(draft, state_dict=state, safe_serialization=True)
    generation.to_json_file(draft / "generation_config.json")
    published.save_pretrained(
        draft
    )  # overwrites the training dtype that save_pretrained wrote for every part of the model
    AutoProcessor.from_pretrained(source, **options).save_pretrained(draft)
    defaults = Path(source) / "gapbench.json"
    if defaults.is_file():
        shutil.copy(defaults, draft / defaults.name)
