"""ZwZ-RL-VQA as two of its users report it: two tables, one of which names clean images, and their split archive."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.miniatures.vision_opd_6k import HINT, encoded, scene, write_parts

COLOURS = ("red", "green", "blue", "white")


def write(folder: Path) -> None:
    """`train.parquet` (red-boxed images only), `train1.parquet`, `original_images/original_images.tar.gz00` to 02."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, clean = [], {}
    for n in range(4):
        box = (30 + 40 * n, 20 + 30 * n, 62 + 40 * n, 44 + 30 * n)
        name = f"original_images/sa_{n}.jpg"
        clean[name] = encoded(scene(n, box, COLOURS[n]), "JPEG")
        for question, answer in (
            ("What is the color of the patch?", COLOURS[n]),
            ("What is the shape of the patch?\n\nA. round\nB. rectangular", "B"),
        ):
            text, _, options = question.partition("\n\n")
            rows.append({
                "images": [f"images/{n:032x}.png"], "original_images": [name],
                "problem": "\n\n".join(filter(None, (f"<image>{text}", HINT, options))), "answer": answer,
                "bbox": [float(v) for v in box], "status": "valid vqa",
            })  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "train1.parquet")
    boxed = [{k: v for k, v in row.items() if k != "original_images"} for row in rows]
    pq.write_table(pa.Table.from_pylist(boxed), folder / "train.parquet")
    write_parts(folder / "original_images" / "original_images.tar.gz", clean, 3, lambda name: name)
