"""Resuming a training, and refusing to mix it with another.

    earlier = continue_or_refuse(folder, details, recipe, resume=True)     # {} for a new training

Everything that decides the weights must be unchanged: the model, the data and the recipe, except the settings that say
`MAY_CHANGE` in `Recipe`. The error names the first difference.

Limits: a Hub model without `revision` is identified by its name alone.
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
    "without_evidence": "this number of samples without evidence:", "fingerprint": "samples with the fingerprint",
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

    fixed = [key for key, field in recipes.Recipe.model_fields.items() if recipes.MAY_CHANGE not in field.metadata]
    compared = [(key, getattr(old, key), getattr(settings, key)) for key in fixed]
    trained = earlier.get("training", {}).get("steps", 0)
    compared += [("steps", trained, settings.steps)] if trained > settings.steps else []
    before, now = _identity(earlier), _identity(details)
    compared += [(IN_WORDS.get(key, key), before.get(key), now.get(key)) for key in before | now]
    for name, then, value in compared:
        if then != value:
            raise mixed(folder, Difference(name, then, value), "Steps")
    return earlier


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
    earliest = {"protocol": NEUTRAL}  # before there were others, a training did not record it
    return {**{name: details.get(name) for name in names}, **earliest, **details["data"]}
