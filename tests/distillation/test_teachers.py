"""Teachers move as their definitions say, lend their weights and give the student's back bit for bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distillation.small import Tiny, benchmark, recipe, role
from gapbench.distillation.forward import ForwardMode, head, hidden_states, process
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.student import ModelRole
from gapbench.distillation.teachers import WITH_OWN_WEIGHTS, Teacher, _fit_to_vocabulary
from gapbench.errors import ModelError

MODES = [ForwardMode(True, True, True), ForwardMode(False, False, False)]
GROUPS = [[(30, 31, 32), (40,)], [(50, 51), (60, 61)]]
KINDS = ("ema", "frozen", "copy", "live", "trust_region")


def image_prompts(view: str = "teacher") -> list[tuple[Any, str]]:
    return [(getattr(p, view), p.text) for p in Pairs(benchmark(), recipe()).step(0)]


def setting(kind: str, **more: Any) -> Recipe:
    return recipe(teacher=kind, **more)


def pair(
    tiny: Tiny, settings: Recipe, family: str = "qwen2_vl", mode: ForwardMode | None = None
) -> tuple[ModelRole, Teacher]:
    student = role(tiny(family), settings).with_mode(mode or MODES[0])
    return student, Teacher(settings, student)


def trained(student: ModelRole) -> list[Tensor]:
    return [p for p in student.model.parameters() if p.requires_grad]


def values(student: ModelRole) -> list[Tensor]:
    return [p.detach().clone() for p in trained(student)]


@torch.no_grad()
def move(student: ModelRole, size: float = 0.02, seed: int = 0) -> None:
    """What an optimizer's step does: every trained weight changes in place."""
    generator = torch.Generator().manual_seed(seed)
    for p in trained(student):
        p.add_(size * torch.randn(p.shape, generator=generator))


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@torch.no_grad()
def logits(of: ModelRole | Teacher) -> Tensor:
    """What a teacher, or a student, says on the teacher's view; shape (tokens, vocabulary)."""
    if isinstance(of, Teacher):
        return of.head()(of.hidden(image_prompts(), GROUPS))
    inputs = process(of.chat, of.model, image_prompts(), 2, of.mode)
    return head(of.model, of.mode)(hidden_states(of.model, inputs, GROUPS, of.mode))


@torch.no_grad()
def test_a_teachers_projection_is_as_precise_as_the_students(tiny: Tiny) -> None:
    """Under FSDP2 the student's is in bfloat16, and what differs between the two should be the weights alone."""
    student, teacher = pair(tiny, setting("ema"))
    states = teacher.hidden(image_prompts(), GROUPS).bfloat16()
    weight = student.model.get_output_embeddings().weight.bfloat16()
    assert torch.equal(teacher.head(torch.bfloat16)(states), (states @ weight.T).float())


# --- how they move -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_teacher_begins_as_the_student(kind: str, tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting(kind))
    torch.testing.assert_close(logits(teacher), logits(student), atol=1e-5, rtol=0)


def test_the_average_is_that_of_plain_arithmetic_in_float32(tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting("ema", ema_rate=0.05))
    plain = [p.double() for p in values(student)]
    for step in range(20):
        move(student, seed=step)
        teacher.update(step)
        plain = [0.95 * a + 0.05 * p.double() for a, p in zip(plain, values(student), strict=True)]
    for ours, theirs in zip(teacher.averages, plain, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), theirs, atol=1e-6, rtol=1e-6)


def test_a_change_as_small_as_training_makes_reaches_the_average(tiny: Tiny) -> None:
    """5 % of 2e-6 vanishes beside a weight of 0.05 in bfloat16."""
    student, teacher = pair(tiny, setting("ema", ema_rate=0.05))
    before = [a.clone() for a in teacher.averages]
    move(student, 2e-6)
    teacher.update(0)
    moved = sum(int((a != b).sum()) for a, b in zip(teacher.averages, before, strict=True))
    assert moved > 0.5 * sum(a.numel() for a in before)


