"""Teacher forcing: what a model would have said at every position of given answers.

    hidden = hidden_states(model, inputs, groups, reading)      # (answer tokens, width)
    logits = head(model, reading)(hidden[:512])                 # (512, vocabulary)

The answers' token ids are appended to the prompt as they are; nothing is decoded and encoded again. Three economies are
used where a model allows them (`Reading`, found by `selfcheck`): a prompt is read once for all its answers, through the
cache that generation uses, with gradients; the vocabulary's logits are made in slices, apart from the hidden states;
and an image is processed once for all its answers.

Limits: prompts must be padded on the left. The models' own code decides positions and masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gapbench.engines.chat import Chat, place

Groups = Sequence[Sequence[Sequence[int]]]
"""For each prompt its answers (equally many for all), each a sequence of token ids."""


@dataclass(frozen=True)
class Reading:
    """Which economies a model allows: `share_prompt`, `split_head`, `expand` (images processed once a prompt).

    `cap` is what `logit_cap` found; without it `split_head` is wrong for a model that bounds its logits.
    """

    share_prompt: bool
    split_head: bool
    expand: bool
    cap: float | None = None


HUGE = 1e4
"""A logit beyond any bound, and within float16."""

PLAIN = Reading(False, False, False)
"""No economy: every answer with its own prompt, processed anew."""


def process(chat: Chat, model: Any, asked: Sequence[tuple[Any, str]], answers: int, reading: Reading) -> dict[str, Any]:
    """The processor's output for (image, text) prompts that have `answers` answers each, on the model's device."""
    copies = 1 if reading.expand or reading.share_prompt else answers
    return place(chat.batch([((image,), text) for image, text in asked for _ in range(copies)]), model)


def hidden_states(model: Any, inputs: dict[str, Any], groups: Groups, reading: Reading) -> Tensor:
    """Hidden states that predict the answers' tokens, in order of prompt, answer and position: shape (tokens, width).

    Without `split_head` these are logits already, (tokens, vocabulary).
    """
    answers = len(groups[0])
    ids, mask = _padded([row for group in groups for row in group], inputs["input_ids"].device)
    if reading.share_prompt:
        states = _read_once(model, inputs, ids, mask, answers, reading)
    else:
        expand = reading.expand and answers > 1
        if expand:  # the whole batch again and again: images have as many rows as they like, but keep their order
            inputs = {name: torch.cat([x] * answers) if isinstance(x, Tensor) else x for name, x in inputs.items()}
        turn = partial(_turn, answers=answers if expand else 1)
        states = turn(_read_each(model, inputs, turn(ids), turn(mask), reading), back=True)
    return states[mask.bool()]


def head(model: Any, reading: Reading) -> Callable[[Tensor], Tensor]:
    """From hidden states (n, width) to float32 logits (n, vocabulary)."""
    if not reading.split_head:
        return lambda states: states.float()
    projection = model.get_output_embeddings()
    return lambda states: bounded(projection(states).float(), reading.cap)


def bounded(logits: Tensor, cap: float | None) -> Tensor:
    """Soft-capped logits (Gemma 2, arXiv:2408.00118, section 2): cap * tanh(logits / cap)."""
    return cap * torch.tanh(logits / cap) if cap else logits


def logit_cap(model: Any, inputs: dict[str, Any]) -> float | None:
    """The bound that a model puts on its logits, seen by giving it a huge one; None if there is none.

    Its configuration is not to be trusted: PaliGemma 2 names the bound of its language model and does not apply it.
    """
    with torch.no_grad(), _caught(model.get_output_embeddings()):
        made = float(model(**inputs, use_cache=False, logits_to_keep=1).logits.flatten()[0])
    return made if made < HUGE / 2 else None


def _turn(rows: Tensor, answers: int, back: bool = False) -> Tensor:
    """Rows in order of prompt and answer, put in order of answer and prompt; or `back`."""
    first = answers if back else len(rows) // answers
    return rows.view(first, -1, *rows.shape[1:]).transpose(0, 1).flatten(0, 1)


def _read_each(model: Any, inputs: dict[str, Any], ids: Tensor, mask: Tensor, reading: Reading) -> Tensor:
    """Every answer with its own copy of the prompt; shape (answers, length, width)."""
    whole = dict(inputs)
    whole["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
    whole["attention_mask"] = torch.cat([inputs["attention_mask"], mask], 1)
    # PaliGemma's 0 is a bidirectional prefix; everywhere else 0 is text.
    fill = 1 if model.config.model_type == "paligemma" else 0
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in inputs:
            whole[name] = torch.cat([inputs[name], torch.full_like(ids, fill)], 1)
    length = ids.shape[1]
    return _states(model, whole, length + 1, reading, use_cache=False)[0][:, :-1]


def _read_once(model: Any, inputs: dict[str, Any], ids: Tensor, mask: Tensor, answers: int, reading: Reading) -> Tensor:
    """The prompt once, then all its answers on copies of its cache; shape (answers, length, width)."""
    first, cache = read_prompt(model, inputs, answers, reading)
    if ids.shape[1] == 1:
        return first
    seen = torch.cat([inputs["attention_mask"].repeat_interleave(answers, 0), mask[:, :-1]], 1)
    return torch.cat([first, read_on(model, cache, seen, ids[:, :-1], reading)], 1)


def read_prompt(model: Any, inputs: dict[str, Any], answers: int, reading: Reading) -> tuple[Tensor, Any]:
    """Each prompt read once, for `answers` answers: the states that predict their first tokens, shape (all answers, 1,
    width), and a cache with a row for each of them."""
    first, out = _states(model, inputs, 1, reading, use_cache=True)
    first = first[:, -1:].repeat_interleave(answers, 0)
    cache = out.past_key_values
    # As a beam search reorders it: all kinds of caches can do that, but not all can `batch_repeat_interleave`.
    cache.reorder_cache(torch.arange(len(first) // answers, device=first.device).repeat_interleave(answers))
    for layer in cache.layers:  # a recurrent state is overwritten in place, unless it counts as new
        if hasattr(layer, "recurrent_states"):
            layer.is_recurrent_states_initialized = dict.fromkeys(layer.recurrent_states, False)
    return first, cache


def read_on(model: Any, cache: Any, seen: Tensor, ids: Tensor, reading: Reading) -> Tensor:
    """States after each of `ids` (answers, length), which go on from a cache; shape (answers, length, width).

    `seen` is the attention mask from the prompt's start to the end of `ids`.
    """
    more: dict[str, Any] = {"input_ids": ids, "attention_mask": seen, "past_key_values": cache}
    deltas = next((m.rope_deltas for m in model.modules() if getattr(m, "rope_deltas", None) is not None), None)
    if deltas is not None:  # three-dimensional positions: the models expect to be told, as generation tells them
        place_ = seen.cumsum(1)[:, -ids.shape[1] :] - 1
        shift = deltas.view(-1, 1).repeat_interleave(len(ids) // deltas.numel(), 0)
        more["position_ids"] = (place_ + shift)[None].expand(3, -1, -1)
    return _states(model, more, ids.shape[1], reading, use_cache=True)[0]


def _states(model: Any, inputs: dict[str, Any], keep: int, reading: Reading, use_cache: bool) -> tuple[Tensor, Any]:
    """The last `keep` positions' hidden states (or logits), and the model's output."""
    if not reading.split_head:
        out = model(**inputs, use_cache=use_cache, logits_to_keep=keep)
        return out.logits, out
    with _caught(model.get_output_embeddings()) as caught:
        out = model(**inputs, use_cache=use_cache, logits_to_keep=keep)
    return caught[-1], out


@contextmanager
def _caught(projection: Any) -> Iterator[list[Tensor]]:
    """What goes into the output projection, which meanwhile makes one huge logit of it."""
    caught: list[Tensor] = []

    def catch(states: Tensor) -> Tensor:
        caught.append(states)
        return torch.full_like(states[..., :1], HUGE)

    projection.forward = catch
    try:
        yield caught
    finally:
        del projection.forward


def _padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[Tensor, Tensor]:
    """Rows of token ids padded on the right with 0, and their mask (int64)."""
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=device)
    return ids, mask
