"""The settings of a run, as groups of names and values for the section "Reproduce".

    groups(manifest)     (Group('Run', (('model', 'gap-tiny'), …)), Group('Versions', (('torch', '2.9.0'), …)))

Works for any `run.json`: known keys come first, unknown keys follow, and nested values get dotted names.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gapbench.util.text import MISSING, clip

FIRST = ("model", "revision", "model_hash", "views", "protocol", "region", "regions", "pixels", "seeds", "prompt",
         "generation", "benchmarks", "versions", "hardware")  # fmt: skip
ELSEWHERE = ("command", "repairs")
"""Keys that the report shows elsewhere."""
VALUE_LIMIT = 4_000
ROW_LIMIT = 200


@dataclass(frozen=True)
class Group:
    """A titled list of (name, value); `left_out` counts the entries beyond the row limit."""

    title: str
    rows: tuple[tuple[str, str], ...]
    left_out: int = 0


def command_line(manifest: Mapping[str, Any]) -> str:
    """The shell command that made the run; empty if it is unknown."""
    command = manifest.get("command") or ""
    return clip(shlex.join(map(str, command)) if isinstance(command, list | tuple) else command, VALUE_LIMIT)


def groups(manifest: Mapping[str, Any]) -> tuple[Group, ...]:
    """A first group for scalars and lists, then one group for every mapping and one for every benchmark."""
    keys = [key for key in FIRST if key in manifest] + [key for key in manifest if key not in (*FIRST, *ELSEWHERE)]
    plain = {key: manifest[key] for key in keys if not isinstance(manifest[key], Mapping)}
    result = [_group("Run", plain)] if plain else []
    for key in keys:
        value = manifest[key]
        if key == "benchmarks" and isinstance(value, Mapping):
            for name, entry in value.items():
                result.append(_group(f"Benchmark {name}", entry if isinstance(entry, Mapping) else {"value": entry}))
        elif isinstance(value, Mapping):
            result.append(_group(str(key).capitalize(), value))
    return tuple(result)


def _group(title: str, values: Mapping[str, Any]) -> Group:
    rows = tuple(_flatten("", values))
    return Group(clip(title, 120), rows[:ROW_LIMIT], max(0, len(rows) - ROW_LIMIT))


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping | list | tuple) for inner in value):
        for index, inner in enumerate(value):
            yield from _flatten(f"{prefix}[{index}]", inner)
    else:
        yield clip(prefix or "value", 120), _scalar(value)


def _scalar(value: Any) -> str:
    if value is None or value in ("", [], (), {}):
        return MISSING
    if isinstance(value, list | tuple):
        return clip(", ".join(_scalar(inner) for inner in value), VALUE_LIMIT)
    return clip(value if isinstance(value, str) else json.dumps(value, default=str), VALUE_LIMIT)
