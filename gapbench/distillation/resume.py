"""What a training is resumed from, and the refusal to mix it with another.

    earlier = continue_or_refuse(folder, asked, recipe, resume=True)     # {} for a new training

Everything that decides the weights must be as it was: the recipe but for `MAY_DIFFER`, the model and the data. The
first difference is named.

Limits: a Hub model without `revision` counts by its name alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gapbench.distillation import recipe as recipes
from gapbench.errors import RunError, SettingError

MAY_DIFFER = frozenset({"steps", "save_every", "keep_checkpoints", "trackers", "probe_every", "contamination"})
"""Settings that a resumed training may change (`contamination` if it drops the same questions)."""


def continue_or_refuse(
    folder: Path, asked: Mapping[str, Any], settings: recipes.Recipe, resume: bool
) -> dict[str, Any]:
    """What `distill.json` says of the training that is resumed; nothing for a new one.

    Refuses to write over a training or a model, or to go on with another training than was started.
    """
    if not any((folder / name).exists() for name in ("train.jsonl", "checkpoints", "model")):
        return {}
    if not resume:
        raise RunError(
            f"{folder}: there is a training or a model already. Go on with it by --resume, or choose another --out."
        )
    try:
        old = recipes.load(folder / "recipe.yaml").model_dump()
        earlier: dict[str, Any] = json.loads((folder / "distill.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, SettingError) as error:
        raise RunError(f"{folder}: no training that can be resumed ({error}). Choose another --out.") from error

    def refuse(what: str, was: Any, now: Any) -> RunError:
        return RunError(
            f"{folder}: this training was started with {what} {was!r}, and now it is {now!r}. Resume with the same "
            "settings, model and data, or choose another --out."
        )

    for key, value in settings.model_dump().items():
        if old.get(key) != value and key not in MAY_DIFFER:
            raise refuse(key, old.get(key), value)
    trained = earlier.get("training", {}).get("steps", 0)
    if trained > settings.steps:
        raise refuse("steps", trained, settings.steps)
    was, now = _identity(earlier), _identity(asked)
    for what in was | now:
        if was.get(what) != now.get(what):
            raise refuse(what, was.get(what), now.get(what))
    return earlier


def refuse_other_drops(folder: Path, earlier: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """The order of the questions depends on which were dropped, so a resumed training must drop the same."""

    def dropped(of: Mapping[str, Any]) -> set[str]:
        found = of.get("contamination", {"policy": "keep", "shared": {}})
        return set(found["shared"]) if found["policy"] == "drop" else set()

    if earlier and dropped(earlier) != dropped(asked):
        raise RunError(
            f"{folder}: this training was started without {len(dropped(earlier))} questions whose images occur in "
            f"--eval, and now it would be without {len(dropped(asked))}. Resume with the same --eval, steps and "
            "contamination, or choose another --out."
        )


def _identity(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What decides which weights were trained on what: a folder counts by its content, a Hub model by its name."""
    names = ("sha256",) if "sha256" in asked else ("model", "revision")
    return {**{f"model ({n})": asked.get(n) for n in names}, **{f"data ({k})": v for k, v in asked["data"].items()}}
