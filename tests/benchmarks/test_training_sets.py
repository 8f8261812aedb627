"""Vision-OPD-6K and ZwZ-RL-VQA: clean images, boxes and questions; never the images that show the place."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.miniatures import vision_opd_6k, zwz_rl_vqa
from gapbench.cli.app import app
from gapbench.data.catalogue import load
from gapbench.distillation import recipe as recipes
from gapbench.distillation.pairs import Pairs
from gapbench.distillation.recipe import make
from gapbench.distillation.student import make_role
from gapbench.engines import models
from gapbench.errors import BenchmarkError
from gapbench.types import Sample
from gapbench.views import images
from gapbench.views.prompts import prompt, template_of


@pytest.fixture(scope="module")
def opd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vision_opd_6k")
    vision_opd_6k.write(folder)
    return folder


@pytest.fixture(scope="module")
def zwz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zwz_rl_vqa")
    zwz_rl_vqa.write(folder)
    return folder


def edit(folder: Path, row: int, **changes: object) -> None:
    path = folder / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[row] = {k: v for k, v in {**rows[row], **changes}.items() if v is not None}
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


@pytest.fixture
def copy(opd: Path, tmp_path: Path) -> Path:
    return shutil.copytree(opd, tmp_path / "copy", ignore=shutil.ignore_patterns(".unpacked"))


# --- Vision-OPD-6K ---------------------------------------------------------------------------------------------


def test_a_row_is_a_clean_image_a_box_and_a_lettered_question(opd: Path) -> None:
    samples = load(f"vision_opd_6k={opd}").samples()
    assert len(samples) == vision_opd_6k.ROWS
    first = samples[0]
    assert (first.id, first.boxes, first.box_format) == ("0", ((20.0, 150.0, 50.0, 170.0),), "xyxy")
    assert (first.answers, first.answer_type, first.cluster) == (("A",), "letter", "sa_1000")
    assert {s.options for s in samples} == {("red", "green", "blue", "white")}
    assert [s.question for s in samples] == [f"What is the color of object {n}?" for n in range(6)]


def test_the_patch_of_the_answer_s_colour_lies_in_the_box_and_no_red_frame_around_it(opd: Path) -> None:
    inks = {"A": (254, 0, 0), "B": (0, 128, 1), "C": (0, 0, 254), "D": (255, 255, 255)}
    for sample in load(f"vision_opd_6k={opd}").samples():
        image, _ = images.decode(sample.image)
        x0, y0, x1, y1 = (int(v) for v in sample.boxes[0])
        centre = image.getpixel(((x0 + x1) // 2, (y0 + y1) // 2))
        assert all(abs(a - b) < 12 for a, b in zip(centre, inks[sample.answers[0]], strict=True))  # type: ignore
        frame = image.getpixel((x0 - 4, (y0 + y1) // 2))
        assert max(frame) - min(frame) < 60, "grey noise, not the red frame"  # type: ignore


def test_neither_text_speaks_of_the_red_box(opd: Path) -> None:
    benchmark = load(f"vision_opd_6k={opd}")
    for protocol in ("neutral", "original"):
        for sample in benchmark.samples():
            text = prompt(sample, template_of(benchmark.card, protocol))
            assert "red bounding box" not in text
            assert "<image>" not in text
    text = prompt(benchmark.samples()[1], template_of(benchmark.card, "original"))
    assert text == (
        "\nWhat is the color of object 1?\n\nA. red\nB. green\nC. blue\nD. white\n\n"
        "Answer with the option's letter from the given choices."
    )


@pytest.mark.parametrize("side", ["student", "teacher"])
@pytest.mark.parametrize("settings", [(), ("student_view=boxed", "protocol=released")], ids=["clean", "released"])
def test_a_training_asks_both_sides_what_was_published_byte_for_byte(
    opd: Path, tiny: Callable[[str], Path], settings: tuple[str, ...], side: str
) -> None:
    """What follows the image in `problem`, as the chat template of a Qwen writes it; clean, without the hint."""
    role = make_role(models.load(str(tiny("qwen3_vl")), dtype="float32", device="cpu"), make({}))
    pairs = Pairs(load(f"vision_opd_6k={opd}"), recipes.load("vision-opd", ["prompts_per_step=6", *settings]))
    rows = [json.loads(line)["problem"] for line in (opd / "train.jsonl").read_text().splitlines()]
    assert all(row.count(f"\n\n{vision_opd_6k.HINT}\n\n") == 1 for row in rows)
    for pair in pairs.step(0):
        published = rows[int(pair.key)].removeprefix("<image>")
        if not settings:
            published = published.replace(f"\n\n{vision_opd_6k.HINT}", "")
        ids = role.chat.batch([((getattr(pair, side),), pair.text)])["input_ids"][0]
        rendered = role.chat.processor.tokenizer.decode(ids)
        after_the_image = rendered.split("<|vision_end|>")[1]
        assert after_the_image.startswith(f"{published}<|im_end|>\n"), rendered


def test_options_are_found_in_whichever_text_has_them_and_a_text_without_is_kept(copy: Path) -> None:
    edit(
        copy,
        0,
        problem="<image>\nWhat is it?",
        extra_info={"question": "What is it?\n(A) a dog\n(B) a cat"},
        answer="B",
    )
    edit(copy, 1, problem="<image>\nSay A. or B.", extra_info=None, answer="B")
    samples = load(f"vision_opd_6k={copy}").samples()
    assert (samples[0].question, samples[0].options, samples[0].answer_type) == (
        "What is it?",
        ("a dog", "a cat"),
        "letter",
    )
    assert (samples[1].question, samples[1].options, samples[1].answer_type) == ("Say A. or B.", (), "text")


def test_only_the_clean_images_are_unpacked(copy: Path) -> None:
    for folder in ("images", "teacher_images"):
        shutil.rmtree(copy / folder)
    samples = load(f"vision_opd_6k={copy}").samples()
    assert len({s.image for s in samples}) == 6
    assert {p.suffix for p in (copy / ".unpacked").rglob("sa_*")} == {".jpg"}


def test_images_that_are_unpacked_already_are_used_where_they_lie(copy: Path) -> None:
    packed = load(f"vision_opd_6k={copy}").samples()
    shutil.copytree(Path(packed[0].image).parent, copy / "original_images", dirs_exist_ok=True)
    shutil.rmtree(copy / ".unpacked")
    (copy / "original_images" / "original_images.tar.gz").unlink()
    plain = load(f"vision_opd_6k={copy}").samples()
    assert {Path(s.image).parent for s in plain} == {copy / "original_images"}
    assert [s.id for s in plain] == [s.id for s in packed]
    assert not (copy / ".unpacked").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": [1, 2, 3]}, "row 2: .*expected four finite numbers"),
        ({"bbox": None}, "row 2: .*bbox"),
        ({"original_images": ["a.jpg", "b.jpg"]}, r"row 2: .*original_images is \['a.jpg', 'b.jpg'\]"),
        ({"original_images": ["../../secret.jpg"]}, r"'\.\./\.\./secret\.jpg', which lies outside"),
        ({"original_images": ["/etc/passwd"]}, "'/etc/passwd', which lies outside"),
    ],
)
def test_a_row_in_another_form_is_named(copy: Path, changes: dict[str, object], message: str) -> None:
    edit(copy, 2, **changes)
    with pytest.raises(BenchmarkError, match=message):
        load(f"vision_opd_6k={copy}").samples()


def test_a_copy_that_lacks_files_says_which(copy: Path) -> None:
    shutil.rmtree(copy / "original_images")
    with pytest.raises(BenchmarkError, match=r"neither original_images/sa_1000\.jpg nor an archive original_images/"):
        load(f"vision_opd_6k={copy}").samples()
    (copy / "train.jsonl").unlink()
    with pytest.raises(BenchmarkError, match=r"train\.jsonl: not found"):
        load(f"vision_opd_6k={copy}").samples()


@pytest.mark.parametrize("student", ["full", "boxed"])
def test_glance_is_distilled_on_it_with_and_without_the_red_box(opd: Path, tmp_path: Path, student: str) -> None:
    done = CliRunner().invoke(app, [
        "distill", "glance", "--data", f"vision_opd_6k={opd}", "--recipe", "demo", "--out", str(tmp_path / "out"),
        "--quiet", "--no-holdout", "steps=2", "prompts_per_step=4", "probe_every=0", "eval_every=0",
        f"student_view={student}", "protocol=released" if student == "boxed" else "protocol=",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    settings = json.loads((tmp_path / "out" / "distill.json").read_text())
    assert settings["data"]["name"] == "vision_opd_6k"
    assert settings["data"]["samples"] == 6
    assert settings["data"]["protocol"] == ("released" if student == "boxed" else "original")
    assert (tmp_path / "out" / "model" / "config.json").exists()


# --- ZwZ-RL-VQA ------------------------------------------------------------------------------------------------


def test_the_table_of_clean_images_is_read(zwz: Path) -> None:
    samples = load(f"zwz_rl_vqa={zwz}").samples()
    assert len(samples) == 8
    by_kind: dict[str, list[Sample]] = {}
    for sample in samples:
        by_kind.setdefault(sample.answer_type, []).append(sample)
    assert [s.answers for s in by_kind["text"]] == [(c,) for c in zwz_rl_vqa.COLOURS]
    assert {(s.question, s.options, s.answers) for s in by_kind["letter"]} == {
        ("What is the shape of the patch?", ("round", "rectangular"), ("B",))
    }
    assert samples[2].boxes == ((70.0, 50.0, 102.0, 74.0),)
    assert [s.cluster for s in samples] == [f"sa_{n // 2}" for n in range(8)]
    assert all(images.decode(s.image)[0].size == (300, 200) for s in samples)


def test_a_table_with_red_boxed_images_alone_is_refused(zwz: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"train\.parquet: it names no clean images .* no full view"):
        load(f"zwz_rl_vqa={zwz}:table=train.parquet").samples()


@pytest.mark.parametrize("name", ["vision_opd_6k", "zwz_rl_vqa"])
def test_the_card_says_what_the_licence_forbids_and_that_red_boxes_give_the_place_away(name: str) -> None:
    card = load(name).card
    assert card.role == "training"
    assert "research only" in card.restricted
    assert re.search("red box.* where to look", " ".join((card.notice, *card.traps)))
