"""A training recipe: one flat, validated set of settings, read from YAML and written back fully resolved.

    recipe = load("vision-opd", ["steps=30", "learning_rate=1e-6"])

Recipes live in `distill/NAME.yaml`; a file of the user's own works the same. An unknown key or a value out of range is
refused with its name, what was expected and the nearest known key.

Limits: values are checked one by one and in the few pairs that cannot go together; whether they train well is not known
to any checker.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gapbench.distillation.divergence import Divergence
from gapbench.errors import SettingError
from gapbench.views.regions import VIEWS, parse_policy

_PACKAGE = Path(__file__).parent.parent
FOLDER = next(
    (p for p in (_PACKAGE / "_shipped" / "distill", _PACKAGE.parent / "distill") if p.is_dir()),
    _PACKAGE / "_shipped" / "distill",
)
"""The recipes: inside an installed wheel, or beside the package in a checkout."""

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class Recipe(BaseModel):
    """Every setting of `gapbench distill`; the defaults are the paper's (`distill/vision-opd.yaml` gives sources).

    Sequences are completions: a step trains on `prompts_per_step * rollouts_per_prompt` of them, over all processes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # What each side sees
    student_view: str = Field("full", description="view of the student: full, boxed or crop")
    teacher_view: str = Field("crop", description="view of the teacher")
    region: str = Field("padded:factor=1.1", description="region policy; empty: the benchmark's own")
    teacher_enlarge: Annotated[float, Field(ge=1, le=16)] = Field(2.0, description="enlarges the teacher's image")
    hint: str = Field("", description="sentence added to the prompt of both sides, such as one about the red box")
    anchor_share: Share = Field(0.0, description="share of prompts whose student sees the teacher's view as well")
    min_pixels: Count | None = Field(None, description="smaller images are enlarged to this many pixels")
    max_pixels: Count | None = Field(None, description="larger images are shrunk to this many pixels")
    processor: dict[str, Any] = Field({}, description="passed to the model's processor")

    # Rollouts
    prompts_per_step: Count = 96
    rollouts_per_prompt: Count = 8
    rollouts_from: Literal["student", "teacher"] = Field("student", description="who answers: teacher is off-policy")
    max_new_tokens: Count = 1024
    temperature: Positive = Field(1.0, description="of sampling")
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    use_vllm: bool = Field(False, description="rollouts through vLLM, on the trainer's GPU, instead of transformers")
    vllm_gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = Field(0.3, description="of the GPU, while awake")
    vllm_enable_sleep_mode: bool = Field(True, description="vLLM's memory is the trainer's while it trains")
    vllm_engine_args: dict[str, Any] = Field({}, description="vLLM's own arguments, such as max_model_len")
    importance_cap: Positive | None = Field(
        None, description="weighs tokens by min(p of the trainer / p of the sampler, this); empty: all weigh the same"
    )

    # Divergence
    divergence: Literal["jsd", "forward_kl", "reverse_kl", "sampled_token"] = "jsd"
    mixture: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="weight of the teacher in the JSD's mixture")
    support: Literal["full", "student", "teacher", "union"] = Field("student", description="whose top tokens count")
    top_k: Count = 100
    tail: bool = Field(True, description="one bucket for the rest of the vocabulary; false renormalises the top")
    loss_temperature: Positive = 1.0
    aggregation: Literal["sequence", "token"] = Field("sequence", description="mean over sequences of token means")

    # Teacher
    teacher: Literal["ema", "frozen", "trust_region", "copy", "live", "model"] = "ema"
    ema_rate: Annotated[float, Field(gt=0, le=1)] = Field(0.05, description="per step, of ema")
    trust_region: Share = Field(0.5, description="weight of the student in trust_region's logits")
    copy_every: Count = Field(10, description="steps between copies, of copy")
    teacher_model: str = Field("", description="model of the same vocabulary, of model")

    # Optimisation
    steps: Count = 65
    learning_rate: Positive = 2e-6
    warmup_steps: Annotated[int, Field(ge=0)] = 10
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="after the warm-up")
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    max_grad_norm: Positive = 1.0

    # What is trained
    lora: bool = False
    lora_rank: Count = 32
    lora_alpha: Count = 64
    lora_targets: str | tuple[str, ...] = Field("all-linear", description="names of modules, or all-linear")
    freeze_vision: bool = False

    # Memory and speed
    precision: Literal["auto", "no", "bf16"] = Field("auto", description="auto: bf16 on an accelerator")
    micro_batch_tokens: Count = Field(9216, description="prompt and completion tokens of one forward pass at most")
    rollout_tokens: Count = Field(65536, description="tokens of one generation batch at most")
    share_prompt: bool = Field(True, description="read a prompt once for all its rollouts, where the model allows")
    gradient_checkpointing: bool = Field(False, description="less memory, slower; a prompt is then read per rollout")
    chunk_tokens: Count = Field(512, description="completion tokens whose full-vocabulary logits are held at once")
    attn_implementation: str | None = None

    # Keeping and watching
    seed: int = 0
    save_every: Count = Field(20, description="steps between checkpoints")
    keep_checkpoints: Count = 1
    probe_every: Annotated[int, Field(ge=0)] = Field(10, description="steps between probes of the teacher; 0: never")
    contamination: Literal["drop", "keep"] = Field("drop", description="training images that occur in --eval")
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()

    @property
    def loss(self) -> Divergence:
        """The divergence settings alone."""
        return Divergence(self.divergence, self.mixture, self.support, self.top_k, self.tail, self.loss_temperature)


