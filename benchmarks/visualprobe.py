"""VisualProbe: small things in large images at three levels of difficulty, by the authors of Mini-o3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from _reading import field, json_lines

from gapbench.data import BenchmarkError, Card, Protocol, Published, Sample

LEVELS = ("easy", "medium", "hard")

CARD = Card(
    name="visualprobe",
    title="VisualProbe: visual search at three levels of difficulty",
    source="Mini-o3, github.com/Mini-o3/Mini-o3",
    licence="CC BY-NC 4.0, research use, by the README of Mini-o3; the data set pages state none",
    role="full-view",
    hub="Mini-o3/VisualProbe_Easy, Mini-o3/VisualProbe_Medium, Mini-o3/VisualProbe_Hard",
    revision=(
        "0e665a57946d4473deb9975a13f8ddba973b8026, 25d5ff5bce48147be34fd2655617ab17dc55b3fa, "
        "bbe9b7a6c41d49844f45e51916ec0a60d1f0e378"
    ),
    files=("val.json", "data/*"),
    split="validation",
    scoring="text, by normalised match; the level mean gives easy, medium and hard equal weight",
    cluster="image",
    restricted="non-commercial research only (CC BY-NC 4.0)",
    metrics=("category_mean",),
    protocols={
        "vision-opd": Protocol(
            prompt="{question}",
            metric="category_mean",
            source="VisionOPD/Vision-OPD eval/ at c2e345f; other commits have no VisualProbe",
            note=(
                "The mean of the three levels. Theirs is graded by an LLM judge, ours by normalised match: longer "
                "answers score lower here."
            ),
        )
    },
    expected={"samples": 515, "easy": 141, "medium": 268, "hard": 106},
    reference=(
        Published("Mini-o3", 67.0, "Mini-o3 README", part="easy", note="LLM judge; many turns, mean of 32 answers"),
        Published("Mini-o3", 50.4, "Mini-o3 README", part="medium", note="LLM judge; many turns, mean of 32 answers"),
        Published("Mini-o3", 48.0, "Mini-o3 README", part="hard", note="LLM judge; many turns, mean of 32 answers"),
        Published("Qwen2.5-VL-7B", 39.1, "Mini-o3 README", part="easy", note="LLM judge"),
        Published("Qwen2.5-VL-7B", 26.0, "Mini-o3 README", part="medium", note="LLM judge"),
        Published("Qwen2.5-VL-7B", 23.9, "Mini-o3 README", part="hard", note="LLM judge"),
    ),
    checked="the 106 hard questions and answers, m-Just/InSight-o3 @ 21acec8 (2026-11); no images",
    traps=(
        "The benchmark is three data sets of the Hub. A local copy is a folder that holds VisualProbe_Easy, "
        "VisualProbe_Medium and VisualProbe_Hard.",
        "Image paths begin with the data set's name, questions with <image>, and answers end with a full stop: all "
        "three are removed.",
        "Published scores come from an LLM judge and, for Mini-o3, from many turns with zooming, averaged over 32 "
        "answers. The authors have no single-turn protocol.",
        "It is not certain whether val.json is one list or has one object per line: both are read.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    for level in LEVELS:
        folder = data / f"VisualProbe_{level.capitalize()}"
        for number, row in enumerate(_rows(folder / "val.json"), 1):
            where = f"{folder.name}/val.json row {number}"
            problem = str(field(row, "problem", where))
            yield Sample(
                id=f"{level}-{field(row, 'doc_id', where)}",
                image=folder / _image_path(field(row, "images", where), where),
                question=problem.strip().removeprefix("<image>").strip(),
                answers=(str(field(row, "solution", where)).strip().removesuffix("."),),
                category=level,
            )


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        content = None
    return content if isinstance(content, list) else json_lines(path)  # raises the error of an unreadable file


def _image_path(images: Any, where: str) -> PurePosixPath:
    """`["VisualProbe_Hard/data/7.jpg"]` -> data/7.jpg, never outside the data set's folder."""
    name = images[0] if isinstance(images, list) and len(images) == 1 else images
    path = PurePosixPath(str(name))
    if not isinstance(name, str) or "data" not in path.parts or ".." in path.parts:
        raise BenchmarkError(f"{where}: its images are {images!r}; expected one path with data/ in it.")
    return PurePosixPath(*path.parts[path.parts.index("data") :])
