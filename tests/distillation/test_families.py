"""Every family trains: two real steps, teacher forcing that agrees with generation, shortcuts that change nothing."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny_models import FAMILIES, image_token_id
from torch import Tensor

from distillation.small import Tiny, benchmark, recipe, role
from gapbench.distillation import loop
from gapbench.distillation.forward import PLAIN, ForwardMode, Groups, hidden_states, log_probs, process
from gapbench.distillation.forward_check import ForwardCheck, find_forward_mode
from gapbench.distillation.pairs import Pairs, TrainingPrompt
from gapbench.distillation.recipe import Recipe
from gapbench.distillation.rollouts import Prompt, Sampling, TransformersSampler, random_key
from gapbench.distillation.student import VISION, ModelRole
from gapbench.distillation.teachers import Teacher
from gapbench.errors import ModelError

MODES = [ForwardMode(True, True, True), ForwardMode(True, False, True), ForwardMode(False, True, True)]
# Its vision attention says `is_causal`, and sdpa obeys where no image of a batch is padded (transformers 5.19).
EAGER = {"phi4_multimodal": "eager"}


@dataclass(frozen=True)
class Family:
    """A tiny model of one family as a student, with what the self-check found on both views of two questions."""

    name: str
    recipe: Recipe
    role: ModelRole
    pairs: list[TrainingPrompt]
    found: ForwardCheck

    def image_prompts(self, view: str) -> list[tuple[Any, str]]:
        return [(getattr(pair, view), pair.text) for pair in self.pairs]

    def mode(self, shortcuts: ForwardMode) -> ForwardMode:
        return replace(shortcuts, cap=self.found.mode.cap)

    def log_probs(self, image_prompts: list[tuple[Any, str]], groups: Groups, mode: ForwardMode) -> Tensor:
        return log_probs(self.role.model, self.role.chat, image_prompts, groups, mode)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tiny: Tiny) -> Iterator[Family]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = recipe(attn_implementation=EAGER.get(request.param))
    student = role(tiny(request.param), settings)
    pairs = Pairs(benchmark(), settings).step(0)
    image_prompts = [(p.student, p.text) for p in pairs] + [(p.teacher, p.text) for p in pairs]
    yield Family(request.param, settings, student, pairs, find_forward_mode(student, image_prompts, settings))
    torch.set_num_threads(threads)


def answers(groups: tuple[tuple[int, ...], ...] = ((6, 1), (2, 4))) -> Groups:
    """Answers of these lengths, of tokens that stand for nothing but text."""
    return [[tuple(30 + 7 * n + t for t in range(length)) for n, length in enumerate(group)] for group in groups]


def test_both_views_show_images_of_different_sizes(family: Family) -> None:
    sizes = [getattr(pair, view).size for pair in family.pairs for view in ("student", "teacher")]
    assert len(set(sizes)) == 4


def test_teacher_forcing_says_what_generation_said_and_every_shortcut_is_allowed(family: Family) -> None:
    assert family.found.difference < 1e-4
    assert family.found.mode == family.mode(ForwardMode(True, True, True))
    assert family.found.refused == ()
    # transformers 5.19 repeats the patches of Qwen3.5 one by one for several answers, and so shuffles its images.
    assert family.found.expand_rollouts == (family.name != "qwen3_5")
    assert family.found.rollout_mode == family.found.mode


def test_rollouts_that_share_a_prompt_are_those_of_generate(family: Family) -> None:
    """Token for token, with answers that end early beside others that do not."""
    image_prompts = [Prompt(p.student, p.text, tuple(random_key(0, p.key, n) for n in range(3))) for p in family.pairs]
    student = replace(family.role, ends=tuple(range(0, family.role.vocabulary, 5)))
    plain = TransformersSampler(expand=False)(student, image_prompts, Sampling(6))
    shared = TransformersSampler(mode=family.found.rollout_mode)(student, image_prompts, Sampling(6))
    assert [[r.ids for r in rollouts] for rollouts in shared] == [[r.ids for r in rollouts] for rollouts in plain]
    assert len({len(r.ids) for rollouts in plain for r in rollouts}) > 1
    for ours, theirs in zip(itertools.chain(*shared), itertools.chain(*plain), strict=True):
        assert (ours.truncated, ours.prompt_tokens) == (theirs.truncated, theirs.prompt_tokens)
        assert ours.logps == pytest.approx(theirs.logps, abs=1e-4)


@pytest.fixture(scope="module")
def plain(family: Family) -> tuple[Tensor, list[Tensor]]:
    return read(family, PLAIN)


def read(family: Family, mode: ForwardMode) -> tuple[Tensor, list[Tensor]]:
    """Log-probabilities of some answers, and the gradient of a weighted sum of them for every parameter."""
    params = [p for p in family.role.model.parameters() if p.requires_grad]
    found = family.log_probs(family.image_prompts("student"), answers(), mode)
    total = (torch.linspace(0.5, 1.5, len(found)) * found).sum()
    gradient = torch.autograd.grad(total, params, allow_unused=True)
    return found.detach(), [torch.zeros_like(p) if g is None else g for p, g in zip(params, gradient, strict=True)]


def assert_same(found: tuple[Tensor, list[Tensor]], expected: tuple[Tensor, list[Tensor]]) -> None:
    torch.testing.assert_close(found[0], expected[0], atol=1e-4, rtol=0)
    size = math.sqrt(sum(float(g.norm()) ** 2 for g in expected[1]))
    for ours, theirs in zip(found[1], expected[1], strict=True):
        assert float((ours - theirs).norm()) <= 1e-4 * max(float(theirs.norm()), 1e-3 * size)


@pytest.mark.parametrize("shortcuts", MODES, ids=lambda r: "-".join(k for k, v in vars(r).items() if v))
def test_no_shortcut_changes_a_log_probability_or_the_gradient_of_any_parameter(
    family: Family, shortcuts: ForwardMode, plain: tuple[Tensor, list[Tensor]]
) -> None:
    assert_same(read(family, family.mode(shortcuts)), plain)


def test_gradient_checkpointing_changes_neither(family: Family, plain: tuple[Tensor, list[Tensor]]) -> None:
    """It works in training mode alone, in which some families make other masks."""
    model = family.role.model
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    try:
        assert_same(read(family, family.mode(ForwardMode(False, True, True))), plain)
    finally:
        model.gradient_checkpointing_disable()
        model.eval()


@torch.no_grad()
def test_a_left_padded_batch_reads_as_each_prompt_alone(family: Family) -> None:
    image_prompts, groups = family.image_prompts("student"), answers()
    mask = process(family.role.chat, family.role.model, image_prompts, 1, family.found.mode)["attention_mask"]
    assert mask[:, -1].all()
    assert not mask.all(), "the prompts are of different lengths"
    together = family.log_probs(image_prompts, groups, family.found.mode)
    alone = [family.log_probs([a], [g], family.found.mode) for a, g in zip(image_prompts, groups, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("view", ["student", "teacher"])
@pytest.mark.parametrize("change", ["fewer", "more"])
def test_placeholders_that_are_not_as_many_as_image_features_are_refused(
    family: Family, view: str, change: str
) -> None:
    model, mode = family.role.model, family.found.mode
    inputs = process(family.role.chat, model, family.image_prompts(view), 2, mode)
    ids, token = inputs["input_ids"], image_token_id(model.config)
    if change == "fewer":
        ids[tuple((ids == token).nonzero()[-1])] = 30
    else:
        ids[-1, -1] = token
    if (family.name, change) == ("idefics3", "fewer"):  # transformers 5.19 drops the features that are left over
        hidden_states(model, inputs, answers(), mode)
        return
    with pytest.raises((ValueError, RuntimeError)):
        hidden_states(model, inputs, answers(), mode)


def test_answers_cannot_hold_what_stands_for_an_image(family: Family) -> None:
    config, suppressed = family.role.model.config, family.role.suppressed
    assert image_token_id(config) in suppressed
    assert set(getattr(config, "visual_indicator_token_ids", ())) <= set(suppressed)
    assert not set(family.role.ends) & set(suppressed)


def test_two_steps_of_training_move_the_weights(family: Family, tiny: Tiny, tmp_path: Path) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    student = role(tiny(family.name), family.recipe).with_mode(family.found.mode)
    before = {name: p.detach().clone() for name, p in student.model.named_parameters()}
    optimizer = torch.optim.AdamW(student.model.parameters(), lr=family.recipe.learning_rate)
    wrapped, optimizer = accelerator.prepare(student.wrapped, optimizer)
    student = replace(student, wrapped=wrapped)
    teacher = Teacher(family.recipe, student)
    pairs = Pairs(benchmark(), family.recipe)
    lines: list[Any] = []
    found = family.found
    sampler = TransformersSampler(found.expand_rollouts, mode=found.rollout_mode)
    setup = loop.TrainingSetup(family.recipe, pairs, accelerator, student, teacher, optimizer, tmp_path, sampler)
    loop.train(setup, watch=lines.append)

    assert [line["step"] for line in lines] == [1, 2]
    assert lines == [json.loads(line) for line in (tmp_path / loop.LOG).read_text().splitlines()]
    for line in lines:
        assert math.isfinite(line["loss"])
        assert line["loss"] > 0, "the crop says something else than the full image"
        assert line["logp_gap"] < 1e-4, "the trainer reads what the sampler said"
        assert line["teacher_moved"]
    moved = [name for name, p in student.model.named_parameters() if not torch.equal(p, before[name])]
    assert {bool(VISION.search(name)) for name in moved} == {True, False}, "the language model and the vision tower"
    assert all(p.isfinite().all() for p in student.model.parameters())


# --- what the self-check is for -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("paligemma", "gemma2", "differ from generation's by up to .* nats"),
        ("gemma3", "paligemma", "differ from generation's by up to .* nats"),
        ("qwen2_5_vl", "paligemma", "teacher forcing fails .*shape mismatch"),
    ],
)
def test_token_types_that_are_extended_wrongly_are_refused(name: str, wrong: str, says: str, tiny: Tiny) -> None:
    """Answers marked as a bidirectional prefix (PaliGemma 2) or as image (Gemma 3, Qwen2.5-VL)."""
    settings = recipe()
    student = role(tiny(name), settings)
    image_prompts = [(p.student, p.text) for p in Pairs(benchmark(), settings).step(0)]
    find_forward_mode(student, image_prompts, settings)
    student.model.config.model_type = wrong  # whose answers are marked by another number
    with pytest.raises(ModelError, match=says):
        find_forward_mode(student, image_prompts, settings)


def test_a_bound_on_the_logits_is_found_by_asking_the_model(tiny: Tiny, tmp_path: Path) -> None:
    """Gemma 4 applies the bound that its configuration names; PaliGemma 2 names one and does not."""
    bounded = role(tiny("gemma4"))
    bounded.model.config.text_config.final_logit_softcapping = 5.0
    image_prompts = [(p.student, p.text) for p in Pairs(benchmark(), recipe()).step(0)]
    found = find_forward_mode(bounded, image_prompts, recipe())
    assert found.mode.cap == pytest.approx(5.0)
    assert found.mode.split_head
    assert found.difference < 1e-4
    names = role(tiny("paligemma"))
    assert names.model.config.get_text_config().final_logit_softcapping == 30
    assert find_forward_mode(names, image_prompts, recipe()).mode == ForwardMode(True, True, True, cap=None)
