"""Named metrics against numbers computed by hand and against an independent plain implementation."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapbench.analysis.metrics import METRICS, change, measure, names_of, rows_of
from gapbench.analysis.statistics import mean_interval, merge_clusters
from gapbench.analysis.summary import summarise
from gapbench.errors import RunError
from gapbench.types import METRIC_NAMES

Row = Mapping[str, Any]


def record(sample: str, score: float | None, view: str = "full", **given: Any) -> dict[str, Any]:
    """An answer of `score`, or one that failed for None."""
    return {
        "benchmark": "b", "sample": sample, "view": view, "repeat": 0, "score": score,
        "outcome": "failed" if score is None else "right", "category": "", "cluster": sample, "image_hash": "",
        "answer_type": "letter", "answers": ["A"], "parsed": None, **given,
    }  # fmt: skip


def yes_no(sample: str, truth: str, said: str | None, view: str = "full", **given: Any) -> dict[str, Any]:
    """A yes-or-no answer; `said` None is unparsed, "failed" is none."""
    score = None if said == "failed" else float(said == truth)
    parsed = None if said == "failed" else said
    return record(sample, score, view, answer_type="yes_no", answers=[truth], parsed=parsed, **given)


def rows(*records: Row) -> dict[str, pd.DataFrame]:
    """`rows_of` as the summary calls it."""
    frame = pd.DataFrame(list(records))
    first = frame.groupby("sample").first()
    samples = pd.DataFrame(
        {
            "cluster": merge_clusters(list(first["cluster"]), list(first["image_hash"])),
            "category": first["category"],
            "declared": first["cluster"],
            "image_hash": first["image_hash"],
        },
        index=first.index,
    )
    return rows_of(frame, samples)


def value(name: str, records: Iterable[Row], view: str = "full") -> float | None:
    return measure(name, rows(*records)[view]).estimate.estimate


def categorised(**categories: str) -> list[dict[str, Any]]:
    """categorised(a="110", b="1") -> four samples, three of category a (a__x is a/x); f is a failed one."""
    return [
        record(f"{name}-{i}", None if letter == "f" else float(letter), category=name.replace("__", "/"))
        for name, letters in categories.items()
        for i, letter in enumerate(letters)
    ]


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_the_category_mean_weighs_every_first_level_alike() -> None:
    """2D: 3 of 4 right, in two second levels; 3D: 1 of 2; the accuracy would be 4 / 6."""
    records = categorised(D2__count="111", D2__relation="0", D3="10")
    assert value("category_mean", records) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert value("accuracy", records) == pytest.approx(4 / 6)


def test_the_nested_mean_is_half_of_the_mean_of_ade20k_and_coco_plus_half_of_omni3d() -> None:
    records = categorised(D2__ADE20K="1100", D2__COCO="1", D3__Omni3D="1000")
    assert value("nested_mean", records) == pytest.approx(((0.5 + 1.0) / 2 + 0.25) / 2)


def test_cluster_accuracy_counts_pairs_and_orders_of_which_every_sample_is_right() -> None:
    """Four orders of two questions, one of them wrong once; a pair with a soft score of a half on each side."""
    records = [record(f"a{i}", 1.0, cluster="a") for i in range(4)]
    records += [record(f"b{i}", float(i != 2), cluster="b") for i in range(4)]
    records += [record("c0", 1.0, cluster="c"), record("c1", 0.5, cluster="c")]
    found = measure("cluster_accuracy", rows(*records)["full"])
    assert (found.estimate.estimate, found.estimate.n, found.left_out) == (pytest.approx(2 / 3), 3, 0)


def test_without_a_declared_cluster_the_image_is_one() -> None:
    records = [record("a", 1.0, cluster="", image_hash="x"), record("b", 0.0, cluster="", image_hash="x")]
    records += [record("c", 1.0, cluster="", image_hash=""), record("d", 1.0, cluster="", image_hash="")]
    found = measure("cluster_accuracy", rows(*records)["full"]).estimate
    assert (found.estimate, found.n) == (pytest.approx(2 / 3), 3)


def test_the_f1_of_yes_and_the_yes_ratio_of_pope_by_hand() -> None:
    """3 TP, 1 FP, 2 TN, 2 FN: precision 3 / 4, recall 3 / 5, F1 2 / 3; yes was said 4 times of 8."""
    said = [("yes", "yes")] * 3 + [("no", "yes")] + [("no", "no")] * 2 + [("yes", "no")] * 2
    records = [yes_no(str(i), truth, answer) for i, (truth, answer) in enumerate(said)]
    assert value("yes_f1", records) == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))
    assert value("yes_ratio", records) == 0.5
    assert value("accuracy", records) == 5 / 8


def test_an_unparsed_answer_is_no_yes_so_it_misses_an_object_that_is_there_and_invents_none() -> None:
    """1 TP, 1 FN (unparsed), 1 TN (unparsed, which scores 0 all the same)."""
    records = [yes_no("a", "yes", "yes"), yes_no("b", "yes", None), yes_no("c", "no", None)]
    assert value("yes_f1", records) == pytest.approx(2 / 3)
    assert value("yes_ratio", records) == pytest.approx(1 / 3)
    assert value("accuracy", records) == pytest.approx(1 / 3)


def test_where_no_yes_was_asked_or_given_the_f1_is_undefined_and_without_a_hit_it_is_zero() -> None:
    assert value("yes_f1", [yes_no("a", "no", "no"), yes_no("b", "no", None)]) is None
    assert value("yes_f1", [yes_no("a", "no", "yes"), yes_no("b", "no", "no")]) == 0
    assert value("yes_f1", [yes_no("a", "yes", "no"), yes_no("b", "yes", None)]) == 0


def test_the_published_forms_of_the_truth_are_read() -> None:
    records = [yes_no("a", "Yes", "yes"), yes_no("b", "是", "yes"), yes_no("c", "NO.", "no"), yes_no("d", "n", "yes")]
    assert value("yes_f1", records) == pytest.approx(4 / 5)


def test_questions_that_ask_no_yes_or_no_are_in_neither_of_the_two() -> None:
    records = [yes_no("a", "yes", "yes"), record("b", 1.0, parsed="yes")]
    found = measure("yes_ratio", rows(*records)["full"])
    assert (found.estimate.n, found.left_out) == (1, 0)
    none = measure("yes_f1", rows(record("b", 1.0))["full"]).estimate
    assert (none.estimate, none.n) == (None, 0)


def test_repeats_are_averaged_first() -> None:
    """Truth yes, said yes in one of two repeats: 2 * 0.5 / (0.5 + 1); a failed repeat counts for nothing."""
    records = [yes_no("a", "yes", "yes"), yes_no("a", "yes", "no", repeat=1), yes_no("a", "yes", "failed", repeat=2)]
    assert value("yes_f1", records) == pytest.approx(2 / 3)
    assert value("yes_ratio", records) == 0.5
    soft = [record("a", 1.0, cluster="p"), record("a", 0.0, cluster="p", repeat=1), record("b", 1.0, cluster="p")]
    assert value("cluster_accuracy", soft) == 1.0, "a mean of a half counts as right, as everywhere"


def test_failed_samples_are_left_out_and_counted() -> None:
    records = categorised(a="11f", b="0")
    for name in ("accuracy", "category_mean", "nested_mean"):
        assert measure(name, rows(*records)["full"]).left_out == 1
    assert value("category_mean", records) == 0.5
    pairs = [record("a", 1.0, cluster="p"), record("b", None, cluster="p"), record("c", 1.0), record("d", 0.0)]
    found = measure("cluster_accuracy", rows(*pairs)["full"])
    assert (found.estimate.estimate, found.left_out) == (0.5, 1), "of a pair with one answer nothing is known"


def test_a_category_of_which_nothing_was_answered_leaves_the_mean_undefined() -> None:
    records = categorised(a="11", b="ff")
    assert value("category_mean", records) is None
    assert value("nested_mean", records) is None
    assert value("accuracy", records) == 1.0


def test_a_category_of_one_image_leaves_the_mean_without_an_interval() -> None:
    found = measure("category_mean", rows(*categorised(a="1100", b="1"))["full"]).estimate
    assert (found.estimate, found.ci) == (pytest.approx(0.75), None)


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RunError, match=r"no metric 'acuracy'. Known are accuracy, category_mean"):
        measure("acuracy", rows(record("a", 1.0))["full"])


# --- the change ------------------------------------------------------------------------------------------------------


def test_a_change_is_paired_over_samples_answered_in_both() -> None:
    """b failed in the crop, so its full answer is in no number of the change."""
    records = [
        record(s, score, view, category=c)
        for s, c, full, crop in (
            ("a", "x", 0.0, 1.0),
            ("b", "x", 1.0, None),
            ("c", "y", 1.0, 1.0),
            ("d", "y", 0.0, 1.0),
        )
        for view, score in (("full", full), ("crop", crop))
    ]
    both = rows(*records)
    assert change("accuracy", both["full"], both["crop"]).estimate.estimate == pytest.approx(2 / 3)
    mean = change("category_mean", both["full"], both["crop"])
    assert (mean.estimate.estimate, mean.left_out) == (pytest.approx((1 + 0.5) / 2), 1)


def test_a_change_of_f1_is_the_difference_of_the_two() -> None:
    truths = ["yes", "no"] * 20
    before = [yes_no(str(i), t, "yes" if i < 20 else "no") for i, t in enumerate(truths)]
    after = [yes_no(str(i), t, t if i < 30 else "no") for i, t in enumerate(truths)]
    one, other = rows(*before)["full"], rows(*after)["full"]
    found = change("yes_f1", one, other).estimate
    expected = [measure("yes_f1", side).estimate.estimate for side in (one, other)]
    assert None not in expected
    assert found.estimate == pytest.approx(expected[1] - expected[0])  # type: ignore[operator]
    assert found.ci is not None
    assert found.ci[0] < found.estimate < found.ci[1]
    unmoved = change("yes_f1", one, one).estimate.ci
    assert unmoved is not None
    assert unmoved[1] - unmoved[0] > 0.1, "nothing moved: an interval of no width would be a lie"


# --- against a plain implementation ----------------------------------------------------------------------------------


def plain(name: str, records: Sequence[Row]) -> float | None:
    """The metrics once more, as loops over the definition. One repeat, every answer given."""
    if name == "accuracy":
        return math.fsum(r["score"] for r in records) / len(records)
    if name in ("category_mean", "nested_mean"):
        tree: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for r in records:
            first, _, second = r["category"].partition("/")
            tree[first][second if name == "nested_mean" else ""].append(r["score"])
        outer = [
            math.fsum(math.fsum(leaf) / len(leaf) for leaf in inner.values()) / len(inner) for inner in tree.values()
        ]
        return math.fsum(outer) / len(outer)
    if name == "cluster_accuracy":
        groups: dict[str, list[float]] = defaultdict(list)
        for r in records:
            groups[r["cluster"]].append(r["score"])
        return sum(all(s >= 0.5 for s in group) for group in groups.values()) / len(groups)
    hits = sum(r["answers"] == ["yes"] and r["parsed"] == "yes" for r in records)
    said, there = (
        sum(test(r) for r in records) for test in (lambda r: r["parsed"] == "yes", lambda r: r["answers"] == ["yes"])
    )
    if name == "yes_ratio":
        return said / len(records)
    if not said and not there:
        return None
    precision, recall = (hits / said if said else 0.0), (hits / there if there else 0.0)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from(["yes", "no"]),
        st.sampled_from(["yes", "no", None]),
        st.sampled_from(["2D/ADE20K", "2D/COCO", "3D/Omni3D", "3D", "x/y/z", ""]),
        st.sampled_from(["p", "q", "r", "s"]),
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=80, deadline=None)
@given(answers=ANSWERS)
def test_every_metric_is_what_its_definition_says(name: str, answers: list[tuple[str, str | None, str, str]]) -> None:
    records = [
        yes_no(f"{i:02d}", truth, said, category=category, cluster=cluster)
        for i, (truth, said, category, cluster) in enumerate(answers)
    ]
    found = measure(name, rows(*records)["full"]).estimate
    expected = plain(name, records)
    assert found.estimate == (None if expected is None else pytest.approx(expected, abs=1e-12))
    if found.ci is not None and found.estimate is not None:
        assert 0 <= found.ci[0] <= found.estimate + 1e-12
        assert found.estimate - 1e-12 <= found.ci[1] <= 1


@settings(max_examples=60, deadline=None)
@given(answers=ANSWERS, seed=st.integers(0, 99))
def test_a_change_is_the_difference_of_two_levels(answers: list[tuple[str, str | None, str, str]], seed: int) -> None:
    chance = np.random.default_rng(seed)
    sides = [
        [
            yes_no(f"{i:02d}", truth, (said, "yes", "no", None)[keep], category=category, cluster=cluster)
            for (i, (truth, said, category, cluster)), keep in zip(enumerate(answers), keeps, strict=True)
        ]
        for keeps in (np.zeros(len(answers), int), chance.integers(0, 4, len(answers)))
    ]
    before, after = (rows(*side)["full"] for side in sides)
    for name in METRICS:
        levels = [plain(name, side) for side in sides]
        expected = None if None in levels else levels[1] - levels[0]  # type: ignore[operator]
        found = change(name, before, after).estimate.estimate
        assert found == (None if expected is None else pytest.approx(expected, abs=1e-12)), name


def test_the_interval_of_the_accuracy_is_that_of_the_statistics_module() -> None:
    records = [record(str(i), float(i % 3 == 0), cluster=str(i // 2)) for i in range(60)]
    found = measure("accuracy", rows(*records)["full"]).estimate
    expected = mean_interval([float(i % 3 == 0) for i in range(60)], [i // 2 for i in range(60)])
    assert (found.ci, found.method) == (pytest.approx(expected.ci), expected.method)


# --- names, and size -------------------------------------------------------------------------------------------------


def test_a_protocols_metric_is_the_headline_and_the_cards_follow() -> None:
    entry = {"card": {"metrics": ["yes_f1", "accuracy"], "protocols": {"original": {"metric": "category_mean"}}}}
    assert names_of(entry, "original") == ("category_mean", "accuracy", "yes_f1")
    assert names_of(entry, "neutral") == ("accuracy", "yes_f1")
    assert names_of({}, "") == ("accuracy",)


@pytest.mark.parametrize(
    ("count", "images", "names"),
    [(9_000, 500, ("accuracy", "yes_f1", "yes_ratio")), (23_609, 13_366, ("nested_mean", "accuracy", "category_mean"))],
)
def test_pope_and_mme_realworld_take_seconds(count: int, images: int, names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    right, number = rng.random(count) < 0.8, np.arange(count)
    truth = np.where(rng.random(count) < 0.5, "yes", "no")
    frame = pd.DataFrame(
        {
            "benchmark": "big", "sample": number.astype(str), "view": "full", "repeat": 0,
            "outcome": np.where(right, "right", "wrong"), "score": right.astype(float), "answer_type": "yes_no",
            "parsed": np.where(right, truth, np.where(truth == "yes", "no", "yes")),
            "cluster": (number % images).astype(str), "answers": [[t] for t in truth],
            "category": [f"{'Perception' if i % 3 else 'Reasoning'}/{i % 43}" for i in number],
        }
    )  # fmt: skip
    began = time.perf_counter()
    found = summarise(frame, named={"big": names})["benchmarks"]["big"]
    assert time.perf_counter() - began < 10
    assert list(found["metrics"]) == list(names)
    for name in names:
        low, high = found["metrics"][name]["full"]["ci"]
        assert 0.005 < high - low < 0.05


def test_every_metric_that_a_card_may_name_is_computed() -> None:
    assert set(METRIC_NAMES) == set(METRICS)
