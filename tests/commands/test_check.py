"""`check` finds what contradicts itself before GPU hours are spent; `show` says what is known."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gapbench.commands.check import Findings, check
from gapbench.data.benchmark import Benchmark
from gapbench.data.catalogue import load
from gapbench.data.task import Task, TaskSettings, make_task
from gapbench.errors import BenchmarkError
from gapbench.types import Card, Sample

CARD = Card("own", "Own", "nowhere", "CC0")
SAMPLE = Sample("1", Image.new("RGB", (100, 80), "red"), "Which colour?", ("red",), boxes=((10, 10, 30, 30),))
CHOICE = dataclasses.replace(SAMPLE, answers=("A",), options=("red", "blue"), answer_type="letter")


def task(benchmark: Benchmark, limit: int | None = None) -> Task:
    return make_task(benchmark, TaskSettings(limit=limit))


def findings(*samples: Sample, card: Card = CARD, limit: int | None = None) -> Findings:
    return check(task(Benchmark("own", card, lambda: iter(samples)), limit))


def problems(*samples: Sample, card: Card = CARD) -> str:
    return "\n".join(findings(*samples, card=card).problems)


def other(sample: Sample, id_: str = "2", **changes: Any) -> Sample:
    return dataclasses.replace(sample, id=id_, **changes)


# --- what is right ---------------------------------------------------------------------------------------------


def test_the_embedded_benchmark_keeps_its_card_s_promises() -> None:
    started = time.process_time()
    found = check(task(load("signs")))
    assert found.problems == ()
    assert found.counts["samples"] == found.counts["with evidence box"] == 1000
    assert found.counts["images"] == found.counts["clusters"]
    assert found.counts["largest cluster"] == 4
    assert time.process_time() - started < 30  # a few seconds on one core; a check must not be put off


def test_counts_say_what_there_is() -> None:
    blue = Image.new("RGB", (100, 80), "blue")
    samples = [
        SAMPLE, other(SAMPLE, "2", question="Other?", category="ocr"), other(SAMPLE, "3", image=blue, boxes=()),
        other(SAMPLE, "4", image=blue, question="Other?", cluster="four", category="ocr"),
    ]  # fmt: skip
    assert findings(*samples).counts == {
        "samples": 4, "images": 2, "clusters": 3, "smallest cluster": 1, "largest cluster": 2,
        "with evidence box": 3, "category ocr": 2,
    }  # fmt: skip
    assert findings(*samples).problems == ()


def test_the_declared_box_format_is_printed_and_several_are_counted() -> None:
    assert "box format, declared     xyxy\n" in findings(SAMPLE).text()
    width = dataclasses.replace(CARD, box_format="xywh")
    assert "box format, declared     xywh\n" in findings(SAMPLE, card=width).text(), "the card's, if a sample has none"
    share = other(SAMPLE, question="Other?", boxes=((0.1, 0.1, 0.3, 0.3),), box_format="xyxy_normalised")
    none = other(SAMPLE, "3", question="Third?", boxes=(), box_format="xywh")
    assert "box format, declared     xyxy 1, xyxy_normalised 1\n" in findings(SAMPLE, share, none).text()
    assert "box format" not in findings(none).text()


def test_a_sound_benchmark_is_ok_in_words() -> None:
    assert findings(SAMPLE, other(CHOICE)).text().splitlines()[-1] == "ok: every expectation holds"


# --- what is wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"answers": ("C",)}, "'C' is no option"),
        ({"answers": ("green",)}, "'green' is no option"),
        ({"answers": ()}, "without an accepted answer"),
        ({"answers": ("A", " ")}, "an accepted answer is empty"),
        ({"options": ("red", "red")}, "two options are the same: red, red"),
        ({"options": tuple(map(str, range(27)))}, "27 options"),
        ({"answer_type": "yes_no", "options": ()}, "neither yes nor no"),
        ({"answer_type": "number", "options": ()}, "has 0 numbers"),
        ({"answer_type": "words", "options": ()}, "'words' is unknown"),
    ],
)
def test_an_answer_that_no_output_could_match_is_found(changes: dict[str, Any], says: str) -> None:
    found = problems(SAMPLE, other(CHOICE, **changes))
    assert found.startswith("sample '2': ")
    assert says in found


def test_a_box_outside_the_image_is_found_and_counted() -> None:
    found = findings(SAMPLE, other(CHOICE, boxes=((50, 50, 120, 70),)))
    assert found.repairs == {"outside": 1}
    (problem,) = found.problems
    assert "sample '2': its box [50, 50, 120, 70] (xyxy) leaves the image of 100 x 80 px by more than 2 px" in problem
    assert "format right? Measuring clips the box to the image and goes on." in problem
    inside_first = findings(SAMPLE, other(CHOICE, boxes=((5, 5, 9, 9), (50, 50, 60, 140))))
    assert "its box [50, 50, 60, 140] (xyxy)" in inside_first.problems[0]


def test_fractions_that_are_read_as_pixels_are_found() -> None:
    fractions = ((0.2, 0.3, 0.4, 0.6),)
    assert "are smaller than a pixel. Are they fractions" in problems(other(SAMPLE, boxes=fractions))
    assert not problems(other(SAMPLE, boxes=fractions, box_format="xyxy_normalised"))


def test_a_sample_s_boxes_are_in_the_card_s_format_unless_it_names_its_own() -> None:
    card = dataclasses.replace(CARD, box_format="xywh")
    blue = Image.new("RGB", (100, 80), "blue")
    own = other(SAMPLE, "2", image=blue, boxes=((10, 10, 30, 30),), box_format="xyxy")
    found = check(task(Benchmark("own", card, lambda: iter((SAMPLE, own)))))
    assert found.evidence == (400 / 8000, 900 / 8000, 900 / 8000)


def test_a_box_with_nothing_inside_is_found() -> None:
    assert "nothing is left inside the image of 100 x 80 px" in problems(other(SAMPLE, boxes=((200, 200, 300, 300),)))


def test_harmless_repairs_are_counted_without_being_problems() -> None:
    found = findings(SAMPLE, other(CHOICE, boxes=((90, 70, 101, 80),)))
    assert found.repairs == {"clipped": 1}
    assert found.problems == ()
    assert "repair: clipped" in found.text()


@pytest.mark.parametrize(
    ("declared", "box", "meant"),
    [
        ("xyxy", (50, 4, 10, 8), "xywh"),
        ("xywh", (50, 40, -10, 8), "xyxy"),
        ("xyxy_normalised", (0.5, 0.4, 0.1, 0.5), "xywh_normalised"),
        ("xyxy_thousand", (500, 40, 100, 80), "xywh_thousand"),
    ],
)
def test_an_inverted_box_is_a_problem_unless_the_card_declares_it(declared: Any, box: Any, meant: str) -> None:
    inverted = other(SAMPLE, boxes=(box,), box_format=declared)
    assert f"Is it {meant}?" in problems(inverted)
    assert problems(inverted, card=dataclasses.replace(CARD, expected={"repair: swapped": 1})) == ""


def test_images_whose_orientation_is_ignored_are_counted_once_each() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (100, 80)).save(buffer, "JPEG", exif=exif)
    data = buffer.getvalue()
    found = findings(other(SAMPLE, "1", image=data), other(SAMPLE, "2", image=data, question="Other?"))
    assert found.repairs == {"exif orientation ignored": 1}
    assert "exif orientation ignored 1" in found.text()


def photo(width: int = 80, height: int = 60) -> bytes:
    """A photo that is stored lying and shown upright, with sides exchanged (EXIF orientation 6)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def test_a_box_that_fits_only_the_upright_photo_is_said_with_what_helps() -> None:
    beyond = other(SAMPLE, image=photo(), boxes=((10, 65, 20, 75),))
    partly = other(beyond, "3", boxes=((10, 50, 20, 75),), question="Other?")
    for sample in (beyond, partly):
        assert "only the upright image" in problems(sample)
        assert ":orientation=upright" in problems(sample)
        assert problems(dataclasses.replace(sample, upright=True)) == ""
    neither = other(SAMPLE, image=photo(), boxes=((10, 650, 20, 750),))
    assert "upright" not in problems(neither), "no orientation helps"
    assert "Check the box format" in problems(neither)


