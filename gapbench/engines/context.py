"""What servers say of the model's context: its length, and that a prompt does not fit.

    context_length({"id": "m", "max_model_len": 1024})     # 1024
    read_refusal("The input (1954 tokens) is longer than the model's context length (1024 tokens).")
    # TooLong(prompt=1954, context=1024)

Every server words this refusal in its own way, so that it is found by words and numbers, not by a list of messages;
tests/engines/server_replies.py has the wordings that were seen, with their sources.

Limits: a server that cuts prompts silently and does not say its context length is not noticed (Ollama, which keeps
half of its `num_ctx`; `transformers serve` and gateways say no length).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LENGTHS = ("max_model_len", "n_ctx", "n_ctx_train", "context_length", "max_context_length", "context_window")
"""Names of the context length in a list of models: vLLM's and SGLang's, llama.cpp's (in `meta`), and those of APIs."""
CODE = re.compile(r"context_length_exceeded|exceed_context_size|ContextWindowExceeded")
LIMIT = re.compile(
    r"context.{0,3}(length|window|size|limit)|context the overflows|max_model_len|maximum model length"
    r"|prompt (is )?too long|(input|prompt)s?\b.{0,30}\b(length|tokens?|long)|model token limit|tokens allowed"
    r"|\d maximum|multimodal tokens",
    re.IGNORECASE,
)
EXCEEDED = re.compile(
    r"exceed|(longer|larger|greater|more) than|too (long|large|many)|overflow|not fit|should be|must (be|have)"
    r"|maximum.{0,40} is \d|\d tokens, but",
    re.IGNORECASE,
)
RATE = re.compile(r"per (second|minute|hour|day)|rate.?limit|quota", re.IGNORECASE)
"""A refusal has one of the codes `CODE`, or names a limit (`LIMIT`), not a rate, that is exceeded (`EXCEEDED`)."""
CONTEXT_TOKENS = (
    r"(?<!=)>=? ?(\d+)", r"(\d+) maximum", r"n_ctx\D{1,4}(\d+)", r"\[1, ?(\d+)",
    r"(?:context.{0,3}(?:length|window|size|limit)|prompt length|model.len(?:gth)?|token limit|tokens allowed"
    r"|configured limit|the limit|must be <=|less than)(?! by)[^\d.]{0,30}(\d+)",
)  # fmt: skip
PROMPT_TOKENS = (
    r"(\d+) (?:in (?:the|your) (?:messages|prompt)|of text input|tokens from the input|input tokens|`inputs` tokens)",
    r"(?:\b(?:input|request|prompt|messages|first|n_keep|given|context limit:)|=>)[^\d.]{0,40}(\d\d+)"
    r"(?!\d| characters)",
)
"""Patterns of the two numbers, in the order in which they are tried."""


@dataclass(frozen=True)
class TooLong:
    """A refusal: the tokens of the prompt and of the model's context, each None if the server does not say it."""

    prompt: int | None = None
    context: int | None = None

    @property
    def fact(self) -> str:
        """The refusal for users, without a remedy."""
        said, limit = "the prompt is longer than the context", ""
        if self.prompt:
            at_least = "at least " if self.context and self.prompt < self.context else ""  # not counted to its end
            said = f"the prompt has {at_least}{self.prompt:,} tokens"
        if self.context:
            limit = f", the model was made for {self.context:,}"
        return f"{said}{limit}"

    @property
    def reason(self) -> str:
        """The refusal for users, with a remedy."""
        return f"{self.fact}; lower --max-pixels, or serve a longer context"

    def room(self, max_tokens: int) -> int:
        """The new tokens that fit after the prompt, fewer than `max_tokens`; 0 if the prompt alone does not fit."""
        if self.context is None or (self.prompt is None and max_tokens <= self.context):
            return 0
        return max(0, min(self.context - (self.prompt or 0), max_tokens - 1))


def read_refusal(text: str, error: Mapping[str, Any] | None = None) -> TooLong | None:
    """The refusal in an error's text, or None if the error is another. `error` are its JSON fields, if there are any.

    llama.cpp has the numbers as fields. In a text, the first number that is not the context's is the prompt's.
    """
    if not (CODE.search(text) or (LIMIT.search(text) and EXCEEDED.search(text) and not RATE.search(text))):
        return None
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    error = error or {}
    context = error.get("n_ctx") or next(_numbers(CONTEXT_TOKENS, text), None)
    prompt = error.get("n_prompt_tokens") or next((n for n in _numbers(PROMPT_TOKENS, text) if n != context), None)
    return TooLong(prompt if isinstance(prompt, int) else None, context if isinstance(context, int) else None)


def context_length(entry: Mapping[str, Any]) -> int | None:
    """The context length in tokens of an entry of `/models`, the smallest where there are several; None without."""
    meta = entry.get("meta")
    fields = {**(meta if isinstance(meta, dict) else {}), **entry}
    lengths = [fields[name] for name in LENGTHS if isinstance(fields.get(name), int) and fields[name] > 0]
    return min(lengths, default=None)


def _numbers(patterns: tuple[str, ...], text: str) -> Any:
    return (int(match[1]) for pattern in patterns for match in re.finditer(pattern, text, re.IGNORECASE))
