"""However answers are packed, each is read once, no forward pass is too large, and all processes keep in step."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gapbench.distillation.batches import MicroBatch, pack
from gapbench.distillation.rollouts import Rollout


@st.composite
def steps(draw: st.DrawFn) -> list[list[Rollout]]:
    """Answers of 1 to 20 tokens to 1 to 8 prompts of 1 to 60 tokens, 1 to 5 for each."""
    n = draw(st.integers(1, 5))
    made = []
    for _ in range(draw(st.integers(1, 8))):
        prompt = draw(st.integers(1, 60))
        lengths = [draw(st.integers(1, 20)) for _ in range(n)]
        made.append([Rollout(tuple(range(k)), (0.0,) * k, False, prompt) for k in lengths])
    return made


def cost(micro: MicroBatch, rollouts: Sequence[Sequence[Rollout]], share_prompt: bool) -> int:
    """Tokens of a forward pass, padding included."""
    prompt = max(rollouts[i][0].prompt_tokens for i in micro.prompts)
    answer = max(len(ids) for group in micro.groups(rollouts) for ids in group)
    prompts, answers = len(micro.prompts), sum(map(len, micro.groups(rollouts)))
    return (prompts if share_prompt else answers) * prompt + answers * answer


@given(steps(), st.integers(1, 400), st.booleans(), st.data())
def test_every_answer_is_read_exactly_once(
    rollouts: list[list[Rollout]], budget: int, share: bool, data: st.DataObject
) -> None:
    least = data.draw(st.integers(1, sum(map(len, rollouts))))
    micros = pack(rollouts, budget, share, least)
    read = [(i, n) for micro in micros for i in micro.prompts for n in range(micro.first, micro.last)]
    assert sorted(read) == [(i, n) for i, answers in enumerate(rollouts) for n in range(len(answers))]
    assert len(micros) >= least


@given(steps(), st.integers(1, 400), st.booleans())
def test_only_an_answer_that_is_too_long_by_itself_exceeds_the_budget(
    rollouts: list[list[Rollout]], budget: int, share: bool
) -> None:
    for micro in pack(rollouts, budget, share):
        single = len(micro.prompts) == 1 and micro.last - micro.first == 1
        assert single or cost(micro, rollouts, share) <= budget


@given(steps(), st.integers(1, 400), st.booleans())
def test_the_prompts_of_a_micro_batch_have_equally_many_answers(
    rollouts: list[list[Rollout]], budget: int, share: bool
) -> None:
    for micro in pack(rollouts, budget, share):
        assert len({len(group) for group in micro.groups(rollouts)}) == 1
        assert len(micro.prompts) == 1 or (micro.first, micro.last) == (0, len(rollouts[0]))


@given(steps(), st.integers(1, 400), st.booleans())
def test_one_budget_gives_one_packing(rollouts: list[list[Rollout]], budget: int, share: bool) -> None:
    assert pack(rollouts, budget, share) == pack([list(answers) for answers in rollouts], budget, share)


@given(steps(), st.booleans())
def test_what_fits_goes_together(rollouts: list[list[Rollout]], share: bool) -> None:
    assert len(pack(rollouts, 10**6, share)) == 1


def made(prompts: Sequence[int], answers: Sequence[int]) -> list[list[Rollout]]:
    return [[Rollout((0,) * k, (0.0,) * k, False, prompt) for k in answers] for prompt in prompts]


def test_prompts_of_similar_length_go_together() -> None:
    """And a prompt that is read once for all its answers counts once."""
    rollouts = made([50, 10, 12, 48], [5, 5])
    assert pack(rollouts, 120, True) == [MicroBatch((1, 2), 0, 2), MicroBatch((3, 0), 0, 2)]
    assert pack(rollouts, 120, False) == [MicroBatch((1, 2), 0, 2), MicroBatch((3,), 0, 2), MicroBatch((0,), 0, 2)]


def test_the_answers_of_one_prompt_are_halved_until_they_fit() -> None:
    assert pack(made([20], [10] * 4), 60, True) == [MicroBatch((0,), 0, 4)]
    assert pack(made([20], [10] * 4), 59, True) == [MicroBatch((0,), 0, 2), MicroBatch((0,), 2, 4)]
    assert pack(made([20], [10] * 3), 1, True) == [
        MicroBatch((0,), 0, 1),
        MicroBatch((0,), 1, 2),
        MicroBatch((0,), 2, 3),
    ]


def test_the_largest_is_halved_until_there_are_as_many_as_the_other_processes_have() -> None:
    rollouts = made([10, 10, 10], [5, 5])
    assert pack(rollouts, 10**6, True, 2) == [MicroBatch((0,), 0, 2), MicroBatch((1, 2), 0, 2)]
    assert pack(rollouts, 10**6, True, 3) == [MicroBatch((0,), 0, 2), MicroBatch((1,), 0, 2), MicroBatch((2,), 0, 2)]
    assert len(pack(rollouts, 10**6, True, 6)) == 6


def test_the_ids_of_a_micro_batch_are_those_of_its_answers() -> None:
    rollouts = [[Rollout((10 * i + n,), (0.0,), False, 3) for n in range(3)] for i in range(2)]
    assert MicroBatch((1, 0), 1, 3).groups(rollouts) == [[(11,), (12,)], [(1,), (2,)]]