def test_a_box_that_fits_either_way_gets_a_note_and_is_no_problem() -> None:
    either = other(SAMPLE, image=photo(), boxes=((10, 10, 20, 20),))
    found = findings(either)
    assert found.problems == ()
    assert "NOTE     1 image has an EXIF orientation, which is not applied" in found.text()
    assert "EXIF" not in findings(dataclasses.replace(either, upright=True)).text()
    declared = dataclasses.replace(
        task(Benchmark("own", CARD, lambda: [either])),
        benchmark=Benchmark("own", CARD, lambda: [either], {"orientation": "stored"}),
    )
    assert "NOTE" not in check(declared).text()
    assert "exif orientation ignored 1" in check(declared).text(), "it is still counted"


@pytest.mark.parametrize(
    ("answers", "says"),
    [("yes no", r"NOTE     every answer is yes or no, scored as text\. Should it be :answer_type=yes_no behind"),
     ("4 12", r"NOTE     every answer is a number, scored as text\. Should it be :answer_type=number behind the name"),
     ("yes STOP", r"NOTE     1 of 2 samples have the answer yes or no.* say yes_no in a column answer_type"),
     ("4 STOP", ""), ("A7 12B", "")],
)  # fmt: skip
def test_answers_that_a_rule_of_their_own_would_read_better_get_a_hint(answers: str, says: str, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    row = {"image": "a.png", "bbox": [1, 1, 5, 5], "bbox_format": "xyxy"}
    rows = [row | {"question": f"Question {answer}?", "answer": answer} for answer in answers.split()]
    (path := tmp_path / "mine.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    found = check(task(load(str(path)))).text()
    assert re.search(says, found) if says else "scored as text" not in found
    assert "scored as text" not in check(task(load(f"{path}:answer_type=text"))).text(), "it is declared"


def test_samples_without_a_box_beside_others_are_named() -> None:
    bare = [other(SAMPLE, f"s{i}", boxes=(), question=f"Question {i}?") for i in range(5)]
    assert "NOTE     1 sample has no evidence box (s0): it counts in full alone." in findings(SAMPLE, bare[0]).text()
    assert "5 samples have no evidence box (s0, s1, s2 and 2 more): they" in findings(SAMPLE, *bare).text()
    assert "full alone" not in findings(SAMPLE).text()
    assert "full alone" not in findings(*bare).text(), "one note is enough: there will be no gap"


def test_ok_without_boxes_says_that_there_will_be_no_gap() -> None:
    assert "there will be no gap" in findings(dataclasses.replace(SAMPLE, boxes=())).text()
    assert "no gap" not in findings(SAMPLE).text()


def test_the_same_question_about_the_same_image_is_found(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 40)).save(tmp_path / name)
    twice = [other(SAMPLE, n[0], image=tmp_path / n) for n in ("a.png", "b.png")]
    assert problems(*twice) == "sample 'b': it asks the same about the same image as sample 'a'."
    assert not problems(twice[0], dataclasses.replace(twice[1], question="What else?"))


def test_an_unreadable_image_is_found_and_is_nobody_s_duplicate(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    broken = [other(SAMPLE, "2", image=tmp_path / "cut.png"), other(SAMPLE, "3", image=tmp_path / "missing.png")]
    found = findings(SAMPLE, *broken).problems
    assert len(found) == 2
    assert "sample '2': image" in found[0]
    assert "cut.png: cannot be decoded" in found[0]
    assert "missing.png: cannot be read" in found[1]


def test_an_unreadable_crop_is_found_where_it_would_be_shown() -> None:
    broken = other(CHOICE, crop_image=b"no")
    native = dataclasses.replace(CARD, region="native")
    assert "sample '2': image given as bytes: cannot be decoded" in problems(broken, card=native)
    assert problems(SAMPLE, broken) == ""


def test_evidence_that_the_card_s_region_cannot_use_is_found() -> None:
    native = dataclasses.replace(CARD, region="native")
    assert "ships no crop" in problems(SAMPLE, card=native)
    assert not problems(other(SAMPLE, crop_image=Image.new("RGB", (5, 5))), card=native)


@pytest.mark.parametrize(
    ("expected", "problem"),
    [
        ({"samples": 3}, "samples: found 2, the card expects 3."),
        ({"images": 2}, "images: found 1, the card expects 2."),
        ({"ocr": 5}, "ocr: found 1, the card expects 5."),
        ({"colour": 1}, "colour: found 0, the card expects 1."),
        ({"samples": 2, "images": 1, "ocr": 1}, ""),
    ],
)
def test_counts_that_differ_from_the_card_are_found(expected: dict[str, int], problem: str) -> None:
    card = dataclasses.replace(CARD, expected=expected)
    samples = (SAMPLE, other(CHOICE, category="ocr"))
    assert problems(*samples, card=card) == problem
    assert not findings(*samples, card=card, limit=1).problems  # a part need not be as large as the whole
    parameterised = Benchmark("own", card, lambda part: iter(samples), {"part": 1})
    assert not check(task(parameterised)).problems


def test_faulty_boxes_that_the_card_expects_are_counted_instead() -> None:
    blue = Image.new("RGB", (100, 80), "blue")
    samples = (
        SAMPLE, other(SAMPLE, "2", image=blue, boxes=((10, 10, 10, 30),)),
        other(SAMPLE, "3", image=blue, question="Other?", boxes=((50, 50, 120, 70),)),
    )  # fmt: skip
    known = dataclasses.replace(CARD, expected={"repair: empty": 1, "repair: outside": 1})
    assert findings(*samples, card=known).problems == ()
    more = dataclasses.replace(CARD, expected={"repair: empty": 8, "repair: outside": 1})
    assert findings(*samples, card=more).problems == ("repair: empty: found 1, the card expects 8.",)
    assert len(findings(*samples).problems) == 2


def test_oddities_that_the_card_expects_are_counted_instead() -> None:
    twice = other(CHOICE, options=("red", "red"))
    samples = (SAMPLE, other(SAMPLE, "3"), twice, other(twice, "4"), other(twice, "5", options=("red", "red", "blue")))
    known = {"oddity: equal options": 3, "oddity: repeated sample": 2}
    found = findings(*samples, card=dataclasses.replace(CARD, expected=known))
    assert (found.problems, found.oddities) == ((), known)
    assert "oddity: equal options    3\noddity: repeated sample  2\nok: every" in found.text()
    assert len(findings(*samples).problems) == 5, "nobody expects them"
    fewer = dataclasses.replace(CARD, expected=known | {"oddity: repeated sample": 1})
    assert findings(*samples, card=fewer).problems == ("oddity: repeated sample: found 2, the card expects 1.",)


def test_oddities_of_other_parts_of_the_data_are_expected_as_none_of_the_whole() -> None:
    card = dataclasses.replace(CARD, expected={"oddity: repeated sample": 0})
    samples = (SAMPLE, other(SAMPLE))
    assert findings(*samples, card=card).problems == ("oddity: repeated sample: found 1, the card expects 0.",)
    assert check(task(Benchmark("own", card, lambda part: iter(samples), {"part": 1}))).problems == ()


def test_the_share_of_the_image_that_is_evidence_is_said() -> None:
    found = findings(SAMPLE, other(SAMPLE, "2", question="Other?", boxes=((0, 0, 100, 80),)))
    assert found.evidence == (0.05, 1.0, 1.0)
    assert "median 100%, from 5% to 100%" in found.text()


def test_an_image_of_many_questions_is_decoded_once() -> None:
    calls = []

    def image() -> Image.Image:
        calls.append(1)
        return Image.new("RGB", (100, 80))

    samples = [other(SAMPLE, str(n), image=image, question=f"Question {n}?") for n in range(20)]
    assert findings(*samples).problems == ()
    assert len(calls) == 1


def test_images_are_let_go_one_after_the_other() -> None:
    alive = most = 0
    lock = threading.Lock()

    class Counted(Image.Image):
        """An image that knows how many of its kind there are."""

        def __del__(self) -> None:
            nonlocal alive
            with lock:
                alive -= 1

    def image(number: int) -> Image.Image:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        made = Image.new("RGB", (100, 80), (number, 0, 0))
        made.__class__ = Counted
        return made

    samples = [other(SAMPLE, str(n), image=partial(image, n)) for n in range(200)]
    assert findings(*samples).problems == ()
    assert most < 40


# --- the contact sheet -----------------------------------------------------------------------------------------


def sheet(folder: Path, *samples: Sample, card: Card = CARD) -> str:
    check(task(Benchmark("own", card, lambda: iter(samples))), sheet=folder / "sheet.html")
    return (folder / "sheet.html").read_text(encoding="utf-8")


def test_the_sheet_shows_images_boxes_and_crops(tmp_path: Path) -> None:
    page = sheet(tmp_path, SAMPLE, other(CHOICE, boxes=()))
    assert page.count('src="data:image/jpeg;base64,') == 3  # two full images and a crop
    assert '<rect class="evidence" x="10.0" y="10.0" width="20.0" height="20.0"/>' in page
    assert "evidence 5%" in page
    assert "Answer the question using a single word or phrase." in page


def test_the_sheet_prints_the_declared_box_format_and_each_samples_where_they_differ(tmp_path: Path) -> None:
    width = other(SAMPLE, question="Other?", box_format="xywh")
    own = sheet(tmp_path, width)
    assert "Declared box format: <code>xywh</code>" in own, "what the samples declare, not the card's default"
    assert "<small>box format:</small>" not in own
    both = sheet(tmp_path, SAMPLE, width)
    assert "Declared box format: <code>xywh</code>, <code>xyxy</code>" in both
    assert re.findall("<small>box format:</small> <code>(.*?)</code>", both).count("xywh") == 1
    assert "ox format" not in sheet(tmp_path, other(SAMPLE, boxes=())).split("<main>")[0].split("</style>")[1]


def test_the_sheet_shows_at_most_sixty_and_the_same_ones_each_time(tmp_path: Path) -> None:
    samples = [other(SAMPLE, str(n), question=f"Question {n}?") for n in range(100)]
    page = sheet(tmp_path, *samples)
    assert page.count('class="whole"') == 60
    assert sheet(tmp_path, *reversed(samples)).count('class="whole"') == 60
    assert set(re.findall(r"Question \d+", page)) == set(re.findall(r"Question \d+", sheet(tmp_path, *samples[::-1])))


def test_what_was_repaired_or_is_faulty_comes_first(tmp_path: Path) -> None:
    faulty = other(SAMPLE, "faulty one", boxes=((200, 200, 300, 300),))
    page = sheet(tmp_path, SAMPLE, other(SAMPLE, "2", question="Other?"), faulty)
    assert page.index("faulty one") < page.index("Which colour?")
    assert 'class="remark"' in page


def test_nothing_from_the_data_becomes_markup(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script>"onload="'
    sample = other(SAMPLE, evil, question=evil, answers=(evil,), category=evil)
    page = sheet(tmp_path, sample, card=dataclasses.replace(CARD, licence=evil, restricted=evil))
    assert "<script>" not in page
    assert '"onload="' not in page


def test_what_makes_a_benchmark_unusable_ends_the_check() -> None:
    with pytest.raises(BenchmarkError, match="comes twice"):
        findings(SAMPLE, SAMPLE)
    with pytest.raises(BenchmarkError, match="no samples"):
        findings()


def test_a_terminal_is_not_flooded() -> None:
    kinds = tuple(f"sample '1': fault {'x' * n}" for n in range(50))
    lines = Findings({}, problems=kinds).text().splitlines()
    assert sum(line.startswith("PROBLEM") for line in lines) == 21
    assert lines[-1] == "PROBLEM  and 30 kinds more"


# --- the command -----------------------------------------------------------------------------------------------


def gapbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gapbench", "benchmarks", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_command_checks_a_part_with_parameters() -> None:
    done = gapbench("check", "signs:split=validation,samples=50", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert "samples                  50" in done.stdout
    assert "ok: no contradictions; the card's counts are compared only without --limit" in done.stdout


def test_the_command_fails_with_one_when_something_is_wrong(tmp_path: Path) -> None:
    row = {"image": "missing.png", "question": "What?", "answer": "x"}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row))
    done = gapbench("check", str(tmp_path / "mine.jsonl"), "--quiet")
    assert (done.returncode, done.stderr) == (1, "")
    assert "PROBLEM  sample '1': image " in done.stdout


def test_the_command_fails_with_two_when_it_cannot_run() -> None:
    done = gapbench("check", "sings")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gapbench: Benchmark 'sings' is not in the catalogue. Did you mean signs?")


def test_a_repeated_problem_is_printed_once_with_its_count() -> None:
    inverted = [other(SAMPLE, str(n), question=f"Which {n}?", boxes=((50, 4, 10 + n, 8),)) for n in range(30)]
    found = findings(*inverted, other(SAMPLE, "30", question="Else?", boxes=((200, 200, 300, 300),)))
    assert len(found.problems) == 31
    printed = [line for line in found.text().splitlines() if line.startswith("PROBLEM")]
    assert len(printed) == 2
    assert "sample '0'" in printed[0]
    assert "(and 29 more like it)" in printed[0]
