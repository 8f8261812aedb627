"""Checkpoints: everything a training needs to continue as if it had never stopped.

    save(folder, step, accelerator, state, notes)
    notes = restore(newest(folder), accelerator, state)      # notes["step"] steps are done

`checkpoints/step-N` holds what is trained and nothing else: the trained weights, the optimizer's averages and the
teacher's weights, saved under the names of the weights by torch.distributed.checkpoint, and `state.json`. So an adapter
is saved without its base, and a training may continue on another number of processes, sharded or not.
No random state is kept: the draws are a function of seed and step, and nothing else in a training is random.

A checkpoint, like the trained model, is written under a draft name and renamed when it is complete. Older ones are
renamed before they are removed, and only after that. So a full disk or a kill leaves the previous checkpoint untouched,
and what is named `step-N` is whole and of step N.

Limits: a damage that leaves the length of a file unchanged is not noticed.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors

from gapbench.distillation.teachers import Teacher
from gapbench.errors import RunError
from gapbench.util.files import write_json
from gapbench.util.text import error_line, first_line

WRITE_ERRORS = (OSError, RuntimeError, SafetensorError, CheckpointException)
"""The errors that a full disk can raise: torch and safetensors have their own types."""


@dataclass(frozen=True)
class TrainingState:
    """What changes during a training: the optimizer's averages and the weights of student and teacher."""

    teacher: Teacher
    optimizer: Any

    def tensors(self, saved: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """The state by name, sharing memory with the training: writing to a tensor changes the training.

        `saved` has the names of a checkpoint. The averages that it names are made if the optimizer has none yet.
        """
        self.teacher.reshard()  # until then FSDP shows gathered weights in the places of the shards
        names = {id(p): name for name, p in self.teacher.student.model.named_parameters()}
        fused = self.optimizer.param_groups[0].get("fused")  # then the step counts lie beside the weights
        tensors = {}
        for param in self.teacher.params:
            name, averages = names[id(param)], self.optimizer.state[param]
            tensors[f"student/{name}"] = param.detach()
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if key not in averages and f"optimizer/{name}/{key}" in (saved or {}):
                    count = torch.zeros((), device=param.device if fused else "cpu")
                    averages[key] = count if key == "step" else torch.zeros_like(param)
                if key in averages:
                    tensors[f"optimizer/{name}/{key}"] = averages[key]
        for average, param in self.teacher.pairs:
            tensors[f"teacher/{names[id(param)]}"] = average
        return tensors


STATE = "state.json"
"""The file of a checkpoint that says which step it is of."""


def save(folder: Path, step: int, accelerator: Any, state: TrainingState, notes: Mapping[str, Any]) -> None:
    """Write the checkpoint after `step` steps. Raises RunError if it cannot be written."""
    with replacing_folder(folder / f"step-{step}", accelerator, folder) as draft:
        with _without_warning():
            save_tensors(state.tensors(), checkpoint_id=draft, no_dist=accelerator.num_processes == 1)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            write_json(draft / STATE, {"step": step, **launch(accelerator), **notes})


def launch(accelerator: Any) -> dict[str, Any]:
    """How the training was started: number of processes, how they share the work, precision."""
    return {
        "processes": accelerator.num_processes,
        "distributed": str(accelerator.distributed_type.value),
        "precision": str(accelerator.mixed_precision),
    }


def prune(folder: Path, accelerator: Any, newest: int, chosen: int | None = None) -> None:
    """Remove all checkpoints but the `newest`, so many of them, and that of the step `chosen` by validation, if any.

    A resumed training does so too: a kill may have come before it.
    """
    if accelerator.is_main_process:
        for old in _checkpoints_in(folder)[:-newest]:
            if step_of(old) != chosen:
                old.rename(_outdated(old))  # a kill while it is removed leaves no part under its name
        for left in folder.glob(".step-*"):
            shutil.rmtree(left, ignore_errors=True)
    accelerator.wait_for_everyone()


@contextmanager
def replacing_folder(folder: Path, accelerator: Any, checkpoints: Path) -> Iterator[Path]:
    """Yield a draft for all processes to write, which then replaces `folder`; its last file is the first process's.

    A kill leaves the old folder, none or the new one, never a part. Raises RunError, which names the newest of the
    `checkpoints`, if the folder cannot be written.
    """
    draft, outdated = folder.with_name(f".{folder.name}.draft"), _outdated(folder)
    first = accelerator.is_main_process
    try:
        if first:
            for left_by_a_kill in (draft, outdated):
                shutil.rmtree(left_by_a_kill, ignore_errors=True)
            draft.mkdir(parents=True)
        accelerator.wait_for_everyone()
        yield draft
        if first:
            if folder.exists():
                folder.rename(outdated)
            draft.rename(folder)
            shutil.rmtree(outdated, ignore_errors=True)
    except WRITE_ERRORS as error:
        if first:
            shutil.rmtree(draft, ignore_errors=True)
        previous = newest(checkpoints)
        raise RunError(
            f"{folder} could not be written ({first_line(_cause(error))}). "
            f"{f'{previous} is whole' if previous else 'There is no earlier checkpoint'}. Free space on the disk, "
            "then run the same command with --resume."
        ) from error


def newest(folder: Path) -> Path | None:
    """The checkpoint with the most steps, or None."""
    return next(reversed(_checkpoints_in(folder)), None)


def restore(checkpoint: Path, accelerator: Any, state: TrainingState) -> dict[str, Any]:
    """Load what `save` wrote, on any number of processes, and return the content of `state.json`. Raises RunError.

    Another number of processes, or another sharding, changes numbers by rounding alone.
    """
    notes = read_notes(checkpoint)
    try:
        saved = FileSystemReader(checkpoint).read_metadata().state_dict_metadata
        with _without_warning():
            load_tensors(state.tensors(saved), checkpoint_id=checkpoint, no_dist=accelerator.num_processes == 1)
    except (Exception, CheckpointException) as error:  # a file that is cut off, a name that is missing, short memory
        raise _unreadable(checkpoint, error) from error
    state.teacher.reshard()
    return notes


def step_of(checkpoint: Path) -> int:
    """The number of steps after which a checkpoint was written, from its name."""
    return int(checkpoint.name.removeprefix("step-"))


def read_notes(checkpoint: Path) -> dict[str, Any]:
    """The content of a checkpoint's `state.json`. Raises RunError if it cannot be read or is of another step."""
    try:
        notes: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        if step_of(checkpoint) != notes["step"]:
            raise ValueError(f"its {STATE} says step {notes['step']}")
        if "precision" not in notes:
            raise ValueError("it was written by an earlier version of gapbench")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _unreadable(checkpoint, error) from error
    return notes


def _unreadable(checkpoint: Path, error: BaseException) -> RunError:
    """The remedies keep the checkpoint: memory, permissions or a version may be at fault."""
    earlier = _checkpoints_in(checkpoint.parent)
    earlier = earlier[: earlier.index(checkpoint)] if checkpoint in earlier else []
    aside = f"move it to another folder, and --resume goes on from {earlier[-1].name}; or " if earlier else ""
    return RunError(
        f"{checkpoint}: cannot be read ({error_line(_cause(error))}). If memory is short or a disk is missing, resume "
        f"when that is mended. Otherwise {aside}start again in another --out."
    )


@contextmanager
def _without_warning() -> Iterator[None]:
    """Torch warns that a single process saves alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _cause(error: BaseException) -> BaseException:
    """The error of a process, of which torch raises a collection."""
    inner = error.failures if isinstance(error, CheckpointException) else {}
    return next(iter(inner.values()))[0] if inner else error


def _outdated(folder: Path) -> Path:
    """The name of a folder while it is removed."""
    return folder.with_name(f".{folder.name}.outdated")


def _checkpoints_in(folder: Path) -> list[Path]:
    checkpoints = [p for p in folder.glob("step-*") if re.fullmatch(r"step-\d+", p.name)]
    return sorted(checkpoints, key=step_of)
