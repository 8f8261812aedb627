"""Records grouped by sample: flips, rectangles and a fair order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from gapbench.report.run.samples import FLIP_NAMES, sample_cards, stratified

from .conftest import ExampleRun, MakeRun


def test_flips_agree_with_the_summary(make_run: MakeRun) -> None:
    run = make_run(samples=60)
    counts = Counter(card.flip for card in sample_cards(run.frame))
    entry = run.summary["benchmarks"]["signs"]
    assert {flip: counts[flip] for flip in entry["pairs"]} == entry["pairs"]
    assert counts["dropped"] == entry["gap"]["dropped"] == 1


def test_a_view_without_score_drops_the_sample(make_run: MakeRun) -> None:
    run = make_run(samples=4)
    alone = ExampleRun(run.folder, run.summary, run.run, [record for record in run.records if record.view == "crop"])
    assert {card.flip for card in sample_cards(alone.frame)} == {"dropped"}


def test_repeats_are_averaged_and_the_first_is_shown(make_run: MakeRun) -> None:
    run = make_run(samples=3)
    first = replace(run.records[0], repeat=0, score=0.0, outcome="wrong", output="first")
    again = [replace(first, repeat=index, score=1.0, outcome="right", output="later") for index in (2, 1)]
    card = sample_cards(ExampleRun(run.folder, {}, {}, [*again, first]).frame)[0]
    answer = card.answers["full"]
    assert (answer.output, answer.score, answer.repeats) == ("first", 2 / 3, 3)


def test_rectangles_are_percent_of_the_image_and_stay_inside(make_run: MakeRun) -> None:
    run = make_run(samples=3)
    odd = [
        replace(record, image_size=(200, 100), boxes=((-10.0, 20.0, 100.0, 400.0),), region=(0.0, 0.0, 50.0, 50.0))
        for record in run.records
    ]
    card = sample_cards(ExampleRun(run.folder, {}, {}, odd).frame)[0]
    assert card.evidence == ((0.0, 20.0, 50.0, 80.0),)
    assert card.region == (0.0, 0.0, 25.0, 50.0)


def test_samples_without_boxes_or_sizes_have_no_rectangles(make_run: MakeRun) -> None:
    bare = make_run(samples=3).with_records(
        lambda one: replace(one, image_size=None, boxes=(), evidence_area=None, region=None, sent_size=None)
    )
    card = sample_cards(bare.frame)[0]
    assert (card.evidence, card.region, card.image_size, card.evidence_area) == ((), None, None, None)


def test_any_beginning_of_the_order_is_spread_over_benchmarks_and_flips(make_run: MakeRun) -> None:
    cards = sample_cards(make_run(("signs", "zoom"), samples=60, thumbnails=0).frame)
    strata = {(card.benchmark, card.flip) for card in cards}
    ordered = stratified(cards)
    assert {(card.benchmark, card.flip) for card in ordered[: 2 * len(FLIP_NAMES)]} == strata
    assert sorted(card.key for card in ordered) == sorted(card.key for card in cards)
    assert stratified(reversed(cards)) == ordered


def test_rare_cells_are_whole_and_frequent_ones_share_the_rest(make_run: MakeRun) -> None:
    """Though only samples of frequent cells have images, and there are many benchmarks."""
    counts = {"both": 4_000, "crop_only": 1_500, "full_only": 100, "neither": 5}
    template = sample_cards(make_run(samples=3, thumbnails=0).frame)[0]
    cards = [
        replace(template, key=f"{flip}{index}", benchmark=f"b{index % 50}", flip=flip)
        for flip, count in counts.items()
        for index in range(count)
    ]
    chosen = stratified(cards, [card.key for card in cards if card.flip == "both"])[:240]
    assert Counter(card.flip for card in chosen) == {"neither": 5, "both": 78, "crop_only": 79, "full_only": 78}
    assert len({card.benchmark for card in chosen if card.flip == "both"}) == 50


def test_samples_with_images_come_first_in_their_cell(make_run: MakeRun) -> None:
    cards = sample_cards(make_run(samples=30, thumbnails=0).frame)
    for flip in {card.flip for card in cards}:
        members = [card.key for card in cards if card.flip == flip]
        ordered = [card.key for card in stratified(cards, members[-1:]) if card.flip == flip]
        assert ordered[0] == members[-1]
