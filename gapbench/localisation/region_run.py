"""The files of `gapbench locate`: the region file, its header and its summary.

regions.jsonl           one line per sample: its boxes, or the reason why it has none
regions.run.json        the header: model, method and settings; a call with other settings is refused
regions.summary.json    counts, reasons, and the agreement of located boxes with people's boxes
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
"""Entries of the header that may differ between calls, because the boxes do not depend on them."""
NEEDED = ("benchmark", "id", "bboxes", "reason", "image_size", "image_hash")
"""Keys that every line must have before a call continues the file."""


def check(out: Path) -> None:
    """Raises SettingError unless `out` names a JSONL file, RunError if that file exists without its header."""
    if out.suffix != ".jsonl" or out.is_dir():
        raise SettingError(f"--out {out}: expected a file that ends in .jsonl, such as regions.jsonl.")
    header = _header_of(out)
    if out.exists() and out.stat().st_size and not header.exists():
        raise RunError(f"{out}: {header.name} is missing, so its model and settings are unknown. Choose another --out.")


def _header_of(out: Path) -> Path:
    return out.with_suffix(".run.json")


def summary_of(out: Path) -> Path:
    """The path of a region file's summary."""
    return out.with_suffix(".summary.json")


def start_or_continue(
    out: Path,
    settings: Mapping[str, Any],
    benchmarks: Sequence[Benchmark],
    samples: Mapping[str, list[Sample]],
    session: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Write the header and return the lines that the region file has. Call it while the file's writer is open.

    Raises RunError if the file was started with other settings or samples.
    """
    path = _header_of(out)
    entries = {
        b.name: {
            "parameters": dict(b.parameters),
            "samples": len(samples[b.name]),
            "fingerprint": fingerprint(samples[b.name]),
        }
        for b in benchmarks
    }
    new = json.loads(json.dumps({"schema_version": SCHEMA, **settings, "benchmarks": entries}))
    if path.exists():
        _refuse_difference(out, _read_header(path), new, samples)
    write_json(path, {**new, **session})
    return read_lines(out)


def read_lines(out: Path) -> list[dict[str, Any]]:
    """The lines of a region file of `gapbench locate`, without a torn last line. Raises RunError for a damaged line."""
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
    out: Path, old: Mapping[str, Any], new: Mapping[str, Any], samples: Mapping[str, list[Sample]]
) -> None:
    def mixed(what: str, before: Any, now: Any) -> RunError:
        return RunError(
            f"{out}: it was started with {what} {json.dumps(before)}, and now it is {json.dumps(now)}. Boxes of both "
            "must not be mixed. Choose another --out, or repeat the command with the old settings."
        )

    decisive = sorted((set(old) | set(new)) - {*SESSION, "model", "method", "benchmarks"})
    for what in ("model", "method", *decisive):
        if old.get(what) != new.get(what):
            raise mixed(what, old.get(what), new.get(what))
    for name, before in old["benchmarks"].items():
        now = new["benchmarks"].get(name)
        if now is None:
            raise mixed("benchmarks", sorted(old["benchmarks"]), sorted(new["benchmarks"]))
        if now["parameters"] != before["parameters"]:
            raise mixed(f"{name} parameters", before["parameters"], now["parameters"])
        if now["samples"] < before["samples"]:
            raise mixed(f"--limit: {name} samples", before["samples"], now["samples"])
        if fingerprint(samples[name][: before["samples"]]) != before["fingerprint"]:
            raise mixed(f"{name}: a question, box or image changed (fingerprint)", before["fingerprint"],
                         fingerprint(samples[name][: before["samples"]]))  # fmt: skip


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        return dict(header, benchmarks=dict(header["benchmarks"]))
    except (ValueError, TypeError, LookupError) as error:
        raise RunError(f"{path}: cannot be read ({error!r}). Restore it, or choose another --out.") from error
