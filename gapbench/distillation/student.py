"""A model in its role as student or teacher: loaded, wrapped for training, with its chat template.

    role = make_role(models.load("glance"), recipe)
    role.wrapped(function, ...)              # function(model, ...) inside the wrapped forward pass

DDP and FSDP2 must see every use of a parameter inside `forward`. `ForwardWrapper` is the one module that they wrap, and
its forward runs any function that it is given. So generation, teacher forcing and the loss are plain functions of a
plain model.

Limits: everything that is trained, LoRA adapters included, is kept in float32. Everything else keeps its dtype.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from gapbench.distillation.forward import PLAIN, ForwardMode
from gapbench.distillation.recipe import Recipe
from gapbench.engines.chat import Chat, make_chat
from gapbench.engines.models import Loaded
from gapbench.engines.tokens import neutral_generation
from gapbench.errors import SettingError
from gapbench.util.text import first_line

TOWER = r"(visual|vision\w*|image_tower|image_embed|vit)"
VISION = re.compile(rf"(^|\.){TOWER}(\.|$)")
"""Matches the names of parameters in the vision tower. A projector counts as part of it only if it lies inside the
tower.
"""
PLACEHOLDER_SETTING = re.compile(r"(image|video|vision|visual|audio|media|boi|eoi|boa|eoa)\w*_token_(id|ids|index)")
"""Matches configuration settings that name tokens which stand for images, videos or sounds, or frame them."""


class ForwardWrapper(torch.nn.Module):
    """Runs a function of the model inside `forward`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        # Some models name classes that they do not contain.
        classes = {type(module).__name__ for module in model.modules()}
        self._no_split_modules = sorted(classes.intersection(getattr(model, "_no_split_modules", None) or ()))

    def tie_weights(self) -> None:
        """Accelerate separates tied weights when it shards a model, and then calls this."""
        self.model.tie_weights()

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return `function(model, *args)`."""
        return function(self.model, *args)


@dataclass(frozen=True)
class ModelRole:
    """A model that answers or teaches.

    `wrapped` is `ForwardWrapper(model)`, and later what accelerate makes of it. `ends` are the ids that end an answer,
    `suppressed` the ids that stand for images, `mode` is the forward mode.
    """

    name: str
    model: Any
    wrapped: Any
    chat: Chat
    ends: tuple[int, ...]
    suppressed: tuple[int, ...]
    mode: ForwardMode = PLAIN

    @property
    def vocabulary(self) -> int:
        """Width of the logits."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    def run_without_grad(self, function: Callable[..., Any], *args: Any) -> Any:
        """`wrapped(function, *args)` without gradient. With gradients DDP would expect a backward pass after every
        call.
        """
        with torch.no_grad():
            return self.wrapped(function, *args)

    def with_mode(self, mode: ForwardMode) -> ModelRole:
        """The same role with the forward mode that `forward_check` chose."""
        return replace(self, mode=mode)


def make_role(loaded: Loaded, recipe: Recipe, trained: bool = True) -> ModelRole:
    """The role of a loaded model. If `trained`, the parameters that the recipe names get gradients. Raises
    SettingError.
    """
    model, chat = loaded.model, make_chat(loaded, recipe.processor)
    ends, suppressed = tuple(sorted(neutral_generation(loaded))), image_tokens(model.config)
    model.requires_grad_(False)
    if recipe.freeze_vision and not any(VISION.search(name) for name, _ in model.named_parameters()):
        raise SettingError(
            "freeze_vision: no parameter's name says that it belongs to a vision tower; set it to false for this model."
        )
    if trained:
        if recipe.lora:
            model = _with_adapters(model, recipe)
        else:
            for name, param in model.named_parameters():
                param.requires_grad_(not (recipe.freeze_vision and VISION.search(name)))
        for param in model.parameters():
            if param.requires_grad:
                param.data = param.data.float()
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            _without_dropout(model)
            if recipe.lora:
                model.enable_input_require_grads()
    return ModelRole(loaded.name, model, ForwardWrapper(model), chat, ends, suppressed)


def _without_dropout(model: Any) -> None:
    """Sets to 0 every rate of dropout in the layers that checkpoint gradients, which need the training mode for it."""
    for layer in model.modules():
        if getattr(layer, "gradient_checkpointing", False):
            for name in [n for n, value in vars(layer).items() if "drop" in n and isinstance(value, float)]:
                setattr(layer, name, 0.0)


def image_tokens(config: Any) -> tuple[int, ...]:
    """The ids that stand for images, videos or sounds, read from the names in a model's configuration."""
    parts = (config, getattr(config, "vision_config", None), getattr(config, "audio_config", None))
    settings = [item for part in parts if part is not None for item in vars(part).items()]
    values = [value for name, value in settings if PLACEHOLDER_SETTING.fullmatch(name)]
    ids = [i for value in values for i in (value if isinstance(value, list) else [value])]
    return tuple(sorted({i for i in ids if isinstance(i, int) and i >= 0}))


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
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise SettingError(f"lora_targets={recipe.lora_targets!r}: {first_line(error)}") from error
