"""FINERS-4k: very small objects in 4K images taken by drones, each with the polygon of its target (FineRS)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from _lettered import letter_of, option_texts
from _reading import field, json_file

from gapbench.data import BenchmarkError, Box, Card, Published, Sample

LABELS = "all_annotations_final_test_v5.json"

CARD = Card(
    name="finers4k",
    title="FINERS-4k: very small objects in 4K drone images (test)",
    source="huggingface.co/datasets/Jiazuo98/Finers-4k-benchmark",
    licence="not known here",
    hub="Jiazuo98/Finers-4k-benchmark",
    files=(f"*{LABELS}", "*all_images.zip"),
    split="test",
    region="padded:factor=1.2,min_side=224",
    box_format="xyxy",
    scoring="letter (option); text (reasoning)",
    reference=(
        Published("FineRS", 83.3, "FineRS paper", part="option", note="reported"),
        Published("FineRS", 56.7, "FineRS paper", part="reasoning", note="reported"),
    ),
    traps=(
        "No revision is pinned, and no counts are expected, because neither is known. Note those of your copy.",
        "The names of the fields (Q-type, Q, A, options, image_path, points) come from two programs that read the "
        "file, not from a description. The loader stops if a field has another name.",
        "The images are an archive of about 18 GB. They are read from all_images.zip, or from a folder beside the "
        "labels.",
        "The evidence box is the smallest box around the polygon `points`. We chose to pad the crop to at least 224 "
        "px.",
        "Questions of the type `referring` ask for a mask and have no answer, so they are left out.",
        "The authors accept an open answer if any of its words is similar to the reference (0.8 by difflib); the text "
        "rule here is stricter.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """`data` holds the labels, and `all_images.zip` or the images, at any depth."""
    labels = sorted(data.rglob(LABELS))
    if len(labels) != 1:
        raise BenchmarkError(f"{data}: found {len(labels)} files {LABELS}; expected one, from {CARD.hub}.")
    images = _images(data)
    content = json_file(labels[0])
    for number, row in enumerate(field(content, "annotations", LABELS) if isinstance(content, Mapping) else content):
        where = f"{LABELS} row {number}"
        row = row["annotations"] if isinstance(row, Mapping) and "annotations" in row else row
        kind = field(row, "Q-type", where)
        if kind == "referring":
            continue
        if kind not in ("option", "reasoning"):
            raise BenchmarkError(f"{where}: its Q-type is {kind!r}; expected option, reasoning or referring.")
        options = option_texts(field(row, "options", where), where) if kind == "option" else ()
        answer = str(field(row, "A", where)).strip()
        yield Sample(
            id=str(number),
            image=_image(images, field(row, "image_path", where), where),
            question=field(row, "Q", where).strip(),
            answers=(letter_of(answer, options, where) if options else answer,),
            options=options,
            answer_type="letter" if options else "text",
            boxes=(_box_around(field(row, "points", where), where),),
            category="/".join(filter(None, (kind, str(row.get("attribute") or "")))),
        )


def _box_around(points: Any, where: str) -> Box:
    try:
        xs, ys = zip(*((float(x), float(y)) for x, y in points), strict=True)
    except (TypeError, ValueError) as error:
        raise BenchmarkError(f"{where}: its points are {str(points)[:120]}; expected a list of x, y pairs.") from error
    return min(xs), min(ys), max(xs), max(ys)


def _images(data: Path) -> dict[str, list[Any]]:
    """The sources of the images by file name: files, or members of the archive."""
    sources: dict[str, list[Any]] = {}
    for path in sorted(data.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            sources.setdefault(path.name, []).append(path)
    for archive in () if sources else sorted(data.rglob("all_images.zip")):
        with zipfile.ZipFile(archive) as members:
            for member in members.namelist():
                sources.setdefault(member.rpartition("/")[2], []).append(partial(_member, archive, member))
    if not sources:
        raise BenchmarkError(f"{data}: found neither images nor all_images.zip. Expected the files of {CARD.hub}.")
    return sources


def _member(archive: Path, member: str) -> bytes:
    with zipfile.ZipFile(archive) as members:
        return members.read(member)


def _image(images: Mapping[str, list[Any]], path: str, where: str) -> Any:
    candidates = images.get(path.rpartition("/")[2], [])
    if len(candidates) != 1:
        raise BenchmarkError(f"{where}: found {len(candidates)} images called {path!r}; expected one.")
    return candidates[0]
