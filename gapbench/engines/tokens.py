"""Read a model's context length, end tokens, image token and special tokens, whatever its family.

escape = special_token_escaper(tokenizer)
escape("<|im_end|> hello")      # "< |im_end|> hello"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from gapbench.engines.models import Loaded


def neutral_generation(loaded: Loaded) -> set[int]:
    """Reduce the model's generation settings to its special tokens, and return the ids that end an answer.

    `generate` takes every setting that a call leaves open, penalties included, from the model's own settings, so this
    function replaces them.
    """
    from transformers import GenerationConfig

    own, tokenizer = loaded.model.generation_config, loaded.processor.tokenizer
    end_ids = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id, tokenizer.eos_token_id]
    ends = {int(e) for e in end_ids if e is not None}
    loaded.model.generation_config = GenerationConfig(
        eos_token_id=sorted(ends) or None, pad_token_id=tokenizer.pad_token_id, bos_token_id=own.bos_token_id
    )
    return ends


LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length",
           "max_seq_length", "seq_len", "model_max_length")  # fmt: skip
UNLIMITED = 10**9
"""Lengths above this mean "not known"; transformers' own mark for that is 10^30."""


def context_length(config: Any, tokenizer: Any) -> int | None:
    """The longest prompt and answer, in tokens, that a model was made for; None if nothing says it.

    The least of what its configuration and its tokenizer say, as in vLLM (`_get_and_verify_max_len`,
    `derive_max_model_len_and_key`), so that both engines have one limit. Positions that are scaled as "linear" or
    "dynamic" count by their factor; all other kinds of scaling are in the configuration's number already.
    """
    text = config.get_text_config()
    lengths = [getattr(text, name, None) for name in LENGTHS] + [getattr(tokenizer, "model_max_length", None)]
    known = [int(length) for length in lengths if isinstance(length, int | float) and 0 < length < UNLIMITED]
    rope = getattr(text, "rope_parameters", None) or {}
    scaled = rope.get("rope_type") in ("linear", "dynamic") and "gemma3" not in text.model_type
    return int(min(known) * (rope.get("factor") or 1.0 if scaled else 1.0)) if known else None


def image_token_id(config: Any, processor: Any) -> int | None:
    """The id that stands for one visual token in `input_ids`, or None.

    The configuration comes first, because the processors of Gemma 3 and Ovis2 name a token that only begins an image.
    """
    for part in (config, getattr(config, "vision_config", None)):
        for name in ("image_token_id", "image_token_index", "media_placeholder_token_id"):
            value = getattr(part, name, None)
            if isinstance(value, int):
                return value
    token = getattr(processor, "image_token", None)
    return int(processor.tokenizer.convert_tokens_to_ids(token)) if isinstance(token, str) else None


def special_token_escaper(tokenizer: Any) -> Callable[[str], str]:
    """A function that keeps text from turning into control tokens: `<|im_end|>` becomes `< |im_end|>`.

    It covers special tokens and all other added tokens in brackets (`<think>`), so text from data can neither end its
    turn nor add images.
    """
    added = tokenizer.added_tokens_decoder.values()
    named = {t.content for t in added if t.special or re.fullmatch(r"[<\[].+[>\]]", t.content)}
    named.update(tokenizer.all_special_tokens)
    tokens = sorted((t for t in named if len(t) > 1 and t.strip()), key=len, reverse=True)
    if not tokens:
        return lambda text: text
    pattern = re.compile("|".join(map(re.escape, tokens)))

    def escape(text: str) -> str:
        while pattern.search(text):
            text = pattern.sub(lambda m: f"{m[0][0]} {m[0][1:]}", text)
        return text

    return escape
