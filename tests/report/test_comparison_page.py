"""The report of a comparison: golden files, hostile strings, size, and the words for trainings and for models.

The golden files are rewritten by `GAPBENCH_UPDATE_GOLDEN=1 pytest tests/report/test_comparison_page.py`; read the
difference before committing it.
"""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gapbench.analysis.comparison.training_log import METRICS
from gapbench.commands.compare import Comparison, compare
from gapbench.report.comparison.plots import POINTS, curves
from gapbench.runs.thumbnails import save_thumbnail, thumbnail_key
from gapbench.types import Record

from .conftest import draw_thumbnails, example_records, example_settings
from .test_browser import CHROMIUM, TRACKER, open_report
from .test_run_page import HOSTILE, Page, check

Change = Callable[[Record], Record]


def improved(record: Record, fixed: float = 0.7, broken: float = 0.1) -> Record:
    """The record after a training that helps the full view. A seeded draw per sample and view decides if it changes."""
    chance = random.Random(f"{record.benchmark} {record.sample} {record.view}").random()
    if record.view == "full" and record.outcome == "wrong" and chance < fixed:
        return replace(record, outcome="right", score=1.0, output="It is round: (A).", parsed="A")
    if record.outcome == "right" and chance < broken:
        return replace(record, outcome="wrong", score=0.0, output="Three corners: (C).", parsed="C")
    return record


def full_only(records: Sequence[Record]) -> list[Record]:
    """The records of a hold-out without boxes."""
    bare = {"boxes": (), "evidence_area": None, "region": None, "region_area": None, "region_policy": "",
            "evidence": ""}  # fmt: skip
    return [replace(one, benchmark="chart", **bare) for one in records if one.view == "full"]  # type: ignore[arg-type]


def write_run(folder: Path, records: Sequence[Record], thumbnails: int = 0, **settings: Any) -> Path:
    folder.mkdir(parents=True)
    lines = (json.dumps(dataclasses.asdict(record)) + "\n" for record in records)
    (folder / "records.jsonl").write_text("".join(lines), encoding="utf-8")
    names = list(dict.fromkeys(record.benchmark for record in records))
    (folder / "run.json").write_text(json.dumps(example_settings(names) | settings), encoding="utf-8")
    if thumbnails:
        draw_thumbnails(folder, ["signs"], 24, thumbnails)
    return folder


def trained(folder: Path, *, samples: int = 24, thumbnails: int = 0, change: Change = improved) -> tuple[Path, Path]:
    """The runs before and after a training of ten steps, on a benchmark with boxes and one without."""
    before = [*example_records("signs", samples), *full_only(example_records("charts", samples))]
    steps = (json.dumps({"step": step, "loss": 1 / step, "divergence": None, "lr": 2e-6}) for step in range(1, 11))
    runs = (
        write_run(folder / "before", before, thumbnails),
        write_run(folder / "after", [change(one) for one in before], seeds={"sampling": 1, "statistics": 0}),
    )
    (folder / "train.jsonl").write_text("\n".join(steps), encoding="utf-8")
    return runs


def read(done: Comparison) -> tuple[str, str]:
    html, markdown = (done.path / f"comparison.{kind}" for kind in ("html", "md"))
    return html.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")


def test_golden_markdown_of_a_training(tmp_path: Path) -> None:
    check("comparison.md", read(compare(*trained(tmp_path), out=tmp_path))[1])


def test_golden_markdown_of_three_models(tmp_path: Path) -> None:
    before = example_records("signs", 18)
    worse = [replace(one, outcome="wrong", score=0.0) if one.view == "crop" else one for one in before]
    runs = [
        write_run(tmp_path / name, records, model=f"org/{name}")
        for name, records in (("base", before), ("better", [improved(one) for one in before]), ("a|b", worse))
    ]
    check("comparison-of-models.md", read(compare(*runs, out=tmp_path / "out"))[1])


