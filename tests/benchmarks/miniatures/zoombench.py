"""One Parquet with HF images: an image and its published crop, options inside the query."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, List, Value

from benchmarks.miniatures._scenes import encoded, scene

RED = (220, 10, 10)
BOXES = (
    [40, 30, 70, 50],
    [200, 100, 230, 140],
    [10, 60, 30, 80],
    [150, 20, 190, 40],
    [90, 90, 120, 110],
    [5, 5, 25, 20],
    [60, 100, 80, 130],
    [210, 20, 240, 60],
)


def write(
    folder: Path, boxes: str = "list", typed: bool = True, names: tuple[str, str] = ("query", "response")
) -> None:
    """`boxes` are a list, text or nothing; `typed`: with question_type; `names` of the two columns."""
    questions = (
        ("How many lamps hang above the door?\nA. 2\nB. 3\nC. 4\nD. 5", "B", "mcq"),
        ("<image>\nHow many birds sit on the wire?", "7", "blank"),
        ("What is the word on the sign?\n(A) STOP\n(B) SHOP", "(A)", "mcq"),
        ("Which colour has the hat? A. red B. blue\nThink before you answer.", "A", "mcq"),
        ("What is the text on the bag?", "Grand Hôtel", "blank"),
        ("Is the bell open?\nA. yes\nB. no\nLook closely.", "B", "mcq"),
        (
            "What covers the window?\n\nA. bars\nB. mesh\n\nAnswer with the option's letter from the given choices.",
            "B",
            "mcq",
        ),
        ("Which tile is it?\nA. the one below\nB. the one\nabove\nC. neither", "C", "mcq"),
    )
    rows = []
    for number, ((query, response, kind), box) in enumerate(zip(questions, BOXES, strict=True)):
        x0, y0, x1, y1 = box
        whole = scene(number, (260, 160), {(x0, y0, x1, y1): RED})
        crop = whole.crop((x0, y0, x1, y1)).resize((2 * (x1 - x0), 2 * (y1 - y0)))
        if number == 2:  # transparent, and called what it is not
            whole.putalpha(255)
            whole.paste((0, 0, 0, 0), (0, 0, 20, 20))
            stored = {"bytes": encoded(whole, "PNG"), "path": "image_2.jpg"}
        else:
            stored = {"bytes": encoded(whole, "PNG" if number % 2 else "JPEG"), "path": f"image_{number}.jpg"}
        shown: dict[str, Any] = {"list": box, "text": json.dumps(box), "nothing": None}
        row = {
            "id": f"{number:02d}f3a9",
            names[0]: query,
            names[1]: response,
            "image": stored,
            "crop_image": {"bytes": encoded(crop, "PNG"), "path": f"crop_image_{number}.jpg"},
        }
        row |= {"bbox": shown[boxes]} if boxes != "nothing" else {}
        row |= {"question_type": kind} if typed else {}
        rows.append(row)
    features: dict[str, Any] = {"id": Value("string"), names[0]: Value("string"), names[1]: Value("string")}
    features |= {"image": Image(), "crop_image": Image()}
    features |= {"bbox": Value("string") if boxes == "text" else List(Value("int64"))} if boxes != "nothing" else {}
    features |= {"question_type": Value("string")} if typed else {}
    (folder / "data").mkdir(exist_ok=True)
    Dataset.from_list(rows, features=Features(features)).to_parquet(folder / "data" / "test.parquet")
