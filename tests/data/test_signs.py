"""Drawn scenes: reproducible, disjoint between splits, with exact evidence and one right answer to every question."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from functools import partial
from typing import Any

import numpy as np
import pytest

from gapbench.data import signs
from gapbench.data.signs import CATEGORIES, COLOURS, LARGE, LETTERS, SHAPES, SMALL, SPLITS, Scene, Sign, draw, samples
from gapbench.errors import SettingError
from gapbench.types import Sample
from gapbench.views import images

TINY = dataclasses.asdict(SMALL)
"""The parameters that the embedded model asks for."""


@pytest.fixture(scope="module")
def test_split() -> list[Sample]:
    return list(samples())


@pytest.fixture(scope="module")
def small_split() -> list[Sample]:
    return list(samples(**TINY))


def scene_of(sample: Sample) -> Scene:
    assert isinstance(sample.image, partial)
    (scene,) = sample.image.args
    assert isinstance(scene, Scene)
    return scene


def answer_of(sample: Sample) -> str:
    (answer,) = sample.answers
    return sample.options["ABCD".index(answer)] if sample.options else answer


# --- the same for everyone -------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_questions_and_pixels_every_time() -> None:
    first, again = list(samples(samples=20, **TINY)), list(samples(samples=20, **TINY))
    for a, b in zip(first, again, strict=True):
        assert dataclasses.replace(a, image=None) == dataclasses.replace(b, image=None)
        assert images.decode(a.image)[1] == images.decode(b.image)[1]


def test_fewer_questions_are_the_first_of_more() -> None:
    more = [dataclasses.replace(s, image=None) for s in samples(samples=40, **TINY)]
    fewer = [dataclasses.replace(s, image=None) for s in samples(samples=30, **TINY)]
    assert fewer == more[:30]


def test_another_seed_gives_other_scenes() -> None:
    scenes = [scene_of(s) for seed in (0, 1) for s in samples(samples=1, seed=seed)]
    assert scenes[0] != scenes[1]


@pytest.mark.parametrize("parameters", [{}, TINY])
def test_no_scene_is_shared_between_splits(parameters: dict[str, Any]) -> None:
    split_of_signs: dict[tuple[Sign, ...], str] = {}
    for split in SPLITS:
        scenes = dict.fromkeys(scene_of(s).signs for s in samples(split, 1600, **parameters))
        for scene in list(scenes)[:500]:
            assert split_of_signs.setdefault(scene, split) == split
    assert len(split_of_signs) == 500 * len(SPLITS)


# --- what is asked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 17, 250])
def test_there_are_exactly_as_many_questions_as_asked_for(count: int) -> None:
    drawn = list(samples(samples=count, **TINY))
    assert len(drawn) == len({s.id for s in drawn}) == count


def test_ids_number_the_questions_and_give_no_answer_away(test_split: list[Sample]) -> None:
    assert [s.id for s in test_split[:4]] == ["test-0-00000-0", "test-0-00000-1", "test-0-00000-2", "test-0-00001-0"]
    for s in test_split:
        assert re.fullmatch(r"test-0-\d{5}-[0-3]", s.id)
        assert s.id.startswith(s.cluster)


def test_one_to_four_questions_share_a_scene_and_its_cluster(test_split: list[Sample]) -> None:
    sizes = Counter(s.cluster for s in test_split)
    assert set(sizes.values()) == {1, 2, 3, 4}
    scenes = defaultdict(set)
    for s in test_split:
        scenes[s.cluster].add(scene_of(s))
    assert all(len(s) == 1 for s in scenes.values())


def test_no_question_is_asked_twice_of_one_scene(test_split: list[Sample], small_split: list[Sample]) -> None:
    for split in (test_split, small_split):
        assert len({(s.cluster, s.question) for s in split}) == len(split)


QUESTION = re.compile(
    r"Which (?P<letter>letter) is on the (?P<words>.+)\?|What (?P<category>colour|shape) is the (?P<phrase>.+)\?"
)


def described(question: str, scene: Scene) -> tuple[str, list[Sign]]:
    """What a question asks for, and all signs that its words fit, read as a person would."""
    match = QUESTION.fullmatch(question)
    assert match, question
    phrase = match["words"] or match["phrase"]
    colour = next((c for c in COLOURS if phrase.startswith(f"{c} ")), None)
    shape = next((s for s in SHAPES if re.search(rf"\b{s}\b", phrase)), None)
    letter = phrase[-1] if " with the letter " in phrase else None
    assert colour or letter
    return match["letter"] or match["category"], [
        s for s in scene.signs
        if colour in (None, s.colour) and shape in (None, s.shape) and letter in (None, s.letter)
    ]  # fmt: skip


def test_every_question_fits_exactly_one_sign_whose_box_and_value_are_given(
    test_split: list[Sample], small_split: list[Sample]
) -> None:
    crowded = list(samples(samples=300, signs_min=30, signs_max=40, size_max=60))
    for s in [*test_split, *small_split, *crowded]:
        category, fitting = described(s.question, scene_of(s))
        assert len(fitting) == 1, s
        assert s.category == category
        assert answer_of(s) == fitting[0].attribute(s.category)  # type: ignore[arg-type]
        assert s.boxes == (tuple(map(float, fitting[0].box)),)


def test_small_scenes_ask_all_three_categories_often(small_split: list[Sample]) -> None:
    shares = Counter(s.category for s in small_split)
    assert set(shares) == set(CATEGORIES)
    assert min(shares.values()) > 200


def test_options_hold_the_right_answer_once_among_four_of_its_kind(test_split: list[Sample]) -> None:
    for s in test_split:
        assert len(s.options) == len(set(s.options)) == 4
        assert set(s.options) <= set(signs.values(s.category))  # type: ignore[arg-type]
        assert s.answer_type == "letter"


def test_wrong_options_are_on_other_signs_of_the_scene_where_there_are_enough(test_split: list[Sample]) -> None:
    for s in test_split:
        there = {sign.attribute(s.category) for sign in scene_of(s).signs}  # type: ignore[arg-type]
        assert len(set(s.options) & there) == min(4, len(there))


def test_letters_a_to_d_are_right_equally_often(test_split: list[Sample]) -> None:
    counts = Counter(s.answers[0] for s in test_split)
    chi_square = sum((counts[letter] - 250) ** 2 / 250 for letter in "ABCD")
    assert chi_square < 16.27  # the 0.1 % point at three degrees of freedom


def test_no_letter_of_a_sign_is_a_letter_of_an_option() -> None:
    assert not set(LETTERS) & set("ABCD")


# --- what is drawn ---------------------------------------------------------------------------------------------


def test_images_have_the_size_asked_for(test_split: list[Sample], small_split: list[Sample]) -> None:
    assert LARGE.canvas == 1344
    assert images.decode(test_split[0].image)[0].size == (1344, 1344)
    assert images.decode(small_split[0].image)[0].size == (96, 96)
    assert images.decode(next(iter(samples(canvas=500))).image)[0].size == (500, 500)


def test_signs_do_not_touch_and_lie_inside(test_split: list[Sample], small_split: list[Sample]) -> None:
    for scene in {scene_of(s) for s in [*test_split, *small_split]}:
        for i, a in enumerate(scene.signs):
            assert min(a.box) >= 1
            assert max(a.box) < scene.canvas
            for b in scene.signs[:i]:
                assert a.box[0] > b.box[2] or b.box[0] > a.box[2] or a.box[1] > b.box[3] or b.box[1] > a.box[3]


def drawn_box(scene: Scene, sign: Sign) -> tuple[int, int, int, int]:
    """The bounding box of all pixels that differ when the sign is left out."""
    without = dataclasses.replace(scene, signs=tuple(s for s in scene.signs if s != sign))
    differs = (np.asarray(draw(scene)) != np.asarray(draw(without))).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize(("parameters", "count"), [(TINY, 120), ({"canvas": 336, "size_max": 60, "signs_max": 14}, 15)])
def test_the_evidence_box_is_exact(parameters: dict[str, Any], count: int) -> None:
    """All that a sign draws, letter included, lies in its box and comes within a pixel of its four sides."""
    scenes = dict.fromkeys(scene_of(s) for s in samples("validation", 3 * count, **parameters))
    shapes = set()
    for scene in list(scenes)[:count]:
        for sign in scene.signs[:3]:
            box = drawn_box(scene, sign)
            assert box[0] >= sign.box[0]
            assert box[1] >= sign.box[1]
            assert box[2] <= sign.box[2]
            assert box[3] <= sign.box[3]
            slack = 0 if sign.shape == "square" else 1  # a corner or an arc may fade out within its last pixel
            assert max(abs(a - b) for a, b in zip(box, sign.box, strict=True)) <= slack, sign
            shapes.add(sign.shape)
    assert shapes == set(SHAPES)


def test_the_letter_is_drawn_in_the_sign_s_ink_within_its_fill() -> None:
    for shape in SHAPES:
        sign = Sign("red", shape, "M", (10, 10, 58, 58))
        colours = Counter(draw(Scene(96, 0, (sign,))).crop(sign.box).getdata())
        fill, ink = COLOURS["red"]
        assert colours[fill] > 200
        assert colours[ink] > 20


def test_evidence_spans_areas_from_hard_to_easy(small_split: list[Sample], test_split: list[Sample]) -> None:
    """The curve of score over evidence size needs a wide range of sizes."""
    for split in (small_split, test_split):
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for s in split for b in s.boxes]
        assert max(areas) / min(areas) >= 16 - 1e-9


# --- settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"split": "dev"}, "one of train, validation, test, holdout"),
        ({"samples": 0}, "samples=0; expected at least 1"),
        ({"signs_min": 0}, "1 <= min <= max"),
        ({"signs_min": 5, "signs_max": 4}, "1 <= min <= max"),
        ({"size_min": 7}, "8 <= size_min"),
        ({"size_min": 50, "size_max": 40}, "size_min <= size_max"),
        ({"canvas": 121, "size_max": 120}, "canvas - 2"),
        ({"canvas": 0}, "canvas"),
        ({"canvas": 300, "signs_min": 200, "signs_max": 200}, "do not fit on a canvas of 300 px. Lower signs_max"),
    ],
)
def test_settings_that_cannot_be_drawn_are_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        list(samples(**{"samples": 3, **parameters}))


def test_so_many_signs_that_none_can_be_named_are_refused_instead_of_sought_for_ever() -> None:
    with pytest.raises(SettingError, match="Lower signs_min"):
        list(samples(samples=1, signs_min=400, signs_max=400, size_min=8, size_max=8))


def test_one_sign_as_large_as_allowed_is_drawn() -> None:
    (sample,) = samples(samples=1, canvas=96, signs_min=1, signs_max=1, size_min=94, size_max=94, options=False)
    assert sample.boxes == ((1.0, 1.0, 95.0, 95.0),)
