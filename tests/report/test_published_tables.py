"""Published scores in a report: beside the run's own numbers, those of other models in a list of their own."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gapbench.analysis.published import beside_published
from gapbench.report.run.published_tables import other_table, published_table
from gapbench.report.tables import markdown_table
from gapbench.types import Published

from .conftest import ExampleRun, MakeRun

REFERENCES = (
    Published("small-vlm", 84.4, "A paper", protocol="vision-opd"),
    Published("small-vlm", 83.48, "A fork", part="text"),
    Published("small-vlm", 25.21, "A paper", view="gap", protocol="neutral"),
    Published("small-vlm", 99.0, "<b>Elsewhere</b>", part="all 405 questions", note="reported"),
    Published("large-vlm", 90.0, "A | paper", metric="category_mean", protocol="original"),
)


def with_references(run: ExampleRun, reference: Any) -> ExampleRun:
    """The run, which is complete and has 83.1% [80, 86] in the full view and a gap of 36.4 points [26.4, 46.4]."""
    card = run.run["tasks"]["signs"]["card"] | {"reference": reference, "expected": {"samples": 12}, "region": "padded"}
    run.run["tasks"]["signs"] |= {"card": card, "region": "padded", "parameters": {}, "samples": 12, "limit": None}
    entry = run.summary["benchmarks"]["signs"]
    entry["views"]["full"] |= {"accuracy": 0.831, "ci": [0.80, 0.86], "records": 12}
    entry["gap"]["ci"] = [0.264, 0.464]
    entry["evidence"] = "annotated"
    entry["published"] = beside_published(entry, run.run, "signs")
    return run


def test_published_and_own_number_stand_side_by_side_with_the_prompt(make_run: MakeRun) -> None:
    run = with_references(make_run(samples=12), [asdict(one) for one in REFERENCES])
    rows = markdown_table(published_table(run.summary)).splitlines()
    assert rows[0] == "| Benchmark | Of | Published | Here | Same prompt | Compared | Source |"
    assert rows[2] == (
        r"| signs | full image | 84.4% | 83.1% \[80.0, 86.0\] | no (vision-opd) | inside the interval | A paper |"
    )
    assert "| full image (text) | 83.48% |" in rows[3]
    assert "| unknown |" in rows[3]
    assert r"| gap | +25.21 | +36.4 \[+26.4, +46.4\] | yes (neutral) | outside the interval |" in rows[4]
    assert (
        "| 99.0% | \u2013 | unknown | no: it covers all 405 questions | &lt;b&gt;Elsewhere&lt;/b&gt; (reported) |"
        in rows[5]
    )
    assert len(rows) == 6, "other models are not in this table"


def test_other_models_are_listed_with_metric_prompt_and_source(make_run: MakeRun) -> None:
    run = with_references(make_run(samples=12), [asdict(one) for one in REFERENCES])
    rows = markdown_table(other_table(run.summary, run.run)).splitlines()
    assert rows[2:] == [r"| signs | large-vlm | full image (Mean of categories) | 90.0% | original | A \| paper |"]


def test_a_report_notes_a_number_outside_the_interval_and_escapes_sources(make_run: MakeRun) -> None:
    html, markdown = with_references(make_run(samples=12), [asdict(one) for one in REFERENCES]).write()
    for page in (html, markdown):
        assert "prompt, pixel budget, thinking, scoring or the model itself probably differ" in page
        assert "<b>Elsewhere" not in page
    assert "Published scores of other models" in html
    assert "card.reference" not in html, "the settings do not repeat the tables"


def test_no_note_where_every_number_is_inside(make_run: MakeRun) -> None:
    html, markdown = with_references(make_run(samples=12), [asdict(REFERENCES[0])]).write()
    assert "probably differ" not in html + markdown
    assert "## Published numbers" in markdown


def test_the_texts_of_older_cards_are_shown_as_they_are(make_run: MakeRun) -> None:
    run = with_references(make_run(samples=12), {"small-vlm": "84.29 (a paper); 82.72 <i>elsewhere</i>"})
    assert run.summary["benchmarks"]["signs"]["published"] == []
    html, markdown = run.write()
    assert "84.29 (a paper); 82.72 &lt;i&gt;elsewhere&lt;/i&gt;" in html
    assert "No published number of this model" in html
    assert "Published numbers" not in markdown


def test_a_report_without_references_says_nothing_of_them(make_run: MakeRun) -> None:
    html, markdown = make_run(samples=12).write()
    assert "Published" not in html + markdown
