"""No fault that hits one view more may look like a gap: what the verdict says when answers are missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gapbench.analysis.faults import wide_bound
from gapbench.analysis.summary import summarise

from .test_summary import TEN, pairs, record, run

CLEAN = (
    "glance answers 100.0% from the crop and 60.0% from the full image: gap +40.0 points [+23.7, +53.2] "
    "(50 samples, 50 clusters), lost in full 40.0% [26.7, 54.1]"
)
SUFFERING: dict[str, tuple[str, dict[str, Any]]] = {
    "too_long": ("f", {"rule": "prompt-too-long"}),
    "failed": ("f", {}),
    "cut_off": ("w", {"cut_off": True}),
    "judge_failed": ("u", {"outcome": "judge_failed"}),
    "unparsed": ("u", {}),
}
"""How a record of each kind looks: the letter of `pairs`, and what else its fields say."""
SAID = {
    "too_long": "40.0% of the full and 0.0% of the crop prompts are longer than the model's context",
    "failed": "40.0% of the full and 0.0% of the crop requests failed",
    "cut_off": "40.0% of the full and 0.0% of the crop answers are cut off",
    "judge_failed": "40.0% of the full and 0.0% of the crop answers got no verdict from the judge",
    "unparsed": "40.0% of the full and 0.0% of the crop answers are unparsed",
}


def suffering(kind: str, full: int, crop: int, others: list[str]) -> list[dict[str, Any]]:
    """`full` pairs suffer from the kind in the full image alone, `crop` pairs in the crop alone; the rest are right."""
    letter, fields = SUFFERING[kind]
    rows = pairs([f"{letter}r"] * full + [f"r{letter}"] * crop + others)
    for row in rows[: 2 * (full + crop)]:
        row |= fields if row["outcome"] != "right" else {}
    return [{"rule": "", "cut_off": False, "thought": "", **row} for row in rows]


def summary_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return summarise(run(*rows), model="glance")


@pytest.mark.parametrize("kind", ["cut_off", "judge_failed", "unparsed"])
def test_a_fault_of_the_full_view_alone_is_no_gap(kind: str) -> None:
    """Whoever counts the 20 missing answers as right finds no gap at all."""
    summary = summary_of(suffering(kind, full=20, crop=0, others=["rr"] * 30))
    assert summary["verdict"] == (
        f"no gap shown: {CLEAN.replace(': gap', ', gap')}, but {SAID[kind]}; "
        "counting the missing answers as right or wrong puts the gap between 0.0 and 40.0 points"
    )
    found = summary["benchmarks"]["signs"]
    assert list(found["faults"]) == [kind]
    assert found["faults"][kind].items() >= {"full": 0.4, "crop": 0.0, "difference": 0.4, "alert": True}.items()
    assert found["faults"][kind]["p_value"] < 1e-4
    assert found["gap"]["bound"] == pytest.approx([0, 0.4])


@pytest.mark.parametrize("kind", ["too_long", "failed"])
def test_pairs_that_failed_in_the_full_view_are_counted_in_the_bound(kind: str) -> None:
    """The 30 pairs left are all gap, but the 20 that failed had the crop right: the gap of all is 60 at least."""
    summary = summary_of(suffering(kind, full=20, crop=0, others=["wr"] * 30))
    assert summary["verdict"].startswith(
        "glance answers 100.0% from the crop and 0.0% from the full image: gap +100.0 points"
    )
    assert summary["verdict"].endswith(
        f", but {SAID[kind]}; counting the missing answers as right or wrong puts the gap between 60.0 and 100.0 points"
    )
    assert summary["benchmarks"]["signs"]["gap"]["n"] == 30


def test_pairs_that_all_failed_are_named_as_the_reason_why_there_is_no_gap() -> None:
    assert summary_of(suffering("too_long", full=5, crop=0, others=[]))["verdict"] == (
        "no gap measured: 100.0% of the full and 0.0% of the crop prompts are longer than the model's context; "
        "glance answers 100.0% in view crop"
    )
    both = [row | {"rule": "prompt-too-long"} for row in pairs(["ff"])]
    assert summary_of(both)["verdict"] == (
        "nothing was answered: 100.0% of the full and 100.0% of the crop prompts are longer than the model's context"
    )


def test_a_benchmark_that_is_left_out_says_what_failed_in_which_view() -> None:
    left_out = [row | {"benchmark": "zoom"} for row in suffering("too_long", full=5, crop=0, others=[])]
    verdict = summary_of([*suffering("unparsed", full=0, crop=0, others=TEN), *left_out])["verdict"]
    assert verdict.endswith(
        "(1 benchmark without a gap left out: 100.0% of the full and 0.0% of the crop prompts are longer than the "
        "model's context)"
    )


def test_a_thought_that_never_ended_is_a_cut_off_answer_not_an_unparsed_one() -> None:
    rows = suffering("unparsed", full=20, crop=0, others=["rr"] * 30)
    cut = [row | {"rule": "thought-cut-off", "cut_off": True} if row["outcome"] == "unparsed" else row for row in rows]
    assert SAID["cut_off"] in summary_of(cut)["verdict"]
    assert "unparsed" not in summary_of(cut)["verdict"]
    view = summary_of(cut)["benchmarks"]["signs"]["views"]["full"]
    assert (view["unparsed"], view["cut_off"], view["thought"]) == (0.4, 0.4, 0.4)


def test_a_cut_off_answer_that_was_read_as_right_counts_as_right() -> None:
    """Short limits cut most answers after the letter: that alone must not void a gap."""
    rows = suffering("cut_off", full=0, crop=0, others=["wr"] * 20 + ["rr"] * 30)
    summary = summary_of([row | {"cut_off": row["outcome"] == "right"} for row in rows])
    assert summary["benchmarks"]["signs"]["gap"]["bound"] == pytest.approx([0.4, 0.4])
    faults = summary["benchmarks"]["signs"]["faults"]["cut_off"]
    assert (faults["full"], faults["crop"], faults["alert"]) == (0.6, 1.0, True)
    assert summary["verdict"].startswith(f"{CLEAN}, but 60.0% of the full and 100.0% of the crop answers are cut off; ")


@pytest.mark.parametrize("kind", SUFFERING)
def test_a_fault_that_hits_both_views_alike_is_no_alert(kind: str) -> None:
    summary = summary_of(suffering(kind, full=8, crop=8, others=["wr"] * 60 + ["rr"] * 40))
    fault = summary["benchmarks"]["signs"]["faults"][kind]
    assert (fault["difference"], fault["p_value"], fault["alert"]) == (0.0, 1.0, False)
    assert "but" not in summary["verdict"]
    assert "gap shown" not in summary["verdict"]


def test_a_large_share_that_hits_both_views_alike_still_bounds_the_gap() -> None:
    """Half of all answers are unparsed: 60 pairs in each view; 40 of the 200 others are gap."""
    summary = summary_of(suffering("unparsed", full=60, crop=60, others=["wr"] * 40 + ["rr"] * 40))
    assert summary["verdict"].startswith(
        "glance answers 70.0% from the crop and 50.0% from the full image: gap +20.0 points"
    )
    assert summary["verdict"].endswith(
        "]; 30.0% of the full and 30.0% of the crop answers are unparsed; "
        "counting the missing answers as right or wrong puts the gap between -10.0 and 50.0 points"
    )


def test_a_clean_gap_is_stated_as_ever() -> None:
    summary = summary_of(suffering("cut_off", full=0, crop=0, others=["wr"] * 20 + ["rr"] * 30))
    assert summary["verdict"] == CLEAN
    assert summary["benchmarks"]["signs"]["faults"] == {}
    assert summary["benchmarks"]["signs"]["gap"]["bound"] == pytest.approx([0.4, 0.4])


def test_a_handful_of_faults_that_are_the_whole_gap_is_an_alert_without_being_significant() -> None:
    """All samples show one image, so no difference can be significant; here two kinds make the gap together."""
    rows = suffering("unparsed", full=3, crop=0, others=["wr"] * 2)
    rows = [row | {"cluster": "one", "cut_off": row["outcome"] == "wrong"} for row in rows]
    summary = summary_of(rows)
    faults = summary["benchmarks"]["signs"]["faults"]
    assert {kind: (fault["p_value"], fault["alert"]) for kind, fault in faults.items()} == {
        "cut_off": (1.0, True), "unparsed": (1.0, True),
    }  # fmt: skip
    assert summary["verdict"].startswith(
        "no gap shown: glance answers 100.0% from the crop and 0.0% from the full image"
    )
    assert "60.0% of the full and 0.0% of the crop answers are unparsed, and 40.0%" in summary["verdict"]


def test_repeats_are_averaged_and_samples_asked_in_one_view_are_in_no_bound() -> None:
    """Sample a: full right and failed, crop wrong -> least 0 - 1, most 0 - 0.5. Sample b is unpaired."""
    rows = [
        record("a", "full"), record("a", "full", "failed", repeat=1), record("a", "crop", "wrong"), record("b", "full"),
    ]  # fmt: skip
    found = summary_of(rows)["benchmarks"]["signs"]
    assert found["gap"]["bound"] == [-1.0, -0.5]
    assert (found["faults"]["failed"]["full"], found["faults"]["failed"]["crop"]) == (0.5, 0.0)


def test_all_kinds_and_benchmarks_are_corrected_together() -> None:
    """Six faults against none have p = 2 / 2**6: an alert alone, none beside a second such test. No gap is shown."""
    six = suffering("unparsed", full=6, crop=0, others=["rw"] * 10 + ["rr"] * 30)
    other = suffering("failed", full=6, crop=0, others=["rw"] * 10 + ["rr"] * 30)
    alone = summary_of(six)["benchmarks"]["signs"]["faults"]["unparsed"]
    assert (alone["p_value"], alone["alert"]) == (pytest.approx(2**-5), True)
    together = summary_of([*six, *(row | {"benchmark": "zoom"} for row in other)])["benchmarks"]
    for fault in (together["signs"]["faults"]["unparsed"], together["zoom"]["faults"]["failed"]):
        assert (fault["p_value_holm"], fault["alert"]) == (pytest.approx(2**-4), False)


def test_the_bound_of_a_mean_is_the_mean_of_the_bounds_and_shares_are_means_too() -> None:
    rows = suffering("unparsed", full=20, crop=0, others=["rr"] * 30)
    clean = [row | {"benchmark": "zoom"} for row in pairs(["wr"] * 20 + ["rr"] * 30)]
    summary = summary_of([*rows, *clean])
    assert summary["macro"]["gap"]["bound"] == pytest.approx([0.2, 0.4])
    assert summary["verdict"].endswith(
        ", but 20.0% of the full and 0.0% of the crop answers are unparsed; "
        "counting the missing answers as right or wrong puts the gap between 20.0 and 40.0 points"
    )


def test_the_two_faults_that_differ_most_are_named() -> None:
    """Twelve unparsed and 16 failed answers in the full image, and ten that are cut off; all are significant."""
    rows = suffering("unparsed", full=12, crop=0, others=["fr"] * 16 + ["wr"] * 10 + ["rr"] * 12)
    summary = summary_of([row | {"cut_off": row["outcome"] == "wrong"} for row in rows])
    assert all(fault["alert"] for fault in summary["benchmarks"]["signs"]["faults"].values())
    assert (
        "but 32.0% of the full and 0.0% of the crop requests failed, and "
        "24.0% of the full and 0.0% of the crop answers are unparsed; counting"
    ) in summary["verdict"]


def test_records_without_the_newer_columns_say_nothing_of_them() -> None:
    found = summary_of(pairs(TEN))["benchmarks"]["signs"]
    view = found["views"]["full"]
    assert (view["cut_off"], view["thought"], view["too_long"]) == (None, None, None)


@pytest.mark.parametrize(
    ("gap", "wide"),
    [
        ({"ci": [0.1, 0.3], "bound": [0.15, 0.25]}, False),
        ({"ci": [0.1, 0.3], "bound": [0.05, 0.25]}, True),
        ({"ci": [0.1, 0.3], "bound": [0.15, 0.35]}, True),
        ({"ci": None, "bound": [0.2, 0.2]}, False),
        ({"ci": None, "bound": [0.1, 0.2]}, True),
        ({"ci": [0.1, 0.3]}, False),
        (None, False),
    ],
)
def test_a_bound_matters_where_it_goes_beyond_the_interval(gap: Mapping[str, Any] | None, wide: bool) -> None:
    assert bool(wide_bound(gap)) == wide


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("images", "gap", "extra", "expected"),
    [(120, 0.0, 0.0, (0, 0.05)), (120, 0.15, 0.0, (0, 0.05)), (30, 0.15, 0.0, (0, 0.05)), (120, 0.0, 0.1, (0.6, 1))],
)
def test_equal_shares_raise_an_alert_in_at_most_five_percent_of_runs(
    images: int, gap: float, extra: float, expected: tuple[float, float]
) -> None:
    """300 runs of two questions an image, which share their luck; 18.0% of the answers in both views have a fault.

    The control: `extra` of the answers, wrong otherwise, are cut off in the full image alone.
    Measured with this seed: 4.7, 3.3 and 1.3% of the runs; the control 72.0%.
    """
    rng, alerts = np.random.default_rng(20), 0
    outcomes = np.array(["right", "failed", "unparsed", "wrong", "wrong"])
    keys = {"benchmark": "signs", "sample": np.arange(2 * images), "cluster": np.arange(2 * images) // 2, "repeat": 0}
    for _ in range(300):
        views = []
        for view, right, cut in (("full", 0.5, 0.06 + extra), ("crop", 0.5 + gap, 0.06)):
            common, own = rng.random((images, 1)), rng.random((images, 2))
            luck = np.where(rng.random(own.shape) < 0.6, common, own).ravel()
            place = np.searchsorted(np.cumsum([right, 0.06, 0.06, cut]), luck)
            fields = {"view": view, "outcome": outcomes[place], "cut_off": place == 3}
            views.append(pd.DataFrame({**keys, **fields, "score": np.where(place == 1, np.nan, place == 0)}))
        faults = summarise(pd.concat(views))["benchmarks"]["signs"]["faults"]
        alerts += any(fault["alert"] for fault in faults.values())
    assert expected[0] <= alerts / 300 <= expected[1]


def test_a_sample_without_a_box_is_no_fault_and_nothing_that_the_gap_lacks() -> None:
    """It cannot have a crop, so it says nothing of the gap, and no retry helps."""
    bare = pairs(["rf"] * 10, rule="no-evidence-box")
    for row in bare:
        row |= {"sample": f"bare {row['sample']}", "cluster": "", "image_hash": f"bare {row['sample']}"}
        row["rule"] = "no-evidence-box" if row["outcome"] == "failed" else ""
    rest = [{"rule": "", **row} for row in pairs(["wr"] * 8 + ["rr"] * 12)]
    summary, without = (summary_of(rows)["benchmarks"]["signs"] for rows in ([*rest, *bare], rest))
    assert (summary["n"], summary["without_evidence"], summary["gap"]["n"]) == (30, 10, 20)
    assert "without_evidence" not in without
    assert summary["gap"] == without["gap"], "estimate, interval, bound and what is dropped"
    assert (summary["faults"], summary["gap"]["dropped"]) == ({}, 0)
    assert (summary["views"]["crop"]["failed"], summary["views"]["crop"]["records"]) == (0.0, 30)
    assert summary["views"]["full"]["n"] == 30
    others = [{**row, "rule": ""} for row in bare]
    assert summary_of([*rest, *others])["benchmarks"]["signs"]["gap"]["dropped"] == 10, "any other failure is one"
