"""HR-Bench, MME-RealWorld and VisualProbe: no boxes, and what is known to mislead."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.miniatures import (
    _hrbench,
    hrbench_4k,
    hrbench_8k,
    hrbench_pair,
    mme_realworld,
    mme_realworld_cn,
    visualprobe,
)
from benchmarks.miniatures._make import write_plain_parquet
from gapbench.commands.check import check
from gapbench.data.catalogue import load
from gapbench.data.task import TaskSettings, make_task
from gapbench.errors import BenchmarkError
from gapbench.scoring import score
from gapbench.types import Sample
from gapbench.views.images import decode
from gapbench.views.prompts import prompt, template_of


def read(name: str, folder: Path) -> list[Sample]:
    return load(f"{name}={folder}").samples()


def prompt_of(name: str, sample: Sample, protocol: str) -> str:
    return prompt(sample, template_of(load(name).card, protocol))


def edit(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """The table with its rows changed in place."""
    rows = pq.read_table(path).to_pylist()
    change(rows)
    write_plain_parquet(path, rows)


@pytest.mark.parametrize(("name", "size"), [("hrbench_4k", (100, 60)), ("hrbench_8k", (200, 120))])
def test_hrbench_rows_are_clusters_of_four_orders(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    {"hrbench_4k": hrbench_4k, "hrbench_8k": hrbench_8k}[name].write(tmp_path)
    samples = read(name, tmp_path)
    assert [s.id for s in samples] == [str(i) for i in range(12)]
    assert list(Counter(s.cluster for s in samples).values()) == [4, 4, 4]
    assert Counter(s.category for s in samples) == {"single": 8, "cross": 4}
    for start in (0, 4, 8):
        four = samples[start : start + 4]
        assert [s.answers for s in four] == [("A",), ("B",), ("C",), ("D",)]
        assert len({frozenset(s.options) for s in four}) == 1
        assert len({s.options["ABCD".index(s.answers[0])] for s in four}) == 1
        assert len({s.options for s in four}) == 4
    assert decode(samples[0].image)[0].size == size
    assert samples[0].question == samples[8].question
    assert samples[0].cluster != samples[8].cluster


def test_hrbench_asks_as_its_protocols_were_published(tmp_path: Path) -> None:
    hrbench_4k.write(tmp_path)
    sample = read("hrbench_4k", tmp_path)[1]
    question = "What colour is the rectangle?"
    dotted = "A. green\nB. blue\nC. grey\nD. red"
    closing = "Please select the correct answer from the options above. \n"
    assert prompt_of("hrbench_4k", sample, "original") == f"Question: {question}\nOptions:\n{dotted}\n{closing}"
    assert prompt_of("hrbench_4k", sample, "lmms-eval") == f"{question}\n{dotted}\nAnswer the option letter directly."
    assert prompt_of("hrbench_4k", sample, "vision-opd") == (
        f"{question} Select from the following choices.\n(A) green\n(B) blue\n(C) grey\n(D) red"
    )


def drop_a_row(rows: list[dict[str, Any]]) -> None:
    del rows[2]


def shift_by_one(rows: list[dict[str, Any]]) -> None:
    rows.append(rows.pop(0))


def other_option(rows: list[dict[str, Any]]) -> None:
    rows[5]["C"] = "somewhere else"


def same_letter(rows: list[dict[str, Any]]) -> None:
    rows[1]["answer"] = "A"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop_a_row, "rows 0 to 3: found 2 different questions"),
        (shift_by_one, "rows 0 to 3: found 2 different questions"),
        (lambda rows: rows.pop(), "11 rows; expected groups of four"),
        (other_option, "rows 4 to 7: their options are not the same four texts"),
        (same_letter, "rows 0 to 3: the right letters are A, A, C, D, not A, B, C and D"),
    ],
)
def test_hrbench_refuses_rows_that_are_no_four_orders(
    change: Callable[[list[dict[str, Any]]], Any], said: str, tmp_path: Path
) -> None:
    hrbench_4k.write(tmp_path)
    edit(tmp_path / "hr_bench_4k.parquet", change)
    with pytest.raises(BenchmarkError, match=f"hr_bench_4k.parquet: {said}"):
        read("hrbench_4k", tmp_path)


def test_hrbench_pair_shows_the_4k_image_as_the_region_of_the_8k_question(tmp_path: Path) -> None:
    hrbench_pair.write(tmp_path)
    samples = read("hrbench_pair", tmp_path)
    assert [s.id for s in samples] == [str(i) for i in range(12)]
    for sample in samples:
        full, region = decode(sample.image)[0], decode(sample.crop_image)[0]
        assert (full.size, region.size) == ((200, 120), (100, 60))
        # Each cut-out is a part of its own image, told by the colour of the rectangle in it.
        assert sum(abs(a - b) for a, b in zip(full.getpixel((20, 18)), region.getpixel((20, 18)), strict=True)) < 40
    hues = {decode(s.crop_image)[0].getpixel((20, 18))[0] // 20 for s in samples[::4]}
    assert len(hues) == 3


def test_hrbench_pair_finds_partners_when_one_file_lists_questions_otherwise(tmp_path: Path) -> None:
    hrbench_pair.write(tmp_path)
    before = [decode(s.crop_image)[1] for s in read("hrbench_pair", tmp_path)]
    edit(tmp_path / "hr_bench_4k.parquet", lambda rows: rows.sort(key=lambda r: (-(r["index"] // 4), r["index"])))
    assert [decode(s.crop_image)[1] for s in read("hrbench_pair", tmp_path)] == before


def twins(rows: list[dict[str, Any]]) -> None:
    """Questions 0 and 2 read the same, options and all."""
    for one, other in zip(rows[0:4], rows[8:12], strict=True):
        other.update({name: one[name] for name in ("A", "B", "C", "D")})


def test_hrbench_pair_tells_questions_that_read_the_same_by_their_place(tmp_path: Path) -> None:
    hrbench_pair.write(tmp_path)
    before = [decode(s.crop_image)[1] for s in read("hrbench_pair", tmp_path)]
    edit(tmp_path / "hr_bench_4k.parquet", twins)
    edit(tmp_path / "hr_bench_8k.parquet", twins)
    assert [decode(s.crop_image)[1] for s in read("hrbench_pair", tmp_path)] == before


def reword(rows: list[dict[str, Any]]) -> None:
    for row in rows[4:8]:
        row["question"] = "Where is it?"


def reorder(rows: list[dict[str, Any]]) -> None:
    rows[0]["B"], rows[0]["C"] = rows[0]["C"], rows[0]["B"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (reword, "row 4 .* has 0 partners"),
        (reorder, "row 0 .* has 0 partners"),
        (lambda rows: rows.extend([{**r, "question": "More?"} for r in rows[:4]]), "4 rows have no partner"),
    ],
)
def test_hrbench_pair_fails_loudly_where_the_files_differ(
    change: Callable[[list[dict[str, Any]]], Any], said: str, tmp_path: Path
) -> None:
    hrbench_pair.write(tmp_path)
    edit(tmp_path / "hr_bench_4k.parquet", change)
    with pytest.raises(BenchmarkError, match=said):
        read("hrbench_pair", tmp_path)


def test_hrbench_pair_says_that_it_is_not_the_evidence_gap_and_needs_both_files(tmp_path: Path) -> None:
    assert "not the gap" in load("hrbench_pair").card.notice
    _hrbench.write_8k(tmp_path)
    with pytest.raises(BenchmarkError, match=r"hr_bench_4k.parquet: not found"):
        read("hrbench_pair", tmp_path)


def test_mme_realworld_reads_odd_options(tmp_path: Path) -> None:
    mme_realworld.write(tmp_path)
    colours, twice, broken, gap = read("mme_realworld", tmp_path)
    assert [s.id for s in (colours, twice, broken, gap)] == ["0", "1", "2", "7"]
    assert colours.options == ("Red", "Blue", "Green", "White", "The image does not feature the object.")
    assert twice.options == ("1", "2", "3", "None of the above", "The image does not feature the object.")
    assert twice.answers == ("E",)
    assert score("(E)", twice.answers, "letter", twice.options).outcome == "right"
    assert broken.options[0] == "To the left"
    assert gap.options == ()
    assert gap.question.splitlines()[1:3] == ["(A) Two", "(C) Three"]
    assert score("C", gap.answers, "letter", gap.options, gap.question).outcome == "right"
    assert {s.category for s in (colours, gap)} == {"Perception/Monitoring", "Perception/OCR with Complex Context"}


def test_mme_realworld_images_are_base64_text_of_any_mode_and_shared(tmp_path: Path) -> None:
    mme_realworld.write(tmp_path)
    samples = read("mme_realworld", tmp_path)
    assert all(decode(s.image)[0].mode == "RGB" for s in samples)
    result = check(make_task(load(f"mme_realworld={tmp_path}"), TaskSettings()))
    assert (result.counts["samples"], result.counts["images"], result.counts["clusters"]) == (4, 3, 3)


def test_mme_realworld_asks_as_published_with_every_line_of_the_data(tmp_path: Path) -> None:
    mme_realworld.write(tmp_path)
    twice = read("mme_realworld", tmp_path)[1]
    expected = (
        "How many people are there? The choices are listed below:\n(A) 1\n(B) 2\n(C) 3\n(D) None of the above\n"
        "(D) None of the above\n(E) The image does not feature the object.\n"
        "Select the best answer to the above multiple-choice question based on the image. "
        "Respond with only the letter (A, B, C, D, or E) of the correct option.\nThe best answer is: "
    )
    assert prompt_of("mme_realworld", twice, "original") == prompt_of("mme_realworld", twice, "vision-opd") == expected


def test_mme_realworld_cn_has_full_width_brackets_and_asks_in_chinese(tmp_path: Path) -> None:
    mme_realworld_cn.write(tmp_path)
    wide, plain = read("mme_realworld_cn", tmp_path)
    assert wide.options == ("红色", "蓝色", "绿色", "白色", "图中没有该物体")
    assert plain.options[:2] == ("一", "二")
    text = prompt_of("mme_realworld_cn", wide, "original")
    assert text.startswith("汽车是什么颜色? 选项如下所示:\n（A）红色\n")  # noqa: RUF001
    assert text.endswith("最佳答案为： ")  # noqa: RUF001
    assert score("B", wide.answers, "letter", wide.options).outcome == "right"


def test_mme_realworld_may_not_be_used_commercially() -> None:
    for name in ("mme_realworld", "mme_realworld_cn", "mme_realworld_lite"):
        assert "academic research only" in load(name).card.restricted


def test_visualprobe_takes_prefixes_and_full_stops_off(tmp_path: Path) -> None:
    visualprobe.write(tmp_path)
    samples = read("visualprobe", tmp_path)
    assert [s.id for s in samples] == ["easy-0", "easy-1", "medium-0", "medium-1", "hard-0"]
    assert [s.category for s in samples] == ["easy", "easy", "medium", "medium", "hard"]
    assert samples[0].question == "What colour is the boat?"
    assert [s.answers for s in samples] == [("Blue",), ("Yes",), ("Stop and go",), ("3",), ("Chimney",)]
    assert all(decode(s.image)[0].size == (96, 64) for s in samples)
    assert load("visualprobe").card.protocols["vision-opd"].metric == "category_mean"


def test_visualprobe_reads_no_image_outside_its_folder(tmp_path: Path) -> None:
    visualprobe.write(tmp_path)
    file = tmp_path / "VisualProbe_Hard" / "val.json"
    rows = json.loads(file.read_text(encoding="utf-8"))
    for name in ("VisualProbe_Hard/data/../../../secret.jpg", "/etc/secret.jpg"):
        rows[0]["images"] = [name]
        file.write_text(json.dumps(rows), encoding="utf-8")
        with pytest.raises(BenchmarkError, match=r"VisualProbe_Hard/val.json row 1: its images are"):
            read("visualprobe", tmp_path)


def test_visualprobe_needs_all_three_levels(tmp_path: Path) -> None:
    visualprobe.write(tmp_path)
    (tmp_path / "VisualProbe_Medium" / "val.json").unlink()
    with pytest.raises(BenchmarkError, match="VisualProbe_Medium"):
        read("visualprobe", tmp_path)
