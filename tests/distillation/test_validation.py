"""A training chooses its checkpoint by what it did not train on, and reads no answer unless it is told to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import write_benchmark

from distillation.small import benchmark, recipe, role, scene
from distillation.trainings import apart, crash, same, steps, train
from gapbench.data.benchmark import group_of
from gapbench.distillation import loop, validation
from gapbench.distillation.card import write_card
from gapbench.distillation.divergence import jensen_shannon, with_rest
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.recipe import load
from gapbench.distillation.teachers import Teacher
from gapbench.errors import BenchmarkError
from gapbench.types import Sample

Tiny = Callable[[str], Path]
VALIDATED = ("steps=6", "eval_every=2", "validation_samples=4", "save_every=100", "probe_every=0", "keep_checkpoints=1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("data"), questions=24)


@pytest.fixture(scope="module")
def validated(tiny: Tiny, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("validated") / "out"
    train(tiny("qwen3_vl"), data, out, *VALIDATED, "learning_rate=2e-3")
    return out


def many(count: int, images: int) -> list[Sample]:
    return [replace(scene(n), cluster=f"image {n % images}") for n in range(count)]


def test_whole_images_are_held_out_and_the_same_for_every_seed() -> None:
    parts = [Pairs(benchmark(many(40, 10)), recipe(eval_every=1, validation_samples=6, seed=seed)) for seed in (0, 1)]
    held = [{s.id for s in pairs.validation} for pairs in parts]
    assert held[0] == held[1]
    assert len(held[0]) == 8  # two images of four samples each: the first that have six
    groups = [{group_of(s) for s in samples} for samples in (parts[0].samples, parts[0].validation)]
    assert not groups[0] & groups[1]
    assert len(parts[0].validation_prompts()) == 6
    assert {s.id for s in parts[0].used()} >= held[0], "their images are looked for in the evaluation as well"


def test_nothing_is_held_out_unless_asked() -> None:
    pairs = Pairs(benchmark(many(40, 10)), recipe())
    assert not pairs.validation
    assert len(pairs.samples) == 40


def test_samples_that_are_evaluated_leave_the_held_out_part_as_well() -> None:
    pairs = Pairs(benchmark(many(40, 10)), recipe(eval_every=1, validation_samples=6))
    first = pairs.validation[0].id
    remaining = pairs.without(frozenset({first, pairs.samples[0].id}))
    assert first not in {s.id for s in [*remaining.validation, *remaining.samples]}
    assert len(remaining.validation) == len(pairs.validation) - 1
    assert len(remaining.samples) == len(pairs.samples) - 1


@pytest.mark.parametrize(("count", "images"), [(4, 4), (40, 1)], ids=["few samples", "one image"])
def test_data_that_cannot_be_parted_is_refused(count: int, images: int) -> None:
    with pytest.raises(BenchmarkError, match=r"too few to hold some out.*eval_every=0"):
        Pairs(benchmark(many(count, images)), recipe(eval_every=1))


def test_a_refusal_says_which_samples_had_no_evidence() -> None:
    """Else nobody knows why so few remain."""
    boxless = [replace(s, boxes=()) for s in many(20, 20)]
    with pytest.raises(
        BenchmarkError, match=r"19 of 20 samples have no evidence box and are left out.*too few to hold"
    ):
        Pairs(benchmark([*boxless[:19], many(20, 20)[19]]), recipe(eval_every=1))


def test_the_divergence_is_that_of_its_formula() -> None:
    """By hand: p = (.5, .3 | .2), q = (.2, .3 | .5); m = (.35, .3, .35)."""
    teacher, student = (torch.tensor([x]).log() for x in ([0.5, 0.3, 0.1, 0.1], [0.2, 0.3, 0.25, 0.25]))
    ids = torch.tensor([[0, 1]])
    found = jensen_shannon(with_rest(teacher, ids), with_rest(student, ids), 0.5)
    by_hand = 0.5 * (0.5 * math.log(0.5 / 0.35) + 0.2 * math.log(0.2 / 0.35)) + 0.5 * (
        0.2 * math.log(0.2 / 0.35) + 0.5 * math.log(0.5 / 0.35)
    )
    assert float(found) == pytest.approx(by_hand, rel=1e-5)


def test_before_training_the_student_expects_in_the_crop_what_its_teacher_does(tiny: Tiny, tmp_path: Path) -> None:
    settings = recipe(eval_every=1, validation_samples=4, micro_batch_tokens=60)
    student = role(tiny("qwen3_vl"), settings)
    pairs = Pairs(benchmark(many(20, 20)), settings)
    setup = loop.TrainingSetup(settings, pairs, None, student, Teacher(settings, student), None, tmp_path)
    reference = validation.first_expectations(setup)
    assert [len(answer) for answer in reference.answers] == [6] * 4
    assert torch.allclose(reference.log_probs.exp().sum(-1), torch.ones(24), atol=1e-5)
    found = validation.validate(setup, reference)
    assert found["validation_crop"] == pytest.approx(0, abs=1e-6)
    assert 1e-6 < (found["validation_divergence"] or 0) < math.log(2)
    assert found["validation_accuracy"] is None
    at_once = replace(setup, recipe=recipe(eval_every=1, validation_samples=4, micro_batch_tokens=100_000))
    assert validation.validate(at_once, reference) == pytest.approx(found, abs=1e-6, nan_ok=True)


def test_the_model_is_the_step_with_the_lowest_divergence(
    validated: Path, tiny: Tiny, data: Path, tmp_path: Path
) -> None:
    lines = steps(validated)
    measured = {line["step"]: line["validation_divergence"] for line in lines if line.get("validation_divergence")}
    assert sorted(measured) == [2, 4, 6]
    best = min(measured, key=lambda step: measured[step])
    found = json.loads((validated / "distill.json").read_text())["training"]["validation"]
    assert found["step"] == best
    assert found["samples"] == 4
    assert found["chosen"]["validation_divergence"] == measured[best]
    assert {p.name for p in (validated / "checkpoints").iterdir()} == {f"step-{best}", "step-6"}
    shorter = (*VALIDATED, "learning_rate=2e-3", f"steps={best}")
    train(tiny("qwen3_vl"), data, tmp_path / "shorter", *shorter)
    assert apart(validated / "model", tmp_path / "shorter" / "model") == 0
    card = (validated / "model" / "README.md").read_text()
    assert f"checkpoint: step {best} of 6, the lowest held-out divergence" in card
    assert "no reference answer was read" in card


def test_a_training_that_worsens_keeps_an_early_step_and_says_so(
    tiny: Tiny, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    train(tiny("qwen3_vl"), data, out, *VALIDATED, "learning_rate=0.3", quiet=False)
    found = json.loads((out / "distill.json").read_text())["training"]["validation"]
    lines = [line for line in steps(out) if line.get("validation_divergence")]
    assert found["step"] == min(lines, key=lambda line: line["validation_divergence"])["step"]
    assert lines[0]["validation_divergence"] > found["before"]["validation_divergence"]
    assert "no step is better on the held-out part than the model before training" in capsys.readouterr().err
    assert "Do not use this model" in (out / "model" / "README.md").read_text()


def test_a_killed_training_chooses_the_same_step(validated: Path, tiny: Tiny, data: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    settings = (*VALIDATED, "learning_rate=2e-3", "save_every=2", "keep_checkpoints=9")
    train(tiny("qwen3_vl"), data, whole, *settings)
    resumed = crash(whole, tmp_path / "crashed", 4, later=(6,))
    train(tiny("qwen3_vl"), data, resumed, *settings, resume=True)
    same(whole, resumed)
    same(whole, validated)


def test_answers_are_read_only_if_the_recipe_says_so(tiny: Tiny, tmp_path: Path) -> None:
    class Unread(tuple[str, ...]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            raise AssertionError("the answers were read")

    student = role(tiny("qwen3_vl"))
    for by in ("divergence", "answers"):
        settings = recipe(eval_every=1, validation_samples=4, validation=by)
        pairs = Pairs(benchmark(many(20, 20)), settings)
        setup = loop.TrainingSetup(settings, pairs, None, student, Teacher(settings, student), None, tmp_path)
        reference = validation.first_expectations(setup)
        assert (validation.validate(setup, reference)["validation_accuracy"] is None) == (by == "divergence")
        pairs.validation = [replace(s, answers=Unread(s.answers)) for s in pairs.validation]
        with pytest.raises(AssertionError, match="were read") if by == "answers" else nullcontext():
            validation.validate(setup, reference)


def test_a_card_says_that_answers_chose_the_checkpoint(tmp_path: Path) -> None:
    entry = {"by": "answers", "samples": 64, "step": 40, "remark": "",
             "before": {"validation_accuracy": 0.5}, "chosen": {"validation_accuracy": 0.75}}  # fmt: skip
    details = {"model": "a/b", "data": {"name": "mine", "samples": 9}, "training": {"steps": 60, "validation": entry}}
    write_card(tmp_path, details, load("demo"), None)
    card = (tmp_path / "README.md").read_text()
    assert "step 40 of 60, the highest held-out accuracy (0.75; 0.5 before training)" in card
    assert "their reference answers were read" in card


@pytest.mark.parametrize(
    ("by", "chosen"), [("divergence", 2), ("answers", 3)], ids=["lowest divergence", "highest accuracy"]
)
def test_of_equal_steps_the_earliest_is_chosen(by: str, chosen: int) -> None:
    rows = [(1, 0.3, 0.5), (2, 0.1, 0.6), (3, 0.2, 0.8), (4, 0.1, 0.6), (5, 0.2, 0.8)]
    lines = [{"step": s, "validation_divergence": d, "validation_accuracy": a} for s, d, a in rows]
    lines.append({"step": 6, "validation_divergence": None, "validation_accuracy": None})
    assert validation.chosen_step(lines, recipe(eval_every=1, validation=by)) == chosen
    assert validation.chosen_step(lines[-1:], recipe(eval_every=1, validation=by)) is None
