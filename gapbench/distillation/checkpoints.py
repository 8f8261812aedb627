"""Checkpoints: everything a training needs to continue as if it had never stopped.

    save(folder, step, accelerator, teacher, state, keep=1)
    state = restore(newest(folder), accelerator, teacher)

`checkpoints/step-N` holds the weights, the optimizer and the random states (saved by accelerate), the teacher's weights
and `state.json`. A checkpoint, like the trained model, is written under a draft name and renamed when it is complete.
Older ones are removed only after that, so a full disk or a kill leaves the previous checkpoint untouched.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gapbench.distillation.teachers import Teacher
from gapbench.errors import RunError
from gapbench.util.files import write_json
from gapbench.util.text import first_line

WRITE_ERRORS = (OSError, RuntimeError, SafetensorError)
"""The errors that a full disk can raise: torch and safetensors have their own types."""


def save(folder: Path, step: int, accelerator: Any, teacher: Teacher, state: Mapping[str, Any], keep: int) -> None:
    """Write the checkpoint after `step` steps and keep the newest `keep`. Raises RunError if it cannot be written."""
    with replacing_folder(folder / f"step-{step}", accelerator, folder) as draft:
        accelerator.save_state(str(draft))
        teacher.save(draft, accelerator.process_index)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            write_json(draft / "state.json", {"step": step, **state})
    prune(folder, accelerator, keep)


def prune(folder: Path, accelerator: Any, keep: int) -> None:
    """Keep the newest `keep` checkpoints. A resumed training does so too: a kill may have come before it."""
    if accelerator.is_main_process:
        for old in _checkpoints_in(folder)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


@contextmanager
def replacing_folder(folder: Path, accelerator: Any, checkpoints: Path) -> Iterator[Path]:
    """Yield a draft for all processes to write, which then replaces `folder`; its last file is the first process's.

    A kill leaves the old folder, none or the new one, never a part. Raises RunError, which names the newest of the
    `checkpoints`, if the folder cannot be written.
    """
    draft, outdated = (folder.with_name(f".{folder.name}.{kind}") for kind in ("draft", "outdated"))
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
            f"{folder} could not be written ({first_line(error)}). "
            f"{f'{previous} is whole' if previous else 'There is no earlier checkpoint'}. Free space on the disk, "
            "then run the same command with --resume."
        ) from error


def newest(folder: Path) -> Path | None:
    """The checkpoint with the most steps, or None."""
    return next(reversed(_checkpoints_in(folder)), None)


def restore(checkpoint: Path, accelerator: Any, teacher: Teacher) -> dict[str, Any]:
    """Load weights, optimizer and teacher, and return the content of `state.json`. Raises RunError."""
    try:
        state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        accelerator.load_state(str(checkpoint))
        teacher.load(checkpoint, accelerator.process_index)
    except Exception as error:  # each file format raises its own error for a truncated file
        raise RunError(
            f"{checkpoint}: cannot be read ({first_line(error)}). Remove it to resume from the previous "
            "checkpoint, or start again in another --out."
        ) from error
    return state


def _checkpoints_in(folder: Path) -> list[Path]:
    checkpoints = [p for p in folder.glob("step-*") if re.fullmatch(r"step-\d+", p.name)]
    return sorted(checkpoints, key=lambda p: int(p.name[5:]))
