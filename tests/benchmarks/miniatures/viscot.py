"""The repository's two annotation files per subset, images in playground/data: boxes good, inverted, empty and outside,
and a row without an answer. The odd rows are like those of the real files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.miniatures._scenes import save, scene

GREEN = (10, 200, 10)
SENTENCE = "Please provide the bounding box coordinate of the region that can help you answer the question better."
WIDE = (320, 120)
"""Far from square: a box read as fractions of the padded square lands elsewhere."""

Row = tuple[str, str, Sequence[float], tuple[int, int], str]
ROWS: dict[str, list[Row]] = {
    "docvqa": [
        ("xjpn0081_4.png", "What is the name of the Dealer ?", [40, 20, 80, 36], WIDE, "A. C. Monk"),
        ("xjpn0081_4.png", "What is the page number?", [200, 90, 230, 110], WIDE, "31"),
        ("hnhd0227_8.png", "What was the diet?", [90, 80, 60, 60], (120, 200), "BASAL DIET"),
    ],
    "infographicsvqa": [("30436.jpeg", "How many people use it?", [10, 150, 60, 170], (120, 300), "24%")],
    "textvqa": [("1296e205c5b4aacb.jpg", "what's written on this device?", [40, 30, 60, 44], (160, 120), "lulu b.")],
    "textcap": [
        ("1296e205c5b4aacb.jpg", "What is on the wing?", [40.939, 30.2, 62.005, 46.471], (160, 120), "J-5004")
    ],
    "dude": [
        ("ad16e8d4_0.jpg", "What is the date of the letter?", [100, 20, 163, 40], (160, 200), "March 2014"),
        ("bc01d0bb_6.jpg", "Which items have been marked?", [40, 251, 60, 260], (160, 200), "item 7"),
        ("ad16e8d4_0.jpg", "WHAT IS THE COUNTRY MENTIONED?", [20, 60, 60, 70], (160, 200), ""),
    ],
    "sroie": [("X51005337867.jpg", "What is the total amount in the invoice shown in the image?", [8, 150, 60, 160],
               (90, 220), "30.25")],
    "visual7w": [("v7w_2359142.jpg", "What is behind the cows?", [34, 16, 86, 60], (200, 133), "A tree.")],
}  # fmt: skip
"""By subset: image, question, box, the image's size, answer."""


def write(folder: Path) -> None:
    for subset, rows in ROWS.items():
        dialogues, boxes = [], []
        for number, (name, question, box, (width, height), answer) in enumerate(rows):
            place = "textvqa" if subset == "textcap" else subset
            named = "v7w" if subset == "visual7w" else place
            path = folder / "playground" / "data" / "cot" / place / name
            if not path.exists():
                patches = {tuple(int(v) for v in r[2]): GREEN for r in rows if r[0] == name and r[2][0] < r[2][2]}
                save(scene(len(name), (width, height), patches), path)
            dialogues.append(
                {
                    "dataset": named,
                    "split": "val",
                    "question_id": number,
                    "image": [f"cot/{named}/{name}", f"cot/{named}/{name}###{[int(v) for v in box]}"],
                    "conversations": [
                        {"from": "human", "value": f"<image>\n{question} {SENTENCE}"},
                        {"from": "gpt", "value": padded_square(box, width, height)},
                        {"from": "human", "value": "<image>"},
                        {"from": "gpt", "value": answer},
                    ],
                }
            )
            boxes.append(
                {
                    "img_path": f"cot/{place}/{name}",
                    "expression": question,
                    "bbox": list(box),
                    "height": height,
                    "width": width,
                    "question_id": number,
                    "split": "val",
                }
            )
        annotations = folder / "viscot_benchmark"
        for kind in ("benchmark", "benchmark_det"):
            (annotations / kind).mkdir(parents=True, exist_ok=True)
        (annotations / "benchmark" / f"{subset}.json").write_text(json.dumps(dialogues, indent=4), encoding="utf-8")
        lines = "".join(json.dumps(box) + "\n" for box in boxes)
        (annotations / "benchmark_det" / f"{subset}.jsonl").write_text(lines, encoding="utf-8")


def padded_square(box: Sequence[float], width: int, height: int) -> str:
    """The dialogue's box: fractions of the image after it was padded, on both sides, to a square."""
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    values = ((v + (top if i % 2 else left)) / side for i, v in enumerate(box))
    return f"[{', '.join(f'{v:.3f}' for v in values)}]"
