"""What each side sees: by seed and step alone, from evidence, without ever reading an answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from distillation.small import benchmark, recipe, scene
from gapbench.data.benchmark import Benchmark
from gapbench.distillation.pairs import Pairs, TrainingPrompt
from gapbench.errors import BenchmarkError, SampleError, SettingError
from gapbench.types import Card, Protocol, Sample
from gapbench.views.counterfactual import elsewhere
from gapbench.views.prompts import prompt
from gapbench.views.regions import find_region

SCENES = [scene(i) for i in range(10)]


def pairs(samples: list[Sample] | None = None, **changes: Any) -> Pairs:
    found = SCENES if samples is None else samples
    return Pairs(benchmark(found), recipe(**{"prompts_per_step": 4, "steps": 5, **changes}))


def keys(of: Pairs, steps: range | None = None) -> list[str]:
    return [p.key for step in steps or range(of.recipe.steps) for p in of.step(step)]


def same(one: list[TrainingPrompt], other: list[TrainingPrompt]) -> bool:
    """The same questions, images and texts."""
    if len(one) != len(other):
        return False
    return all(
        (a.key, a.text, a.anchor) == (b.key, b.text, b.anchor)
        and (a.student.tobytes(), a.teacher.tobytes()) == (b.student.tobytes(), b.teacher.tobytes())
        for a, b in zip(one, other, strict=True)
    )


# --- the order -----------------------------------------------------------------------------------------------------


def test_a_step_is_the_same_whenever_it_is_asked_for() -> None:
    whole, late = pairs(anchor_share=0.5), pairs(anchor_share=0.5)
    steps = [whole.step(step) for step in range(5)]
    assert all(same(late.step(step), steps[step]) for step in (3, 2, 4))


def test_every_prompt_of_a_step_has_its_slot_whatever_the_processes() -> None:
    """Five samples and eight prompts: some come twice, and no two of a step share a slot."""
    of = pairs(SCENES[:5], prompts_per_step=8)
    alone = [(p.slot, p.key) for p in of.step(3)]
    assert [slot for slot, _ in alone] == list(range(8))
    assert len({key for _, key in alone}) < 8
    for processes in (2, 4, 8):
        shares = [(p.slot, p.key) for process in range(processes) for p in of.step(3, process, processes)]
        assert sorted(shares) == alone


def test_the_seed_decides_the_order() -> None:
    assert keys(pairs(seed=1)) == keys(pairs(seed=1))
    assert keys(pairs(seed=1)) != keys(pairs(seed=2))


def test_more_steps_change_no_earlier_one() -> None:
    assert keys(pairs(steps=9), range(5)) == keys(pairs(steps=5))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(0, 30), st.floats(0, 1), st.integers(1, 6))
def test_the_shares_of_the_processes_make_up_the_step(size: int, step: int, share: float, processes: int) -> None:
    whole = pairs(prompts_per_step=size, steps=40, anchor_share=share)
    parts = [whole.step(step, process, processes) for process in range(processes)]
    dealt: list[TrainingPrompt | None] = [None] * size
    for process, part in enumerate(parts):
        dealt[process::processes] = part
    assert same([p for p in dealt if p is not None], whole.step(step))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 10), st.integers(1, 10))
def test_every_epoch_asks_every_question_once(count: int, size: int) -> None:
    used_keys = keys(pairs(SCENES[:count], prompts_per_step=size, steps=3 * count))
    for epoch in range(3 * size):
        assert sorted(used_keys[epoch * count : (epoch + 1) * count]) == sorted(f"q{i}" for i in range(count))


def test_epochs_are_shuffled_anew() -> None:
    used_keys = keys(pairs(steps=10))
    assert len({tuple(used_keys[i : i + 10]) for i in range(0, 40, 10)}) == 4


@pytest.mark.parametrize(("steps", "used"), [(1, 4), (2, 8), (3, 10), (9, 10)])
def test_used_are_the_questions_that_the_run_asks(steps: int, used: int) -> None:
    of = pairs(steps=steps)
    assert [s.id for s in of.used()] == list(dict.fromkeys(keys(of)))
    assert len(of.used()) == used


# --- views ---------------------------------------------------------------------------------------------------------


def pixels(image: Image.Image) -> Any:
    return np.asarray(image)


def by_key(of: Pairs) -> dict[str, tuple[TrainingPrompt, Sample]]:
    samples = {s.id: s for s in of.samples}
    return {p.key: (p, samples[p.key]) for step in range(of.recipe.steps) for p in of.step(step)}


def region(sample: Sample, policy: str = "padded:factor=1.1") -> Image.Image:
    box = find_region(policy, sample.boxes, sample.image.size).box
    assert box is not None
    crop: Image.Image = sample.image.crop(box)
    return crop


def test_the_student_sees_the_image_and_the_teacher_its_enlarged_evidence() -> None:
    found = by_key(pairs())
    assert len(found) == 10
    for pair, sample in found.values():
        assert (pixels(pair.student) == pixels(sample.image)).all()
        crop = region(sample)
        assert pair.teacher.size == (2 * crop.width, 2 * crop.height)
        expected = crop.resize(pair.teacher.size, Image.Resampling.LANCZOS)
        assert (pixels(pair.teacher) == pixels(expected)).all()
        assert not pair.anchor


@pytest.mark.parametrize(("factor", "size"), [(1.0, (25, 31)), (1.5, (38, 46)), (3.0, (75, 93))])
def test_the_teachers_crop_is_enlarged_in_width_and_height(factor: float, size: tuple[int, int]) -> None:
    sample = replace(SCENES[0], boxes=((10, 10, 35, 41),))
    found = pairs([sample], region="union", teacher_enlarge=factor).step(0)[0]
    assert found.teacher.size == size


def test_only_a_crop_is_enlarged() -> None:
    pair, sample = by_key(pairs(teacher_view="full"))["q3"]
    assert pair.teacher.size == sample.image.size


def test_bounds_on_pixels_hold_on_both_sides_after_enlarging() -> None:
    for pair, _ in by_key(pairs(min_pixels=4000, max_pixels=6000)).values():
        for image in (pair.student, pair.teacher):
            assert 4000 <= image.width * image.height <= 6000


def test_the_released_student_sees_a_frame_around_the_region() -> None:
    for pair, sample in by_key(pairs(student_view="boxed")).values():
        changed = (pixels(pair.student) != pixels(sample.image)).any(-1)
        assert changed.any()
        assert (pixels(pair.student)[changed] == (255, 0, 0)).all()
        assert pair.teacher.size < pair.student.size or pair.teacher.size != pair.student.size


def test_the_region_is_the_recipes_or_else_the_benchmarks() -> None:
    assert pairs(region="").region == "padded"
    assert pairs(region="union").region == "union"
    assert Pairs(benchmark(SCENES, region="union"), recipe(region="")).region == "union"


def test_a_crop_that_the_benchmark_ships_is_shown_where_asked_for() -> None:
    shipped = Image.new("RGB", (9, 7), "red")
    samples = [replace(SCENES[0], crop_image=shipped, boxes=()), SCENES[1]]
    of = pairs(samples, region="native", teacher_enlarge=1.0)
    assert [s.id for s in of.samples] == ["q0"]
    assert (pixels(of.step(0)[0].teacher) == pixels(shipped)).all()


def test_a_region_of_several_images_is_refused_where_a_crop_is_shown_and_a_mosaic_is_one() -> None:
    for of in (lambda: pairs(region="multi"), lambda: Pairs(benchmark(SCENES, region="multi"), recipe(region=""))):
        with pytest.raises(SettingError, match=r"'multi' .*one image per evidence box.*one image a side.*mosaic"):
            of()
    assert pairs(region="multi", student_view="full", teacher_view="boxed").step(0)
    two = replace(SCENES[0], boxes=((10, 10, 35, 41), (50, 10, 60, 20)))
    assert pairs([two], region="mosaic", teacher_enlarge=1.0).step(0)[0].teacher.width > 25 + 10


# --- null views ----------------------------------------------------------------------------------------------------


def test_without_a_use_there_is_no_null_view() -> None:
    assert all(pair.null is None for pair, _ in by_key(pairs()).values())


def test_a_blank_image_is_the_mean_of_the_teachers_image_at_its_size() -> None:
    for pair, _ in by_key(pairs(target="tilt", min_pixels=4000, max_pixels=6000)).values():
        assert pair.null is not None
        assert pair.null.size == pair.teacher.size
        assert (pixels(pair.null) == np.rint(pixels(pair.teacher).mean((0, 1)))).all()


def test_a_random_crop_is_as_large_as_the_teachers_and_enlarged_like_it() -> None:
    for pair, sample in by_key(pairs(weights="evidence", null_view="random_crop")).values():
        assert pair.null is not None
        assert pair.null.size == pair.teacher.size
        assert (pixels(pair.null) != pixels(pair.teacher)).any()
        box = find_region("padded:factor=1.1", sample.boxes, sample.image.size).box
        assert box is not None
        expected = sample.image.crop(elsewhere(sample.image, box)).resize(pair.null.size, Image.Resampling.LANCZOS)
        assert (pixels(pair.null) == pixels(expected)).all()


def test_hide_is_the_whole_image_without_the_region() -> None:
    for pair, sample in by_key(pairs(target="hard", null_view="hide")).values():
        assert pair.null is not None
        assert pair.null.size == sample.image.size
        assert (pixels(pair.null) != pixels(sample.image)).any()


def test_an_anchor_has_the_same_null_view() -> None:
    plain, anchored = (by_key(pairs(target="tilt", anchor_share=share)) for share in (0.0, 1.0))
    for key, (pair, _) in plain.items():
        assert (pixels(pair.null) == pixels(anchored[key][0].null)).all()


def test_samples_without_room_for_another_crop_are_skipped_with_the_reason() -> None:
    whole = replace(SCENES[0], boxes=((0, 0, *map(float, SCENES[0].image.size)),))
    of = pairs([whole, *SCENES[1:]], weights="evidence", null_view="random_crop")
    assert "q0" not in by_key(of)
    assert "leaves no room for another of its size" in of.skipped["q0"]


def test_a_null_view_that_needs_boxes_leaves_out_samples_without() -> None:
    without = [replace(sample, boxes=()) for sample in SCENES[:4]]
    of = pairs([*without, *SCENES[4:]], teacher_view="full", weights="evidence", null_view="hide")
    assert of.without_evidence == 4
    with pytest.raises(BenchmarkError, match=r"views full and hide cannot be shown .* The recipe s2vopd needs none\."):
        pairs(without, teacher_view="full", weights="evidence", null_view="hide")


def test_a_degraded_student_needs_no_boxes() -> None:
    without = [replace(sample, boxes=()) for sample in SCENES]
    found = by_key(pairs(without, student_view="degraded:scale=0.3-0.6", teacher_view="full"))
    assert len(found) == 10
    shares = {pair.student.width / sample.image.width for pair, sample in found.values()}
    assert min(shares) > 0.28
    assert max(shares) < 0.62
    assert len(shares) > 5
    for pair, sample in found.values():
        assert pair.teacher.tobytes() == sample.image.tobytes()


# --- anchors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.1, 1), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_the_share_of_anchors_is_exact_in_every_step(share: float, count: int) -> None:
    of = pairs(anchor_share=share, prompts_per_step=8)
    for step in range(5):
        assert sum(p.anchor for p in of.step(step)) == count


def test_an_anchor_shows_the_student_what_the_teacher_sees() -> None:
    for pair, sample in by_key(pairs(anchor_share=0.5, steps=9)).values():
        shown = pair.teacher if pair.anchor else sample.image
        assert (pixels(pair.student) == pixels(shown)).all()


def test_anchors_take_turns() -> None:
    of = pairs(anchor_share=0.25, prompts_per_step=8, steps=20)
    places = Counter(place for step in range(20) for place, p in enumerate(of.step(step)) if p.anchor)
    assert len(places) == 8


# --- text ----------------------------------------------------------------------------------------------------------


def test_the_text_is_the_prompt_that_is_measured_with() -> None:
    assert all(pair.text == prompt(sample) for pair, sample in by_key(pairs()).values())


@pytest.mark.parametrize(
    ("options", "rest"), [((), "\nAnswer the"), (("red", "blue"), "\n(A) red\n(B) blue\nAnswer the")]
)
def test_the_hint_is_a_paragraph_between_question_and_options(options: tuple[str, ...], rest: str) -> None:
    asked = [replace(s, options=options) for s in SCENES]
    for pair, sample in by_key(Pairs(benchmark(asked), recipe(hint="Look inside the red box."))).values():
        assert pair.text.startswith(f"{sample.question}\n\nLook inside the red box.\n{rest}")


PROTOCOLS = {"original": Protocol("{question}?"), "bare": Protocol("{question}"), "own": Protocol("{published}")}


def carded(role: str = "training", **changes: Any) -> Pairs:
    card = Card(name="b", title="B", source="here", licence="own", role=role, protocols=PROTOCOLS)  # type: ignore[arg-type]
    return Pairs(Benchmark("b", card, lambda: SCENES), recipe(**changes))


@pytest.mark.parametrize(
    ("role", "protocol", "used"),
    [
        ("training", "", "original"),
        ("training", "bare", "bare"),
        ("training", "neutral", "neutral"),
        ("evidence", "", "neutral"),  # the prompt that a benchmark is measured with by default
        ("evidence", "original", "original"),
    ],
)
def test_the_protocol_is_the_recipes_or_the_training_sets_own(role: str, protocol: str, used: str) -> None:
    of = carded(role, protocol=protocol)
    assert of.protocol == used
    texts = {"original": lambda s: f"{s.question}?", "bare": lambda s: s.question, "neutral": prompt}
    assert all(pair.text == texts[used](sample) for pair, sample in by_key(of).values())


def test_a_protocol_that_the_data_does_not_have_and_a_hint_that_no_prompt_would_show_are_refused() -> None:
    with pytest.raises(SettingError, match=r"protocol .orginal.: b has no such protocol. It has neutral, "):
        carded(protocol="orginal")
    with pytest.raises(SettingError, match=r"hint: .*protocol 'own' of b words its questions itself\. Set hint"):
        carded(protocol="own", hint="Look.")


def test_a_benchmarks_own_template_is_used() -> None:
    card = Card(name="b", title="B", source="here", licence="own", prompt="Q: {question}")
    of = Pairs(Benchmark("b", card, lambda: SCENES), recipe())
    assert all(pair.text == f"Q: {sample.question}" for pair, sample in by_key(of).values())


class Sealed(Sample):
    """A question whose answers must not be read."""

    def __getattribute__(self, name: str) -> Any:
        if name == "answers":
            raise AssertionError("an answer was read")
        return super().__getattribute__(name)


@pytest.mark.parametrize("view", ["full", "boxed"])
def test_answers_are_never_read(view: str) -> None:
    sealed = [Sealed(**{f.name: getattr(s, f.name) for f in fields(s)}) for s in SCENES]
    removed = [replace(s, answers=()) for s in SCENES]
    settings_ = recipe(student_view=view, prompts_per_step=4, steps=5, anchor_share=0.25)
    known = Pairs(benchmark(SCENES), settings_)
    for other in (Pairs(benchmark(SCENES), settings_, samples=sealed), Pairs(benchmark(removed), settings_)):
        assert all(same(other.step(step), known.step(step)) for step in range(5))
        assert same(other.probe(3), known.probe(3))


# --- the probe -----------------------------------------------------------------------------------------------------


def test_the_probe_is_what_is_asked_last_and_shows_the_teachers_view() -> None:
    of = pairs(steps=1)
    probe = of.probe(3)
    assert not {p.key for p in probe} & set(keys(of))
    assert all(p.student is p.teacher for p in probe)
    assert [p.key for p in of.probe(3)] == [p.key for p in probe]
    assert len(of.probe(99)) == 10


# --- samples that cannot be used -----------------------------------------------------------------------------------


def broken(number: int) -> Sample:
    def fails() -> Any:
        raise SampleError(f"image {number} is lost")

    return replace(SCENES[number], image=fails)


def test_an_unusable_question_gives_its_place_to_another_and_is_kept_with_its_reason() -> None:
    samples = [broken(i) if i in (2, 5) else s for i, s in enumerate(SCENES)]
    samples[7] = replace(SCENES[7], boxes=((9000, 9000, 9001, 9001),))
    of = pairs(samples)
    used_keys = keys(of)
    assert len(used_keys) == 20
    assert not {"q2", "q5", "q7"} & set(used_keys)
    assert set(of.skipped) == {"q2", "q5", "q7"}
    assert of.skipped["q2"] == "image 2 is lost"
    assert "box" in of.skipped["q7"]
    assert keys(pairs(samples)) == used_keys


def test_questions_about_several_images_are_skipped_with_their_reason() -> None:
    samples = [replace(s, more_images=(s.image,)) if i == 4 else s for i, s in enumerate(SCENES)]
    of = pairs(samples)
    assert "q4" not in keys(of)
    assert of.skipped == {"q4": "sample 'q4' has 2 images; a pair has one a side."}


def test_data_of_which_nothing_can_be_shown_is_given_up() -> None:
    with pytest.raises(BenchmarkError, match=r"patches: 3 samples in a row cannot be shown; the last one: image"):
        pairs([broken(i) for i in range(3)]).step(0)


def test_questions_without_evidence_are_left_out_and_counted() -> None:
    samples = [replace(s, boxes=()) if i % 2 else s for i, s in enumerate(SCENES)]
    of = pairs(samples)
    assert [s.id for s in of.samples] == ["q0", "q2", "q4", "q6", "q8"]
    assert of.without_evidence == 5
    assert "patches: 5 of 10 samples have no evidence box and are left out" in of.left_out
    held_out = pairs(samples, eval_every=1, validation_samples=2)
    assert held_out.validation
    assert held_out.left_out == of.left_out, "those held out for validation are samples, too"
    everything = pairs(samples, teacher_view="full")
    assert (len(everything.samples), everything.without_evidence) == (10, 0)


@pytest.mark.parametrize(("region", "lacking"), [("padded", "an evidence box"), ("native", "a crop of its own")])
def test_data_without_evidence_is_refused(region: str, lacking: str) -> None:
    bare = [replace(s, boxes=()) for s in SCENES]
    with pytest.raises(BenchmarkError, match=rf"patches: none of its 10 samples has {lacking}.*give boxes"):
        pairs(bare, region=region)


def test_dropped_questions_are_not_asked() -> None:
    rest = pairs().without(frozenset({"q1", "q4"}))
    assert sorted(set(keys(rest))) == ["q0", "q2", "q3", "q5", "q6", "q7", "q8", "q9"]
    with pytest.raises(
        BenchmarkError, match=r"none is left: 10 of its 10 training .*image of the evaluation\. .*=keep"
    ):
        pairs().without(frozenset(f"q{i}" for i in range(10)))
    held_out = pairs(eval_every=1, validation_samples=2)
    most = [s.id for s in (*held_out.validation, *held_out.samples[1:])]
    with pytest.raises(
        BenchmarkError, match=r"too few to hold.* 7 of its 8 training samples show an image of the eval"
    ):
        held_out.without(frozenset(most))


def test_the_limit_takes_the_first_questions() -> None:
    of = Pairs(benchmark(SCENES), recipe(), limit=3)
    assert [s.id for s in of.samples] == ["q0", "q1", "q2"]
