"""Figures as files: every one with its data, from which it could be drawn again."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from gapbench.analysis.summary import summarise
from gapbench.report.run.figures import instead_tables, size_figures, write_figures

from .conftest import MakeRun


def test_every_figure_is_written_with_the_numbers_that_it_shows(make_run: MakeRun) -> None:
    run = make_run(("signs", "a/b", "a:b"), samples=90, thumbnails=0)
    summary = summarise(run.frame)
    files = write_figures(run.folder / "figures", summary, run.frame)
    names = {f"{name}-{kind}" for name in ("signs", "a-b", "a-b-2") for kind in ("area", "categories")} | {"gaps"}
    assert {file.stem for file in files} == names, "tokens: all images have equally many, so that is the same plot"
    for file in files:
        assert all(file.with_suffix(suffix).stat().st_size > 1000 for suffix in (".svg", ".pdf"))
    area = pd.read_csv(run.folder / "figures" / "signs-area.csv")
    bins = summary["benchmarks"]["signs"]["by_evidence_area"]
    full = area[(area["kind"] == "bin") & (area["series"] == "full")]
    assert full["value"].tolist() == pytest.approx([one["full"]["estimate"] for one in bins])
    assert full["n"].sum() == summary["benchmarks"]["signs"]["gap"]["n"]
    fit = area[(area["kind"] == "fit") & (area["series"] == "full")]
    assert len(fit) == 25
    assert ((fit["low"] < fit["value"]) & (fit["value"] < fit["high"])).all()


def test_sizes_are_shown_in_image_tokens_where_they_differ_from_area(make_run: MakeRun) -> None:
    run = make_run(samples=60, thumbnails=0).with_records(
        lambda one: replace(one, image_tokens=256 * (1 + int(one.sample) % 4)) if one.view == "full" else one
    )
    summary = summarise(run.frame)
    titles = [title for title, _ in size_figures(summary, run.frame)["plots"]]
    assert titles == ["signs", "signs: in image tokens"]


def test_what_was_read_instead_names_the_option_and_its_count(make_run: MakeRun) -> None:
    run = make_run(samples=40, thumbnails=0)
    (table,) = instead_tables(run.summary, run.frame)
    wrong = sum(one.outcome == "wrong" for one in run.records if one.view == "full")
    ((answer, n, errors, _, instead),) = table.rows
    assert (answer.text, n.text, errors.text) == ("a circle", "39", str(wrong + 1))
    assert instead.text == f"a triangle {wrong}, nothing read 1"