def test_the_page_stands_alone_and_has_no_script(tmp_path: Path) -> None:
    page = Page(read(compare(*trained(tmp_path, thumbnails=24), out=tmp_path))[0])
    policy = next(attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src" not in policy
    assert "script" not in {tag for tag, _ in page.tags}
    assert sum(tag == "img" for tag, _ in page.tags) > 4
    for _, attributes in page.tags:
        for key in ("src", "href"):
            assert str(attributes.get(key, "#")).startswith(("data:", "#"))


def test_every_link_of_the_contents_has_a_target_and_ids_are_unique(tmp_path: Path) -> None:
    page = Page(read(compare(*trained(tmp_path, thumbnails=4), out=tmp_path))[0])
    ids = [str(attributes["id"]) for tag, attributes in page.tags if attributes.get("id") and tag != "svg"]
    links = {str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"}
    assert links <= set(ids)
    assert len(ids) == len(set(ids))


def test_fixed_and_broken_samples_show_both_answers(tmp_path: Path) -> None:
    done = compare(*trained(tmp_path, thumbnails=24), out=tmp_path)
    page = Page(read(done)[0])
    cards = [str(attributes["id"]) for tag, attributes in page.tags if tag == "article"]
    for transition in ("fixed", "broken"):
        samples = [(name, sample) for name, entry in done.summary["benchmarks"].items()
                   for sample in entry["changed"][transition]]  # fmt: skip
        ids = {f"{transition}-{thumbnail_key(*sample)}" for sample in samples}
        assert ids == {card for card in cards if card.startswith(transition)}
    assert "before, full image" in page.text
    assert "after, crop" in page.text


def test_a_gap_that_shrank_by_a_worse_crop_is_not_praised(tmp_path: Path) -> None:
    before = example_records("signs", 60)
    worse = [replace(one, outcome="wrong", score=0.0) if one.view == "crop" else one for one in before]
    runs = [write_run(tmp_path / name, records) for name, records in (("one", before), ("two", worse))]
    done = compare(*runs, out=tmp_path / "out")
    assert done.summary["benchmarks"]["signs"]["gap_closed"]["estimate"] > 0.5
    html, markdown = read(done)
    assert "mainly because crop accuracy is lower" in Page(html).text
    assert not re.search(r"figure closed", html)
    for text in (Page(html).text, markdown):
        assert "crop lost more" in text


def test_trainings_and_models_have_their_own_words(tmp_path: Path) -> None:
    before, after = trained(tmp_path / "x")
    training = Page(read(compare(before, after, out=tmp_path / "x"))[0]).text
    (tmp_path / "x" / "train.jsonl").unlink()
    models = Page(read(compare(before, after, out=tmp_path / "out", labels=("base", "tuned")))[0]).text
    for words in ("Before and after training", "Fixed and broken", "10 steps", "Loss", "Learning rate"):
        assert words in training
        assert words not in models
    assert "Right only in" in models
    assert "A comparison says that they differ, not why." in models


def test_a_training_that_changed_the_form_of_answers_is_warned_of(tmp_path: Path) -> None:
    def wordy(record: Record) -> Record:
        return replace(record, output=record.output + " That is what it shows.") if record.view == "crop" else record

    html, markdown = read(compare(*trained(tmp_path, change=wordy), out=tmp_path))
    for text in (Page(html).text, markdown):
        assert "The form of the answers changed (in crop: 17.2 → 40.2 characters on average)." in text
        assert re.search(r"17\.2 → 40\.2.{0,200}large change", text, re.DOTALL)
    for text in read(compare(*trained(tmp_path / "none"), out=tmp_path / "none")):
        assert "The form of the answers changed" not in text


def test_long_curves_are_thinned_to_means_and_missing_metrics_have_none() -> None:
    steps = [{"step": float(i), **dict.fromkeys(METRICS), "loss": float(i % 2), "lr": 1.0} for i in range(20_000)]
    steps[5]["entropy"] = 1.0
    drawn = dict(curves(steps))
    assert list(drawn) == ["Loss", "Learning rate"]
    vertices = re.findall(r"[ML] ", max(re.findall(r' d="([^"]*)"', drawn["Loss"]), key=len))
    assert len(vertices) <= POINTS


def hostile(record: Record) -> Record:
    return replace(
        improved(record),
        benchmark=HOSTILE,
        sample=record.sample + HOSTILE,
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


def hostile_runs(folder: Path) -> list[Path]:
    before = example_records("signs", 20)
    runs = [
        write_run(folder / name, [spoil(one) for one in before], model=HOSTILE + name, prompt=HOSTILE + name,
                  sessions=[{"command": HOSTILE}], **{HOSTILE: name})
        for name, spoil in (("one", lambda one: replace(hostile(one), outcome=one.outcome, score=one.score)),
                            ("two", hostile), ("three", hostile))
    ]  # fmt: skip
    for run in runs:
        settings = json.loads((run / "run.json").read_text(encoding="utf-8"))
        settings["tasks"] = {HOSTILE: {"region": run.name, "card": {"notice": HOSTILE}}}
        (run / "run.json").write_text(json.dumps(settings), encoding="utf-8")
    return runs


def test_hostile_strings_stay_text(tmp_path: Path) -> None:
    html, markdown = read(compare(*hostile_runs(tmp_path), out=tmp_path / "out"))
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<img src=x" not in html
    assert not [attributes for _, attributes in page.tags if any(key.startswith("on") for key in attributes)]
    assert "{{ 7*7 }}" in page.text
    in_fence = False
    for line in markdown.splitlines():
        in_fence ^= line.startswith("```")
        if not in_fence:
            assert "<" not in line
            assert "$" not in line
            assert not re.search(r"(?<!\\)\]\(", line)
    tables = [block.splitlines() for block in markdown.split("\n\n") if block.startswith("| ")]
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table[0]


def test_images_can_be_left_out_and_broken_ones_are_no_obstacle(tmp_path: Path) -> None:
    runs = trained(tmp_path, thumbnails=24)
    bare = Page(read(compare(*runs, out=tmp_path, images=False))[0])
    assert "img" not in {tag for tag, _ in bare.tags}
    assert "Images were left out of this report on request." in bare.text
    for path in (tmp_path / "before" / "thumbnails").iterdir():
        path.write_bytes(b"not an image")
    assert "img" not in {tag for tag, _ in Page(read(compare(*runs, out=tmp_path))[0]).tags}


@pytest.mark.evidence
def test_any_comparison_stays_under_twenty_megabytes(tmp_path: Path) -> None:
    def spoil(one: Record) -> Record:
        long = {"question": "<" * 5_000, "options": ("'" * 2_000,) * 40, "category": f"{'<' * 300}{one.sample}"}
        return replace(one, output="<&'\"\U0001f600" * 4_000, **long)  # type: ignore[arg-type]

    before = [spoil(one) for name in ("a", "b", "c") for one in example_records(name, 120)]
    runs = [
        write_run(tmp_path / name, records, prompt="<" * 500_000, **{f"key {i}": "<" * 3_000 for i in range(300)})
        for name, records in (("one", before), ("two", [improved(one, fixed=1.0, broken=0.5) for one in before]))
    ]
    noise = np.random.default_rng(0)
    for index in range(100):
        image = Image.fromarray(noise.integers(0, 256, (512, 512, 3), dtype=np.uint8))
        for view in ("full", "crop"):
            save_thumbnail(image, runs[0] / "thumbnails" / f"{thumbnail_key('a', f'{index:03d}')}-{view}.jpg")
    html, _ = read(compare(*runs, out=tmp_path / "out"))
    assert 5_000_000 < len(html.encode()) < 20_000_000


# --- in a browser ----------------------------------------------------------------------------------------------------

browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on the path")


@browser
@pytest.mark.browser
def test_it_opens_without_messages_and_fetches_nothing(tmp_path: Path) -> None:
    compare(*trained(tmp_path, thumbnails=24), out=tmp_path)
    opened = open_report(tmp_path, name="comparison.html")
    assert opened.console == []
    # The policy would refuse a request of the page and log it above; these requests are the browser's own.
    assert not [one for one in opened.requests if one.startswith("http") and "google" not in one]
    assert "Before and after training" in opened.page.text


@browser
@pytest.mark.browser
def test_hostile_output_neither_runs_nor_fetches(tmp_path: Path) -> None:
    trap = f"{HOSTILE}<img src='{TRACKER}'><link rel=stylesheet href='{TRACKER}'><svg onload=console.log('ran')>"

    def spoil(one: Record) -> Record:
        return replace(improved(one), output=trap, question=trap, category=trap)

    before = [replace(one, question=trap, category=trap) for one in example_records("signs", 20)]
    runs = (
        write_run(tmp_path / "one", before, model=trap),
        write_run(tmp_path / "two", [spoil(one) for one in before], model=trap),
    )
    compare(*runs, out=tmp_path / "out")
    opened = open_report(tmp_path / "out", name="comparison.html")
    assert opened.console == []
    assert not [address for address in opened.requests if "tracker.invalid" in address]


@browser
@pytest.mark.browser
def test_nothing_is_wider_than_a_narrow_screen(tmp_path: Path) -> None:
    """Tables and plots scroll inside their own frames; the page does not."""
    compare(*trained(tmp_path, thumbnails=4), out=tmp_path)
    html = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    # A script measures the page in a frame as wide as a phone. The page's policy would refuse it, so it is removed.
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    measure = "<script>document.title = 'wide ' + document.documentElement.scrollWidth; " \
              "parent.postMessage(document.title, '*')</script></body>"  # fmt: skip
    (tmp_path / "inner.html").write_text(bare.replace("</body>", measure), encoding="utf-8")
    frame = (
        "<!doctype html><body><iframe src='inner.html' style='width:380px;height:900px;border:0'></iframe>"
        "<script>addEventListener('message', (e) => { document.body.append(e.data) })</script></body>"
    )
    (tmp_path / "outer.html").write_text(frame, encoding="utf-8")
    opened = open_report(tmp_path, name="outer.html")
    width = re.search(r"wide (\d+)", opened.page.text)
    assert width is not None
    assert int(width[1]) <= 380
