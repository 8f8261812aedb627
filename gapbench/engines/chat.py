"""Turn (images, prompt) pairs into model input: a left-padded batch from the model's chat template and processor.

    chat = make_chat(loaded)
    inputs = place(chat.batch([((image,), "Which letter?")]), loaded.model)

The reference engine and training share this module, so a model is trained on the same prompts it is measured with.
Thinking is switched off where the template has a switch for it (`gapbench.engines.thinking`). Text from data cannot
become a control token.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.engines.models import OTHER_ENGINES, Loaded
from gapbench.engines.thinking import NOTHING, Thinking, read_thinking, variables_of
from gapbench.engines.tokens import special_token_escaper
from gapbench.errors import ModelError, SettingError
from gapbench.scoring.thoughts import Tags
from gapbench.util.text import error_line, listed
from gapbench.views.fills import plain

if TYPE_CHECKING:
    from PIL.Image import Image

_PRINTED_PART = re.compile(r"""["']type["']\s*:""")


@dataclass(frozen=True)
class Chat:
    """How to prompt one model, which is asked not to think."""

    processor: Any
    processor_kwargs: Mapping[str, Any]
    thinking: Thinking
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
            **self.thinking.switches,
        )


def make_chat(
    loaded: Loaded, processor_kwargs: Mapping[str, Any] = NOTHING, chosen: Mapping[str, Any] = NOTHING, tags: Tags = ()
) -> Chat:
    """The chat of a loaded model. Raises ModelError if it has no chat template, or none that takes images."""
    chat = chat_of(loaded.processor, processor_kwargs, chosen, tags)
    if not chat.processor.chat_template:
        raise ModelError(
            f"Model {loaded.name}: it has no chat template, so gapbench cannot format its prompts. Pass "
            "--chat-template FILE (jinja, as for vLLM)."
        )
    if fault := _fault_with_images(chat):
        raise ModelError(
            f"Model {loaded.name}: its chat template cannot write an image and a question: {fault}. Expected "
            f"one that writes the model's image token for each part of type image. {OTHER_ENGINES} Or write such a "
            "template and pass it with --chat-template FILE."
        )
    return chat


def _fault_with_images(chat: Chat) -> str:
    """Why the template is of no use for images; empty if it is. A template may take content as text alone and raise no
    error: it prints the list of parts, or leaves the image out."""
    parts = [{"type": "image"}, {"type": "text", "text": "?"}]

    def rendered(content: Any) -> str:
        messages = [{"role": "user", "content": content}]
        return str(chat.processor.apply_chat_template(messages, add_generation_prompt=True, **chat.thinking.switches))

    try:
        shown, blind = rendered(parts), rendered(parts[1:])
    except Exception as error:
        try:
            rendered("?")
        except Exception as anyhow:
            return f"it cannot be rendered, with an image or without ({error_line(anyhow)})"
        return f"it takes a message's content as text, not as a list of parts ({error_line(error)})"
    if len(_PRINTED_PART.findall(shown)) > len(_PRINTED_PART.findall(blind)):
        return "it takes a message's content as text, and prints the list of parts"
    if shown == blind and not _adds_image_tokens(chat, shown):
        return "it leaves the image out"
    return ""


def _adds_image_tokens(chat: Chat, prompt: str) -> bool:
    """Whether the processor makes tokens for an image that the prompt does not have, as PaliGemma's does."""
    with suppress(Exception):
        written = len(chat.processor.tokenizer(prompt)["input_ids"])
        made = chat.batch([((plain((64, 64)),), "?")])["input_ids"].shape[1]
        return bool(made > written + 3)  # a few may begin and end the text
    return False


def chat_of(
    processor: Any, processor_kwargs: Mapping[str, Any], chosen: Mapping[str, Any] = NOTHING, tags: Tags = ()
) -> Chat:
    """The chat of a processor, which may have no chat template. `chosen` and `tags` are those of `read_thinking`.

    Raises SettingError if the template does not read one of the `chosen` variables.
    """
    # Phi-4-multimodal's processor drops its template when it loads; its tokenizer keeps it.
    processor.chat_template = chat_template_of(processor)
    template = processor.chat_template
    template = template.get("default") if isinstance(template, Mapping) else template
    if template and (unread := sorted(chosen.keys() - (known := variables_of(template).keys()))):
        raise SettingError(
            f"--chat-template-kwargs {unread[0]}: the chat template does not read it, so it would change nothing. "
            f"It reads {listed(sorted(known), 12)}. Leave it out, or pass another --chat-template FILE."
        )
    thinking = read_thinking(template, chosen, tags)
    return Chat(processor, dict(processor_kwargs), thinking, special_token_escaper(processor.tokenizer))


def chat_template_of(processor: Any) -> Any:
    """The processor's chat template, else its tokenizer's, else None."""
    tokenizer = getattr(processor, "tokenizer", None)
    return getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)


def place(inputs: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """The batch on the model's device, with images in its dtype and without the labels that some processors add."""
    placed = {k: v.to(model.device) if hasattr(v, "to") else v for k, v in inputs.items() if k != "labels"}
    in_dtype(placed, model.dtype)
    return placed


def in_dtype(inputs: Any, dtype: Any) -> None:
    """Turn a batch's images into this dtype, in place."""
    for name, value in inputs.items():
        if getattr(value, "is_floating_point", lambda: False)():
            inputs[name] = value.to(dtype)


def chat_template_source(file: Path | None) -> str:
    """Where the chat template comes from, for `run.json`: the model, or a file, with the SHA-256 of its text."""
    return f"given, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()[:32]}" if file else "the model's own"
