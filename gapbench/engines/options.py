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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from gapbench.errors import SettingError
from gapbench.scoring.thoughts import Tags

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


ANSWER_TOKENS, THINKING_TOKENS = 128, 4096
"""Longest answer by default, in tokens: of a model that answers at once, and of one that thinks first."""


@dataclass(frozen=True)
class Generation:
    """How every engine answers.

    - `max_new_tokens`: the longest answer; None for the default, which depends on whether the model thinks.
    - `temperature`: 0 is greedy; `seed`: that of sampling.
    - `confidence`: answers carry the smallest probability of their tokens, if they are greedy.
    """

    max_new_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0
    confidence: bool = False

    @property
    def tokens(self) -> int:
        """The longest answer, or its default."""
        return self.max_new_tokens or ANSWER_TOKENS

    def for_model(self, thinks: bool) -> Generation:
        """With a longest answer that suits a model that thinks, or does not."""
        return replace(self, max_new_tokens=self.max_new_tokens or (THINKING_TOKENS if thinks else ANSWER_TOKENS))

    def __post_init__(self) -> None:
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
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


def _read_tags(value: Any) -> Any:
    """Pairs of marks, from a list of YAML lists: one pair each, or several as lmms-eval takes them."""
    import yaml

    pairs: list[tuple[str, str]] = []
    for item in value:
        try:
            found = yaml.safe_load(item) if isinstance(item, str) else item
            nested = found if isinstance(found[0], list | tuple) else [found]
            new = [(str(opening or ""), str(closing or "")) for opening, closing in nested]
        except (yaml.YAMLError, TypeError, ValueError, LookupError):
            new = [("", "")]
        if any(len({"", *pair}) < 3 for pair in new):
            expected = 'two different marks, [OPENING, CLOSING], such as \'["<plan>", "</plan>"]\''
            raise ValueError(f"{item!r}: expected {expected}.")
        pairs += new
    return tuple(pairs)


Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    Flag("auto (as published on an accelerator, float32 on a CPU), float32, bfloat16 or float16", kept="elsewhere"),
]
Revision = Annotated[str | None, Flag("commit, tag or branch of a Hub model", kept="elsewhere")]
TrustRemoteCode = Annotated[bool, Flag("run code that ships with the model", kept="elsewhere")]
ChatTemplate = Annotated[Path | None, Flag("a Jinja file, for models without a chat template", "FILE", "elsewhere")]
ChatTemplateKwargs = Annotated[
    Mapping[str, Any],
    key_values("enable_thinking=true"),
    Flag("variables of the chat template; by default, those that switch thinking off; repeatable", "KEY=VALUE"),
]
ProcessorKwargs = Annotated[
    Mapping[str, Any],
    key_values("max_soft_tokens=280"),
    Flag("passed to the model's processor (YAML value); repeatable", "KEY=VALUE", "elsewhere", "--processor"),
]


ReasoningTags = Annotated[
    Tags,
    BeforeValidator(_read_tags),
    Flag("marks around thoughts, besides the known ones; repeatable", '\'["<plan>", "</plan>"]\''),
]
MaxModelLen = Annotated[
    int | None,
    Field(ge=1),
    Flag("longest prompt and answer in tokens; default: what the model was made for", "N"),
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
        text = problem["msg"].removeprefix("Input should be ")
        text = EXPECTED[problem["type"]].format(**context) if problem["type"] in EXPECTED else text
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
