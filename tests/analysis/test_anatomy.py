"""What the anatomy says of hand-made records, and that its intervals hold what was planted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gapbench.analysis.aggregate import mean_scores
from gapbench.analysis.anatomy.dissection import dissect
from gapbench.analysis.statistics import ratio_of_sums
from gapbench.analysis.summary import summarise
from tests.analysis import planted


def run(answers: Mapping[str, Sequence[int]], **given: Any) -> pd.DataFrame:
    """Records of one answer per sample and view; -1 is a failed one. `given` are fields, by view or for all."""
    rows = []
    for view, scores in answers.items():
        for i, score in enumerate(scores):
            fields = {key: value[view] if isinstance(value, dict) else value for key, value in given.items()}
            rows.append({
                "benchmark": "b", "sample": f"s{i:03d}", "view": view, "repeat": 0, "category": "", "image_hash": "",
                "outcome": "failed" if score < 0 else "right" if score else "wrong", "cluster": f"c{i}",
                "score": None if score < 0 else float(score), **fields,
            })  # fmt: skip
    return pd.DataFrame(rows)


def anatomy(answers: Mapping[str, Sequence[int]], trained: pd.DataFrame | None = None, **given: Any) -> dict[str, Any]:
    frame = run(answers, **given)
    scores = mean_scores(frame)
    clusters = pd.DataFrame({"cluster": np.arange(len(scores))}, index=scores.index)
    found = dissect(frame, scores, clusters, {"training": trained} if trained is not None else None)
    assert found is not None
    return found


TEN = {
    "full":         [1, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    "mask":         [1, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    "full_up":      [1, 0, 1, 1, 1, 0, 0, 0, 0, 0],
    "full_up_mask": [1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "crop":         [1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
}  # fmt: skip
"""Full 2 of 10; resolution alone +2, surroundings alone +1, both together +2, the rest +1; crop 8."""


def test_the_parts_by_hand_and_they_add_up_to_the_gap() -> None:
    parts = anatomy(TEN)["parts"]
    by_hand = {"gap": 0.6, "resolution": 0.2, "surroundings": 0.1, "both": 0.2, "rest": 0.1,
               "main_resolution": 0.3, "main_surroundings": 0.2}  # fmt: skip
    assert {key: parts[key]["estimate"] for key in by_hand} == pytest.approx(by_hand)
    assert sum(parts[key]["estimate"] for key in ("resolution", "surroundings", "both", "rest")) == pytest.approx(0.6)
    assert parts["cells"]["raised_kept"]["estimate"] == pytest.approx(0.4)
    assert (parts["n"], parts["clusters"], parts["stand_in"]) == (10, 10, "")


def test_main_effects_add_up_to_the_fourth_cell_minus_full() -> None:
    parts = anatomy(TEN)["parts"]
    corners = parts["cells"]["raised_removed"]["estimate"] - parts["cells"]["native_kept"]["estimate"]
    assert parts["main_resolution"]["estimate"] + parts["main_surroundings"]["estimate"] == pytest.approx(corners)


def test_a_sample_that_failed_in_one_view_is_in_no_part_so_that_they_still_add_up() -> None:
    parts = anatomy(TEN | {"mask": [-1, *TEN["mask"][1:]]})["parts"]
    assert parts["n"] == 9
    total = sum(parts[key]["estimate"] for key in ("resolution", "surroundings", "both", "rest"))
    assert total == pytest.approx(parts["gap"]["estimate"])


def test_without_the_fourth_cell_the_enlarged_crop_stands_in_and_is_named() -> None:
    views = {"crop_up" if view == "full_up_mask" else view: scores for view, scores in TEN.items()}
    found = anatomy(views)
    assert found["parts"]["stand_in"] == "crop_up"
    assert found["parts"]["both"]["estimate"] == pytest.approx(0.2)
    assert anatomy({view: TEN[view] for view in ("full", "crop", "mask")})["parts"] is None


def test_the_waterfall_runs_from_full_to_crop_over_what_was_measured() -> None:
    found = anatomy(TEN | {"crop_native": [1, 1, 1, 0, 0, 0, 0, 0, 0, 1]})["waterfall"]
    assert [(step["from"], step["to"]) for step in found["steps"]] == [
        ("full", "mask"), ("mask", "crop_native"), ("crop_native", "crop"),
    ]  # fmt: skip
    assert [step["estimate"] for step in found["steps"]] == pytest.approx([0.1, 0.1, 0.4])
    assert found["start"] == pytest.approx(0.2)
    assert anatomy({view: TEN[view] for view in ("full", "crop", "full_up")})["waterfall"] is None


def test_doses_say_from_where_a_sample_is_right_and_where_it_is_lost_again() -> None:
    views = {"full": [0, 0, 1, 0], "crop:factor=4": [0, 1, 1, 0], "crop:factor=2": [1, 0, 1, 0], "crop": [1, 1, 1, 0]}
    area = {"full": None, "crop": 0.01, "crop:factor=2": 0.04, "crop:factor=4": 0.16}
    doses = anatomy(views, region_area=area)["doses"]
    assert [(one["view"], one["right_from"], one["lost_at"]) for one in doses["points"]] == [
        ("full", 1, 0), ("crop:factor=4", 1, 0), ("crop:factor=2", 1, 1), ("crop", 0, 0),
    ]  # fmt: skip
    assert (doses["never"], doses["kept"]) == (1, 2)
    assert sum(one["right_from"] for one in doses["points"]) + doses["never"] == doses["n"] == 4


def test_pointing_prior_and_fills_are_read_apart() -> None:
    found = anatomy({
        "full": [0, 0, 1, 1], "crop": [1, 1, 1, 1], "boxed": [1, 0, 1, 1], "hint": [0, 0, 1, 0], "blind": [0, 0, 0, 1],
        "coordinates": [0, 0, 1, 1], "mask": [1, 0, 1, 1], "mask:fill=grey": [0, 0, 0, 0],
        "hide:fill=blur": [1, 0, 0, 1], "random_crop": [0, 0, 0, 0],
    })  # fmt: skip
    assert {way: entry["estimate"] for way, entry in found["pointing"].items()} == {
        "image": 0.25, "text": -0.25, "coordinates": 0.0,
    }  # fmt: skip
    assert [(fill["view"], fill["estimate"]) for fill in found["fills"]] == [("mask", 0.25), ("mask:fill=grey", -0.5)]
    assert {view: entry["estimate"] for view, entry in found["against_prior"].items()} == {
        "hide:fill=blur": 0.25, "random_crop": -0.25,
    }  # fmt: skip


def test_the_audit_counts_and_names_what_fails_and_gives_the_gap_without_it() -> None:
    audit = anatomy({
        "full":  [1, 0, 0, 1, 0, 0],
        "crop":  [0, 1, 1, 1, 1, 0],
        "hide":  [0, 1, 0, 0, 0, 0],
        "blind": [0, 0, 0, 1, 0, 0],
    })["audit"]  # fmt: skip
    assert (audit["sufficiency"]["failing"], audit["sufficiency"]["samples"]) == (1, ["s000"])
    assert (audit["necessity"]["failing"], audit["necessity"]["samples"]) == (1, ["s001"])
    gaps = {name: (gap["estimate"], gap["n"]) for name, gap in audit["gaps"].items()}
    assert gaps == {
        "all": (pytest.approx(2 / 6), 6), "sufficient": (pytest.approx(3 / 5), 5), "needed": (pytest.approx(1 / 5), 5),
        "both": (pytest.approx(2 / 4), 4), "not_by_prior": (pytest.approx(2 / 5), 5),
    }  # fmt: skip
    assert audit["prior"]["blind"]["estimate"] == pytest.approx(1 / 6)
    assert audit["near_ceiling"] is False
    assert anatomy(TEN)["audit"] is None


def test_a_benchmark_that_the_full_image_solves_is_near_its_ceiling() -> None:
    found = anatomy({"full": [1] * 200, "crop": [1] * 200, "blind": [0, 1] * 100})
    assert found["audit"]["near_ceiling"] is True
    assert found["audit"]["without_image"]["estimate"] == pytest.approx(0.5)
    assert found["sentence"] == "No gap is shown: crop minus full is 0.0 (perhaps none)."


def test_a_locator_is_judged_by_right_answers_where_it_found_the_evidence_and_where_not() -> None:
    views = {"full": [0] * 4, "crop": [1, 1, 0, 0]}
    frame = run(views, evidence="model")
    frame["boxes"] = [[[0, 0, 10, 10]]] * 8
    frame["annotated_boxes"] = [[[0, 0, 10, 10]], [[0, 0, 10, 16]], [[50, 50, 60, 60]], []] * 2
    scores = mean_scores(frame)
    found = dissect(frame, scores, pd.DataFrame({"cluster": range(4)}, index=scores.index))
    assert found is not None
    locator = found["audit"]["locator"]
    assert (locator["found"]["n"], locator["found"]["right"]) == (2, 2)
    assert (locator["not_found"]["n"], locator["not_found"]["right"]) == (1, 0)


def test_cures_have_their_share_and_price_and_a_trained_model_stands_beside_them() -> None:
    views = {"full": [0, 1] * 40, "crop": [1, 1] * 40, "full_up": [1, 1, 0, 1] * 20, "full+crop": [1, 1] * 40}
    tokens = {"full": 100, "crop": 40, "full_up": 400, "full+crop": 140}
    trained = run({"full": [1, 1] * 40}, image_tokens=100, seconds=1.0)
    found = anatomy(views, trained, image_tokens=tokens, seconds=1.0)
    cures = {cure["name"]: cure for cure in found["cures"]}
    assert list(cures) == ["full image", "crop", "more pixels", "oracle zoom", "training"]
    assert [cures[name]["share"]["estimate"] for name in ("more pixels", "oracle zoom", "training")] == pytest.approx(
        [0.5, 1.0, 1.0]
    )
    assert [cures[name]["times_image_tokens"]["estimate"] for name in ("more pixels", "oracle zoom", "training")] == [
        4.0, 1.4, 1.0,
    ]  # fmt: skip
    assert cures["full image"]["share"] is None
    assert "50.0 of them come back with oracle zoom at 1.4 times the tokens" in found["sentence"]
    assert "with training at no more tokens" in found["sentence"]


def test_a_zoom_on_regions_that_a_model_made_is_no_oracle() -> None:
    found = anatomy({"full": [0, 1] * 10, "crop": [1, 1] * 10, "full+crop": [1, 1] * 10}, evidence="model")
    assert found["cures"][-1]["name"] == "zoom"


def test_the_sentence_adds_up_and_marks_what_may_be_nothing() -> None:
    answers = {view: [*scores] * 30 for view, scores in TEN.items()} | {"boxed": TEN["full"] * 30}
    assert anatomy(answers)["sentence"] == (
        "Of the 60.0 points, 20.0 come with resolution, 10.0 with removing the surroundings, 20.0 with both together "
        "and 10.0 with what else the crop changes; 20.0 of them come back with more pixels; pointing brings 0.0 "
        "(perhaps none) by a drawn box."
    )


def test_parts_and_cures_over_fewer_samples_than_the_gap_say_so() -> None:
    answers = {view: [*TEN[view]] * 30 for view in ("full", "crop", "mask", "full_up_mask")}
    frame = run({**answers, "full_up": [*TEN["full_up"]] * 20})
    scores = mean_scores(frame)
    found = dissect(frame, scores, pd.DataFrame({"cluster": np.arange(300)}, index=scores.index))
    assert found is not None
    assert (found["gap"]["n"], found["parts"]["n"]) == (300, 200)
    assert found["sentence"].startswith(
        "Of the 60.0 points (over the 200 of 300 samples answered in every view needed), 20.0"
    )
    assert "with more pixels (over the 200 of 300 samples answered in every view needed)" in found["sentence"]


def test_without_the_four_cells_the_sentence_goes_step_by_step_or_says_what_stands_alone() -> None:
    answers = {view: [*TEN[view]] * 30 for view in ("full", "mask", "crop")}
    assert anatomy(answers)["sentence"] == (
        "Of the 60.0 points, 10.0 come with removing the surroundings and 50.0 with enlarging what is left, in this "
        "order."
    )
    answers = {view: [*TEN[view]] * 30 for view in ("full", "full_up", "crop")}
    assert anatomy(answers)["sentence"].startswith("Of the 60.0 points, 20.0 come with resolution alone; ")


def test_a_view_without_answers_is_named_with_its_reason() -> None:
    reasons = dict.fromkeys(TEN, "") | {"full_up": "the size is fixed"}
    found = anatomy(TEN | {"full_up": [-1] * 10}, reason=reasons)
    assert found["unavailable"] == {"full_up": "the size is fixed"}
    assert found["parts"] is None


def test_a_summary_has_an_anatomy_only_with_further_views_and_it_is_strict_json() -> None:
    pair = {view: TEN[view] for view in ("full", "crop")}
    assert "anatomy" not in summarise(run(pair))["benchmarks"]["b"]
    found = summarise(run(TEN))["benchmarks"]["b"]["anatomy"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_every_key_of_an_anatomy_is_described_in_the_schema() -> None:
    text = (Path(__file__).parents[2] / "reports" / "SUMMARY_SCHEMA.md").read_text(encoding="utf-8")
    by_name = ("by_view", "against_prior", "unavailable")

    def keys(value: Any, named: bool = False) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value))
        if not isinstance(value, dict):
            return set()
        inner = (keys(one, key in by_name) for key, one in value.items())
        return (set() if named else set(value)).union(*inner)

    run_, trained = planted.records(0, images=60)
    unsaid = {key for key in keys(planted.anatomy_of(run_, trained)) if f"`{key}`" not in text}
    assert unsaid == set()


def test_a_ratio_of_costs_by_hand() -> None:
    found = ratio_of_sums([2, 4, 6], [1, 2, 3], ["a", "b", "c"])
    assert (found.estimate, found.ci) == (2.0, (2.0, 2.0))
    assert ratio_of_sums([1.0], [0.0], ["a"]).estimate is None
    spread = ratio_of_sums([2, 6], [2, 2], ["a", "b"])
    assert spread.estimate == 2.0
    assert spread.se == pytest.approx(1.0)  # residuals -2 and 2: sqrt(2 / 1 * 8) / 4


def test_intervals_hold_what_was_planted_in_a_few_runs() -> None:
    """The small version of `planted.py`: each number in at least 8 of 10 runs, all together in 92 %."""
    true, runs = planted.truths(), 10
    hits = planted.covered(runs, true)
    assert set(hits) == set(true)
    assert {name: hits[name] for name in true if hits[name] < 0.8 * runs} == {}
    assert sum(hits.values()) >= planted.GOAL * runs * len(true)
