"""The steps of a training as `gapbench distill` logs them: `train.jsonl`, one JSON object per line.

    ranges(read_steps(Path("runs/x/train.jsonl")))["metrics"]["loss"]    # {"first": 0.31, "last": 0.02, …}

`contamination_of` reads from `distill.json`, which lies beside it, which training images are evaluated.

Any metric may be missing or null in any line. If a step was logged twice, as after a resume, its last line counts.
Lines that are no JSON, such as a torn last line, are skipped.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOG = "train.jsonl"
DETAILS = "distill.json"
METRICS = (
    "loss", "divergence", "validation_divergence", "validation_crop", "validation_accuracy", "ema_distance", "logp_gap",
    "entropy", "mean_length", "truncated", "tokens_per_second", "probe_confidence", "lr", "grad_norm",
)  # fmt: skip


def log_of(after: Path, out: Path) -> Path | None:
    """Path of the log beside the run `after`, else of the log in `out`, else None."""
    candidates = (folder / LOG for folder in (Path(os.path.abspath(after)).parent, out))
    return next((path for path in candidates if path.is_file()), None)


def read_steps(path: Path) -> list[dict[str, float | None]]:
    """One entry per step, in order: `step` and every metric, None if it is missing or no finite number."""
    steps: dict[float, dict[str, float | None]] = {}
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        step = _number(row.get("step")) if isinstance(row, dict) else None
        if step is not None:
            steps[step] = {"step": step, **{name: _number(row.get(name)) for name in METRICS}}
    return [steps[step] for step in sorted(steps)]


def region_file(log: Path) -> dict[str, Any] | None:
    """The region file whose boxes were trained on, as the `distill.json` beside the log identifies it; or None."""
    found = _details(log).get("regions")
    return found if isinstance(found, dict) else None


def contamination_of(log: Path) -> dict[str, Any] | None:
    """`policy`, `images` and `evaluations` of the entry `contamination` beside a log; None if it has no counts."""
    try:
        entry = _details(log)["contamination"]
        return {key: entry[key] for key in ("policy", "images", "evaluations")}
    except (KeyError, TypeError):
        return None


def _details(log: Path) -> dict[str, Any]:
    """The `distill.json` beside a log; empty if there is none that can be read."""
    try:
        found = json.loads((log.parent / DETAILS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def ranges(steps: Sequence[dict[str, float | None]]) -> dict[str, Any]:
    """`steps` (their number) and, for each metric that was logged, `first`, `last`, `lowest` and `highest`."""
    metrics = {}
    for name in METRICS:
        values = [value for step in steps if (value := step[name]) is not None]
        if values:
            metrics[name] = {"first": values[0], "last": values[-1], "lowest": min(values), "highest": max(values)}
    return {"steps": len(steps), "metrics": metrics}


def contamination_sentences(contamination: Mapping[str, Any]) -> dict[str, str]:
    """For each evaluation, how many training images occur in it, as what, and what became of them.

    `contamination` is the entry of `distill.json`; no sentences without its counts.
    """
    sentences = {}
    fate = "They were trained on." if contamination.get("policy") == "keep" else "They were left out."
    for name, kinds in contamination.get("evaluations", {}).items():
        every, total = f"{contamination['images']:,} training images", sum(kinds.values())
        as_what = (
            f"{kinds['bytes'] + kinds['pixels']:,} identical, {kinds['copy']:,} rescaled or re-encoded, "
            f"{kinds['crop']:,} cropped"
        )
        found = f"{total:,} of {every} occur in {name}: {as_what}. {fate}"
        sentences[name] = found if total else f"None of {every} occurs in {name}."
    return sentences


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None
