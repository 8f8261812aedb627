"""An image that is tested is found among those that are trained on, in whatever form. What counts as the same image is
in test_copies.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from distillation.small import benchmark, recipe, scene
from gapbench.commands.distill import _Evaluation, _shared_images
from gapbench.distillation.contamination import find_shared
from gapbench.distillation.pairs import Pairs
from gapbench.errors import BenchmarkError
from gapbench.types import Sample

SCENES = [scene(i) for i in range(8)]


def pairs(samples: list[Sample] | None = None, **changes: Any) -> Pairs:
    settings = recipe(**{"prompts_per_step": 4, "steps": 2, **changes})
    return Pairs(benchmark(samples or SCENES), settings)


def shared(of: Pairs, *evaluations: tuple[str, list[Sample]]) -> dict[str, list[str]]:
    """The places of each training sample, in words."""
    found = find_shared(of, evaluations)
    return {key: [str(occurrence) for occurrence in occurrences] for key, occurrences in found.samples.items()}


def questions(*numbers: int) -> list[Sample]:
    return [replace(SCENES[i], id=f"t{i}", question="Another question?") for i in numbers]


def test_shared_images_are_named_with_where_they_are_tested() -> None:
    assert shared(pairs(), ("patches", questions(3)), ("other", questions(3, 5))) == {
        "q3": ["also in patches (sample t3; the same file)", "also in other (sample t3; the same file)"],
        "q5": ["also in other (sample t5; the same file)"],
    }


def test_nothing_shared_is_nothing_found() -> None:
    found = find_shared(pairs(), [("patches", [scene(20), scene(21)])])
    assert found.samples == {}
    assert found.json()["evaluations"] == {"patches": {"bytes": 0, "pixels": 0, "copy": 0, "crop": 0}}
    assert found.images == 8
    assert find_shared(pairs(), []).samples == {}


def test_the_image_counts_and_not_how_it_is_stored(tmp_path: Path) -> None:
    SCENES[2].image.save(tmp_path / "a.png")
    SCENES[2].image.save(tmp_path / "b.bmp")
    trained = [*SCENES[:2], replace(SCENES[2], image=tmp_path / "a.png"), *SCENES[3:]]
    for image in (tmp_path / "a.png", tmp_path / "b.bmp", (tmp_path / "a.png").read_bytes(), SCENES[2].image.copy,
                  SCENES[2].image):  # fmt: skip
        assert set(shared(pairs(trained), ("x", [replace(SCENES[0], image=image)]))) == {"q2"}


def test_another_size_is_another_image() -> None:
    white = [Image.new("RGB", size, "white") for size in ((6, 4), (4, 6))]
    samples = [replace(SCENES[0], image=white[0], boxes=((0, 0, 2, 2),))]
    assert shared(pairs(samples), ("x", [replace(SCENES[0], image=white[1])])) == {}


def photograph(seed: int) -> Image.Image:
    """Smooth noise with detail."""
    noise = np.random.default_rng(seed).integers(0, 256, (400, 520, 3), dtype=np.uint8)
    smooth = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3))
    levels = np.asarray(smooth, np.float32)
    return Image.fromarray(((levels - levels.mean()) * 5 + 128).clip(0, 255).astype(np.uint8))


ALTERED = {
    "the same file": lambda image, at: image.save(at / "x.png"),
    "the same pixels": lambda image, at: image.save(at / "x.bmp"),
    "rescaled or re-encoded": lambda image, at: image.resize((300, 231)).save(at / "x.jpg", quality=70),
    "a crop": lambda image, at: image.crop((100, 60, 500, 360)).save(at / "x.webp", quality=80),
}


@pytest.mark.parametrize("kind", ALTERED)
def test_each_kind_of_copy_is_told_from_the_others(kind: str, tmp_path: Path) -> None:
    photograph(1).save(tmp_path / "trained.png")
    ALTERED[kind](photograph(1), tmp_path)
    (tested,) = tmp_path.glob("x.*")
    trained = [*SCENES[:3], replace(SCENES[3], image=tmp_path / "trained.png")]
    others = [replace(scene(20 + i), image=photograph(20 + i)) for i in range(3)]
    of = pairs(trained, steps=1)
    evaluation = ("x", [*others, replace(scene(30), image=tested)])
    assert shared(of, evaluation) == {"q3": [f"also in x (sample q30; {kind})"]}
    counts = find_shared(of, [evaluation]).json()
    assert (counts["images"], list(counts["evaluations"]["x"].values()).count(1)) == (4, 1)


def test_an_image_of_several_questions_counts_once(tmp_path: Path) -> None:
    twins = [replace(SCENES[1], id=f"twin{i}") for i in range(3)]
    found = find_shared(pairs([*twins, SCENES[2]], steps=1), [("x", questions(1))])
    assert len(found.samples) == 3
    assert (found.images, found.evaluations["x"]["bytes"]) == (2, 1)


def test_a_crop_that_the_training_data_supplies_is_searched_too(tmp_path: Path) -> None:
    photograph(2).crop((60, 60, 420, 360)).save(tmp_path / "crop.png")
    photograph(2).save(tmp_path / "whole.png")
    supplied = replace(SCENES[3], crop_image=tmp_path / "crop.png")
    found = shared(pairs([*SCENES[:3], supplied]), ("x", [replace(scene(30), image=tmp_path / "whole.png")]))
    assert found == {"q3": ["also in x (sample q30; a crop)"]}


def test_drawn_scenes_that_look_alike_are_not_shared() -> None:
    """Splits of the embedded benchmark: features alone called 4 of 640 training samples shared."""
    from gapbench.data import catalogue
    from gapbench.engines import models

    defaults = models.benchmark_defaults("glance")
    trained = catalogue.load("signs:split=train,samples=640", defaults)
    of = Pairs(trained, recipe(prompts_per_step=32, steps=20))
    assert find_shared(of, [("signs", catalogue.load("signs", defaults).samples(300))]).samples == {}


def test_every_question_about_a_shared_image_is_found() -> None:
    twins = [replace(SCENES[1], id="twin"), *SCENES]
    assert set(shared(pairs(twins, steps=3), ("x", questions(1)))) == {"q1", "twin"}


def test_images_that_cannot_be_decoded_match_nothing(tmp_path: Path) -> None:
    lost = [replace(s, image=tmp_path / "gone.png") for s in SCENES]
    assert shared(pairs(lost), ("x", lost)) == {}


def test_what_is_asked_instead_of_the_dropped_is_looked_at_too() -> None:
    """A run that asks few of many: leaving some out brings others in, and those must be clean as well."""
    many = [scene(i) for i in range(30)]
    bad = [replace(s, id=f"t{s.id}") for s in many[::2]]
    for seed in range(5):
        of = pairs(many, steps=1, seed=seed)
        found = shared(of, ("x", bad))
        used_keys = {p.key for p in of.without(frozenset(found)).step(0)}
        assert not used_keys & {f"q{i}" for i in range(0, 30, 2)}


def test_everything_shared_is_said_and_not_refused() -> None:
    """Whether to drop is the recipe's to say."""
    assert set(shared(pairs(), ("x", questions(*range(8))))) == {f"q{i}" for i in range(8)}


