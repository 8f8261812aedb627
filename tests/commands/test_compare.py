"""Comparisons of hand-made runs: what is paired, what is refused, what the verdict says, and what intervals cover."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from gapbench.analysis.comparison.conclusion import change_in_words, verdict
from gapbench.analysis.comparison.gate import judged, parse_gate
from gapbench.analysis.statistics import mean_difference, mean_interval
from gapbench.commands.compare import Comparison, compare
from gapbench.errors import RunError, SettingError

OUTCOME = {"r": "right", "w": "wrong", "u": "unparsed", "f": "failed"}
VIEWS = ("full", "crop")


def record(benchmark: str, sample: str, view: str, outcome: str, **given: Any) -> dict[str, Any]:
    answer = {"right": "circle", "wrong": "square"}.get(outcome)
    return {
        "benchmark": benchmark, "sample": sample, "view": view, "repeat": 0, "outcome": outcome,
        "score": None if outcome == "failed" else float(outcome == "right"), "output": answer or "", "parsed": answer,
        "rule": "", "reason": "", "question": f"What is sign {sample}?", "options": [], "answers": ["circle"],
        "answer_type": "text", "category": "", "cluster": sample, "image_hash": f"hash of {sample}",
        "image_size": [96, 96], "boxes": [[1.0, 2.0, 9.0, 8.0]], "evidence": "annotated",
        "evidence_area": None, "region_policy": "padded",
        "region": None, "region_area": None, "images": 1, "sent_size": None, "sent_pixels": None,
        "image_tokens": 36, "prompt_tokens": 50,
        "output_tokens": 2, "seconds": 0.1, **given,
    }  # fmt: skip


def answers(benchmark: str, outcomes: Iterable[str], **given: Any) -> list[dict[str, Any]]:
    """One question per entry, its letters being full, then crop: "wr" is wrong in full, right in crop; "w" has no crop.

    r right, w wrong, u unparsed, f failed, - not asked.
    """
    return [
        record(benchmark, f"{i:04d}", view, OUTCOME[letter], **given)
        for i, pair in enumerate(outcomes)
        for view, letter in zip(VIEWS, pair, strict=False)
        if letter != "-"
    ]


def write_run(folder: Path, *records: Iterable[dict[str, Any]], **manifest: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for some in records for row in some]
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    benchmarks = {name: {"region": "padded"} for name in dict.fromkeys(row["benchmark"] for row in rows)}
    run = {"model": folder.name, "benchmarks": benchmarks, "views": list(VIEWS), "repeats": 1, **manifest}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return folder


def repeated(**shares: int) -> list[str]:
    """repeated(wr=30, rr=50) -> thirty "wr", then fifty "rr"."""
    return [pair for pair, count in shares.items() for _ in range(count)]


def changes(*moves: tuple[str, str, int]) -> tuple[list[str], list[str]]:
    """(before, after, count) -> the two columns."""
    return repeated_moves(moves, 0), repeated_moves(moves, 1)


def repeated_moves(moves: Iterable[tuple[str, str, int]], side: int) -> list[str]:
    return [move[side] for move in moves for _ in range(move[2])]


def compared(
    folder: Path, before: Iterable[dict[str, Any]], after: Iterable[dict[str, Any]], **given: Any
) -> Comparison:
    runs = write_run(folder / "one", before), write_run(folder / "two", after)
    return compare(*runs, out=folder / "out", **given)


def of_moves(folder: Path, *moves: tuple[str, str, int]) -> dict[str, Any]:
    before, after = changes(*moves)
    return compared(folder, answers("signs", before), answers("signs", after)).summary


FIVE = (("wr", "rr", 5), ("rr", "wr", 1), ("rr", "rr", 3), ("ww", "ww", 2), ("wr", "ww", 1))
"""Full 4 of 12 -> 8 of 12, crop 10 -> 9, gap 0.5 -> 1 / 12."""


def test_every_number_by_hand(tmp_path: Path) -> None:
    found = of_moves(tmp_path, *FIVE)["benchmarks"]["signs"]
    numbers = {side: {m: found[side][m]["estimate"] for m in ("full", "crop", "gap")} for side in ("before", "after")}
    assert numbers["before"] == pytest.approx({"full": 4 / 12, "crop": 10 / 12, "gap": 6 / 12})
    assert numbers["after"] == pytest.approx({"full": 8 / 12, "crop": 9 / 12, "gap": 1 / 12})
    delta = {measure: found["delta"][measure]["estimate"] for measure in ("full", "crop", "gap")}
    assert delta == pytest.approx({"full": 4 / 12, "crop": -1 / 12, "gap": -5 / 12})
    assert (found["fixed"], found["broken"]) == (5, 1)
    assert found["transitions"]["full"] == {"both": 3, "fixed": 5, "broken": 1, "neither": 3}
    assert found["transitions"]["crop"] == {"both": 9, "fixed": 0, "broken": 1, "neither": 2}
    assert found["changed"] == {"fixed": ["0000", "0001", "0002", "0003", "0004"], "broken": ["0005"]}
    assert found["delta"]["full"]["p_value"] == pytest.approx(stats.binomtest(5, 6).pvalue), "exact McNemar"
    assert (found["n"], found["clusters"], found["dropped"]) == (12, 12, 0)


def test_the_change_of_the_gap_is_a_paired_difference_in_differences(tmp_path: Path) -> None:
    found = of_moves(tmp_path, *FIVE)["benchmarks"]["signs"]["delta"]["gap"]
    change_of_gap = np.repeat([-1.0, 1.0, 0.0, 0.0, -1.0], [5, 1, 3, 2, 1])
    expected = mean_difference(change_of_gap, range(12), bounds=(-2, 2))
    assert found["ci"] == pytest.approx(expected.ci)
    assert found["p_value"] == pytest.approx(expected.p_value)


def test_lost_in_full_before_and_after_and_its_change_by_hand(tmp_path: Path) -> None:
    found = of_moves(tmp_path, *FIVE)
    signs = found["benchmarks"]["signs"]
    assert signs["before"]["lost_in_full"]["estimate"] == pytest.approx(6 / 10), "ten right in the crop, six lost"
    assert signs["after"]["lost_in_full"]["estimate"] == pytest.approx(1 / 9)
    assert signs["before"]["lost_in_full"]["ci"] == pytest.approx(mean_interval([1] * 6 + [0] * 4, range(10)).ci)
    change = signs["delta"]["lost_in_full"]
    # The delta method by hand: what each of the five kinds of samples adds to the ratio after minus the ratio before.
    kinds = [-1 / 9 / 9 - 0.4 / 10, (8 / 9) / 9 + 0.6 / 10, -1 / 9 / 9 + 0.6 / 10, 0.0, -0.4 / 10]
    se = np.sqrt(12 / 11 * np.square(np.repeat(kinds, [5, 1, 3, 2, 1])).sum())
    margin = stats.t.ppf(0.975, 11) * se
    assert change["estimate"] == pytest.approx(1 / 9 - 6 / 10)
    low, high = 1 / 9 - 0.6 - margin, 1 / 9 - 0.6 + margin
    assert change["ci"] == pytest.approx([low, high], abs=0.04)  # the pseudo-clusters
    assert (change["p_value"], change["mde"]) == (None, None)
    assert found["macro"]["delta"]["lost_in_full"] == change


def test_lost_in_full_needs_a_sample_that_both_runs_read_in_the_crop(tmp_path: Path) -> None:
    before, after = changes(("ww", "wr", 3), ("rw", "rr", 2))
    rows = [answers("signs", some, category="blind") for some in (before, after)]
    more = [answers("zoom", some) for some in changes(*FIVE)]
    for row in chain(*more):
        row["category"] = "unread" if row["sample"] in ("0009", "0010") else "read"
    done = compared(tmp_path, [*rows[0], *more[0]], [*rows[1], *more[1]])
    signs = done.summary["benchmarks"]["signs"]
    assert (signs["before"]["lost_in_full"], signs["delta"]["lost_in_full"]) == (None, None)
    assert signs["after"]["lost_in_full"]["estimate"] == pytest.approx(3 / 5)
    macro = done.summary["macro"]
    assert macro["benchmarks"] == 2
    assert macro["delta"]["lost_in_full"]["estimate"] == pytest.approx(1 / 9 - 6 / 10), "zoom alone"
    markdown = (done.path / "comparison.md").read_text(encoding="utf-8")
    unread = next(line for line in markdown.splitlines() if line.startswith("| unread"))
    assert unread.endswith("| \u2013 |"), "the last column is lost in full"


def test_questions_that_share_an_image_are_one_unit(tmp_path: Path) -> None:
    before, after = changes(("wr", "rr", 20), ("rr", "rr", 20))
    shared = [answers("signs", some, image_hash="", cluster="scene") for some in (before, after)]
    alone = compared(tmp_path / "a", answers("signs", before), answers("signs", after)).summary["benchmarks"]["signs"]
    one = compared(tmp_path / "b", *shared).summary["benchmarks"]["signs"]
    assert (alone["clusters"], one["clusters"]) == (40, 1)
    assert alone["delta"]["gap"]["ci"] is not None
    assert one["delta"]["gap"]["ci"] is None
    assert one["gap_closed"]["estimate"] is None


def test_only_questions_answered_in_both_runs_and_views_count_and_the_others_are_counted(tmp_path: Path) -> None:
    before = ["wr", "wr", "wr", "wf", "rr", "rr"]
    after = ["rr", "fr", "rr", "rr", "rr", "--", "rr"]
    done = compared(tmp_path, answers("signs", before), answers("signs", after)).summary
    found = done["benchmarks"]["signs"]
    assert (found["n"], found["dropped"], found["only_before"], found["only_after"]) == (3, 2, 1, 1)
    assert found["before"]["full"]["estimate"] == pytest.approx(1 / 3)
    assert found["delta"]["full"]["estimate"] == pytest.approx(2 / 3)
    (alert,) = [one["text"] for one in done["alerts"] if one["benchmark"] == "signs"]
    assert "4 samples are left out of two against one: 2 measured in both runs but not answered" in alert
    assert "1 measured in one only, 1 measured in two only; 3 are compared" in alert


def test_a_benchmark_without_boxes_has_the_full_view_only(tmp_path: Path) -> None:
    before, after = answers("chart", ["r"] * 8 + ["w"] * 4), answers("chart", ["r"] * 10 + ["w"] * 2)
    found = compared(tmp_path, before, after).summary["benchmarks"]["chart"]
    for side in ("before", "after", "delta"):
        assert found[side]["full"] is not None
        assert (found[side]["crop"], found[side]["gap"]) == (None, None)
    assert found["gap_closed"] is None
    assert found["tested"] == "full"
    assert found["p_value"] == found["delta"]["full"]["p_value"] == 0.5


def test_a_crop_that_only_one_run_measured_is_not_compared_and_said(tmp_path: Path) -> None:
    done = compared(tmp_path, answers("signs", ["wr", "rr"]), answers("signs", ["r", "r"])).summary
    assert done["benchmarks"]["signs"]["delta"]["gap"] is None
    assert done["benchmarks"]["signs"]["delta"]["full"]["estimate"] == 0.5
    assert any("crop view cannot be compared" in alert["text"] for alert in done["alerts"])


def test_p_values_are_corrected_over_benchmarks(tmp_path: Path) -> None:
    before, after = changes(("wr", "rr", 8), ("rr", "rr", 30))
    many = [answers("signs", before), answers("zoom", before), answers("chart", [one[0] for one in before])]
    more = [answers("signs", after), answers("zoom", before), answers("chart", [one[0] for one in after])]
    runs = write_run(tmp_path / "one", *many), write_run(tmp_path / "two", *more)
    found = compare(*runs, out=tmp_path / "out").summary
    p = {name: (entry["p_value"], entry["p_value_holm"]) for name, entry in found["benchmarks"].items()}
    assert p["signs"] == pytest.approx((2 / 2**8, 3 * 2 / 2**8))
    assert p["chart"] == pytest.approx((2 / 2**8, 3 * 2 / 2**8))
    assert p["zoom"] == (1, 1)
    assert list(found["benchmarks"]) == ["signs", "zoom", "chart"], "hold-outs come last"
    assert found["macro"]["benchmarks"] == 2
    assert found["macro"]["delta"]["gap"]["estimate"] == pytest.approx(-8 / 38 / 2)


def test_groups_have_their_own_changes(tmp_path: Path) -> None:
    before, after = changes(("wr", "rr", 6), ("rr", "rr", 6))
    runs = [answers("signs", some) for some in (before, after)]
    for rows in runs:
        for i, row in enumerate(rows):
            row |= {"category": "text" if i < 12 else "", "evidence_area": 0.01 if i < 12 else 0.2}
    found = compared(tmp_path, *runs).summary["benchmarks"]["signs"]
    assert list(found["by_category"]) == ["text"]
    assert found["by_category"]["text"]["delta"]["gap"]["estimate"] == -1
    assert found["by_category"]["text"]["exploratory"]
    bins = found["by_evidence_area"]
    assert [one["delta"]["full"]["estimate"] for one in bins] == [1, 0]
    assert (bins[0]["from"], bins[-1]["to"]) == (0.01, 0.2)


# --- gap closed ------------------------------------------------------------------------------------------------------


def test_gap_closed_is_one_minus_the_ratio_of_the_gaps_with_fiellers_interval(tmp_path: Path) -> None:
    found = of_moves(tmp_path, ("wr", "rr", 60), ("wr", "wr", 20), ("rr", "rr", 110), ("rr", "wr", 10))
    closed = found["benchmarks"]["signs"]["gap_closed"]
    assert closed["estimate"] == pytest.approx(1 - 30 / 80)
    before = np.repeat([1.0, 1.0, 0.0, 0.0], [60, 20, 110, 10])
    after = np.repeat([0.0, 1.0, 0.0, 1.0], [60, 20, 110, 10])
    low, high = textbook_fieller(after, before)
    assert closed["ci"] == pytest.approx([1 - high, 1 - low], abs=0.02)  # the pseudo-clusters


def textbook_fieller(above: NDArray[np.float64], below: NDArray[np.float64]) -> tuple[float, float]:
    """Fieller 1954 for n independent pairs: the roots of (x - r y)**2 = t**2 (s_xx - 2 r s_xy + r**2 s_yy)."""
    t = stats.t.ppf(0.975, len(above) - 1)
    (sxx, sxy), (_, syy) = np.cov(above, below) / len(above)
    x, y = above.mean(), below.mean()
    roots = np.roots([y * y - t * t * syy, -2 * (x * y - t * t * sxy), x * x - t * t * sxx])
    return float(roots.min()), float(roots.max())


@pytest.mark.parametrize(
    ("moves", "reason"),
    [
        ((("rr", "wr", 4), ("wr", "wr", 4), ("rw", "rw", 2)), "less than 3 times its standard error"),
        ((("rw", "rr", 60),), "the gap before is not above zero"),
    ],
)
def test_gap_closed_needs_a_gap_before_of_three_standard_errors(
    tmp_path: Path, moves: tuple[tuple[str, str, int], ...], reason: str
) -> None:
    closed = of_moves(tmp_path, *moves, ("rr", "rr", 20))["benchmarks"]["signs"]["gap_closed"]
    assert (closed["estimate"], closed["ci"]) == (None, None)
    assert reason in closed["reason"]


def test_a_gap_that_is_gone_in_every_question_still_has_an_interval(tmp_path: Path) -> None:
    """Plain Fieller and the bootstrap would say [100 %, 100 %]."""
    closed = of_moves(tmp_path, ("wr", "rr", 50), ("rr", "rr", 50))["benchmarks"]["signs"]["gap_closed"]
    assert closed["estimate"] == 1
    assert closed["ci"][0] < 0.95
    assert closed["ci"][1] > 1.05


# --- annotated evidence and regions that a model made ----------------------------------------------------------------


def located_and_annotated(folder: Path) -> dict[str, Any]:
    """On `signs` and `zoom` (annotated) and on `hr` (located by a model) the gap shrinks; `chart` is a hold-out."""
    before, after = changes(("wr", "rr", 8), ("rr", "rr", 30))
    runs = []
    for name, some in (("one", before), ("two", after)):
        annotated = [answers(b, some) for b in ("signs", "zoom")]
        rest = answers("hr", some, evidence="model"), answers("chart", ["r"] * 9, evidence="", boxes=[])
        runs.append(write_run(folder / name, *annotated, *rest))
    return compare(*runs, out=folder / "out").summary


def test_changes_over_model_made_regions_have_a_mean_a_correction_and_a_sentence_of_their_own(tmp_path: Path) -> None:
    done = located_and_annotated(tmp_path)
    found = done["benchmarks"]
    assert {name: entry["evidence"] for name, entry in found.items()} == {
        "hr": "model", "signs": "annotated", "zoom": "annotated", "chart": "",
    }  # fmt: skip
    assert (done["macro"]["benchmarks"], done["macro_model"]["benchmarks"]) == (2, 1)
    assert found["hr"]["p_value_holm"] == found["hr"]["p_value"] == 2 / 2**8
    assert found["signs"]["p_value_holm"] == pytest.approx(3 * 2 / 2**8), "with zoom and chart, not with hr"
    first, second, third = done["verdict"].split(". ")
    assert first.startswith(
        "two against one: the gap over 2 benchmarks is smaller, 0.0 against 21.1 points: -21.1 points ["
    )
    assert second.startswith("From regions that a model made, the gap on hr is smaller, 0.0 against 21.1 points")
    # Of eight changed samples p is 2 / 2**8; corrected over all that the sentence could name, that is not enough.
    assert third == "A gain of full accuracy by itself is not shown; a loss on the hold-out chart is not shown."


def test_their_tables_are_two(tmp_path: Path) -> None:
    located_and_annotated(tmp_path)
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| Benchmark |")]
    held = [{line.split("|")[1].split("(")[0].strip() for line in table[2:]} for table in tables]
    assert any("signs" in names for names in held)
    assert any("hr" in names for names in held)
    assert not any("hr" in names and len(names) > 1 for names in held)
    assert "These regions were not annotated by people." in text


def test_annotated_evidence_is_not_compared_with_model_made_regions(tmp_path: Path) -> None:
    one = answers("signs", ["wr", "rr"])
    with pytest.raises(RunError, match="evidence is 'annotated' in one and 'model' in two"):
        compared(tmp_path, one, answers("signs", ["wr", "rr"], evidence="model"))


def test_another_region_file_and_another_protocol_are_one_warning_each(tmp_path: Path) -> None:
    rows = answers("hr", ["wr", "rr"], evidence="model")
    info = {"methods": ["grounding"], "models": ["a"], "boxes": 2}
    runs = (
        write_run(tmp_path / "one", rows, protocol="neutral", regions={"file": "r.jsonl", "sha256": "a" * 32, **info}),
        write_run(tmp_path / "two", rows, protocol="original", regions={"file": "r.jsonl", "sha256": "b" * 32, **info}),
    )
    texts = [alert["text"] for alert in compare(*runs, out=tmp_path / "out").summary["alerts"]]
    assert [text.partition(".")[0] for text in texts] == [
        "The setting protocol differs: neutral in one, original in two",
        "The setting regions differs: r",
    ]
    assert "sha256 aaaaaaaaaaaa in one, r.jsonl, sha256 bbbbbbbbbbbb in two" in texts[1]


# --- named metrics ---------------------------------------------------------------------------------------------------


def test_metrics_of_either_run_are_compared_on_the_same_questions(tmp_path: Path) -> None:
    """Pairs: 1 of 3 right before, 2 of 3 after; of a fourth one question failed, so the pair is left out."""
    before, after = (answers("mmvp", list(some)) for some in ("rrrwwrrf", "rrrrwrrr"))
    for rows in (before, after):
        for row in rows:
            row["cluster"] = f"pair {int(row['sample']) // 2}"
    card = {"metrics": ["cluster_accuracy"], "protocols": {"original": {"metric": "cluster_accuracy"}}}
    manifest = {"benchmarks": {"mmvp": {"card": card}}}
    runs = (
        write_run(tmp_path / "one", before, protocol="original", **manifest),
        write_run(tmp_path / "two", after, protocol="original", **manifest),
    )
    found = compare(*runs, out=tmp_path / "out").summary["benchmarks"]["mmvp"]
    assert (found["headline_metric"], list(found["metrics"])) == ("cluster_accuracy", ["cluster_accuracy", "accuracy"])
    pairs = found["metrics"]["cluster_accuracy"]
    assert pairs["before"]["full"]["estimate"] == pytest.approx(1 / 3)
    assert pairs["after"]["full"]["estimate"] == pytest.approx(2 / 3)
    assert pairs["delta"]["full"]["estimate"] == pytest.approx(1 / 3)
    assert (pairs["delta"]["full"]["n"], pairs["delta"]["full"]["left_out"]) == (3, 1)
    level = found["metrics"]["accuracy"]["before"]["full"]["estimate"]
    assert level == found["before"]["full"]["estimate"] == pytest.approx(5 / 7)
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "| mmvp | All of a cluster right (headline) | full image | 33.3%" in text
    assert "- **All of a cluster right**: Share of clusters, such as pairs" in text


# --- what is refused, and what is warned of --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("question", "Another question?"),
        ("image_hash", "another image"),
        ("answers", ["square"]),
        ("options", ["a", "b"]),
        ("boxes", [[0.0, 0.0, 5.0, 5.0]]),
    ],
)
def test_another_question_under_the_same_id_is_refused_and_named(tmp_path: Path, field: str, value: Any) -> None:
    before, after = answers("signs", ["wr"] * 3), answers("signs", ["rr"] * 3)
    for row in after[2:4]:
        row[field] = value
    with pytest.raises(RunError, match=rf"signs: sample '0001' is not the same in both runs.*{field} is .*in one and"):
        compared(tmp_path, before, after)
    assert not (tmp_path / "out").exists()


def test_what_a_failed_record_lacks_is_not_a_difference(tmp_path: Path) -> None:
    before, after = answers("signs", ["wr"] * 3), answers("signs", ["ff", "rr", "rr"])
    for row in after[:2]:
        row |= {"image_hash": "", "boxes": []}
    assert compared(tmp_path, before, after).summary["benchmarks"]["signs"]["n"] == 2


def test_runs_without_a_shared_question_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"share no answered sample: one measured signs, two measured zoom"):
        compared(tmp_path, answers("signs", ["wr"]), answers("zoom", ["wr"]))
    with pytest.raises(RunError, match="share no answered sample"):
        compared(tmp_path, answers("signs", ["wr", "ff"]), answers("signs", ["ff", "wr"]))


def test_a_benchmark_of_one_run_is_left_out_and_said(tmp_path: Path) -> None:
    signs = answers("signs", ["wr", "rr"])
    done = compared(tmp_path, [*signs, *answers("zoom", ["wr"])], signs).summary
    assert list(done["benchmarks"]) == ["signs"]
    assert done["alerts"] == [
        {"benchmark": "zoom", "text": "Measured in one only, so it is left out of one against two."}
    ]


def test_the_same_folder_twice_and_a_folder_that_is_no_run_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", answers("signs", ["wr"]))
    with pytest.raises(RunError, match="given twice"):
        compare(run, tmp_path / "x" / ".." / "one", out=tmp_path / "out")
    with pytest.raises(RunError, match=r"no records\.jsonl"):
        compare(run, tmp_path / "nowhere", out=tmp_path / "out")


def test_what_differs_of_one_benchmark_is_said_of_that_one(tmp_path: Path) -> None:
    """A local copy, or fewer views than the run's, is news only about the benchmark that has it."""
    rows = answers("v1.0 signs", ["wr", "rr"])
    runs = (
        write_run(
            tmp_path / "one", rows, benchmarks={"v1.0 signs": {"local_copy": True}, "alone": {"views": ["full"]}}
        ),
        write_run(tmp_path / "two", rows, benchmarks={"v1.0 signs": {}}),
    )
    texts = [(alert["benchmark"], alert["text"]) for alert in compare(*runs, out=tmp_path / "out").summary["alerts"]]
    assert (
        "v1.0 signs",
        "The setting local_copy differs: true in one, not set in two. A difference may come from it.",
    ) in texts
    assert not any("views differs" in text for _, text in texts)


