"""A TSV with base64 images, boxes as text, options in columns A to K and once more in one column."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from benchmarks.miniatures._scenes import as_base64, scene

COLUMNS = "ABCDEFGHIJK"
PANEL = [50, 50, 180, 110]
IN_THE_PICTURE = "Please read the question and the options in the image and answer."


def write(folder: Path) -> None:
    rows = [
        row(0, "Perception/Attributes", "What colour is the cup?", "C", "[[200.5, 20, 230, 44.0]]",
            "red", "green", "blue", "white"),
        row(1, "Reasoning/Ordering", "Which is the nearest?", "A",
            "[[10, 10, 30, 30], [90, 12, 120, 40], [200, 90, 240, 140]]", "the bin", "the bike", "the bench"),
        row(2, "Perception/OCR", IN_THE_PICTURE, "B", f"[[220, 120, 290, 150], {PANEL}]", "EXIT", "TAXI"),
        row(3, "Perception/Material", "What is the rail made of?", "B", "[[5, 100, 60, 130]]", "wood", "steel", "None",
            shown="A. wood B. steel C. None"),
        row(4, "Reasoning/Comparison", "How many floors has the tower?", "K", "[[0, 0, 40, 160]]",
            *(str(n) for n in range(10, 21))),
        row(5, "Perception/OCR", IN_THE_PICTURE, "A", f"[[200, 10, 240, 30], [250, 60, 290, 80], {PANEL}]", "12", "21"),
        row(6, "Perception/Object Retrieval", "Which box has the key?", "B", "[[30, 30, 60, 60]]", "left", "right"),
    ]  # fmt: skip
    columns = ["index", "image", "question", "multi-choice options", "answer", "category", "target_instances", *COLUMNS]
    with (folder / "TreeBench.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def row(
    index: int, category: str, question: str, answer: str, boxes: str, *options: str, shown: str = ""
) -> dict[str, Any]:
    x0, y0, x1, y1 = PANEL
    patches = {(x0, y0, x1, y1): (255, 255, 255)} if category.endswith("OCR") else {}
    lettered = dict(zip(COLUMNS, options, strict=False))
    return {
        "index": index,
        "image": as_base64(scene(index, (300, 160), patches)),
        "question": question,
        "multi-choice options": shown or "\n".join(f"{letter}. {text}" for letter, text in lettered.items()),
        "answer": answer,
        "category": category,
        "target_instances": boxes,
        **lettered,
    }
