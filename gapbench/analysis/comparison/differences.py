"""The settings in which compared runs differ.

    differences(runs)                         # [{"setting": "pixels.max_pixels", "values": [None, 1003520]}]

The model, its weights, the time, the hardware and the number of samples are not settings.
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
    """Every setting of a run: its dotted name in the manifest, and its value. A list is one value."""
    return {".".join(path): value for path, value in _leaves((), run.manifest) if _is_setting(path)}


def differences(runs: Sequence[LoadedRun]) -> list[dict[str, Any]]:
    """Every setting in which the runs differ, with one value per run; None if a run has no value.

    A benchmark's setting is compared only between the runs that measured the benchmark.
    """
    settings_by_run = [settings_of(run) for run in runs]
    names = list(dict.fromkeys(name for settings in settings_by_run for name in settings))
    differing = []
    for name in names:
        values = [settings.get(name) for settings in settings_by_run]
        comparable = [value for value, run in zip(values, runs, strict=True) if _applies(name, run)]
        if any(_key(value) != _key(comparable[0]) for value in comparable):
            differing.append({"setting": name, "values": values})
    return differing


def setting_alerts(runs: Sequence[LoadedRun]) -> list[Alert]:
    """One alert for each differing setting, and one for all versions together."""
    values_by_setting = {entry["setting"]: entry["values"] for entry in differences(runs)}
    alerts = []
    for name, values in values_by_setting.items():
        if not name.startswith("versions."):
            benchmark, setting = _split(name)
            text = f"The setting {setting} differs: {_by_run(values, runs)}. A difference may come from it."
            alerts.append({"benchmark": benchmark, "text": text})
    versions = [name.removeprefix("versions.") for name in values_by_setting if name.startswith("versions.")]
    if versions:
        alerts.append({"benchmark": "", "text": f"Versions differ: {', '.join(versions)}. See the settings."})
    return alerts


def _by_run(values: Sequence[Any], runs: Sequence[LoadedRun]) -> str:
    return ", ".join(f"{_in_words(value)} in {run.label}" for value, run in zip(values, runs, strict=True))


def _in_words(value: Any) -> str:
    text = UNSET if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shorten(" ".join(text.split()), VALUE_LIMIT)


def _split(name: str) -> tuple[str, str]:
    """The benchmark (or "") and the setting of a dotted name.

    A benchmark's name may have dots, so the setting is recognised by its first part, which has none.
    """
    if not name.startswith("benchmarks."):
        return "", name
    rest = name.removeprefix("benchmarks.")
    for first_part in ("parameters", "region", "prompt", "views", "local_copy"):
        head, dot, tail = rest.rpartition(f".{first_part}")
        if dot and (not tail or tail.startswith(".")):
            return head, first_part + tail
    return "", name


def _applies(name: str, run: LoadedRun) -> bool:
    """Whether a run can have the setting: a benchmark's setting needs a run that measured the benchmark."""
    benchmark, _ = _split(name)
    return not benchmark or benchmark in (run.manifest.get("benchmarks") or {})


def _is_setting(path: tuple[str, ...]) -> bool:
    if path[0] == "benchmarks":
        return len(path) > 2 and path[2] not in NOT_SETTINGS_OF_A_BENCHMARK
    return path[0] not in NOT_SETTINGS


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, value) of everything that is no mapping. The region file and the judge are one value each."""
    if path == ("regions",) and isinstance(value, Mapping):
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
