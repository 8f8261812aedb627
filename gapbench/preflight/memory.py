"""The memory that a run needs on one device, known before any weight is read.

    loaded = models.load_without_weights("Qwen/Qwen3-VL-4B-Instruct", dtype="bfloat16")
    to_measure(loaded, make_chat(loaded), (image,), "Which letter?", new_tokens=128)    # {"weights": 8875719680, ...}
    to_train(loaded, recipe, student, teacher)

Weights, optimiser and the teacher's copy follow from the configuration. The KV cache, activations, logits and the
backward pass are counted in a dry run of the very code that measures and trains (`gapbench.preflight.dry_run`), at the
largest prompt.

Limits: one device without sharding; what CUDA, its kernels and a fragmented allocator take comes on top. While a model
answers, its cache grows by copies of one layer at a time, which are counted; batches larger than one prompt are not.
Rollouts by vLLM take the share of the device that the recipe gives them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gapbench.distillation.batches import MicroBatch, pack
from gapbench.distillation.divergence import Tokens, chunked_divergence
from gapbench.distillation.forward import ForwardMode, continue_from_cache, head, hidden_states, read_prompt, token_ids
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.rollouts import Rollout
from gapbench.distillation.student import ModelRole, make_role
from gapbench.distillation.teachers import WITH_OWN_WEIGHTS
from gapbench.engines.chat import Chat
from gapbench.engines.models import Loaded
from gapbench.preflight.diagnosis import Observation, ObservationLevel
from gapbench.preflight.dry_run import backward, dry_run, without_data
from gapbench.util.downloads import gigabytes

if TYPE_CHECKING:
    from PIL.Image import Image

ImageText = tuple["Image", str]

OVERHEAD = 1.1
"""Memory that is needed for each byte that is counted: rounding and fragments of the allocator, kernels, the driver."""
SHARDED = ("weights", "optimiser", "teacher")
"""Terms that FSDP2 divides by the number of devices. Gradients are whole on each until a step's last micro-batch."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes by term: what is held `always`, and what comes on top in `rollouts` and while it is `training`."""

    always: Mapping[str, int]
    rollouts: Mapping[str, int]
    training: Mapping[str, int]


def to_measure(loaded: Loaded, chat: Chat, images: Sequence[Image], prompt: str, new_tokens: int) -> dict[str, int]:
    """Bytes by term for one answer of `new_tokens` tokens to this prompt: weights, KV cache, activations.

    `loaded` is a model without weights. Raises what the model's code raises in a dry run.
    """
    model = loaded.model
    inputs = chat.batch([(images, prompt)])
    with torch.no_grad(), _in_a_dtype_that_runs(model) as factor:
        placed = without_data(inputs, model.dtype)
        with dry_run() as memory:
            cache = model(**placed, use_cache=True, logits_to_keep=1).past_key_values
        read, peak, pixels = _size(_tensors(cache)), memory.peak, _size(placed.values())
        full, copy = _grown(cache, inputs["input_ids"].shape[1], new_tokens)
    return {
        "weights": _size([*model.parameters(), *model.buffers()]),
        "KV cache": full * factor,
        "activations": (max(peak - read, copy) + pixels) * factor,
    }


def to_train(
    loaded: Loaded, recipe: Recipe, student: ImageText, teacher: ImageText, autocast: bool, external: Any = None,
    null: ImageText | None = None,
) -> TrainingMemory:  # fmt: skip
    """Bytes by term for training on one device with the largest prompts of both sides.

    `loaded` is a model without weights, in the dtype in which it would be loaded. `autocast`: with bfloat16 autocast,
    as on an accelerator. `external` is the model of a teacher that is another model, without weights too. `null` is the
    largest prompt of the teacher's null view, which the teacher reads as well. Raises what the model's code raises in a
    dry run.
    """
    role = make_role(loaded, recipe)
    trained = [p for p in role.model.parameters() if p.requires_grad]
    others = external.parameters() if external is not None else ()
    always = {
        "weights": _size([*role.model.parameters(), *role.model.buffers()]),
        "optimiser": 2 * _size(trained),  # two moments
        "teacher": _size(trained if recipe.teacher in WITH_OWN_WEIGHTS else others),
    }
    mode = ForwardMode(recipe.share_prompt and not recipe.gradient_checkpointing, split_head=True, expand=True)
    lowered = torch.bfloat16 if autocast else None
    prompts = (student, teacher, *([null] if null else []))
    return TrainingMemory(
        always, _rollouts(role, recipe, student, lowered), _training(role, recipe, mode, prompts, lowered)
    )


def against_device(
    terms: Mapping[str, int], there: tuple[int, int] | None, device: str, note: str, remedy: str
) -> Observation:
    """Whether these terms fit into a device of so many bytes, all and free."""
    need = sum(terms.values()) * OVERHEAD
    parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in terms.items() if size)
    found = f"about {gigabytes(need)} ({note}): {parts}"
    if there is None:
        return Observation("memory", "ok", found)
    total, free = there
    level: ObservationLevel = "fails" if need > total else "warning" if need > free else "ok"
    found += f"; {device} has {gigabytes(total)}, {gigabytes(free)} free"
    return Observation("memory", level, found, "" if level == "ok" else remedy)


def to_train_on_less(recipe: Recipe, terms: Mapping[str, int], device: int) -> str:
    """What makes a training fit into devices of so many bytes."""
    ways = [] if recipe.lora else ["lora=true"]
    if not recipe.gradient_checkpointing:
        ways.append("gradient_checkpointing=true")
    ways.append("a lower micro_batch_tokens, rollout_tokens or max_pixels")
    sharded = OVERHEAD * sum(terms.get(name, 0) for name in SHARDED)
    room = device - (OVERHEAD * sum(terms.values()) - sharded)
    if room > 0 and not recipe.lora:
        ways.append(f"FSDP2 over {max(2, math.ceil(sharded / room))} such devices or more")
    return f"{'; '.join(ways)}."


