"""From (images, prompt) to what a model reads: one left-padded batch through its own chat template and processor.

    chat = make_chat(loaded)
    inputs = place(chat.batch([((image,), "Which letter?")]), loaded.model)

Shared by the reference engine and by training, so that a model is trained on the very prompts it is measured with.
Thinking is switched off where the template has a switch for it; text from data cannot become a control token.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.engines.models import Loaded
from gapbench.engines.tokens import special_token_escaper
from gapbench.errors import ModelError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Chat:
    """How one model is asked. `switches` are the template variables that turn thinking off."""

    processor: Any
    processor_kwargs: Mapping[str, Any]
    switches: tuple[str, ...]
    escape: Callable[[str], str]

    def batch(self, asked: Sequence[tuple[Sequence[Image], str]]) -> Any:
        """The processor's output for (images, prompt) pairs, one row each, padded on the left.

        The images stand before the prompt, in their order; none is fine, and rows may have different numbers of them.
        """
        talks = []
        for images, prompt in asked:
            shown = [{"type": "image", "image": image} for image in images]
            talks.append([{"role": "user", "content": [*shown, {"type": "text", "text": self.escape(prompt)}]}])
        return self.processor.apply_chat_template(
            talks,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, **self.processor_kwargs},
            **dict.fromkeys(self.switches, False),
        )


def make_chat(loaded: Loaded, processor_kwargs: Mapping[str, Any] | None = None) -> Chat:
    """How `loaded` is asked. Raises ModelError if it has no chat template."""
    processor = loaded.processor
    template = chat_template_of(processor)
    if not template:
        raise ModelError(
            f"Model {loaded.name}: it has no chat template, so gapbench cannot know how to ask it. Pass "
            "--chat-template FILE (jinja), as vLLM takes it."
        )
    if not getattr(processor, "chat_template", None):  # Phi-4-multimodal's processor loses it on loading
        processor.chat_template = template
    switches = thinking_switches(template)
    return Chat(processor, dict(processor_kwargs or {}), switches, special_token_escaper(processor.tokenizer))


def chat_template_of(processor: Any) -> Any:
    """The processor's chat template, else its tokenizer's, else None."""
    tokenizer = getattr(processor, "tokenizer", None)
    return getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)


def thinking_switches(template: Any) -> tuple[str, ...]:
    """The variables by which a chat template can be told not to let the model think first."""
    return tuple(s for s in ("enable_thinking", "thinking") if re.search(rf"\b{s}\b", str(template)))


def place(inputs: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """A batch on the model's device, images in its dtype; labels that some processors add are left out."""
    placed = {k: v.to(model.device) if hasattr(v, "to") else v for k, v in inputs.items() if k != "labels"}
    for name, value in placed.items():
        if getattr(value, "is_floating_point", lambda: False)():
            placed[name] = value.to(model.dtype)
    return placed


def given_template(file: Path | None) -> str:
    """For `run.json`: whose chat template it is, and of a given one what identifies its text."""
    return f"given, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:32]}" if file else "the model's own"
