"""Tables: one column is one entry of one list, for HTML and Markdown alike."""

from __future__ import annotations

from gapbench.report import cells
from gapbench.report.cells import Cell
from gapbench.report.jinja import environment
from gapbench.report.tables import ROW_LIMIT, Column, markdown_table, table_of

COLUMNS = [
    Column("Benchmark", cells.text("name"), numeric=False, mean=True),
    Column("Samples", cells.count("n"), "How many"),
    Column("Gap", cells.points("gap"), mean=True),
]
ENTRY = {"name": "a|b", "n": 1200, "gap": {"estimate": 0.213, "ci": [0.1, 0.3]}}
NULLS = {"name": "bare", "n": None, "gap": None}


def test_every_row_has_a_cell_of_every_column_and_nulls_are_dashes() -> None:
    lines = markdown_table(table_of("Gap", COLUMNS, [ENTRY, NULLS])).splitlines()
    assert lines[:2] == ["| Benchmark | Samples | Gap |", "| --- | ---: | ---: |"]
    assert lines[2:] == [r"| a\|b | 1,200 | +21.3 \[+10.0, +30.0\] |", "| bare | \u2013 | \u2013 |"]


def test_rows_of_means_have_the_cells_of_columns_that_have_a_mean() -> None:
    table = table_of("Gap", COLUMNS, [ENTRY], [{**ENTRY, "name": "Mean"}])
    assert [[cell.text for cell in row] for row in table.footer] == [["Mean", "", "+21.3"]]


def test_a_new_column_appears_in_html_and_markdown() -> None:
    table = table_of(
        "Gap", [*COLUMNS, Column("Pixels", cells.count("pixels"), "Of all images")], [ENTRY | {"pixels": 5}]
    )
    template = environment(html=True).from_string('{% from "parts.j2" import number_table %}{{ number_table(table) }}')
    html = template.render(table=table)
    assert '<th scope="col" class="num" title="Of all images">Pixels</th>' in html
    assert '<td class="num" data-sort="5">5</td>' in html
    assert markdown_table(table).splitlines()[2].endswith("| 5 |")


def test_rows_beyond_the_limit_are_counted() -> None:
    table = table_of("Gap", COLUMNS, [ENTRY] * (ROW_LIMIT + 3))
    assert (len(table.rows), table.left_out) == (ROW_LIMIT, 3)
    assert markdown_table(table).endswith("3 more rows are in summary.json.")


def test_what_is_lost_in_full_has_the_number_of_samples_behind_it() -> None:
    lost = cells.lost("lost")
    assert lost({"lost": {"estimate": 1.0, "ci": None, "n": 1}}) == Cell("100.0%", "of 1", 1.0)
    assert lost({"lost": {"estimate": 0.5, "ci": [0.1, 0.9], "n": 1200}}).note == "[10.0, 90.0] of 1,200"
    assert lost({"lost": {"estimate": 0.5, "ci": [0.1, 0.9]}}).note == "[10.0, 90.0]", "of an older summary"
    assert lost({"lost": None}).text == "\u2013"
