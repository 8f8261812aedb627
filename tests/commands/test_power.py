"""`gapbench power`: from counts, a benchmark, or a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import write_benchmark

from gapbench.analysis.sample_size import ICC, shown
from gapbench.commands.power import power
from gapbench.errors import SettingError

from .test_compare import answers, repeated, write_run


def test_counts_give_a_row_for_each_assumed_share_and_say_what_a_gap_needs() -> None:
    (found,) = power(n=800, clusters=200, gap=5)
    assert [row[0] for row in found.rows] == [0.1, 0.2, 0.3]
    assert found.worth == 800 / (1 + 3 * ICC)
    needed = found.rows[1][3]
    assert needed is not None
    assert needed[0] == 4 * needed[1] > 800
    first, *_ = found.text().splitlines()
    assert first.startswith("800 samples in 200 clusters, worth 320 independent samples show these effects, in points")
    assert first.endswith(":")
    assert f"{needed[0]:,} in {needed[1]:,}" in found.text()


def test_a_run_has_its_own_counts_and_discordant_share(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", answers("signs", repeated(wr=30, rw=10, rr=60)))
    (found,) = power(str(folder))
    assert (found.name, found.n, found.clusters) == ("signs", 100, 100)
    assert found.rows[0][0] == pytest.approx(0.4)
    assert found.rows[0][1] == shown(100, 100, 0.4).gap


def test_a_benchmark_has_the_counts_of_its_data_and_else_those_of_its_card(tmp_path: Path) -> None:
    (mine,) = power(str(write_benchmark(tmp_path / "data", questions=6)))
    assert mine.n == 6
    (unread,) = power("vstar", discordant=20)
    assert (unread.n, unread.clusters) == (191, 191)
    assert "as if each sample had its own image" in unread.text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either a benchmark or a run, or --n"),
        ({"name": "signs", "n": 3}, "either a benchmark or a run, or --n"),
        ({"n": 3, "clusters": 9}, "3 samples in 9 clusters cannot be"),
        ({"n": 0}, "0 samples in 0 clusters cannot be"),
        ({"n": 9, "gap": 0}, "--gap 0: expected a number above 0"),
        ({"n": 9, "discordant": 120}, "--discordant 120"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        power(**given)  # type: ignore[arg-type]
