"""Rollouts: several answers per prompt, sampled from a model, as token ids with their log-probabilities.

    rollouts = TransformersSampler()(role, prompts, Sampling(max_new_tokens=64))
    rollouts[0][7].ids                             # the eighth answer to the first prompt

Training depends only on the protocol `Sampler`. `TransformersSampler` is the reference: the trained model itself
answers. `vllm.rollouts.VllmSampler` is faster and must agree with the trainer (`forward_check.check_vllm`).

The random numbers are a hash of (seed, step, slot in the step, sample, rollout, position, token). So a draw depends
neither on its batch nor on its process: one GPU and eight GPUs sample the same rollouts up to rounding, and a resumed
training repeats the draws of an uninterrupted one. A sample that comes twice in a step has two slots, and so draws
other answers. A token is drawn by the Gumbel-max rule (Gumbel 1954; Maddison et al. 2014): with g = -log(-log u),
argmax(log p + g) is a sample of p.

Limits: 1 - u has 32 bits, so tokens with a probability below about 1e-10 are never drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from gapbench.distillation.forward import ForwardMode, continue_from_cache, head, read_prompt
from gapbench.distillation.student import ModelRole
from gapbench.engines.chat import place
from gapbench.errors import ModelError

if TYPE_CHECKING:
    from PIL.Image import Image

_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class Prompt:
    """A prompt, with one random key per rollout in `keys` (see `random_key`)."""

    image: Image
    text: str
    keys: tuple[int, ...]

    @property
    def pixels(self) -> int:
        """Of its image."""
        return self.image.width * self.image.height


@dataclass(frozen=True)
class Rollout:
    """A sampled answer.

    `ids` include the end token unless the answer was `truncated`. `logps` are natural logarithms at temperature 1, from
    the sampler. `prompt_tokens` counts the prompt without padding.
    """

    ids: tuple[int, ...]
    logps: tuple[float, ...]
    truncated: bool
    prompt_tokens: int


Rollouts = list[list[Rollout]]
"""The answers to each prompt."""


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; `temperature` 0 is greedy. `batch_tokens` bounds the prompt and new tokens of a batch."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    batch_tokens: int = 65536


def random_key(*parts: object) -> int:
    """A 62-bit key from the printed `parts`."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:8], "big") >> 2


