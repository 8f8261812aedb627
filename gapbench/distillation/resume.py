"""Resuming a training, and refusing to mix it with another.

    earlier = continue_or_refuse(folder, details, recipe, resume=True)     # {} for a new training
    session |= changes(folder, recipe, notes, launch(accelerator))         # what differs from then on, and the step

Everything that decides the weights must be unchanged: the model, the data and the recipe, except the settings that say
`MAY_CHANGE` in `Recipe`. The error names the first difference. What may change is how the work is cut up: memory and
speed settings, the number of processes, and sharding. It changes numbers by rounding alone.

Limits: a sampled answer is the same after a change unless two tokens were equal up to rounding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gapbench.distillation import recipe as recipes
from gapbench.errors import RunError, SettingError
from gapbench.runs.manifest import Difference, mixed
from gapbench.views.prompts import NEUTRAL

IN_WORDS = {
    "model": "model", "revision": "revision of the model", "sha256": "model files with the SHA-256",
    "name": "data named", "parameters": "data with the parameters", "samples": "this number of samples:",
    "validation": "this number of samples held out for validation:",
    "without_evidence": "this number of samples without evidence:", "fingerprint": "samples with the fingerprint",
    "regions": "--regions with the SHA-256",
    "protocol": "prompts of the protocol",
}  # fmt: skip
"""How the entries of `distill.json` that identify model and data are named in a message."""


def continue_or_refuse(
    folder: Path, details: Mapping[str, Any], settings: recipes.Recipe, resume: bool
) -> dict[str, Any]:
    """The content of `distill.json` of the training to resume; empty for a new training.

    Raises RunError if the folder holds a training or a model and `resume` is false, or if the earlier training had
    another model, other data or other settings.
    """
    if not any((folder / name).exists() for name in ("train.jsonl", "checkpoints", "model")):
        return {}
    if not resume:
        raise RunError(
            f"{folder}: there is a training or a model already. Continue it with --resume, or choose another --out."
        )
    try:
        old = recipes.load(folder / "recipe.yaml")
        earlier: dict[str, Any] = json.loads((folder / "distill.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, SettingError) as error:
        raise RunError(f"{folder}: no training that can be resumed ({error}). Choose another --out.") from error

    if old.steps != settings.steps and settings.schedule != "constant":
        raise RunError(
            f"{folder}: it was started with steps {old.steps}, and now it is {settings.steps}. With "
            f"schedule={settings.schedule} the learning rate of every step depends on their number, so the steps so "
            f"far belong to another training. Resume with steps={old.steps}; or train anew in another --out, with the "
            "steps that you want, or with schedule=constant, which allows more later."
        )
    fixed = [key for key, field in recipes.Recipe.model_fields.items() if recipes.MAY_CHANGE not in field.metadata]
    compared = [(key, getattr(old, key), getattr(settings, key)) for key in fixed]
    trained = earlier.get("training", {}).get("steps", 0)
    compared += [("steps", trained, settings.steps)] if trained > settings.steps else []
    before, now = _identity(earlier), _identity(details)
    if before.get("revision") == "unknown":  # none was asked for; the checkpoint says which commit it came to
        now["revision"] = "unknown"
    compared += [(IN_WORDS.get(key, key), before.get(key), now.get(key)) for key in before | now]
    for name, then, value in compared:
        if then != value:
            raise mixed(folder, Difference(name, then, value), "Steps")
    return earlier


def changes(
    folder: Path, settings: recipes.Recipe, notes: Mapping[str, Any], launch: Mapping[str, Any]
) -> dict[str, Any]:
    """The entries of a resumed session: the step `after_step` which it begins, and what is `changed`, [before, now].

    `notes` are those of the newest checkpoint, its step alone if the training is finished, empty if there is none;
    `launch` says how this session was started. Raises RunError if the checkpoint is of another precision, or of a later
    step than the last one of `settings`.
    """
    if notes.get("step", 0) > settings.steps:
        raise RunError(
            f"{folder}: {notes['step']} steps are trained, and now it is steps={settings.steps}. Set steps to "
            f"{notes['step']} or more, or choose another --out."
        )
    if notes.get("precision", launch["precision"]) != launch["precision"]:
        raise RunError(
            f"{folder}: it was trained with precision={notes['precision']}, and here it would be "
            f"precision={launch['precision']}. Set precision={notes['precision']}, or choose another --out."
        )
    old, new = recipes.load(folder / "recipe.yaml").model_dump(mode="json"), settings.model_dump(mode="json")
    changed = {key: [old[key], value] for key, value in new.items() if old[key] != value}
    changed |= {key: [notes[key], value] for key, value in launch.items() if notes.get(key, value) != value}
    return {"after_step": notes.get("step", 0), "changed": changed}


def changed_in_words(session: Mapping[str, Any]) -> str:
    """What a session changed: `micro_batch_tokens 9216 -> 4096, processes 2 -> 1`."""
    return ", ".join(f"{key} {before} -> {now}" for key, (before, now) in session.get("changed", {}).items())


def refuse_other_drops(folder: Path, earlier: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    """Raise RunError if a resumed training would drop other samples than before.

    The order of the samples depends on which of them were dropped.
    """

    def dropped(entry: Mapping[str, Any]) -> set[str]:
        contamination = entry.get("contamination", {"policy": "keep", "shared": {}})
        return set(contamination["shared"]) if contamination["policy"] == "drop" else set()

    if earlier and dropped(earlier) != dropped(details):
        raise RunError(
            f"{folder}: this training was started without {len(dropped(earlier))} samples whose images occur in "
            f"--eval, and now it would be without {len(dropped(details))}. Resume with the same --eval, steps and "
            "contamination, or choose another --out."
        )


def _identity(details: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies model and data: a local folder by its content, a Hub model by its name and revision."""
    names = ("sha256",) if "sha256" in details else ("model", "revision")
    regions = {"regions": (details.get("regions") or {}).get("sha256")}
    earliest = {"protocol": NEUTRAL}  # before there were others, a training did not record it
    return {**{name: details.get(name) for name in names}, **regions, **earliest, **details["data"]}
