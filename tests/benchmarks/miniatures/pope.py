"""data/test-*.parquet, in which the three categories ask the same about what is there; and Full/, a decoy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.miniatures._make import IMAGE, STRING, hub_image, image, write_hub_parquet

FEATURES = {
    "id": STRING,
    "question_id": STRING,
    "question": STRING,
    "answer": STRING,
    "image_source": STRING,
    "image": IMAGE,
    "category": STRING,
}
ABSENT = {"adversarial": "dining table", "popular": "person", "random": "umbrella"}


def rows(category: str) -> list[dict[str, Any]]:
    questions = [(scene, thing) for scene in (0, 1) for thing in ("snowboard", ABSENT[category])]
    return [
        {
            "id": str(number),
            "question_id": str(number + 1),
            "question": f"Is there a {thing} in the image?",
            "answer": "yes" if thing == "snowboard" else "no",
            "image_source": f"COCO_val2014_00000031061{scene}",
            "image": hub_image(image(scene)),
            "category": category,
        }
        for number, (scene, thing) in enumerate(questions)
    ]


def write(folder: Path) -> None:
    for number, category in enumerate(ABSENT):
        write_hub_parquet(folder / "data" / f"test-0000{number}-of-00003.parquet", rows(category), FEATURES)
        write_hub_parquet(folder / "Full" / f"{category}-00000-of-00001.parquet", rows(category), FEATURES)