def test_settings_that_differ_are_named_and_others_are_not(tmp_path: Path) -> None:
    rows = answers("v1.0 signs", ["wr", "rr"])
    entry = {"region": "padded", "prompt": "Look.", "samples": 2, "fingerprint": "x", "card": {"name": "signs"}}
    same = {"pixels": {"max_pixels": 100}, "generation": {"temperature": 0.0}, "sha256": "a", "command": "one"}
    other = {"pixels": {"max_pixels": None}, "generation": {"temperature": 0.0}, "sha256": "b", "command": "two"}
    runs = (
        write_run(tmp_path / "one", rows, **same, versions={"torch": "2.12"}, benchmarks={"v1.0 signs": entry}),
        write_run(tmp_path / "two", rows, **other, versions={"torch": "2.13"},
                  benchmarks={"v1.0 signs": entry | {"region": "union", "prompt": "Think.", "fingerprint": "y"}}),
    )  # fmt: skip
    done = compare(*runs, out=tmp_path / "out").summary
    assert done["settings"] == [
        {"setting": "pixels.max_pixels", "values": [100, None]},
        {"setting": "tasks.v1.0 signs.prompt", "values": ["Look.", "Think."]},
        {"setting": "tasks.v1.0 signs.views.crop.region", "values": ["padded", "union"]},
        {"setting": "versions.torch", "values": ["2.12", "2.13"]},
    ]
    texts = [(alert["benchmark"], alert["text"]) for alert in done["alerts"]]
    assert (
        "v1.0 signs",
        "The setting views.crop.region differs: padded in one, union in two. A difference may come from it.",
    ) in texts
    assert any("pixels.max_pixels differs: 100 in one, not set in two" in text for _, text in texts)
    assert ("", "Versions differ: torch. See the settings.") in texts
    assert len(texts) == 4
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "Settings that differ" in page


