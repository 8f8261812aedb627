"""The settings of `gapbench propose`: `thresholds.yaml` has every value with its reason.

load(["shifted_agree=4", "gates=[nesting, unique]"]).shifted_agree
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gapbench.errors import SettingError

Fraction = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[float, Field(gt=0, le=1)]

GateName = Literal[
    "nesting", "unique", "far", "answer", "shifted", "count", "blind", "random", "other", "disagreement"
]  # fmt: skip


class Settings(BaseModel):
    """`thresholds.yaml` says what each is and why it has its value."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    proposer: str
    template: str
    seed: int
    margin: Annotated[float, Field(ge=1, le=10)]
    scales: Annotated[tuple[Side, ...], Field(min_length=1)]
    step: Side
    largest_step: Side
    image_tokens: Annotated[int, Field(ge=1)]
    window_pixels: Annotated[int, Field(ge=1)]
    gates: tuple[GateName, ...]
    answer_confidence: Fraction
    shift: Side
    shifted_agree: Annotated[int, Field(ge=0, le=4)]
    far_confidence: Fraction
    foreign_confidence: Fraction
    most_disagreement: Fraction
    least_rows: Annotated[int, Field(ge=0)]


def load(changes: Sequence[str] = ()) -> Settings:
    """The settings with `changes`, each KEY=VALUE as in YAML; one value is a list of one. Raises SettingError."""
    values = yaml.safe_load(Path(__file__).with_name("thresholds.yaml").read_text(encoding="utf-8"))
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or key not in Settings.model_fields:
            raise SettingError(f"{change}: expected KEY=VALUE. Keys are {', '.join(Settings.model_fields)}.")
        try:
            value = yaml.safe_load(text)
            values[key] = [value] if isinstance(values[key], list) and not isinstance(value, list) else value
        except yaml.YAMLError as error:
            raise SettingError(f"{change}: the value is not YAML. Write it as in thresholds.yaml.") from error
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise SettingError(f"{key}: found {first['input']!r}. {first['msg']}.") from None
