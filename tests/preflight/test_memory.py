"""The terms of memory equal what a real model of two layers takes, counted by hooks on its tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from distillation.small import recipe
from PIL import Image

from gapbench.distillation.divergence import Tokens, chunked_divergence
from gapbench.distillation.forward import ForwardMode, head, hidden_states, process, token_ids
from gapbench.distillation.student import make_role
from gapbench.distillation.teachers import Teacher
from gapbench.engines import models
from gapbench.engines.chat import make_chat, place
from gapbench.preflight.memory import against_device, to_measure, to_train, to_train_on_less
from preflight.counting import kept_for_backward, profiled

Tiny = Callable[[str], Path]
STUDENT = Image.effect_noise((400, 300), 50).convert("RGB"), "Which colour? Look closely."
TEACHER = Image.effect_noise((100, 80), 50).convert("RGB"), "Which colour? Look closely."
CLOSE = 0.05
"""The relative difference that the terms may have from what is counted."""


def bytes_of(tensors: Any) -> int:
    return sum(
        storage.nbytes() for storage in {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors}.values()
    )


@pytest.mark.parametrize("family", ["qwen3_vl", "llava", "gemma3"])
def test_measuring_weights_cache_and_activations(family: str, tiny: Tiny) -> None:
    folder, new_tokens = str(tiny(family)), 20
    bare = models.load_without_weights(folder)
    terms = to_measure(bare, make_chat(bare), [STUDENT[0]], STUDENT[1], new_tokens)

    loaded = models.load(folder)
    inputs = place(make_chat(loaded).batch([((STUDENT[0],), STUDENT[1])]), loaded.model)
    assert terms["weights"] == bytes_of([*loaded.model.parameters(), *loaded.model.buffers()])
    with torch.no_grad():
        out = loaded.model.generate(**inputs, max_new_tokens=new_tokens + 1, min_new_tokens=new_tokens + 1,
                                    return_dict_in_generate=True, do_sample=False)  # fmt: skip
    cache = [x for layer in out.past_key_values.layers for x in (layer.keys, layer.values)]
    assert terms["KV cache"] == pytest.approx(sum(x.nbytes for x in cache), rel=CLOSE)
    with profiled() as peak, torch.no_grad():
        read = loaded.model(**inputs, use_cache=True, logits_to_keep=1)
    held = sum(x.nbytes for layer in read.past_key_values.layers for x in (layer.keys, layer.values))
    pixels = sum(x.nbytes for x in inputs.values() if x.is_floating_point())
    # Kernels have a workspace besides, which is large beside activations of some hundred kilobytes.
    assert 0.75 * (peak.bytes - held + pixels) <= terms["activations"] <= 1.05 * (peak.bytes - held + pixels)


@pytest.mark.parametrize("changes", [
    {}, {"lora": True, "lora_rank": 8}, {"share_prompt": False}, {"precision": "bf16"}, {"freeze_vision": True},
    {"precision": "bf16", "lora": True, "lora_rank": 8}, {"teacher": "live"},
], ids=str)  # fmt: skip
def test_training_terms_are_those_of_a_real_micro_batch(changes: dict[str, Any], tiny: Tiny) -> None:
    settings = recipe(
        prompts_per_step=2, rollouts_per_prompt=4, max_new_tokens=32, micro_batch_tokens=700, top_k=20, **changes
    )
    half = settings.precision == "bf16"
    dtype = "bfloat16" if half and settings.lora else "float32"
    folder = str(tiny("qwen3_vl"))
    found = to_train(models.load_without_weights(folder, dtype=dtype), settings, STUDENT, TEACHER, half)

    role = make_role(models.load(folder, dtype=dtype), settings)
    teacher, trained = Teacher(settings, role), [p for p in role.model.parameters() if p.requires_grad]
    assert found.always["weights"] == bytes_of([*role.model.parameters(), *role.model.buffers()])
    assert found.always["teacher"] == bytes_of(teacher.averages)

    mode, answers = ForwardMode(settings.share_prompt, True, True), 4
    prompts = 2 if settings.share_prompt else 1  # 2 prompts of 80 tokens and 8 answers of 32 are below 700 tokens
    groups = [[[5] * 32] * answers] * prompts
    own, other = (process(role.chat, role.model, [side] * prompts, answers, mode) for side in (STUDENT, TEACHER))
    before = [*role.model.parameters(), *role.model.buffers(), *own.values()]

    def pass_and_backward() -> int:
        lowered = torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()
        with lowered, torch.no_grad():
            target = hidden_states(role.model, other, groups, mode)
        with lowered:
            with kept_for_backward(before) as kept:
                states = hidden_states(role.model, own, groups, mode)
            ids = token_ids(groups, torch.device("cpu"))
            project = head(role.model, mode)
            tokens = Tokens(ids, torch.ones(len(ids)))
            totals = chunked_divergence(states, target, tokens, project, project, settings.loss, settings.chunk_tokens)
        totals.loss.backward()
        return sum(kept.values())

    optimizer = torch.optim.AdamW(trained)
    pass_and_backward()
    optimizer.step()
    states = [x for state in optimizer.state.values() for x in state.values() if x.dim()]
    assert found.always["optimiser"] == bytes_of(states)
    assert found.training["gradients"] == bytes_of([p.grad for p in trained])

    with profiled() as peak:
        kept = pass_and_backward()
    pixels = sum(x.nbytes for x in own.values() if x.is_floating_point())
    activations = found.training["activations"] - pixels
    assert activations == pytest.approx(kept, rel=CLOSE)
    assert activations + found.training["logits and backward"] == pytest.approx(peak.bytes, rel=2 * CLOSE)


@pytest.mark.parametrize("changes", [{"target": "tilt"}, {"weights": "evidence"}], ids=str)
def test_a_null_view_is_read_as_well_and_its_states_are_kept(changes: dict[str, Any], tiny: Tiny) -> None:
    """On top come its hidden states, and with a tilt its logits of one chunk."""
    settings = recipe(prompts_per_step=2, rollouts_per_prompt=4, max_new_tokens=32, micro_batch_tokens=700, **changes)
    bare = models.load_without_weights(str(tiny("qwen3_vl")))
    without = to_train(bare, settings.model_copy(update={"target": "teacher"}), STUDENT, TEACHER, False)
    both = to_train(bare, settings, STUDENT, TEACHER, False, null=TEACHER)
    config = bare.model.config.get_text_config()
    states = 2 * 4 * 32 * config.hidden_size * 4
    assert both.always == without.always
    assert both.training["activations"] == without.training["activations"] + states
    added = both.training["logits and backward"] - without.training["logits and backward"]
    assert added >= (settings.target == "tilt") * 2 * 4 * 32 * config.vocab_size * 4


def test_checkpointing_keeps_less_and_computes_again(tiny: Tiny) -> None:
    settings = recipe(max_new_tokens=32, micro_batch_tokens=700, rollouts_per_prompt=8)
    bare = models.load_without_weights(str(tiny("qwen3_vl")))
    usual = to_train(bare, settings, STUDENT, TEACHER, False)
    less = to_train(bare, settings.model_copy(update={"gradient_checkpointing": True}), STUDENT, TEACHER, False)
    assert less.training["activations"] < 0.8 * usual.training["activations"]


def test_rollouts_by_vllm_take_their_share_of_the_device_instead(tiny: Tiny) -> None:
    bare = models.load_without_weights(str(tiny("qwen3_vl")))
    assert to_train(bare, recipe(use_vllm=True), STUDENT, TEACHER, False).rollouts == {}


def test_a_cache_grows_with_the_rollouts_that_fit_a_batch(tiny: Tiny) -> None:
    bare = models.load_without_weights(str(tiny("qwen3_vl")))
    one, four = (
        to_train(bare, recipe(prompts_per_step=8, rollout_tokens=tokens), STUDENT, TEACHER, False).rollouts["KV cache"]
        for tokens in (200, 800)
    )
    assert four == 4 * one


GIGABYTE = 10**9


def test_memory_against_a_device_says_how_it_is() -> None:
    terms = {"weights": 8 * GIGABYTE, "KV cache": 2 * GIGABYTE, "teacher": 0}
    fits, tight, never = (
        against_device(terms, there, "cuda", "the largest prompt", "--max-pixels N.")
        for there in ((80 * GIGABYTE, 79 * GIGABYTE), (16 * GIGABYTE, 9 * GIGABYTE), (10 * GIGABYTE, 10 * GIGABYTE))
    )
    assert [fits.level, tight.level, never.level] == ["ok", "warning", "fails"]
    assert fits.found == (
        "about 11.00 GB (the largest prompt): weights 8.00 GB, KV cache 2.00 GB; cuda has 80.00 GB, 79.00 GB free"
    )
    assert (fits.remedy, never.remedy) == ("", "--max-pixels N.")


def test_the_remedy_for_training_names_what_is_left_to_do_and_how_many_devices_it_takes() -> None:
    terms = {
        "weights": 20 * GIGABYTE,
        "optimiser": 40 * GIGABYTE,
        "teacher": 20 * GIGABYTE,
        "gradients": 4 * GIGABYTE,
        "activations": 6 * GIGABYTE,
    }
    assert to_train_on_less(recipe(), terms, 24 * GIGABYTE) == (
        "lora=true; gradient_checkpointing=true; a lower micro_batch_tokens, rollout_tokens or max_pixels; "
        "FSDP2 over 7 such devices or more."  # 80 GB x 1.1 over what 24 GB leave beside 11 GB
    )
    assert "FSDP2" not in to_train_on_less(recipe(lora=True), terms, 24 * GIGABYTE)
    assert "FSDP2" not in to_train_on_less(recipe(), terms, 10 * GIGABYTE), "activations alone do not fit"