def test_an_unfinished_run_is_announced(tmp_path: Path) -> None:
    rows = answers("signs", ["wr", "rr"])
    runs = (
        write_run(tmp_path / "one", rows),
        write_run(tmp_path / "two", rows, benchmarks={"signs": {"region": "padded", "samples": 500}}),
    )
    texts = [alert["text"] for alert in compare(*runs, out=tmp_path / "out").summary["alerts"]]
    assert texts == ["The run two is unfinished: 4 of 1,000 answers."]


def test_a_run_whose_missing_answers_can_have_made_its_gap_is_announced_with_its_verdict(tmp_path: Path) -> None:
    faulty, clean = answers("signs", repeated(ur=20, rr=30)), answers("signs", repeated(wr=20, rr=30))
    summary = compared(tmp_path, faulty, clean).summary
    unparsed, alert, form = summary["alerts"]
    assert unparsed["text"].startswith("The run one: 40.0% of the full-view answers and 0.0% of the crop-view answers")
    assert "(in full: 3.6 → 6.0 characters on average, unparsed 40.0% → 0.0%)" in form["text"]
    assert summary["verdict"].endswith("But missing answers of one can have made or hidden a gap.")
    assert alert["text"].startswith(
        "Missing answers affect the run one. Its own verdict: no gap shown: one answers 100.0%"
    )
    assert "but 40.0% of the full and 0.0% of the crop answers are unparsed; counting" in alert["text"]


