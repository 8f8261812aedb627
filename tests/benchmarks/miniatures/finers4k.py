"""One JSON of annotations with polygons, images in an archive; one question asks for a mask only."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from benchmarks.miniatures._scenes import encoded, scene

ROWS = [
    {"Q-type": "option", "Q": "What is the color of the car by the tree?", "A": "B", "attribute": "colors",
     "options": "(A) red (B) white (C) black (D) blue", "area_percent": 0.014, "image_path": "DJI_0001.jpg",
     "points": [[101.5, 40], [120, 44], [118, 60.5], [100, 58]]},
    {"Q-type": "reasoning", "Q": "Which shape is on the roof?", "A": "circle", "attribute": "shape",
     "area_percent": 0.05, "image_path": "DJI_0001.jpg", "points": [[300, 200], [340, 200], [320, 230]]},
    {"Q-type": "referring", "Q": "the tower", "A": "", "attribute": "others", "area_percent": 0.2,
     "image_path": "DJI_0002.jpg", "points": [[0, 0], [40, 0], [40, 90]]},
    {"Q-type": "option", "Q": "Where does the man stand?", "A": "A", "attribute": "position",
     "options": "A. on the bridge\nB. under the bridge", "area_percent": 0.01, "image_path": "DJI_0002.jpg",
     "points": [[10, 10], [20, 10], [20, 30], [10, 30]]},
]  # fmt: skip


def write(folder: Path) -> None:
    (folder / "labels").mkdir()
    labels = folder / "labels" / "all_annotations_final_test_v5.json"
    labels.write_text(json.dumps({"annotations": ROWS}), encoding="utf-8")
    with zipfile.ZipFile(folder / "all_images.zip", "w") as archive:
        for number in (1, 2):
            archive.writestr(f"all_images/DJI_000{number}.jpg", encoded(scene(number, (400, 300))))