def _rollouts(role: ModelRole, recipe: Recipe, student: ImageText, autocast: torch.dtype | None) -> dict[str, int]:
    """Of one batch of rollouts: reading its prompts, the cache at its longest, and one step."""
    if recipe.use_vllm:
        return {}
    model, answers = role.model, recipe.rollouts_per_prompt
    inputs = role.chat.batch([((student[0],), student[1])])
    length = inputs["input_ids"].shape[1]
    mode = ForwardMode(share_prompt=True, split_head=True, expand=True)
    placed = without_data(inputs, model.dtype)
    with torch.no_grad(), dry_run(autocast) as memory:
        cache = read_prompt(model, placed, answers, mode)[1]
        mask = torch.ones(answers, length + 1, dtype=torch.long)
        head(model, mode)(continue_from_cache(model, cache, mask, torch.zeros(answers, 1, dtype=torch.long), mode))
        copies = _size(p for p in model.parameters() if p.requires_grad) // 2 if autocast else 0
        full, copy = _grown(cache, length, recipe.max_new_tokens)
        working = max(memory.peak - _size(_tensors(cache)) - copies, copy)
    prompts = max(
        1, min(recipe.prompts_per_step, recipe.rollout_tokens // ((length + recipe.max_new_tokens) * answers))
    )
    return {"KV cache": full * prompts, "activations": working * prompts + copies}


def _training(
    role: ModelRole, recipe: Recipe, mode: ForwardMode, prompts: Sequence[ImageText], autocast: torch.dtype | None,
) -> dict[str, int]:  # fmt: skip
    """Of the largest micro-batch: gradients, what the forward pass keeps, and what loss and backward pass add."""
    model = role.model
    trained = [p for p in model.parameters() if p.requires_grad]
    for param in trained:
        param.grad = torch.empty_like(param)
    length = role.chat.batch([((prompts[0][0],), prompts[0][1])])["input_ids"].shape[1]
    batch = _largest_micro_batch(recipe, length, mode.share_prompt)
    groups = [[[0] * recipe.max_new_tokens] * (batch.answers // len(batch.prompts))] * len(batch.prompts)
    student, *sides = (
        without_data(role.chat.batch([((image,), text)] * len(batch.prompts)), model.dtype) for image, text in prompts
    )
    model.train(recipe.gradient_checkpointing)
    try:
        with dry_run(autocast) as memory:
            with torch.no_grad():
                read = [hidden_states(model, side, groups, mode) for side in sides]
            states = hidden_states(model, student, groups, mode)
            kept = memory.live
            ids = token_ids(groups, torch.device("cpu"))
            tokens = Tokens(ids, torch.ones(len(ids)))
            project = head(model, mode)
            settings, null = recipe.loss, read[-1] if recipe.tilts else None
            totals = chunked_divergence(states, read[0], tokens, project, project, settings, recipe.chunk_tokens, null)
            backward(totals.loss)
    finally:
        model.eval()
        for param in trained:
            param.grad = None
    pixels = _size(student.values())
    return {
        "gradients": _size(trained),
        "activations": kept + pixels,
        "logits and backward": max(0, memory.peak - kept),
    }


def _largest_micro_batch(recipe: Recipe, prompt_tokens: int, share_prompt: bool) -> MicroBatch:
    """The one with most tokens, if every prompt is as long as this one and every answer is cut off."""
    answer = Rollout((0,) * recipe.max_new_tokens, (), True, prompt_tokens)
    budget = recipe.micro_batch_tokens  # more prompts and answers than it holds make no larger batch
    answers = min(recipe.rollouts_per_prompt, budget // recipe.max_new_tokens + 1)
    rollouts = [[answer] * answers] * min(recipe.prompts_per_step, budget // max(1, prompt_tokens) + 1)
    packed = pack(rollouts, recipe.micro_batch_tokens, share_prompt)
    return max(packed, key=lambda batch: batch.tokens(rollouts, share_prompt))


def _grown(cache: Any, length: int, new_tokens: int) -> tuple[int, int]:
    """The bytes of a cache after `new_tokens` more tokens, and of its largest layer, which a step copies."""
    layers = [_size(_tensors(layer)) for layer in getattr(cache, "layers", ())] or [_size(_tensors(cache))]
    growth = (length + new_tokens) / length
    return round(sum(layers) * growth), round(max(layers) * growth)


def _tensors(cache: Any) -> list[Tensor]:
    """The tensors that a cache, or one of its layers, holds."""
    found: list[Tensor] = []
    for holder in getattr(cache, "layers", None) or [cache]:
        for value in vars(holder).values():
            parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
            found += [part for part in parts if isinstance(part, Tensor)]
    return found


def _size(tensors: Iterable[Any]) -> int:
    """The bytes of the tensors without data among these; tensors that share their memory count once."""
    storages = {id(s): s for t in tensors if isinstance(t, Tensor) and t.is_meta for s in [t.untyped_storage()]}
    return sum(storage.nbytes() for storage in storages.values())


@contextmanager
def _in_a_dtype_that_runs(model: Any) -> Any:
    """Yields 1; or 2, with the model in bfloat16, if its layers of experts run without data in bfloat16 alone."""
    experts = any("experts" in name for name, _ in model.named_parameters())
    if not experts or model.dtype != torch.float32:
        yield 1
        return
    model.to(torch.bfloat16)
    try:
        yield 2
    finally:
        model.to(torch.float32)
