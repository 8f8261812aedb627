"""The page of a board in a real browser: its script shows, filters, sorts and marks, and nothing is fetched."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commands.test_compare import answers, repeated, write_run

from gapbench.analysis.summary import SCHEMA_VERSION
from gapbench.commands.board import board
from gapbench.report.board.plots import _apart, dumbbell
from gapbench.util.files import write_json

from .live_browser import open_page
from .test_browser import CHROMIUM, TRACKER, Opened, open_report
from .test_run_page import HOSTILE, Page

browser = pytest.mark.browser
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on the path")
MODELS = {"poor": (30, 10), "fair": (20, 30), "good": (5, 55)}
"""By model: samples that are right in the crop alone, and in both views; of sixty."""


def write_runs(folder: Path, **changed: Any) -> Path:
    for name, (crop_only, both) in MODELS.items():
        shares = {"ww": 60 - crop_only - both, "wr": crop_only, "rr": both}
        rows = [
            row
            for benchmark in ("signs", "zoom")
            for number, row in enumerate(answers(benchmark, repeated(**shares)))
            if not row.update(evidence_area=0.001 * (1 + number // 2), **changed)
        ]
        write_json(folder / name / "summary.json", {"schema_version": SCHEMA_VERSION, "verdict": "", "benchmarks": {}})
        write_run(folder / name, rows)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    return board(write_runs(folder / "runs"), folder / "out", baseline="poor").path


def rows_of(opened: Opened) -> list[str]:
    """The models of the visible rows of all tables, in order."""
    return [
        str(one["data-model"])
        for tag, one in opened.page.tags
        if tag == "tr" and "data-model" in one and "hidden" not in one
    ]


def visible(opened: Opened, key: str) -> list[str]:
    return [str(one[key]) for _, one in opened.page.tags if key in one and "hidden" not in one]


def test_the_page_holds_every_number_without_a_script(made: Path) -> None:
    page = Page((made / "board.html").read_text(encoding="utf-8"))
    shown = visible(type("Opened", (), {"page": page})(), "data-place")
    assert shown == ["0"], "hidden in the file already, so nothing moves when the page opens"
    assert visible(type("Opened", (), {"page": page})(), "data-measure") == ["gap"]
    assert page.text.count("91.7%") >= 3, "good in signs, in zoom, in their mean"
    assert [one["aria-label"] for tag, one in page.tags if tag == "svg" and one.get("class") == "bell"][:1] == [
        "full 91.7%, crop 100.0%"
    ]


def test_the_markdown_has_the_same_tables(made: Path) -> None:
    text = (made / "board.md").read_text(encoding="utf-8")
    assert re.search(r"^\| good \| 1 \| 91\.7% ", text, re.MULTILINE)
    assert text.count("\n## ") >= 7, "mean, signs, zoom, four measures"


@browser
@needs_chromium
def test_it_opens_quietly_in_the_order_of_ranks(made: Path) -> None:
    opened = open_report(made, name="board.html")
    assert opened.console == []
    assert rows_of(opened)[:3] == ["good", "fair", "poor"]
    assert "3 models" in opened.page.text


@browser
@needs_chromium
def test_a_link_chooses_benchmark_measure_and_models(made: Path) -> None:
    opened = open_report(made, "#table=2&measure=full&q=OO&a=good&b=fair", "board.html")
    assert visible(opened, "data-place") == ["2"]
    assert visible(opened, "data-measure") == ["full"]
    assert set(rows_of(opened)) == {"good", "poor"}
    assert "2 of 3 models" in opened.page.text
    assert re.search(r"gapbench compare \S*runs/good \S*runs/fair --out \S*/compare-good-fair", opened.page.text)
    marked = {one["data-model"] for tag, one in opened.page.tags if tag == "tr" and one.get("class") == "first"}
    assert marked == {"good"}


@browser
@needs_chromium
def test_sorting_filtering_and_choosing_by_hand(made: Path) -> None:
    """The page's policy refuses the script that plays the reader, as it should; it is lifted for this test only."""
    driver = """<script>
      const first = document.querySelector("#places .place:not([hidden]) table");
      const buttons = [...first.tHead.querySelectorAll("button")];
      const models = () => [...first.tBodies[0].rows].map((row) => row.dataset.model).join();
      const said = [];
      buttons.find((one) => one.textContent === "Full image").click(); said.push(models());
      buttons.find((one) => one.textContent === "Full image").click(); said.push(models());
      buttons.find((one) => one.textContent === "Gap").click(); said.push(models());
      said.push(buttons.every((one) => !one.disabled && one.tabIndex === 0));
      const set = (name, value) => {
        const field = document.querySelector(`[name=${name}]`);
        field.value = value; field.dispatchEvent(new Event("input", {bubbles: true}));
      };
      const began = performance.now();
      set("q", "fair"); void document.body.offsetHeight;
      said.push(performance.now() - began < 200, location.hash);
      set("a", "good"); set("b", "good"); said.push(document.getElementById("comparison").textContent);
      document.title = JSON.stringify(said);
    </script></body>"""
    html = (made / "board.html").read_text(encoding="utf-8")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace("</body>", driver)
    (made / "driven.html").write_text(html, encoding="utf-8")
    opened = open_report(made, name="driven.html")
    assert opened.console == []
    said = json.loads(re.search(r"title\n\s+(\[.*\])", opened.page.text)[1])  # type: ignore[index]
    assert said == ["poor,fair,good", "good,fair,poor", "good,fair,poor", True, True, "#q=fair",
                    "Choose two different models."]  # fmt: skip


