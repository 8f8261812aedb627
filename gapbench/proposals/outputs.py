"""The files of `gapbench propose` beside the data.

data.jsonl              what is trained on: image, question, box; no answer
data.proposal.json      the card: model, prompts, settings, counts, estimate
data.audit.jsonl        a line an image: every row with the listed answer, the values of its gates, and what rejected it
data.run.json           the manifest: a call with other settings is refused
data.readings.jsonl     what the model said about images that are not done; gone when all are
data_images/            images that were no files of their own, or that were not upright, named by their pixels
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gapbench.errors import SettingError
from gapbench.runs import records
from gapbench.runs.manifest import read_manifest
from gapbench.types import Sample
from gapbench.util.files import replacing, write_text
from gapbench.views import images as decoder

LINE = ("image", "number", "size", "error", "rows", "fault", "no_listing_such_as")
"""What every line of the audit file has."""


def check(out: Path, sheet: Path | None = None) -> None:
    """Raises SettingError unless `out` is a JSONL file that can be made or is ours, and `sheet` an HTML file.

    Ours is what has a manifest of `gapbench propose` beside it. Raises RunError for a manifest that is damaged.
    """
    if out.suffix != ".jsonl" or out.is_dir():
        raise SettingError(f"--out {out}: expected a file that ends in .jsonl, such as data.jsonl.")
    place = next((parent for parent in out.parents if parent.exists()), None)
    if place and not place.is_dir():
        raise SettingError(f"--out {out}: {place} is a file. Expected a folder there; choose another --out.")
    if sheet and (sheet.suffix.lower() not in (".html", ".htm") or sheet.is_dir()):  # so it is none of the other files
        raise SettingError(f"--sheet {sheet}: expected a file that ends in .html, such as sheet.html.")
    manifest = beside(out, "run.json")
    if out.exists() and not (manifest.exists() and (read_manifest(manifest).model_extra or {}).get("proposer")):
        raise SettingError(
            f"--out {out}: it exists, and no {manifest.name} beside it says that gapbench propose made it. Nothing was "
            "touched. Choose another --out, or move the file away."
        )


def beside(out: Path, what: str) -> Path:
    """The path of a file that belongs to the data: `beside(Path("data.jsonl"), "run.json")`."""
    return out.with_name(f"{out.stem}.{what}")


def read_audit(out: Path) -> Iterator[dict[str, Any]]:
    """The lines of the audit file, without a torn last one; none if there is no file.

    One may be of an image that an earlier line has as well: its failed readings were asked again, and the last counts.
    """
    path = beside(out, "audit.jsonl")
    yield from records.read_lines(path, LINE) if path.exists() else ()


def sort_audit(out: Path) -> list[dict[str, Any]]:
    """The last line of each image, in the order of the images; the file is written anew if it has others."""
    lines = list(read_audit(out))
    last = {line["number"]: line for line in lines}
    chosen = [last[number] for number in sorted(last)]
    if chosen != lines:
        write_text(beside(out, "audit.jsonl"), "".join(json.dumps(line) + "\n" for line in chosen))
    return chosen


def kept_rows(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows that passed all gates, each with its image."""
    return [{**row, "image": line["image"], "number": line["number"]}
            for line in lines for row in line["rows"] if not row["rejected"]]  # fmt: skip


def write_data(out: Path, rows: Sequence[Mapping[str, Any]], images: Sequence[Sample]) -> None:
    """Write the training data; images that are no upright files are written beside it."""
    places: dict[int, str] = {}
    lines = []
    for row in rows:
        number = row["number"]
        if number not in places:
            places[number] = _place(out, images[number])
        entry = {"id": row["id"], "image": places[number], "question": row["question"], "bbox": row["bbox"],
                 "bbox_format": "xyxy", "evidence": "model", "category": row["asked"]}  # fmt: skip
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    write_text(out, "".join(lines))


def _place(out: Path, sample: Sample) -> str:
    """The image as the data name it, relative to their folder as it is without links: `..` leads out of that one."""
    if isinstance(sample.image, str | Path) and not decoder.is_base64(str(sample.image)) and not _turned(sample):
        return os.path.relpath(Path(sample.image).resolve(), out.parent.resolve())
    image = decoder.decode(sample.image, sample.max_image_pixels, sample.upright)[0]
    name = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()[:24]
    path = out.with_name(f"{out.stem}_images") / f"{name}.png"
    if not path.exists():
        with replacing(path) as draft:
            image.save(draft, "PNG")
    return os.path.relpath(path, out.parent)


def _turned(sample: Sample) -> bool:
    """Whether the image as it is used differs from the stored one."""
    from PIL import Image

    if not sample.upright:
        return False
    with Image.open(Path(sample.image)) as stored:
        return int(stored.getexif().get(decoder.ORIENTATION, 1)) != 1
