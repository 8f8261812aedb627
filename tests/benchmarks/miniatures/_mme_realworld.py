"""MME-RealWorld in small: two parts, base64 text in `bytes`, and the options that are known to be odd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.miniatures._make import INT, STRING, STRINGS, image, text_of, write_hub_parquet

FEATURES = {
    "index": INT,
    "bytes": STRING,
    "question": STRING,
    "multi-choice options": STRINGS,
    "answer": STRING,
    "category": STRING,
    "l2-category": STRING,
}
ABSENT = "(E) The image does not feature the object."
COLOURS = ["(A) Red", "(B) Blue", "(C) Green", "(D) White", ABSENT]
TWICE = ["(A) 1", "(B) 2", "(C) 3", "(D) None of the above", "(D) None of the above", ABSENT]
BROKEN = ["(A) To the\nleft", "(B) To the right", "(C) Behind", "(D) In front", ABSENT]
GAP = ["(A) Two", "(C) Three", "(D) Four", ABSENT]


def row(index: int, image: str, question: str, options: list[str], answer: str, category: str) -> dict[str, Any]:
    return {
        "index": index,
        "bytes": image,
        "question": question,
        "multi-choice options": options,
        "answer": answer,
        "category": category,
        "l2-category": "Person/Attribute" if index % 2 else "person/attribute",
    }


def write_parts(folder: Path, first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    for number, rows in enumerate((first, second)):
        write_hub_parquet(folder / "data" / f"train-0000{number}-of-00002.parquet", rows, FEATURES)


def write(folder: Path) -> None:
    shared = text_of(image(1))
    palette, transparent = text_of(image(2, mode="P"), "PNG"), text_of(image(3, mode="RGBA"), "PNG")
    write_parts(
        folder,
        [
            row(0, shared, "What colour is the car?", COLOURS, "B", "Perception/Monitoring"),
            row(1, shared, "How many people are there?", TWICE, "E", "Perception/Monitoring"),
        ],
        [
            row(2, palette, "Where is the sign?", BROKEN, "A", "Reasoning/Autonomous_Driving"),
            row(7, transparent, "How many lanes are there?", GAP, "C", "Perception/OCR with Complex Context"),
        ],
    )
