"""ZoomBench: fine details in photographs, each with the crop that shows them (inclusionAI, "Zooming without Zooming").

The reference for measuring a gap: the same query on `image` and on the published `crop_image`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from _lettered import is_option, letter_of, split_options
from _reading import boxes_of

from gapbench.data import AnswerType, BenchmarkError, Card, Protocol, Published, Sample, read_rows

CARD = Card(
    name="zoombench",
    title="ZoomBench: fine-grained perception, full image against published crop",
    source="huggingface.co/datasets/inclusionAI/ZoomBench; code github.com/inclusionAI/Zooming-without-Zooming",
    licence="Apache-2.0",
    hub="inclusionAI/ZoomBench",
    revision="b788097e57d30510c6877824833234a73bf80d25",
    files=("data/test.parquet",),
    split="test",
    region="native",
    box_format="xyxy",
    scoring="letter (mcq); number or text (blank)",
    protocols={
        "original": Protocol(
            prompt="You are a helpful assistant.\n The assistant first thinks about the reasoning process in the "
            "mind and then provides the user with the answer. The answer are enclosed within <answer> </answer> "
            "tags, respectively, i.e., reasoning process here <answer> answer here </answer>\n{published}",
            source="inclusionAI/Zooming-without-Zooming mm-eval/infer_without_tool.py",
            note="Their system prompt stands before the query here. They sample (temperature 0.7, top_p 0.8, top_k "
            "20, presence penalty 1.5, 8,192 new tokens, up to 16,777,216 pixels), and Qwen3-30B-A3B judges what is "
            "not equal.",
        ),
        "vision-opd": Protocol(
            prompt="{published}",
            source="VisionOPD/Vision-OPD eval/prepare_data.py",
            note="Greedy. They let gpt-oss-120b judge most answers, letters included; here rules alone decide.",
        ),
    },
    expected={"samples": 845, "with a crop of its own": 845, "mcq": 621, "blank": 224},
    reference=(
        Published("Qwen3-VL-8B", 37.87, "ZwZ paper", protocol="original"),
        Published("Qwen3-VL-8B", 63.08, "ZwZ paper", view="crop", protocol="original"),
        Published("Qwen3-VL-8B", 25.21, "ZwZ paper", view="gap", protocol="original"),
        Published("ZwZ-8B", 58.11, "ZwZ paper", protocol="original"),
        Published("ZwZ-8B", 15.26, "ZwZ paper", view="gap", protocol="original"),
        Published("Qwen2.5-VL-7B", 42.49, "ZwZ paper", protocol="original"),
        Published("Qwen3.5-4B", 47.69, "Vision-OPD paper", protocol="vision-opd"),
        Published("Qwen3.5-4B", 48.88, "WormLK reproduction"),
        Published("Qwen3.5-4B", 51.24, "reported", note="with a thinking prompt"),
        Published("Qwen3.5-4B", 67.93, "reported", view="crop", note="with a thinking prompt"),
        Published("Qwen3.5-4B", 16.69, "reported", view="gap", note="with a thinking prompt"),
        Published("Qwen3.5-9B", 52.07, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-4B", 59.76, "Vision-OPD paper", protocol="vision-opd"),
        Published("Vision-OPD-9B", 65.8, "Vision-OPD paper", protocol="vision-opd"),
    ),
    traps=(
        "A published crop may differ from the image inside the box: about 58 % are reported to be enlarged twofold. "
        "The headline uses the crop as published; --region union cuts the box itself, which is another condition.",
        "Programs that read the pinned release use the columns bbox and question_type, but other copies lack them. "
        "Without boxes only `native` can be measured. Without question_type, a question with lettered options and a "
        "letter as its answer counts as mcq.",
        "The columns are called query and response, and in an older release prompt and answer.",
        "Options are part of the query. If they are lettered lines at its end, the loader separates them, so that the "
        "neutral prompt is the same as for other benchmarks. Any other query is sent unchanged.",
        "492 of the 621 lettered queries reportedly contain 'Answer with the option's letter from the given choices.', "
        "the others do not. The neutral prompt treats all alike; the protocols keep each query as published.",
        "The mirror mm-eval/ZoomBench holds re-encoded images, so its scores are not comparable.",
        "Some images have transparency, and file names do not tell the format.",
        "Published scores count what a judge accepts; rules are stricter on the 224 open questions. One question is "
        "0.12 points.",
    ),
)


_INSTRUCTION = re.compile(
    r"\s*Answer with the option'?s? letter from the given choices( directly)?\.?\s*\Z", re.IGNORECASE
)


def samples(data: Path) -> Iterator[Sample]:
    """`data` holds `data/test.parquet`."""
    path = data / "data" / "test.parquet"
    for number, row in enumerate(read_rows(path, lazy=("image", "crop_image"))):
        name = str(row["id"]) if row.get("id") is not None else str(number)
        where = f"{path.name} row {number} ({name})"
        query = _first(row, ("query", "prompt"), where).replace("<image>", "").strip()
        response = _first(row, ("response", "answer"), where).strip()
        question, options, after = split_options(_INSTRUCTION.sub("", query))
        kind = str(row.get("question_type") or _kind(response, options)).casefold()
        if kind not in ("mcq", "blank"):
            raise BenchmarkError(f"{where}: its question_type is {kind!r}; expected mcq or blank.")
        lettered = kind == "mcq" and bool(question and options and not after) and is_option(response, options)
        options = options if lettered else ()
        yield Sample(
            id=name,
            image=row["image"],
            question=question if lettered else query,
            answers=(letter_of(response, options, where) if kind == "mcq" else response,),
            options=options,
            answer_type="letter" if kind == "mcq" else _open(response),
            boxes=boxes_of(row.get("bbox"), where),
            category=kind,
            crop_image=row["crop_image"],
            published=query,
        )


def _first(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> str:
    for name in names:
        if row.get(name) is not None:
            return str(row[name])
    raise BenchmarkError(f"{where}: found neither {' nor '.join(map(repr, names))}. It has {', '.join(row)}.")


def _kind(response: str, options: tuple[str, ...]) -> str:
    return "mcq" if options and re.fullmatch(r"\(?[A-Z]\)?[.:]?", response) else "blank"


def _open(response: str) -> AnswerType:
    return "number" if re.fullmatch(r"-?\d+(\.\d+)?", response) else "text"
