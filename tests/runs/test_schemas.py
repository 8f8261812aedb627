"""The schemas under reports/ are those of the code; a run that is measured keeps to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import schemas
from pydantic import BaseModel, TypeAdapter

from gapbench.runs.manifest import (
    GenerationSettings,
    Manifest,
    PixelSettings,
    RegionFile,
    SelfcheckEntry,
    ServerEntry,
    Session,
    TaskEntry,
    ViewEntry,
    kind_of,
)
from gapbench.types import Record

FIXTURES = Path(__file__).parents[1] / "fixtures" / "runs"


@pytest.mark.parametrize("name", schemas.schemas())
def test_the_written_schema_is_that_of_the_code(name: str) -> None:
    written = (schemas.FOLDER / name).read_text(encoding="utf-8")
    assert written == schemas.text_of(schemas.schemas()[name]), "python scripts/schemas.py"


@pytest.mark.parametrize(
    "model",
    [
        Manifest,
        TaskEntry,
        ViewEntry,
        Session,
        PixelSettings,
        GenerationSettings,
        RegionFile,
        SelfcheckEntry,
        ServerEntry,
    ],
)
def test_every_field_says_what_it_is(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name} has no docstring"
        assert isinstance(field.json_schema_extra, dict), f"{model.__name__}.{name} has no kind"
        assert kind_of(model, name)


def test_records_of_an_earlier_version_keep_to_the_schema() -> None:
    adapter = TypeAdapter(Record)
    lines = (FIXTURES / "measured" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines[:20]:
        row = json.loads(line)
        row["images"] = row.pop("pictures", row.get("images"))
        adapter.validate_json(json.dumps(row))
