"""A training recipe: a flat, validated set of settings, read from YAML and written back fully resolved.

    recipe = load("vision-opd", ["steps=30", "learning_rate=1e-6"])

Recipes are the files `distill/NAME.yaml`; a YAML file of your own works the same way. An unknown key is refused with
the nearest known key, a value out of range with the expected values.

Limits: each value is checked, and the few combinations that cannot work. Nothing checks whether a recipe trains well.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gapbench.data import catalogue
from gapbench.distillation.divergence import Aggregation, Divergence, Name, Support
from gapbench.distillation.targets import Target
from gapbench.errors import SettingError
from gapbench.views.kinds import VIEWS
from gapbench.views.regions import parse_policy
from gapbench.views.views import View, parse_view

FOLDER = catalogue.FOLDER.parent / "distill"
"""The recipes that come with gapbench: inside an installed wheel, or beside the package in a checkout."""

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
MAY_CHANGE = "a resumed training may change it"
"""In the annotation of a setting that changes the weights by rounding at most. All others must stay."""


class Recipe(BaseModel):
    """Every setting of `gapbench distill`. The defaults are the paper's; `distill/vision-opd.yaml` gives the sources.

    A sequence is a sampled answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # What each side sees
    student_view: str = Field("full", description="view of the student, any of --views: full, degraded:scale=0.3-0.6")
    teacher_view: str = Field("crop", description="view of the teacher")
    region: str = Field("padded:factor=1.1", description="region policy; empty: the benchmark's own")
    teacher_enlarge: Annotated[float, Field(ge=1, le=16)] = Field(2.0, description="enlarges the teacher's image")
    protocol: str = Field(
        "", description="prompt of both sides, by the data's card; empty: a training set's own, else the neutral one"
    )
    hint: str = Field("", description="sentence after the question of both sides, such as one about the red box")
    anchor_share: Share = Field(0.0, description="share of prompts for which the student sees the teacher's view")
    min_pixels: Count | None = Field(None, description="smaller images are enlarged to this many pixels")
    max_pixels: Count | None = Field(None, description="larger images are shrunk to this many pixels")
    processor: dict[str, Any] = Field({}, description="passed to the model's processor")

    # Rollouts
    prompts_per_step: Count = 96
    rollouts_per_prompt: Count = 8
    rollouts_from: Literal["student", "teacher"] = Field("student", description="who answers; teacher is off-policy")
    max_new_tokens: Count = 1024
    temperature: Positive = Field(1.0, description="of the sampling")
    top_p: PositiveShare = 1.0
    use_vllm: bool = Field(False, description="rollouts through vLLM, on the trainer's GPU, instead of transformers")
    vllm_gpu_memory_utilization: Annotated[PositiveShare, MAY_CHANGE] = Field(
        0.3, description="share of the GPU, while vLLM is awake"
    )
    vllm_enable_sleep_mode: Annotated[bool, MAY_CHANGE] = Field(
        True, description="vLLM releases its memory while the student trains"
    )
    vllm_engine_args: dict[str, Any] = Field({}, description="vLLM's own arguments, such as max_model_len")
    importance_cap: Positive | None = Field(
        None, description="weights tokens by min(p of the trainer / p of the sampler, this); empty: equal weights"
    )

    # Divergence
    divergence: Name = "jsd"
    mixture: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="weight of the teacher in the JSD's mixture")
    support: Support = Field("student", description="whose likeliest tokens are compared")
    top_k: Count = 100
    tail: bool = Field(True, description="one bucket for the rest of the vocabulary; false: renormalise the top tokens")
    loss_temperature: Positive = 1.0
    aggregation: Aggregation = Field("sequence", description="mean over sequences of token means")

    # Target and weights
    target: Target = Field("teacher", description="teacher; tilt: away from its null view; hard: the likeliest of tilt")
    tilt: NotNegative = Field(
        4.0, description="strength of the tilt, for target tilt and hard; 0: none, for hard alone"
    )
    null_view: str = Field("blank", description="view without evidence: blank (of the teacher's image), …")
    weights: Literal["none", "evidence"] = Field("none", description="of rollouts, by what the evidence adds to them")
    weight_alpha: NotNegative = Field(0.5, description="weight per standard deviation among a prompt's rollouts")
    weight_gamma: NotNegative = Field(1.0, description="weight of tokens that the evidence makes less likely")
    weight_min: NotNegative = Field(0.0, description="smallest weight of a rollout")
    weight_max: Positive = Field(2.0, description="largest weight of a rollout")

    # Teacher
    teacher: Literal["ema", "frozen", "trust_region", "copy", "live", "model"] = "ema"
    ema_rate: PositiveShare = Field(0.05, description="step of the EMA towards the student, for ema")
    trust_region: Share = Field(0.5, description="weight of the student's logits, for trust_region")
    copy_every: Count = Field(10, description="steps between copies, for copy")
    teacher_model: str = Field("", description="another model with the same vocabulary, for model")

    # Optimisation
    steps: Annotated[Count, MAY_CHANGE] = 65  # with a constant schedule, and never fewer than are trained
    learning_rate: Positive = 2e-6
    warmup_steps: Annotated[int, Field(ge=0)] = 10
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="after the warm-up")
    weight_decay: NotNegative = 0.01
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
    precision: Annotated[Literal["auto", "no", "bf16"], MAY_CHANGE] = Field(  # the checkpoint says what it came to
        "auto", description="auto: bf16 on an accelerator"
    )
    micro_batch_tokens: Annotated[Count, MAY_CHANGE] = Field(
        9216, description="largest number of prompt and answer tokens in a forward pass"
    )
    rollout_tokens: Annotated[Count, MAY_CHANGE] = Field(
        65536, description="largest number of tokens in a generation batch"
    )
    share_prompt: Annotated[bool, MAY_CHANGE] = Field(
        True, description="read a prompt once for all its rollouts, if the model allows it"
    )
    gradient_checkpointing: Annotated[bool, MAY_CHANGE] = Field(
        False, description="less memory, but slower, and without prefix sharing"
    )
    chunk_tokens: Annotated[Count, MAY_CHANGE] = Field(
        512, description="answer tokens whose full-vocabulary logits are held at once"
    )
    attn_implementation: str | None = None

    # Checkpoints and monitoring
    seed: int = 0
    save_every: Annotated[Count, MAY_CHANGE] = Field(20, description="steps between checkpoints")
    keep_checkpoints: Annotated[Count, MAY_CHANGE] = 1
    probe_every: Annotated[int, Field(ge=0), MAY_CHANGE] = Field(
        10, description="steps between probes of the teacher; 0: never"
    )
    eval_every: Annotated[int, Field(ge=0)] = Field(
        0, description="steps between validations on held-out training data, which choose the checkpoint; 0: never"
    )
    validation: Literal["divergence", "answers"] = Field(
        "divergence",
        description="what chooses: the divergence from the first teacher, or accuracy, which reads answers",
    )
    validation_samples: Count = Field(64, description="samples held out for it, whole images; at most a fifth of all")
    contamination: Annotated[Literal["drop", "keep"], MAY_CHANGE] = Field(  # if the same samples are dropped
        "drop", description="training samples of which a copy or a crop is also in --eval"
    )
    trackers: Annotated[tuple[Literal["tensorboard", "wandb", "trackio"], ...], MAY_CHANGE] = ()

    @property
    def sequences_per_step(self) -> int:
        """How many sequences a step trains on, over all processes."""
        return self.prompts_per_step * self.rollouts_per_prompt

    @property
    def loss(self) -> Divergence:
        """The settings of the divergence."""
        return Divergence(
            self.divergence, self.mixture, self.support, self.top_k, self.tail, self.loss_temperature,
            self.importance_cap, self.target, self.tilt,
        )  # fmt: skip

    @property
    def tilts(self) -> bool:
        """Whether the target depends on the null view."""
        return self.target != "teacher" and self.tilt > 0

    @property
    def views(self) -> tuple[View, ...]:
        """The views of student and teacher, and the null view if it is used."""
        null = (self.null_view,) if self.tilts or self.weights == "evidence" else ()
        return tuple(map(parse_view, (self.student_view, self.teacher_view, *null)))

    @property
    def follows_at_once(self) -> bool:
        """Whether the teacher has the student's current weights at every step."""
        return {"live": True, "ema": self.ema_rate == 1, "copy": self.copy_every == 1,
                "trust_region": self.trust_region == 1}.get(self.teacher, False)  # fmt: skip

    @property
    def same_images(self) -> bool:
        """Whether student and teacher are shown the same image of every sample, whatever the data."""
        enlarged = self.teacher_view == "crop" and self.teacher_enlarge > 1
        anchors = round(self.anchor_share * self.prompts_per_step)
        return anchors == self.prompts_per_step or (self.student_view == self.teacher_view and not enlarged)


