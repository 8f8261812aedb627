"""Visual-CoT benchmark: questions on documents, scene text and photographs, one box each (arXiv:2403.16999).

Annotations come with the code's repository, twice: as dialogues (`benchmark/*.json`, which have the answers) and as
boxes (`benchmark_det/*.jsonl`, which have the clean questions and the image's size). Both are read and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from _reading import boxes_of, field, json_file, json_lines

from gapbench.errors import BenchmarkError, SampleError
from gapbench.types import AnswerType, Box, Card, Sample
from gapbench.views.images import stored_size

DOCUMENTS = ("docvqa", "infographicsvqa", "dude", "sroie")
HEADLINE = ("docvqa", "infographicsvqa", "textvqa", "textcap", "dude", "sroie")
SUBSETS = (*HEADLINE, "gqa", "flickr30k", "openimages", "cub", "vsr", "visual7w", "emotic")
LARGEST = {"dude": 100_000_000}
"""Pixels; the largest page of DUDE has 8,400 x 11,200."""

CARD = Card(
    name="viscot",
    title="Visual-CoT: documents, infographics, receipts and scene text with small evidence",
    source="github.com/deepcs233/Visual-CoT (annotations); images: huggingface.co/datasets/deepcs233/Visual-CoT",
    licence="code and annotations Apache-2.0; images as in each source",
    restricted="Images keep the licences of DocVQA, InfographicVQA, TextVQA, DUDE, SROIE and the others; some of "
    "these ask for registration. The authors offer the data for research only.",
    split="val",
    region="square",
    box_format="xyxy",
    scoring="anls (documents); text (others)",
    metrics=("category_mean",),
    expected={
        "samples": 3916,
        "with evidence box": 3916,
        "docvqa": 888,
        "infographicsvqa": 360,
        "textvqa": 526,
        "textcap": 853,
        "dude": 603,
        "sroie": 686,
        "repair: empty": 30,
        "repair: outside": 32,
    },
    traps=(
        "There is no Hub data set to fetch: clone the repository and put the images into playground/data/cot/ as its "
        "README says, or name their folder: -b viscot=/repo:images=/images (the folder that holds cot/).",
        "The box in the dialogue is normalised to the image padded to a square: times width and height it is wrong "
        "for all others. Boxes are read from benchmark_det and compared with the text behind ### in the dialogue "
        "file, where fractions of pixels are cut off.",
        "The default is the six subsets with small evidence; subsets=gqa+cub picks others, subsets=all takes all 13.",
        "Eight boxes of docvqa have no size (question_id 128, 175, 263, 377, 378, 419, 491, 773), and of the 32 of "
        "dude that leave their page 22 lie wholly outside: these 30 have no crop. They look like boxes of another "
        "page size; others of dude may be off without showing it.",
        "Images one collects oneself may have other sizes than the annotated ones; such samples fail, as the box "
        "would show something else.",
        "textcap uses the images of textvqa; visual7w calls its folder cot/v7w in one file and cot/visual7w in the "
        "other: both are tried.",
        "One reference answer per question, although the sources have several. The paper lets GPT-3.5 rate answers "
        "from 0 to 1; here documents are scored by ANLS, the others by text: scores do not compare.",
        "Pages of dude have up to 94 megapixels.",
    ),
)


def samples(data: Path, subsets: str = "+".join(HEADLINE), images: str = "") -> Iterator[Sample]:
    """`data` is the repository; `images` the folder that holds `cot/`, unless that is playground/data or `data`."""
    chosen = SUBSETS if subsets == "all" else tuple(subsets.split("+"))
    if unknown := [name for name in chosen if name not in SUBSETS]:
        raise BenchmarkError(f"viscot: subsets={'+'.join(unknown)} is unknown. Known are {'+'.join(SUBSETS)}, or all.")
    roots = [Path(images).expanduser()] if images else [data / "playground" / "data", data]
    roots = [root for root in roots if (root / "cot").is_dir()]
    if not roots:
        where = images or f"{data} or its playground/data"
        raise BenchmarkError(f"viscot: found no folder cot/ with images in {where}. Set images=FOLDER. {CARD.traps[0]}")
    sized = cache(partial(partial, _image))  # one function per image, which tells that questions share it
    for subset in chosen:
        yield from _subset(data / "viscot_benchmark", subset, roots, sized)


def _subset(
    folder: Path, subset: str, roots: list[Path], sized: Callable[[Path, int, int], Callable[[], Path]]
) -> Iterator[Sample]:
    boxed = {row.get("question_id"): row for row in json_lines(folder / "benchmark_det" / f"{subset}.jsonl")}
    kind: AnswerType = "anls" if subset in DOCUMENTS else "text"
    for row in json_file(folder / "benchmark" / f"{subset}.json"):
        where = f"{subset}/{field(row, 'question_id', f'benchmark/{subset}.json')}"
        det = boxed.get(row["question_id"])
        if det is None:
            raise BenchmarkError(f"{where}: it is not in benchmark_det/{subset}.jsonl. Take both files of one commit.")
        named, marked = field(row, "image", where)
        boxes = boxes_of(field(det, "bbox", where), where)
        _compare(boxes, boxes_of(marked.partition("###")[2], where), where)
        candidates = [root / name for name in (named, field(det, "img_path", where)) for root in roots]
        path = next(filter(Path.is_file, candidates), candidates[0])
        yield Sample(
            id=where,
            image=sized(path, field(det, "width", where), field(det, "height", where)),
            question=field(det, "expression", where).strip(),
            answers=(_answer(row, where),),
            answer_type=kind,
            boxes=boxes,
            category=subset,
            max_image_pixels=LARGEST.get(subset, 0),
        )


def _compare(boxes: tuple[Box, ...], marked: tuple[Box, ...], where: str) -> None:
    """One of the two files cuts off fractions of pixels."""
    apart = [abs(a - b) for pair in zip(boxes, marked, strict=False) for a, b in zip(*pair, strict=True)]
    if not len(boxes) == len(marked) == 1 or max(apart) > 1:
        raise BenchmarkError(
            f"{where}: its box is {boxes} in benchmark_det and {marked} in benchmark. Expected the same, once."
        )


def _answer(row: Mapping[str, Any], where: str) -> str:
    turns = field(row, "conversations", where)
    if len(turns) != 4:
        raise BenchmarkError(f"{where}: found {len(turns)} turns; expected four, the answer last.")
    return str(field(turns[3], "value", where)).strip()


def _image(path: Path, width: int, height: int) -> Path:
    """The image, unless it has another size than the one its box refers to."""
    found = stored_size(path)
    if found != (width, height):
        raise SampleError(
            f"image {path}: it has {found[0]} x {found[1]} px, and its box refers to {width} x {height} px. Take the "
            "image of the Visual-CoT archives."
        )
    return path
