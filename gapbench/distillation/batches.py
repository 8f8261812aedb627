"""Micro-batches: which prompts and answers go through the model together.

    for micro_batch in pack(rollouts, budget=9216, share_prompt=True): ...

A micro-batch holds several prompts with all their answers, or some of the answers of a single prompt. So every prompt
in it has the same number of answers. The packing changes speed and memory, never the loss:
`divergence.sequence_weights` fixes the weight of every token beforehand.

Limits: the budget counts the tokens of the student's prompt. The teacher's prompt is usually shorter and needs no
gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gapbench.distillation.rollouts import Rollouts


@dataclass(frozen=True)
class MicroBatch:
    """The indices of its prompts, and the range of answers, `first` to `last` (exclusive), of each of them."""

    prompts: tuple[int, ...]
    first: int
    last: int

    @property
    def answers(self) -> int:
        """The number of its answers."""
        return len(self.prompts) * (self.last - self.first)

    def groups(self, rollouts: Rollouts) -> list[list[tuple[int, ...]]]:
        """The token ids of the answers, prompt by prompt."""
        return [[r.ids for r in rollouts[i][self.first : self.last]] for i in self.prompts]

    def tokens(self, rollouts: Rollouts, share_prompt: bool) -> int:
        """The tokens of a forward pass, padding included."""
        prompt = max(rollouts[i][0].prompt_tokens for i in self.prompts)
        answer = max(len(ids) for group in self.groups(rollouts) for ids in group)
        return (len(self.prompts) if share_prompt else self.answers) * prompt + self.answers * answer

    def halves(self) -> list[MicroBatch]:
        """Two micro-batches of half the prompts, or of half the answers to a single prompt."""
        if (middle := len(self.prompts) // 2) > 0:
            return [replace(self, prompts=part) for part in (self.prompts[:middle], self.prompts[middle:])]
        middle = (self.first + self.last) // 2
        return [replace(self, last=middle), replace(self, first=middle)]


def pack(rollouts: Rollouts, budget: int, share_prompt: bool, minimum: int = 1) -> list[MicroBatch]:
    """Micro-batches of at most `budget` tokens, padding included, and at least `minimum` of them.

    A single answer longer than the budget is a micro-batch of its own. Prompts of similar length go together. Processes
    that must stay in step pass the same `minimum`, at most the number of answers.
    """

    def fits(batch: MicroBatch) -> bool:
        return batch.tokens(rollouts, share_prompt) <= budget

    waiting: list[MicroBatch] = []
    for i in sorted(range(len(rollouts)), key=lambda i: (rollouts[i][0].prompt_tokens, i)):
        alone = MicroBatch((i,), 0, len(rollouts[i]))
        if waiting and fits(grown := replace(alone, prompts=(*waiting[-1].prompts, i))):
            waiting[-1] = grown
        else:
            waiting.append(alone)
    packed: list[MicroBatch] = []
    while waiting:
        batch = waiting.pop(0)
        if fits(batch) or batch.answers == 1:
            packed.append(batch)
        else:
            waiting[:0] = batch.halves()
    while len(packed) < minimum:
        largest = max(range(len(packed)), key=lambda i: packed[i].answers)
        packed[largest : largest + 1] = packed[largest].halves()
    return packed
