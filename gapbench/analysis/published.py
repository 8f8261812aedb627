"""Published scores of the run's model beside the run's own.

    beside_published(summary["benchmarks"]["vstar"], manifest, "vstar")
    # [{"value": 0.8429, "source": "Vision-OPD paper", "here": {"estimate": 0.8325, "ci": [0.77, 0.88]}, …}]

The scores stand on the benchmark's card (`gapbench.types.Published`), which the manifest keeps. A score is compared
only with the same samples: a run on a part of the benchmark, with other parameters or with other regions is not
compared, and says why.

Limits: models are recognised by the last part of their names alone, so a changed model under the old name passes for
the old one. A value inside the interval does not show that both measured the same: the interval says what other samples
would give, and these are the same samples.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gapbench.analysis.aggregate import PAIR, Json

_CACHED = re.compile(r"models--[^/]*--([^/]+)/snapshots/[^/]+$")


def beside_published(entry: Mapping[str, Any], manifest: Mapping[str, Any], name: str) -> list[Json]:
    """The published scores of the run's model on the benchmark `name`, each with the run's own number if it compares.

    `entry` is the benchmark's entry in `summary.json`, `manifest` the content of `run.json`.
    """
    task = (manifest.get("tasks") or {}).get(name) or {}
    models = model_names(manifest)
    return [
        _beside(one, entry, task, str(manifest.get("protocol") or "neutral"))
        for one in references(task)
        if short_name(str(one.get("model"))) in models
    ]


def references(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The published scores with a value on the card of a task of the manifest; none if its card has them as texts."""
    found = (task.get("card") or {}).get("reference")
    scores = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    return [one for one in scores if isinstance(one.get("value"), int | float) and math.isfinite(one["value"])]


def model_names(manifest: Mapping[str, Any]) -> set[str]:
    """The short names of the run's model: as the user named it, and as the servers that answered call it."""
    model = str(manifest.get("model") or "")
    sessions = manifest.get("sessions") or ()
    served = {str(one) for session in sessions for one in session.get("answered_by") or ()}
    roots = {
        str(listed["root"])
        for server in manifest.get("servers") or ()
        for listed in server.get("models") or ()
        if listed.get("id") == model and listed.get("root")
    }
    # Answers of several models are answers of none.
    return {short_name(one) for one in (model, *(served if len(served) == 1 else ()), *roots) if one}


def short_name(model: str) -> str:
    """The last part of a model's id or folder, without regard to case; of a folder in the Hub's cache, the model's."""
    path = model.replace("\\", "/").rstrip("/")
    cached = _CACHED.search(path)
    return (cached[1] if cached else path.rpartition("/")[2]).casefold()


def _beside(one: Mapping[str, Any], entry: Mapping[str, Any], task: Mapping[str, Any], protocol: str) -> Json:
    told = {key: str(one.get(key) or "") for key in ("model", "source", "metric", "view", "protocol", "part", "note")}
    value = round(float(one["value"]) / 100, 6)
    reason = next(_reasons(told, entry, task), "")
    here = None if reason else _here(told, entry)
    ci = here["ci"] if here else None
    return {
        **told,
        "value": value,
        "here": here,
        "same_prompt": told["protocol"] == protocol if told["protocol"] else None,
        "inside": ci[0] <= value <= ci[1] if ci else None,
        "not_compared": reason or ("" if here else "not measured here"),
    }


def _here(told: Mapping[str, str], entry: Mapping[str, Any]) -> Json | None:
    """The run's own number and its interval, or None if it has none."""
    view, metric = told["view"], told["metric"]
    if told["part"]:
        found = entry["by_category"][told["part"]].get(view) if metric == "accuracy" else None
    elif metric != "accuracy":
        found = (entry["metrics"].get(metric) or {}).get(view)
    else:
        found = entry["gap"] if view == "gap" else entry["views"].get(view)
    found = found or {}
    estimate = found.get("estimate", found.get("accuracy"))
    return None if estimate is None else {"estimate": estimate, "ci": found["ci"]}


def _reasons(told: Mapping[str, str], entry: Mapping[str, Any], task: Mapping[str, Any]) -> Iterator[str]:
    """Why the published number is about something else than what this run measured, the first reason first."""
    card = task.get("card") or {}
    if told["part"] and told["part"] not in entry["by_category"]:
        yield f"it covers {told['part']}"
    limit, asked = task.get("limit"), task.get("samples") or 0
    whole = (card.get("expected") or {}).get("samples") or (asked if limit is None else None)
    if whole is None:
        yield f"only the first {limit:,} samples were asked here"
    elif entry["n"] != whole:
        yield f"{entry['n']:,} of {whole:,} samples were asked here"
    else:
        views = PAIR if told["view"] == "gap" else (told["view"],)
        for view in views:
            records = (entry["views"].get(view) or {}).get("records", 0)
            if 0 < records < whole * (task.get("repeats") or 1):
                yield f"the {view} view is not complete here"
    if task.get("parameters"):
        yield "here " + ", ".join(f"{key}={value}" for key, value in sorted(task["parameters"].items()))
    if told["view"] != "full":
        if entry["evidence"] == "model":
            yield "regions of a model were shown here"
        elif task.get("region") != card.get("region"):
            yield f"the region {task.get('region')} was shown here"
