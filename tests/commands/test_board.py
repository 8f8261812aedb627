"""A board of hand-made runs: its numbers, its files, its labels, and what it says of runs that do not fit."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import gapbench
from gapbench.analysis.summary import SCHEMA_VERSION
from gapbench.commands.board import board
from gapbench.commands.compare import compare
from gapbench.errors import RunError, SettingError
from gapbench.util.files import write_json

from .test_compare import answers, repeated
from .test_compare import write_run as write_records

ROOT = Path(__file__).parents[2]
POOR, FAIR, GOOD = {"ww": 40, "wr": 50, "rr": 10}, {"ww": 20, "wr": 50, "rr": 30}, {"ww": 10, "wr": 10, "rr": 80}


def write_run(folder: Path, *rows: Iterable[dict[str, Any]], **manifest: Any) -> Path:
    """A run with a summary that says nothing: a board is made from the records, and a report takes a second."""
    write_json(folder / "summary.json", {"schema_version": SCHEMA_VERSION, "verdict": "", "benchmarks": {}})
    return write_records(folder, *rows, **manifest)


def three(folder: Path, *benchmarks: str) -> Path:
    for name, shares in (("poor", POOR), ("fair", FAIR), ("good", GOOD)):
        rows = (answers(b, repeated(**shares), evidence_area=0.01) for b in benchmarks or ("signs",))
        write_run(folder / name, *rows)
    return folder


def test_numbers_ranks_and_differences_by_hand(tmp_path: Path) -> None:
    found = board(three(tmp_path / "runs"), tmp_path / "out", baseline="poor").summary
    models = found["benchmarks"]["signs"]["models"]
    assert {name: one["full"]["estimate"] for name, one in models.items()} == {"poor": 0.1, "fair": 0.3, "good": 0.8}
    assert {name: one["gap"]["estimate"] for name, one in models.items()} == pytest.approx(
        {"poor": 0.5, "fair": 0.5, "good": 0.1}
    )
    assert models["good"]["lost_in_full"]["estimate"] == pytest.approx(10 / 90)
    places = {name: tuple(one["full"][key] for key in ("rank", "best", "worst")) for name, one in models.items()}
    assert places == {"poor": (3, 3, 3), "fair": (2, 2, 2), "good": (1, 1, 1)}
    gaps = {name: tuple(one["gap"][key] for key in ("rank", "best", "worst")) for name, one in models.items()}
    assert gaps == {"poor": (2, 2, 3), "fair": (2, 2, 3), "good": (1, 1, 1)}
    against = found["benchmarks"]["signs"]["against"]
    assert set(against) == {"fair", "good"}
    assert against["good"]["full"]["estimate"] == pytest.approx(0.7)
    assert against["good"]["gap"]["estimate"] == pytest.approx(-0.4)
    assert against["good"]["full"]["ci"][0] > 0 > against["good"]["gap"]["ci"][1]
    assert found["verdict"] == (
        "3 models on 1 benchmark, 100 shared samples: on signs, good answers most from the full image (80.0%, rank 1); "
        "good has the smallest gap (10.0 points, rank 1)"
    )


def test_a_verdict_names_no_winner_where_the_data_show_none(tmp_path: Path) -> None:
    shares = {"one": {"ww": 14, "wr": 1, "rw": 4}, "two": {"ww": 17, "wr": 2}, "three": {"ww": 19}}
    for name, share in shares.items():
        write_run(tmp_path / "runs" / name, answers("signs", repeated(**share)))
    found = board(tmp_path / "runs", tmp_path / "out").summary
    places = {m: [one[m]["worst"] for one in found["benchmarks"]["signs"]["models"].values()] for m in ("full", "gap")}
    assert places == {"full": [3, 3, 3], "gap": [3, 3, 3]}, "else this test is of nothing"
    assert found["verdict"] == (
        "3 models on 1 benchmark, 19 shared samples: on signs, the data do not show which of 3 models answers most "
        "from the full image (best estimate: one, 21.1%); the data do not show which of 3 models has the smallest gap "
        "(best estimate: one, -15.8 points, no less from the full image than from the crop)"
    )


def test_a_verdict_on_one_model_compares_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "one", answers("signs", repeated(**GOOD)))
    verdict = board(tmp_path / "runs", tmp_path / "out").summary["verdict"]
    assert verdict.endswith("only one is measured in the full image (80.0%); only one has a gap (10.0 points)")


def test_many_unparsed_answers_are_an_alert_with_model_benchmark_and_share(tmp_path: Path) -> None:
    runs = three(tmp_path / "runs")
    write_run(runs / "mute", answers("signs", repeated(uw=20, wr=70, wu=9, rr=1)))
    made = board(runs, tmp_path / "out")
    text = "The run mute: 20.0% of the full-view answers and 9.0% of the crop-view answers could not be parsed and "
    found = [alert for alert in made.summary["alerts"] if alert["benchmark"]]
    assert found == [{"benchmark": "signs", "text": f"{text}count as wrong."}]
    for name in ("board.html", "board.md"):
        assert text in (made.path / name).read_text(encoding="utf-8")


def test_the_differences_are_those_of_a_comparison(tmp_path: Path) -> None:
    runs = three(tmp_path / "runs")
    found = board(runs, tmp_path / "out", baseline="good").summary["benchmarks"]["signs"]["against"]["poor"]
    delta = compare(runs / "good", runs / "poor", out=tmp_path / "two").summary["benchmarks"]["signs"]["delta"]
    for measure in ("full", "crop", "gap"):
        assert found[measure]["estimate"] == pytest.approx(delta[measure]["estimate"])
        assert found[measure]["ci"] == pytest.approx(delta[measure]["ci"])


def test_all_numbers_of_a_benchmark_rest_on_the_samples_that_all_answered(tmp_path: Path) -> None:
    three(tmp_path / "runs")
    write_run(tmp_path / "runs" / "late", answers("signs", ["f-", *repeated(**GOOD)[1:]]))
    found = board(tmp_path / "runs", tmp_path / "out").summary["benchmarks"]["signs"]
    assert (found["n"], found["dropped"]) == (99, 1)
    assert found["models"]["poor"]["full"]["estimate"] == pytest.approx(10 / 99)


def test_a_mean_is_over_what_all_in_it_measured_and_names_the_others(tmp_path: Path) -> None:
    three(tmp_path / "runs", "signs", "zoom")
    write_run(tmp_path / "runs" / "half", answers("signs", repeated(**GOOD)))
    found = board(tmp_path / "runs", tmp_path / "out").summary
    assert found["mean"]["benchmarks"] == ["signs", "zoom"]
    assert set(found["mean"]["models"]) == {"poor", "fair", "good"}
    assert found["mean"]["without"] == ["half"]
    assert found["mean"]["models"]["fair"]["full"]["estimate"] == pytest.approx(0.3)
    assert "half" in found["benchmarks"]["signs"]["models"]


def test_regions_made_by_a_model_have_a_mean_of_their_own(tmp_path: Path) -> None:
    for name, shares in (("poor", POOR), ("good", GOOD)):
        located = answers("located", repeated(**shares), evidence="model")
        write_run(tmp_path / "runs" / name, answers("signs", repeated(**shares)), located)
    found = board(tmp_path / "runs", tmp_path / "out").summary
    assert found["mean"]["benchmarks"] == ["signs"]
    assert found["mean_model"]["benchmarks"] == ["located"]
    assert "regions made by a model" in (tmp_path / "out" / "board.html").read_text(encoding="utf-8")


def test_a_hold_out_is_a_column_and_not_in_the_mean(tmp_path: Path) -> None:
    for name, shares in (("poor", POOR), ("good", GOOD)):
        held_out = answers("pope", repeated(r=60, w=40), boxes=[], evidence="")
        write_run(tmp_path / "runs" / name, answers("signs", repeated(**shares)), held_out)
    found = board(tmp_path / "runs", tmp_path / "out").summary
    assert found["mean"]["benchmarks"] == ["signs"]
    assert found["benchmarks"]["pope"]["models"]["poor"]["gap"] is None
    assert found["benchmarks"]["pope"]["models"]["poor"]["full"]["best"] == 1


def test_labels_and_baseline_are_folders_or_names(tmp_path: Path) -> None:
    runs = three(tmp_path / "runs")
    made = board(runs, tmp_path / "out", baseline=runs / "poor", labels={str(runs / "poor"): "base", "good": "best"})
    assert [run["label"] for run in made.summary["runs"]] == ["fair", "best", "base"]
    assert made.summary["baseline"] == "base"
    with pytest.raises(SettingError, match=r"--label nobody: no such run here\. The board has fair, good, poor"):
        board(runs, tmp_path / "out", labels={"nobody": "x"})
    with pytest.raises(SettingError, match="'same' names several runs"):
        board(runs, tmp_path / "out", labels={"good": "same", "poor": "same"})
    with pytest.raises(SettingError, match="--baseline nobody: no such run here"):
        board(runs, tmp_path / "out", baseline="nobody")


def test_what_cannot_be_read_is_left_out_with_the_reason(tmp_path: Path) -> None:
    runs = three(tmp_path / "runs")
    (write_run(runs / "torn", answers("signs", ["rr"])) / "run.json").write_text("{", encoding="utf-8")
    write_run(runs / "empty")
    shard = {"of": 2, "parts": {"1": {"signs": {"samples": 100, "answers": 200}}}}
    of_all = {"signs": {"region": "padded", "samples": 200}}
    write_run(runs / "part", answers("signs", repeated(**GOOD)), shard=shard, benchmarks=of_all)
    reasons = {Path(one["run"]).name: one["reason"] for one in board(runs, tmp_path / "out").summary["left_out"]}
    assert set(reasons) == {"torn", "empty", "part"}
    assert "cannot be read" in reasons["torn"]
    assert "no answers yet" in reasons["empty"]
    assert "gapbench merge" in reasons["part"]
    with pytest.raises(RunError, match="found no run"):
        board(tmp_path / "out", tmp_path / "other")
    with pytest.raises(RunError, match="found no run"):
        board(tmp_path / "missing", tmp_path / "other")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run.json", '{"model": "\\ud800", "benchmarks": {"signs": {}}}'),
        ("run.json", "[" * 100_000),
        ("summary.json", "[" * 100_000),
        ("summary.json", '{"schema_version": "x"}'),
        ("records.jsonl", json.dumps({**answers("signs", ["rr"])[0], "score": "abc"}) + "\n"),
        ("records.jsonl", json.dumps({**answers("signs", ["rr"])[0], "evidence_area": "x"}) + "\n"),
    ],
    ids=["surrogate", "deep run", "deep summary", "version", "score", "area"],
)
def test_a_damaged_run_is_named_and_takes_no_other_down(file: str, text: str, tmp_path: Path) -> None:
    runs = three(tmp_path / "runs")
    (runs / "good" / file).write_text(text, encoding="utf-8")
    found = board(runs, tmp_path / "out").summary
    assert [Path(one["run"]).name for one in found["left_out"]] == ["good"]
    assert len(found["benchmarks"]["signs"]["models"]) == 2
    with pytest.raises(RunError, match="good"):
        gapbench.export([runs / "good"], "csv", tmp_path / "x.csv")


def test_a_board_of_unfinished_runs_alone_says_what_lacks(tmp_path: Path) -> None:
    write_run(tmp_path / "part", answers("signs", ["rr"] * 3), benchmarks={"signs": {"region": "padded", "samples": 9}})
    with pytest.raises(RunError, match=r"no run has enough answers .*3 of 9 samples are answered in every view"):
        board(tmp_path / "part", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_cures_of_the_baseline_stand_beside_the_runs_that_were_asked_the_same(tmp_path: Path) -> None:
    runs = three(tmp_path / "runs")
    zoom = [{**row, "view": "full+crop"} for row in answers("signs", repeated(**POOR)) if row["view"] == "crop"]
    write_run(runs / "poor", answers("signs", repeated(**POOR), image_tokens=100), zoom)
    write_run(runs / "odd", answers("signs", repeated(**GOOD)), protocol="original")
    found = board(runs, tmp_path / "out", baseline="poor")
    (entry,) = found.summary["cures"].values()
    assert [cure["name"] for cure in entry["cures"]] == ["full image", "crop", "oracle zoom", "fair", "good"]
    assert [round(cure["share"]["estimate"], 3) for cure in entry["cures"][2:]] == [1.0, 0.4, 1.4]
    assert entry["sentence"] in found.report.read_text(encoding="utf-8")
    assert entry["sentence"] in (found.path / "board.md").read_text(encoding="utf-8")
    assert board(runs, tmp_path / "out").summary["cures"] == {}, "without a baseline there is no gap to close"


def test_every_key_is_described_in_the_schema(tmp_path: Path) -> None:
    text = (ROOT / "reports" / "BOARD_SCHEMA.md").read_text(encoding="utf-8")
    three(tmp_path / "runs", "signs", "zoom")
    write_run(tmp_path / "runs" / "odd", answers("signs", repeated(**GOOD)), protocol="original")
    found = board(tmp_path / "runs", tmp_path / "out", baseline="poor").summary

    def keys(value: Any, named: bool = False) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value))
        if not isinstance(value, dict):
            return set()
        by_name = ("models", "against", "folders", "identity")
        inner = (
            keys(one, key in by_name or (key == "benchmarks" and isinstance(one, dict))) for key, one in value.items()
        )
        return (set() if named else set(value)).union(*inner)

    found_keys = keys(found)
    assert len(found_keys) > 40
    assert {key for key in found_keys if f"`{key}`" not in text} == set()


def test_the_same_runs_give_the_same_files(tmp_path: Path) -> None:
    three(tmp_path / "runs", "signs", "zoom")
    names = ("board.html", "board.md", "board.json", "board.csv")
    made = [board(tmp_path / "runs", tmp_path / "out").path for _ in range(2)]
    first, second = ({name: (folder / name).read_bytes() for name in names} for folder in made)
    assert first == second
    assert json.loads(first["board.json"])["schema_version"] == 1


def test_csv_and_frame_have_a_row_per_run_and_benchmark(tmp_path: Path) -> None:
    made = gapbench.board(three(tmp_path / "runs", "signs", "zoom"), out=tmp_path / "out")
    frame = made.frame()
    assert len(frame) == 3 * 3, "two benchmarks and their mean"
    assert frame.groupby("benchmark").full.max().to_dict() == pytest.approx({"signs": 0.8, "zoom": 0.8, "mean": 0.8})
    with (tmp_path / "out" / "board.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    counts = ("n", "clusters", "full_rank", "gap_worst", "lost_in_full_n")
    assert [lines[0][key] for key in counts] == ["100", "100", "2", "3", "80"], "whole numbers, beside means without"
    one = gapbench.board(three(tmp_path / "one"), out=tmp_path / "out").frame()
    assert set(one.benchmark) == {"signs"}, "a mean of one benchmark is that benchmark"
    assert len(lines) == len(frame)
    assert float(lines[0]["gap_low"]) < float(lines[0]["gap"]) < float(lines[0]["gap_high"])
    assert repr(made) == f"Board({str(tmp_path / 'out')!r}, 3 runs, 2 benchmarks)"


def test_a_comparison_in_the_folder_of_the_board_is_linked(tmp_path: Path) -> None:
    runs = three(tmp_path / "runs")
    first = board(runs, tmp_path / "out").summary["comparisons"]
    assert first["made"] == []
    compare(runs / "poor", runs / "good", out=tmp_path / "out" / "compare-poor-good")
    made = board(runs, tmp_path / "out").summary["comparisons"]["made"]
    assert made == [["poor", "good", "compare-poor-good/comparison.html"]]


def test_the_pair_at_first_is_of_two_models_where_there_are_two(tmp_path: Path) -> None:
    for name, model, shares in (("a", "x", GOOD), ("b", "x", FAIR), ("c", "y", POOR)):
        write_run(tmp_path / name, answers("signs", repeated(**shares)), model=model)

    def pair(*names: str, **options: Any) -> list[str]:
        page = board([tmp_path / name for name in names], tmp_path / "out", **options).report
        return re.findall(r'value="([^"]+)" selected', page.read_text(encoding="utf-8"))[1:]

    assert pair("a", "b", "c") == ["x (a)", "y"]
    assert pair("a", "b", "c", baseline="y") == ["y", "x (a)"]
    assert pair("a", "b") == ["x (a)", "x (b)"], "the same model twice if there is no other"


def test_small_bins_of_area_are_not_drawn_and_the_page_says_so(tmp_path: Path) -> None:
    def page(n: int) -> str:
        for name in ("a", "b"):
            rows = answers("signs", repeated(wr=3 * n, rr=3 * n))
            spread = [{**row, "evidence_area": 0.01 * (1 + place // (2 * n))} for place, row in enumerate(rows)]
            write_run(tmp_path / name, spread)
        made = board([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
        assert min(one["n"] for one in made.summary["area"]) == n
        return made.report.read_text(encoding="utf-8")

    drawn = page(10)
    assert 'id="area-model-0"' in drawn
    assert "Bins with fewer than 10 samples or without an interval are not drawn." in drawn
    assert "other benchmarks" not in drawn, "there is one"
    assert "Gap against evidence area" not in page(9), "nothing is drawn if no two bins remain"


def test_nothing_is_said_of_settings_that_are_equal(tmp_path: Path) -> None:
    pages = []
    for protocol in ("neutral", "original"):
        write_run(tmp_path / "a", answers("signs", repeated(**GOOD)))
        write_run(tmp_path / "b", answers("signs", repeated(**FAIR)), generation={"max_new_tokens": len(protocol)})
        write_run(tmp_path / "a", answers("signs", repeated(**GOOD)), generation={"max_new_tokens": 7})
        pages.append(board([tmp_path / "a", tmp_path / "b"], tmp_path / "out").report.read_text(encoding="utf-8"))
    assert [">1 setting with different values<" in page for page in pages] == [False, True]
    assert "with different values" not in pages[0]


def test_its_figures_are_files_with_the_numbers_that_they_show(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name, shares in (("poor", POOR), ("good", GOOD)):
        rows = [answers(b, repeated(**shares)) for b in ("signs", "mean")]
        spread = [
            {**row, "evidence_area": 0.01 * (1 + place // 100)} for some in rows for place, row in enumerate(some)
        ]
        write_run(runs / name, spread)
    found = board(runs, tmp_path / "out", figures=tmp_path / "figures").summary
    files = {path.stem for path in (tmp_path / "figures").glob("*.csv")}
    assert files == {"signs", "mean", "mean-2", "evidence-area"}, "a benchmark is called mean"
    for name in files:
        assert all((tmp_path / "figures" / f"{name}{suffix}").stat().st_size > 1000 for suffix in (".svg", ".pdf"))
    signs = pd.read_csv(tmp_path / "figures" / "signs.csv").set_index("series")
    assert signs["value"].to_dict() == {"good: full": 0.8, "good: crop": 0.9, "poor: full": 0.1, "poor: crop": 0.6}
    area = pd.read_csv(tmp_path / "figures" / "evidence-area.csv")
    for label in ("poor", "good"):
        shown = area[area["series"] == label]["value"].tolist()
        assert shown == pytest.approx([one["models"][label]["estimate"] for one in found["area"]])
