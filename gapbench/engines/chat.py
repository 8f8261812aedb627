"""Turn (images, prompt) pairs into model input: a left-padded batch from the model's chat template and processor.

    chat = make_chat(loaded)
    inputs = place(chat.batch([((image,), "Which letter?")]), loaded.model)

The reference engine and training share this module, so a model is trained on the same prompts it is measured with.
Thinking is switched off where the template has a switch for it. Text from data cannot become a control token.
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
    """How to prompt one model. `switches` are the template variables that turn thinking off."""

    processor: Any
    processor_kwargs: Mapping[str, Any]
    switches: tuple[str, ...]
    escape: Callable[[str], str]

    def conversation(self, images: Sequence[Image], prompt: str, kind: str = "image") -> list[dict[str, Any]]:
        """The images and then the prompt as one turn of the user; `kind` is the word for an image."""
        image_parts = [{"type": kind, kind: image} for image in images]
        return [{"role": "user", "content": [*image_parts, {"type": "text", "text": self.escape(prompt)}]}]

    def batch(self, prompts: Sequence[tuple[Sequence[Image], str]]) -> Any:
        """The processor's output for (images, prompt) pairs: one row per pair, padded on the left.

        The images come before the prompt, in their order. A pair may have any number of images, or none.
        """
        return self.processor.apply_chat_template(
            [self.conversation(images, prompt) for images, prompt in prompts],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, **self.processor_kwargs},
            **dict.fromkeys(self.switches, False),
        )


def make_chat(loaded: Loaded, processor_kwargs: Mapping[str, Any] | None = None) -> Chat:
    """The chat of a loaded model. Raises ModelError if it has no chat template."""
    chat = chat_of(loaded.processor, processor_kwargs or {})
    if not chat.processor.chat_template:
        raise ModelError(
            f"Model {loaded.name}: it has no chat template, so gapbench cannot format its prompts. Pass "
            "--chat-template FILE (jinja, as for vLLM)."
        )
    return chat


def chat_of(processor: Any, processor_kwargs: Mapping[str, Any]) -> Chat:
    """The chat of a processor, which may have no chat template."""
    # Phi-4-multimodal's processor drops its template when it loads; its tokenizer keeps it.
    processor.chat_template = chat_template_of(processor)
    switches = thinking_switches(processor.chat_template)
    return Chat(processor, dict(processor_kwargs), switches, special_token_escaper(processor.tokenizer))


def chat_template_of(processor: Any) -> Any:
    """The processor's chat template, else its tokenizer's, else None."""
    tokenizer = getattr(processor, "tokenizer", None)
    return getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)


def thinking_switches(template: Any) -> tuple[str, ...]:
    """The variables of a chat template that can turn thinking off."""
    return tuple(name for name in ("enable_thinking", "thinking") if re.search(rf"\b{name}\b", str(template)))


def place(inputs: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """The batch on the model's device, with images in its dtype and without the labels that some processors add."""
    placed = {k: v.to(model.device) if hasattr(v, "to") else v for k, v in inputs.items() if k != "labels"}
    for name, value in placed.items():
        if getattr(value, "is_floating_point", lambda: False)():
            placed[name] = value.to(model.dtype)
    return placed


def chat_template_source(file: Path | None) -> str:
    """Where the chat template comes from, for `run.json`: the model, or a file, with the SHA-256 of its text."""
    return f"given, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:32]}" if file else "the model's own"
