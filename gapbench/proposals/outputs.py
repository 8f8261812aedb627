"""The files of `gapbench propose` beside the data.

data.jsonl              what is trained on: image, question, box; no answer
data.proposal.json      the card: model, prompts, settings, counts, estimate
data.audit.jsonl        a line an image: every row with the listed answer, the values of its gates, and what rejected it
data.run.json           the manifest: a call with other settings is refused
data.readings.jsonl     what the model said about the images in progress; gone when they are done
data_images/            images that were no files of their own, or that were not upright
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gapbench.errors import SettingError
from gapbench.runs import records
from gapbench.types import Sample
from gapbench.util.files import replacing, write_text
from gapbench.views import images as decoder

LINE = ("image", "number", "size", "error", "rows")
"""What every line of the audit file has."""


def check(out: Path) -> None:
    """Raises SettingError unless `out` names a JSONL file."""
    if out.suffix != ".jsonl" or out.is_dir():
        raise SettingError(f"--out {out}: expected a file that ends in .jsonl, such as data.jsonl.")


def beside(out: Path, what: str) -> Path:
    """The path of a file that belongs to the data: `beside(Path("data.jsonl"), "run.json")`."""
    return out.with_name(f"{out.stem}.{what}")


def read_audit(out: Path) -> Iterator[dict[str, Any]]:
    """The lines of the audit file, without a torn last one; none if there is no file."""
    path = beside(out, "audit.jsonl")
    yield from records.read_lines(path, LINE) if path.exists() else ()


def kept_rows(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows that passed all gates, each with its image."""
    return [{**row, "image": line["image"], "number": line["number"]}
            for line in lines for row in line["rows"] if not row["rejected"]]  # fmt: skip


def write_data(out: Path, rows: Sequence[Mapping[str, Any]], images: Sequence[Sample]) -> None:
    """Write the training data; images that are no upright files are written beside it."""
    import json

    places: dict[int, str] = {}
    lines = []
    for row in rows:
        number = row["number"]
        if number not in places:
            places[number] = _place(out, number, images[number])
        entry = {"id": row["id"], "image": places[number], "question": row["question"], "bbox": row["bbox"],
                 "bbox_format": "xyxy", "evidence": "model", "category": row["asked"]}  # fmt: skip
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    write_text(out, "".join(lines))


def _place(out: Path, number: int, sample: Sample) -> str:
    """The image as the data name it, relative to their folder."""
    if isinstance(sample.image, str | Path) and not decoder.is_base64(str(sample.image)) and not _turned(sample):
        return os.path.relpath(sample.image, out.parent)
    path = out.with_name(f"{out.stem}_images") / f"{number:06d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with replacing(path) as draft:
            decoder.decode(sample.image, sample.max_image_pixels, sample.upright)[0].save(draft, "PNG")
    return os.path.relpath(path, out.parent)


def _turned(sample: Sample) -> bool:
    """Whether the image as it is used differs from the stored one."""
    from PIL import Image

    if not sample.upright:
        return False
    with Image.open(Path(sample.image)) as stored:
        return int(stored.getexif().get(decoder.ORIENTATION, 1)) != 1
