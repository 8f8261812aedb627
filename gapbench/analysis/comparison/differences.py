"""The settings in which compared runs differ.

    differences(runs)                         # [{"setting": "pixels.max_pixels", "values": [None, 1003520]}]

The model, its weights, the time, the hardware and the number of samples are not settings. A run's manifest says which
of its fields are (`gapbench.runs.manifest.settings_of`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from gapbench.analysis.comparison.runs import Alert, LoadedRun
from gapbench.util.text import shorten

UNSET = "not set"
VALUE_LIMIT = 160


def differences(runs: Sequence[LoadedRun]) -> list[dict[str, Any]]:
    """Every setting in which the runs differ, with one value per run; None if a run has no value.

    A task's setting is compared only between the runs that have the task, a view's only between those that asked it.
    """
    return [{"setting": setting_name(task, name), "values": values} for task, name, values in _differing(runs)]


def setting_name(task: str, name: str) -> str:
    """The dotted name of a setting, with its task's if it is one of a task."""
    return f"tasks.{task}.{name}" if task else name


def value_text(value: Any) -> str:
    """A setting's value as text, of any length."""
    return UNSET if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def setting_alerts(runs: Sequence[LoadedRun]) -> list[Alert]:
    """One alert for each differing setting, and one for all versions together."""
    alerts, versions = [], []
    for task, name, values in _differing(runs):
        if name.startswith("versions."):
            versions.append(name.removeprefix("versions."))
            continue
        shown = [shorten(" ".join(value_text(value).split()), VALUE_LIMIT) for value in values]
        by_run = ", ".join(f"{value} in {run.label}" for value, run in zip(shown, runs, strict=True))
        text = f"The setting {name} differs: {by_run}. A difference may come from it."
        alerts.append({"benchmark": task, "text": text})
    if versions:
        alerts.append({"benchmark": "", "text": f"Versions differ: {', '.join(versions)}. See the settings."})
    return alerts


def _differing(runs: Sequence[LoadedRun]) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield (task or "", name, one value per run) for every setting that differs."""
    for task, name in dict.fromkeys(key for run in runs for key in run.settings):
        values = [run.settings.get((task, name)) for run in runs]
        able = [v for v, run in zip(values, runs, strict=True) if _applies(task, name, run)]
        if any(_key(value) != _key(able[0]) for value in able):
            yield task, name, values


def _applies(task: str, name: str, run: LoadedRun) -> bool:
    """Whether a run can have the setting: it needs the task, and the view if the setting is a view's."""
    if not task:
        return True
    entry = (run.manifest.get("tasks") or {}).get(task)
    if entry is None or not name.startswith("views."):
        return entry is not None
    return any(name.startswith(f"views.{view}.") for view in entry.get("views") or ())


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
