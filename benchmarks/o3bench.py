"""O3-Bench: large charts and maps, with evidence in several distant places (InSight-o3, arXiv:2512.18745).

The evidence boxes are those of the layouts (parts of the page) that the answer needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from _lettered import letter_of, option_texts
from _reading import boxes_of, field, json_lines

from gapbench.data import BenchmarkError, Card, Protocol, Published, Sample, inside

METADATA = Path("test", "metadata.jsonl")

CARD = Card(
    name="o3bench",
    title="O3-Bench: reasoning over distant parts of large charts and maps",
    source="huggingface.co/datasets/m-Just/O3-Bench; code github.com/m-Just/InSight-o3",
    licence="not known here",
    hub="m-Just/O3-Bench",
    files=(METADATA.as_posix(), "test/images/*"),
    split="test",
    region="multi",
    box_format="xyxy",
    scoring="letter",
    protocols={
        "original": Protocol(
            prompt="{published}",
            source="m-Just/InSight-o3 insight_o3/scripts/evaluate.py",
            note="They average three trials of 16,384 new tokens, shrink images to 3,500 x 3,500 px (GPT: about "
            "1,280 x 1,280) and let gpt-5-nano read the letter.",
        )
    },
    reference=(
        Published("o3", 40.8, "InSight-o3 README"),
        Published("GPT-5-mini", 39.0, "InSight-o3 README"),
        Published("Gemini-2.5-Flash", 60.4, "InSight-o3 README"),
    ),
    traps=(
        "No revision is pinned, and no counts are expected, because neither is known. Note those of your copy.",
        "Evidence lies in several distant places. Their union is often the entire page, so the region is one crop per "
        "layout (--region mosaic combines the crops into one image).",
        "The last option says that none of the others is right.",
        "Boxes are those of the layouts in target_layouts, in pixels of the stored image (img_width x img_height).",
        "Questions take several steps of reasoning: a wrong answer on the crops need not be a failure to see.",
    ),
)


def samples(data: Path) -> Iterator[Sample]:
    """`data` holds `test/metadata.jsonl` and the images it names."""
    for number, row in enumerate(json_lines(data / METADATA)):
        where = f"{METADATA.name} row {number}"
        question, lettered = field(row, "question", where).strip(), field(row, "options", where)
        options = option_texts(lettered, where)
        layouts = {str(name): info for name, info in field(row, "layout_infos", where).items()}
        targets = [str(name) for name in field(row, "target_layouts", where)]
        if missing := [name for name in targets if name not in layouts]:
            raise BenchmarkError(
                f"{where}: layouts {', '.join(missing)} are not in layout_infos ({', '.join(layouts)})."
            )
        yield Sample(
            id=str(number),
            image=inside(data / METADATA.parent, field(row, "file_name", where)),
            question=question,
            answers=(letter_of(field(row, "answer", where), options, where),),
            options=options,
            answer_type="letter",
            boxes=tuple(box for name in targets for box in boxes_of(field(layouts[name], "bbox", where), where)),
            category=field(row, "subset", where),
            published=f"{question}\n{lettered}",
        )