def test_a_hold_out_that_was_asked_in_fewer_views_than_the_run_is_finished(tmp_path: Path) -> None:
    entries = {"chart": {"samples": 2, "views": ["full"]}, "signs": {"samples": 2}}
    rows = [*answers("chart", ["w", "r"]), *answers("signs", ["wr", "rr"])]
    runs = (
        write_run(tmp_path / "one", rows, benchmarks=entries),
        write_run(tmp_path / "two", rows, benchmarks=entries),
    )
    assert not compare(*runs, out=tmp_path / "out").summary["alerts"]


# --- names -----------------------------------------------------------------------------------------------------------


def labels_of(done: Comparison) -> list[str]:
    return [run["label"] for run in done.summary["runs"]]


def test_runs_are_called_by_their_models_or_as_one_likes(tmp_path: Path) -> None:
    rows = answers("signs", ["wr", "rr"])
    a, b, c = (
        write_run(tmp_path / name, rows, model=model)
        for name, model in (("a", "org/vlm"), ("b", "org/vlm"), ("c", "/home/someone/deep/tuned/model"))
    )
    done = compare(a, b, c, out=tmp_path / "out")
    assert labels_of(done) == ["org/vlm (a)", "org/vlm (b)", "tuned/model"]
    assert [run["path"] for run in done.summary["runs"]] == ["../a", "../b", "../c"]
    assert labels_of(compare(a, b, out=tmp_path / "out", labels=("base", "ours"))) == ["base", "ours"]
    for wrong in (("base",), ("base", "base"), ("base", " ")):
        with pytest.raises(SettingError, match="labels"):
            compare(a, b, out=tmp_path / "out", labels=wrong)


