"""Checkpoints: everything a run needs to go on as if it had never stopped.

    save(folder, step, accelerator, teacher, state, keep=1)
    step, state = restore(newest(folder), accelerator, teacher)

`checkpoints/step-N` holds weights, optimizer and random states (by accelerate), the teacher's weights, and
`state.json`. It is written under another name and renamed when it is whole, and older ones go only then, so that a
full disk or a kill leaves the one before untouched.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gapbench.distillation.teachers import Teacher
from gapbench.errors import RunError
from gapbench.util.files import write_json
from gapbench.util.text import first_line

WRITING = (OSError, RuntimeError, SafetensorError)
"""How a full disk shows: torch and safetensors have errors of their own for it."""


def save(folder: Path, step: int, accelerator: Any, teacher: Teacher, state: Mapping[str, Any], keep: int) -> Path:
    """Write the checkpoint after `step` steps and keep the newest `keep`. Raises RunError if it cannot be written."""
    whole = folder / f"step-{step}"
    draft = folder / f".step-{step}.draft"
    error: Exception | None = None
    try:
        if accelerator.is_main_process:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(draft))
        teacher.save(draft, accelerator.process_index)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            write_json(draft / "state.json", {"step": step, **state})
            shutil.rmtree(whole, ignore_errors=True)
            draft.rename(whole)
    except WRITING as caught:
        error = caught
    if error is not None:
        if accelerator.is_main_process:
            shutil.rmtree(draft, ignore_errors=True)
        before = newest(folder)
        raise RunError(
            f"{whole}: the checkpoint could not be written ({first_line(error)}). "
            f"{f'{before.name} is whole' if before else 'There is none before it'}. Free space on the disk, then run "
            "the same command with --resume."
        ) from error
    if accelerator.is_main_process:
        for old in _all(folder)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    return whole


def newest(folder: Path) -> Path | None:
    """The checkpoint of the most steps, or None."""
    found = _all(folder)
    return found[-1] if found else None


def restore(checkpoint: Path, accelerator: Any, teacher: Teacher) -> dict[str, Any]:
    """Load weights, optimizer and teacher; returns what `state.json` holds. Raises RunError."""
    try:
        state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        accelerator.load_state(str(checkpoint))
        teacher.load(checkpoint, accelerator.process_index)
    except Exception as error:  # every format in it has its own error for a file that ends too early
        raise RunError(
            f"{checkpoint}: cannot be read ({first_line(error)}). Remove it to go on from the one before, or "
            "start anew in another --out."
        ) from error
    return state


def _all(folder: Path) -> list[Path]:
    found = [p for p in folder.glob("step-*") if re.fullmatch(r"step-\d+", p.name)]
    return sorted(found, key=lambda p: int(p.name[5:]))
