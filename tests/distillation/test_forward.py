"""Teacher forcing: states in order of prompt, answer and position, and a model that is left as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distillation.small import Tiny, role, scene
from gapbench.distillation.forward import (
    PLAIN,
    ForwardMode,
    Groups,
    _pad_right,
    bounded,
    head,
    hidden_states,
    logit_cap,
    process,
)
from gapbench.distillation.student import ModelRole

MODES = [ForwardMode(bool(n & 4), bool(n & 2), bool(n & 1)) for n in range(8)]
GROUPS: Groups = [[(30, 31, 32), (40,)], [(50, 51), (60, 61, 62, 63)], [(70,), (80, 81)]]


@pytest.fixture(scope="module")
def student(tiny: Tiny) -> ModelRole:
    torch.set_num_threads(1)
    return role(tiny("qwen2_5_vl"))


def image_prompts(count: int = 3) -> list[tuple[Any, str]]:
    return [(s.image, s.question) for s in map(scene, range(count))]


def label(mode: ForwardMode) -> str:
    return "-".join(k for k, v in vars(mode).items() if v) or "plain"


def states(
    student: ModelRole, groups: Groups, mode: ForwardMode, prompts: list[tuple[Any, str]] | None = None
) -> Tensor:
    inputs = process(student.chat, student.model, prompts or image_prompts(len(groups)), len(groups[0]), mode)
    return hidden_states(student.model, inputs, groups, mode)


@torch.no_grad()
def by_hand(student: ModelRole, prompt: tuple[Any, str], answer: tuple[int, ...]) -> Tensor:
    """Logits at the positions that predict one answer, from one plain call of the model."""
    inputs = student.chat.batch([((prompt[0],), prompt[1])])
    ids = torch.cat([inputs["input_ids"], torch.tensor([answer])], 1)
    types = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, len(answer)))
    whole = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": types}
    logits: Tensor = student.model(**whole).logits[0, -len(answer) - 1 : -1]
    return logits


@torch.no_grad()
@pytest.mark.parametrize("mode", MODES, ids=label)
def test_states_come_in_order_of_prompt_answer_and_position(student: ModelRole, mode: ForwardMode) -> None:
    found = head(student.model, mode)(states(student, GROUPS, mode))
    expected = [by_hand(student, p, row) for p, group in zip(image_prompts(), GROUPS, strict=True) for row in group]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("mode", MODES, ids=label)
def test_answers_of_one_token_are_predicted_by_the_prompt_alone(student: ModelRole, mode: ForwardMode) -> None:
    found = states(student, [[(30,), (40,)], [(50,), (60,)]], mode)
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[2], found[3], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("mode", MODES, ids=label)
def test_a_later_token_changes_no_earlier_state(student: ModelRole, mode: ForwardMode) -> None:
    one, other = (states(student, [[(30, last, 32)]], mode) for last in (31, 99))
    torch.testing.assert_close(one[:2], other[:2], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(one[2], other[2], atol=1e-2)


@pytest.mark.parametrize("mode", MODES, ids=label)
def test_images_are_processed_once_where_that_is_allowed(student: ModelRole, mode: ForwardMode) -> None:
    rows = len(process(student.chat, student.model, image_prompts(), 5, mode)["input_ids"])
    assert rows == (3 if mode.share_prompt or mode.expand else 15)


@torch.no_grad()
def test_a_split_head_gives_hidden_states_and_no_logits(student: ModelRole) -> None:
    whole, split = (states(student, GROUPS, r) for r in (PLAIN, ForwardMode(False, True, False)))
    assert whole.shape == (13, student.vocabulary)
    assert split.shape == (13, student.model.get_output_embeddings().in_features)


@torch.no_grad()
def test_the_projection_is_itself_again_afterwards(student: ModelRole) -> None:
    projection = student.model.get_output_embeddings()
    mode = ForwardMode(True, True, True)
    states(student, GROUPS, mode)
    assert "forward" not in vars(projection)
    inputs = process(student.chat, student.model, image_prompts(), 2, mode)
    inputs["pixel_values"] = inputs["pixel_values"][:-4]
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        hidden_states(student.model, inputs, GROUPS, mode)
    assert "forward" not in vars(projection)


def test_rows_are_padded_on_the_right() -> None:
    ids, mask = _pad_right([(5, 6, 7), (8,)], "cpu")
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ids.dtype == mask.dtype == torch.int64


def test_a_bound_bends_logits_as_gemma_does() -> None:
    logits = torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4])
    torch.testing.assert_close(bounded(logits, 30.0), 30 * torch.tanh(logits / 30))
    assert bounded(logits, None) is logits


def test_a_model_without_a_bound_has_none(student: ModelRole) -> None:
    assert logit_cap(student.model, process(student.chat, student.model, image_prompts(1), 1, PLAIN)) is None
