"""`gapbench.propose`: data of plain images that distill takes and measure refuses, the same after any kill."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import gapbench
from gapbench.cli.app import app
from gapbench.commands.propose import Proposed
from gapbench.data import catalogue
from gapbench.data.plain_images import plain_images
from gapbench.distillation import recipe
from gapbench.distillation.pairs import Pairs
from gapbench.engines import models
from gapbench.errors import BenchmarkError, RunError, SettingError
from gapbench.proposals import outputs

FEW = ("scales=[0.3,0.6]", "gates=[nesting, answer]", "least_rows=1", "most_disagreement=1")
"""Fewer windows and gates, so that few images give rows in seconds."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three plain scenes as PNG files."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    folder.mkdir()
    _, images = plain_images("signs:split=validation,samples=40", 3, models.benchmark_defaults("glance"))
    for number, sample in enumerate(images):
        sample.image().save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def proposed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Proposed:
    out = tmp_path_factory.mktemp("proposed") / "data.jsonl"
    return gapbench.propose(str(photos), "glance", out, settings=FEW, sheet=out.with_name("sheet.html"))


def made(path: Path) -> dict[str, bytes]:
    """The content of everything that must not depend on kills."""
    return {p.name: p.read_bytes() for p in (path, outputs.beside(path, "audit.jsonl"))}


def test_the_data_can_be_trained_on_with_both_views(proposed: Proposed) -> None:
    benchmark = catalogue.load(str(proposed.path))
    pairs = Pairs(benchmark, recipe.load("demo"))
    assert len(pairs.samples) + len(pairs.validation) == proposed.card["counts"]["kept"] >= 3
    first = pairs.step(0)[0]
    assert first.student.size == (96, 96)
    assert {s.evidence for s in pairs.samples} == {"model"}
    assert all(s.answers == () for s in pairs.samples)
    assert "glance made the questions" in benchmark.card.notice


def test_the_card_says_who_made_the_data_of_what_and_how(proposed: Proposed) -> None:
    card = json.loads(outputs.beside(proposed.path, "proposal.json").read_text())
    assert card["model"] == "glance"
    assert card["sha256"]
    assert card["proposer"]["prompt"] == "List the signs."
    assert card["settings"]["shifted_agree"] == 3
    assert card["counts"]["images"] == 3
    assert card["counts"]["windows"] == 156
    assert card["sessions"][0]["command"].startswith("gapbench.propose(")
    assert card["truth"] is None  # nobody marked these


def test_what_a_model_proposed_is_never_measured(proposed: Proposed, tmp_path: Path) -> None:
    for call in (
        lambda: gapbench.measure("glance", [str(proposed.path)], out=tmp_path / "run"),
        lambda: gapbench.distill("glance", "signs:samples=8", "demo", tmp_path / "d", eval=[str(proposed.path)]),
    ):
        with pytest.raises(BenchmarkError, match=r"a model made .* measured against itself"):
            call()