class Sampler(Protocol):
    """What the training loop needs of a sampler."""

    @property
    def info(self) -> dict[str, Any]:
        """The entry of this sampler in `distill.json`."""

    def __call__(self, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> Rollouts:
        """Answers to each prompt, one for each of its keys, sampled with the current weights of the role's model.

        All processes call it at the same time. Raises ModelError.
        """

    def close(self) -> None:
        """Release all resources; called once."""


@dataclass(frozen=True)
class TransformersSampler:
    """The trained model itself answers.

    With `expand` a prompt is processed once for all its rollouts, otherwise once per rollout. With `synced` all
    processes keep generating until the last one is done. With a `mode`, and without `synced`, a prompt is also read
    once for all its rollouts, in this forward mode; without one the model's `generate` answers.
    """

    expand: bool = True
    synced: bool = False
    mode: ForwardMode | None = None
    info: dict[str, Any] = field(default_factory=lambda: {"engine": "transformers"})

    def __call__(self, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> Rollouts:
        """Answers to each prompt, one per key; all prompts have the same number of keys. See `Sampler`.

        Tokens that the role suppresses (placeholders of images) are never drawn. Raises ModelError if a single prompt
        does not fit into memory, or with `synced` if a batch does not.
        """
        rollouts: Rollouts = role.run_without_grad(self._sample, role, prompts, sampling)
        return rollouts

    def close(self) -> None:
        """Nothing to release: the model belongs to the trainer."""

    def _sample(self, model: Any, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> Rollouts:
        answers: Rollouts = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda i: prompts[i].pixels)
        # As many prompts as fit if each had the largest image and the longest text, computed before any other prompt is
        # processed, so that never more pixels than those of one batch are held.
        tokens = (longest(role, prompts) + sampling.max_new_tokens) * len(prompts[0].keys) if prompts else 1
        batches = _split(order, max(1, sampling.batch_tokens // tokens))
        while _any_process(bool(batches), model) if self.synced else batches:
            # A process that is done repeats one of its prompts: with sharded weights every process must take part.
            batch = batches.pop(0) if batches else order[:1]
            of_batch = [prompts[i] for i in batch]
            try:
                rollouts = self._answer(model, role, of_batch, sampling)
            except torch.OutOfMemoryError as error:
                if len(batch) == 1 or self.synced:
                    raise ModelError(
                        f"Rollouts: out of memory for {len(batch)} prompts of up to {longest(role, of_batch)} tokens "
                        f"and {len(prompts[0].keys)} rollouts each. Lower rollout_tokens, max_pixels, max_new_tokens "
                        "or rollouts_per_prompt."
                    ) from error
                torch.cuda.empty_cache()
                batches[:0] = _split(batch, (len(batch) + 1) // 2)
                continue
            for i, of_prompt in zip(batch, rollouts, strict=True):
                answers[i] = of_prompt
        return answers

    def _answer(self, model: Any, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> Rollouts:
        """The answers to one batch of prompts."""
        n = len(prompts[0].keys)
        mode = None if self.synced else self.mode
        copies = 1 if self.expand or mode else n
        batch = role.chat.batch([((p.image,), p.text) for p in prompts for _ in range(copies)])
        lengths = batch["attention_mask"].sum(1)[::copies].tolist()
        inputs = place(batch, model)
        draw = _Draw(torch.tensor([k for p in prompts for k in p.keys], device=model.device), sampling, role.suppressed)
        if mode:
            rows = _decode(model, inputs, draw, n, role.ends, mode)
        else:
            rows = _generate(model, inputs, draw, n // copies, role.ends, self.synced)
        rollouts = [
            _rollout(row, logps, role.ends, lengths[i // n])
            for i, (row, logps) in enumerate(zip(rows.tolist(), torch.stack(draw.logps, 1).tolist(), strict=True))
        ]
        return _split(rollouts, n)


REFERENCE = TransformersSampler()
"""Works for any model; the self-check finds out which shortcuts a model allows."""


def _any_process(value: bool, model: Any) -> bool:
    """Whether a value is true in any process."""
    flag = torch.tensor(float(value), device=model.device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag)


def _split(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def longest(role: ModelRole, prompts: Sequence[Prompt]) -> int:
    """The number of tokens of a prompt with the largest image and the longest text."""
    image, text = max(prompts, key=lambda p: p.pixels).image, max((p.text for p in prompts), key=len)
    return int(role.chat.batch([((image,), text)])["input_ids"].shape[1])


def _generate(
    model: Any, inputs: dict[str, Any], draw: _Draw, repeat: int, ends: Sequence[int], synced: bool
) -> Tensor:
    """New token ids of each answer, from the model's `generate`."""
    from transformers import GenerationConfig, LogitsProcessorList

    settings = GenerationConfig(
        max_new_tokens=draw.sampling.max_new_tokens,
        do_sample=True,  # transformers repeats a prompt only when it samples
        top_k=0,
        num_return_sequences=repeat,
        eos_token_id=list(ends) or None,
        pad_token_id=model.generation_config.pad_token_id,
    )
    sequences: Tensor = model.generate(
        **inputs, generation_config=settings, logits_processor=LogitsProcessorList([draw]), synced_gpus=synced
    )
    return sequences[:, inputs["input_ids"].shape[1] :]


def _decode(
    model: Any, inputs: dict[str, Any], draw: _Draw, answers: int, ends: Sequence[int], mode: ForwardMode
) -> Tensor:
    """New token ids of each answer; each prompt, with its image, is read once for all its answers."""
    logits = head(model, mode)
    end_ids = torch.tensor(list(ends), dtype=torch.long, device=model.device)
    states, cache = read_prompt(model, inputs, answers, mode)
    attention_mask = inputs["attention_mask"].repeat_interleave(answers, 0)
    columns = [draw.choose(logits(states[:, -1]))]
    ended = torch.isin(columns[0], end_ids)
    while len(columns) < draw.sampling.max_new_tokens and not bool(ended.all()):
        attention_mask = torch.cat([attention_mask, torch.ones_like(attention_mask[:, :1])], 1)
        states = continue_from_cache(model, cache, attention_mask, columns[-1][:, None], mode)
        columns.append(draw.choose(logits(states[:, -1])))
        ended |= torch.isin(columns[-1], end_ids)
    return torch.stack(columns, 1)


def _rollout(tokens: Sequence[int], logps: Sequence[float], ends: Sequence[int], prompt_tokens: int) -> Rollout:
    """The answer up to its end token, which is included."""
    stop = next((t + 1 for t, token in enumerate(tokens) if token in ends), None)
    return Rollout(tuple(tokens[:stop]), tuple(logps[:stop]), stop is None, prompt_tokens)


class _Draw:
    """Draws the next token in place of transformers' own sampling, and stores its log-probability."""

    def __init__(self, keys: Tensor, sampling: Sampling, suppressed: Sequence[int]) -> None:
        self.keys, self.sampling, self.suppressed = keys, sampling, list(suppressed)
        self.logps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        token = self.choose(scores)[:, None]
        return torch.full_like(scores, -torch.inf, dtype=torch.float32).scatter_(1, token, 0.0)

    def choose(self, scores: Tensor) -> Tensor:
        """The next token of each row, (rows,), from raw logits (rows, vocabulary)."""
        scores = scores.float()
        logits = scores.clone()
        logits[:, [s for s in self.suppressed if s < logits.shape[1]]] = -torch.inf
        if self.sampling.temperature > 0:
            logits = _nucleus(logits / self.sampling.temperature, self.sampling.top_p)
            logits = logits + gumbel(self.keys, len(self.logps), logits.shape[1])
        token = logits.argmax(-1)
        self.logps.append(torch.log_softmax(scores, -1).gather(1, token[:, None])[:, 0].cpu())
        return token


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """The logits without all tokens outside the smallest set of probability `top_p` (Holtzman et al. 2020)."""
    if top_p >= 1:
        return logits
    ordered, index = logits.sort(-1, descending=True)
    mass_before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    outside = torch.zeros_like(logits, dtype=torch.bool).scatter(1, index, mass_before >= top_p)
    return logits.masked_fill(outside, -torch.inf)


def gumbel(keys: Tensor, position: int, vocabulary: int) -> Tensor:
    """Standard Gumbel noise, shape (len(keys), vocabulary); a function of key, position and token alone."""
    token = torch.arange(vocabulary, device=keys.device)
    mixed = _mix((token * 0x9E3779B1 + position * 0x85EBCA77 & _MASK)[None] ^ (keys & _MASK)[:, None])
    mixed = _mix(mixed ^ (keys >> 32)[:, None])
    # `rest` is 1 - u. Large noise means a small `rest`, where floats are dense; u itself would round to 1 and the noise
    # to infinity. The other end is cut off at 2^-24 for the same reason.
    rest = ((mixed.float() + 0.5) / (1 << 32)).clamp(max=1 - 2**-24)
    return -torch.log(-torch.log1p(-rest))


def _mix(x: Tensor) -> Tensor:
    """The finaliser of MurmurHash3 (Appleby, public domain) on 32-bit values held in int64."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B & _MASK
    x = (x ^ (x >> 13)) * 0xC2B2AE35 & _MASK
    return x ^ (x >> 16)
