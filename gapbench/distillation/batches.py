"""Micro-batches: which prompts and answers go through the model together.

    for micro_batch in pack(rollouts, budget=9216, share_prompt=True): ...

A micro-batch holds several prompts with all their answers, or some of the answers of a single prompt. So every prompt
in it has the same number of answers. The packing changes speed and memory, never the loss:
`divergence.sequence_weights` fixes the weight of every token beforehand.

Limits: the budget counts the tokens of the student's prompt. The teacher's prompt is usually shorter and needs no
gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gapbench.distillation.rollouts import Rollout


@dataclass(frozen=True)
class MicroBatch:
    """The indices of its prompts, and the range of answers, `first` to `last` (exclusive), of each of them."""

    prompts: tuple[int, ...]
    first: int
    last: int

    def groups(self, rollouts: Sequence[Sequence[Rollout]]) -> list[list[tuple[int, ...]]]:
        """The token ids of the answers, prompt by prompt."""
        return [[r.ids for r in rollouts[i][self.first : self.last]] for i in self.prompts]


def pack(rollouts: Sequence[Sequence[Rollout]], budget: int, share_prompt: bool, minimum: int = 1) -> list[MicroBatch]:
    """Micro-batches of at most `budget` tokens, padding included, and at least `minimum` of them.

    A single answer longer than the budget is a micro-batch of its own. Prompts of similar length go together. Processes
    that must stay in step pass the same `minimum`, at most the number of answers.
    """
    n = len(rollouts[0])

    def tokens_of(indices: Sequence[int], first: int, last: int) -> int:
        prompt = max(rollouts[i][0].prompt_tokens for i in indices)
        answer = max(len(r.ids) for i in indices for r in rollouts[i][first:last])
        answers = len(indices) * (last - first)
        return len(indices) * prompt + answers * answer if share_prompt else answers * (prompt + answer)

    micro_batches: list[MicroBatch] = []
    prompts: list[int] = []
    for i in sorted(range(len(rollouts)), key=lambda i: (rollouts[i][0].prompt_tokens, i)):
        if prompts and tokens_of([*prompts, i], 0, n) > budget:
            micro_batches.append(MicroBatch(tuple(prompts), 0, n))
            prompts = []
        prompts.append(i)
    micro_batches.append(MicroBatch(tuple(prompts), 0, n))
    micro_batches = [
        part
        for batch in micro_batches
        for part in _split_to_fit(batch, lambda m: tokens_of(m.prompts, m.first, m.last) <= budget)
    ]
    while len(micro_batches) < minimum:
        largest = max(
            range(len(micro_batches)),
            key=lambda i: len(micro_batches[i].prompts) * (micro_batches[i].last - micro_batches[i].first),
        )
        micro_batches[largest : largest + 1] = _halves(micro_batches[largest])
    return micro_batches


def _split_to_fit(batch: MicroBatch, fits: object) -> list[MicroBatch]:
    """Halve a micro-batch until every part fits or holds a single answer."""
    assert callable(fits)
    if fits(batch) or (len(batch.prompts) == 1 and batch.last - batch.first == 1):
        return [batch]
    return [part for half in _halves(batch) for part in _split_to_fit(half, fits)]


def _halves(batch: MicroBatch) -> list[MicroBatch]:
    if len(batch.prompts) > 1:
        middle = len(batch.prompts) // 2
        return [MicroBatch(part, batch.first, batch.last) for part in (batch.prompts[:middle], batch.prompts[middle:])]
    middle = (batch.first + batch.last) // 2
    return [MicroBatch(batch.prompts, *ends) for ends in ((batch.first, middle), (middle, batch.last))]
