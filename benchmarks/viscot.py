"""Visual-CoT benchmark: questions on documents, scene text and photographs, one box each (arXiv:2403.16999).

The repository of the code holds the annotations in two forms: dialogues with the answers (`benchmark/*.json`), and
boxes with the clean questions and the image sizes (`benchmark_det/*.jsonl`). The loader reads and compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from _reading import boxes_of, field, json_file, json_lines

from gapbench.data import AnswerType, BenchmarkError, Box, Card, Sample, SampleError, inside, stored_size

DOCUMENTS = ("docvqa", "infographicsvqa", "dude", "sroie")
HEADLINE = ("docvqa", "infographicsvqa", "textvqa", "textcap", "dude", "sroie")
SUBSETS = (*HEADLINE, "gqa", "flickr30k", "openimages", "cub", "vsr", "visual7w", "emotic")
LARGEST = {"dude": 100_000_000}
"""Pixel limits; the largest page of DUDE has 8,400 x 11,200 pixels."""

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
        "repair: swapped": 8,
    },
    traps=(
        "There is no Hub data set to fetch: clone the repository and put the images into playground/data/cot/ as its "
        "README says, or name their folder: -b viscot=/repo:images=/images (the folder that holds cot/).",
        "The box in the dialogue is normalised to the image padded to a square. Multiplied by width and height it is "
        "wrong for every image that is not square. Boxes are read from benchmark_det and compared with the text after "
        "### in the dialogue file, where fractions of pixels are cut off.",
        "The default is the six subsets with small evidence; subsets=gqa+cub picks others, subsets=all takes all 13.",
        "Eight boxes of docvqa have no size (question_id 128, 175, 263, 377, 378, 419, 491, 773). In dude, 32 boxes "
        "leave their page, and 22 of these lie entirely outside. These 30 samples have no crop. The boxes of dude look "
        "like those of another page size; others may be wrong, too, without leaving the page.",
        "Images from other sources may differ in size from the annotated ones. Such samples fail, because the box "
        "would show something else.",
        "textcap uses the images of textvqa. visual7w calls its folder cot/v7w in one file and cot/visual7w in the "
        "other: both are tried.",
        "Each question has one reference answer, although the sources have several. The paper lets GPT-3.5 rate "
        "answers from 0 to 1; here documents are scored by ANLS and the others by text, so scores are not comparable.",
        "Pages of dude have up to 94 megapixels.",
    ),
)


def samples(data: Path, subsets: str = "+".join(HEADLINE), images: str = "") -> Iterator[Sample]:
    """`data` is the repository; `images` the folder that holds `cot/`, unless that is playground/data or `data`."""
    subset_names = SUBSETS if subsets == "all" else tuple(subsets.split("+"))
    if unknown := [name for name in subset_names if name not in SUBSETS]:
        raise BenchmarkError(f"viscot: subsets={'+'.join(unknown)} is unknown. Known are {'+'.join(SUBSETS)}, or all.")
    roots = [Path(images).expanduser()] if images else [data / "playground" / "data", data]
    roots = [root for root in roots if (root / "cot").is_dir()]
    if not roots:
        where = images or f"{data} or its playground/data"
        raise BenchmarkError(f"viscot: found no folder cot/ with images in {where}. Set images=FOLDER. {CARD.traps[0]}")
    image_of = cache(partial(partial, _image))  # one function per image, so that samples of one image are one cluster
    for subset in subset_names:
        yield from _subset(data / "viscot_benchmark", subset, roots, image_of)


def _subset(
    folder: Path, subset: str, roots: list[Path], image_of: Callable[[Path, int, int], Callable[[], Path]]
) -> Iterator[Sample]:
    boxed = {row.get("question_id"): row for row in json_lines(folder / "benchmark_det" / f"{subset}.jsonl")}
    kind: AnswerType = "anls" if subset in DOCUMENTS else "text"
    for row in json_file(folder / "benchmark" / f"{subset}.json"):
        where = f"{subset}/{field(row, 'question_id', f'benchmark/{subset}.json')}"
        det = boxed.get(row["question_id"])
        if det is None:
            raise BenchmarkError(f"{where}: it is not in benchmark_det/{subset}.jsonl. Take both files of one commit.")
        image_name, box_text = field(row, "image", where)
        boxes = boxes_of(field(det, "bbox", where), where)
        _check_equal(boxes, boxes_of(box_text.partition("###")[2], where), where)
        candidates = [inside(root, name) for name in (image_name, field(det, "img_path", where)) for root in roots]
        path = next(filter(Path.is_file, candidates), candidates[0])
        yield Sample(
            id=where,
            image=image_of(path, field(det, "width", where), field(det, "height", where)),
            question=field(det, "expression", where).strip(),
            answers=(_answer(row, where),),
            answer_type=kind,
            boxes=boxes,
            category=subset,
            max_image_pixels=LARGEST.get(subset, 0),
        )


def _check_equal(boxes: tuple[Box, ...], rounded: tuple[Box, ...], where: str) -> None:
    """Raise BenchmarkError unless each file has one box, and both agree within the pixel that one file cuts off."""
    differences = [abs(a - b) for pair in zip(boxes, rounded, strict=False) for a, b in zip(*pair, strict=True)]
    if not len(boxes) == len(rounded) == 1 or max(differences) > 1:
        raise BenchmarkError(
            f"{where}: its box is {boxes} in benchmark_det and {rounded} in benchmark. Expected one box, the same in "
            "both."
        )


def _answer(row: Mapping[str, Any], where: str) -> str:
    turns = field(row, "conversations", where)
    if len(turns) != 4:
        raise BenchmarkError(f"{where}: found {len(turns)} turns; expected four, the answer last.")
    return str(field(turns[3], "value", where)).strip()


def _image(path: Path, width: int, height: int) -> Path:
    """The path of the image. Raises SampleError if the image has not the size that its box refers to."""
    size = stored_size(path)
    if size != (width, height):
        raise SampleError(
            f"image {path}: it has {size[0]} x {size[1]} px, and its box refers to {width} x {height} px. Take the "
            "image of the Visual-CoT archives."
        )
    return path
