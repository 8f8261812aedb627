"""An image that is tested is found among those that are trained on, whatever it is stored as."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from distillation.small import benchmark, recipe, scene
from gapbench.distillation.contamination import find_shared
from gapbench.distillation.pairs import Pairs
from gapbench.types import Sample

SCENES = [scene(i) for i in range(8)]


def pairs(samples: list[Sample] | None = None, **changes: Any) -> Pairs:
    settings = recipe(**{"prompts_per_step": 4, "steps": 2, **changes})
    return Pairs(benchmark(samples or SCENES), settings)


def questions(*numbers: int) -> list[Sample]:
    return [replace(SCENES[i], id=f"t{i}", question="Another question?") for i in numbers]


def test_shared_images_are_named_with_where_they_are_tested() -> None:
    found = find_shared(pairs(), [("patches", questions(3)), ("other", questions(3, 5))])
    assert found == {"q3": "also in patches (sample t3)", "q5": "also in other (sample t5)"}


def test_nothing_shared_is_nothing_found() -> None:
    assert find_shared(pairs(), [("patches", [scene(20), scene(21)])]) == {}
    assert find_shared(pairs(), []) == {}


def test_the_image_counts_and_not_how_it_is_stored(tmp_path: Path) -> None:
    SCENES[2].image.save(tmp_path / "a.png")
    SCENES[2].image.save(tmp_path / "b.bmp")
    trained = [*SCENES[:2], replace(SCENES[2], image=tmp_path / "a.png"), *SCENES[3:]]
    for image in (tmp_path / "a.png", tmp_path / "b.bmp", (tmp_path / "a.png").read_bytes(), SCENES[2].image.copy,
                  SCENES[2].image):  # fmt: skip
        assert set(find_shared(pairs(trained), [("x", [replace(SCENES[0], image=image)])])) == {"q2"}


def test_another_size_is_another_image() -> None:
    white = [Image.new("RGB", size, "white") for size in ((6, 4), (4, 6))]
    samples = [replace(SCENES[0], image=white[0], boxes=((0, 0, 2, 2),))]
    assert find_shared(pairs(samples), [("x", [replace(SCENES[0], image=white[1])])]) == {}


def test_every_question_about_a_shared_image_is_found() -> None:
    twins = [replace(SCENES[1], id="twin"), *SCENES]
    assert set(find_shared(pairs(twins, steps=3), [("x", questions(1))])) == {"q1", "twin"}


def test_images_that_cannot_be_decoded_match_nothing(tmp_path: Path) -> None:
    lost = [replace(s, image=tmp_path / "gone.png") for s in SCENES]
    assert find_shared(pairs(lost), [("x", lost)]) == {}


def test_what_is_asked_instead_of_the_dropped_is_looked_at_too() -> None:
    """A run that asks few of many: leaving some out brings others in, and those must be clean as well."""
    many = [scene(i) for i in range(30)]
    bad = [replace(s, id=f"t{s.id}") for s in many[::2]]
    for seed in range(5):
        of = pairs(many, steps=1, seed=seed)
        shared = find_shared(of, [("x", bad)])
        used_keys = {p.key for p in of.without(frozenset(shared)).step(0)}
        assert not used_keys & {f"q{i}" for i in range(0, 30, 2)}


def test_everything_shared_is_said_and_not_refused() -> None:
    """Whether to drop is the recipe's to say."""
    assert set(find_shared(pairs(), [("x", questions(*range(8)))])) == {f"q{i}" for i in range(8)}


def test_the_further_images_of_a_tested_question_count_too() -> None:
    several = replace(SCENES[0], id="several", image=scene(20).image, more_images=(SCENES[5].image,))
    assert find_shared(pairs(), [("x", [several])]) == {"q5": "also in x (sample several)"}
