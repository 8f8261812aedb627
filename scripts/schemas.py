"""Writes the JSON schemas of what a run keeps: reports/schemas/. `tests/runs/test_schemas.py` compares them.

    python scripts/schemas.py

Descriptions are the fields' docstrings; `kind` says what a field of the manifest is (`gapbench.runs.manifest.Kind`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from gapbench.runs.manifest import Manifest
from gapbench.types import Record

FOLDER = Path(__file__).resolve().parents[1] / "reports" / "schemas"


def schemas() -> dict[str, dict[str, Any]]:
    """File name to schema."""
    return {
        "run.schema.json": Manifest.model_json_schema(),
        "records.schema.json": TypeAdapter(Record).json_schema(),
    }


def text_of(schema: dict[str, Any]) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (FOLDER / name).write_text(text_of(schema), encoding="utf-8")
        print(FOLDER / name)
