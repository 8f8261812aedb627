"""Draws follow the model, depend on their key alone, and come back as the ids and log-probabilities they were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from distillation.small import Tiny, role, scene
from gapbench.distillation import rollouts
from gapbench.distillation.forward import ForwardMode
from gapbench.distillation.rollouts import (
    Prompt,
    Rollout,
    Sampling,
    TransformersSampler,
    _Draw,
    _nucleus,
    gumbel,
    random_key,
)
from gapbench.distillation.student import ModelRole
from gapbench.engines.chat import Chat
from gapbench.errors import ModelError

LOGITS = torch.tensor([2.0, 1.5, 1.0, 0.0, -0.5, -1.0, -2.0, 0.7])
MANY = 20_000


def keys(count: int, *parts: object) -> Tensor:
    return torch.tensor([random_key(*parts, n) for n in range(count)])


def drawn(sampling: Sampling, suppressed: Sequence[int] = (), count: int = MANY) -> tuple[np.ndarray, Tensor]:
    """How often each of the eight tokens was drawn, and the log-probabilities that were kept."""
    draw = _Draw(keys(count, "draw"), sampling, suppressed)
    chosen = draw(torch.empty(0), LOGITS.expand(count, -1)).argmax(-1)
    return np.bincount(chosen.numpy(), minlength=8), draw.logps[0]


# --- the noise -----------------------------------------------------------------------------------------------------


def test_a_key_is_a_number_of_62_bits_that_every_part_changes() -> None:
    parts = [(0, 1, "q", 2), (1, 1, "q", 2), (0, 2, "q", 2), (0, 1, "r", 2), (0, 1, "q", 3)]
    found = [random_key(*p) for p in parts]
    assert len(set(found)) == len(parts)
    assert all(0 <= key < 1 << 62 for key in found)


def test_the_noise_is_the_same_on_every_machine() -> None:
    """Known values, so that a resumed run, or one on other processes, draws what was drawn before."""
    assert random_key(0, 1, "q7", 2) == 3282888246753124411
    torch.testing.assert_close(
        gumbel(torch.tensor([random_key(0, 1, "q7", 2)]), 3, 4)[0],
        torch.tensor([1.4326, -0.2835, 0.4805, -0.3518]),
        atol=1e-4,
        rtol=0,
    )


def test_the_noise_depends_on_key_position_and_token_alone() -> None:
    several = keys(5, "a")
    whole = gumbel(several, 4, 50)
    assert torch.equal(whole[[3, 1]], gumbel(several[[3, 1]], 4, 50))
    assert torch.equal(whole[:, :20], gumbel(several, 4, 20))
    assert not torch.equal(whole, gumbel(several, 5, 50))


@pytest.mark.parametrize("hashed", [0, 1, 0x7FFFFFFF, 0xFFFFFF00, 0xFFFFFFFF])
def test_the_noise_is_finite_whatever_the_hash(hashed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Infinite noise would draw its token with certainty, however unlikely, or even suppressed (inf - inf)."""
    monkeypatch.setattr(rollouts, "_mix", lambda x: torch.full_like(x, hashed))
    assert gumbel(keys(2), 0, 3).isfinite().all()