def load(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe `NAME` of `distill/`, or of a YAML file, changed by `key=value` overrides (values as in YAML).

    Raises SettingError that names the file or override, the key, and the nearest key or the expected value.
    """
    path = _recipe_path(name)
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
        values[key.strip()] = _override_value(key.strip(), text)
    return make(values, f"Recipe {path.name}")


def make(values: dict[str, Any], where: str = "Recipe") -> Recipe:
    """A checked recipe from plain values. Raises SettingError, whose message begins with `where`."""
    for key in values:
        if key not in Recipe.model_fields:
            near = difflib.get_close_matches(str(key), Recipe.model_fields, n=1, cutoff=0.0)
            raise SettingError(f"{where}: unknown key {key!r}. Did you mean {near[0]!r}? See distill/vision-opd.yaml.")
    values = {k: _normalised(k, v) for k, v in values.items()}
    try:
        recipe = Recipe(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise SettingError(f"{where}: {key}={first['input']!r} is out of range. {first['msg']}.") from error
    _check_combinations(recipe, where)
    return recipe


def dump(recipe: Recipe) -> str:
    """The fully resolved recipe as YAML; `load` reads it back unchanged."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


WITHOUT_EFFECT: Sequence[tuple[tuple[str, ...], Callable[[Recipe], bool], str]] = (
    (("region",), lambda r: r.region != "" and not any(view.needs_region for view in r.views), "no view needs one"),
    (("teacher_enlarge",), lambda r: r.teacher_enlarge > 1 and r.teacher_view != "crop", "teacher_view is not crop"),
    (("anchor_share",), lambda r: round(r.anchor_share * r.prompts_per_step) == 0,
     "it is less than half a prompt of prompts_per_step"),
    (("vllm_gpu_memory_utilization", "vllm_enable_sleep_mode", "vllm_engine_args"), lambda r: not r.use_vllm,
     "use_vllm is false"),
    (("rollout_tokens",), lambda r: r.use_vllm, "vLLM fills its own batches"),
    (("importance_cap",), lambda r: not r.use_vllm and r.rollouts_from == "student",
     "the trainer itself samples the student's answers, so the ratio is 1"),
    (("mixture",), lambda r: r.divergence != "jsd", "divergence is not jsd"),
    (("support", "top_k", "tail"), lambda r: r.divergence == "sampled_token",
     "divergence=sampled_token compares the sampled token alone"),
    (("top_k", "tail"), lambda r: r.support == "full", "support is full"),
    (("tilt",), lambda r: r.target == "teacher", "target is teacher"),
    (("null_view",), lambda r: len(r.views) < 3, "neither target nor weights use it"),
    (("weights",), lambda r: r.weight_min == r.weight_max, "weight_min and weight_max are equal"),
    (("weights",), lambda r: r.weight_alpha == 0, "weight_alpha is 0"),
    (("weight_alpha", "weight_gamma", "weight_min", "weight_max"), lambda r: r.weights == "none", "weights is none"),
    (("ema_rate",), lambda r: r.teacher != "ema", "teacher is not ema"),
    (("trust_region",), lambda r: r.teacher != "trust_region", "teacher is not trust_region"),
    (("copy_every",), lambda r: r.copy_every > r.steps, "there are fewer steps, so the teacher stays frozen"),
    (("copy_every",), lambda r: r.teacher != "copy", "teacher is not copy"),
    (("schedule",), lambda r: r.warmup_steps >= r.steps, "the warm-up lasts to the end"),
    (("validation", "validation_samples"), lambda r: r.eval_every == 0, "eval_every is 0"),
    (("lora_rank", "lora_alpha", "lora_targets"), lambda r: not r.lora, "lora is false"),
)  # fmt: skip
"""Keys that do nothing under a condition, and why; of several conditions the last one counts."""


def remarks(recipe: Recipe) -> list[str]:
    """A sentence for every setting that differs from its default and yet does nothing beside the others, and for views
    from which nothing can be learnt.
    """
    reasons: dict[str, str] = {}
    for keys, condition, reason in WITHOUT_EFFECT:
        reasons |= dict.fromkeys(keys, reason) if condition(recipe) else {}
    changed = {k: getattr(recipe, k) for k, field in Recipe.model_fields.items() if getattr(recipe, k) != field.default}
    shown = {k: v if isinstance(v, str) else json.dumps(v) for k, v in changed.items()}
    sentences = [f"{k}={v} has no effect, because {reasons[k]}." for k, v in shown.items() if k in reasons]
    if recipe.same_images and recipe.teacher != "model" and recipe.target == "teacher":
        sentences.append(
            f"{_same_images(recipe)}, and teacher={recipe.teacher} starts from the student's weights. So the loss is 0 "
            "at first, and then comes from rounding that the optimizer enlarges: this is a control without evidence, "
            "and nothing is learnt from the data. To train, set teacher_view=crop and a lower anchor_share."
        )
    return sentences


def _same_images(recipe: Recipe) -> str:
    if recipe.student_view == recipe.teacher_view:
        return f"student_view and teacher_view are both {recipe.student_view}"
    return f"anchor_share={recipe.anchor_share:g} shows the student the teacher's image of every prompt"


def names() -> list[str]:
    """The names of the recipes that come with gapbench."""
    return sorted(p.stem for p in FOLDER.glob("*.yaml"))


def _recipe_path(name: str | Path) -> Path:
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


def _override_value(key: str, text: str) -> Any:
    """The value of `key=text`: the text itself for a text setting, YAML for every other."""
    is_text = key in Recipe.model_fields and Recipe.model_fields[key].annotation is str
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        if is_text:
            return text
        raise SettingError(f"{key}={text}: {text!r} is not a YAML value.") from error
    return text if is_text and not isinstance(value, str) else value


def _normalised(key: str, value: Any) -> Any:
    """Undoes what YAML 1.1 makes of common notations: 2e-6 (a text), no (false), a single item in place of a list."""
    kind = str(Recipe.model_fields[key].annotation)
    if isinstance(value, str) and ("float" in kind or "int" in kind) and "str" not in kind:
        try:
            return float(value)
        except ValueError:
            return value
    if value is False and "'no'" in kind:
        return "no"
    return (value,) if isinstance(value, str) and kind.startswith("tuple") else value


def _check_combinations(recipe: Recipe, where: str) -> None:
    for key in ("student_view", "teacher_view", "null_view"):
        text = getattr(recipe, key)
        if text.partition(":")[0].strip() not in VIEWS:
            known = ", ".join(name for name, kind in VIEWS.items() if kind.trains)
            raise SettingError(f"{where}: {key}={text!r} is unknown. Expected one of {known}.")
        view = parse_view(text, f"{where}: {key}")
        if not VIEWS[view.kind].trains:
            raise SettingError(
                f"{where}: {key}={text!r} shows no image, several, or another prompt, and a training has one image and "
                "one prompt a side. Set another view; `hint` of the recipe adds a sentence to the prompt."
            )
        if view.needs_region and view.parameters.keys() - VIEWS[view.kind].defaults.keys():
            raise SettingError(
                f"{where}: {key}={text!r} has a region of its own, and a training has one. Set {key}={view.kind} and "
                "region, such as region=padded:factor=2."
            )
    if recipe.region:
        parse_policy(recipe.region)
    if (recipe.teacher == "model") != bool(recipe.teacher_model):
        raise SettingError(
            f"{where}: teacher={recipe.teacher!r} with teacher_model={recipe.teacher_model!r}. To use another model as "
            "teacher, set both `teacher: model` and `teacher_model: NAME`."
        )
    if recipe.rollouts_from == "teacher" and recipe.teacher == "model":
        raise SettingError(
            f"{where}: rollouts_from='teacher' with teacher='model'. Another model only scores answers "
            "and cannot write them. Set rollouts_from to student, or teacher to ema, frozen, copy or trust_region."
        )
    if recipe.min_pixels and recipe.max_pixels and recipe.min_pixels > recipe.max_pixels:
        raise SettingError(f"{where}: min_pixels={recipe.min_pixels} is more than max_pixels={recipe.max_pixels}.")
    if recipe.micro_batch_tokens <= recipe.max_new_tokens:
        raise SettingError(
            f"{where}: micro_batch_tokens={recipe.micro_batch_tokens} holds not even one answer of max_new_tokens="
            f"{recipe.max_new_tokens} tokens and its prompt. Raise micro_batch_tokens or lower max_new_tokens."
        )
    _check_loss(recipe, where)
    _check_target(recipe, where)
    _check_weights(recipe, where)


def _check_loss(recipe: Recipe, where: str) -> None:
    """Raise SettingError for settings whose loss is 0 at every step, and for an importance ratio that is none.

    Adam divides by the size of the gradient, so the rounding of a loss of 0 moves the weights as any other does.
    """
    if recipe.same_images and recipe.follows_at_once and recipe.target == "teacher":
        raise SettingError(
            f"{where}: {_same_images(recipe)}, and teacher={recipe.teacher} has the student's weights. The loss is "
            "always 0, and the weights would follow rounding and weight decay alone. Set teacher_view=crop and a lower "
            "anchor_share, or another teacher."
        )
    if (
        recipe.divergence != "sampled_token" and recipe.top_k == 1 and not recipe.tail
        and recipe.support in ("student", "teacher")
    ):  # fmt: skip
        raise SettingError(
            f"{where}: top_k=1 with tail=false compares a single token, which has probability 1 on both sides. The "
            "loss is always 0, and the weights would follow weight decay alone. Set tail=true, or top_k to 2 or more."
        )
    if recipe.importance_cap is not None and (recipe.temperature != 1 or recipe.top_p != 1):
        raise SettingError(
            f"{where}: importance_cap={recipe.importance_cap:g} with temperature={recipe.temperature:g} and "
            f"top_p={recipe.top_p:g}. The sampler's log-probabilities are those at temperature 1 over all tokens, so "
            "the ratio would not be that of the answers. Set temperature=1 and top_p=1, or importance_cap=null."
        )


def _check_target(recipe: Recipe, where: str) -> None:
    """Raise SettingError for a target that does nothing, that the divergence cannot take, or that is the student's."""
    if len(recipe.views) == 3 and recipe.views[1] == recipe.views[2]:
        used = "the tilt adds nothing" if recipe.tilts else "every answer has the same evidence"
        raise SettingError(
            f"{where}: null_view and teacher_view are both {recipe.null_view}, so {used}. Set null_view=blank, "
            "or another view that lacks the evidence."
        )
    if recipe.target == "teacher":
        return
    if recipe.target == "tilt" and recipe.tilt == 0:
        raise SettingError(
            f"{where}: tilt=0 with target=tilt is the teacher itself. Set target=teacher, which also saves reading the "
            "null view, or tilt=4."
        )
    if recipe.divergence == "sampled_token":
        raise SettingError(
            f"{where}: divergence=sampled_token compares the sampled token alone, and target={recipe.target} is made "
            "of several. Set divergence=jsd or forward_kl, or target=teacher."
        )
    if recipe.target == "hard" and recipe.divergence == "reverse_kl":
        raise SettingError(
            f"{where}: divergence=reverse_kl to target=hard is infinite, because a label has probability 0 "
            "everywhere else. Set divergence=forward_kl, which is the cross-entropy, or jsd."
        )
    if recipe.target == "hard" and recipe.top_k == 1 and recipe.support == "student":
        raise SettingError(
            f"{where}: target=hard with support=student and top_k=1: the label is always the student's own "
            "likeliest token. Set top_k to 2 or more, or support=teacher."
        )
    if recipe.target == "hard" and recipe.tilt == 0 and recipe.same_images and recipe.teacher != "model":
        raise SettingError(
            f"{where}: {_same_images(recipe)}, so with target=hard and tilt=0 the labels are the student's own at the "
            "start: it would become surer of what it says, and nothing is learnt from the data. Set teacher_view=crop "
            "and a lower anchor_share, or a tilt."
        )


def _check_weights(recipe: Recipe, where: str) -> None:
    """Raise SettingError for weights that cannot be computed."""
    if recipe.weights == "none":
        return
    if recipe.rollouts_per_prompt == 1:
        raise SettingError(
            f"{where}: weights=evidence compares the rollouts of a prompt, and there is one (rollouts_per_prompt=1). "
            "Set rollouts_per_prompt to 2 or more, or weights=none."
        )
    if recipe.weight_min > recipe.weight_max:
        raise SettingError(f"{where}: weight_min={recipe.weight_min:g} is more than weight_max={recipe.weight_max:g}.")
