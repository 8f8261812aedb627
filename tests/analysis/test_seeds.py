"""Several trainings of one recipe: every seed is shown, and no interval speaks of seeds that were not trained."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from commands.test_compare import answers, write_run

from gapbench.commands.compare import compare
from gapbench.errors import SettingError
from gapbench.report.comparison.page import notebook_html


def run(folder: Path, wr: int, rr: int, ww: int = 0) -> Path:
    """A run of `signs` with so many samples that are wrong in full and right in the crop, right or wrong in both."""
    return write_run(folder, answers("signs", ["wr"] * wr + ["rr"] * rr + ["ww"] * ww))


@pytest.fixture
def seeds(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A gap of 50 points, and three trainings that leave 20, 10 and 15."""
    after = [run(tmp_path / f"seed-{n}" / "after", wr, 100 - wr) for n, wr in enumerate((20, 10, 15))]
    before = run(tmp_path / "seed-0" / "before", 50, 50)
    (tmp_path / "seed-0" / "train.jsonl").write_text('{"step": 1, "loss": 0.1}\n')
    return before, after


def test_every_seed_its_range_and_its_standard_deviation_are_told(
    seeds: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    before, after = seeds
    found = compare(before, after, out=tmp_path / "all").summary
    entry = found["seeds"]["benchmarks"]["signs"]
    assert entry["n"] == 100
    assert entry["gap"]["after"]["values"] == pytest.approx([0.2, 0.1, 0.15])
    assert entry["gap"]["after"]["mean"] == pytest.approx(0.15)
    assert entry["gap"]["after"]["sd"] == pytest.approx(statistics.stdev([0.2, 0.1, 0.15]))
    assert entry["gap"]["after"]["range"] == pytest.approx([0.1, 0.2])
    assert entry["gap_closed"]["values"] == pytest.approx([0.6, 0.8, 0.7])
    assert entry["full"]["delta"]["mean"] == pytest.approx(0.35)
    low, high = entry["full"]["delta"]["ci"]
    assert low < 0.35 < high
    assert found["verdict"].startswith(
        "Over 3 trainings the gap on signs went from 50.0 to 15.0 points on average (10.0 to 20.0, standard deviation "
        "5.0); 70.0% of it closed (60.0% to 80.0%). The first of them: the gap on signs shrank"
    )


def test_the_mean_change_has_the_interval_of_averaged_samples_not_of_more_samples(
    seeds: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    before, after = seeds
    copies = [run(tmp_path / f"copy-{n}", 20, 80) for n in range(3)]
    three = compare(before, copies, out=tmp_path / "three").summary["seeds"]["benchmarks"]["signs"]["gap"]["delta"]
    one = compare(before, after[0], out=tmp_path / "one").summary["benchmarks"]["signs"]["delta"]["gap"]
    assert three["ci"] == pytest.approx(one["ci"])
    assert three["sd"] == 0


def test_one_training_speaks_of_its_checkpoint_alone(seeds: tuple[Path, list[Path]], tmp_path: Path) -> None:
    found = compare(seeds[0], seeds[1][0], out=tmp_path / "one").summary
    assert found["seeds"] is None
    assert found["verdict"].startswith("This checkpoint: the gap on signs shrank")


def test_sides_of_equally_many_runs_are_paired_in_order(tmp_path: Path) -> None:
    before = [run(tmp_path / f"a{n}", wr, 100 - wr) for n, wr in enumerate((50, 40))]
    after = [run(tmp_path / f"b{n}", wr, 100 - wr) for n, wr in enumerate((25, 10))]
    found = compare(before, after, out=tmp_path / "out").summary["seeds"]["benchmarks"]["signs"]
    assert found["gap"]["delta"]["values"] == pytest.approx([-0.25, -0.3])
    assert found["gap_closed"]["values"] == pytest.approx([0.5, 0.75])


def test_other_numbers_of_runs_and_empty_sides_are_refused(seeds: tuple[Path, list[Path]], tmp_path: Path) -> None:
    before, after = seeds
    with pytest.raises(SettingError, match="found 2 runs before and 3 after"):
        compare(after[:2], [before, after[2], run(tmp_path / "more", 1, 99)], out=tmp_path / "x")
    with pytest.raises(SettingError, match="found no run after"):
        compare(before, [], out=tmp_path / "x")


def test_samples_that_one_seed_lacks_count_for_none(seeds: tuple[Path, list[Path]], tmp_path: Path) -> None:
    before, after = seeds
    short = run(tmp_path / "short", 20, 60)
    entry = compare(before, [after[0], short], out=tmp_path / "out").summary["seeds"]["benchmarks"]["signs"]
    assert entry["n"] == 80


def test_the_pages_show_every_seed(seeds: tuple[Path, list[Path]], tmp_path: Path) -> None:
    comparison = compare(seeds[0], seeds[1], out=tmp_path / "all")
    for name in ("comparison.html", "comparison.md"):
        page = (tmp_path / "all" / name).read_text()
        assert "Every seed (3 runs after)" in page
        assert "+20.0 · +10.0 · +15.0" in page
        assert "60.0% · 80.0% · 70.0%" in page
    assert "Over 3 trainings" in notebook_html(comparison.summary)
    assert json.loads((tmp_path / "all" / "comparison.json").read_text())["seeds"]["after"]