def test_before_and_after_one_training_and_nothing_else_is_called_so(tmp_path: Path) -> None:
    rows = answers("signs", ["wr", "rr"])
    for folder in ("x/before", "x/after", "y/after"):
        write_run(tmp_path / folder, rows, model=folder.replace("/", "-"))
    for name in ("x", "y"):
        (tmp_path / name / "train.jsonl").write_text('{"step": 1, "loss": 0.5}\n', encoding="utf-8")
    done = compare(tmp_path / "x/before", tmp_path / "x/after", out=tmp_path / "x")
    assert (done.summary["kind"], labels_of(done)) == ("training", ["before", "after"])
    other = compare(tmp_path / "x/after", tmp_path / "y/after", out=tmp_path / "out")
    assert (other.summary["kind"], labels_of(other)) == ("models", ["x-after", "y-after"])
    assert other.summary["train"]["path"] == "../y/train.jsonl"


def test_the_training_log_may_have_holes_and_a_torn_end(tmp_path: Path) -> None:
    rows = answers("signs", ["wr", "rr"])
    for name in ("before", "after"):
        write_run(tmp_path / name, rows)
    lines = [{"step": 1, "loss": 0.9}, {"step": 2, "loss": None, "entropy": 1.5}, {"step": 3, "loss": 0.3}]
    again = [{"step": 3, "loss": 0.4, "lr": float("nan")}, [1], {"loss": 7.0}]
    text = "\n".join(map(json.dumps, [*lines, *again])) + '\n{"step": 4, "lo'
    (tmp_path / "train.jsonl").write_text(text, encoding="utf-8")
    train = compare(tmp_path / "before", tmp_path / "after", out=tmp_path).summary["train"]
    assert train["steps"] == 3
    assert train["metrics"] == {
        "loss": {"first": 0.9, "last": 0.4, "lowest": 0.4, "highest": 0.9},
        "entropy": {"first": 1.5, "last": 1.5, "lowest": 1.5, "highest": 1.5},
    }


