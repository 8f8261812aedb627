"""A model in its role: loaded, wrapped for training, and asked through its own chat template.

    role = make_role(models.load("glance"), recipe)
    role.inside(function, ...)              # function(model, ...) inside the wrapped forward pass

DDP and FSDP2 must see every use of a parameter inside `forward`. `Inside` is the one module they wrap; its forward runs
whatever function it is given, so that generation, teacher forcing and the loss are plain functions of a plain model.

Limits: LoRA adapters are kept in float32, all else that is trained too; what is not trained keeps its dtype.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from gapbench.distillation.forward import PLAIN, Reading
from gapbench.distillation.recipe import Recipe
from gapbench.engines.chat import Chat, make_chat
from gapbench.engines.models import Loaded
from gapbench.engines.tokens import neutral_generation
from gapbench.errors import SettingError

TOWER = r"(visual|vision\w*|image_tower|image_embed|vit)"
VISION = re.compile(rf"(^|\.){TOWER}(\.|$)")
"""Parts of a parameter's name that say that it belongs to the vision tower; a projector counts where it lies inside."""
PICTURE = re.compile(r"(image|video|vision|visual|audio|media|boi|eoi|boa|eoa)\w*_token_(id|ids|index)")
"""Settings of a configuration that name tokens which stand for images, films or sounds, or frame them."""


class Inside(torch.nn.Module):
    """Runs a function of the model inside `forward`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        found = {type(module).__name__ for module in model.modules()}  # some name classes that they have no use for
        self._no_split_modules = sorted(found.intersection(getattr(model, "_no_split_modules", None) or ()))

    def tie_weights(self) -> None:
        """Accelerate takes tied weights apart when it shards them, and then asks for this."""
        self.model.tie_weights()

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        """function(model, *args)"""
        return function(self.model, *args)


@dataclass(frozen=True)
class ModelRole:
    """A model that answers or judges. `inside` is `Inside(model)`, wrapped once accelerate has prepared it; `ends` are
    the ids that end an answer, `suppressed` those that stand for images."""

    name: str
    model: Any
    inside: Any
    chat: Chat
    ends: tuple[int, ...]
    suppressed: tuple[int, ...]
    reading: Reading = PLAIN

    @property
    def vocabulary(self) -> int:
        """Width of the logits."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """`inside(function, *args)` without gradient; DDP would else await the backward pass of every call."""
        with torch.no_grad():
            return self.inside(function, *args)

    def read_as(self, reading: Reading) -> ModelRole:
        """The same role with the economies that `selfcheck` found."""
        return replace(self, reading=reading)


def make_role(loaded: Loaded, recipe: Recipe, trained: bool = True) -> ModelRole:
    """A role for a loaded model; `trained`: parts of it get gradients, as the recipe says. Raises SettingError."""
    chat = make_chat(loaded, recipe.processor)
    ends = tuple(sorted(neutral_generation(loaded)))
    suppressed = image_tokens(loaded.model.config)
    model = loaded.model
    model.requires_grad_(False)
    if recipe.freeze_vision and not any(VISION.search(name) for name, _ in model.named_parameters()):
        raise SettingError(
            "freeze_vision: no parameter's name says that it belongs to a vision tower; set it to false for this model."
        )
    if trained:
        model = _with_adapters(model, recipe) if recipe.lora else _trainable(model, recipe)
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            if recipe.lora:
                model.enable_input_require_grads()
    return ModelRole(loaded.name, model, Inside(model), chat, ends, suppressed)


def image_tokens(config: Any) -> tuple[int, ...]:
    """Ids that stand for images, films and sounds, found by name in a model's configuration."""
    found: set[int] = set()
    for part in (config, getattr(config, "vision_config", None), getattr(config, "audio_config", None)):
        for name, value in vars(part).items() if part is not None else ():
            if PICTURE.fullmatch(name):
                found |= {i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int) and i >= 0}
    return tuple(sorted(found))


def _trainable(model: Any, recipe: Recipe) -> Any:
    for name, param in model.named_parameters():
        if not (recipe.freeze_vision and VISION.search(name)):
            param.data = param.data.float()
            param.requires_grad_(True)
    return model


def _with_adapters(model: Any, recipe: Recipe) -> Any:
    import peft

    targets: Any = recipe.lora_targets
    if targets != "all-linear":
        targets = [name.strip() for name in (targets.split(",") if isinstance(targets, str) else targets)]
    vision = rf"(.*\.)?{TOWER}(\..*)?" if recipe.freeze_vision else None
    config = peft.LoraConfig(
        r=recipe.lora_rank, lora_alpha=recipe.lora_alpha, target_modules=targets, exclude_modules=vision,
        bias="none", task_type=None,
    )  # fmt: skip
    try:
        adapted = peft.get_peft_model(model, config)
    except ValueError as error:
        raise SettingError(f"lora_targets={recipe.lora_targets!r}: {str(error).splitlines()[0]}") from error
    for param in adapted.parameters():
        if param.requires_grad:
            param.data = param.data.float()
    return adapted
