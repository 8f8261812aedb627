"""A metadata file beside charts and maps; boxes by layout, options as one text."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.miniatures._scenes import save, scene


def write(folder: Path) -> None:
    rows = [
        row("images/map/campus.jpg", "map", "Which gate is north of the hall?", "C",
            "A. East\nB. West\nC. Main\nD. None\nE. Side\nF. No right choice", [2, 4],
            {"1": [0, 0, 400, 20], "2": [12.5, 30, 70, 66.25], "4": [300, 200, 390, 280]}),
        row("images/chart/report.png", "chart", "Which year had the highest sum?", "A",
            "A. 2014\nB. 2015\nC. 2016\nD. 2017\nE. 2018\nF. No right choice", [1], {"1": [20, 20, 120, 90]}),
        row("images/chart/report.png", "chart", "Which line falls in 2015?", "F",
            "A. red\nB. blue\nC. green\nD. grey\nE. black\nF. No right choice", [1, 2],
            {"1": [20, 20, 120, 90], "2": [200, 30, 280, 100]}),
    ]  # fmt: skip
    for name in ("images/map/campus.jpg", "images/chart/report.png"):
        save(scene(len(name), (400, 300)), folder / "test" / name)
    lines = "".join(json.dumps(r) + "\n" for r in rows)
    (folder / "test" / "metadata.jsonl").write_text(lines, encoding="utf-8")


def row(
    name: str,
    subset: str,
    question: str,
    answer: str,
    options: str,
    targets: list[int],
    layouts: dict[str, list[float]],
) -> dict[str, object]:
    return {
        "file_name": name,
        "subset": subset,
        "question": question,
        "options": options,
        "answer": answer,
        "explanation": "Step 1. Look at the layouts.",
        "target_layouts": targets,
        "layout_infos": {k: {"layout_id": int(k), "bbox": box, "type": "figure"} for k, box in layouts.items()},
        "img_width": 400,
        "img_height": 300,
    }
