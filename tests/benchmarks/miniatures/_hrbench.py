"""HR-Bench in small: three questions in four orders, two of them with the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.miniatures._make import image, text_of, write_plain_parquet

ORDERS = ((0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 0, 1), (1, 3, 2, 0))
"""The right option (number 0) comes at A, B, C and D; none is a rotation of another."""

QUESTIONS = (
    ("What colour is the rectangle?", ("blue", "red", "green", "grey"), "single"),
    ("Where is the rectangle relative to the centre?", ("upper left", "below", "right", "nowhere"), "cross"),
    ("What colour is the rectangle?", ("violet", "red", "green", "grey"), "single"),  # the same words once more
)


def rows(images: list[Image.Image], cycle: type) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for (question, texts, category), shown in zip(QUESTIONS, images, strict=True):
        for number, order in enumerate(ORDERS):
            made.append(
                {
                    "index": len(made),
                    "question": question,
                    "answer": "ABCD"[order.index(0)],
                    **{letter: texts[i] for letter, i in zip("ABCD", order, strict=True)},
                    "category": category,
                    "cycle_category": cycle(number),
                    "image": text_of(shown),
                }
            )
    return made


def large() -> list[Image.Image]:
    return [image(seed, (200, 120)) for seed in (1, 2, 3)]


def write_8k(folder: Path) -> None:
    write_plain_parquet(folder / "hr_bench_8k.parquet", rows(large(), str))


def write_4k(folder: Path) -> None:
    cut = [image.crop((0, 0, 100, 60)) for image in large()]
    write_plain_parquet(folder / "hr_bench_4k.parquet", rows(cut, int))
