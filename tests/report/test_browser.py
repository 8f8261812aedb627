"""The report in a real browser: its script filters, pages and sorts, without console messages or requests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from .conftest import MakeRun
from .live_browser import CHROMIUM, open_page
from .test_run_page import HOSTILE, Page, catalogued

TRACKER = "http://tracker.invalid/pixel.png"
KEPT = sorted(page.parent for page in (Path(__file__).parents[2] / "reports").glob("*/report.html"))

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on the path"),
]


@dataclass(frozen=True)
class Opened:
    """The page after its script ran, the console messages and the requested addresses."""

    page: Page
    console: list[str]
    requests: list[str]

    @property
    def cards(self) -> list[dict[str, Any]]:
        """The index entries of the visible cards, in order."""
        articles = [attributes for tag, attributes in self.page.tags if tag == "article"]
        return [entry for entry, card in zip(self.page.data["cards"], articles, strict=True) if "hidden" not in card]


def open_report(folder: Path, fragment: str = "", name: str = "report.html") -> Opened:
    """Load the file without a network."""
    profile = folder / "profile"
    log = folder / "net.json"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=3000", "--enable-logging=stderr",
        f"--log-net-log={log}", f"--user-data-dir={profile}", "--dump-dom", f"{(folder / name).as_uri()}{fragment}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    return Opened(
        Page(done.stdout),
        [line for line in done.stderr.splitlines() if "CONSOLE" in line],
        [str(event["params"]["url"]) for event in events if "url" in event.get("params", {})],
    )


def test_it_opens_quietly_and_shows_the_first_page(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(("signs", "zoom"), samples=40).write()
    opened = open_report(tmp_path)
    assert opened.console == []
    assert len(opened.cards) == 24
    assert "Showing 24 of 80 matching cards." in opened.page.text
    assert "Show 24 more of 56" in opened.page.text


def test_a_link_carries_the_filters(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(("signs", "zoom"), samples=40)
    run.write()
    opened = open_report(tmp_path, "#flip=crop_only&benchmark=signs")
    pairs = run.summary["benchmarks"]["signs"]["pairs"]
    assert {(card["benchmark"], card["flip"]) for card in opened.cards} == {("signs", "crop_only")}
    assert len(opened.cards) == min(24, pairs["crop_only"])
    pressed = [one for tag, one in opened.page.tags if tag == "button" and one.get("aria-pressed") == "true"]
    assert {one["data-flip"] for one in pressed} == {"crop_only"}
    matrix = re.findall(r"button class=(\w+) data-flip=\w+\n\s+b\n\s+(\d+)", opened.page.text)
    assert {flip: int(count) for flip, count in matrix} == pairs


@pytest.mark.parametrize(
    ("fragment", "shown"),
    [
        ("#category=colour", 4),
        ("#q=NUMBER%203%20", 1),
        ("#q=nothing%20like%20this", 0),
        ("#benchmark=zoom&q=round", None),
    ],
)
def test_category_and_text_filters(tmp_path: Path, make_run: MakeRun, fragment: str, shown: int | None) -> None:
    run = make_run(samples=12)
    run.write()
    opened = open_report(tmp_path, fragment)
    assert len(opened.cards) == (0 if shown is None else shown)
    assert ("No card matches." in opened.page.text) == (not shown)


def test_a_link_to_a_card_shows_it_on_any_page(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(("signs", "zoom"), samples=40, thumbnails=0).write()
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    last = [attributes["id"] for tag, attributes in page.tags if tag == "article"][-1]
    opened = open_report(tmp_path, f"#{last}")
    assert last in [one["id"] for tag, one in opened.page.tags if tag == "article" and "hidden" not in one]


@pytest.mark.parametrize(
    ("fragment", "kind", "benchmarks"),
    [
        ("", "annotated evidence", {"signs", "zoom"}),
        ("#regions=Regions%20made%20by%20a%20model", "regions made by a model", {"located"}),
        ("#benchmark=located", "regions made by a model", {"located"}),
        ("#benchmark=zoom&regions=Regions%20made%20by%20a%20model", "annotated evidence", {"zoom"}),
    ],
)
def test_annotated_evidence_and_model_made_regions_are_never_counted_together(
    tmp_path: Path, make_run: MakeRun, fragment: str, kind: str, benchmarks: set[str]
) -> None:
    run = catalogued(make_run(("signs", "zoom", "located"), samples=12, thumbnails=0))
    run.write()
    opened = open_report(tmp_path, fragment)
    assert opened.console == []
    assert {card["benchmark"] for card in opened.cards} == benchmarks
    assert f"Flip matrix ({kind}): choose a cell" in opened.page.text
    pairs = [run.summary["benchmarks"][name]["pairs"] for name in benchmarks]
    matrix = re.findall(r"button class=(\w+) data-flip=\w+\n\s+b\n\s+(\d+)", opened.page.text)
    assert {flip: int(n) for flip, n in matrix} == {flip: sum(one[flip] for one in pairs) for flip in pairs[0]}


def test_columns_sort_and_announce_their_order(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(("signs", "zoom", "Atlas"), samples=12).write()
    driver = "<script>document.querySelector('#results thead button').click()</script></body>"
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    # The page's policy refuses the script that clicks, as it should. Lift the policy for this test only.
    unlocked = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace("</body>", driver)
    (tmp_path / "clicked.html").write_text(unlocked, encoding="utf-8")
    opened = open_report(tmp_path, name="clicked.html")
    sorts = [attributes["aria-sort"] for tag, attributes in opened.page.tags if "aria-sort" in attributes]
    assert sorts[0] == "ascending"
    assert set(sorts[1:]) == {"none"}
    first_table = opened.page.text.split("Accuracy and gap", 1)[1]
    order = [
        name for name in re.findall(r"\n\s+(\S+)(?=\n)", first_table) if name in ("Atlas", "signs", "zoom", "Macro")
    ]
    assert order[:3] == ["Atlas", "signs", "zoom"]
    assert first_table.index("zoom") < first_table.index("Macro mean")


def test_hostile_output_neither_runs_nor_fetches(tmp_path: Path, make_run: MakeRun) -> None:
    trap = f"{HOSTILE}<img src='{TRACKER}'><link rel=stylesheet href='{TRACKER}'><svg onload=console.log('ran')>"
    run = make_run(samples=8).with_records(lambda one: replace(one, output=trap, question=trap, category=trap))
    run.summary["benchmarks"]["signs"]["by_category"] = {
        trap: run.summary["benchmarks"]["signs"]["by_category"]["colour"]
    }
    run.summary["verdict"] = trap
    run.write()
    opened = open_report(tmp_path)
    assert opened.console == []
    assert len(opened.cards) == 8
    assert not [address for address in opened.requests if "tracker.invalid" in address]


def test_the_policy_would_stop_a_request(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(samples=3).write()
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "broken.html").write_text(html.replace("</body>", f"<img src='{TRACKER}'></body>"), encoding="utf-8")
    opened = open_report(tmp_path, name="broken.html")
    assert any("Content Security Policy" in line for line in opened.console)
    assert not [address for address in opened.requests if "tracker.invalid" in address]


def test_it_draws_in_light_and_in_dark(tmp_path: Path, make_run: MakeRun) -> None:
    from PIL import Image

    make_run(samples=4).write()
    corners = []
    for scheme in (1, 0):
        shot = tmp_path / f"shot{scheme}.png"
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=800,1000",
            f"--blink-settings=preferredColorScheme={scheme}", f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={shot}", (tmp_path / "report.html").as_uri(),
        ]  # fmt: skip
        subprocess.run(command, capture_output=True, timeout=120, check=True)
        with Image.open(shot) as image:
            corners.append(image.convert("L").getpixel((2, 2)))
    light, dark = corners
    assert light > 200 > 60 > dark  # type: ignore[operator]


VISIBLE = "[...document.querySelectorAll('#gallery > .card')].filter((card) => card.offsetParent)"
CLICK_CELLS = f"""Object.fromEntries([...document.querySelectorAll('.flip td button')].map((cell) => {{
  cell.click();
  const shown = {VISIBLE}.map((card) => card.classList[1]);
  cell.click();
  return [cell.dataset.flip, shown];
}}))"""


def test_every_cell_of_the_flip_matrix_that_is_not_empty_shows_cards(tmp_path: Path, make_run: MakeRun) -> None:
    """Rare cells too, though all stored images are of frequent cells, and there are more than cards."""
    run = make_run(("signs",), samples=600, thumbnails=300)
    rare = ("500", "501", "502")
    run = run.with_records(lambda one: replace(one, score=0.0) if one.sample in rare else replace(one, score=1.0))
    counts = {"both": 597, "crop_only": 0, "full_only": 0, "neither": 3}
    run.summary["benchmarks"]["signs"]["pairs"] = counts
    run.write()
    with open_page(tmp_path / "report.html") as page:
        shown = page.run(CLICK_CELLS)
        assert {flip: len(cards) for flip, cards in shown.items()} == {flip: min(24, n) for flip, n in counts.items()}
        assert all(set(cards) <= {flip} for flip, cards in shown.items())


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_every_cell_of_a_kept_report_shows_cards_and_nothing_moves(folder: Path) -> None:
    counts: Counter[str] = Counter()
    for entry in json.loads((folder / "summary.json").read_text(encoding="utf-8"))["benchmarks"].values():
        counts.update(entry["pairs"])
    with open_page(folder / "report.html") as page:
        shown = page.run(CLICK_CELLS)
        assert {flip for flip, cards in shown.items() if cards} == {flip for flip, n in counts.items() if n}
        assert all(set(cards) <= {flip} for flip, cards in shown.items())
        assert page.run("window.shift") < 0.1


def test_nothing_moves_while_the_page_loads(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(("signs", "zoom"), samples=200, thumbnails=40).write()
    with open_page(tmp_path / "report.html") as page:
        page.run("document.querySelector('#samples').scrollIntoView({behavior: 'instant'})")
        time.sleep(0.5)
        assert page.run("window.shift") < 0.1
        page.run("scrollTo({top: 0, behavior: 'instant'})")
        time.sleep(0.2)
        page.run("document.body.prepend(Object.assign(document.createElement('p'), {style: 'height: 60vh'}))")
        time.sleep(0.5)
        assert page.run("window.shift") > 0.1, "else the measure is blind"


def test_keys_walk_through_the_cards_and_their_evidence(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(samples=60, thumbnails=60).write()
    current = "document.querySelector('.card.current')?.id.replace('card-', '')"
    with open_page(tmp_path / "report.html", "#flip=crop_only&order=area") as page:
        keys = page.run(f"{VISIBLE}.map((card) => card.id.replace('card-', ''))")
        captions = page.run(f"{VISIBLE}.map((card) => card.querySelector('.full figcaption').textContent)")
        areas = [float(caption.rstrip("%").split()[-1]) for caption in captions]
        assert areas == sorted(areas)
        for key, place in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
            page.press(key)
            assert page.run(current) == keys[place]
        assert page.run("new URLSearchParams(location.hash.slice(1)).get('sample')") == keys[1]
        page.run("document.querySelector('.card.current .full .frame').click()")
        assert page.run(
            "viewer.open && viewer.querySelector('img').src === document.querySelector('.current .crop img').src"
        )
        page.press("ArrowRight")
        assert page.run(current) == keys[2]
        assert page.run("viewer.querySelector('img').src === document.querySelector('.current .crop img').src")
        page.run("viewer.querySelector('[data-close]').click()")
        assert not page.run("viewer.open")
    with open_page(tmp_path / "report.html", f"#sample={keys[-1]}") as page:
        assert page.run(current) == keys[-1]
        assert page.run("document.querySelector('.card.current').getBoundingClientRect().top") < 900
    with open_page(tmp_path / "report.html", "#sample=0123") as page:
        assert "no card in this file" in page.run("document.getElementById('status').textContent")


def test_the_forest_plot_can_be_read_on_a_phone(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(("a benchmark with a long name", "zoom"), samples=40, thumbnails=0).write()
    with open_page(tmp_path / "report.html", width=390) as page:
        boxes = page.run(
            "[...document.querySelectorAll('.chart .narrow text')].map((one) => one.getBoundingClientRect())"
            ".map(({left, right, height}) => [left, right, height])"
        )
        assert len(boxes) > 16
        assert [box for box in boxes if box[0] < 0 or box[1] > 390 or box[2] < 10.5] == []
        assert page.run("document.documentElement.scrollWidth") <= 390
        assert page.run("getComputedStyle(document.querySelector('.chart .wide')).display") == "none"
