"""Rollouts: answers sampled from a model, several for one prompt, as token ids with the log-probability of each.

    rollouts = sample(model, chat, prompts, Sampling(max_new_tokens=64), ends, suppressed)
    rollouts[0][7].ids                             # the eighth answer to the first prompt

The random numbers are a hash of (seed, step, question, rollout, position, token), so a draw depends neither on the
batch it is made in nor on the process that makes it: one GPU and eight make the same rollouts up to rounding, and a
resumed run repeats what an uninterrupted one would have drawn. A token is drawn by the Gumbel-max rule (Gumbel 1954;
Maddison et al. 2014): argmax(log p + g) with g = -log(-log u) is a sample of p.

Limits: 1 - u has 32 bits, so tokens below a probability of about 1e-10 are not drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gapbench.distillation.forward import Reading, head, read_on, read_prompt
from gapbench.engines.chat import Chat, place
from gapbench.errors import ModelError

if TYPE_CHECKING:
    from PIL.Image import Image

_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class Prompt:
    """What is asked: `keys` has one random key per rollout wanted (see `random_key`)."""

    image: Image
    text: str
    keys: tuple[int, ...]


@dataclass(frozen=True)
class Rollout:
    """One sampled answer. `ids` include the ending token unless it was `truncated`; `logps` are natural logarithms at
    temperature 1, as the sampler saw them; `prompt_tokens` counts the prompt without padding."""

    ids: tuple[int, ...]
    logps: tuple[float, ...]
    truncated: bool
    prompt_tokens: int


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; `temperature` 0 is greedy. `tokens` bounds prompt and new tokens of one batch."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    tokens: int = 65536


def random_key(*parts: object) -> int:
    """A 62-bit key from anything printable."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:8], "big") >> 2