@pytest.mark.parametrize("policy", ["drop", "keep"])
def test_everything_shared_is_said_of_samples_that_are_held_out_too(policy: str) -> None:
    """Also where hardly any is left, from which none could be held out."""
    of = pairs(eval_every=1, validation_samples=1, contamination=policy)
    assert len(of.validation) == 1
    assert len(shared(of, ("x", questions(*range(8))))) == 8
    if policy == "keep":  # nothing takes the place of what stays
        assert len(shared(of, ("x", questions(*range(7))))) == 7


def test_a_refusal_to_train_on_what_is_tested_says_where_how_much_and_what_helps() -> None:
    tested = benchmark(questions(*range(8)))
    evaluation = _Evaluation(("patches",), (tested,), None)
    why = (
        r"patches: all 7 training samples \(besides 1 held out for validation\) show an image that is also in "
        r"--eval patches \(q\d: also in patches \(sample t\d; the same file\) and 7 more\)\. Train on other data, or"
    )
    with pytest.raises(BenchmarkError, match=why):
        _shared_images(pairs(eval_every=1, validation_samples=1), evaluation, quiet=True)
    kept = _shared_images(pairs(eval_every=1, validation_samples=1, contamination="keep"), evaluation, quiet=True)
    assert len(kept.samples) == 8


def test_the_further_images_of_a_tested_question_count_too() -> None:
    several = replace(SCENES[0], id="several", image=scene(20).image, more_images=(SCENES[5].image,))
    assert shared(pairs(), ("x", [several])) == {"q5": ["also in x (sample several; the same file)"]}
