"""Images with side files in two folders, decoys in two others, and the questions in a JSONL."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.miniatures._scenes import save, scene

INSTRUCTION = "Answer with the option's letter from the given choices directly."
RED, BLUE = (220, 10, 10), (10, 10, 220)


def write(folder: Path) -> None:
    side(
        folder, "direct_attributes/sa_4690", ["glove"], [[300, 40, 20, 30]],
        "What is the material of the glove?",
        ["The material of the glove is rubber.", "The material of the glove is cotton.",
         "The material of the glove is kevlar.", "The material of the glove is leather."],
    )  # fmt: skip
    side(
        folder, "direct_attributes/sa_86101", ["dog"], [[10.5, 150, 24, 16]],
        "Is the dog's tail curled or straight?", ["The dog's tail is curled.", "The dog's tail is straight."],
    )  # fmt: skip
    side(
        folder, "relative_position/sa_10033", ["flag", "truck"], [[20, 20, 12, 14], [330, 180, 40, 30]],
        "Is the flag on the left or right side of the truck?",
        ["The flag is on the left side of the truck.", "The flag is on the right side of the truck."],
    )  # fmt: skip
    for decoy in ("GPT4V-hard/4", "OCR/sa_4690"):
        side(folder, decoy, ["sign"], [[0, 0, 9, 9]], "What does the sign say?", ["It says A.", "It says B."])
    rows = [
        row("direct_attributes/sa_4690", "B", 0, "What is the material of the glove?",
            "cotton", "rubber", "kevlar", "leather"),
        row("direct_attributes/sa_86101", "A", 1, "Is the dog's tail curled or straight?", "curled", "straight"),
        row("relative_position/sa_10033", "B", 0, "Is the flag on the left or right side of the truck?",
            "right", "left"),
    ]  # fmt: skip
    (folder / "test_questions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


def side(
    folder: Path, name: str, targets: list[str], boxes: list[list[float]], question: str, options: list[str]
) -> None:
    patches = {(int(x), int(y), int(x + w), int(y + h)): c for (x, y, w, h), c in zip(boxes, (RED, BLUE), strict=False)}
    save(scene(len(name), (400, 260), patches), folder / f"{name}.jpg")
    about = {"target_object": targets, "bbox": boxes, "question": question, "options": options}
    (folder / f"{name}.json").write_text(json.dumps(about), encoding="utf-8")


def row(name: str, label: str, number: int, question: str, *options: str) -> dict[str, object]:
    """The number starts anew in the second folder: the name of the image is the key."""
    lines = "".join(f"\n({letter}) {option}" for letter, option in zip("ABCD", options, strict=False))
    return {
        "image": f"{name}.jpg",
        "text": f"{question}{lines}\n{INSTRUCTION}",
        "category": name.partition("/")[0],
        "label": label,
        "question_id": number,
    }
