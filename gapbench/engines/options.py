"""Engine options, each written once: as a field of the class of its engine.

    class VllmOptions(BaseModel):
        model_config = FROZEN
        dtype: Dtype = "auto"
        tensor_parallel_size: Annotated[int, Field(ge=1), Flag("devices that share the model", "N", "resources")] = 1

The field's name, type, bounds and `Flag` make the command line's flag (`gapbench.cli.flags`), the check of a
value (`validated`) and the entry in the manifest (`kept`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from gapbench.errors import SettingError

FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
"""The configuration of every class of options."""
EXPECTED = {
    "literal_error": "one of {expected}",
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "more than {gt:g}",
}
"""What was expected, by pydantic's type of error. Other errors keep pydantic's words."""

Options = TypeVar("Options", bound=BaseModel)


@dataclass(frozen=True)
class Generation:
    """How every engine answers: the longest answer (tokens), the temperature (0 is greedy), the seed of sampling."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise SettingError(f"--max-new-tokens {self.max_new_tokens}: expected at least 1.")
        if not self.temperature >= 0:
            raise SettingError(f"--temperature {self.temperature:g}: expected at least 0, which is greedy.")


def seed_for(seed: int, key: Any, bits: int) -> int:
    """The seed of the request `key`, or of several, so that a sampled answer depends on these alone."""
    return int.from_bytes(hashlib.sha256(f"{seed} {key!r}".encode()).digest(), "big") >> (256 - bits)


Kept = Literal["options", "resources", "elsewhere"]
"""Where `engine.info` keeps a value that the user set. `options` decide an answer; `resources` affect only memory and
speed. `elsewhere`: `info` says it in a field of its own, or must not say it."""


@dataclass(frozen=True)
class Flag:
    """The metadata of an option: its help, how help shows a value, and where the manifest keeps it.

    `name` is the flag, if it is not the field's name. An option that is not `typed` is for Python alone.
    """

    help: str = ""
    metavar: str = ""
    kept: Kept = "options"
    name: str = ""
    typed: bool = True


def key_values(example: str) -> BeforeValidator:
    """Reads a mapping from a list of KEY=VALUE, where the values are YAML."""

    def read(value: Any) -> Any:
        import yaml

        pairs = {}
        for item in () if isinstance(value, Mapping) else value:
            key, equals, text = item.partition("=")
            if not equals or not key:
                raise ValueError(f"{item!r}: expected KEY=VALUE, such as {example}.")
            try:
                pairs[key] = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ValueError(f"{key}: found {text!r}, expected a YAML value, such as {example}.") from error
        return pairs or value

    return BeforeValidator(read)


Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    Flag("auto (as published on an accelerator, float32 on a CPU), float32, bfloat16 or float16", kept="elsewhere"),
]
Revision = Annotated[str | None, Flag("commit, tag or branch of a Hub model", kept="elsewhere")]
TrustRemoteCode = Annotated[bool, Flag("run code that ships with the model", kept="elsewhere")]
ChatTemplate = Annotated[Path | None, Flag("a Jinja file, for models without a chat template", "FILE", "elsewhere")]
ProcessorKwargs = Annotated[
    Mapping[str, Any],
    key_values("max_soft_tokens=280"),
    Flag("passed to the model's processor (YAML value); repeatable", "KEY=VALUE", "elsewhere", "--processor"),
]


def flag_of(field: FieldInfo) -> Flag:
    """The metadata of a field."""
    return next((entry for entry in field.metadata if isinstance(entry, Flag)), Flag())


def flag_name(name: str, field: FieldInfo) -> str:
    """The flag of the field `name`: `--batch-size` for `batch_size`, unless its metadata names another."""
    return flag_of(field).name or f"--{name.replace('_', '-')}"


def is_set(value: Any) -> bool:
    """Whether the user set an option. None, "auto", False and empty values all mean "not set"."""
    return not (value is None or value is False or value in ("", "auto", (), [], {}))


def validated(options: type[Options], values: Mapping[str, Any]) -> Options:
    """The options of one engine, of which only `values` are set. Raises SettingError, and names the flag."""
    try:
        return options(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        field, context = options.model_fields[name], problem.get("ctx", {})
        text = EXPECTED.get(problem["type"], problem["msg"].removeprefix("Input should be ")).format(**context)
        unit = f" ({flag_of(field).metavar})" if flag_of(field).metavar else ""
        message = f"{problem['input']}: expected {text.replace(chr(39), '')}{unit}."
        message = str(context["error"]) if problem["type"] == "value_error" else message
        raise SettingError(f"{flag_name(name, field)} {message}") from None


def kept(options: BaseModel) -> dict[str, dict[str, Any]]:
    """What the user set, JSON-ready, as the entries `options` and `resources` of an engine's `info`."""
    entries: dict[str, dict[str, Any]] = {"options": {}, "resources": {}}
    for name, value in options.model_dump(mode="json", include=options.model_fields_set).items():
        entries.setdefault(flag_of(type(options).model_fields[name]).kept, {})[name] = value
    entries.pop("elsewhere", None)
    return entries
