"""The self-check allows a shortcut only if it changes neither log-probabilities nor gradients, and trusts no NaN."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from distillation.small import Tiny, benchmark, recipe, role
from gapbench.distillation import forward, forward_check
from gapbench.distillation.forward import PLAIN, ForwardMode
from gapbench.distillation.forward_check import ForwardCheck, _compared_params, _gradient_difference, find_forward_mode
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.student import ModelRole
from gapbench.errors import ModelError


def check(student: ModelRole, settings: Recipe | None = None, precision: str = "float32") -> ForwardCheck:
    settings = settings or recipe()
    image_prompts = [(p.student, p.text) for p in Pairs(benchmark(), settings).step(0)]
    return find_forward_mode(student, image_prompts, settings, precision)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ForwardMode(True, True, True)),
        ({"share_prompt": False}, ForwardMode(False, True, True)),
        ({"gradient_checkpointing": True}, ForwardMode(False, True, True)),
    ],
)
def test_shortcuts_are_those_that_the_recipe_allows(changes: dict[str, Any], expected: ForwardMode, tiny: Tiny) -> None:
    settings = recipe(**changes)
    assert check(role(tiny("qwen2_vl"), settings), settings).mode == expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_prompt_whose_gradient_is_lost_is_not_shared(
    precision: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-probabilities are right then, and training would still go wrong; in bfloat16, too."""
    real = DynamicCache.reorder_cache

    def detached(cache: DynamicCache, index: Tensor) -> None:
        real(cache, index)
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys.detach(), layer.values.detach()

    monkeypatch.setattr(DynamicCache, "reorder_cache", detached)
    student = role(tiny("qwen2_vl"))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        found = check(student, precision=precision)
    assert found.mode == ForwardMode(False, True, True)
    assert any("share_prompt" in text and "gradients by" in text for text in found.refused)


def test_in_bfloat16_rounding_costs_no_shortcut(tiny: Tiny) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert check(role(tiny("qwen2_vl")), precision="bfloat16").mode == ForwardMode(True, True, True)


def test_a_shortcut_that_fails_is_refused_with_its_reason(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise NotImplementedError("this cache cannot be reordered")

    monkeypatch.setattr(DynamicCache, "reorder_cache", broken)
    found = check(role(tiny("qwen2_vl")))
    assert found.mode == ForwardMode(False, True, True)
    assert "NotImplementedError: this cache cannot be reordered" in found.refused[0]


def test_a_shortcut_that_shifts_log_probabilities_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_check, "logit_cap", lambda *_: 3.0)  # a bound that this model does not have
    found = check(role(tiny("qwen2_vl")))
    assert found.mode == ForwardMode(True, False, True)
    assert "split_head, expand: log-probabilities differ by" in found.refused[0]


def test_no_agreement_at_all_refuses_the_model(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    real = forward.hidden_states
    monkeypatch.setattr(forward, "hidden_states", lambda *args: real(*args).roll(1, 0))
    with pytest.raises(ModelError, match=r"differ from generation's by up to .*attn_implementation=eager"):
        check(role(tiny("qwen2_vl")))


def test_nan_is_no_agreement(tiny: Tiny) -> None:
    student = role(tiny("qwen2_vl"))
    with torch.no_grad():
        student.model.lm_head.weight[5] = torch.nan
    with pytest.raises(ModelError):
        check(student)
    assert _gradient_difference([torch.tensor([1.0]), torch.tensor([torch.nan])], [torch.ones(1), torch.ones(1)]) != 0.0
    assert not _gradient_difference([torch.tensor([torch.nan]), torch.ones(1)], [torch.ones(1), torch.ones(1)]) <= 1


def test_a_model_that_cannot_generate_is_refused_by_name(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    student = role(tiny("qwen2_vl"))
    monkeypatch.setattr(student.model, "generate", lambda **_: 1 / 0)
    with pytest.raises(ModelError, match=r"qwen2_vl.*generation or teacher forcing fails .*ZeroDivisionError"):
        check(student)


def test_several_answers_by_generation_itself_are_not_trusted_unseen(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers 5.19 repeats Qwen3.5's patches one by one, so that its images are shuffled without an error."""
    student = role(tiny("qwen3_5"))
    found = check(student)
    assert not found.expand_rollouts
    assert found.rollout_mode == ForwardMode(True, True, True), "reading the prompt once ourselves is right"
    assert check(student, recipe(rollouts_per_prompt=1)).expand_rollouts, "nothing is repeated"
    assert check(role(tiny("qwen2_vl"))).expand_rollouts


def test_rollouts_share_a_prompt_only_where_teacher_forcing_agrees(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    student = role(tiny("qwen2_vl"))
    assert check(student, recipe(gradient_checkpointing=True)).rollout_mode == ForwardMode(True, True, True), (
        "no gradient needed"
    )
    assert check(student, recipe(share_prompt=False)).rollout_mode is None
    real = DynamicCache.reorder_cache
    monkeypatch.setattr(DynamicCache, "reorder_cache", lambda cache, index: real(cache, index.flip(0)))
    found = check(student)
    assert found.rollout_mode is None
    assert found.mode == ForwardMode(False, True, True)


def test_the_check_leaves_weights_gradients_and_mode_alone(tiny: Tiny) -> None:
    student = role(tiny("qwen2_vl"))
    before = [p.detach().clone() for p in student.model.parameters()]
    check(student)
    assert all(torch.equal(a, b) for a, b in zip(before, student.model.parameters(), strict=True))
    assert all(p.grad is None for p in student.model.parameters())
    assert not student.model.training


def test_a_model_that_is_not_trained_is_checked_for_its_log_probabilities(tiny: Tiny) -> None:
    assert check(role(tiny("qwen2_vl"), trained=False)).difference < 1e-4


@pytest.mark.parametrize("layers", range(1, 30))
def test_the_gradients_compared_are_not_only_those_that_are_zero_in_a_fresh_adapter(layers: int) -> None:
    model = torch.nn.ModuleDict()
    for i in range(layers):
        model[f"{i}_lora_A"], model[f"{i}_lora_B"] = torch.nn.Linear(2, 1, False), torch.nn.Linear(1, 2, False)
    watched = {id(p) for p in _compared_params(model)}
    names = [name for name, p in model.named_parameters() if id(p) in watched]
    assert 1 <= len(names) <= 8
    assert any("lora_B" in name for name in names)


def test_huge_parameters_are_not_compared() -> None:
    model = torch.nn.ParameterList([torch.empty(1 << 23, device="meta"), torch.ones(3)])
    assert [p.numel() for p in _compared_params(model) if p.device.type == "cpu"] == [3]


def test_the_plain_mode_is_always_accepted(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    real = forward_check._compare

    def only_plain(*args: Any) -> Any:
        off, gradient = real(*args)
        return (off if args[-1] == PLAIN else 1.0), gradient

    monkeypatch.setattr(forward_check, "_compare", only_plain)
    found = check(role(tiny("qwen2_vl")))
    assert found.mode == PLAIN
    assert len(found.refused) == 5
    assert len(set(found.refused)) == 5
