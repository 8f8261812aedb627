"""What `gapbench locate` keeps: the region file, and beside it what it was made with.

regions.jsonl           one line per question: its boxes, or the reason why there is none
regions.run.json        model, method and settings; a call with others is refused instead of mixed in
regions.summary.json    counts, reasons, and the locator's agreement with people's boxes
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gapbench.data.benchmark import Benchmark, fingerprint
from gapbench.errors import RunError, SettingError
from gapbench.types import Sample
from gapbench.util.files import write_json

SCHEMA = 1
SESSION = ("command", "started", "versions", "hardware", "device")
"""Entries that may differ from call to call: they do not decide what a box means."""
NEEDED = ("benchmark", "id", "bboxes", "reason", "image_size", "image_hash")
"""What every line must have to be gone on from."""


def check(out: Path) -> None:
    """Raises SettingError unless `out` names a JSONL file, RunError if that is there and not ours."""
    if out.suffix != ".jsonl" or out.is_dir():
        raise SettingError(f"--out {out}: expected a file that ends in .jsonl, such as regions.jsonl.")
    header = _header_of(out)
    if out.exists() and out.stat().st_size and not header.exists():
        raise RunError(f"{out}: {header.name} is missing, so what it was made with is unknown. Choose another --out.")


def _header_of(out: Path) -> Path:
    return out.with_suffix(".run.json")


def summary_of(out: Path) -> Path:
    """Where a region file's summary lies."""
    return out.with_suffix(".summary.json")


def start_or_continue(
    out: Path,
    made_with: Mapping[str, Any],
    chosen: Sequence[Benchmark],
    asked: Mapping[str, list[Sample]],
    session: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Write what the file is made with, and return the lines it has. To be called while its writer is open.

    Raises RunError if it was started with other settings or questions.
    """
    path = _header_of(out)
    benchmarks = {
        b.name: {
            "parameters": dict(b.parameters),
            "samples": len(asked[b.name]),
            "fingerprint": fingerprint(asked[b.name]),
        }
        for b in chosen
    }
    new = json.loads(json.dumps({"schema_version": SCHEMA, **made_with, "benchmarks": benchmarks}))
    if path.exists():
        _refuse_difference(out, _read(path), new, asked)
    write_json(path, {**new, **session})
    return read_lines(out)


def read_lines(out: Path) -> list[dict[str, Any]]:
    """The lines of a region file of ours, torn ones left out. Raises RunError for a damaged one."""
    lines = []
    with out.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                lines.append({**row, **{name: row[name] for name in NEEDED}})
            except (ValueError, TypeError, LookupError) as error:
                raise RunError(
                    f"{out} line {number}: not as gapbench locate wrote it ({error!r}). Delete that line and run the "
                    "same command again, or choose another --out."
                ) from error
    return lines


def _refuse_difference(
    out: Path, old: Mapping[str, Any], new: Mapping[str, Any], asked: Mapping[str, list[Sample]]
) -> None:
    def refuse(what: str, before: Any, now: Any) -> RunError:
        return RunError(
            f"{out}: it was started with {what} {json.dumps(before)}, and now it is {json.dumps(now)}. Boxes of both "
            "must not be mixed. Choose another --out, or ask as before."
        )

    decisive = sorted((set(old) | set(new)) - {*SESSION, "model", "method", "benchmarks"})
    for what in ("model", "method", *decisive):
        if old.get(what) != new.get(what):
            raise refuse(what, old.get(what), new.get(what))
    for name, before in old["benchmarks"].items():
        now = new["benchmarks"].get(name)
        if now is None:
            raise refuse("benchmarks", sorted(old["benchmarks"]), sorted(new["benchmarks"]))
        if now["parameters"] != before["parameters"]:
            raise refuse(f"{name} parameters", before["parameters"], now["parameters"])
        if now["samples"] < before["samples"]:
            raise refuse(f"--limit: {name} samples", before["samples"], now["samples"])
        if fingerprint(asked[name][: before["samples"]]) != before["fingerprint"]:
            raise refuse(f"{name}: a question, box or image changed (fingerprint)", before["fingerprint"],
                         fingerprint(asked[name][: before["samples"]]))  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return dict(found, benchmarks=dict(found["benchmarks"]))
    except (ValueError, TypeError, LookupError) as error:
        raise RunError(f"{path}: cannot be read ({error!r}). Restore it, or choose another --out.") from error