@pytest.mark.parametrize("kind", ["frozen", "trust_region"])
def test_a_frozen_teacher_does_not_move(kind: str, tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting(kind))
    start = values(student)
    for step in range(3):
        move(student)
        teacher.update(step)
    assert equal(teacher.averages, start)


def test_a_copy_is_taken_every_few_steps(tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting("copy", copy_every=3))
    held = [values(student)]
    for step in range(7):
        move(student, seed=step)
        teacher.update(step)
        held.append(values(student))
        assert equal(teacher.averages, held[(step + 1) // 3 * 3]), f"after step {step + 1}"


def test_the_live_teacher_is_the_student(tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting("live"))
    move(student)
    teacher.update(0)
    torch.testing.assert_close(logits(teacher), logits(student), atol=1e-5, rtol=0)
    assert teacher.distance() is None


@pytest.mark.parametrize("mode", MODES, ids=["shortcuts", "plain"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_trust_region_lies_between_the_start_and_the_student(weight: float, mode: ForwardMode, tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting("trust_region", trust_region=weight), mode=mode)
    start = logits(student)
    move(student)
    now = logits(student)
    assert not torch.allclose(start, now, atol=0.1)
    torch.testing.assert_close(logits(teacher), (1 - weight) * start + weight * now, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", MODES, ids=["shortcuts", "plain"])
@pytest.mark.parametrize("family", ["qwen2_vl", "gemma3"])  # with an output projection of its own, and a tied one
def test_what_a_teacher_says_is_what_its_weights_say(family: str, mode: ForwardMode, tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting("frozen"), family, mode)
    start = logits(student)
    move(student)
    torch.testing.assert_close(logits(teacher), start, atol=1e-5, rtol=0)
    assert not torch.allclose(logits(student), start, atol=0.1)


# --- weights change places -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_lent_and_come_back_bit_for_bit(kind: str, tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting(kind))
    start = values(student)
    move(student)
    moved, kept = values(student), [a.clone() for a in teacher.averages]
    with teacher.weights():
        assert equal(values(student), start if kind in WITH_OWN_WEIGHTS else moved)
    assert equal(values(student), moved)
    assert equal(teacher.averages, kept)


def test_weights_come_back_after_an_error(tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting("frozen"))
    move(student)
    moved = values(student)
    with pytest.raises(ZeroDivisionError), teacher.weights():
        1 / 0  # noqa: B018
    assert equal(values(student), moved)
    with pytest.raises(IndexError):
        teacher.hidden(image_prompts()[:1], [[(10**9, 30)]])
    assert equal(values(student), moved)


def test_the_student_can_still_be_trained_after_lending(tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting("ema"))
    optimizer = torch.optim.SGD(trained(student), lr=0.1)
    teacher.hidden(image_prompts(), GROUPS)
    inputs = process(student.chat, student.model, image_prompts(), 2, student.mode)
    hidden_states(student.model, inputs, GROUPS, student.mode).square().mean().backward()
    before = values(student)
    optimizer.step()
    assert not equal(values(student), before)
    assert equal(teacher.averages, before), "the average is another tensor"


def test_hidden_states_carry_no_gradient(tiny: Tiny) -> None:
    _, teacher = pair(tiny, setting("ema"))
    assert not teacher.hidden(image_prompts(), GROUPS).requires_grad


def test_the_distance_is_relative_to_the_student(tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting("frozen"))
    assert teacher.distance() == 0
    start = torch.cat([p.flatten() for p in values(student)]).double()
    move(student)
    now = torch.cat([p.flatten() for p in values(student)]).double()
    assert teacher.distance() == pytest.approx(float((start - now).norm() / now.norm()), rel=1e-5)


# --- adapters ------------------------------------------------------------------------------------------------------


def test_an_adapters_average_begins_as_the_students_adapter(tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting("ema", lora=True))
    assert len(teacher.averages) == len(trained(student)) < len(list(student.model.parameters()))
    assert equal(teacher.averages, values(student))
    assert teacher.averages[0].any(), "A is random, and the average has the same"
    move(student)
    teacher.update(0)
    assert 0 < (teacher.distance() or 0) < math.inf


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "lm_head")])
def test_a_frozen_adapter_is_the_base_model(targets: Any, tiny: Tiny) -> None:
    base = logits(role(tiny("qwen2_vl")).with_mode(MODES[0]))
    student, teacher = pair(tiny, setting("frozen", lora=True, lora_targets=targets))
    move(student)
    torch.testing.assert_close(logits(teacher), base, atol=1e-5, rtol=0)
    assert not torch.allclose(logits(student), base, atol=0.05)


def test_base_weights_are_untouched(tiny: Tiny) -> None:
    student, teacher = pair(tiny, setting("ema", lora=True))
    base = {n: p.detach().clone() for n, p in student.model.named_parameters() if not p.requires_grad}
    pointers = {n: p.data_ptr() for n, p in student.model.named_parameters() if not p.requires_grad}
    move(student)
    teacher.update(0)
    logits(teacher)
    assert all(torch.equal(p, base[n]) for n, p in student.model.named_parameters() if n in base)
    assert all(p.data_ptr() == pointers[n] for n, p in student.model.named_parameters() if n in base)


# --- another model -------------------------------------------------------------------------------------------------


def of_other(tiny: Tiny, other: ModelRole) -> tuple[ModelRole, Teacher]:
    settings = setting("model", teacher_model="another")
    student = role(tiny("qwen2_vl"), settings).with_mode(MODES[0])
    return student, Teacher(settings, student, other)


def test_another_model_of_the_same_vocabulary_teaches(tiny: Tiny, tmp_path: Path) -> None:
    from tiny_models import build

    other = role(build("qwen2_vl", tmp_path / "other", seed=1), trained=False).with_mode(MODES[0])
    student, teacher = of_other(tiny, other)
    torch.testing.assert_close(logits(teacher), logits(other))
    assert not torch.allclose(logits(teacher), logits(student), atol=0.1)
    move(student)
    teacher.update(0)
    assert teacher.distance() is None


@pytest.mark.parametrize("mode", MODES, ids=["shortcuts", "plain"])
def test_a_teacher_whose_logits_are_padded_to_another_width_is_cut_to_the_students(
    mode: ForwardMode, tiny: Tiny
) -> None:
    other = role(tiny("qwen2_vl"), trained=False).with_mode(mode)
    own = logits(other)
    other.model.resize_token_embeddings(500, mean_resizing=False)
    assert logits(other).shape[1] == 500
    _, teacher = of_other(tiny, other)
    torch.testing.assert_close(logits(teacher), own, atol=1e-5, rtol=0)


def test_ids_that_a_teacher_lacks_are_ruled_out() -> None:
    assert _fit_to_vocabulary(torch.ones(1, 2), 4).tolist() == [[1, 1, -math.inf, -math.inf]]
    assert _fit_to_vocabulary(torch.ones(1, 5), 4).tolist() == [[1, 1, 1, 1]]


def test_another_vocabulary_is_refused_and_the_first_token_named(tiny: Tiny) -> None:
    other = role(tiny("llava"), trained=False)
    with pytest.raises(ModelError, match=r"vocabulary differs from that of .*qwen2_vl.* in \d+ tokens; the first is"):
        of_other(tiny, other)


def test_the_first_token_that_differs_is_named_with_both_ids(tiny: Tiny) -> None:
    other = role(tiny("qwen2_vl"), trained=False)
    other.chat.processor.tokenizer.add_tokens(["!new"])
    size = len(other.chat.processor.tokenizer) - 1
    with pytest.raises(ModelError, match=rf"in 1 tokens; the first is '!new' \(id None here, {size} there\)"):
        of_other(tiny, other)
