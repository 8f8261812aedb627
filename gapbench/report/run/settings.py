"""The settings of a run, as groups of names and values for the section "Reproduce".

    groups(manifest)     [{'title': 'Run', 'rows': [('model', 'gap-tiny'), …], 'left_out': 0}, …]

Works for any `run.json`: keys come in its order, which is that of `gapbench.runs.manifest.Manifest`, and nested values
get dotted names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gapbench.util.text import MISSING, clip

ELSEWHERE = frozenset({"repairs", "sessions", "tasks"})
"""Keys that the report shows elsewhere, or in groups of their own."""
VALUE_LIMIT = 4_000
ROW_LIMIT = 200


def command_line(manifest: Mapping[str, Any]) -> str:
    """The shell command that made the run: that of the merge, or of the first session; empty if it is unknown."""
    first, *_ = manifest.get("sessions") or [{}]
    return clip(manifest.get("merged_by") or first.get("command") or "", VALUE_LIMIT)


def groups(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A first group for scalars and lists, then one for every mapping that is not empty, every task and every session.

    A group has a `title`, `rows` of (name, value), and `left_out`, the number of rows beyond the limit.
    """
    shown = {key: value for key, value in manifest.items() if key not in ELSEWHERE}
    plain = {key: value for key, value in shown.items() if not isinstance(value, Mapping)}
    result = [_group("Run", plain)] if plain else []
    result += [
        _group(str(key).capitalize(), value) for key, value in shown.items() if value and isinstance(value, Mapping)
    ]
    result += [_group(f"Benchmark {name}", _shown(task)) for name, task in (manifest.get("tasks") or {}).items()]
    for number, session in enumerate(sessions := manifest.get("sessions") or (), 1):
        result.append(_group("Session" if len(sessions) == 1 else f"Session {number}", session))
    return result


def _shown(task: Mapping[str, Any]) -> dict[str, Any]:
    """The task without the published scores of its card, which have tables of their own."""
    card = {key: value for key, value in (task.get("card") or {}).items() if key != "reference"}
    return {**task, "card": card} if card else {**task}


def _group(title: str, values: Mapping[str, Any]) -> dict[str, Any]:
    rows = [*_flatten("", values)]
    return {"title": clip(title, 120), "rows": rows[:ROW_LIMIT], "left_out": max(0, len(rows) - ROW_LIMIT)}


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
