"""Calls through a scripted server. What has no answer is counted, said, and asked again by the same call alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from engines.stub_server import HttpRequest, Response, Stub, chat, error
from PIL import Image

import gapbench
from gapbench.commands.propose import Proposed
from gapbench.errors import RunError
from gapbench.proposals import outputs
from gapbench.proposals.proposers import DESCRIBE
from gapbench.runs.manifest import read_manifest
from proposals import scripted

FEW = ("scales=[0.3,0.6]", "largest_step=0.3", "step=0.8", "least_rows=1", "most_disagreement=1")
SCENES = [scripted.scene(n) for n in range(2)]
Reply = Callable[[HttpRequest, int], Response]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for n, things in enumerate(SCENES):
        scripted.draw(things, folder / f"{n}.png")
    return folder


def propose(photos: Path, out: Path, reply: Reply, *settings: str) -> tuple[Proposed, list[HttpRequest]]:
    with Stub(reply=reply) as stub:
        made = gapbench.propose(
            str(photos), "stub", out, settings=[*FEW, *settings], engine="server", base_urls=[stub.url]
        )
        return made, list(stub.requests)


HEALTHY = scripted.server(SCENES)


def partly(request: HttpRequest, number: int) -> Response:
    """Refuses every fifth prompt, whenever it is asked."""
    refused = zlib.crc32(request.body) % 5 == 0
    return error(400, "the image is\ntoo large") if refused else HEALTHY(request, number)


def test_what_failed_is_counted_and_said_and_asked_again_until_the_data_are_those_of_a_healthy_server(
    photos: Path, tmp_path: Path
) -> None:
    gates = "gates=[nesting, unique, answer, blind]"
    whole, _ = propose(photos, tmp_path / "whole" / "data.jsonl", HEALTHY, gates)
    assert whole.card["counts"]["kept"] >= 2
    assert whole.card["counts"]["failed"] == 0
    assert "without an answer" not in whole.text()
    out = tmp_path / "data.jsonl"
    first, asked_first = propose(photos, out, partly, gates)
    counts = first.card["counts"]
    refused = sum(zlib.crc32(request.body) % 5 == 0 for request in asked_first)
    assert 0 < counts["failed_windows"] < counts["failed"] == refused
    assert f"without an answer: {refused}, {counts['failed_windows']} of {counts['windows']} windows" in first.text()
    assert "HTTP 400: the image is too large" in first.text()
    again, asked_again = propose(photos, out, HEALTHY, gates)
    answered = {request.body for request in asked_first if zlib.crc32(request.body) % 5}
    assert len(asked_again) >= refused
    assert not answered & {request.body for request in asked_again}
    for name in ("data.jsonl", "data.audit.jsonl"):
        made, expected = (path.with_name(name).read_text() for path in (out, whole.path))
        assert made.replace(str(tmp_path), "").replace("../", "") == expected.replace("../", "")
    assert not outputs.beside(out, "readings.jsonl").exists()
    spent = again.card["tokens"]["all_sessions"]
    assert (spent["asked"], spent["failed"]) == (len(asked_first) + len(asked_again), refused)
    sessions = read_manifest(outputs.beside(out, "run.json")).sessions
    assert [(s.throughput or {})["asked"] for s in sessions] == [len(asked_first), len(asked_again)]
    assert propose(photos, out, HEALTHY, gates)[1] == []


def test_a_server_that_takes_no_prompt_without_an_image_ends_the_call_with_the_remedy(
    photos: Path, tmp_path: Path
) -> None:
    """It words questions from text, so only `blind` is refused."""

    def reply(request: HttpRequest, number: int) -> Response:
        asks = not request.urls and request.prompt.startswith("What does")
        return error(400, "this model needs an image") if asks else HEALTHY(request, number)

    out = tmp_path / "data.jsonl"
    with pytest.raises(RunError, match=r"gate blind: no row .*needs an image.*'gates=\[nesting, unique, far, answer"):
        propose(photos, out, reply)
    assert not out.exists()
    without, _ = propose(photos, tmp_path / "b.jsonl", reply, "gates=[nesting, unique, far, answer, shifted, count]")
    assert without.card["counts"]["kept"] >= 2


def test_a_model_that_lists_nothing_but_prose_is_named_with_an_example(photos: Path, tmp_path: Path) -> None:
    prose, _ = propose(photos, tmp_path / "data.jsonl", lambda r, n: chat("I see a\x1b[31m \u202ered mug."))
    counts = prose.card["counts"]
    assert counts["no_listing"] == counts["windows"] > 0
    assert f'no listing: {counts["windows"]}, such as "I see a\\u001b[31m \\u202ered mug."' in prose.text()
    assert "\x1b" not in prose.text()
    assert "\u202e" not in prose.text()
    assert "does not follow the listing format" in prose.refused


def test_objects_without_a_question_are_counted_in_words(photos: Path, tmp_path: Path) -> None:
    silent, _ = propose(
        photos, tmp_path / "data.jsonl", lambda r, n: HEALTHY(r, n) if r.prompt == DESCRIBE else chat("{}")
    )
    assert silent.card["counts"]["no_question"] > 0
    assert f"objects without a question: {silent.card['counts']['no_question']}" in silent.text()
    refusing, _ = propose(
        photos, tmp_path / "r.jsonl", lambda r, n: HEALTHY(r, n) if r.prompt == DESCRIBE else error(400, "no")
    )
    counts = refusing.card["counts"]  # a wording that was never asked for is none that the model lacked
    assert (counts["no_question"], counts["failed_windows"]) == (0, 0)
    assert counts["failed"] == silent.card["counts"]["no_question"]
    assert f"{counts['failed']} prompts got no answer: mend that" in refusing.refused


def test_tokens_are_estimated_from_the_sizes_of_all_images(tmp_path: Path) -> None:
    """An image of 64 x 64 px and two of 640 x 480: apart, and together."""
    sizes = {"a.png": (64, 64), "b.png": (640, 480), "c.png": (640, 480)}
    for folder, names in {"small": "a", "large": "b", "all": "abc"}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("RGB", sizes[f"{name}.png"]).save(tmp_path / folder / f"{name}.png")
    tokens = {
        folder: propose(tmp_path / folder, tmp_path / f"{folder}.jsonl", lambda r, n: chat("[]"))[0].card["tokens"]
        for folder in ("small", "large", "all")
    }
    small, large, mean = (tokens[folder]["windows_of_an_image"] for folder in ("small", "large", "all"))
    assert small < large
    assert mean == pytest.approx((small + 2 * large) / 3, abs=1)


def test_progress_without_a_terminal_counts_answers_and_says_no_time_that_is_made_up(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Stub(reply=lambda r, n: chat("[]")) as stub:
        gapbench.propose(
            str(photos), "stub", tmp_path / "data.jsonl", settings=FEW, engine="server", base_urls=[stub.url],
            quiet=False,
        )  # fmt: skip
        asked = len(stub.requests)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stub: ")]
    assert said[-1].startswith(f"stub: {asked} answers, ")
    assert said[-1].endswith("/s (2 of 2 images are done)")
    assert not any(" left" in line for line in said)


def test_the_sheet_says_which_box_trains(photos: Path, tmp_path: Path) -> None:
    with Stub(reply=HEALTHY) as stub:
        gapbench.propose(
            str(photos), "stub", tmp_path / "data.jsonl", settings=[*FEW, "gates=nesting"], engine="server",
            base_urls=[stub.url], sheet=tmp_path / "sheet.html",
        )  # fmt: skip
    page = (tmp_path / "sheet.html").read_text()
    (line, *_) = [line for line in outputs.read_audit(tmp_path / "data.jsonl") if line["rows"]]
    x0, y0, *_ = line["rows"][0]["bbox"]
    assert f'<rect class="region" x="{x0}" y="{y0}"' in page
    assert '<span class="region">the box that trains</span>' in page
    assert '<span class="evidence">the smallest window' in page