def test_the_noise_is_gumbels_and_independent_over_tokens_positions_and_keys() -> None:
    noise = {
        "tokens": gumbel(keys(1, "t"), 0, MANY)[0],
        "keys": gumbel(keys(MANY, "k"), 7, 3)[:, 2],
        "positions": torch.cat([gumbel(keys(4, "p"), i, 3) for i in range(MANY // 12)]).flatten(),
    }
    for what, values in noise.items():
        assert stats.kstest(values.numpy(), "gumbel_r").pvalue > 1e-3, what
        apart = np.corrcoef(values[1:], values[:-1])[0, 1]
        assert abs(apart) < 4 / math.sqrt(len(values)), what


def test_the_noise_reaches_as_far_as_a_large_vocabulary_needs() -> None:
    largest = gumbel(keys(20, "far"), 0, 150_000).max(1).values  # expected: log(150,000) + 0.577 = 12.5
    assert stats.kstest((largest - math.log(150_000)).numpy(), "gumbel_r").pvalue > 1e-3


# --- draws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax_at_the_temperature(temperature: float) -> None:
    counts, logps = drawn(Sampling(1, temperature))
    expected = (LOGITS / temperature).softmax(-1).double().numpy()
    assert stats.chisquare(counts, MANY * expected / expected.sum()).pvalue > 1e-3
    at_one = LOGITS.log_softmax(-1)
    assert set(logps.tolist()) <= set(at_one.tolist()), "log-probabilities are those of temperature 1"


def test_draws_at_different_positions_of_one_answer_are_independent() -> None:
    draw = _Draw(keys(MANY, "two"), Sampling(2), ())
    first, second = (draw(torch.empty(0), LOGITS.expand(MANY, -1)).argmax(-1).numpy() for _ in range(2))
    table = np.histogram2d(first, second, bins=8)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_top_p_keeps_the_smallest_set_that_has_the_mass() -> None:
    counts, _ = drawn(Sampling(1, top_p=0.7))
    expected = LOGITS.softmax(-1).double()
    inside = [0, 1, 2]  # 0.37 + 0.23 + 0.14 = 0.74
    assert 0.6 < expected[:2].sum() < 0.7 < expected[inside].sum()
    assert counts[inside].sum() == MANY
    share = (expected[inside] / expected[inside].sum()).numpy()
    assert stats.chisquare(counts[inside], MANY * share).pvalue > 1e-3


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.floats(0.05, 1))
def test_the_nucleus_is_that_of_a_plain_loop(logits: list[float], top_p: float) -> None:
    kept = _nucleus(torch.tensor([logits], dtype=torch.float64), top_p)[0] > -torch.inf
    p = torch.tensor(logits, dtype=torch.float64).softmax(-1)
    mass = float(p[kept].sum())
    assert p[kept].max() == p.max()
    assert mass >= top_p - 1e-9
    assert p[kept].min() >= (p[~kept].max() if not kept.all() else 0)
    if kept.sum() > 1:
        assert mass - float(p[kept].min()) < top_p + 1e-9, "without its least likely token it has too little"


def test_suppressed_tokens_are_never_drawn_and_the_others_keep_their_proportions() -> None:
    counts, logps = drawn(Sampling(1), suppressed=(0, 3, 999))
    assert counts[[0, 3]].sum() == 0
    others = [1, 2, 4, 5, 6, 7]
    share = LOGITS[others].double().softmax(-1).numpy()
    assert stats.chisquare(counts[others], MANY * share).pvalue > 1e-3
    at_one = LOGITS.log_softmax(-1)  # of the model as it is, as the trainer sees it
    assert set(logps.tolist()) <= set(at_one.tolist())


def test_temperature_zero_takes_the_likeliest() -> None:
    assert drawn(Sampling(1, 0.0), count=3)[0].tolist() == [3, 0, 0, 0, 0, 0, 0, 0]
    assert drawn(Sampling(1, 0.0), suppressed=(0,), count=3)[0].tolist() == [0, 3, 0, 0, 0, 0, 0, 0]


# --- a real model --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def student(tiny: Tiny) -> ModelRole:
    torch.set_num_threads(1)
    return role(tiny("qwen2_vl"))


def prompts(order: Sequence[int] = (0, 1, 2, 3), rollouts: int = 3) -> list[Prompt]:
    """Questions of different sizes and lengths; keys belong to the question."""
    scenes = [scene(i) for i in order]
    return [Prompt(s.image, s.question, tuple(random_key(0, s.id, n) for n in range(rollouts))) for s in scenes]


def answered(
    student: ModelRole, requests: list[Prompt], sampling: Sampling | None = None, chat: Chat | None = None, **more: Any
) -> list[list[Rollout]]:
    changed = {name: more.pop(name) for name in ("ends", "suppressed") if name in more}
    role = replace(student, chat=chat or student.chat, **changed)
    return TransformersSampler(**more)(role, requests, sampling or Sampling(6))


def same(one: list[list[Rollout]], other: list[list[Rollout]]) -> None:
    for ours, theirs in zip(one, other, strict=True):
        assert [r.ids for r in ours] == [r.ids for r in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert (a.truncated, a.prompt_tokens) == (b.truncated, b.prompt_tokens)
            torch.testing.assert_close(torch.tensor(a.logps), torch.tensor(b.logps), atol=1e-5, rtol=0)


def test_each_prompt_gets_as_many_different_answers_as_it_has_keys(student: ModelRole) -> None:
    found = answered(student, prompts())
    assert [len(answers) for answers in found] == [3, 3, 3, 3]
    assert len({r.ids for answers in found for r in answers}) == 12


def test_an_answer_depends_neither_on_the_order_nor_on_the_batch_it_is_made_in(student: ModelRole) -> None:
    whole = answered(student, prompts())
    same(answered(student, prompts((2, 0, 3, 1))), [whole[i] for i in (2, 0, 3, 1)])
    same(answered(student, prompts((3, 1))), [whole[3], whole[1]])
    same(answered(student, prompts((1,), rollouts=1)), [whole[1][:1]])


def test_an_answer_depends_on_its_key(student: ModelRole) -> None:
    requests = prompts((0,))
    other = replace(requests[0], keys=tuple(random_key(1, "q0", n) for n in range(3)))
    assert [r.ids for r in answered(student, requests)[0]] != [r.ids for r in answered(student, [other])[0]]


def test_processing_a_prompt_once_or_for_every_answer_is_the_same(student: ModelRole) -> None:
    same(answered(student, prompts(), expand=True), answered(student, prompts(), expand=False))


@pytest.mark.parametrize("split", [True, False])
def test_sharing_a_prompt_is_the_same(student: ModelRole, split: bool) -> None:
    """In one batch, in several, with ends and without, greedily and at other temperatures."""
    shared = ForwardMode(True, split, True)
    for ends in ((), tuple(range(0, student.vocabulary, 4))):
        for sampling in (
            Sampling(6),
            Sampling(6, 0.0),
            Sampling(5, 0.7, 0.8),
            Sampling(1),
            Sampling(6, batch_tokens=200),
        ):
            plain = answered(student, prompts(), sampling, ends=ends)
            same(answered(student, prompts(), sampling, ends=ends, mode=shared), plain)


class Watched(Chat):
    """A chat that counts the rows of the batches it makes."""

    def batch(self, prompts: Any) -> Any:
        self.rows.append(len(prompts))
        return super().batch(prompts)

    @property
    def rows(self) -> list[int]:
        found: list[int] = self.__dict__.setdefault("_rows", [])
        return found


@pytest.mark.parametrize(("expand", "shared"), [(True, None), (False, None), (False, ForwardMode(True, True, True))])
def test_a_smaller_budget_makes_more_batches_of_the_same_answers(
    student: ModelRole, expand: bool, shared: ForwardMode | None
) -> None:
    """And never are more images processed at once than go into one batch."""
    requests = prompts()
    longest = max(r[0].prompt_tokens for r in answered(student, requests)) + 6
    for room in (1, 2, 3):
        chat = Watched(**vars(student.chat))
        budget = Sampling(6, batch_tokens=3 * longest * room + 2)
        same(answered(student, requests, budget, chat, expand=expand, mode=shared), answered(student, requests))
        assert chat.rows[0] == 1, "one image tells how many go together"
        assert len(chat.rows) == 1 + math.ceil(4 / room)
        assert max(chat.rows) == room * (1 if expand or shared else 3)


def test_a_budget_that_is_less_than_one_prompt_takes_them_one_by_one(student: ModelRole) -> None:
    same(answered(student, prompts(), Sampling(6, batch_tokens=1)), answered(student, prompts()))


def test_log_probabilities_are_those_of_the_model_on_the_whole_sequence(student: ModelRole) -> None:
    requests = prompts((1, 2))
    for prompt, answers in zip(requests, answered(student, requests), strict=True):
        inputs = student.chat.batch([((prompt.image,), prompt.text)])
        length = inputs["input_ids"].shape[1]
        for answer in answers:
            whole = {**inputs, "input_ids": torch.cat([inputs["input_ids"], torch.tensor([answer.ids])], 1)}
            whole["attention_mask"] = torch.ones_like(whole["input_ids"])
            whole["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, len(answer.ids)))
            with torch.no_grad():
                logps = student.model(**whole).logits[0, length - 1 : -1].log_softmax(-1)
            expected = logps.gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(answer.logps), expected, atol=1e-4, rtol=0)
            assert answer.prompt_tokens == length


def test_an_answer_stops_with_its_end_and_says_whether_it_was_cut_off(student: ModelRole) -> None:
    whole = answered(student, prompts((0, 1)), ends=())
    assert all(r.truncated and len(r.ids) == 6 for answers in whole for r in answers)
    end = whole[0][1].ids[2]
    for before, after in zip(whole, answered(student, prompts((0, 1)), ends=(end,)), strict=True):
        for free, ended in zip(before, after, strict=True):
            stop = free.ids.index(end) + 1 if end in free.ids else None
            assert ended.ids == free.ids[:stop]
            assert ended.truncated == (stop is None)
            assert len(ended.logps) == len(ended.ids)


def test_greedy_answers_are_those_of_generate(student: ModelRole) -> None:
    requests = prompts((0, 3), rollouts=1)
    inputs = student.chat.batch([((p.image,), p.text) for p in requests])
    expected = student.model.generate(**inputs, max_new_tokens=6, suppress_tokens=list(student.suppressed))
    expected = expected[:, inputs["input_ids"].shape[1] :].tolist()
    for row, answers in zip(expected, answered(student, requests, Sampling(6, 0.0)), strict=True):
        assert list(answers[0].ids) == row[: len(answers[0].ids)]


def test_suppressed_tokens_are_never_answered(student: ModelRole) -> None:
    half = tuple(range(0, student.vocabulary, 2))
    found = answered(student, prompts(rollouts=8), suppressed=half)
    assert not {token for answers in found for r in answers for token in r.ids} & set(half)


def test_too_little_memory_halves_the_batch_and_names_the_remedy_at_last(
    student: ModelRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answered(student, prompts())
    real = student.model.generate

    def short(room: int) -> Any:
        def generate(**inputs: Any) -> Any:
            if len(inputs["input_ids"]) > room:
                raise torch.OutOfMemoryError
            return real(**inputs)

        return generate

    monkeypatch.setattr(student.model, "generate", short(2))
    same(answered(student, prompts()), expected)
    monkeypatch.setattr(student.model, "generate", short(0))
    with pytest.raises(ModelError, match=r"out of memory for 1 prompts of up to .* Lower rollout_tokens"):
        answered(student, prompts())


def test_no_prompts_are_no_answers(student: ModelRole) -> None:
    assert answered(student, []) == []


# --- several processes ---------------------------------------------------------------------------------------------


def uneven(rank: int, folder: str, store: str) -> None:
    """One process has four batches of answers that end at once, the other one batch of long answers."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    student = role(folder)
    requests, ends = (prompts((2,)), student.ends) if rank else (prompts(), tuple(range(student.vocabulary)))
    together = answered(student, requests, Sampling(6, batch_tokens=1), ends=ends, synced=True)
    same(together, answered(student, requests, ends=ends))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.evidence
def test_processes_wait_for_each_other_whatever_their_batches(tiny: Tiny, tmp_path: Path) -> None:
    """Sharded weights need every process for every forward pass; one too few, and all of them would hang."""
    arguments = (str(tiny("qwen2_vl")), str(tmp_path / "store"))
    torch.multiprocessing.start_processes(uneven, arguments, nprocs=2, start_method="spawn")
