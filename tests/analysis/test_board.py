"""Ranks with the range that the data allow, and which runs share a benchmark of a board."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gapbench.analysis.board.asked import group, slim
from gapbench.analysis.board.ranks import Rank, difference, mean_differences, pairwise, ranks
from gapbench.analysis.board.standing import _largest_whole
from gapbench.analysis.comparison.runs import LoadedRun


def scores(*rights: int, n: int = 200) -> dict[int, np.ndarray]:
    """Models of which number k is right on its first rights[k] samples, so the better is right where the other is."""
    return {number: (np.arange(n) < right).astype(float) for number, right in enumerate(rights)}


def ranked(values: dict[int, np.ndarray], *, lower_is_better: bool = False) -> dict[int, Rank]:
    clusters = np.arange(len(values[0]))
    found = pairwise(values, clusters, (-1.0, 1.0))
    means = {number: float(value.mean()) for number, value in values.items()}
    return ranks(means, found, lower_is_better=lower_is_better)


def test_models_that_differ_on_many_samples_have_places_of_their_own() -> None:
    assert ranked(scores(40, 100, 160)) == {0: Rank(3, 3, 3), 1: Rank(2, 2, 2), 2: Rank(1, 1, 1)}


def test_models_that_differ_on_few_samples_share_a_range() -> None:
    assert ranked(scores(100, 102, 160)) == {0: Rank(3, 2, 3), 1: Rank(2, 2, 3), 2: Rank(1, 1, 1)}


def test_equal_models_have_one_rank_and_every_place() -> None:
    assert ranked(scores(100, 100, 100)) == {number: Rank(1, 1, 3) for number in range(3)}


def test_the_smallest_is_first_where_less_is_better() -> None:
    assert ranked(scores(40, 160), lower_is_better=True) == {0: Rank(1, 1, 1), 1: Rank(2, 2, 2)}


def test_pairing_shows_what_two_intervals_do_not() -> None:
    found = ranked(scores(100, 112))
    assert found == {0: Rank(2, 2, 2), 1: Rank(1, 1, 1)}, "12 of 200, all in one direction; both intervals overlap"


def test_more_models_make_the_correction_stricter() -> None:
    nine = [100 + 8 * k for k in range(2)] + [100] * 8
    assert ranked(scores(100, 108))[1] == Rank(1, 1, 1)
    assert ranked(scores(*nine))[1].worst > 1


@pytest.mark.evidence
def test_equal_models_are_told_apart_in_at_most_one_board_of_twenty() -> None:
    """Five models of one accuracy: the chance that any rank is narrower than 1 to 5, over 200 drawn boards."""
    drawn = np.random.default_rng(7).random((200, 5, 120)) < 0.6
    boards = [ranked({k: board[k].astype(float) for k in range(5)}) for board in drawn]
    narrow = sum(any((place.best, place.worst) != (1, 5) for place in board.values()) for board in boards)
    assert narrow <= 20, f"{narrow} of 200; at 5 % more than 20 come once in a thousand"


def test_clusters_are_the_unit() -> None:
    values = scores(100, 112)
    one_by_one = difference(values[1] - values[0], np.arange(200), (-1.0, 1.0), 9_999)
    in_fours = difference(values[1] - values[0], np.arange(200) // 4, (-1.0, 1.0), 9_999)
    assert one_by_one.p_value is not None
    assert in_fours.p_value is not None
    assert in_fours.p_value > one_by_one.p_value
    assert in_fours.clusters == 50


def test_a_mean_of_differences_needs_both_models_in_every_benchmark() -> None:
    clusters = np.arange(200)
    first = pairwise(scores(40, 100, 160), clusters, (-1.0, 1.0))
    second = pairwise({0: scores(50)[0], 1: scores(90)[0]}, clusters, (-1.0, 1.0))
    means = mean_differences([first, second], (-1.0, 1.0))
    assert list(means) == [(0, 1)]
    assert means[0, 1].estimate == pytest.approx((-0.3 - 0.2) / 2)


@pytest.mark.parametrize(
    ("measured", "names", "runs"),
    [
        ({"a": {0, 1, 2}, "b": {0, 1, 2}}, ["a", "b"], [0, 1, 2]),
        ({"a": {0, 1, 2}, "b": {0, 1, 2}, "rare": {0}}, ["a", "b"], [0, 1, 2]),
        ({"a": {0, 1, 2, 3}, "b": {0, 1, 2}, "c": {0, 1, 2}}, ["a", "b", "c"], [0, 1, 2]),
        ({"a": {0}, "b": {1}}, ["b"], [1]),
        ({}, [], []),
    ],
)
def test_a_mean_is_over_the_largest_table_without_holes(
    measured: dict[str, set[int]], names: list[str], runs: list[int]
) -> None:
    assert _largest_whole(measured) == (names, runs)


def loaded(label: str, **changes: object) -> LoadedRun:
    """A run of ten samples; `changes` are of its manifest (`protocol`) or of its task (`fingerprint`)."""
    task = {"benchmark": "signs", "fingerprint": "f", "samples": 10, "prompt": "p",
            "views": {"full": {}, "crop": {"region": changes.pop("region", "padded")}}}  # fmt: skip
    of_task = {key: changes.pop(key) for key in ("fingerprint", "prompt", "samples") if key in changes}
    image = changes.pop("image", "image of {}")
    answered = int(str(changes.pop("answered", 10)))
    rows = [
        {"benchmark": "signs", "sample": f"s{n}", "view": view, "repeat": 0, "outcome": "right", "score": 1.0,
         "cluster": "", "image_hash": str(image).format(n), "evidence": "annotated", "evidence_area": 0.1,
         "image_tokens": 1, "seconds": 1.0, "question": "?", "options": [], "answers": ["A"], "answer_type": "text"}
        for n in range(answered) for view in ("full", "crop")
    ]  # fmt: skip
    manifest = {"tasks": {"signs": task | of_task}, **changes}
    return LoadedRun(label, __import__("pathlib").Path(label), manifest, slim(pd.DataFrame(rows)), {})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fingerprint": "g"}, "its samples differ from those of the others"),
        ({"samples": 9, "fingerprint": "g", "answered": 9}, "it has 9 samples where the others have 10"),
        ({"prompt": "q"}, "the prompt differs: 'q' here, 'p' for the others"),
        ({"protocol": "original"}, "the protocol differs: 'original' here, 'neutral' for the others"),
        ({"region": "union"}, "the region policy differs: 'union' here, 'padded' for the others"),
        ({"regions": {"sha256": "abc"}}, "the region file differs: 'abc' here, not set for the others"),
        ({"judge": {"model": "j"}}, "the judge differs"),
        ({"image": "other {}"}, "the image of sample 's0' is not that of one"),
        ({"answered": 8}, "8 of 10 samples are answered in every view; finish the run"),
    ],
)
def test_a_run_that_was_asked_otherwise_is_left_out_with_the_reason(change: dict[str, object], said: str) -> None:
    asked, left_out = group([loaded("one"), loaded("two"), loaded("other", **change)])
    assert [(one.name, [run.label for run, _ in one.members]) for one in asked] == [("signs", ["one", "two"])]
    assert [(entry["run"], entry["benchmark"]) for entry in left_out] == [("other", "signs")]
    assert said in left_out[0]["reason"]


def test_two_runs_that_were_asked_otherwise_are_a_benchmark_of_their_own() -> None:
    runs = [loaded("a"), loaded("b"), loaded("c"), loaded("d", prompt="q"), loaded("e", prompt="q")]
    asked, left_out = group(runs)
    assert [(one.name, len(one.members)) for one in asked] == [("signs", 3), ("signs (2)", 2)]
    assert left_out == []


def test_a_run_that_is_nearly_complete_stays() -> None:
    asked, left_out = group([loaded("one"), loaded("two", answered=9)])
    assert len(asked[0].members) == 2
    assert left_out == []


def test_samples_without_a_box_do_not_make_a_run_unfinished() -> None:
    bare = loaded("two")
    lost = bare.records["sample"].isin(["s0", "s1"]) & (bare.records["view"] == "crop")
    bare.records.loc[lost, "outcome"] = "failed"
    _, left_out = group([loaded("one"), bare])
    assert [one["reason"] for one in left_out] == ["8 of 10 samples are answered in every view; finish the run"]
    bare.records["rule"] = "no-evidence-box"
    assert group([loaded("one"), bare])[1] == []
