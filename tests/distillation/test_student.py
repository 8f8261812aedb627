"""What is trained, in which precision, and which tokens must never be answered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import FAMILIES

from distillation.small import Tiny, recipe, role
from gapbench.distillation.forward import PLAIN, ForwardMode
from gapbench.distillation.student import VISION, ForwardWrapper, image_tokens, make_role
from gapbench.engines import models
from gapbench.errors import SettingError


def trained(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_all_weights_are_trained_in_float32(tiny: Tiny) -> None:
    loaded = models.load(str(tiny("qwen3_vl")), dtype="bfloat16", device="cpu")
    student = make_role(loaded, recipe())
    assert {p.dtype for p in student.model.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in student.model.parameters())


def test_a_model_that_only_teaches_is_not_trained_and_keeps_its_dtype(tiny: Tiny) -> None:
    loaded = models.load(str(tiny("qwen3_vl")), dtype="bfloat16", device="cpu")
    teacher = make_role(loaded, recipe(lora=True), trained=False)
    assert {p.dtype for p in teacher.model.parameters()} == {torch.bfloat16}
    assert not trained(teacher.model)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_vision_tower_is_the_tower_and_nothing_of_the_language_model(family: str, tiny: Tiny) -> None:
    student = role(tiny(family), recipe(freeze_vision=True))
    frozen = {name for name, _ in student.model.named_parameters()} - trained(student.model)
    language = {name for name in trained(student.model) if "lm_head" in name or ".layers." in name}
    assert frozen
    assert language
    assert not any("language_model" in name or "text_model" in name or "lm_head" in name for name in frozen)
    assert not any("patch_embed" in name or "vision" in name.split(".") for name in trained(student.model))


def test_a_frozen_tower_gets_no_adapters_either(tiny: Tiny) -> None:
    every, frozen = (trained(role(tiny("gemma3"), recipe(lora=True, freeze_vision=f)).model) for f in (False, True))
    assert frozen < every
    assert all(VISION.search(name) for name in every - frozen)
    assert not any(VISION.search(name) for name in frozen)


@pytest.mark.parametrize("lora", [False, True])
def test_no_tower_by_name_is_refused(lora: bool, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = models.load(str(tiny("qwen2_vl")), dtype="float32", device="cpu")
    loaded.model.model.eyes = loaded.model.model.visual
    del loaded.model.model.visual
    with pytest.raises(SettingError, match=r"freeze_vision: no parameter's name .* set it to false"):
        make_role(loaded, recipe(freeze_vision=True, lora=lora))


def test_adapters_alone_are_trained_in_float32_over_a_base_that_keeps_its_dtype(tiny: Tiny) -> None:
    loaded = models.load(str(tiny("qwen2_vl")), dtype="bfloat16", device="cpu")
    student = make_role(loaded, recipe(lora=True, lora_rank=3))
    found = dict(student.model.named_parameters())
    assert trained(student.model) == {name for name in found if ".lora_" in name}
    assert {p.dtype for name, p in found.items() if ".lora_" in name} == {torch.float32}
    assert {p.dtype for name, p in found.items() if ".lora_" not in name} == {torch.bfloat16}
    assert {p.shape[0] for name, p in found.items() if ".lora_A." in name} == {3}


@pytest.mark.parametrize("targets", ["q_proj", "q_proj, k_proj", ("q_proj", "k_proj")])
def test_adapters_go_to_the_modules_that_are_named(targets: Any, tiny: Tiny) -> None:
    names = trained(role(tiny("qwen2_vl"), recipe(lora=True, lora_targets=targets)).model)
    assert {name.split(".lora_")[0].split(".")[-1] for name in names} == set(
        targets if isinstance(targets, tuple) else targets.split(", ")
    )


def test_modules_that_do_not_exist_are_refused(tiny: Tiny) -> None:
    with pytest.raises(SettingError, match=r"lora_targets='qkv_projection'.*not found"):
        role(tiny("qwen2_vl"), recipe(lora=True, lora_targets="qkv_projection"))


@pytest.mark.parametrize("lora", [False, True])
def test_gradient_checkpointing_is_switched_on(lora: bool, tiny: Tiny) -> None:
    student = role(tiny("qwen2_vl"), recipe(gradient_checkpointing=True, lora=lora))
    assert student.model.is_gradient_checkpointing


def test_ends_and_the_width_of_the_logits_are_the_models(tiny: Tiny) -> None:
    student = role(tiny("qwen2_vl"))
    assert student.ends == (student.chat.processor.tokenizer.eos_token_id,)
    assert student.vocabulary == student.model.config.text_config.vocab_size
    assert student.mode == PLAIN
    assert student.with_mode(ForwardMode(True, True, True)).mode.share_prompt


def test_placeholders_are_found_by_name_in_all_parts_of_a_configuration() -> None:
    config = SimpleNamespace(
        image_token_id=4,
        video_token_index=5,
        vision_start_token_id=6,
        boi_token_index=7,
        eoa_token_index=8,
        media_placeholder_token_id=9,
        visual_indicator_token_ids=[10, 11],
        audio_token_id=None,
        image_token_extra_id=-1,
        eos_token_id=2,
        pad_token_id=0,
        bos_token_id=1,
        mm_tokens_per_image=256,
        vision_config=SimpleNamespace(image_token_id=12, tokens_per_second=4),
        audio_config=SimpleNamespace(audio_token_id=13),
    )
    assert image_tokens(config) == (4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
    assert image_tokens(SimpleNamespace(eos_token_id=2)) == ()


def test_the_wrapper_runs_a_function_of_the_plain_model_in_its_forward_pass() -> None:
    layer = torch.nn.Linear(2, 2)
    wrapped = ForwardWrapper(layer)
    entered: list[str] = []
    wrapped.register_forward_pre_hook(lambda *_: entered.append("forward"))
    assert wrapped(lambda model, x, y: (model is layer, x + y), 1, 2) == (True, 3)
    assert entered == ["forward"]
