"""The anatomy in reports: only where it was measured, the same in HTML and Markdown, and safe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gapbench.analysis.summary import summarise
from gapbench.report.finishes import inline
from gapbench.report.run.anatomy_plots import cure_plot, steps_plot
from gapbench.report.run.anatomy_tables import anatomies
from gapbench.report.run.figures import write_figures
from gapbench.report.run.page import write_report
from gapbench.runs.thumbnails import save_thumbnail, thumbnail_key
from tests.analysis import planted

from .conftest import MakeRun


@pytest.fixture(scope="module")
def planted_run() -> tuple[pd.DataFrame, dict[str, Any]]:
    frame, _ = planted.records(3, images=60)
    texts = {"output": "x", "parsed": "x", "rule": "text", "reason": "", "question": "Which?", "thought": ""}
    lists = {key: [[]] * len(frame) for key in ("options", "answers", "boxes")}
    sizes = {"image_size": None, "region": None, "sent_size": None, "region_policy": "padded", "output_tokens": 1}
    frame = frame.assign(**texts, **lists, **sizes)
    return frame, summarise(frame, model="planted")


def written(folder: Path, frame: pd.DataFrame, summary: dict[str, Any]) -> tuple[str, str]:
    write_report(folder, summary=summary, manifest={}, records=frame)
    return (folder / "report.html").read_text(encoding="utf-8"), (folder / "report.md").read_text(encoding="utf-8")


def test_a_report_without_further_views_has_no_anatomy(make_run: MakeRun) -> None:
    for text in make_run().write():
        assert "Anatomy of the gap" not in text
        assert "#anatomy" not in text.partition("</style>")[2]


def test_page_and_markdown_have_the_sentence_and_every_table(
    tmp_path: Path, planted_run: tuple[pd.DataFrame, dict[str, Any]]
) -> None:
    frame, summary = planted_run
    (part,) = anatomies(summary)
    html, markdown = written(tmp_path, frame, summary)
    assert part["sentence"].startswith("Of the ")
    assert part["sentence"] in html
    assert part["sentence"] in markdown
    captions = [table.caption for table in [*part["tables"], *part["details"]]]
    assert captions == [
        "What the gap is made of", "What closes the gap, at what price", "Audit: can the evidence be trusted?",
        "Accuracy by resolution and surroundings", "Every view against full", "From wide to tight",
        "The gap without samples that fail",
    ]  # fmt: skip
    assert all(caption in html and f"### {caption}" in markdown for caption in captions)
    assert [title for title, _, _ in part["figures"]] == [
        "The gap in parts", "From full to crop, step by step", "How much of the image",
        "What closes the gap, at what price",
    ]  # fmt: skip


def test_its_figures_are_written_with_their_numbers(
    tmp_path: Path, planted_run: tuple[pd.DataFrame, dict[str, Any]]
) -> None:
    frame, summary = planted_run
    ((name, entry),) = summary["benchmarks"].items()
    files = {path.stem.removeprefix(f"{name}-"): path for path in write_figures(tmp_path, summary, frame)}
    assert {"parts", "steps", "doses", "cures"} <= set(files)
    for kind in ("parts", "steps", "doses", "cures"):
        assert all(files[kind].with_suffix(suffix).stat().st_size > 1000 for suffix in (".svg", ".pdf"))
    parts = pd.read_csv(files["parts"]).set_index("series")["value"]
    assert parts[:4].sum() == pytest.approx(parts["gap"]) == entry["anatomy"]["parts"]["gap"]["estimate"]
    doses = pd.read_csv(files["doses"])
    assert doses["from"].tolist() == [point["area"] for point in entry["anatomy"]["doses"]["points"]]


def test_parts_in_the_table_add_up_to_the_gap_below_them(planted_run: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    table = anatomies(planted_run[1])[0]["tables"][0]
    *parts, gap = [row[1].sort for row in table.rows]
    assert sum(parts) == pytest.approx(gap)


def test_failing_samples_are_shown_with_their_images(
    tmp_path: Path, planted_run: tuple[pd.DataFrame, dict[str, Any]]
) -> None:
    from PIL import Image

    frame, summary = planted_run
    sample = summary["benchmarks"]["planted"]["anatomy"]["audit"]["necessity"]["samples"][0]
    key = thumbnail_key("planted", sample)
    for view in ("full", "crop"):
        save_thumbnail(Image.new("RGB", (64, 64)), tmp_path / "thumbnails" / f"{key}-{view}.jpg")
    html, _ = written(tmp_path, frame, summary)
    section = html.partition('<section id="anatomy">')[2].partition("</section>\n\n")[0]
    shown = section.partition("Right although the evidence is hidden:")[2]
    assert f"<bdi>{sample}</bdi>" in shown
    assert "data:image/jpeg" in shown


def test_what_a_report_illustrates_includes_the_samples_that_fail(
    tmp_path: Path, planted_run: tuple[pd.DataFrame, dict[str, Any]]
) -> None:
    frame, summary = planted_run
    asked: list[tuple[str, str]] = []
    write_report(tmp_path, summary=summary, manifest={}, records=frame, cards=0, illustrate=asked.extend)
    failing = summary["benchmarks"]["planted"]["anatomy"]["audit"]["necessity"]["samples"][:4]
    assert {("planted", sample) for sample in failing} <= set(asked)


def test_names_of_cures_and_views_are_escaped(tmp_path: Path, planted_run: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    frame, summary = planted_run
    hostile = "</script><b>x</b>"
    anatomy = dict(summary["benchmarks"]["planted"]["anatomy"])
    anatomy["cures"] = [{**cure, "name": hostile} for cure in anatomy["cures"]]
    anatomy["by_view"] = {hostile: anatomy["by_view"]["full"]}
    anatomy["sentence"] = hostile
    entry = {**summary["benchmarks"]["planted"], "anatomy": anatomy}
    html, markdown = written(tmp_path, frame, {**summary, "benchmarks": {"planted": entry}})
    assert "<b>x</b>" not in html
    assert "<b>x</b>" not in markdown


def test_the_plot_of_steps_says_its_numbers_to_who_cannot_see_it() -> None:
    svg = steps_plot(0.5, [("Resolution", 0.3, (0.2, 0.4)), ("Rest", -0.1, None)], inline("x"))
    assert 'aria-label="From full, 50.0%, to crop, 70.0%: Resolution +30.0 [+20.0, +40.0]; Rest \u221210.0' in svg


def test_cures_without_tokens_have_no_plot() -> None:
    assert (
        cure_plot([{"name": "full image", "image_tokens": None, "estimate": 0.5, "ci": None}] * 3, inline("x")) is None
    )
