"""FINERS-4k: very small objects in 4K images taken by drones, each with the polygon of its target (FineRS)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from _lettered import letter_of, texts
from _reading import field, json_file

from gapbench.errors import BenchmarkError
from gapbench.types import Box, Card, Sample

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
    reference={"FineRS": "83.3 option, 56.7 reasoning (FineRS paper, reported)"},
    traps=(
        "No revision is pinned, and no counts are expected: neither is known here. Note those of your copy.",
        "The spelling of the fields (Q-type, Q, A, options, image_path, points) is that of two programs which read the "
        "file, not of a description. The loader stops at any other.",
        "The images are an archive of about 18 GB. They are read from all_images.zip, or from a folder beside the "
        "labels.",
        "The box is the smallest around the polygon `points`. That the crop is padded to at least 224 px is our "
        "choice.",
        "Questions of the type `referring` ask for a mask and have no answer: they are left out.",
        "The authors accept any word of an open answer that is similar to the reference (0.8 by difflib); the text "
        "rule here is stricter.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """`data` holds the labels, and `all_images.zip` or its images, at any depth."""
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
        options = texts(field(row, "options", where), where) if kind == "option" else ()
        answer = str(field(row, "A", where)).strip()
        yield Sample(
            id=str(number),
            image=_image(images, field(row, "image_path", where), where),
            question=field(row, "Q", where).strip(),
            answers=(letter_of(answer, options, where) if options else answer,),
            options=options,
            answer_type="letter" if options else "text",
            boxes=(_around(field(row, "points", where), where),),
            category="/".join(filter(None, (kind, str(row.get("attribute") or "")))),
        )


def _around(points: Any, where: str) -> Box:
    try:
        xs, ys = zip(*((float(x), float(y)) for x, y in points), strict=True)
    except (TypeError, ValueError) as error:
        raise BenchmarkError(f"{where}: its points are {str(points)[:120]}; expected a list of x, y pairs.") from error
    return min(xs), min(ys), max(xs), max(ys)


def _images(data: Path) -> dict[str, list[Any]]:
    """What reads each image, by its file's name: files, or members of the archive."""
    found: dict[str, list[Any]] = {}
    for path in sorted(data.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            found.setdefault(path.name, []).append(path)
    for archive in () if found else sorted(data.rglob("all_images.zip")):
        with zipfile.ZipFile(archive) as members:
            for member in members.namelist():
                found.setdefault(member.rpartition("/")[2], []).append(partial(_member, archive, member))
    if not found:
        raise BenchmarkError(f"{data}: found neither images nor all_images.zip. Expected the files of {CARD.hub}.")
    return found


def _member(archive: Path, member: str) -> bytes:
    with zipfile.ZipFile(archive) as members:
        return members.read(member)


def _image(images: Mapping[str, list[Any]], named: str, where: str) -> Any:
    candidates = images.get(named.rpartition("/")[2], [])
    if len(candidates) != 1:
        raise BenchmarkError(f"{where}: found {len(candidates)} images called {named!r}; expected one.")
    return candidates[0]
