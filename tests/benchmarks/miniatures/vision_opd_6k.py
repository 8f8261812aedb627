"""Six rows of Vision-OPD-6K as published: train.jsonl, one archive of clean images, and the two that are never read.

A public copy of the rows shows the form of `problem`. Of `extra_info.question` it is not known whether it holds the
options: half of the rows have them there.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

HINT = "Only focus on the objects inside the red bounding box in the image to answer this question."
COLOURS = {"A": "red", "B": "green", "C": "blue", "D": "white"}
ROWS = 6


def write(folder: Path) -> None:
    """`train.jsonl`, `original_images/original_images.tar.gz`, `images/images.tar.gz00` and `01`, `teacher_images/`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, clean, boxed, crops = [], {}, {}, {}
    for n in range(ROWS):
        x, y = 20 + 37 * n, 150 - 23 * n
        box = (x, y, x + 30, y + 20)
        answer = "ABCD"[n % 4]
        image = scene(n, box, COLOURS[answer])
        clean[f"sa_{1000 + n}.jpg"] = encoded(image, "JPEG")
        framed = image.copy()
        ImageDraw.Draw(framed).rectangle((x - 2, y - 1, x + 31, y + 20), outline="red", width=5)
        boxed[f"{n:032x}.png"] = encoded(framed, "PNG")
        crops[f"{n:06d}_{n:032x}.png"] = encoded(framed.crop(box).resize((66, 44)), "PNG")
        question = f"What is the color of object {n}?"
        options = "\n".join(f"{k}. {v}" for k, v in COLOURS.items())
        closing = "Answer with the option's letter from the given choices."
        full = f"{question}\n\n{options}\n\n{closing}"
        lines.append({
            "images": [f"images/{n:032x}.png"], "teacher_images": [f"teacher_images/{n:06d}_{n:032x}.png"],
            "original_images": [f"original_images/sa_{1000 + n}.jpg"], "bbox": list(box),
            "problem": f"<image>\n{question}\n\n{HINT}\n\n{options}\n\n{closing}", "answer": answer,
            "extra_info": {"question": full if n % 2 else question, "answer": answer},
        })  # fmt: skip
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    write_parts(folder / "original_images" / "original_images.tar.gz", clean, 1, lambda name: f"./{name}")
    write_parts(folder / "images" / "images.tar.gz", boxed, 2, lambda name: f"./{name}")
    write_parts(folder / "teacher_images" / "teacher_images.tar.gz", crops, 1, lambda name: f"./{name}")


def scene(seed: int, box: tuple[int, int, int, int], colour: str) -> Image.Image:
    """Grey noise of 300 x 200 px with one coloured patch."""
    noise = np.random.default_rng(seed).integers(90, 160, (200, 300, 1), dtype=np.uint8).repeat(3, 2)
    image = Image.fromarray(noise)
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=colour)
    return image


def encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def write_parts(path: Path, files: Mapping[str, bytes], parts: int, member: Callable[[str], str]) -> None:
    """A gzip tar, in `parts` files `path` + 00, 01, … that are one stream, or in `path` itself."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(member(name))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    packed = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    size = -(-len(packed) // parts)
    for n in range(parts):
        name = f"{path.name}{n:02d}" if parts > 1 else path.name
        path.with_name(name).write_bytes(packed[n * size : (n + 1) * size])
