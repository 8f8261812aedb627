"""Parquet with HF images, ten answers a question, one box as x, y, width, height; one target of each size."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset, Features, Image, List, Value

from benchmarks.miniatures._scenes import encoded, scene

SIZE = (320, 213)
SMALL, MEDIUM, LARGE = [250.0, 180.0, 16.0, 10.0], [200.5, 40.0, 60.0, 30.0], [20.0, 100.0, 290.0, 110.5]


def write(folder: Path, boxes: tuple[list[float], ...] = (SMALL, MEDIUM, LARGE)) -> None:
    questions = (
        ("what brand is the phone?", ["nokia"] * 6 + ["nokia lumia"] * 3 + ["lumia"]),
        ("what number is on the shirt?", ["23"] * 10),
        ("what does the sign say?", ["yield"] * 2 + ["yield here"] * 8),
    )
    rows = [
        {
            "image": {"bytes": encoded(scene(number, SIZE)), "path": f"{number}.jpg"},
            "question": question,
            "answer": answers,
            "dataset_id": str(34602 + number),
            "bbox": box,
        }
        for number, ((question, answers), box) in enumerate(zip(questions, boxes, strict=True))
    ]
    features = Features(
        {
            "image": Image(),
            "question": Value("string"),
            "answer": List(Value("string")),
            "dataset_id": Value("string"),
            "bbox": List(Value("float64")),
        }
    )
    (folder / "data").mkdir(exist_ok=True)
    Dataset.from_list(rows, features=features).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