@browser
@needs_chromium
def test_hostile_names_neither_run_nor_fetch(tmp_path: Path) -> None:
    trap = f"{HOSTILE}<img src='{TRACKER}'>"
    runs = write_runs(tmp_path / "runs")
    for name in MODELS:
        file = runs / name / "run.json"
        run = json.loads(file.read_text(encoding="utf-8"))
        run["model"], run["protocol"] = f"{name} {trap}", trap
        run["benchmarks"]["signs"]["card"] = {"notice": trap}
        file.write_text(json.dumps(run), encoding="utf-8")
    board(runs, tmp_path / "out")
    opened = open_report(tmp_path / "out", name="board.html")
    assert opened.console == []
    assert len(set(rows_of(opened))) == 3
    assert not [address for address in opened.requests if "tracker.invalid" in address]


@browser
@needs_chromium
def test_it_is_narrow_enough_for_a_phone(made: Path) -> None:
    """Tables scroll in their own boxes; the page itself does not."""
    script = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>"
    html = (made / "board.html").read_text(encoding="utf-8")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace("</body>", script)
    (made / "narrow.html").write_text(html, encoding="utf-8")
    frame = '<!doctype html><iframe src="narrow.html" width="390" height="900" onload="document.title = '
    frame += 'frames[0].document.title"></iframe>'
    (made / "phone.html").write_text(frame, encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--allow-file-access-from-files", "--virtual-time-budget=3000", f"--user-data-dir={made / 'profile'}",
        "--dump-dom", (made / "phone.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    width, of = map(int, re.search(r"<title>(\d+) of (\d+)</title>", done.stdout).groups())  # type: ignore[union-attr]
    assert of == 390
    assert width <= of


@browser
@needs_chromium
def test_long_names_leave_room_for_the_numbers_and_short_cells_stay_whole(tmp_path: Path) -> None:
    for number in range(2):
        rows = [answers(name, repeated(ww=9, rr=9)) for name in ("own:" + "separator=semicolon," * 7, "zoom")]
        write_run(tmp_path / "runs" / f"r{number}", *rows, engine="transformers", dtype="float32",
                  sessions=[{"started": "2026-11-28T03:47:54Z"}])  # fmt: skip
    page = board(tmp_path / "runs", tmp_path / "out").report
    lines = "Object.fromEntries([...document.querySelectorAll('#runs td')].map((cell) => {"
    lines += "const range = document.createRange(); range.selectNodeContents(cell);"
    lines += "return [cell.textContent, range.getClientRects().length]; }))"
    for width in (1400, 390):
        with open_page(page, width=width) as opened:
            found = opened.run(lines)
            assert {"transformers": 1, "float32": 1, "2026-11-28T03:47:54Z": 1}.items() <= found.items()
            cells = "document.querySelectorAll('.matrix:not([hidden]) tbody tr:first-child td')"
            right = opened.run(f"[...{cells}].map((cell) => cell.getBoundingClientRect().right)")
            assert right[0] < right[1] < width, "the mean, and the benchmark with the long name"


def test_a_dumbbell_places_its_marks_by_value() -> None:
    drawn = dumbbell({"full": {"estimate": 0.0, "ci": [0.0, 0.1]}, "crop": {"estimate": 1.0, "ci": None}})
    assert 'x="3.0"' in drawn
    assert 'cx="183.0"' in drawn
    assert dumbbell({"full": None, "crop": None}) == ""


def test_labels_of_lines_keep_their_order_and_their_distance() -> None:
    placed = _apart({"a": 0.0, "b": 0.1, "c": 9.9, "d": 10.0}, 1.0, 0.0, 10.0)
    assert [*placed] == ["a", "b", "c", "d"]
    heights = [*placed.values()]
    assert all(after - before >= 1.0 - 1e-9 for before, after in pairwise(heights))
    assert heights[0] >= 0.0
    assert heights[-1] <= 10.0
