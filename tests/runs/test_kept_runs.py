"""Runs that were made before the modules moved (tests/fixtures/runs, at 2faa4f4) open, report, compare and go on.

`measured` has two sessions, `located` regions that a model found, `distilled` a run before and one after a training.
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
def kept(tmp_path: Path) -> Path:
    """The fixtures with their keys renamed as scripts/rename_keys.py does it."""
    shutil.copytree(FIXTURES, tmp_path / "runs")
    assert rename_keys.rename(tmp_path / "runs")
    assert rename_keys.rename(tmp_path / "runs") == [], "once is enough"
    return tmp_path / "runs"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RUNS)
def test_a_run_reports_to_the_very_summary_that_it_had(name: str, kept: Path) -> None:
    before = read(kept / name / "summary.json")
    assert gapbench.load_run(kept / name).summary == before
    assert write_results(kept / name).summary == before
    assert (kept / name / "report.html").stat().st_size > 100_000


def test_the_only_keys_that_differ_are_those_of_the_table(kept: Path) -> None:
    for name in RUNS:
        text = (FIXTURES / name / "summary.json").read_text().replace("pictures_mean", "images_mean")
        assert json.loads(text) | {"schema_version": 3} == read(kept / name / "summary.json")


def test_a_training_s_comparison_is_the_same(kept: Path) -> None:
    done = gapbench.compare(kept / "distilled" / "before", kept / "distilled" / "after", out=kept / "distilled")
    assert done.summary == read(FIXTURES / "distilled" / "comparison.json")


def test_they_go_on_where_they_stopped(kept: Path) -> None:
    more = gapbench.measure("glance", "signs", out=kept / "measured", limit=62)
    assert len(more.frame()) == 124
    assert [session["throughput"]["answers"] for session in more.manifest["sessions"]] == [60, 60, 4]
    lines = (kept / "located" / "regions.jsonl").read_text()
    found = gapbench.locate("glance", "signs", kept / "located" / "regions.jsonl", limit=30)
    assert (kept / "located" / "regions.jsonl").read_text() == lines, "nothing was left to look for"
    assert found.summary == read(FIXTURES / "located" / "regions.summary.json")
