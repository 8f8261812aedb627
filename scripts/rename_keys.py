"""Renames the keys of run folders from before 2026-11-28, when images, samples and views got one name each.

    python scripts/rename_keys.py runs/a runs/b          # folders of runs, trainings or region files, at any depth

`TABLE` lists every renamed key, and `VIEW_KEYS` the keys whose value is a renamed view; the CHANGELOG has the same, and
the renamed parameter of `signs`. A folder that
was renamed already stays as it is. Reports are not touched: `gapbench report RUN` makes them again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gapbench.util.files import replacing, write_json

TABLE: Mapping[str, Mapping[str, str]] = {
    "records.jsonl": {"pictures": "images"},
    "summary.json": {"pictures_mean": "images_mean", "mean_colour": "blank"},
    "run.json": {
        "waited_for_pictures": "waited_for_images",
        "questions": "samples",
        "pictures arrive": "images arrive",
        "order of pictures": "order of images",
        "mean_colour": "blank",
    },
    "regions.run.json": {"questions": "samples"},
    "distill.json": {"questions": "samples"},
}
"""File name to its keys, old to new, wherever in the file they stand."""
VIEW_KEYS = ("view", "student_view", "teacher_view", "null_view")


def rename(folder: Path) -> list[Path]:
    """Rename the keys in every file below `folder` that `TABLE` names, and return the files that changed."""
    changed = []
    for path in sorted(path for path in folder.rglob("*.json*") if path.is_file()):
        table = TABLE.get("regions.run.json" if path.name.endswith(".run.json") else path.name)
        if table is None:
            continue
        old = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            new = "".join(json.dumps(_renamed(json.loads(line), table)) + "\n" for line in old.splitlines())
            if new != old:
                with replacing(path) as draft:
                    draft.write_text(new, encoding="utf-8")
                changed.append(path)
            continue
        content = json.loads(old)
        renamed = _renamed(content, table)
        if path.name == "run.json":
            renamed["schema_version"] = max(2, renamed["schema_version"])
        elif path.name == "summary.json":
            renamed["schema_version"] = max(3, renamed["schema_version"])
        if renamed != content:
            write_json(path, renamed)
            changed.append(path)
    return changed


def _renamed(value: Any, table: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            table.get(key, key): "blank" if key in VIEW_KEYS and inner == "mean_colour" else _renamed(inner, table)
            for key, inner in value.items()
        }
    return [_renamed(inner, table) for inner in value] if isinstance(value, list) else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    for folder in parser.parse_args(arguments).folders:
        for path in rename(folder):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
