"""The trained model as a folder that `from_pretrained`, vLLM and `gapbench measure` take.

    save_model(accelerator, student, recipe, "glance", out / "model", generation_config, None, False)

It is the source's folder with other weights: same names and dtype, configuration, processor, chat template and
`gapbench.json`. It is written under another name and renamed when it is whole.

Limits: one dtype for all weights, that of the source's configuration.
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
    """A normal Hub-format folder: the source's with other weights, in its dtype, and with its `gapbench.json`.

    Adapters are merged into the weights, and kept apart as well (`adapter/` beside the model). Raises RunError if it
    cannot be written; the last checkpoint is whole then.
    """
    state = accelerator.get_state_dict(student.inside)  # gathers what is sharded, so all processes take part
    if accelerator.is_main_process:
        draft = folder.with_name(f".{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            _write_model(draft, student.model, recipe, state, models.resolve(source), generation,
                         {"revision": revision, "trust_remote_code": trust_remote_code})  # fmt: skip
        except checkpoints.WRITING as error:
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
    draft: Path, whole: Any, recipe: Recipe, state: Mapping[str, Tensor], source: str, generation: Any,
    options: Mapping[str, Any],
) -> None:  # fmt: skip
    from transformers import AutoConfig, AutoProcessor, GenerationConfig

    if recipe.lora:
        whole.save_pretrained(draft.parent / "adapter")
        whole = whole.merge_and_unload()
        state = whole.state_dict()
    else:
        state = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    published = AutoConfig.from_pretrained(source, **options)
    named = (getattr(config, "dtype", None) for config in (published, published.get_text_config()))
    dtype = next((found for found in named if isinstance(found, torch.dtype)), torch.float32)
    tied = getattr(whole, "all_tied_weights_keys", {})  # converted copies would be saved a second time
    state = {name: t.to("cpu", dtype if t.is_floating_point() else t.dtype)
             for name, t in state.items() if name not in tied}  # fmt: skip
    whole.generation_config = GenerationConfig()  # a published one that contradicts itself would not be saved
    whole.save_pretrained(draft, state_dict=state, safe_serialization=True)
    generation.to_json_file(draft / "generation_config.json")
    published.save_pretrained(draft)  # save_pretrained wrote the dtype of training, for all parts of the model
    AutoProcessor.from_pretrained(source, **options).save_pretrained(draft)
    wishes = Path(source) / "gapbench.json"
    if wishes.is_file():
        shutil.copy(wishes, draft / wishes.name)
