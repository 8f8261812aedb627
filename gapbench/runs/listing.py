"""Runs in folders: where they are, how they are called, and one line about each, without reading their records.

    [entry] = list_runs([Path("runs")])
    entry["model"], entry["gap"], entry["state"]

Everything comes from `run.json` and `summary.json`. If answers came after the summary, the lines of `records.jsonl`
are counted. So a hundred runs take a second, and neither pandas nor torch is loaded.

Limits: a folder below a run is not searched for further runs.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from glob import glob
from pathlib import Path, PurePath
from typing import Any

from gapbench.errors import RunError, SettingError
from gapbench.runs import records
from gapbench.runs.lock import is_held
from gapbench.runs.manifest import FILE, Manifest, read_manifest
from gapbench.runs.run import DAMAGE, read_json, records_in
from gapbench.runs.shards import shard_label

SUMMARY = "summary.json"


def find_runs(places: Sequence[str | Path]) -> list[Path]:
    """The runs at or below `places`, which are folders or patterns (`runs/*`): each once, sorted within each place.

    Raises RunError for a place without any run.
    """
    found: dict[Path, Path] = {}
    for place in places:
        folders = [Path(place)] if Path(place).is_dir() else [Path(path) for path in sorted(glob(str(place)))]
        inside = [run for folder in folders for run in _runs_below(folder)]
        if not inside:
            raise RunError(f"{place}: found no run. Expected a folder with {FILE}, or one that holds such folders.")
        for run in inside:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _runs_below(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()  # links may lead in a circle
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if FILE in files:
            yield Path(place)
        stop = FILE in files or real in seen
        folders[:] = [] if stop else sorted(name for name in folders if not name.startswith("."))
        seen.add(real)


def labelled(runs: Sequence[tuple[Path, str]], given: Mapping[int, str] | None = None) -> list[str]:
    """A name for each run of (folder, model): the model's. Those at the places of `given` have its names.

    Equal names get the shortest ending of their folders that tells them apart and says more than the name. Runs of one
    folder get a number.
    """
    folders = [folder.resolve() for folder, _ in runs]
    names = [short_name(model) or folder.name for folder, (_, model) in zip(folders, runs, strict=True)]
    for place, name in (given or {}).items():
        names[place] = name
    alike: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        alike.setdefault(name, []).append(place)
    for name, places in alike.items():
        different = len({folders[place] for place in places})
        for depth in range(1, 1 + max(len(folder.parts) for folder in folders) if len(places) > 1 else 1):
            endings = [PurePath(*folders[place].parts[-depth:]).as_posix() for place in places]
            if len(set(endings)) == different and name not in endings:
                for place, ending in zip(places, endings, strict=True):
                    names[place] = f"{name} ({ending})"
                break
    counts = Counter(names)
    return [f"{name} ({place})" if counts[name] > 1 else name for place, name in enumerate(names, 1)]


def renamed(labels: Mapping[str, str], folders: Sequence[Path], names: Sequence[str]) -> list[str]:
    """The `names` of the runs in `folders`, but for those that `labels` names (folder -> name).

    Raises SettingError for a folder that is none of these, and for a name of several runs.
    """
    own = {Path(folder).resolve(): name for folder, name in labels.items()}
    places = [folder.resolve() for folder in folders]
    strange = [str(path) for path in own if path not in places]
    if strange:
        raise SettingError(f"--label {strange[0]}: no such run here; expected one of {', '.join(map(str, folders))}.")
    found = [own.get(place, name) for place, name in zip(places, names, strict=True)]
    if twice := sorted(name for name, count in Counter(found).items() if count > 1):
        raise SettingError(f"--label: {twice[0]!r} names several runs; expected a different name for each run.")
    return found


def short_name(model: str) -> str:
    """The last two parts of a model folder, like a Hub id. The rest of the path only describes the machine."""
    parts = PurePath(model).parts
    return "/".join(parts[-2:]).removeprefix("//") if len(parts) > 2 else model


def list_runs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """An entry per run, as `entry_of` makes it. Raises RunError as `find_runs` does."""
    return [entry_of(folder) for folder in find_runs(folders)]


def entry_of(folder: Path) -> dict[str, Any]:
    """What one line says of a run: numbers are fractions, and None where nothing was measured.

    `path`, `model`, `benchmarks`, `n` (samples: those of the gap, if there is one), `full`, `crop`, `gap`, `ci` (over
    several benchmarks: of their mean), `engine`, `started`, `answers`, `expected`, `state` (`complete`,
    `40 of 1,000`, `running: …`, `interrupted: …`, `unreadable: …`) and `alerts` (whether a fault hits one view more
    than the other).
    """
    entry: dict[str, Any] = {"path": folder.as_posix(), "model": "", "benchmarks": [], "engine": "", "started": None}
    entry |= dict.fromkeys(("n", "full", "crop", "gap", "ci", "answers", "expected")) | {"alerts": False}
    try:
        manifest = read_manifest(folder / FILE)
        summary = read_json(folder / SUMMARY) if (folder / SUMMARY).exists() else {}
        facts = _facts(folder, manifest, summary)
        current = facts["answers"] == records_in(summary)  # else more answers came before a kill
        return {**entry, **facts, **(_numbers(summary) if current else {})}
    except (RunError, OSError, *DAMAGE) as error:
        return {**entry, "state": f"unreadable: {str(error).removeprefix(f'{folder / FILE}: ')}"}


def _facts(folder: Path, manifest: Manifest, summary: Mapping[str, Any]) -> dict[str, Any]:
    started = [session.started for session in manifest.sessions if session.started]
    answers = _answers(folder, summary)
    return {
        "model": short_name(manifest.model or ""),
        "benchmarks": list(manifest.tasks),
        "n": sum(task.samples for task in manifest.tasks.values()),
        "engine": manifest.engine or "",
        "started": max(started, default=None),
        "answers": answers,
        "expected": manifest.answers,
        "state": _state(folder, manifest, answers),
    }


def _answers(folder: Path, summary: Mapping[str, Any]) -> int:
    """The number of records: from the summary if it is younger than the last answer, else counted."""
    with suppress(OSError):
        if summary and (folder / SUMMARY).stat().st_mtime_ns >= (folder / records.FILE).stat().st_mtime_ns:
            return records_in(summary)
    found = records.count(folder)
    return records_in(summary) if found is None else found


def _state(folder: Path, manifest: Manifest, answers: int) -> str:
    shard = f"shard {label}, " if (label := shard_label(manifest.shard)) else ""
    if answers >= manifest.answers:
        return f"{shard}complete"
    counted = f"{answers:,} of {manifest.answers:,}"
    running = is_held(folder)
    if running is None:
        return f"{shard}{counted}"
    return f"{shard}{'running' if running else 'interrupted'}: {counted}"


def _numbers(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Full, crop and gap over `n` samples: of several benchmarks the mean, without a gap that of the full view."""
    entries = [*(summary.get("benchmarks") or {}).values()]
    annotated = (summary.get("macro") or {}).get("gap")
    mean = annotated or (summary.get("macro_model") or {}).get("gap") or {}
    family = [entry for entry in entries if not annotated or entry.get("evidence") != "model"]
    gaps = [entry["gap"] for entry in family if entry.get("gap")]
    gaps = [gap for gap in gaps if gap.get("ci")] or gaps
    alerts = any(fault.get("alert") for entry in entries for fault in (entry.get("faults") or {}).values())
    if gaps:
        full, crop = (sum(gap[view] for gap in gaps) / len(gaps) for view in ("full", "crop"))
        gap, ci = mean.get("estimate"), mean.get("ci")
        count = sum(gap["n"] for gap in gaps)
        return {"n": count, "full": full, "crop": crop, "gap": gap, "ci": ci, "alerts": alerts}
    whole = [a for entry in entries if (a := (entry["views"].get("full") or {}).get("accuracy")) is not None]
    return {"full": sum(whole) / len(whole) if whole else None, "alerts": alerts}
