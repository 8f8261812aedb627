"""Micro-batches: which prompts and answers go through the model together.

    for micro in pack(rollouts, budget=9216, share_prompt=True): ...

A micro-batch holds whole prompts with all their answers, or some of the answers of one prompt, so that every prompt in
it has equally many. How answers are packed changes speed and memory, never the loss: every token's weight is fixed
before (`divergence.sequence_weights`).

Limits: the student's prompt is what is counted; the teacher's is usually shorter and needs no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gapbench.distillation.rollouts import Rollout


@dataclass(frozen=True)
class Micro:
    """Prompts by their index, and the answers `first` to `last` (exclusive) of each of them."""

    prompts: tuple[int, ...]
    first: int
    last: int

    def groups(self, rollouts: Sequence[Sequence[Rollout]]) -> list[list[tuple[int, ...]]]:
        """The answers' token ids, prompt by prompt."""
        return [[r.ids for r in rollouts[i][self.first : self.last]] for i in self.prompts]


def pack(rollouts: Sequence[Sequence[Rollout]], budget: int, share_prompt: bool, least: int = 1) -> list[Micro]:
    """Micro-batches of at most `budget` tokens with padding (one answer may exceed it alone), at least `least` of them.

    Prompts of similar length are put together. `least` may be at most the number of answers: processes that must stay
    in step use the same number.
    """
    n = len(rollouts[0])

    def cost(prompts: Sequence[int], first: int, last: int) -> int:
        prompt = max(rollouts[i][0].prompt_tokens for i in prompts)
        answer = max(len(r.ids) for i in prompts for r in rollouts[i][first:last])
        answers = len(prompts) * (last - first)
        return len(prompts) * prompt + answers * answer if share_prompt else answers * (prompt + answer)

    made: list[Micro] = []
    group: list[int] = []
    for i in sorted(range(len(rollouts)), key=lambda i: (rollouts[i][0].prompt_tokens, i)):
        if group and cost([*group, i], 0, n) > budget:
            made.append(Micro(tuple(group), 0, n))
            group = []
        group.append(i)
    made.append(Micro(tuple(group), 0, n))
    made = [part for micro in made for part in _within(micro, lambda m: cost(m.prompts, m.first, m.last) <= budget)]
    while len(made) < least:
        largest = max(range(len(made)), key=lambda i: len(made[i].prompts) * (made[i].last - made[i].first))
        made[largest : largest + 1] = _halves(made[largest])
    return made


def _within(micro: Micro, fits: object) -> list[Micro]:
    """Halves until everything fits or is one answer."""
    assert callable(fits)
    if fits(micro) or (len(micro.prompts) == 1 and micro.last - micro.first == 1):
        return [micro]
    return [part for half in _halves(micro) for part in _within(half, fits)]


def _halves(micro: Micro) -> list[Micro]:
    if len(micro.prompts) > 1:
        middle = len(micro.prompts) // 2
        return [Micro(part, micro.first, micro.last) for part in (micro.prompts[:middle], micro.prompts[middle:])]
    middle = (micro.first + micro.last) // 2
    return [Micro(micro.prompts, *ends) for ends in ((micro.first, middle), (middle, micro.last))]