def test_further_runs_are_each_compared_with_the_first(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, answers("signs", repeated(wr=40 - fixed, rr=60 + fixed)))
        for name, fixed in (("a", 0), ("b", 10), ("c", 30))
    ]
    done = compare(*runs, out=tmp_path / "out").summary
    (third,) = done["more"]
    assert third["label"] == "c"
    assert third["benchmarks"]["signs"]["delta"]["full"]["estimate"] == pytest.approx(0.3)
    assert done["benchmarks"]["signs"]["delta"]["full"]["estimate"] == pytest.approx(0.1)
    assert third["verdict"].startswith(
        "c against a: the gap on signs is smaller, 10.0 against 40.0 points: -30.0 points"
    )


# --- the verdict -----------------------------------------------------------------------------------------------------


def delta(estimate: float, low: float, high: float) -> dict[str, Any]:
    return {"estimate": estimate, "ci": [low, high], "p_value": 0.5 if low <= 0 <= high else 0.0001}


def entry(
    full: dict[str, Any],
    crop: dict[str, Any] | None = None,
    gap: dict[str, Any] | None = None,
    closed: dict[str, Any] | None = None,
    levels: tuple[float, float] = (0.5, 0.1),
) -> dict[str, Any]:
    lost = crop is not None and crop["estimate"] < 0 and -crop["estimate"] > full["estimate"]
    sides = [{"full": {"estimate": 0.4}, "crop": {"estimate": 0.9}, "gap": {"estimate": level}} for level in levels]
    return {
        "before": sides[0], "after": sides[1], "delta": {"full": full, "crop": crop, "gap": gap},
        "gap_closed": closed or {"estimate": None, "ci": None}, "crop_lost_more": lost,
    }  # fmt: skip


def said(benchmarks: Mapping[str, dict[str, Any]], trained: bool = True) -> str:
    with_gap = [one for one in benchmarks.values() if one["delta"]["gap"]]
    return verdict(benchmarks, with_gap[0] if with_gap else None, ("A", "B"), trained=trained)


CLOSED = {"estimate": 0.8, "ci": [0.7, 0.9]}
BETTER = entry(delta(0.38, 0.33, 0.43), delta(-0.02, -0.04, 0.01), delta(-0.4, -0.46, -0.34), CLOSED)
LOST = entry(delta(0.02, -0.02, 0.06), delta(-0.3, -0.36, -0.24), delta(-0.32, -0.4, -0.24), CLOSED, (0.5, 0.18))
SAME = entry(delta(0.02, -0.02, 0.06), delta(0.01, -0.03, 0.05), delta(-0.01, -0.06, 0.04), CLOSED, (0.5, 0.49))


