"""From a card's published scores to the report: a benchmark file, a run of it, and a run of a part of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gapbench.commands.report import write_results
from gapbench.data.catalogue import load
from gapbench.data.task import TaskSettings, make_task
from gapbench.views.views import parse_views

from .test_compare import answers

BENCHMARK = """
from gapbench.data import Card, Published, Sample

CARD = Card("own", "Own", "nowhere", "CC0", expected={"samples": 10}, reference=REFERENCE)

def samples():
    for number in range(10):
        yield Sample(str(number), f"{number}.png", "Which letter?", ("A",), boxes=((1, 2, 3, 4),))
"""
STRUCTURED = '(Published("glance", 44.0, "A paper"), Published("glance", 99.0, "A paper", "crop", "neutral"))'

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(reference: str, limit: int | None = None) -> Path:
        """A run folder of the benchmark: 4 of 10 samples right in full, 7 in the crop."""
        file = tmp_path / "own.py"
        file.write_text(BENCHMARK.replace("REFERENCE", reference), encoding="utf-8")
        task = make_task(load(str(file)), TaskSettings(parse_views("full,crop"), limit=limit))
        manifest: dict[str, Any] = {
            "model": "org/Glance", "protocol": "neutral", "tasks": {"own": {**task.entry(), "repeats": 1}}
        }  # fmt: skip
        (tmp_path / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
        rows = answers("own", [*["rr"] * 4, *["wr"] * 3, *["ww"] * 3][:limit])
        (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return tmp_path

    return make


def test_a_run_of_the_whole_benchmark_is_compared(make_run: MakeRun) -> None:
    run = write_results(make_run(STRUCTURED))
    full, crop = run.summary["benchmarks"]["own"]["published"]
    assert (full["value"], full["here"]["estimate"], full["same_prompt"], full["inside"]) == (0.44, 0.4, None, True)
    assert (crop["value"], crop["here"]["estimate"], crop["same_prompt"], crop["inside"]) == (0.99, 0.7, True, False)
    markdown = (run.path / "report.md").read_text(encoding="utf-8")
    assert "| own | full image | 44.0% | 40.0%" in markdown
    assert "probably differ" in markdown


def test_a_run_of_a_part_says_so(make_run: MakeRun) -> None:
    run = write_results(make_run(STRUCTURED, limit=5))
    reasons = [one["not_compared"] for one in run.summary["benchmarks"]["own"]["published"]]
    assert reasons == ["5 of 10 samples were asked here"] * 2
    markdown = (run.path / "report.md").read_text(encoding="utf-8")
    assert "no: 5 of 10 samples were asked here" in markdown
    assert "probably differ" not in markdown


def test_a_users_card_with_texts_is_measured_and_reported(make_run: MakeRun) -> None:
    run = write_results(make_run('{"glance": "44.0 (A paper)"}'))
    assert "published" not in run.summary["benchmarks"]["own"]
    assert "44.0 (A paper)" in (run.path / "report.html").read_text(encoding="utf-8")
