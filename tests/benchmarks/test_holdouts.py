"""MMStar, MMVP, CV-Bench, POPE, RealWorldQA and BLINK: full view only, and what is known to mislead."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.miniatures import blink, cvbench, mmstar, mmvp, pope, realworldqa
from gapbench.commands.check import check
from gapbench.data.catalogue import load
from gapbench.data.task import TaskSettings, make_task
from gapbench.errors import BenchmarkError
from gapbench.scoring import score
from gapbench.types import Sample
from gapbench.views.images import decode
from gapbench.views.prompts import prompt, template_of


def read(name: str, folder: Path, parameters: str = "") -> list[Sample]:
    return load(f"{name}={folder}{parameters}").samples()


def prompt_of(name: str, sample: Sample, protocol: str) -> str:
    return prompt(sample, template_of(load(name).card, protocol))


def test_mmstar_takes_options_out_of_the_question_where_they_are_clear(tmp_path: Path) -> None:
    mmstar.write(tmp_path)
    inline, listed, none, two, padded, nothing, close = read("mmstar", tmp_path)
    assert inline.question == "Which option describe the object relationship in the image correctly?"
    assert inline.options[0] == "The suitcase is on the book."
    assert len(inline.options) == 4
    assert listed.question == "How long is BC?", "the hint on the answer's form is the prompt's business"
    assert listed.options == ("3", "4", "5", "6")
    assert none.options == ()
    assert none.question.startswith("Which of A, B, C and D")
    assert score("D", none.answers, "letter", none.options, none.question).outcome == "right"
    assert two.options == ("Yes", "No")
    assert padded.options == ("Yes, in size", "No"), "nan fills up what has no third and fourth option"
    assert (nothing.options[0], nothing.answers) == ("nan", ("A",)), "but the right answer stays, whatever it is called"
    assert close.options == ("1", "2", "3", "4")
    assert decode(inline.image)[0].size == (96, 64)


@given(st.text(alphabet="ABC:. ,()\nOptions"), st.lists(st.text(alphabet="ab c", min_size=1), min_size=2, max_size=5))
def test_mmstar_never_loses_text_of_a_question(text: str, options: list[str]) -> None:
    split_question = load("mmstar").make.__globals__["_split_question"]
    question, split_off = split_question(text, "A")
    assert split_off or question.strip() == text.strip()
    texts = [f"x{option.strip()}" for option in options]
    inline = ", ".join(f"{letter}: {option}" for letter, option in zip("ABCDE", texts, strict=False))
    assert split_question(f"Which?\nOptions: {inline}", "B") == ("Which?", tuple(texts))
    published = f"Which?\nOptions: {inline}"
    assert split_question(published, "F") == (published, ()), (
        "an answer beyond the options means that they were not understood"
    )


def test_mmstar_asks_raw_questions_for_vision_opd_and_lettered_lines_originally(tmp_path: Path) -> None:
    mmstar.write(tmp_path)
    two = read("mmstar", tmp_path)[3]
    assert prompt_of("mmstar", two, "vision-opd") == "Is it day?\nOptions: A: Yes, B: No"
    assert prompt_of("mmstar", two, "original") == (
        "Question: Is it day?\nOptions:\nA. Yes\nB. No\nPlease select the correct answer from the options above. \n"
    )


def test_mmvp_pairs_neighbours_and_finds_images_by_number(tmp_path: Path) -> None:
    mmvp.write(tmp_path)
    samples = read("mmvp", tmp_path)
    assert [s.id for s in samples] == ["1", "2", "9", "10", "99", "100", "279", "280"]
    assert [s.cluster for s in samples] == [f"pair {n}" for n in (1, 1, 5, 5, 50, 50, 140, 140)]
    assert [s.answers[0] for s in samples] == ["A", "B"] * 4
    assert samples[2].options == ("Yes", "No")
    assert [s.image.name for s in samples] == [f"{s.id}.jpg" for s in samples]
    text = "Are the butterfly's wings closer to being open or closed? (a) Open (b) Closed"
    assert prompt_of("mmvp", samples[0], "original") == prompt_of("mmvp", samples[0], "vision-opd") == text
    assert load("mmvp").card.protocols["original"].metric == "cluster_accuracy"
    assert load("mmvp").card.protocols["vision-opd"].metric == "accuracy"


def test_mmvp_exchanges_four_labels_only_when_asked(tmp_path: Path) -> None:
    mmvp.write(tmp_path)
    official, corrected = read("mmvp", tmp_path), read("mmvp", tmp_path, ":labels=lmms-lab")
    changed = [a.id for a, b in zip(official, corrected, strict=True) if a.answers != b.answers]
    assert changed == ["99", "100", "279", "280"]
    with pytest.raises(BenchmarkError, match="labels='other' is unknown"):
        read("mmvp", tmp_path, ":labels=other")


def test_mmvp_reads_the_misspelt_column_and_refuses_rows_without_a_number(tmp_path: Path) -> None:
    mmvp.write(tmp_path)
    table = tmp_path / "Questions.csv"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("Index,", "lndex,", 1), encoding="utf-8")
    assert len(read("mmvp", tmp_path)) == 8
    table.write_text(text.replace("\n2,", "\n,", 1), encoding="utf-8")
    with pytest.raises(BenchmarkError, match="Index ''; expected a number"):
        read("mmvp", tmp_path)


def test_mmvp_leaves_options_of_another_form_in_the_question(tmp_path: Path) -> None:
    mmvp.write(tmp_path)
    table = tmp_path / "Questions.csv"
    table.write_text(
        table.read_text(encoding="utf-8").replace("(a) Open (b) Closed", "open or closed", 1), encoding="utf-8"
    )
    first = read("mmvp", tmp_path)[0]
    assert (first.options, first.answers) == ((), ("A",))
    assert first.question.endswith("open or closed? open or closed")


def test_cvbench_has_two_levels_of_categories_and_ids_of_both_files(tmp_path: Path) -> None:
    cvbench.write(tmp_path)
    samples = read("cvbench", tmp_path)
    assert [s.id for s in samples] == ["2D-0", "2D-1", "3D-0", "3D-1"]
    assert [s.category for s in samples] == ["2D/ADE20K", "2D/COCO", "3D/Omni3D", "3D/Omni3D"]
    assert [s.answers for s in samples] == [("C",), ("A",), ("B",), ("A",)]
    assert samples[0].options == ("2", "0", "1", "3", "4")
    assert all(s.boxes == () for s in samples)
    published = "Which object is closer to the camera? Select from the following choices.\n(A) chair\n(B) table"
    assert prompt_of("cvbench", samples[2], "vision-opd") == published
    assert prompt_of("cvbench", samples[2], "original") == (
        f"{published}\nAnswer with the option's letter from the given choices directly."
    )
    protocols = load("cvbench").card.protocols
    assert (protocols["original"].metric, protocols["vision-opd"].metric) == ("nested_mean", "category_mean")


def test_pope_keeps_the_three_categories_apart_and_one_image_together(tmp_path: Path) -> None:
    pope.write(tmp_path)
    samples = read("pope", tmp_path)
    assert len(samples) == 12
    assert Counter(s.category for s in samples) == {"adversarial": 4, "popular": 4, "random": 4}
    assert len({s.id for s in samples}) == 12
    assert set(Counter(s.cluster for s in samples).values()) == {6}
    assert Counter(s.answers for s in samples) == {("yes",): 6, ("no",): 6}
    first = samples[0]
    assert prompt_of("pope", first, "original") == "Is there a snowboard in the image?"
    assert prompt_of("pope", first, "vision-opd") == (
        "Is there a snowboard in the image?\nAnswer the question using a single word or phrase."
    )


def test_pope_may_ask_the_same_in_each_category_but_not_twice_in_one(tmp_path: Path) -> None:
    pope.write(tmp_path)
    assert check(make_task(load(f"pope={tmp_path}"), TaskSettings(limit=100))).problems == ()


def test_realworldqa_takes_the_form_of_the_answer_from_the_answer(tmp_path: Path) -> None:
    realworldqa.write(tmp_path)
    letter, number, decided, word = read("realworldqa", tmp_path)
    assert [s.answer_type for s in (letter, number, decided, word)] == ["letter", "number", "yes_no", "text"]
    assert letter.options == ("Left", "Straight", "Right")
    assert letter.question == "In which direction is the front wheel of the car on the right side facing?"
    assert number.question == "How many cars are in front of us?"
    assert prompt_of("realworldqa", number, "original").endswith("Please answer directly with a single word or number.")
    assert [s.id for s in (letter, number, decided, word)] == ["0", "1", "2", "3"]
    assert decode(word.image)[0].size == (96, 64)


def test_blink_shows_all_images_of_a_question_in_order_and_skips_hidden_answers(tmp_path: Path) -> None:
    blink.write(tmp_path)
    samples = read("blink", tmp_path)
    assert len({s.category for s in samples}) == 14
    assert len(samples) == 15
    assert all(s.id.startswith("val_") for s in samples)
    several = {s.category: 1 + len(s.more_images) for s in samples if s.more_images}
    assert several == {"Art_Style": 3, "Forensic_Detection": 4, "Visual_Similarity": 3, "Multi-view_Reasoning": 2}
    art = samples[0]
    hashes = [decode(image)[1] for image in (art.image, *art.more_images)]
    assert len(set(hashes)) == 3
    assert (art.options, art.answers) == (("the second image", "the third image"), ("B",))
    assert prompt_of("blink", art, "original").endswith("(A) the second image\n(B) the third image")
    view = next(s for s in samples if s.category == "Multi-view_Reasoning")
    assert view.question == "The images are frames from a video. Which one is it, in task Multi-view_Reasoning?"
    assert view.published.startswith(view.question + " Select from the following options.\n(A) one\n")


def test_blink_says_which_task_is_missing_and_that_answers_are_hidden(tmp_path: Path) -> None:
    blink.write(tmp_path)
    folder = tmp_path / "Jigsaw"
    (folder / "val-00000-of-00001.parquet").unlink()
    with pytest.raises(BenchmarkError, match="no file matches Jigsaw/val-"):
        read("blink", tmp_path)
    (folder / "test-00000-of-00001.parquet").rename(folder / "val-00000-of-00001.parquet")
    with pytest.raises(BenchmarkError, match=r"Jigsaw row .*: its answer is 'hidden'"):
        read("blink", tmp_path)