@pytest.mark.parametrize("share", [0.6])
def test_a_call_that_was_killed_anywhere_makes_the_same_data(
    proposed: Proposed, photos: Path, tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends the call in the middle of an answer, as a kill would leave the file, then goes on."""
    from gapbench.runs import records

    out, write, count = tmp_path / "data.jsonl", records.Writer.write, [0]

    def killed(self: records.Writer, record: Any) -> None:
        count[0] += 1
        if count[0] > 150 * share:
            self._file.write(b'{"key": "to')
            raise KeyboardInterrupt
        write(self, record)

    with monkeypatch.context() as patched:
        patched.setattr(records.Writer, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            gapbench.propose(str(photos), "glance", out, settings=FEW)
    assert not out.exists()
    gapbench.propose(str(photos), "glance", out, settings=FEW)
    before, now = made(proposed.path), made(out)
    images = str(photos.parent)
    assert [json.loads(line) | {"image": ""} for line in now["data.jsonl"].splitlines()] == [
        json.loads(line) | {"image": ""} for line in before["data.jsonl"].splitlines()
    ], images
    assert now["data.audit.jsonl"] == before["data.audit.jsonl"]


GARBAGE = """
from gapbench.types import Card, Sample
from pathlib import Path
CARD = Card(name="scenes", title="s", source="s", licence="s")
def samples(garbage: bool = False):
    for n, path in enumerate(sorted(Path({folder!r}).glob("*.png"))):
        question, answer, box = ("Which letter is on the red sign?", "H", (10, 10, 40, 40))
        if garbage:
            question, answer, box = ("<garbage>", "nonsense", (-5, 7, 1e9, -1e9))
        yield Sample(str(n) + "garbage" * garbage, path, question, (answer,), boxes=(box,), category=answer)
"""


def test_boxes_questions_and_answers_of_a_benchmark_decide_nothing(
    proposed: Proposed, photos: Path, tmp_path: Path
) -> None:
    """The same images as a folder, and in a benchmark whose every other field is garbage."""
    (tmp_path / "scenes.py").write_text(GARBAGE.format(folder=str(photos)))
    out = tmp_path / "data.jsonl"
    gapbench.propose(f"{tmp_path}/scenes.py:garbage=true", "glance", out, settings=FEW)
    of_folder, of_benchmark = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in (proposed.path, out)
    )
    assert [(r["question"], r["bbox"]) for r in of_folder] == [(r["question"], r["bbox"]) for r in of_benchmark]


def test_where_people_marked_boxes_the_card_says_how_many_are_found(tmp_path: Path) -> None:
    out = tmp_path / "data.jsonl"
    card = gapbench.propose("signs:split=validation,samples=12", "glance", out, settings=FEW, limit=2).card
    assert card["truth"]["marked"] >= card["truth"]["found"] > 0
    assert "against the benchmark's own boxes" in Proposed(out, card).text()
    images = {json.loads(line)["image"] for line in out.read_text().splitlines()}
    assert images == {f"data_images/{path.name}" for path in (tmp_path / "data_images").iterdir()}
    assert 1 <= len(images) <= 2


@pytest.mark.parametrize("setting", ["least_rows=1000", "most_disagreement=0.0"])
def test_data_that_look_wrong_are_not_written_unless_they_are_asked_for(
    proposed: Proposed, photos: Path, tmp_path: Path, setting: str
) -> None:
    """Thresholds of the refusal may change: nothing is asked again."""
    for path in proposed.path.parent.glob("data.*"):
        shutil.copy(path, tmp_path)
    (tmp_path / "data.jsonl").unlink()
    audit = tmp_path / "data.audit.jsonl"
    if "disagreement" in setting:  # one row whose windows disagree
        lines = [json.loads(line) for line in audit.read_text().splitlines()]
        noted = [row for line in lines for row in line["rows"] if row["notes"]]
        noted[0]["notes"]["small"]["same"] = False
        audit.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["propose", str(photos), "--model", "glance", "--out", str(tmp_path / "data.jsonl"), *FEW, setting]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1, refused.output
    assert not (tmp_path / "data.jsonl").exists()
    assert (tmp_path / "data.proposal.json").exists()
    assert CliRunner().invoke(app, [*command, "--accept-noisy"]).exit_code == 0
    assert (tmp_path / "data.jsonl").exists()
    accepted = {path: path.read_bytes() for path in (tmp_path / "data.jsonl", tmp_path / "data.proposal.json")}
    assert json.loads(accepted[tmp_path / "data.proposal.json"])["accepted_noisy"]
    again = CliRunner().invoke(app, command)
    assert (again.exit_code, "are kept as an earlier call wrote them" in " ".join(again.output.split())) == (1, True)
    assert {path: path.read_bytes() for path in accepted} == accepted


def test_other_settings_are_not_mixed_into_one_file(proposed: Proposed, photos: Path) -> None:
    with pytest.raises(RunError, match="shifted_agree 3, and now it is 4"):
        gapbench.propose(str(photos), "glance", proposed.path, settings=[*FEW, "shifted_agree=4"])


def test_an_image_that_cannot_be_read_is_counted_and_the_others_go_on(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "0.png").write_bytes(b"no image")
    (folder / "2.png").unlink()
    result = gapbench.propose(str(folder), "glance", tmp_path / "data.jsonl", settings=FEW)
    assert (result.card["counts"]["images"], result.card["counts"]["unreadable"]) == (2, 1)
    assert "images that cannot be read: 1, such as: image " in result.text()
    assert result.card["counts"]["kept"]


def test_photos_that_were_turned_are_written_upright(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    image = Image.open(photos / "1.png").rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # show it turned clockwise by 90 degrees
    image.save(folder / "a.png", exif=exif)
    gapbench.propose(str(folder), "glance", tmp_path / "data.jsonl", settings=FEW)
    samples = catalogue.load(str(tmp_path / "data.jsonl")).samples()
    upright = Image.open(samples[0].image)
    assert upright.tobytes() == Image.open(photos / "1.png").convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("settings", "named"),
    [(["gates=[nestng]"], "gates"), (["speed=3"], "speed=3"), (["proposer=guess"], "expected one of listing"),
     (["proposer=template"], "template=FILE"), (["template=none.txt"], "none.txt")],
)  # fmt: skip
def test_a_setting_that_is_wrong_is_named(photos: Path, tmp_path: Path, settings: list[str], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        gapbench.propose(str(photos), "glance", tmp_path / "data.jsonl", settings=settings)


@pytest.mark.evidence
def test_killed_ten_times_it_makes_the_same_data(proposed: Proposed, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "data.jsonl"
    command = [sys.executable, "-m", "gapbench", "propose", str(photos), "--model", "glance", "--out", str(out), *FEW]
    rng, kills = random.Random(0), 0
    while kills < 10:
        process = subprocess.Popen([*command, "-q"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        readings = outputs.beside(out, "readings.jsonl")
        size = readings.stat().st_size if readings.exists() else 0
        until = time.monotonic() + 120
        while (readings.stat().st_size if readings.exists() else 0) <= size + 200 and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(rng.random() * 0.1)
        if process.poll() is not None:  # it was done before it could be killed again
            break
        process.kill()
        process.wait()
        kills += 1
    subprocess.run([*command, "-q"], check=True, stdout=subprocess.DEVNULL)
    print(f"{kills} kills")
    assert kills >= 3
    assert outputs.beside(out, "audit.jsonl").read_bytes() == outputs.beside(proposed.path, "audit.jsonl").read_bytes()