def sample(
    model: Any,
    chat: Chat,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    ends: Sequence[int],
    suppressed: Sequence[int],
    expand: bool = True,
    synced: bool = False,
    shared: Reading | None = None,
) -> list[list[Rollout]]:
    """Answers to each prompt, as many as it has keys (the same number for all).

    `suppressed` tokens (placeholders of images) are never drawn. `expand`: a prompt is processed once for all its
    rollouts; else as often as it has rollouts. `synced`: keep all processes generating until the last one is done.
    `shared`: read a prompt once for all its rollouts, as this reading does; else transformers' `generate` answers.
    Raises ModelError if one prompt alone does not fit into memory, or with `synced` a batch.
    """
    answers: list[list[Rollout]] = [[] for _ in prompts]
    once = expand or shared is not None
    order = sorted(range(len(prompts)), key=lambda i: _area(prompts[i]))
    waiting = _parts(order, _room(chat, prompts, sampling)) if order else []
    while _anyone(bool(waiting), model, synced):
        # Processes that are done keep the others company with a prompt of theirs: sharded weights need all of them.
        group = waiting.pop(0) if waiting else order[:1]
        asked = [prompts[i] for i in group]
        inputs = chat.batch([((p.image,), p.text) for p in asked for _ in range(1 if once else len(p.keys))])
        draw = _Draw(torch.tensor([k for p in asked for k in p.keys], device=model.device), sampling, suppressed)
        try:
            if shared is not None:
                rows = _decode(model, place(inputs, model), draw, len(asked[0].keys), ends, shared)
            else:
                rows = _generate(model, place(inputs, model), draw, len(asked[0].keys) if expand else 1, ends, synced)
        except torch.OutOfMemoryError as error:
            if len(group) == 1 or synced:
                raise ModelError(
                    f"Rollouts: out of memory for {len(group)} prompts of up to {inputs['input_ids'].shape[1]} tokens "
                    f"and {len(asked[0].keys)} rollouts each. Lower rollout_tokens, max_pixels, max_new_tokens or "
                    "rollouts_per_prompt."
                ) from error
            torch.cuda.empty_cache()
            waiting[:0] = _parts(group, (len(group) + 1) // 2)
            continue
        lengths = inputs["attention_mask"].sum(1).tolist()
        made = [
            _rollout(row, logps, ends) for row, logps in zip(rows, torch.stack(draw.logps, 1).tolist(), strict=True)
        ]
        for place_, i in enumerate(group):
            n = len(prompts[i].keys)
            tokens = int(lengths[place_ if once else place_ * n])
            answers[i] = [replace(r, prompt_tokens=tokens) for r in made[place_ * n : (place_ + 1) * n]]
    return answers


def _area(prompt: Prompt) -> int:
    return prompt.image.width * prompt.image.height


def _parts(group: list[int], size: int) -> list[list[int]]:
    return [group[start : start + size] for start in range(0, len(group), size)]


def _room(chat: Chat, prompts: Sequence[Prompt], sampling: Sampling) -> int:
    """How many prompts go into one batch, were all as long as the largest image with the longest text.

    Known before anything else is processed, so that the pixels of more than one batch are never held.
    """
    image = max(prompts, key=_area).image
    length = int(chat.batch([((image,), max((p.text for p in prompts), key=len))])["input_ids"].shape[1])
    return max(1, sampling.tokens // ((length + sampling.max_new_tokens) * len(prompts[0].keys)))


def _anyone(waiting: bool, model: Any, synced: bool) -> bool:
    """Whether this process, or with `synced` any process, has prompts left."""
    if not synced:
        return waiting
    flag = torch.tensor(float(waiting), device=model.device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag)


def _generate(
    model: Any, inputs: dict[str, Any], draw: _Draw, repeat: int, ends: Sequence[int], synced: bool
) -> list[list[int]]:
    """New token ids of each answer, by transformers' `generate`."""
    from transformers import GenerationConfig, LogitsProcessorList

    settings = GenerationConfig(
        max_new_tokens=draw.sampling.max_new_tokens,
        do_sample=True,  # transformers repeats a prompt only when it believes that it samples
        top_k=0,
        num_return_sequences=repeat,
        eos_token_id=list(ends) or None,
        pad_token_id=model.generation_config.pad_token_id,
    )
    with torch.no_grad():
        out = model.generate(
            **inputs, generation_config=settings, logits_processor=LogitsProcessorList([draw]), synced_gpus=synced
        )
    rows: list[list[int]] = out[:, inputs["input_ids"].shape[1] :].tolist()
    return rows


def _decode(
    model: Any, inputs: dict[str, Any], draw: _Draw, answers: int, ends: Sequence[int], reading: Reading
) -> list[list[int]]:
    """The same with every prompt, and its image, read once for all its answers."""
    logits = head(model, reading)
    stops = torch.tensor(list(ends), dtype=torch.long, device=model.device)
    with torch.no_grad():
        states, cache = read_prompt(model, inputs, answers, reading)
        seen = inputs["attention_mask"].repeat_interleave(answers, 0)
        chosen = draw.choose(logits(states[:, -1]))
        columns, ended = [chosen], torch.isin(chosen, stops)
        while len(columns) < draw.sampling.max_new_tokens and not bool(ended.all()):
            seen = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)
            states = read_on(model, cache, seen, chosen[:, None], reading)
            chosen = draw.choose(logits(states[:, -1]))
            columns.append(chosen)
            ended |= torch.isin(chosen, stops)
    rows: list[list[int]] = torch.stack(columns, 1).tolist()
    return rows


def _rollout(row: Sequence[int], logps: Sequence[float], ends: Sequence[int]) -> Rollout:
    """An answer up to and with its ending token."""
    stop = next((t + 1 for t, token in enumerate(row) if token in ends), None)
    kept = len(row) if stop is None else stop
    return Rollout(tuple(row[:kept]), tuple(logps[:kept]), stop is None, 0)


class _Draw:
    """Chooses the next token in place of transformers' own sampling, and keeps its log-probability."""

    def __init__(self, keys: Tensor, sampling: Sampling, suppressed: Sequence[int]) -> None:
        self.keys, self.sampling, self.suppressed = keys, sampling, list(suppressed)
        self.logps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        chosen = self.choose(scores)[:, None]
        return torch.full_like(scores, -torch.inf, dtype=torch.float32).scatter_(1, chosen, 0.0)

    def choose(self, scores: Tensor) -> Tensor:
        """The next token of each row, (rows,), from raw logits (rows, vocabulary)."""
        scores = scores.float()
        logits = scores.clone()
        logits[:, [s for s in self.suppressed if s < logits.shape[1]]] = -torch.inf
        if self.sampling.temperature > 0:
            logits = _nucleus(logits / self.sampling.temperature, self.sampling.top_p)
            logits = logits + gumbel(self.keys, len(self.logps), logits.shape[1])
        chosen = logits.argmax(-1)
        self.logps.append(torch.log_softmax(scores, -1).gather(1, chosen[:, None])[:, 0].cpu())
        return chosen


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Logits with everything outside the smallest set of probability `top_p` removed (Holtzman et al. 2020)."""
    if top_p >= 1:
        return logits
    ordered, index = logits.sort(-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    return logits.masked_fill(torch.zeros_like(logits, dtype=torch.bool).scatter(1, index, before >= top_p), -torch.inf)


def gumbel(keys: Tensor, position: int, vocabulary: int) -> Tensor:
    """Standard Gumbel noise, shape (len(keys), vocabulary): a function of key, position and token alone."""
    token = torch.arange(vocabulary, device=keys.device)
    mixed = _mix((token * 0x9E3779B1 + position * 0x85EBCA77 & _MASK)[None] ^ (keys & _MASK)[:, None])
    mixed = _mix(mixed ^ (keys >> 32)[:, None])
    # The small end decides which token wins, and is where floats are dense: u itself would round to 1 there, and the
    # noise to infinity. The other end is cut off at 2^-24 for the same reason.
    rest = ((mixed.float() + 0.5) / (1 << 32)).clamp(max=1 - 2**-24)
    return -torch.log(-torch.log1p(-rest))


def _mix(x: Tensor) -> Tensor:
    """The finaliser of MurmurHash3 (Appleby, public domain) on 32-bit values held in int64."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B & _MASK
    x = (x ^ (x >> 13)) * 0xC2B2AE35 & _MASK
    return x ^ (x >> 16)
