"""Every benchmark of the catalogue, on a miniature in its published form: the same code path as the real data.

A miniature is `tests/benchmarks/miniatures/NAME.py` with `write(folder)`.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gapbench
from gapbench.analysis.metrics import METRICS
from gapbench.cli.app import app
from gapbench.commands.check import check
from gapbench.data.catalogue import load, names
from gapbench.data.task import TaskSettings, make_task
from gapbench.errors import BenchmarkError
from gapbench.types import Card
from gapbench.views.prompts import NEUTRAL, prompt, template_of

FETCHED = [name for name in names() if not name.startswith("signs")]


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> str:
    """`NAME=FOLDER`, as one gives a local copy."""
    name = str(request.param)
    folder = tmp_path_factory.mktemp(name)
    importlib.import_module(f"benchmarks.miniatures.{name}").write(folder)
    return f"{name}={folder}"


each = pytest.mark.parametrize("miniature", FETCHED, indirect=True, scope="module")


def card_of(spec: str) -> Card:
    return load(spec).card


@each
def test_a_check_finds_nothing_but_that_the_miniature_is_small(miniature: str) -> None:
    result = check(make_task(load(miniature), TaskSettings()))
    expected = re.compile(r"[^:]+(: [a-z ]+)?: found \d+, the card expects \d+\.")
    assert [p for p in result.problems if not expected.fullmatch(p)] == []
    assert result.counts["samples"] > 0
    assert check(make_task(load(miniature), TaskSettings(limit=10_000))).problems == ()


@each
def test_the_check_command_says_that_counts_differ_and_shows_a_sheet(miniature: str, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    done = CliRunner().invoke(app, ["benchmarks", "check", miniature, "--sheet", str(sheet)])
    assert done.exit_code == (1 if card_of(miniature).expected else 0), done.output
    assert "data:image/jpeg" in sheet.read_text(encoding="utf-8")


@each
def test_glance_is_measured_in_both_views_where_there_is_evidence(miniature: str, tmp_path: Path) -> None:
    benchmark = load(miniature)
    evidence = benchmark.card.role in ("evidence", "training")
    assert any(s.boxes or s.crop_image is not None for s in benchmark.samples()) == evidence or (
        benchmark.name == "hrbench_pair"
    )
    views = ("full", "crop") if evidence or benchmark.name == "hrbench_pair" else ("full",)
    run = gapbench.measure("glance", miniature, views, tmp_path / "run", limit=8, max_new_tokens=4, selfcheck=False)
    entry = run.summary["benchmarks"][benchmark.name]
    assert {v for v in views if entry["views"][v]["n"] > 0} == set(views)
    assert (entry["gap"] is not None) == (len(views) == 2)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert manifest["protocol"] == NEUTRAL
    if len(views) == 1:
        with pytest.raises(BenchmarkError, match=f"{benchmark.name}: none of its .* has an evidence box"):
            gapbench.measure("glance", miniature, ("full", "crop"), tmp_path / "refused", max_new_tokens=4)


@each
def test_every_protocol_has_a_prompt_for_every_question_and_a_metric(miniature: str) -> None:
    benchmark = load(miniature)
    for name in (NEUTRAL, *benchmark.card.protocols):
        prompts = [prompt(s, template_of(benchmark.card, name)) for s in benchmark.samples()]
        assert all(text.strip() for text in prompts)
    metrics = [*benchmark.card.metrics, *(p.metric for p in benchmark.card.protocols.values())]
    assert set(metrics) <= set(METRICS)


@each
def test_a_local_copy_that_is_something_else_is_refused_in_words(miniature: str, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(BenchmarkError, match=r"\w"):
        load(f"{miniature.partition('=')[0]}={tmp_path}").samples()


@pytest.mark.parametrize("name", FETCHED)
def test_a_card_says_what_a_reader_must_know(name: str) -> None:
    card = load(name).card
    assert card.name == name
    assert card.licence
    assert card.scoring
    assert card.traps
    assert card.hub == "" or re.fullmatch(r"[\w.-]+/[\w.-]+(, ?[\w.-]+/[\w.-]+)*", card.hub)
    assert card.revision == "" or re.fullmatch(r"[0-9a-f]{40}(, ?[0-9a-f]{40})*", card.revision), "pin whole commits"
    assert not card.hub or card.files, "say which files are read, or all are fetched"