def test_the_verdict_of_a_success_gives_all_three_changes() -> None:
    assert said({"signs": BETTER}) == (
        "This checkpoint: the gap on signs shrank, from 50.0 to 10.0 points: -40.0 points [-46.0, -34.0] "
        "(80.0% [70.0, 90.0] of it closed); "
        "full +38.0 points [+33.0, +43.0], crop -2.0 points [-4.0, +1.0]."
    )


def test_a_gap_that_shrank_because_the_crop_got_worse_is_called_that_and_no_share_is_claimed() -> None:
    told = said({"signs": LOST})
    assert "full +2.0 points [-2.0, +6.0], crop -30.0 points [-36.0, -24.0]" in told
    assert told.endswith(
        "The gap shrank mainly because crop accuracy fell, and better reading of the full image is not shown."
    )
    assert "closed" not in told


def test_a_loss_on_the_crop_beside_a_larger_gain_is_named() -> None:
    both = entry(delta(0.3, 0.25, 0.35), delta(-0.1, -0.14, -0.06), delta(-0.4, -0.46, -0.34), CLOSED)
    assert said({"signs": both}).endswith("Crop accuracy fell, which is part of it.")


def test_an_interval_that_includes_zero_shows_nothing_and_does_not_show_that_there_is_nothing() -> None:
    told = said({"signs": SAME})
    assert told == (
        "This checkpoint: a change of the gap on signs is not shown: from 50.0 to 49.0 points, -1.0 points [-6.0, "
        "+4.0]; full +2.0 points [-2.0, +6.0], crop +1.0 points [-3.0, +5.0]."
    )
    assert "no change" not in told


def test_both_views_rising_together_is_said_although_the_gap_stays() -> None:
    risen = entry(delta(0.2, 0.15, 0.25), delta(0.2, 0.14, 0.26), delta(0.01, -0.06, 0.06), None, (0.5, 0.5))
    assert said({"signs": risen}).endswith("Full accuracy rose and crop accuracy rose.")


def test_a_gap_that_grew_is_said_with_its_reason() -> None:
    grown = entry(delta(-0.2, -0.25, -0.15), delta(0.0, -0.04, 0.04), delta(0.2, 0.14, 0.26), None, (0.3, 0.5))
    assert said({"signs": grown}).startswith(
        "This checkpoint: the gap on signs grew, from 30.0 to 50.0 points: +20.0 points [+14.0, +26.0]; "
    )
    assert said({"signs": grown}).endswith("Full accuracy fell.")


def test_a_hold_out_that_lost_is_named_with_its_loss_and_one_that_did_not_is_not_cleared() -> None:
    fell, stayed = entry(delta(-0.05, -0.08, -0.02)), entry(delta(0.0, -0.03, 0.03))
    assert said({"signs": BETTER, "chart": fell, "ocr": stayed}).endswith(
        "Full accuracy fell on chart (hold-out, -5.0 points [-8.0, -2.0])."
    )
    assert said({"signs": BETTER, "ocr": stayed}).endswith("A fall on the hold-out ocr is not shown.")


def test_two_models_are_told_apart_by_name_and_nothing_is_said_to_shrink() -> None:
    told = said({"signs": BETTER, "chart": entry(delta(-0.05, -0.08, -0.02))}, trained=False)
    assert told == (
        "B against A: the gap on signs is smaller, 10.0 against 50.0 points: -40.0 points [-46.0, -34.0] "
        "(80.0% [70.0, 90.0] smaller); full +38.0 points [+33.0, +43.0], crop -2.0 points [-4.0, +1.0]. "
        "Full accuracy is lower on chart (hold-out, -5.0 points [-8.0, -2.0])."
    )
    assert "B against A: a difference of the gap on signs is not shown" in said({"signs": SAME}, trained=False)


def test_a_mean_over_benchmarks_hides_neither_a_growing_gap_nor_a_lost_crop() -> None:
    grown = entry(delta(-0.1, -0.15, -0.05), delta(0.0, -0.04, 0.04), delta(0.1, 0.04, 0.16), None, (0.3, 0.4))
    told = verdict({"a": BETTER, "b": LOST, "c": grown}, {**BETTER, "gap_closed": None}, ("A", "B"), trained=True)
    assert told.startswith(
        "This checkpoint: the gap over 3 benchmarks shrank, from 50.0 to 10.0 points: -40.0 points [-46.0, -34.0]; "
        "full +38"
    )
    assert "On c it grew" in told
    assert "on b the crop, by the estimates, lost more than the full image gained" in told
    assert "full accuracy fell on c (-10.0 points [-15.0, -5.0])" in told


def test_a_benchmark_of_a_single_cluster_is_no_part_of_the_mean(tmp_path: Path) -> None:
    before, after = changes(("wr", "rr", 12), ("rr", "rr", 20))
    runs = []
    for some, tiny in ((before, ["wr"]), (after, ["rr"])):
        runs.append([*answers("signs", some), *answers("zoom", some), *answers("tiny", tiny)])
    summary = compared(tmp_path, *runs).summary
    assert summary["macro"]["benchmarks"] == 2
    assert "the gap over 2 benchmarks is smaller" in summary["verdict"]
    assert "no interval" not in summary["verdict"]


def test_without_any_gap_the_full_views_are_told_one_by_one() -> None:
    many = {f"bench{i}": entry(delta(-0.05, -0.08, -0.02)) for i in range(5)}
    told = said({**many, "ok": entry(delta(0.01, -0.02, 0.04))})
    assert told.startswith(
        "This checkpoint: no gap was compared. Full accuracy fell on bench0 (-5.0 points [-8.0, -2.0]), bench1 ("
    )
    assert "and 2 more; a change of full accuracy is not shown on ok (+1.0 points [-2.0, +4.0])." in told


