"""Runs of an earlier version (tests/fixtures/runs, from 2faa4f4) can be opened, reported, compared and continued.

`measured` has two sessions, `located` has regions from a model, `distilled` has runs before and after a training.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import rename_keys

import gapbench
from gapbench.commands.report import write_results

FIXTURES = Path(__file__).parents[1] / "fixtures" / "runs"
RUNS = ("measured", "located/run", "distilled/before", "distilled/after")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The fixtures, with the keys that scripts/rename_keys.py gives them."""
    shutil.copytree(FIXTURES, tmp_path / "runs")
    assert rename_keys.rename(tmp_path / "runs")
    assert rename_keys.rename(tmp_path / "runs") == [], "once is enough"
    return tmp_path / "runs"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


YOUNGER = ("faults", "bound", "cut_off", "thought", "too_long", "scorings", "lost_in_full", "schema_version", "drift",
           "regions", "contamination", "seeds", "full_ci", "crop_ci", "not_compared")  # fmt: skip
"""Keys that summaries did not have then, and the one that says so."""
UNCERTAINTY = ("ci", "se", "mde", "method", "effective", "df", "verdict", "gap_closed")
"""Intervals are computed by another method now, and verdicts have other words; estimates and p-values are the same."""


def known_then(value: Any) -> Any:
    """A summary without the keys that are younger, and without intervals."""
    if isinstance(value, dict):
        return {key: known_then(inner) for key, inner in value.items() if key not in YOUNGER + UNCERTAINTY}
    return [known_then(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", RUNS)
def test_a_run_reports_to_the_summary_that_it_had(name: str, runs: Path) -> None:
    before = read(runs / name / "summary.json")
    assert known_then(gapbench.load_run(runs / name).summary) == known_then(before)
    now = write_results(runs / name).summary
    assert known_then(now) == known_then(before)
    assert now["benchmarks"]["signs"]["faults"] == {}
    assert (runs / name / "report.html").stat().st_size > 100_000


def test_the_only_keys_that_differ_are_those_of_the_table(runs: Path) -> None:
    for name in RUNS:
        text = (FIXTURES / name / "summary.json").read_text().replace("pictures_mean", "images_mean")
        assert json.loads(text) | {"schema_version": 3} == read(runs / name / "summary.json")


def test_a_training_s_comparison_is_the_same(runs: Path) -> None:
    done = gapbench.compare(runs / "distilled" / "before", runs / "distilled" / "after", out=runs / "distilled")
    assert known_then(done.summary) == known_then(read(FIXTURES / "distilled" / "comparison.json"))


def test_they_go_on_where_they_stopped(runs: Path) -> None:
    more = gapbench.measure("glance", "signs", out=runs / "measured", limit=62)
    assert len(more.frame()) == 124
    assert [session["throughput"]["answers"] for session in more.manifest["sessions"]] == [60, 60, 4]
    lines = (runs / "located" / "regions.jsonl").read_text()
    located = gapbench.locate("glance", "signs", runs / "located" / "regions.jsonl", limit=30)
    assert (runs / "located" / "regions.jsonl").read_text() == lines, "nothing was left to look for"
    assert known_then(located.summary) == known_then(read(FIXTURES / "located" / "regions.summary.json"))
