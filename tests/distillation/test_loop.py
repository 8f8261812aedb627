"""One step after the other: what may change speed changes no weight, and a loss that is no number ends the training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import write_benchmark

from distillation.trainings import apart, same, steps, train
from gapbench.distillation import loop
from gapbench.distillation.checkpoints import newest
from gapbench.distillation.recipe import load, make
from gapbench.distillation.rollouts import TransformersSampler
from gapbench.errors import ModelError

Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("data"), questions=12)


@pytest.fixture(scope="module")
def one(tiny: Tiny, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps, each in one micro-batch."""
    out = tmp_path_factory.mktemp("one") / "out"
    train(tiny("qwen3_vl"), data, out, "micro_batch_tokens=100000")
    return out


@pytest.mark.parametrize(
    "settings",
    [
        ("micro_batch_tokens=6",),  # one answer at a time
        ("micro_batch_tokens=300",),
        ("micro_batch_tokens=300", "share_prompt=false"),
        ("micro_batch_tokens=300", "gradient_checkpointing=true"),
        ("chunk_tokens=1", "rollout_tokens=1"),
    ],
    ids=lambda s: " ".join(s),
)
def test_how_a_step_is_cut_up_changes_no_weight(
    tiny: Tiny, data: Path, one: Path, tmp_path: Path, settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    pack = loop.pack
    monkeypatch.setattr(loop, "pack", lambda *a, **k: made.append(len(found := pack(*a, **k))) or found)
    train(tiny("qwen3_vl"), data, tmp_path, "micro_batch_tokens=100000", *settings)
    if settings[0].startswith("micro"):
        assert max(made) > 1, "it was not cut up"
    assert apart(tmp_path / "model", one / "model") < 1e-5
    assert apart(one / "model", tiny("qwen3_vl")) > 5e-4
    for ours, theirs in zip(steps(tmp_path), steps(one), strict=True):
        numbers = [{k: v for k, v in line.items() if isinstance(v, float)} for line in (ours, theirs)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-3, abs=1e-5)


def test_how_a_step_with_a_null_view_is_cut_up_changes_no_weight(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    """A tilted target and weights by evidence: the answers of one prompt lie in several micro-batches."""
    settings = ("target=tilt", "teacher=frozen", "weights=evidence", "null_view=random_crop", "region=union", "steps=2")
    train(tiny("qwen3_vl"), data, tmp_path / "whole", "micro_batch_tokens=100000", *settings)
    train(tiny("qwen3_vl"), data, tmp_path / "cut", "micro_batch_tokens=6", "chunk_tokens=1", *settings)
    assert apart(tmp_path / "whole" / "model", tmp_path / "cut" / "model") < 3e-5
    assert apart(tmp_path / "whole" / "model", tiny("qwen3_vl")) > 5e-4
    for whole, cut in zip(steps(tmp_path / "whole"), steps(tmp_path / "cut"), strict=True):
        for number in ("loss", "divergence", "grad_norm", "evidence"):
            assert whole[number] == pytest.approx(cut[number], rel=1e-4)
        assert whole["evidence"] > 0.1
        assert whole["loss"] != pytest.approx(whole["divergence"], rel=1e-3), "the weights count"


def test_the_seed_decides_everything(tiny: Tiny, data: Path, one: Path, tmp_path: Path) -> None:
    train(tiny("qwen3_vl"), data, tmp_path / "again", "micro_batch_tokens=100000")
    same(tmp_path / "again", one)
    train(tiny("qwen3_vl"), data, tmp_path / "other", "micro_batch_tokens=100000", "seed=1")
    assert apart(tmp_path / "other" / "model", one / "model") > 5e-4


def test_every_step_says_how_it_went(one: Path) -> None:
    lines = steps(one, without=frozenset())
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for line in lines:
        assert 0 < line["divergence"] < math.log(2)
        assert line["loss"] == pytest.approx(line["divergence"], rel=1e-4)  # no answer ends early: all count the same
        assert 0 < line["entropy"] < math.log(480)
        assert 0 < line["logp_gap"] <= line["logp_gap_max"] < 1e-5
        assert line["mean_length"] == 5
        assert line["truncated"] == 1
        assert line["grad_norm"] > 0
        assert line["teacher_moved"] is True
        assert line["memory_gib"] > 0.1
        assert line["tokens_per_second"] * line["seconds"] == pytest.approx(4 * 2 * 5, rel=0.01)
    distances = [line["ema_distance"] for line in lines]
    assert distances == sorted(distances)
    assert distances[0] > 0
    probed = [line["step"] for line in lines if line["probe_confidence"] is not None]
    assert probed == [2, 4]


def test_a_sampler_that_was_shown_another_image_is_found_out(
    tiny: Tiny, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the length of its prompt, which depends on the image's size."""
    draw = TransformersSampler.__call__

    def smaller(self: TransformersSampler, role: Any, prompts: Any, sampling: Any) -> Any:
        shown = [replace(p, image=p.image.resize((56, 56))) for p in prompts]
        return draw(self, role, shown, sampling)

    monkeypatch.setattr(TransformersSampler, "__call__", smaller)
    with pytest.raises(ModelError, match=r"Sample q\d+: the sampler read a prompt of \d+ tokens, .*trainer reads \d+"):
        train(tiny("qwen3_vl"), data, tmp_path)


def test_a_sample_that_comes_twice_in_a_step_draws_other_answers(
    tiny: Tiny, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two samples, four prompts."""
    drawn: dict[str, list[tuple[int, ...]]] = {}
    roll_out = loop.roll_out

    def watched(setup: Any, pairs: Any, step: int) -> Any:
        rollouts = roll_out(setup, pairs, step)
        for pair, answers in zip(pairs, rollouts, strict=True):
            drawn.setdefault(pair.key, []).extend(r.ids for r in answers)
        return rollouts

    monkeypatch.setattr(loop, "roll_out", watched)
    train(tiny("qwen3_vl"), data, tmp_path, "steps=1", limit=2)
    assert [len(answers) for answers in drawn.values()] == [4, 4]
    assert all(len(set(answers)) == 4 for answers in drawn.values())


def test_importance_weights_of_answers_that_are_the_students_own_change_nothing(
    tiny: Tiny, data: Path, one: Path, tmp_path: Path
) -> None:
    train(tiny("qwen3_vl"), data, tmp_path, "micro_batch_tokens=100000", "importance_cap=2")
    assert apart(tmp_path / "model", one / "model") < 1e-5


def test_the_learning_rate_warms_up_and_then_follows_its_schedule() -> None:
    def rates(schedule: str) -> list[float]:
        recipe = make({"steps": 6, "warmup_steps": 2, "schedule": schedule})
        return [loop.learning_rate_factor(recipe, step) for step in range(6)]

    assert rates("constant") == [0, 0.5, 1, 1, 1, 1]
    assert rates("linear") == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25])
    assert rates("cosine") == pytest.approx([0, 0.5, 1, 0.853553, 0.5, 0.146447], abs=1e-6)


def test_the_warm_up_of_vision_opd_is_the_released_one() -> None:
    """0 at the first update, a tenth more at each of the next, the full rate from the eleventh on."""
    recipe = load("vision-opd")
    rates = [recipe.learning_rate * loop.learning_rate_factor(recipe, step) for step in range(recipe.steps)]
    assert rates[:11] == pytest.approx([2e-7 * n for n in range(11)])
    assert set(rates[10:]) == {2e-6}


def test_the_first_update_of_a_warm_up_moves_no_weight(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    train(tiny("qwen3_vl"), data, tmp_path, "warmup_steps=2", "steps=1")
    assert apart(tmp_path / "model", tiny("qwen3_vl")) == 0
    (line,) = steps(tmp_path)
    assert (line["lr"], line["ema_distance"], line["teacher_moved"]) == (0, 0, False)


@pytest.mark.parametrize("factor", [1e8, 1e30])  # finite weights that make no finite loss, and weights past float32
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    tiny: Tiny, data: Path, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    """The learning rate runs away in the third step."""
    rate = loop.learning_rate_factor
    with monkeypatch.context() as patch:
        patch.setattr(
            loop, "learning_rate_factor", lambda recipe, step: rate(recipe, step) * (factor if step >= 2 else 1)
        )
        with pytest.raises(ModelError, match=r"Step [34]: .*finite.* The last good checkpoint is .*step-2\. Lower"):
            train(tiny("qwen3_vl"), data, tmp_path, "micro_batch_tokens=100000")
    found = newest(tmp_path / "checkpoints")
    assert found is not None
    assert found.name == "step-2"
    assert not (tmp_path / "model").exists()
    assert all(math.isfinite(v) for line in steps(tmp_path) for v in line.values() if isinstance(v, float))
    train(tiny("qwen3_vl"), data, tmp_path, "micro_batch_tokens=100000", resume=True)
    same(tmp_path, one)