@given(st.floats(-1, 1), st.floats(0, 0.2), st.floats(0, 0.2))
def test_a_shown_change_never_prints_a_limit_of_the_other_sign_or_zero(mid: float, down: float, up: float) -> None:
    ci = (mid - down, mid + up)
    text = change_in_words({"estimate": mid, "ci": ci})
    low, high = (float(bound) for bound in text.partition("[")[2].rstrip("]").split(","))
    if ci[0] > 0.001:
        assert low > 0
    if ci[1] < -0.001:
        assert high < 0


# --- the package -----------------------------------------------------------------------------------------------------


def test_comparing_loads_no_torch(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / name, answers("signs", ["wr", "rr"]))
    code = (
        "import sys; from gapbench.commands.compare import compare; done = compare('one', 'two', out='out'); "
        "assert done.report.exists(); assert not {'torch', 'transformers'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)


def test_the_same_runs_give_the_same_files_in_whatever_order_the_answers_came(tmp_path: Path) -> None:
    before, after = (answers("signs", some) for some in changes(*FIVE))
    names = ("comparison.json", "comparison.html", "comparison.md")
    files = []
    for folder, order in (("a", 1), ("b", -1)):
        done = compared(tmp_path / folder, before[::order], after[::order])
        files.append([(done.path / name).read_bytes() for name in names])
    assert files[0] == files[1]


def test_every_key_is_described_in_the_schema(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "reports" / "COMPARISON_SCHEMA.md").read_text(encoding="utf-8")
    done = of_moves(tmp_path, *FIVE)

    def keys(value: Any, skip: bool = False) -> set[str]:
        if isinstance(value, list):
            return set().union(*(keys(one) for one in value)) if value else set()
        if not isinstance(value, dict):
            return set()
        own = set() if skip else set(value)
        return own.union(*(keys(one, key in ("benchmarks", "by_category", "metrics")) for key, one in value.items()))

    assert {key for key in keys(done) if f"`{key}`" not in text} == set()


def test_a_trained_checkpoint_stands_among_the_cures_of_the_run_before(tmp_path: Path) -> None:
    before, after = changes(("wr", "rr", 60), ("wr", "wr", 20), ("rr", "rr", 20))
    rows = [*answers("signs", before, image_tokens=100), *answers("other", ["wr", "rr"] * 9)]
    zoom = [{**row, "view": "full+crop", "image_tokens": 150} for row in rows if row["view"] == "crop"]
    trained = [*answers("signs", after, image_tokens=100), *answers("other", ["wr", "rr"] * 9)]
    done = compared(tmp_path, [*rows, *(row for row in zoom if row["benchmark"] == "signs")], trained)
    assert list(done.summary["cures"]) == ["signs"], "the other benchmark was not measured in a view that cures"
    cures = {cure["name"]: cure for cure in done.summary["cures"]["signs"]["cures"]}
    assert list(cures) == ["full image", "crop", "oracle zoom", "two"]
    assert cures["two"]["share"]["estimate"] == pytest.approx(60 / 80)
    assert cures["two"]["times_image_tokens"]["estimate"] == 1.0
    sentence = (
        "80.0 of 80.0 points come back with oracle zoom at 1.5 times the tokens and 60.0 with two at no more tokens."
    )
    assert done.summary["cures"]["signs"]["sentence"] == sentence
    for page in (done.report, done.path / "comparison.md"):
        assert sentence in page.read_text(encoding="utf-8")


def test_a_comparison_without_such_views_has_no_cures(tmp_path: Path) -> None:
    assert "cures" not in of_moves(tmp_path, *FIVE)
    assert "at what price" not in (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")


def test_a_notebook_shows_the_verdict_and_escapes_names(tmp_path: Path) -> None:
    rows = answers("<b>signs", ["wr", "rr"])
    shown = compared(tmp_path, rows, rows)._repr_html_()
    assert "&lt;b&gt;signs" in shown
    assert "<b>" not in shown


def test_every_seed_of_a_side_is_among_the_changes(tmp_path: Path) -> None:
    """The second training fell from 20 of 20 to 10 in full. A gate that saw the first alone would pass."""
    pairs = {"before": repeated(rr=20), "one": repeated(rr=20), "two": repeated(rr=10, wr=10)}
    before, one, two = (write_run(tmp_path / name, answers("signs", some)) for name, some in pairs.items())
    done = compare(before, [one, two], out=tmp_path / "out")
    full = done.frame().query("measure == 'full'").set_index("run")["change"]
    assert full.to_dict() == {"one": 0.0, "two": pytest.approx(-0.5)}
    assert done.summary["not_compared"] == {}
    assert [met for met, _ in judged(parse_gate("full < -2"), done.summary)] == [False, True]


def test_its_figures_are_files_with_the_numbers_that_they_show(tmp_path: Path) -> None:
    before, after = changes(("wr", "rr", 40), ("rr", "rr", 40), ("ww", "wr", 20))
    sides = [
        [{**row, "evidence_area": 0.01 * (1 + place // 50)} for place, row in enumerate(answers("signs", side))]
        for side in (before, after)
    ]
    found = compared(tmp_path, *sides, figures=tmp_path / "figures").summary["benchmarks"]["signs"]
    assert {path.stem for path in (tmp_path / "figures").glob("*.pdf")} == {"change", "signs-sizes"}
    change = pd.read_csv(tmp_path / "figures" / "change.csv").set_index("series")["value"]
    assert change.to_dict() == {
        f"signs {view} {when}": pytest.approx(found[when][view]["estimate"])
        for view in ("full", "crop") for when in ("before", "after")
    }  # fmt: skip
    sizes = pd.read_csv(tmp_path / "figures" / "signs-sizes.csv")
    assert sizes.groupby("series")["n"].sum().to_dict() == dict.fromkeys(sizes["series"], 100)