def load(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe `NAME` of `distill/`, or of a YAML file, with `key=value` overrides (values as in YAML).

    Raises SettingError naming the file or override, the key, and the nearest key or the expected value.
    """
    path = _find(name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingError(f"Recipe {path}: cannot be read as YAML ({str(error).splitlines()[0]}).") from error
    if not isinstance(values, dict):
        raise SettingError(f"Recipe {path}: found {type(values).__name__}; expected `key: value` lines.")
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise SettingError(f"{item!r}: expected key=value, such as learning_rate=1e-6.")
        values[key.strip()] = _override(key.strip(), text)
    return make(values, f"Recipe {path.name}")


def make(values: dict[str, Any], where: str = "Recipe") -> Recipe:
    """A checked recipe from plain values. Raises SettingError; `where` begins its message."""
    for key in values:
        if key not in Recipe.model_fields:
            near = difflib.get_close_matches(str(key), Recipe.model_fields, n=1, cutoff=0.0)
            raise SettingError(f"{where}: unknown key {key!r}. Did you mean {near[0]!r}? See distill/vision-opd.yaml.")
    values = {k: _meant(k, v) for k, v in values.items()}
    try:
        recipe = Recipe(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise SettingError(f"{where}: {key}={first['input']!r} is out of range. {first['msg']}.") from error
    _check_pairs(recipe, where)
    return recipe


def dump(recipe: Recipe) -> str:
    """The fully resolved recipe as YAML; `load` gives it back unchanged."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def names() -> list[str]:
    """The recipes that come with gapbench."""
    return sorted(p.stem for p in FOLDER.glob("*.yaml"))


def _find(name: str | Path) -> Path:
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise SettingError(f"--recipe {name}: file not found.")
        return path
    if str(name) in names():
        return FOLDER / f"{name}.yaml"
    near = difflib.get_close_matches(str(name), names(), n=1, cutoff=0.0)
    raise SettingError(
        f"--recipe {name}: unknown. {f'Did you mean {near[0]}? ' if near else ''}Known are {', '.join(names())}; a "
        "file of your own must end in .yaml."
    )


def _override(key: str, text: str) -> Any:
    """The value of `key=text`: text where text is expected, else YAML."""
    plain = key in Recipe.model_fields and Recipe.model_fields[key].annotation is str
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        if plain:
            return text
        raise SettingError(f"{key}={text}: {text!r} is not a YAML value.") from error
    return text if plain and not isinstance(value, str) else value


def _meant(key: str, value: Any) -> Any:
    """What YAML 1.1 reads otherwise than people write it: 2e-6 (text), no (false), and a list of one."""
    kind = str(Recipe.model_fields[key].annotation)
    if isinstance(value, str) and ("float" in kind or "int" in kind) and "str" not in kind:
        try:
            return float(value)
        except ValueError:
            return value
    if value is False and "'no'" in kind:
        return "no"
    return (value,) if isinstance(value, str) and kind.startswith("tuple") else value


def _check_pairs(recipe: Recipe, where: str) -> None:
    for key in ("student_view", "teacher_view"):
        view = getattr(recipe, key)
        if view not in VIEWS:
            raise SettingError(f"{where}: {key}={view!r} is unknown. Expected one of {', '.join(VIEWS)}.")
    if recipe.region:
        parse_policy(recipe.region)
    if (recipe.teacher == "model") != bool(recipe.teacher_model):
        raise SettingError(
            f"{where}: teacher={recipe.teacher!r} with teacher_model={recipe.teacher_model!r}. Another model teaches "
            "only where both `teacher: model` and `teacher_model: NAME` are set."
        )
    if recipe.rollouts_from == "teacher" and recipe.teacher == "model":
        raise SettingError(
            f"{where}: rollouts_from='teacher' with teacher='model'. Answers are sampled from the model that is "
            "trained; off-policy answers can only come from a teacher of its own weights."
        )
    if recipe.min_pixels and recipe.max_pixels and recipe.min_pixels > recipe.max_pixels:
        raise SettingError(f"{where}: min_pixels={recipe.min_pixels} is more than max_pixels={recipe.max_pixels}.")
    if recipe.micro_batch_tokens <= recipe.max_new_tokens:
        raise SettingError(
            f"{where}: micro_batch_tokens={recipe.micro_batch_tokens} holds not even one answer of max_new_tokens="
            f"{recipe.max_new_tokens}."
        )
