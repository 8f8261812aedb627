"""The files of `gapbench locate`: the region file, its manifest and its summary.

regions.jsonl           one line per sample: its boxes, or the reason why it has none
regions.run.json        the manifest: model, method and settings; a call with other settings is refused
regions.summary.json    counts, reasons, and the agreement of located boxes with people's boxes
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gapbench.errors import RunError, SettingError

SCHEMA = 1
"""The version of the summary."""
NEEDED = ("benchmark", "id", "bboxes", "reason", "image_size", "image_hash")
"""Keys that every line must have before a call continues the file."""


def check(out: Path) -> None:
    """Raises SettingError unless `out` names a JSONL file."""
    if out.suffix != ".jsonl" or out.is_dir():
        raise SettingError(f"--out {out}: expected a file that ends in .jsonl, such as regions.jsonl.")


def manifest_of(out: Path) -> Path:
    """The path of a region file's manifest."""
    return out.with_suffix(".run.json")


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
                fault = f"{out} line {number}: not as gapbench locate wrote it ({error!r})."
                remedy = "Delete that line and run the same command again, or choose another --out."
                raise RunError(f"{fault} {remedy}") from error
    return lines
