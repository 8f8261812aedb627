"""Teacher forcing: a model's predictions at every position of given answers.

    hidden = hidden_states(model, inputs, groups, mode)      # (answer tokens, width)
    logits = head(model, mode)(hidden[:512])                 # (512, vocabulary)

The token ids of an answer are appended to the prompt as they are; nothing is decoded and encoded again. A forward mode
(`ForwardMode`) combines up to three shortcuts, and `forward_check` finds out which of them a model allows:

- prefix sharing: a prompt is read once for all its answers, through the cache of generation, with gradients;
- a split head: logits over the vocabulary are computed in slices, separately from the hidden states;
- expansion: an image is processed once for all answers to its prompt.

Limits: prompts must be padded on the left. The model's own code decides positions and masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gapbench.engines.chat import Chat, place

ImageTexts = Sequence[tuple[Any, str]]
"""Prompts: an image and a text each."""
Groups = Sequence[Sequence[Sequence[int]]]
"""The answers of each prompt, the same number for all prompts; an answer is a sequence of token ids."""


@dataclass(frozen=True)
class ForwardMode:
    """The shortcuts of a forward pass: `share_prompt`, `split_head`, and `expand` (process an image once per prompt).

    `cap` is the bound that `logit_cap` returns. Without it `split_head` is wrong for a model that bounds its logits.
    """

    share_prompt: bool
    split_head: bool
    expand: bool
    cap: float | None = None

    def __str__(self) -> str:
        """The names of its shortcuts."""
        return ", ".join(name for name, on in vars(self).items() if on is True) or "plain"


HUGE = 1e4
"""A logit beyond any bound that still fits float16."""

PLAIN = ForwardMode(False, False, False)
"""No shortcut: every answer has its own copy of the prompt, processed by itself."""


def process(chat: Chat, model: Any, prompts: ImageTexts, answers: int, mode: ForwardMode) -> dict[str, Any]:
    """The processor's output on the model's device, for (image, text) prompts with `answers` answers each."""
    copies = 1 if mode.expand or mode.share_prompt else answers
    return place(chat.batch([((image,), text) for image, text in prompts for _ in range(copies)]), model)


def hidden_states(model: Any, inputs: dict[str, Any], groups: Groups, mode: ForwardMode) -> Tensor:
    """The hidden states that predict the tokens of the answers; shape (tokens, width).

    They are ordered by prompt, answer and position. Without `split_head` they are already logits, (tokens, vocabulary).
    """
    answers = len(groups[0])
    ids, mask = _pad_right([row for group in groups for row in group], inputs["input_ids"].device)
    if mode.share_prompt:
        states = _read_once(model, inputs, ids, mask, answers, mode)
    else:
        expand = mode.expand and answers > 1
        if expand:  # repeats the batch as a block: an image may have any number of rows, and their order must stay
            inputs = {name: torch.cat([x] * answers) if isinstance(x, Tensor) else x for name, x in inputs.items()}
        transpose = partial(_transposed, answers=answers if expand else 1)
        states = transpose(_read_each(model, inputs, transpose(ids), transpose(mask), mode), back=True)
    return states[mask.bool()]


def head(model: Any, mode: ForwardMode) -> Callable[[Tensor], Tensor]:
    """The function from hidden states (n, width) to float32 logits (n, vocabulary)."""
    if not mode.split_head:
        return lambda states: states.float()
    projection = model.get_output_embeddings()
    return lambda states: bounded(projection(states).float(), mode.cap)


def log_probs(model: Any, chat: Chat, prompts: ImageTexts, groups: Groups, mode: ForwardMode) -> Tensor:
    """The log-probability of every token of the answers to (image, text) prompts; shape (tokens,)."""
    states = hidden_states(model, process(chat, model, prompts, len(groups[0]), mode), groups, mode)
    return torch.log_softmax(head(model, mode)(states), -1).gather(1, token_ids(groups, states.device)[:, None])[:, 0]


def token_ids(groups: Groups, device: Any) -> Tensor:
    """The tokens of the answers in the order of `hidden_states`; shape (tokens,)."""
    return torch.tensor([token for group in groups for row in group for token in row], device=device)


def bounded(logits: Tensor, cap: float | None) -> Tensor:
    """Soft-capped logits: cap * tanh(logits / cap) (Gemma 2, arXiv:2408.00118, section 2)."""
    return cap * torch.tanh(logits / cap) if cap else logits


def logit_cap(model: Any, inputs: dict[str, Any]) -> float | None:
    """The bound that a model puts on its logits, or None.

    Measured by passing a huge logit through the model, because configurations are unreliable: that of PaliGemma 2 names
    the bound of its language model, but the model does not apply it.
    """
    with torch.no_grad(), _captured_inputs(model.get_output_embeddings()):
        largest = float(model(**inputs, use_cache=False, logits_to_keep=1).logits.flatten()[0])
    return largest if largest < HUGE / 2 else None


def _transposed(rows: Tensor, answers: int, back: bool = False) -> Tensor:
    """Rows ordered by prompt and answer, reordered by answer and prompt; `back` undoes that."""
    first = answers if back else len(rows) // answers
    return rows.view(first, -1, *rows.shape[1:]).transpose(0, 1).flatten(0, 1)


def _read_each(model: Any, inputs: dict[str, Any], ids: Tensor, mask: Tensor, mode: ForwardMode) -> Tensor:
    """A pass in which every answer has its own copy of the prompt; shape (answers, length, width)."""
    # In PaliGemma 0 marks the bidirectional prefix; in every other family it marks text.
    types = torch.full_like(ids, 1 if model.config.model_type == "paligemma" else 0)
    added = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": types, "token_type_ids": types}
    extended = {name: torch.cat([x, added[name]], 1) if name in added else x for name, x in inputs.items()}
    return _states(model, extended, ids.shape[1] + 1, mode, use_cache=False)[0][:, :-1]


def _read_once(
    model: Any, inputs: dict[str, Any], ids: Tensor, mask: Tensor, answers: int, mode: ForwardMode
) -> Tensor:
    """A pass over the prompt, then one over all its answers on copies of its cache; shape (answers, length, width)."""
    first, cache = read_prompt(model, inputs, answers, mode)
    if ids.shape[1] == 1:
        return first
    attention_mask = torch.cat([inputs["attention_mask"].repeat_interleave(answers, 0), mask[:, :-1]], 1)
    return torch.cat([first, continue_from_cache(model, cache, attention_mask, ids[:, :-1], mode)], 1)


def read_prompt(model: Any, inputs: dict[str, Any], answers: int, mode: ForwardMode) -> tuple[Tensor, Any]:
    """Read each prompt once for `answers` answers.

    Returns the states that predict the first token of every answer, shape (all answers, 1, width), and a cache with one
    row per answer.
    """
    first, out = _states(model, inputs, 1, mode, use_cache=True)
    first = first[:, -1:].repeat_interleave(answers, 0)
    cache = out.past_key_values
    # The call of beam search: every kind of cache supports it, but not every kind has `batch_repeat_interleave`.
    cache.reorder_cache(torch.arange(len(first) // answers, device=first.device).repeat_interleave(answers))
    for layer in cache.layers:  # a recurrent state would be overwritten in place unless it is marked as new
        if hasattr(layer, "recurrent_states"):
            layer.is_recurrent_states_initialized = dict.fromkeys(layer.recurrent_states, False)
    return first, cache


def continue_from_cache(model: Any, cache: Any, attention_mask: Tensor, ids: Tensor, mode: ForwardMode) -> Tensor:
    """The states after each of `ids` (answers, length), which continue from a cache; shape (answers, length, width).

    `attention_mask` covers everything from the start of the prompt to the end of `ids`.
    """
    arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": attention_mask, "past_key_values": cache}
    rope_deltas = next((m.rope_deltas for m in model.modules() if getattr(m, "rope_deltas", None) is not None), None)
    if rope_deltas is not None:  # three-dimensional positions: models expect them as an argument, as from `generate`
        position = attention_mask.cumsum(1)[:, -ids.shape[1] :] - 1
        offset = rope_deltas.view(-1, 1).repeat_interleave(len(ids) // rope_deltas.numel(), 0)
        arguments["position_ids"] = (position + offset)[None].expand(3, -1, -1)
    return _states(model, arguments, ids.shape[1], mode, use_cache=True)[0]


def _states(
    model: Any, inputs: dict[str, Any], positions: int, mode: ForwardMode, use_cache: bool
) -> tuple[Tensor, Any]:
    """The hidden states (or logits) of the last `positions` positions, and the output of the model."""
    with _captured_inputs(model.get_output_embeddings()) if mode.split_head else nullcontext() as captured:
        out = model(**inputs, use_cache=use_cache, logits_to_keep=positions)
    return captured[-1] if captured else out.logits, out


@contextmanager
def _captured_inputs(projection: Any) -> Iterator[list[Tensor]]:
    """Collects the inputs of the output projection, which returns a single huge logit meanwhile."""
    captured: list[Tensor] = []

    def capture(states: Tensor) -> Tensor:
        captured.append(states)
        return torch.full_like(states[..., :1], HUGE)

    projection.forward = capture
    try:
        yield captured
    finally:
        del projection.forward


def _pad_right(rows: Sequence[Sequence[int]], device: Any) -> tuple[Tensor, Tensor]:
    """Rows of token ids padded on the right with 0, and their mask (int64)."""
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=device)
    return ids, mask
