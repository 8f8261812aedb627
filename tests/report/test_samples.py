"""Records regrouped by sample: flips, rectangles and a fair order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from gapbench.report.run.samples import cases_of, stratified

from .conftest import ExampleRun, MakeRun


def test_flips_agree_with_the_summary(make_run: MakeRun) -> None:
    run = make_run(samples=60)
    counted = Counter(case.flip for case in cases_of(run.frame))
    entry = run.summary["benchmarks"]["signs"]
    assert {flip: counted[flip] for flip in entry["pairs"]} == entry["pairs"]
    assert counted["dropped"] == entry["gap"]["dropped"] == 1


def test_a_view_without_score_drops_the_sample(make_run: MakeRun) -> None:
    run = make_run(samples=4)
    alone = ExampleRun(run.folder, run.summary, run.run, [one for one in run.records if one.view == "crop"])
    assert {case.flip for case in cases_of(alone.frame)} == {"dropped"}


def test_repeats_are_averaged_and_the_first_is_shown(make_run: MakeRun) -> None:
    run = make_run(samples=3)
    first = replace(run.records[0], repeat=0, score=0.0, outcome="wrong", output="first")
    again = [replace(first, repeat=index, score=1.0, outcome="right", output="later") for index in (2, 1)]
    case = cases_of(ExampleRun(run.folder, {}, {}, [*again, first]).frame)[0]
    answer = case.answers["full"]
    assert (answer.output, answer.score, answer.repeats) == ("first", 2 / 3, 3)


def test_rectangles_are_percent_of_the_image_and_stay_inside(make_run: MakeRun) -> None:
    run = make_run(samples=3)
    odd = [
        replace(one, image_size=(200, 100), boxes=((-10.0, 20.0, 100.0, 400.0),), region=(0.0, 0.0, 50.0, 50.0))
        for one in run.records
    ]
    case = cases_of(ExampleRun(run.folder, {}, {}, odd).frame)[0]
    assert case.evidence == ((0.0, 20.0, 50.0, 80.0),)
    assert case.region == (0.0, 0.0, 25.0, 50.0)


def test_samples_without_boxes_or_sizes_have_no_rectangles(make_run: MakeRun) -> None:
    bare = make_run(samples=3).with_records(
        lambda one: replace(one, image_size=None, boxes=(), evidence_area=None, region=None, sent_size=None)
    )
    case = cases_of(bare.frame)[0]
    assert (case.evidence, case.region, case.image_size, case.evidence_area) == ((), None, None, None)


def test_any_beginning_of_the_order_is_spread_over_benchmarks_and_flips(make_run: MakeRun) -> None:
    cases = cases_of(make_run(("signs", "zoom"), samples=60, thumbnails=0).frame)
    strata = {(case.benchmark, case.flip) for case in cases}
    ordered = stratified(cases)
    assert {(case.benchmark, case.flip) for case in ordered[: len(strata)]} == strata
    assert sorted(case.key for case in ordered) == sorted(case.key for case in cases)
    assert stratified(reversed(cases)) == ordered


def test_samples_with_images_come_first(make_run: MakeRun) -> None:
    cases = cases_of(make_run(samples=30, thumbnails=0).frame)
    preferred = {case.key for case in cases[10:15]}
    assert {case.key for case in stratified(cases, preferred)[:5]} == preferred
