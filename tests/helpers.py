"""A small benchmark of one's own, written as a user would: images in a folder and a JSONL beside them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

WORDS = ("red", "green", "blue", "yellow")
INK = {"red": (200, 20, 20), "green": (20, 140, 40), "blue": (20, 60, 200), "yellow": (240, 220, 30)}


def write_benchmark(folder: Path, questions: int = 12, per_image: int = 2) -> Path:
    """`mine.jsonl` with yes/no and lettered questions about coloured patches; two questions share an image."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for i in range(questions):
        number = i // per_image
        name = f"scene {number}.png"
        x, y = 10 + 7 * (number % 9), 60 - 5 * (number % 9)
        box = (x, y, x + 24, y + 18)
        colour = WORDS[number % 4]
        if i % per_image == 0:
            noise = np.random.default_rng(number).integers(150, 256, (100, 140, 3), dtype=np.uint8)
            image = Image.fromarray(noise)
            ImageDraw.Draw(image).rectangle((x, y, x + 23, y + 17), fill=INK[colour])
            image.save(folder / name)
        row = {"id": f"q{i}", "image": name, "bbox": list(box), "bbox_format": "xyxy", "category": "patch"}
        if i % per_image:
            row |= {"question": f"Is the small patch {colour}?", "answer": "yes", "answer_type": "yes_no"}
        else:
            row |= {"question": "Which colour is the small patch?", "options": list(WORDS), "answer": colour}
        rows.append(row)
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def edit(path: Path, line: int, **changes: Any) -> None:
    """Change columns of one line (from 0) of a JSONL; a column set to None is removed."""
    rows = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    rows[line] = {k: v for k, v in {**rows[line], **changes}.items() if v is not None}
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


def shown(prepared: Any, view: str) -> tuple[tuple[Any, ...], str]:
    """The images of a view of a prepared sample, and the reason where there are none."""
    from gapbench.views.prepare import show
    from gapbench.views.views import parse_view

    view_shown, error = show(prepared, parse_view(view))
    return view_shown.images, error


SECRET = "hunter2-of-the-user"  # noqa: S105 (planted)
HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "title without end": "\x1b]0;" + 17_000 * "x",
    "link": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "sequence of one byte": "\x9b2J\x9d0;owned\x9c",
    "control characters": "a\x00b\x07c\b\b\x7f\x85d",
    "carriage return": "ok\rgapbench: all is well",
    "direction": "\u202egnp.exe\u202c \u2066a\u2069 \u200e\u200f\u061c",
    "no width": "a\u200bb\u200c\u200d\u2060\ufeff\xadc",
    "separators": "one\u2028two\u2029three",
    "annotation": "\ufff9under\ufffaover\ufffb",
    "tags": "x" + "".join(chr(0xE0000 + ord(c)) for c in "obey"),
    "half a pair": "a\ud800b",
    "markup": "[/bold] <script>alert(1)</script> {0} %s",
    "long": 50_000 * "long ",
    "credential": f"https://me:{SECRET}@host/x.png?id=7&X-Amz-Signature={SECRET}",
}
"""What text of a model, server, data set or library may hold to steer a terminal, by kind."""


def raw(printed: str, longest: int = 2_100) -> list[str]:
    """What must not reach a terminal: invisible characters, lines that are too long, and the credential."""
    found = [f"U+{ord(c):04X}" for c in printed if c not in "\n\t" and unicodedata.category(c) in BLIND]
    found += ["a long line"] if max(map(len, printed.split("\n"))) > longest else []
    return found + (["a credential"] if SECRET in printed else [])


BLIND = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")
