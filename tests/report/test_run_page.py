"""The complete report: golden files, hostile strings, size, and runs with missing parts.

The golden files are rewritten by `GAPBENCH_UPDATE_GOLDEN=1 pytest tests/report/test_run_page.py`; read the difference
before committing it. The HTML golden is a skeleton (tags, classes, text) without styles, scripts, plots and images.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gapbench.analysis.metrics import names_of
from gapbench.analysis.summary import summarise
from gapbench.errors import RunError
from gapbench.report.run import settings
from gapbench.report.run.gallery import IMAGE_BUDGET
from gapbench.report.run.overview import alerts, headline
from gapbench.report.run.page import write_report
from gapbench.runs.thumbnails import save_thumbnail, thumbnail_key
from gapbench.types import Record
from gapbench.util.text import interval

from .conftest import ExampleRun, MakeRun

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = "</script><img src=x onerror=alert(1)><!-- | `$x$` <b>&amp;\u2028'\"{{ 7*7 }} [a](javascript:1)"
VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """The page as a browser parses it: every start tag with its attributes, and all text outside style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.lines: list[str] = []
        self.depth = 0
        self.opaque = ""
        self.data: dict[str, Any] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if not self.opaque:
            keys = ("id", "class", "data-flip", "aria-label", "open", "hidden")
            printed = {key: attributes[key] for key in keys if key in attributes}
            is_plot = tag == "svg" and "plot" in str(attributes.get("class"))
            if is_plot:
                printed.pop("aria-label")
            pairs = (f"{key}={value}" if value else key for key, value in printed.items())
            self.lines.append("  " * self.depth + " ".join([tag, *pairs]))
            if tag in ("style", "script") or is_plot:
                self.opaque = tag
        if tag not in VOID:
            self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag not in VOID
        if tag == self.opaque:
            self.opaque = ""

    def handle_data(self, data: str) -> None:
        if self.opaque == "script" and self.tags[-1][1].get("type") == "application/json":
            self.data = json.loads(data)
        elif not self.opaque and data.strip():
            self.lines.append("  " * self.depth + " ".join(data.split()))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("GAPBENCH_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} changed; see this file's docstring"


def test_golden_report_of_one_benchmark(make_run: MakeRun) -> None:
    run = make_run(samples=12, thumbnails=2)
    run.summary["benchmarks"]["signs"]["notice"] = "The gap exists by construction."
    html, markdown = run.write()
    check("one-benchmark.md", markdown)
    check("one-benchmark.html.txt", Page(html).text + "\n")


def test_golden_markdown_of_several_benchmarks(make_run: MakeRun) -> None:
    check("several-benchmarks.md", make_run(("signs", "zoom", "a|b"), samples=18, thumbnails=0).write()[1])


def catalogued(run: ExampleRun) -> ExampleRun:
    """`signs` and `zoom` have annotated evidence, `located` has regions made by a model.

    `zoom` is restricted and has metrics. The summary is computed from the records. The settings have a protocol, a
    region file and repairs.
    """
    located = run.with_records(lambda one: replace(one, evidence="model") if one.benchmark == "located" else one)
    source = "VLMEvalKit, utils/hrbench.py"
    cards: dict[str, dict[str, Any]] = {
        "signs": {"licence": "Apache-2.0", "source": "Signs", "hub": "example/signs", "revision": "4f1c9a2bb01d77"},
        "zoom": {
            "licence": "CC BY-NC 4.0", "source": "example/zoom", "metrics": ["cluster_accuracy", "category_mean"],
            "restricted": "Research use only; the images may not be passed on.",
            "protocols": {"original": {"prompt": "{question}", "metric": "category_mean", "source": source}},
        },
        "located": {"licence": "other", "source": "example/located", "role": "full-view"},
    }  # fmt: skip
    settings = run.run | {
        "protocol": "original",
        "regions": {"file": "regions.jsonl", "methods": ["grounding"], "models": ["example/locator"], "without_box": 3},
        "repairs": {"signs: clipped": 4, "zoom: outside": 1, "zoom: exif orientation ignored": 12},
        "tasks": {name: {"card": card, "region": "padded"} for name, card in cards.items()},
    }
    named = {name: names_of(entry, "original") for name, entry in settings["tasks"].items()}
    official = {"zoom": "mme-realworld"}
    summary = summarise(located.frame, model="example/small-vlm", named=named, official=official)
    return replace(located, run=settings, summary=summary)


def test_golden_report_of_a_catalogue_run(make_run: MakeRun) -> None:
    html, markdown = catalogued(make_run(("signs", "zoom", "located"), samples=24, thumbnails=0)).write()
    check("catalogue.md", markdown)
    text = Page(html).text
    assert "Regions made by a model" in text
    assert (
        "The regions come from regions.jsonl, made by grounding with example/locator; no box was found for 3 samples."
        in text
    )


def test_gaps_over_model_made_regions_never_share_a_table_or_plot_with_annotated_ones(make_run: MakeRun) -> None:
    html, markdown = catalogued(make_run(("signs", "zoom", "located"), samples=24, thumbnails=0)).write()
    data = markdown.index("### Data")
    tables = [block for block in markdown[:data].split("\n\n") if block.startswith("| Benchmark")]
    assert len(tables) == 9, "gaps, views, flips and scorings of both, and metrics"
    for table in tables:
        names = {line.split("|")[1].split("(")[0].strip() for line in table.splitlines()[2:]}
        assert names in ({"located"}, {"signs", "zoom", "Macro mean"}, {"signs", "zoom"}, {"zoom"})
    labels = re.findall(r'<svg[^>]*aria-label="([^"]*)"', html)
    forests = [label for label in labels if label.startswith("Forest plot: ")]
    assert [("signs" in one, "located" in one) for one in forests] == [(True, False), (False, True)]
    assert "| zoom | Mean of categories (headline) |" in markdown
    macro = next(line for line in markdown.splitlines() if line.startswith("| Macro mean"))
    assert "of 2 benchmarks, unweighted" in macro


def test_the_gallery_counts_one_kind_of_regions_at_a_time(make_run: MakeRun) -> None:
    run = catalogued(make_run(("signs", "zoom", "located"), samples=24, thumbnails=0))
    page = Page(run.write()[0])
    assert page.data["regions"] == {
        "signs": "Annotated evidence", "zoom": "Annotated evidence", "located": "Regions made by a model",
    }  # fmt: skip
    annotated = sum(run.summary["benchmarks"][name]["pairs"]["crop_only"] for name in ("signs", "zoom"))
    assert str(annotated) in {line.strip() for line in page.lines}
    assert "Flip matrix (annotated evidence): choose a cell to see its samples" in page.text
    assert Page(make_run(("signs", "zoom")).write()[0]).data["regions"] == {}


def test_repairs_are_shown_in_words_and_a_wrong_box_is_a_warning(make_run: MakeRun) -> None:
    for text in catalogued(make_run(("signs", "zoom", "located"), samples=12)).write():
        assert "boxes that left the image by at most 2 px, clipped" in text
        assert "images used as stored (EXIF orientation not applied)" in text
        assert "1 evidence box leaves the image by more than 2 px and had to be clipped or dropped" in text


def test_faulty_boxes_that_the_card_expects_are_no_warning(make_run: MakeRun) -> None:
    run = catalogued(make_run(("signs", "zoom", "located"), samples=12))
    run.run["tasks"]["zoom"]["card"]["expected"] = {"repair: outside": 1}
    assert "1 evidence box leaves" not in run.write()[1]
    assert "boxes that left the image by more than 2 px, clipped or dropped" in run.write()[1]


def test_photos_that_were_not_turned_are_a_warning_unless_that_is_declared(make_run: MakeRun) -> None:
    said = "12 samples have an image with an EXIF orientation, which is not applied"
    run = catalogued(make_run(("signs", "zoom", "located"), samples=12))
    for text in run.write():
        assert said in text
        assert ":orientation=upright" in text
    found = alerts(run.summary, run.run)
    assert [name for name, text in found if text.startswith(said)] == ["zoom"]
    run.run["tasks"]["zoom"]["parameters"] = {"orientation": "stored"}
    assert [alert for alert in found if alert not in alerts(run.summary, run.run)] == [
        alert for alert in found if alert[1].startswith(said)
    ]
    run.summary["benchmarks"]["zoom"] |= {"evidence": ""}
    run.run["tasks"]["zoom"].pop("parameters")
    assert not any(said in text for _, text in alerts(run.summary, run.run)), "without boxes nothing can miss"


def test_a_sample_without_a_box_is_one_note_and_no_failure(make_run: MakeRun) -> None:
    run = make_run(("signs",), samples=12)

    def bare(one: Record) -> Record:
        if one.sample != run.records[0].sample:
            return one
        failed = {"outcome": "failed", "score": None, "rule": "no-evidence-box"} if one.view != "full" else {}
        return replace(one, boxes=(), evidence="", **failed)

    changed = run.with_records(bare)
    before, after = (alerts(summarise(each.frame), run.run) for each in (run, changed))
    assert [alert for alert in after if alert not in before] == [
        ("signs", "1 sample has no evidence box: it counts in full alone.")
    ]


def test_a_restricted_licence_is_named_with_the_way_to_share(make_run: MakeRun) -> None:
    run = catalogued(make_run(("signs", "zoom", "located"), samples=12))
    hint = "Before sharing this page, leave its images out: gapbench report RUN --no-images."
    text = "Restricted data: Research use only; the images may not be passed on."
    for page in run.write():
        assert f"{text} {hint}" in page
    for page in run.write(images=False):
        assert text in page
        assert hint not in page


def test_a_hold_out_beside_a_gap_is_no_warning(make_run: MakeRun) -> None:
    run = make_run(("signs", "chart"), samples=12)
    alone = replace(run, records=[one for one in run.records if one.benchmark == "signs" or one.view == "full"])
    real = replace(alone, summary=summarise(alone.frame))
    assert "> **chart**: No gap: no sample has a score" in real.write()[1]
    real.run["tasks"]["chart"]["card"]["role"] = "hold-out"
    assert "No gap: no sample has a score" not in real.write()[1]


def test_the_same_run_gives_the_same_bytes(make_run: MakeRun) -> None:
    run = make_run(("signs", "zoom"))
    assert run.write() == run.write()


def test_the_file_stands_alone(make_run: MakeRun) -> None:
    html, _ = make_run().write()
    page = Page(html)
    policy = next(attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    for _, attributes in page.tags:
        for key in ("src", "href"):
            assert str(attributes.get(key, "#")).startswith(("data:", "#"))
    assert not re.search(r"url\((?!#)|@import", html)


def test_tables_and_cards_need_no_script(make_run: MakeRun) -> None:
    run = make_run(samples=6)
    page = Page(run.write()[0])
    assert sum(tag == "article" for tag, _ in page.tags) == 6
    assert not [tag for tag, attributes in page.tags if tag == "article" and "hidden" in attributes]
    full = run.summary["benchmarks"]["signs"]["views"]["full"]["accuracy"]
    assert {"It is round: (A).", f"{100 * full:.1f}%"} <= {line.strip() for line in page.lines}


def test_boxes_are_an_overlay_in_percent(make_run: MakeRun) -> None:
    run = make_run(samples=3, thumbnails=3)
    page = Page(run.write()[0])
    rectangles = [
        attributes for tag, attributes in page.tags if tag == "rect" and attributes.get("class") == "evidence"
    ]
    assert len(rectangles) == 3
    x, width = 100 * run.records[0].boxes[0][0] / 1600, 100 * 8 / 1600
    assert (f"{round(x, 3)}%", f"{round(width, 3)}%") in [(one["x"], one["width"]) for one in rectangles]


def hostile(run: ExampleRun) -> ExampleRun:
    """Every string that a model, a data set or a user controls, replaced."""

    def spoil(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                f"{HOSTILE} {key}" if key in ("versions", "hardware") else key: spoil(one) for key, one in value.items()
            }
        return (
            [spoil(one) for one in value] if isinstance(value, list) else HOSTILE if isinstance(value, str) else value
        )

    summary = spoil(run.summary)
    entry = summary["benchmarks"].pop("signs")
    entry["by_category"] = {HOSTILE: next(iter(entry["by_category"].values()))}
    level = entry["views"]["full"] | {"estimate": 0.5}
    entry |= {"notice": HOSTILE, "evidence": "model", "metrics": {HOSTILE: {"full": level}}, "headline_metric": HOSTILE}
    entry["scorings"] = {HOSTILE: {"name": HOSTILE, "source": HOSTILE, "full": level, "gap": entry["gap"]}}
    summary["benchmarks"] = {HOSTILE: entry, f"{HOSTILE} 2": entry | {"evidence": "annotated"}}
    settings = spoil(run.run)
    settings["tasks"] = {HOSTILE: settings["tasks"]["signs"]}
    settings["tasks"][HOSTILE]["card"] |= {"restricted": HOSTILE, "revision": HOSTILE, "source": HOSTILE}
    settings["tasks"][HOSTILE]["card"]["protocols"] = {HOSTILE: {"metric": HOSTILE, "source": HOSTILE}}
    settings["generation"]["thinking"] = f"low {HOSTILE}"
    settings |= {"protocol": HOSTILE, "repairs": {f"{HOSTILE}: {HOSTILE}": 3}}
    settings["regions"] = {"file": HOSTILE, "methods": [HOSTILE], "models": [HOSTILE]}
    return ExampleRun(run.folder, summary, settings, run.records).with_records(
        lambda one: replace(
            one,
            benchmark=HOSTILE,
            sample=one.sample + HOSTILE,
            view=one.view if one.view in ("full", "crop") else HOSTILE,
            thought=HOSTILE,
            output=HOSTILE,
            parsed=HOSTILE,
            rule=HOSTILE,
            reason=HOSTILE,
            question=HOSTILE,
            options=(HOSTILE,) * 4,
            answers=("A", HOSTILE),
            category=HOSTILE,
            region_policy=HOSTILE,
        )
    )


def test_hostile_strings_stay_text_in_html(make_run: MakeRun) -> None:
    plain, spoilt = make_run(samples=6), hostile(make_run(samples=6))
    spoilt = replace(spoilt, records=[*spoilt.records, replace(spoilt.records[0], view=HOSTILE)])
    html, _ = spoilt.write()
    page = Page(html)
    assert page.data["cards"][0]["benchmark"] == HOSTILE.replace("\u2028", "\ufffd")
    assert "</script><img src=x onerror=alert(1)><!--" in page.text
    assert "{{ 7*7 }}" in page.text
    assert sum(tag == "script" for tag, _ in page.tags) == sum(
        tag == "script" for tag, _ in Page(plain.write()[0]).tags
    )
    assert not [attributes for _, attributes in page.tags if any(key.startswith("on") for key in attributes)]
    assert "<img src=x" not in html
    assert "<!-- |" not in html


def test_hostile_strings_stay_text_in_markdown(make_run: MakeRun) -> None:
    _, markdown = hostile(make_run(samples=6)).write()
    in_fence = False
    for line in markdown.splitlines():
        in_fence ^= line.startswith("```")
        if in_fence:
            continue
        if line.startswith("| `"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3, line
        else:
            assert "<" not in line
            assert "$" not in line
            assert not re.search(r"(?<!\\)\]\(", line)
    tables = [block.splitlines() for block in markdown.split("\n\n") if block.startswith("| ")]
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table[0]


def test_two_thousand_records_take_less_than_ten_seconds(make_run: MakeRun) -> None:
    run = make_run(("signs", "zoom"), samples=500, thumbnails=40)
    frame = run.frame
    start = time.perf_counter()
    write_report(run.folder, summary=run.summary, manifest=run.run, records=frame)
    assert len(frame) == 2_000
    assert time.perf_counter() - start < 10


@pytest.mark.evidence
def test_any_run_stays_under_twenty_megabytes(make_run: MakeRun) -> None:
    samples = 300
    run = make_run(samples=samples, thumbnails=0).with_records(
        lambda one: replace(one, output="<&'\"\U0001f600" * 4_000, question="<" * 5_000, options=("'" * 2_000,) * 40)
    )
    noise = np.random.default_rng(0)
    for index in range(samples):
        image = Image.fromarray(noise.integers(0, 256, (512, 512, 3), dtype=np.uint8))
        for view in ("full", "crop"):
            key = thumbnail_key("signs", f"{index:03d}")
            save_thumbnail(image, run.folder / "thumbnails" / f"{key}-{view}.jpg")
    entry = run.summary["benchmarks"]["signs"]
    group = next(iter(entry["by_category"].values()))
    entry["by_category"] = {f"{'<' * 300}{index}": group for index in range(3_000)}
    run.run["prompt"] = "<" * 1_000_000
    run.run["generation"] = {str(index): "&" * 100_000 for index in range(300)}
    html, _ = run.write()
    page = Page(html)
    images = sum(tag == "img" for tag, _ in page.tags)
    assert 10_000_000 < len(html.encode()) <= 20_000_000
    assert 20 < images < 2 * samples
    assert sum(len(str(attributes["src"])) for tag, attributes in page.tags if tag == "img") <= IMAGE_BUDGET
    cards = sum(tag == "article" for tag, _ in page.tags)
    assert f"{cards} of 300 samples have a card" in page.text
    assert f"the other {samples - cards} are left out to keep this file small" in page.text
    assert "Cut: the first 2,000 of 20,000 characters" in page.text


def test_images_can_be_left_out(make_run: MakeRun) -> None:
    page = Page(make_run().write(images=False)[0])
    assert "img" not in {tag for tag, _ in page.tags}
    assert "Images were left out of this report on request." in page.text


def test_missing_and_broken_thumbnails_are_no_obstacle(make_run: MakeRun) -> None:
    run = make_run(samples=4, thumbnails=1)
    (run.folder / "thumbnails" / f"{thumbnail_key('signs', '001')}-full.jpg").write_bytes(b"not an image")
    page = Page(run.write()[0])
    assert sum(tag == "img" for tag, _ in page.tags) == 2
    assert "no image stored" in page.text
    bare = make_run(samples=4, thumbnails=0)
    for path in (bare.folder / "thumbnails").iterdir():
        path.unlink()
    assert "This run stored no thumbnails, so there are no images." in Page(bare.write()[0]).text


def without_numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: without_numbers(one) for key, one in value.items()}
    return (
        None
        if isinstance(value, int | float) or (isinstance(value, list) and value and not isinstance(value[0], Mapping))
        else value
    )


def test_a_summary_as_gapbench_makes_it_fits(make_run: MakeRun) -> None:
    run = make_run(("signs", "zoom"), samples=30)
    alone = replace(run, records=[one for one in run.records if (one.sample, one.view) != ("000", "crop")])
    real = replace(alone, summary=summarise(alone.frame, model="example/small-vlm"))
    html, markdown = real.write()
    page = Page(html)
    gap = real.summary["macro"]["gap"]["estimate"]
    assert f"+{100 * gap:.1f}" in {line.strip() for line in page.lines}
    assert "2 samples were measured in only one of the two views and cannot enter the gap." in page.text
    assert page.data["pairs"] == {name: entry["pairs"] for name, entry in real.summary["benchmarks"].items()}
    flips = Counter(card["flip"] for card in page.data["cards"] if card["benchmark"] == "signs")
    assert {name: flips[name] for name in page.data["pairs"]["signs"]} == page.data["pairs"]["signs"]
    assert "| Macro mean" in markdown


def test_the_same_answers_are_shown_under_every_scoring(make_run: MakeRun) -> None:
    run = make_run(("signs", "zoom"), samples=30)
    summary = summarise(run.frame, model="example/small-vlm", official={"zoom": "mmstar"})
    for text in (pages := replace(run, summary=summary).write()):
        assert "Under every scoring rule" in text
        assert "MMStar-Benchmark/MMStar eval/vlmeval/evaluate/mmstar.py" in text.replace("\\", "")
    lines = [
        line for line in pages[1].splitlines() if line.startswith(("| signs | strict", "| zoom | official (mmstar)"))
    ]
    assert len(lines) == 2
    assert "Under every scoring rule" not in "".join(run.write()), "summaries of older versions have no scorings"


def test_the_big_numbers_are_those_of_the_pairs(make_run: MakeRun) -> None:
    run = make_run(samples=12)
    real = replace(run, summary=summarise(run.frame, model="example/small-vlm"))
    numbers = headline(real.summary)
    assert numbers["full"] is not None
    assert numbers["crop"] is not None
    assert numbers["crop"] - numbers["full"] == pytest.approx(numbers["gap"])
    for view in ("full", "crop"):
        low, high = real.summary["benchmarks"]["signs"]["gap"][f"{view}_ci"]
        assert low < numbers[view] < high, "the interval is of the pairs, too"
        assert numbers[f"{view}_ci"] == interval((low, high))


def test_any_number_may_be_null(make_run: MakeRun) -> None:
    run = make_run(("signs", "zoom"), samples=4)
    page = Page(replace(run, summary=without_numbers(run.summary)).write()[0])
    assert "No gap: no sample has a score in both the full and the crop view." in page.text
    assert "nan" not in page.text.lower().split()
    assert "None" not in page.text


def test_a_run_without_anything_is_still_a_page(make_run: MakeRun) -> None:
    run = make_run(samples=3)
    html, markdown = ExampleRun(run.folder, {}, {}, []).write()
    assert "This run has no records, so there are no samples to show." in Page(html).text
    assert markdown.startswith("# Perception gap of unnamed model")


def test_many_unparsed_answers_are_a_warning(make_run: MakeRun) -> None:
    run = make_run(samples=6)
    run.summary["benchmarks"]["signs"]["views"]["full"]["unparsed"] = 0.25
    html, markdown = run.write()
    for text in (Page(html).text, markdown):
        assert "25.0% of the full-view answers could not be parsed and count as wrong" in text


def suffering(run: ExampleRun) -> ExampleRun:
    """Two of three thoughts in the full image never end; the others are followed by an answer."""

    def think(one: Record) -> Record:
        thought = replace(one, thought="Let me look <b>closely</b>.\n")
        if one.view == "crop" or one.outcome == "failed" or int(one.sample) % 3 == 0:
            return thought
        fields = {"output": "", "parsed": None, "rule": "thought-cut-off", "cut_off": True}
        return replace(thought, outcome="unparsed", score=0.0, **fields)

    thinking = run.with_records(think)
    return replace(thinking, summary=summarise(thinking.frame, model="example/small-vlm"))


def test_a_fault_that_differs_is_an_alert_with_shares_p_and_remedy_and_the_bound_is_shown(make_run: MakeRun) -> None:
    run = suffering(make_run(samples=60, thumbnails=0))
    low, high = run.summary["benchmarks"]["signs"]["gap"]["bound"]
    html, markdown = run.write()
    for text in (Page(html).text, markdown.replace("\\", "").replace("&lt;", "<")):
        assert "65.0% of the full and 0.0% of the crop answers are cut off (corrected p < 0.0001)." in text
        assert "Raise --max-new-tokens." in text
        assert f"puts the gap between {100 * low:.1f} and {100 * high:.1f} points. The interval does not" in text
        assert "could not be parsed and count as wrong" not in text, "the cut-off says why"
        assert "Bound, points" in text
        assert interval([low, high], signed=True) in text
    views = next(block for block in markdown.split("\n\n") if block.startswith("| Benchmark | View"))
    assert "| Unparsed | Failed | Cut off | Thought | Pixels |" in views
    assert "| 66.1% | 1.7% | 66.1% | 100.0% |" in views.splitlines()[2]
    assert f"bound {interval([low, high], signed=True)}" in Page(html).text


def test_a_thought_is_folded_into_its_answer_and_escaped(make_run: MakeRun) -> None:
    html, _ = suffering(make_run(samples=6, thumbnails=0)).write()
    assert Page(html).tags.count(("details", {"class": "thought"})) == 12
    assert "Let me look &lt;b&gt;closely&lt;/b&gt;." in html


@pytest.mark.parametrize(
    ("thinking", "alert"),
    [
        (
            "cannot be switched off (no switch)",
            "Thinking is not off: cannot be switched off (no switch). A thought uses",
        ),
        ("off (x=False)", "Up to 100.0% of the answers in a view have a thought (thinking: off (x=False))."),
    ],
)
def test_thinking_that_is_not_off_is_an_alert(make_run: MakeRun, thinking: str, alert: str) -> None:
    run = suffering(make_run(samples=6, thumbnails=0))
    run.run["generation"]["thinking"] = thinking
    for text in (Page(run.write()[0]).text, run.write()[1].replace("\\", "")):
        assert alert in text
        assert "generation.thinking" in text or "Generation" in text
    silent = make_run(samples=6, thumbnails=0)
    silent.run["generation"]["thinking"] = "off (enable_thinking)"
    assert "A thought uses" not in silent.write()[1]


def test_prompts_that_are_too_long_have_a_remedy_of_their_own(make_run: MakeRun) -> None:
    run = make_run(samples=12, thumbnails=0).with_records(
        lambda one: replace(one, rule="prompt-too-long" if one.outcome == "failed" else one.rule)
    )
    markdown = replace(run, summary=summarise(run.frame)).write()[1]
    assert "1 prompt is longer than the model's context and is left out. Lower --max-pixels" in markdown
    assert "--retry-failed" not in markdown


def test_a_notice_may_come_from_the_card(make_run: MakeRun) -> None:
    run = make_run(samples=3)
    run.run["tasks"]["signs"]["card"]["notice"] = "Drawn, not photographed."
    html, markdown = run.write()
    assert "Drawn, not photographed." in Page(html).text
    assert "> **signs**: Drawn, not photographed." in markdown


def test_other_views_are_folded_into_the_card(make_run: MakeRun) -> None:
    run = make_run(samples=3)
    blind = replace(run.records[0], view="blind", output="a guess", image_tokens=0)
    text = Page(replace(run, records=[*run.records, blind]).write()[0]).text
    assert "1 other view" in text
    assert "a guess" in text


def test_a_missing_folder_is_named(tmp_path: Path, make_run: MakeRun) -> None:
    run = replace(make_run(samples=3), folder=tmp_path / "nowhere")
    with pytest.raises(RunError, match="nowhere"):
        run.write()


def test_a_setting_without_values_has_no_table() -> None:
    shown = settings.groups({"model": "x", "options": {}, "resources": {}, "pixels": {"min_pixels": None}})
    assert [group["title"] for group in shown] == ["Run", "Pixels"]
