"""A folder for each task, with a validation and a test table; answers of the latter are hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.miniatures._make import IMAGE, STRING, STRINGS, hub_image, image, write_hub_parquet

FEATURES = {
    "idx": STRING,
    "question": STRING,
    "sub_task": STRING,
    "image_1": IMAGE,
    "image_2": IMAGE,
    "image_3": IMAGE,
    "image_4": IMAGE,
    "choices": STRINGS,
    "answer": STRING,
    "prompt": STRING,
    "explanation": STRING,
}
TASKS = (
    "Art_Style", "Counting", "Forensic_Detection", "Functional_Correspondence", "IQ_Test", "Jigsaw",
    "Multi-view_Reasoning", "Object_Localization", "Relative_Depth", "Relative_Reflectance",
    "Semantic_Correspondence", "Spatial_Relation", "Visual_Correspondence", "Visual_Similarity",
)  # fmt: skip
PICTURES = {"Art_Style": 3, "Forensic_Detection": 4, "Visual_Similarity": 3, "Multi-view_Reasoning": 2}


def row(task: str, split: str, number: int) -> dict[str, Any]:
    seed = 10 * TASKS.index(task) + 4 * number
    shown = [hub_image(image(seed + i)) for i in range(PICTURES.get(task, 1))]
    choices = ["the second image", "the third image"] if task == "Art_Style" else ["one", "two", "three", "four"]
    question = f"Which one is it, in task {task}?"
    lettered = "\n".join(f"({letter}) {text}" for letter, text in zip("ABCD", choices, strict=False))
    plain = f"{question}\nSelect from the following choices."
    framed = f"The images are frames from a video. {question} Select from the following options."
    return {
        "idx": f"{split}_{task}_{number + 1}",
        "question": question,
        "sub_task": task,
        **{f"image_{i + 1}": one for i, one in enumerate(shown)},
        "choices": choices,
        "answer": "(B)" if split == "val" else "hidden",
        "prompt": f"{framed if task == 'Multi-view_Reasoning' else plain}\n{lettered}\n",
        "explanation": "",
    }


def write(folder: Path) -> None:
    for task in TASKS:
        for split in ("val", "test"):
            rows = [row(task, split, number) for number in range(2 if task == "Counting" else 1)]
            write_hub_parquet(folder / task / f"{split}-00000-of-00001.parquet", rows, FEATURES)
