"""What a summary says about hand-made records, computed by hand."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gapbench.analysis.statistics import is_shown, mean_difference, mean_interval, paired_gap
from gapbench.analysis.summary import MEANS, summarise
from gapbench.analysis.verdict import dissent
from gapbench.errors import RunError
from gapbench.runs.records import COLUMNS
from gapbench.util.text import points_in_words


def record(sample: str, view: str, outcome: str = "right", **given: Any) -> dict[str, Any]:
    score = {"right": 1.0, "wrong": 0.0, "unparsed": 0.0, "failed": None}[outcome]
    return {
        "benchmark": "signs",
        "sample": sample,
        "view": view,
        "repeat": 0,
        "outcome": outcome,
        "score": score,
        "category": "",
        "cluster": sample,
        "image_hash": f"hash of {sample}",
        "evidence_area": None,
        "image_tokens": 256,
        "output_tokens": 4,
        "seconds": 0.5,
        "images": 1,
        "sent_pixels": 5000,
        **given,
    }


def run(*records: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(records))


def pairs(outcomes: Iterable[str], **given: Any) -> list[dict[str, Any]]:
    """One pair per two letters, full then crop: "wr" is wrong in the full image and right in the crop."""
    name = {"r": "right", "w": "wrong", "u": "unparsed", "f": "failed"}
    return [
        record(f"s{i:03d}", view, name[letter], **given)
        for i, pair in enumerate(outcomes)
        for view, letter in zip(("full", "crop"), pair, strict=True)
    ]


TEN = ["rr"] * 3 + ["wr"] * 4 + ["rw"] + ["ww"] * 2
"""Full 4 of 10 right, crop 7 of 10, gap 0.3."""


def test_the_headline_numbers_by_hand() -> None:
    found = summarise(run(*pairs(TEN)), model="glance")["benchmarks"]["signs"]
    assert (found["n"], found["clusters"], found["records"]) == (10, 10, 20)
    assert found["views"]["full"]["accuracy"] == pytest.approx(0.4)
    assert found["views"]["crop"]["accuracy"] == pytest.approx(0.7)
    assert found["pairs"] == {"both": 3, "crop_only": 4, "full_only": 1, "neither": 2}
    gap = found["gap"]
    assert gap["estimate"] == pytest.approx(0.3)
    assert (gap["n"], gap["clusters"], gap["dropped"], gap["unpaired"]) == (10, 10, 0, 0)
    assert (gap["full"], gap["crop"]) == pytest.approx((0.4, 0.7))
    # Exact McNemar on 4 against 1; the sample standard deviation of four 1, one -1, five 0 over sqrt(10).
    assert gap["p_value"] == pytest.approx(stats.binomtest(4, 5).pvalue)
    assert gap["p_value_holm"] == gap["p_value"]
    assert gap["se"] == pytest.approx(math.sqrt((5 - 10 * 0.09) / 9 / 10), rel=0.15)  # the pseudo-clusters
    assert (gap["effective"], gap["df"]) == (pytest.approx(10), pytest.approx(9))


def test_lost_in_full_is_the_share_of_the_samples_right_in_the_crop_that_are_wrong_in_full() -> None:
    found = summarise(run(*pairs(TEN, category="text", evidence_area=0.1)))["benchmarks"]["signs"]
    lost = found["lost_in_full"]
    assert (lost["estimate"], lost["n"], lost["clusters"]) == (pytest.approx(4 / 7), 7, 7)
    expected = mean_interval([0] * 3 + [1] * 4, range(7))
    assert (lost["ci"], lost["method"]) == (pytest.approx(expected.ci), expected.method)
    for group in (found["by_category"]["text"], *found["by_evidence_area"]):
        assert group["lost_in_full"] == {"estimate": lost["estimate"], "ci": lost["ci"], "n": 7}


def test_lost_in_full_has_no_ceiling_at_the_crop_accuracy() -> None:
    weak, strong = ["wr"] * 4 + ["ww"] * 6, ["wr"] * 4 + ["rr"] * 6
    found = summarise(run(*pairs(weak, benchmark="weak"), *pairs(strong, benchmark="strong")))["benchmarks"]
    assert [found[name]["gap"]["estimate"] for name in ("weak", "strong")] == pytest.approx([0.4, 0.4])
    assert [found[name]["lost_in_full"]["estimate"] for name in ("weak", "strong")] == pytest.approx([1.0, 0.4])


def test_nothing_is_lost_in_full_where_nothing_is_right_in_the_crop() -> None:
    found = summarise(run(*pairs(["ww", "rw"], category="text"), *pairs(["rf", "wf"], benchmark="unpaired")))
    assert found["benchmarks"]["signs"]["gap"]["estimate"] == -0.5
    assert found["benchmarks"]["signs"]["lost_in_full"] is None
    assert found["benchmarks"]["signs"]["by_category"]["text"]["lost_in_full"] is None
    assert found["benchmarks"]["unpaired"]["lost_in_full"] is None
    assert found["macro"]["lost_in_full"] is None


def test_lost_in_full_counts_a_mean_score_of_a_half_as_right_and_samples_of_one_image_as_one_cluster() -> None:
    halves = [record("soft", "full", score=0.4), record("soft", "crop", score=0.5)]
    shared = pairs(["wr", "rr", "wr"], cluster="one")
    lost = summarise(run(*halves, *shared))["benchmarks"]["signs"]["lost_in_full"]
    assert (lost["estimate"], lost["n"], lost["clusters"]) == (0.75, 4, 2)


def test_the_mean_of_what_is_lost_in_full_is_over_benchmarks_and_per_kind_of_evidence() -> None:
    rows = [*pairs(TEN), *pairs(["rr"] * 3 + ["wr"], benchmark="b"), *pairs(["ww"] * 4, benchmark="blind"),
            *pairs(["wr"] * 2 + ["rr"] * 2, benchmark="located", evidence="model")]  # fmt: skip
    found = summarise(run(*rows))
    mean = found["macro"]["lost_in_full"]
    assert (mean["estimate"], mean["benchmarks"]) == (pytest.approx((4 / 7 + 1 / 4) / 2), 2), "blind has none"
    assert found["macro_model"]["lost_in_full"]["estimate"] == 0.5
    assert found["macro"]["gap"]["benchmarks"] == 3


def test_the_interval_is_the_one_of_the_statistics_module() -> None:
    found = summarise(run(*pairs(TEN)))["benchmarks"]["signs"]
    full, crop = (np.array([p[side] == "r" for p in TEN], float) for side in (0, 1))
    assert found["gap"]["ci"] == pytest.approx(paired_gap(full, crop, range(10)).ci)
    assert found["views"]["full"]["ci"] == pytest.approx(mean_interval(full, range(10)).ci)


def test_failed_records_are_dropped_from_pairs_counted_and_shown() -> None:
    """Sample 0 failed in the crop, sample 1 in both, 2 and 3 were answered twice."""
    found = summarise(run(*pairs(["rf", "ff", "wr", "rr"])))["benchmarks"]["signs"]
    assert (found["gap"]["n"], found["gap"]["dropped"]) == (2, 2)
    assert found["gap"]["estimate"] == 0.5
    full, crop = found["views"]["full"], found["views"]["crop"]
    assert (full["n"], full["failed"], full["accuracy"]) == (3, 0.25, pytest.approx(2 / 3))
    assert (crop["n"], crop["failed"], crop["accuracy"]) == (2, 0.5, 1.0)


def test_unparsed_answers_score_zero_and_their_rate_is_among_answers() -> None:
    view = summarise(run(*pairs(["ur", "rr", "wr", "fr"])))["benchmarks"]["signs"]["views"]["full"]
    assert view["accuracy"] == pytest.approx(1 / 3)
    assert (view["unparsed"], view["failed"]) == (pytest.approx(1 / 3), 0.25)


def test_a_sample_asked_in_one_view_only_is_unpaired_not_dropped() -> None:
    found = summarise(run(*pairs(TEN), record("late", "full")))["benchmarks"]["signs"]["gap"]
    assert (found["n"], found["dropped"], found["unpaired"]) == (10, 0, 1)


def test_repeats_are_averaged_and_their_disagreement_is_the_noise_floor() -> None:
    """Sample a, full: right, wrong, failed -> 0.5, counted as right. Sample b: always wrong in full."""
    found = summarise(
        run(
            record("a", "full", "right"),
            record("a", "full", "wrong", repeat=1),
            record("a", "full", "failed", repeat=2),
            record("b", "full", "wrong"),
            record("b", "full", "wrong", repeat=1),
            record("a", "crop"),
            record("b", "crop"),
        )
    )["benchmarks"]["signs"]
    assert found["views"]["full"]["accuracy"] == 0.25
    assert found["views"]["full"]["flip_rate"] == 0.5
    assert found["views"]["crop"]["flip_rate"] is None
    assert found["gap"]["estimate"] == 0.75
    assert found["pairs"] == {"both": 1, "crop_only": 1, "full_only": 0, "neither": 0}


def test_soft_scores_count_as_right_from_one_half() -> None:
    found = summarise(
        run(record("a", "full", score=0.3), record("a", "crop", score=0.6), record("b", "full"), record("b", "crop"))
    )["benchmarks"]["signs"]
    assert found["gap"]["estimate"] == pytest.approx(0.15)
    assert found["pairs"] == {"both": 1, "crop_only": 1, "full_only": 0, "neither": 0}


def test_samples_sharing_an_image_or_a_declared_cluster_are_one_cluster() -> None:
    """a and b share an image, b and c a cluster, d has neither key; its crop record knows nothing of the image."""
    keys = {"a": ("x", "h1"), "b": ("y", "h1"), "c": ("y", "h2"), "d": ("", "")}
    rows = [record(s, "full", cluster=c, image_hash=h) for s, (c, h) in keys.items()]
    rows += [record(s, "crop", "failed" if s == "d" else "right", cluster="", image_hash="") for s in keys]
    found = summarise(run(*rows))["benchmarks"]["signs"]
    assert found["clusters"] == 2
    assert (found["gap"]["n"], found["gap"]["clusters"]) == (3, 1)


def test_token_and_pixel_means_are_over_answers_that_have_them() -> None:
    rows = pairs(["rr", "rr", "fr"])
    rows[0] |= {"image_tokens": None, "sent_pixels": 200, "images": 2}
    rows[4] |= {"image_tokens": 9999, "sent_pixels": None, "seconds": None}
    view = summarise(run(*rows))["benchmarks"]["signs"]["views"]["full"]
    assert (view["image_tokens_mean"], view["output_tokens_mean"]) == (256, 4)
    assert "seconds_mean" not in view, "a resumed run must end with the summary of an uninterrupted one"
    assert (view["sent_pixels_mean"], view["images_mean"]) == ((200 + 5000) / 2, 1.5)


def test_categories_by_hand() -> None:
    rows = pairs(TEN)
    for i, row in enumerate(rows):
        row["category"] = "colour" if i < 14 else "" if i < 16 else "text"
    found = summarise(run(*rows))["benchmarks"]["signs"]["by_category"]
    assert list(found) == ["colour", "text"]
    assert (found["colour"]["n"], found["text"]["n"]) == (7, 2)
    assert found["colour"]["full"]["estimate"] == pytest.approx(3 / 7)
    assert found["colour"]["crop"]["estimate"] == 1
    assert found["colour"]["gap"]["estimate"] == pytest.approx(4 / 7)
    assert found["colour"]["gap"]["p_value"] == 0.125
    assert found["text"]["gap"]["estimate"] == 0
    assert all(row["exploratory"] for row in found.values())


def test_evidence_areas_fall_into_six_even_bins_and_areas_of_none_into_no_bin() -> None:
    rows = [
        record(f"s{i:02d}", view, "right" if view == "crop" or i < 6 else "wrong", evidence_area=i / 100 or None)
        for i in range(13)
        for view in ("full", "crop")
    ]
    bins = summarise(run(*rows))["benchmarks"]["signs"]["by_evidence_area"]
    assert [b["n"] for b in bins] == [2] * 6
    assert (bins[0]["from"], bins[-1]["to"]) == (0.01, 0.12)
    assert [a["to"] for a in bins[:-1]] == [b["from"] for b in bins[1:]]
    assert [b["gap"]["estimate"] for b in bins] == [0, 0, 0.5, 1, 1, 1]


def test_equal_evidence_areas_make_one_bin() -> None:
    bins = summarise(run(*pairs(TEN, evidence_area=0.02)))["benchmarks"]["signs"]["by_evidence_area"]
    assert [(b["from"], b["to"], b["n"]) for b in bins] == [(0.02, 0.02, 10)]


def test_other_views_are_summarised_beside_the_headline_pair() -> None:
    found = summarise(run(*pairs(TEN), record("s000", "blur", "wrong"), record("s001", "blur")))
    assert found["views"] == ["full", "crop", "blur"]
    assert found["benchmarks"]["signs"]["views"]["blur"]["accuracy"] == 0.5
    assert found["benchmarks"]["signs"]["gap"]["unpaired"] == 0


def test_several_benchmarks_are_averaged_without_weights_and_corrected_by_holm() -> None:
    """Gap 1 over 8 samples (p = 2 / 2**8), gap 0.25 over 40 (10 wins, p = 2 / 2**10), one with the crop missing."""
    summary = summarise(
        run(
            *pairs(["wr"] * 8, benchmark="small"),
            *pairs(["wr"] * 10 + ["rr"] * 30, benchmark="large"),
            record("s", "full", benchmark="half"),
        ),
        model="glance",
    )
    assert list(summary["benchmarks"]) == ["half", "large", "small"]
    assert summary["benchmarks"]["half"]["gap"] is None
    small, large = (summary["benchmarks"][name]["gap"] for name in ("small", "large"))
    assert (small["p_value"], large["p_value"]) == (pytest.approx(2**-7), pytest.approx(2**-9))
    assert (small["p_value_holm"], large["p_value_holm"]) == (pytest.approx(2**-7), pytest.approx(2**-8))
    macro = summary["macro"]["gap"]
    assert (macro["estimate"], macro["benchmarks"], macro["n"]) == (pytest.approx(0.625), 2, 48)
    assert summary["verdict"].startswith(
        "over 2 benchmarks glance answers 100.0% from the crop and 37.5% from the full image: gap +62.5 points ["
    )
    few = "(48 samples, 48 clusters, worth only 8.0 equal clusters on one benchmark, so the interval is rough)"
    assert few in summary["verdict"]
    assert summary["verdict"].endswith("] (1 benchmark without a gap left out)")


def test_of_one_benchmark_the_macro_gap_is_its_gap() -> None:
    summary = summarise(run(*pairs(TEN)))
    gap = summary["benchmarks"]["signs"]["gap"]
    assert summary["macro"]["gap"].items() >= {k: gap[k] for k in ("estimate", "ci", "p_value", "se")}.items()


def test_notices_are_shown_beside_their_benchmark() -> None:
    summary = summarise(run(*pairs(TEN)), notices={"signs": "Boxes are estimates.", "other": "x"})
    assert summary["benchmarks"]["signs"]["notice"] == "Boxes are estimates."


# --- annotated evidence and regions that a model made -----------------------------------------------------------------


def two_families() -> dict[str, Any]:
    """Annotated gaps of 1 (8 pairs) and 0.25 (40 pairs), a model-made one of 0.5 (10 of 20), and a hold-out."""
    return summarise(
        run(
            *pairs(["wr"] * 8, benchmark="small", evidence="annotated"),
            *pairs(["wr"] * 10 + ["rr"] * 30, benchmark="large", evidence="annotated"),
            *pairs(["wr"] * 10 + ["rr"] * 10, benchmark="located", evidence="model"),
            record("s", "full", benchmark="holdout", evidence=""),
        ),
        model="glance",
    )


def test_gaps_over_model_made_regions_have_a_mean_and_a_correction_of_their_own() -> None:
    summary = two_families()
    assert {name: entry["evidence"] for name, entry in summary["benchmarks"].items()} == {
        "holdout": "", "large": "annotated", "located": "model", "small": "annotated",
    }  # fmt: skip
    annotated, made = summary["macro"]["gap"], summary["macro_model"]["gap"]
    assert (annotated["estimate"], annotated["benchmarks"], annotated["n"]) == (pytest.approx(0.625), 2, 48)
    assert (made["estimate"], made["benchmarks"], made["n"]) == (pytest.approx(0.5), 1, 20)
    gaps = {name: entry["gap"] for name, entry in summary["benchmarks"].items() if entry["gap"]}
    assert gaps["located"]["p_value_holm"] == gaps["located"]["p_value"]
    assert gaps["large"]["p_value_holm"] == pytest.approx(2 * gaps["large"]["p_value"]), "of two, not of three"


def test_the_verdict_tells_them_one_after_the_other() -> None:
    first, second = two_families()["verdict"].split("; ")
    assert first.startswith(
        "over 2 benchmarks glance answers 100.0% from the crop and 37.5% from the full image: gap +62.5"
    )
    assert second.startswith(
        "from regions that a model made, on located glance answers 100.0% from the crop and 50.0% from the full "
        "image: gap +50.0 points ["
    )
    assert second.endswith("] (1 benchmark without a gap left out)")


def test_a_gap_over_model_made_regions_alone_is_called_that() -> None:
    summary = summarise(run(*pairs(TEN, evidence="model")), model="glance")
    assert summary["macro"]["gap"] is None
    assert summary["macro_model"]["gap"]["estimate"] == pytest.approx(0.3)
    assert summary["verdict"].startswith("no gap shown: from regions that a model made, glance answers 70.0%")


def test_annotated_and_model_made_regions_in_one_benchmark_are_refused() -> None:
    rows = [*pairs(TEN[:5], evidence="annotated"), *pairs(["wr"], benchmark="other", evidence="model")]
    rows += [record(f"t{i}", view, evidence="model") for i in range(3) for view in ("full", "crop")]
    with pytest.raises(RunError, match=r"signs: its records have evidence of 2 kinds \(annotated, model\).* two runs"):
        summarise(run(*rows))


# --- named metrics ----------------------------------------------------------------------------------------------------


def test_by_default_the_accuracy_is_the_only_metric_and_the_headline() -> None:
    found = summarise(run(*pairs(TEN)))["benchmarks"]["signs"]
    assert (found["headline_metric"], list(found["metrics"])) == ("accuracy", ["accuracy"])
    for view in ("full", "crop"):
        level = found["views"][view]
        assert found["metrics"]["accuracy"][view] == {
            "estimate": level["accuracy"], "ci": level["ci"], "method": level["method"], "n": level["n"],
            "clusters": 10, "left_out": 0,
        }  # fmt: skip
    gap = found["metrics"]["accuracy"]["gap"]
    assert gap.items() >= {key: found["gap"][key] for key in ("estimate", "ci", "n")}.items()


def test_named_metrics_stand_beside_it_with_their_gap() -> None:
    """Pairs of samples: full 1 of 5 whole pairs right, crop 3 of 5."""
    rows = pairs(TEN)
    for i, row in enumerate(rows):
        row |= {"cluster": f"pair {i // 4}", "category": "a" if i < 8 else "b"}
    named = {"signs": ("cluster_accuracy", "accuracy", "category_mean")}
    found = summarise(run(*rows), named=named)["benchmarks"]["signs"]
    assert found["headline_metric"] == "cluster_accuracy"
    whole = found["metrics"]["cluster_accuracy"]
    assert (whole["full"]["estimate"], whole["crop"]["estimate"], whole["full"]["n"]) == (0.2, pytest.approx(0.6), 5)
    assert whole["gap"]["estimate"] == pytest.approx(0.4)
    mean = found["metrics"]["category_mean"]
    assert mean["full"]["estimate"] == pytest.approx((3 / 4 + 1 / 6) / 2)
    assert mean["gap"]["estimate"] == pytest.approx((1 / 4 + 2 / 6) / 2)


def test_a_metric_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RunError, match="no metric 'f1'"):
        summarise(run(*pairs(TEN)), named={"signs": ("f1",)})


# --- the verdict ---------------------------------------------------------------------------------------------------


def verdict(outcomes: Iterable[str], model: str = "glance") -> str:
    return str(summarise(run(*pairs(outcomes)), model=model)["verdict"])


def test_a_gap_is_stated_with_its_parts_and_its_interval() -> None:
    """200 samples: 94 % crop, 52 % full; 88 of the 188 that are right in the crop are wrong in full."""
    outcomes = ["rr"] * 100 + ["wr"] * 88 + ["rw"] * 4 + ["ww"] * 8
    low, high = (100 * end for end in mean_difference([0] * 108 + [1] * 88 + [-1] * 4, range(200)).ci or ())
    assert verdict(outcomes) == (
        "glance answers 94.0% from the crop and 52.0% from the full image: "
        f"gap +42.0 points [+{low:.1f}, +{high:.1f}] (200 samples, 200 clusters), lost in full 46.8% [39.7, 54.0]"
    )


def test_samples_without_both_answers_are_counted_in_the_verdict() -> None:
    rows = [*pairs(["rr"] * 20 + ["wr"] * 9 + ["fr"] * 3), record("t", "full")]
    assert (
        "(29 samples, 29 clusters, 4 samples without both answers left out)"
        in (summarise(run(*rows), model="glance")["verdict"])
    )


def test_a_gap_that_interval_and_test_judge_differently_is_not_shown() -> None:
    assert dissent((0.01, 0.2), 0.0625) == "; the interval excludes zero, but p = 0.062"
    assert dissent((-0.01, 0.2), 0.03) == "; p = 0.030, but the interval includes zero"
    assert (dissent((0.01, 0.2), 0.03), dissent((-0.01, 0.2), 0.3), dissent(None, 0.3)) == ("", "", "")
    assert [is_shown((0.01, 0.2), 0.0625), is_shown((-0.01, 0.2), 0.03), is_shown((0.01, 0.2), 0.03)] == [
        False,
        False,
        True,
    ]


def test_a_benchmark_of_a_single_cluster_does_not_void_the_mean_over_the_others() -> None:
    rows = pairs(["wr"] * 60 + ["rr"] * 40) + pairs(["wr"] * 30 + ["rr"] * 40, benchmark="two")
    summary = summarise(run(*rows, *pairs(["wr"], benchmark="tiny")), model="glance")
    assert summary["macro"]["gap"]["benchmarks"] == 2
    assert summary["verdict"].startswith("over 2 benchmarks glance answers 100.0% from the crop")
    assert summary["verdict"].endswith("] (1 benchmark of a single cluster left out of the mean)")


def test_lost_in_full_is_told_only_beside_a_gap_that_is_shown() -> None:
    assert "lost in full" in verdict(["rr"] * 30 + ["wr"] * 20)
    assert "lost in full" not in verdict(["rr"] * 30 + ["wr"] * 3)
    assert "lost in full" not in verdict(["rw"] * 30 + ["wr"] * 10)


def test_a_limit_that_tenths_would_show_as_zero_has_hundredths() -> None:
    assert points_in_words(0.0002) == "0.02"
    assert points_in_words(-0.0004) == "-0.04"
    assert [points_in_words(x) for x in (0.0, -0.000001, 0.0006, 0.42)] == ["0.0", "0.0", "0.1", "42.0"]


def test_an_interval_that_includes_zero_claims_no_gap() -> None:
    said = verdict(["rr"] * 10 + ["wr"] * 7 + ["rw"] * 6, model="")
    assert said.startswith(
        "no gap shown: the model answers 73.9% from the crop and 69.6% from the full image, gap +4.3 points ["
    )


def test_a_gap_in_the_other_direction_is_named() -> None:
    assert "], in favour of the full image (25 samples" in verdict(["rw"] * 20 + ["rr"] * 5)
    assert "gap -80.0 points [" in verdict(["rw"] * 20 + ["rr"] * 5)


def test_a_limit_close_to_zero_is_not_rounded_to_zero() -> None:
    """Gap 7.5 points; its lower limit is positive but would be shown as 0 in whole points."""
    outcomes = ["wr"] * 56 + ["rw"] * 35 + ["rr"] * 189
    low = (summarise(run(*pairs(outcomes)))["macro"]["gap"]["ci"])[0]
    assert 0.005 < low < 0.01
    assert f"[{100 * low:+.1f}, " in verdict(outcomes)


def test_one_image_gives_a_gap_without_an_interval() -> None:
    said = summarise(run(*pairs(["wr", "rr"], cluster="one")), model="glance")["verdict"]
    assert said == (
        "no gap shown: glance answers 100.0% from the crop and 50.0% from the full image, "
        "gap +50.0 points, without an interval as all samples are one cluster"
    )


def test_a_missing_view_is_named() -> None:
    summary = summarise(run(record("a", "full"), record("b", "full", "wrong")), model="glance")
    assert summary["verdict"] == "no gap measured: glance answers 50.0% in view full, but has no answers in view crop"
    found = summary["benchmarks"]["signs"]
    assert (found["gap"], found["pairs"], summary["macro"]["gap"]) == (None, None, None)
    assert found["views"]["full"]["n"] == 2


def test_what_one_view_knows_is_still_shown_by_category() -> None:
    found = summarise(run(record("a", "full", category="text")))["benchmarks"]["signs"]["by_category"]["text"]
    assert (found["full"]["estimate"], found["crop"], found["gap"]) == (1.0, None, None)


def test_nothing_answered_is_said_plainly() -> None:
    summary = summarise(run(*pairs(["ff", "ff"])), model="glance")
    assert summary["verdict"] == "nothing was answered: every request to glance failed"
    view = summary["benchmarks"]["signs"]["views"]["crop"]
    assert (view["n"], view["accuracy"], view["ci"], view["unparsed"], view["failed"]) == (0, None, None, None, 1.0)


def test_views_answered_for_different_samples_give_no_gap() -> None:
    summary = summarise(run(*pairs(["rf", "fr"])), model="glance")
    assert summary["verdict"] == (
        "no gap measured: glance answered no sample in both the full image and the crop: "
        "50.0% of the full and 50.0% of the crop requests failed"
    )


def test_no_records_at_all() -> None:
    summary = summarise(pd.DataFrame())
    assert (summary["verdict"], summary["benchmarks"]) == ("nothing was measured: there are no records", {})


# --- form ------------------------------------------------------------------------------------------------------


def test_the_summary_is_strict_json_and_equals_its_own_copy() -> None:
    rows = [*pairs(TEN, category="text", evidence_area=0.1), *pairs(["ff"], benchmark="void")]
    rows += pairs(["wr"], benchmark="one", cluster="x")
    summary = summarise(run(*rows), model="glance")
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_row_order_and_index_change_nothing() -> None:
    frame = run(*pairs(TEN * 3, category="text", evidence_area=0.1), *pairs(TEN, benchmark="b", cluster=""))
    shuffled = frame.sample(frac=1, random_state=5)
    shuffled.index = pd.Index([0] * len(shuffled))
    assert summarise(shuffled) == summarise(frame)


def test_optional_columns_may_be_absent() -> None:
    frame = run(*pairs(TEN))[["benchmark", "sample", "view", "repeat", "outcome", "score"]]
    found = summarise(frame)["benchmarks"]["signs"]
    assert (found["clusters"], found["by_category"], found["by_evidence_area"]) == (10, {}, [])
    assert found["views"]["full"]["sent_pixels_mean"] is None


def test_every_key_is_described_in_the_schema() -> None:
    text = (Path(__file__).parents[2] / "reports" / "SUMMARY_SCHEMA.md").read_text(encoding="utf-8")
    asked = {"rule": "letter-bare", "output": "B", "answers": ["B"], "options": []}
    rows = [
        *pairs(TEN, category="text", evidence_area=0.1, **asked),
        *pairs([*TEN, "ur"], benchmark="made", evidence="model"),
    ]
    summary = summarise(run(*rows), official={"signs": "mmstar"})

    def keys(value: Any, named: bool = False) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value))
        if not isinstance(value, dict):
            return set()
        named_keys = ("benchmarks", "by_category", "views", "metrics", "faults", "scorings")
        inner = (keys(one, key in named_keys) for key, one in value.items())
        return (set() if named else set(value)).union(*inner)

    unsaid = {key for key in keys(summary) if f"`{key}`" not in text and not key.endswith("_mean")}
    assert unsaid <= {"macro", "macro_model"}
    assert {f"{name}_mean" for name in MEANS} <= keys(summary)
    assert set(MEANS) <= set(COLUMNS), "`*_mean` is the mean of a field of the records"
    assert "`macro_model.gap`" in text


def test_records_that_occur_twice_are_refused_by_name() -> None:
    with pytest.raises(RunError, match="benchmark signs, sample s003, view crop, repeat 0"):
        summarise(run(*pairs(TEN), record("s003", "crop")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": "maybe"}, "sample odd, view full, repeat 0 has an outcome other than right"),
        ({"score": None}, "sample odd, view full, repeat 0 has an answer without a score"),
        ({"score": 7.0}, "has an answer without a score in 0..1: outcome right, score 7.0"),
    ],
)
def test_records_that_mean_nothing_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        summarise(run(*pairs(TEN), record("odd", "full") | change))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(RunError, match="no column score"):
        summarise(run(*pairs(TEN)).drop(columns="score"))


def test_two_hundred_thousand_records_take_seconds() -> None:
    n, rng = 50_000, np.random.default_rng(0)
    frame = pd.DataFrame({"sample": np.tile(np.arange(n).astype(str), 4), "view": np.repeat(["full", "crop"], 2 * n)})
    frame["benchmark"], frame["repeat"] = "signs", np.tile(np.repeat([0, 1], n), 2)
    right = rng.random(4 * n) < np.where(frame["view"] == "crop", 0.8, 0.5)
    frame["outcome"], frame["score"] = np.where(right, "right", "wrong"), right.astype(float)
    number = frame["sample"].astype(int)
    frame["category"] = "kind " + (number % 40).astype(str)
    frame["cluster"] = "image " + (number // 4).astype(str)
    frame["image_hash"] = frame["cluster"] + " hash"
    frame["evidence_area"] = (number % 997) / 1000
    began = time.perf_counter()
    summary = summarise(frame, model="glance")
    assert time.perf_counter() - began < 30
    assert summary["benchmarks"]["signs"]["clusters"] == n // 4
    assert summary["benchmarks"]["signs"]["gap"]["estimate"] == pytest.approx(0.3, abs=0.01)
