"""In what the compared runs were asked differently.

    differences(runs)    [{"setting": "pixels.max_pixels", "values": [None, 1003520]}]

What a run is about (its model, its weights) and when, where and how far it was run are not settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gapbench.analysis.comparison.runs import Alert, LoadedRun
from gapbench.util.text import shorten

NOT_SETTINGS = frozenset(
    ("model", "revision", "sha256", "model_hash", "command", "sessions", "hardware", "repairs", "limit", "selfcheck",
     "base_urls", "servers", "concurrency", "tensor_parallel", "fingerprint")
)  # fmt: skip
NOT_SETTINGS_OF_A_BENCHMARK = frozenset(("samples", "fingerprint", "card"))
UNSET = "not set"
VALUE_LIMIT = 160


def settings_of(run: LoadedRun) -> dict[str, Any]:
    """Dotted name to value; lists are one value."""
    return {".".join(path): value for path, value in _leaves((), run.manifest) if _is_setting(path)}


def differences(runs: Sequence[LoadedRun]) -> list[dict[str, Any]]:
    """Every setting in which not all runs agree, with one value per run, None where a run has none.

    Settings of a benchmark count among the runs that measured it.
    """
    found = [settings_of(run) for run in runs]
    names = list(dict.fromkeys(name for settings in found for name in settings))
    differing = []
    for name in names:
        values = [settings.get(name) for settings in found]
        concerned = [value for value, run in zip(values, runs, strict=True) if _measured(run, name)]
        if any(_key(value) != _key(concerned[0]) for value in concerned):
            differing.append({"setting": name, "values": values})
    return differing


def setting_alerts(runs: Sequence[LoadedRun]) -> list[Alert]:
    """One warning for each differing setting, and one for all versions."""
    found = differences(runs)
    alerts = []
    for one in found:
        name = one["setting"]
        if not name.startswith("versions."):
            benchmark, what = _split(name)
            text = f"The setting {what} differs: {_against(one['values'], runs)}. A difference may come from it."
            alerts.append({"benchmark": benchmark, "text": text})
    versions = [one["setting"].removeprefix("versions.") for one in found if one["setting"].startswith("versions.")]
    if versions:
        alerts.append({"benchmark": "", "text": f"Versions differ: {', '.join(versions)}. See the settings."})
    return alerts


def _against(values: Sequence[Any], runs: Sequence[LoadedRun]) -> str:
    return ", ".join(f"{_shown(value)} in {run.label}" for value, run in zip(values, runs, strict=True))


def _shown(value: Any) -> str:
    text = UNSET if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shorten(" ".join(text.split()), VALUE_LIMIT)


def _split(name: str) -> tuple[str, str]:
    """A benchmark's name may hold dots, its settings' first name never does."""
    if not name.startswith("benchmarks."):
        return "", name
    rest = name.removeprefix("benchmarks.")
    for what in ("parameters", "region", "prompt", "views", "local_copy"):
        head, found, tail = rest.rpartition(f".{what}")
        if found and (not tail or tail.startswith(".")):
            return head, what + tail
    return "", name


def _measured(run: LoadedRun, name: str) -> bool:
    benchmark, _ = _split(name)
    return not benchmark or benchmark in (run.manifest.get("benchmarks") or {})


def _is_setting(path: tuple[str, ...]) -> bool:
    if path[0] == "benchmarks":
        return len(path) > 2 and path[2] not in NOT_SETTINGS_OF_A_BENCHMARK
    return path[0] not in NOT_SETTINGS


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if path == ("regions",) and isinstance(value, Mapping):  # one file, whatever `run.json` knows of it
        yield path, f"{value.get('file')}, sha256 {str(value.get('sha256'))[:12]}"
    elif path == ("judge",) and isinstance(value, Mapping):
        served = value.get("served_as") or value.get("model")
        yield path, f"{value.get('model')} (served as {served}), prompt {str(value.get('prompt_sha256'))[:12]}"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves((*path, str(key)), inner)
    elif path:
        yield path, value


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
