"""test_2d.parquet and test_3d.parquet; `idx` begins anew in the second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets

from benchmarks.miniatures._make import IMAGE, INT, STRING, STRINGS, hub_image, image, write_hub_parquet

FEATURES = {
    "idx": INT,
    "type": STRING,
    "task": STRING,
    "image": IMAGE,
    "question": STRING,
    "choices": STRINGS,
    "answer": STRING,
    "prompt": STRING,
    "filename": STRING,
    "source": STRING,
    "source_dataset": STRING,
    "source_filename": STRING,
    "target_class": STRING,
    "target_size": INT,
    "bbox": datasets.Sequence(datasets.Sequence(datasets.Value("float64"))),
}


def row(idx: int, kind: str, task: str, source: str, question: str, choices: list[str], answer: str) -> dict[str, Any]:
    lettered = "\n".join(f"({letter}) {text}" for letter, text in zip("ABCDEF", choices, strict=False))
    shown = image(idx + 10 * (kind == "3D") + len(source))
    return {
        "idx": idx,
        "type": kind,
        "task": task,
        "image": hub_image(shown, "PNG", f"img/{kind}/{task.lower()}/{source.lower()}_{idx}.png"),
        "question": question,
        "choices": choices,
        "answer": answer,
        "prompt": f"{question} Select from the following choices.\n{lettered}",
        "source": source,
        "bbox": [[10.0, 10.0, 30.0, 25.0]] if kind == "3D" else None,
    }


def write(folder: Path) -> None:
    flat = [
        row(0, "2D", "Count", "ADE20K", "How many chairs are in the image?", ["2", "0", "1", "3", "4"], "(C)"),
        row(1, "2D", "Relation", "COCO", "Where is the cat relative to the dog?", ["left", "right"], "(A)"),
    ]
    deep = [
        row(0, "3D", "Depth", "Omni3D", "Which object is closer to the camera?", ["chair", "table"], "(B)"),
        row(1, "3D", "Distance", "Omni3D", "Which object is closer to the bed?", ["lamp", "door"], "(A)"),
    ]
    write_hub_parquet(folder / "test_2d.parquet", flat, FEATURES)
    write_hub_parquet(folder / "test_3d.parquet", deep, FEATURES)
