"""TreeBench, split into three benchmarks (arXiv:2507.07999, "Traceable Evidence Enhanced ...").

    for sample in read(folder, lambda first, second: first == "Reasoning"): ...

`treebench` is the headline: perception, with the question as text. In `treebench_ocr` the question is drawn into the
image. `treebench_reasoning` asks about relations that magnification does not reveal.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from _lettered import letter_of
from _reading import boxes_of

from gapbench.data import BenchmarkError, Card, Protocol, Published, Sample, read_rows

FILE = "TreeBench.tsv"
COLUMNS = string.ascii_uppercase[:11]

CARD = Card(
    name="treebench",
    title="TreeBench",
    source="huggingface.co/datasets/HaochenWang/TreeBench; code github.com/Haochen-Wang409/TreeVGR",
    licence="Apache-2.0",
    hub="HaochenWang/TreeBench",
    revision="a4eb437ab71d14f6ab1a4cf05213d0f72f831b71",
    files=(FILE,),
    split="train (all there is)",
    region="union",
    box_format="xyxy",
    scoring="letter",
    official="treebench",
    protocols={
        "original": Protocol(
            prompt="{published}\nSelect the best answer to the above multiple-choice question based on the image. "
            "After the reasoning process, respond with only the letter of the correct option between <answer> and "
            "</answer>.",
            source="Haochen-Wang409/TreeVGR inference_treebench.py",
            note="Their system prompt, which asks for reasoning with boxes, is not sent, and no IoU of boxes is "
            "counted.",
        )
    },
    reference=(
        Published("Qwen2.5-VL-7B", 37.0, "TreeBench paper", part="all 405 questions"),
        Published("TreeVGR-7B", 50.4, "TreeBench paper", part="all 405 questions"),
        Published("TreeVGR-7B", 49.38, "a run of the public script", protocol="original", part="all 405 questions"),
        Published("o3", 54.87, "TreeBench paper", part="all 405 questions"),
    ),
    checked="all rows, m-Just/InSight-o3 @ 21acec8 (2026-11); no images",
    traps=(
        "Published scores are over all 405 questions; here these are three benchmarks.",
        "Boxes are text: a Python list of corner coordinates.",
        "In six rows several options share a line of the column `multi-choice options`, so options are read from the "
        "columns A to K.",
    ),
)


def read(data: Path, selects: Callable[[str, str], bool]) -> Iterator[Sample]:
    """The samples of `data` / TreeBench.tsv whose first- and second-level category `selects` accepts."""
    needs = ("index", "question", "answer", "category", "target_instances", "A", "B")
    for number, row in enumerate(read_rows(data / FILE, lazy=("image",), needs=needs)):
        where = f"{FILE} row {number} (index {row['index']})"
        first, second = _category(row, where)
        if not selects(first, second):
            continue
        options = _options(row, where)
        yield Sample(
            id=str(row["index"]),
            image=row["image"],
            question=(row["question"] or "").strip(),
            answers=(letter_of(row["answer"] or "", options, where),),
            options=options,
            answer_type="letter",
            boxes=boxes_of(row["target_instances"], where),
            category=f"{first}/{second}",
            published=f"{row['question']} Options:\n{row.get('multi-choice options') or _lines(options)}",
        )


def _category(row: Mapping[str, Any], where: str) -> tuple[str, str]:
    first, slash, second = (row["category"] or "").partition("/")
    if not slash:
        second = row.get("l2-category") or ""
    if first not in ("Perception", "Reasoning") or not second:
        raise BenchmarkError(
            f"{where}: its category is {row['category']!r}; expected Perception/... or Reasoning/... ."
        )
    return first, second


def _options(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    filled = [str(row[c]).strip() if row.get(c) is not None else "" for c in COLUMNS]
    options = tuple(text for text in filled if text)
    if len(options) < 2 or any(filled[len(options) :]):
        raise BenchmarkError(
            f"{where}: its columns A to K are {filled}; expected at least two, with no empty column between them."
        )
    return options


def _lines(options: tuple[str, ...]) -> str:
    return "\n".join(f"{letter}. {text}" for letter, text in zip(COLUMNS, options, strict=False))
