"""describe-then-ask through the server engine: the gates keep what is right, and little of what is not."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from engines.stub_server import Stub
from report.live_browser import CHROMIUM, open_page

import gapbench
from gapbench.commands.propose import Proposed
from gapbench.proposals import outputs
from proposals import scripted

IMAGES = 6


@pytest.fixture(scope="module")
def proposed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Proposed, list[list[scripted.Thing]], Path]:
    folder = tmp_path_factory.mktemp("scripted")
    (folder / "images").mkdir()
    scenes = [scripted.scene(n) for n in range(IMAGES)]
    for n, things in enumerate(scenes):
        scripted.draw(things, folder / "images" / f"{n}.png")
    with Stub(reply=scripted.server(scenes)) as stub:
        made = gapbench.propose(
            str(folder / "images"), "stub", folder / "data.jsonl", engine="server", base_urls=[stub.url],
            sheet=folder / "sheet.html",
        )  # fmt: skip
    return made, scenes, folder


def kinds(proposed: tuple[Proposed, list[list[scripted.Thing]], Path]) -> Counter[tuple[str, bool]]:
    """(kind of the object, kept?) -> rows."""
    made, scenes, _ = proposed
    counts: Counter[tuple[str, bool]] = Counter()
    for line in outputs.read_audit(made.path):
        for row in (row for row in line["rows"] if row["question"]):
            facts = row["facts"]["name"], row["facts"]["attribute"]
            kind = next(t.kind for t in scenes[line["number"]] if (t.name, t.attribute) == facts)
            counts[kind, not row["rejected"]] += 1
    return counts


def test_at_least_80_percent_of_the_right_and_at_most_10_percent_of_the_others_are_kept(proposed) -> None:  # type: ignore[no-untyped-def]
    counts = kinds(proposed)
    right = counts["right", True], counts["right", False]
    assert right[0] >= 1.5 * IMAGES, counts
    assert right[0] >= 0.8 * sum(right), counts
    bad = sum(n for (kind, kept), n in counts.items() if kind != "right" and kept)
    assert sum(n for (kind, _), n in counts.items() if kind != "right") >= IMAGES, counts  # they did reach the gates
    assert bad <= 0.1 * sum(thing.kind != "right" for things in proposed[1] for thing in things), counts


def test_no_text_of_an_attack_reaches_data_or_page_as_it_is(proposed) -> None:  # type: ignore[no-untyped-def]
    made, _, folder = proposed
    data, page = made.path.read_text(encoding="utf-8"), (folder / "sheet.html").read_text(encoding="utf-8")
    assert "<|im" not in data + page
    assert "<script>alert" not in data + page
    assert all(len(json.loads(line)["question"]) <= 200 for line in data.splitlines())


def test_the_data_hold_no_answer_and_name_the_images_where_they_are(proposed) -> None:  # type: ignore[no-untyped-def]
    made, scenes, _ = proposed
    rows = [json.loads(line) for line in made.path.read_text(encoding="utf-8").splitlines()]
    assert all(set(row) == {"id", "image", "question", "bbox", "bbox_format", "evidence", "category"} for row in rows)
    assert all((made.path.parent / row["image"]).is_file() for row in rows)
    texts = [thing.text for things in scenes for thing in things if thing.kind == "right"]
    assert not any(text in made.path.read_text(encoding="utf-8") for text in texts)


def test_a_server_without_probabilities_is_believed_and_the_estimate_says_no_doubt(proposed) -> None:  # type: ignore[no-untyped-def]
    made, _, _ = proposed
    assert made.card["estimate"]["doubt"] is None
    assert made.card["estimate"]["small"]["estimate"] <= 0.1
    assert made.card["tokens"]["windows_of_an_image"] > 0


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_ticked_rows_give_the_share_of_errors_with_its_interval(proposed) -> None:  # type: ignore[no-untyped-def]
    _, _, folder = proposed
    with open_page(folder / "sheet.html", width=390) as page:
        page.run("document.querySelectorAll('input[value=right]').forEach((box) => box.click())")
        page.run("document.querySelector('input[value=wrong]').click()")
        rows = int(page.run("document.querySelectorAll('input[value=right]').length"))
        said = str(page.run("document.getElementById('share').textContent"))
        assert page.run("document.documentElement.scrollWidth") <= 390
    assert said.startswith(f"{rows} ticked, {100 / rows:.1f} % wrong [")
