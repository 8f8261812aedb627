"""The loaders of benchmarks with evidence, each on its miniature: what is read, and which traps it steps over."""

from __future__ import annotations

import importlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import shown
from PIL import Image

from benchmarks.miniatures import textvqa_gt as textvqa_miniature
from benchmarks.miniatures import treebench as treebench_miniature
from benchmarks.miniatures import viscot as viscot_miniature
from benchmarks.miniatures import zoombench as zoombench_miniature
from gapbench.commands.check import check
from gapbench.data.catalogue import load
from gapbench.data.task import TaskSettings, make_task
from gapbench.errors import BenchmarkError
from gapbench.types import Sample
from gapbench.views.prepare import PreparedSample, prepare
from gapbench.views.prompts import prompt, template_of

Read = Callable[..., dict[str, Sample]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read("vstar") -> its samples by id, from a miniature that is written once per test."""

    def samples(name: str, parameters: str = "") -> dict[str, Sample]:
        folder = tmp_path / "data"
        if not folder.exists():
            folder.mkdir()
            importlib.import_module(f"benchmarks.miniatures.{name}").write(folder)
        return {s.id: s for s in load(f"{name}={folder}{parameters}").samples()}

    return samples


def ready(sample: Sample, name: str, policy: str = "") -> PreparedSample:
    return prepare(sample, policy or load(name).card.region)


def crop(sample: Sample, name: str, policy: str = "") -> np.ndarray:
    (image,), error = shown(ready(sample, name, policy), "crop")
    assert error == ""
    return np.asarray(image).astype(int)


# V* Bench


def test_vstar_joins_questions_with_side_files(read: Read) -> None:
    samples = read("vstar")
    assert list(samples) == ["direct_attributes/sa_4690", "direct_attributes/sa_86101", "relative_position/sa_10033"]
    glove, dog, flag = samples.values()
    assert (glove.question, glove.options, glove.answers) == (
        "What is the material of the glove?", ("cotton", "rubber", "kevlar", "leather"), ("B",),
    )  # fmt: skip
    assert ready(glove, "vstar").boxes == ((300.0, 40.0, 320.0, 70.0),)
    assert ready(dog, "vstar").boxes == ((10.5, 150.0, 34.5, 166.0),)
    assert [s.category for s in samples.values()] == ["direct_attributes"] * 2 + ["relative_position"]
    assert not any("sign" in s.question for s in (glove, dog, flag)), "GPT4V-hard and OCR are decoys"


def test_vstar_asks_nothing_about_images_in_other_folders(read: Read, tmp_path: Path) -> None:
    samples = read("vstar")
    path = tmp_path / "data" / "test_questions.jsonl"
    rows = path.read_text()
    path.write_text(
        rows + rows.splitlines()[0].replace("direct_attributes", "GPT4V-hard").replace("sa_4690", "4") + "\n"
    )
    assert read("vstar") == samples


def test_vstar_shows_both_objects_of_a_relation_and_at_least_224_pixels(read: Read) -> None:
    samples = read("vstar")
    case = ready(samples["relative_position/sa_10033"], "vstar")
    assert case.region is not None
    x0, y0, x1, y1 = case.region.box or (0, 0, 0, 0)
    assert all(x0 <= b[0] and y0 <= b[1] and b[2] <= x1 and b[3] <= y1 for b in case.boxes)
    assert len(case.boxes) == 2
    assert crop(samples["direct_attributes/sa_4690"], "vstar").shape == (224, 224, 3)


def test_vstar_protocols_ask_what_the_authors_data_asks(read: Read, tmp_path: Path) -> None:
    glove = read("vstar")["direct_attributes/sa_4690"]
    card = load("vstar").card
    published = json.loads((tmp_path / "data" / "test_questions.jsonl").read_text().splitlines()[0])["text"]
    assert prompt(glove, template_of(card, "original")) == published
    assert prompt(glove, template_of(card, "vision-opd")) == published == prompt(glove)


def test_vstar_without_its_questions_shuffles_the_options_of_the_side_files(read: Read, tmp_path: Path) -> None:
    read("vstar")
    (tmp_path / "data" / "test_questions.jsonl").unlink()
    for number in range(40):
        name = tmp_path / "data" / "direct_attributes" / f"sa_{number}"
        shutil.copy(tmp_path / "data" / "direct_attributes" / "sa_4690.json", name.with_suffix(".json"))
        shutil.copy(tmp_path / "data" / "direct_attributes" / "sa_4690.jpg", name.with_suffix(".jpg"))
    first, again = read("vstar"), read("vstar")
    assert first == again, "the same shuffle every time"
    assert set(list(first)[:1]) == {"direct_attributes/sa_0"}
    gloves = [s for s in first.values() if "glove" in s.question]
    assert {s.answers[0] for s in gloves} == set("ABCD"), "the right one is first in every side file"
    assert {s.options["ABCD".index(s.answers[0])] for s in gloves} == {"The material of the glove is rubber."}
    assert {s.id for s in first.values()} >= {"direct_attributes/sa_4690", "relative_position/sa_10033"}


def test_vstar_refuses_a_source_without_boxes(tmp_path: Path, read: Read) -> None:
    (tmp_path / "parquet" / "data").mkdir(parents=True)
    (tmp_path / "parquet" / "data" / "test-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(BenchmarkError, match=r"no side files .*craigwu/vstar_bench"):
        load(f"vstar={tmp_path / 'parquet'}").samples()
    read("vstar")
    (tmp_path / "data" / "direct_attributes" / "sa_86101.json").unlink()
    with pytest.raises(BenchmarkError, match=r"sa_86101\.json: cannot be read"):
        read("vstar")


# ZoomBench


def zoom(folder: Path, **form: object) -> list[Sample]:
    zoombench_miniature.write(folder, **form)  # type: ignore[arg-type]
    return load(f"zoombench={folder}").samples()


def test_zoombench_takes_the_published_crop_and_the_box_as_another_region(tmp_path: Path) -> None:
    first = zoom(tmp_path)[0]
    assert crop(first, "zoombench").shape == (40, 60, 3), "the published crop is enlarged twofold"
    assert crop(first, "zoombench", "union").shape == (20, 30, 3)
    assert ready(first, "zoombench").boxes == ((40.0, 30.0, 70.0, 50.0),)


@pytest.mark.parametrize("boxes", ["list", "text"])
def test_zoombench_reads_boxes_in_either_form(tmp_path: Path, boxes: str) -> None:
    assert [s.boxes[0] for s in zoom(tmp_path, boxes=boxes)] == [
        tuple(map(float, box)) for box in zoombench_miniature.BOXES
    ]


def test_zoombench_without_boxes_has_its_crops_all_the_same(tmp_path: Path) -> None:
    first = zoom(tmp_path, boxes="nothing")[0]
    assert crop(first, "zoombench").shape == (40, 60, 3)
    assert "no evidence box" in ready(first, "zoombench", "union").region_error


@pytest.mark.parametrize("typed", [True, False])
def test_zoombench_letters_and_open_answers(tmp_path: Path, typed: bool) -> None:
    lamps, birds, sign, hat, bag, bell, window, tile = zoom(tmp_path, typed=typed)
    assert (lamps.question, lamps.options, lamps.answers, lamps.answer_type) == (
        "How many lamps hang above the door?", ("2", "3", "4", "5"), ("B",), "letter",
    )  # fmt: skip
    assert (birds.question, birds.answers, birds.answer_type, birds.category) == (
        "How many birds sit on the wire?", ("7",), "number", "blank",
    )  # fmt: skip
    assert (sign.options, sign.answers) == (("STOP", "SHOP"), ("A",))
    assert (bag.answers, bag.answer_type) == (("Grand Hôtel",), "text")
    assert hat.options == (), "options that are no lines of their own stay in the question"
    assert hat.question == hat.published
    assert hat.category == ("mcq" if typed else "blank")
    assert (bell.options, bell.question, bell.answers) == ((), bell.published, ("B",)), "words follow the options"
    assert (window.question, window.options) == ("What covers the window?", ("bars", "mesh"))
    assert window.published.endswith("from the given choices."), "which the neutral prompt says in its own words"
    assert (tile.options, tile.question) == ((), tile.published), "an option of two lines ends the list early"
    assert tile.answers == ("C",)


def test_zoombench_reads_the_older_column_names(tmp_path: Path) -> None:
    assert zoom(tmp_path, names=("prompt", "answer"))[1].answers == ("7",)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(BenchmarkError, match="found neither 'query' nor 'prompt'"):
        zoom(other, names=("text", "answer"))


def test_zoombench_lays_transparency_on_white_whatever_the_name_says(tmp_path: Path) -> None:
    case = ready(zoom(tmp_path)[2], "zoombench")
    assert case.image is not None
    assert case.image.getpixel((5, 5)) == (255, 255, 255)


def test_zoombench_protocols_ask_the_query(tmp_path: Path) -> None:
    lamps, birds, *_ = zoom(tmp_path)
    card = load("zoombench").card
    assert prompt(lamps, template_of(card, "vision-opd")) == lamps.published
    assert "<image>" not in prompt(birds, template_of(card, "vision-opd"))
    original = prompt(lamps, template_of(card, "original"))
    assert original.startswith("You are a helpful assistant.")
    assert original.endswith(lamps.published)


# TreeBench


def test_treebench_is_three_benchmarks_that_share_no_question(tmp_path: Path) -> None:
    treebench_miniature.write(tmp_path)
    names = ("treebench", "treebench_reasoning", "treebench_ocr")
    parts = [{s.id for s in load(f"{name}={tmp_path}").samples()} for name in names]
    assert parts == [{"0", "3", "6"}, {"1", "4"}, {"2", "5"}]
    counts = [load(name).card.expected["samples"] for name in names]
    assert sum(counts) == 405


def test_treebench_takes_options_from_their_columns_and_boxes_from_text(tmp_path: Path) -> None:
    treebench_miniature.write(tmp_path)
    cup, rail, _ = load(f"treebench={tmp_path}").samples()
    assert cup.boxes == ((200.5, 20.0, 230.0, 44.0),)
    assert rail.options == ("wood", "steel", "None"), "although they share a line, and one of them is called None"
    order, floors = load(f"treebench_reasoning={tmp_path}").samples()
    assert len(order.boxes) == 3
    assert (len(floors.options), floors.answers) == (11, ("K",))
    assert cup.category == "Perception/Attributes"


def test_treebench_ocr_shows_the_panel_beside_the_evidence(tmp_path: Path) -> None:
    treebench_miniature.write(tmp_path)
    for sample in load(f"treebench_ocr={tmp_path}").samples():
        shown = crop(sample, "treebench_ocr")
        x0, y0, x1, y1 = treebench_miniature.PANEL
        assert (shown.min(axis=2) > 245).sum() >= 0.9 * (x1 - x0) * (y1 - y0), "the panel is white"
        x0, y0, x1, y1 = ready(sample, "treebench_ocr", "union").region.box  # type: ignore[union-attr, misc]
        assert shown.shape[0] * shown.shape[1] < (x1 - x0) * (y1 - y0), "and what lies between is left out"


def test_treebench_with_categories_in_two_columns_and_in_none(tmp_path: Path) -> None:
    treebench_miniature.write(tmp_path)
    path = tmp_path / "TreeBench.tsv"
    head, *rows = path.read_text().splitlines()
    split = [row.replace("Perception/Attributes", "Perception") + "\tAttributes" for row in rows]
    path.write_text("\n".join([f"{head}\tl2-category", *split]) + "\n")
    assert load(f"treebench={tmp_path}").samples()[0].category == "Perception/Attributes"
    path.write_text("\n".join([head, *(row.replace("Perception/Attributes", "OCR") for row in rows)]) + "\n")
    with pytest.raises(BenchmarkError, match=r"row 0 \(index 0\): its category is 'OCR'"):
        load(f"treebench={tmp_path}").samples()


# TextVQA with boxes


def test_textvqa_has_ten_answers_and_boxes_from_a_corner(read: Read) -> None:
    phone, shirt, sign = read("textvqa_gt").values()
    assert (phone.id, len(phone.answers), phone.answer_type) == ("34602", 10, "vqa")
    assert ready(phone, "textvqa_gt").boxes == ((250.0, 180.0, 266.0, 190.0),)
    areas = [(b[2] * b[3]) / (320 * 213) for s in (phone, shirt, sign) for b in s.boxes]
    assert areas[0] < 0.005 <= areas[1] < 0.05 <= areas[2]


def corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def fractions(box: list[float]) -> list[float]:
    width, height = textvqa_miniature.SIZE
    return [box[0] / width, box[1] / height, box[2] / width, box[3] / height]


@pytest.mark.parametrize("format_", [corners, fractions])
def test_textvqa_stops_at_boxes_of_another_format(
    tmp_path: Path, format_: Callable[[list[float]], list[float]]
) -> None:
    boxes = (textvqa_miniature.SMALL, textvqa_miniature.MEDIUM, textvqa_miniature.LARGE)
    textvqa_miniature.write(tmp_path, tuple(format_(box) for box in boxes))
    with pytest.raises(BenchmarkError, match=r"3 of 3 boxes are not x, y, width, height.*Find out their format"):
        load(f"textvqa_gt={tmp_path}").samples()


# Visual-CoT


def test_viscot_boxes_lie_on_the_evidence_of_images_that_are_not_square(read: Read) -> None:
    dealer, page, *_ = read("viscot").values()
    for sample in (dealer, page):
        case = ready(sample, "viscot", "union")
        assert case.image is not None
        assert case.image.width > 2 * case.image.height
        assert (crop(sample, "viscot", "union") == viscot_miniature.GREEN).all()
        width, height = case.image.size
        naive = json.loads(viscot_miniature.padded_square(case.boxes[0], width, height))
        x0, y0, x1, y1 = (round(v * (height if i % 2 else width)) for i, v in enumerate(naive))
        mistaken = np.asarray(case.image)[y0:y1, x0:x1]
        assert not (mistaken == viscot_miniature.GREEN).all(axis=2).any(), "the padded square's box shows nothing of it"


def test_viscot_reads_clean_questions_and_the_last_turn(read: Read) -> None:
    samples = read("viscot")
    dealer = samples["docvqa/0"]
    assert (dealer.question, dealer.answers) == ("What is the name of the Dealer ?", ("A. C. Monk",))
    assert (dealer.answer_type, samples["textvqa/0"].answer_type) == ("anls", "text")
    assert {"docvqa/0", "dude/0", "textcap/0"} <= set(samples), "question numbers start anew in every subset"
    assert samples["docvqa/0"].image is samples["docvqa/1"].image, "a shared image is decoded once"
    assert samples["dude/0"].max_image_pixels > 8400 * 11200
    assert samples["docvqa/0"].max_image_pixels == 0


def test_viscot_leaves_out_what_has_no_answer_to_score(read: Read) -> None:
    assert [name for name in read("viscot") if name.startswith("dude")] == ["dude/0", "dude/1"], "dude/2 has none"


def test_viscot_counts_odd_boxes_as_the_card_does(read: Read, tmp_path: Path) -> None:
    samples = read("viscot")
    inverted, over, beyond = samples["docvqa/2"], samples["dude/0"], samples["dude/1"]
    assert ready(inverted, "viscot").repairs == ("swapped",)
    assert ready(inverted, "viscot").boxes == ((60.0, 60.0, 90.0, 80.0),)
    assert ready(over, "viscot").repairs == ("outside",)
    assert ready(over, "viscot").boxes == ((100.0, 20.0, 160.0, 40.0),)
    assert ready(beyond, "viscot").repairs == ("outside", "empty")
    findings = check(make_task(load(f"viscot={tmp_path / 'data'}"), TaskSettings(limit=100)))
    assert findings.problems == ()
    assert findings.repairs == {"swapped": 1, "empty": 1, "outside": 2}


def test_viscot_finds_images_under_either_name_and_in_another_folder(read: Read, tmp_path: Path) -> None:
    (cows,) = read("viscot", ":subsets=visual7w").values()
    assert ready(cows, "viscot").error == ""
    assert len(read("viscot", ":subsets=docvqa+visual7w")) == 4
    assert read("viscot", ":subsets=docvqa").keys() == {"docvqa/0", "docvqa/1", "docvqa/2"}
    shutil.move(tmp_path / "data" / "playground" / "data", tmp_path / "images")
    with pytest.raises(BenchmarkError, match=r"found no folder cot/.*Set images=FOLDER"):
        read("viscot")
    moved = read("viscot", f":images={tmp_path / 'images'}")
    assert ready(moved["docvqa/0"], "viscot").error == ""
    with pytest.raises(BenchmarkError, match="subsets=docvq is unknown"):
        read("viscot", ":subsets=docvq")


def test_viscot_fails_an_image_of_another_size_than_its_box_refers_to(read: Read, tmp_path: Path) -> None:
    dealer = read("viscot")["docvqa/0"]
    path = tmp_path / "data" / "playground" / "data" / "cot" / "docvqa" / "xjpn0081_4.png"
    with Image.open(path) as image:
        image.resize((160, 60)).save(path)
    assert "160 x 60 px, and its box refers to 320 x 120" in ready(dealer, "viscot").error


def test_viscot_stops_where_its_two_files_disagree(read: Read, tmp_path: Path) -> None:
    read("viscot")
    path = tmp_path / "data" / "viscot_benchmark" / "benchmark_det" / "sroie.jsonl"
    rows = path.read_text()
    path.write_text(rows.replace("[8, 150, 60, 160]", "[8, 150, 52, 10]"))
    with pytest.raises(BenchmarkError, match=r"sroie/0: its box is .* in benchmark_det and .* in benchmark"):
        read("viscot")
    path.write_text(rows.replace('"question_id": 0', '"question_id": 7'))
    with pytest.raises(BenchmarkError, match=r"sroie/0: it is not in benchmark_det"):
        read("viscot")


# FINERS-4k


def test_finers_boxes_are_drawn_around_polygons_and_masks_are_left_out(read: Read) -> None:
    samples = read("finers4k")
    assert set(samples) == {"0", "1", "3"}
    car, roof, man = samples.values()
    assert car.boxes == ((100.0, 40.0, 120.0, 60.5),)
    assert (car.options, car.answers, car.category) == (("red", "white", "black", "blue"), ("B",), "option/colors")
    assert (roof.options, roof.answers, roof.answer_type) == ((), ("circle",), "text")
    assert man.options == ("on the bridge", "under the bridge")
    assert car.image is roof.image
    assert ready(car, "finers4k").image_hash == ready(roof, "finers4k").image_hash != ready(man, "finers4k").image_hash


def test_finers_images_may_be_unpacked(read: Read, tmp_path: Path) -> None:
    packed = [ready(s, "finers4k").image_hash for s in read("finers4k").values()]
    with zipfile.ZipFile(tmp_path / "data" / "all_images.zip") as archive:
        archive.extractall(tmp_path / "data" / "all_images")
    (tmp_path / "data" / "all_images.zip").unlink()
    assert [ready(s, "finers4k").image_hash for s in read("finers4k").values()] == packed
    (tmp_path / "data" / "all_images" / "all_images" / "DJI_0002.jpg").unlink()
    with pytest.raises(BenchmarkError, match=r"found 0 images called 'DJI_0002\.jpg'"):
        read("finers4k")


def test_finers_stops_at_other_spellings(read: Read, tmp_path: Path) -> None:
    read("finers4k")
    labels = tmp_path / "data" / "labels" / "all_annotations_final_test_v5.json"
    text = labels.read_text()
    for old, new, said in (
        ('"Q-type"', '"question_type"', "'Q-type' is missing or empty. Found: 'question_type'"),
        ('"option"', '"mcq"', "its Q-type is 'mcq'"),
        ("[[101.5, 40]", "[[101.5]", "its points are"),
        ("(A) red (B) white", "red, white", "its options are"),
    ):
        labels.write_text(text.replace(old, new))
        with pytest.raises(BenchmarkError, match=r"row 0: ") as refused:
            read("finers4k")
        assert said in str(refused.value)


# O3-Bench


def test_o3bench_takes_the_boxes_of_the_layouts_that_are_needed(read: Read) -> None:
    gate, highest, falls = read("o3bench").values()
    assert gate.boxes == ((12.5, 30.0, 70.0, 66.25), (300.0, 200.0, 390.0, 280.0))
    assert (gate.options[2], gate.answers, gate.category) == ("Main", ("C",), "map")
    images, error = shown(ready(gate, "o3bench"), "crop")
    assert (len(images), error) == (2, "")
    assert len(highest.boxes) == 1
    assert falls.answers == ("F",)
    text = prompt(gate, template_of(load("o3bench").card, "original"))
    assert text.startswith("Which gate is north of the hall?\nA. East\nB. West")


def test_o3bench_stops_at_a_layout_that_is_not_there(read: Read, tmp_path: Path) -> None:
    read("o3bench")
    path = tmp_path / "data" / "test" / "metadata.jsonl"
    path.write_text(path.read_text().replace('"target_layouts": [2, 4]', '"target_layouts": [2, 5]'))
    with pytest.raises(BenchmarkError, match=r"row 0: layouts 5 are not in layout_infos \(1, 2, 4\)"):
        read("o3bench")
