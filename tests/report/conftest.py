"""Example runs for the tests of the report: synthetic records, drawn images and a matching summary.

Everything is seeded, so the same call gives the same run on every machine.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image, ImageDraw

from gapbench.report.run.page import write_report
from gapbench.runs.thumbnails import save_thumbnail, thumbnail_key
from gapbench.types import Record

CHANCE = {"full": 0.45, "crop": 0.85}
SIZE = (1600, 1000)


@dataclass(frozen=True)
class ExampleRun:
    """The contents of a run folder, in memory."""

    folder: Path
    summary: dict[str, Any]
    run: dict[str, Any]
    records: list[Record]

    @property
    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}
                for row in map(dataclasses.asdict, self.records)
            ],
            columns=[field.name for field in dataclasses.fields(Record)],
        )

    def with_records(self, change: Callable[[Record], Record]) -> ExampleRun:
        return replace(self, records=[change(record) for record in self.records])

    def write(self, *, images: bool = True) -> tuple[str, str]:
        """Write the report and return its HTML and its Markdown."""
        write_report(self.folder, summary=self.summary, manifest=self.run, records=self.frame, images=images)
        return tuple((self.folder / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))  # type: ignore[return-value]


MakeRun = Callable[..., ExampleRun]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(benchmarks: Sequence[str] = ("signs",), samples: int = 24, *, thumbnails: int = 8) -> ExampleRun:
        records = [record for name in benchmarks for record in example_records(name, samples)]
        draw_thumbnails(tmp_path, benchmarks, samples, thumbnails)
        return ExampleRun(tmp_path, example_summary(records), example_settings(benchmarks), records)

    return make


def example_records(benchmark: str, samples: int) -> list[Record]:
    """Full and crop view of every sample. In the full view the last sample failed and the last but one is unparsed."""
    chance = random.Random(benchmark)
    records = []
    for index in range(samples):
        side = 8 * 2 ** (index % 6)
        x, y = chance.randrange(SIZE[0] - side), chance.randrange(SIZE[1] - side)
        box = (float(x), float(y), float(x + side), float(y + side))
        for view in ("full", "crop"):
            outcome = "right" if chance.random() < CHANCE[view] else "wrong"
            if view == "full" and index >= samples - 2:
                outcome = "failed" if index == samples - 1 else "unparsed"
            records.append(example_record(benchmark, index, view, outcome, box))
    return records


def example_record(benchmark: str, index: int, view: str, outcome: str, box: tuple[float, ...]) -> Record:
    letter = {"right": "A", "wrong": "C"}.get(outcome)
    side = int(box[2] - box[0])
    return Record(
        benchmark=benchmark,
        sample=f"{index:03d}",
        view=view,
        repeat=0,
        outcome=outcome,  # type: ignore[arg-type]
        score=None if outcome == "failed" else float(outcome == "right"),
        output={"right": "It is round: (A).", "wrong": "Three corners: (C).", "unparsed": "Hard to say."}.get(
            outcome, ""
        ),
        parsed=letter,
        rule="" if letter is None else "parenthesised letter",
        reason={"failed": "the engine timed out", "unparsed": "no letter found"}.get(outcome, ""),
        question=f"What does the small sign number {index} show?",
        options=("a circle", "a square", "a triangle", "a star"),
        answers=("A",),
        answer_type="letter",
        category=("shape", "colour", "text")[index % 3],
        cluster=f"image-{index // 2}",
        image_hash=f"{index // 2:016x}",
        image_size=SIZE,
        boxes=(box,),  # type: ignore[arg-type]
        evidence="annotated",
        evidence_area=side * side / (SIZE[0] * SIZE[1]),
        region_policy="padded",
        region=(box[0] - side / 2, box[1] - side / 2, box[2] + side / 2, box[3] + side / 2) if view == "crop" else None,
        region_area=4 * side * side / (SIZE[0] * SIZE[1]) if view == "crop" else None,
        images=1,
        sent_size=(1024, 640) if view == "full" else (2 * side, 2 * side),
        sent_pixels=1024 * 640 if view == "full" else 4 * side * side,
        image_tokens=1024 if view == "full" else 64,
        prompt_tokens=1100 if view == "full" else 140,
        output_tokens=9,
        seconds=0.25,
    )


def draw_thumbnails(folder: Path, benchmarks: Sequence[str], samples: int, count: int) -> None:
    """Street-like images for the first `count` samples of each benchmark, with a sign in the evidence box."""
    for benchmark in benchmarks:
        boxes = {record.sample: record.boxes[0] for record in example_records(benchmark, samples)}
        for index in range(min(count, samples)):
            sample = f"{index:03d}"
            image = Image.new("RGB", SIZE, (172, 196, 214))
            draw = ImageDraw.Draw(image)
            draw.rectangle((0, 620, *SIZE), fill=(120, 124, 120))
            for tower in range(6):
                shade = 110 + 17 * ((tower + index) % 5)
                left, top = 40 + 260 * tower, 180 + 60 * ((tower * 7 + index) % 5)
                draw.rectangle((left, top, left + 210, 620), fill=(shade, shade - 8, shade - 24))
            x0, y0, x1, y1 = boxes[sample]
            draw.rectangle((x0, y0, x1, y1), fill=(250, 250, 245), outline=(20, 20, 20))
            margin = (x1 - x0) / 2
            draw.ellipse((x0 + margin / 2, y0 + margin / 2, x1 - margin / 2, y1 - margin / 2), fill=(190, 30, 40))
            key = thumbnail_key(benchmark, sample)
            save_thumbnail(image, folder / "thumbnails" / f"{key}-full.jpg")
            region = tuple(map(round, (max(0, x0 - margin), max(0, y0 - margin), x1 + margin, y1 + margin)))
            save_thumbnail(image.crop(region), folder / "thumbnails" / f"{key}-crop.jpg")  # type: ignore[arg-type]


def example_summary(records: Sequence[Record]) -> dict[str, Any]:
    """The shape of `summary.json`, with means computed from the records and intervals of a plausible width."""
    names = list(dict.fromkeys(record.benchmark for record in records))
    benchmarks = {name: example_entry([record for record in records if record.benchmark == name]) for name in names}
    gaps = [entry["gap"]["estimate"] for entry in benchmarks.values()]
    macro = sum(gaps) / len(gaps)
    macro_gap = {**around(macro, 0.08), "p_value": 0.0004, "mde": 0.11, "method": "cluster-t"}
    return {
        "schema_version": 1,
        "model": "example/small-vlm",
        "verdict": f"example/small-vlm reads {100 * macro:.0f} points more in the crop than in the full image.",
        "views": ["full", "crop"],
        "benchmarks": benchmarks,
        "macro": {
            "gap": macro_gap if len(names) > 1 else None,
            "lost_in_full": around(
                sum(entry["lost_in_full"]["estimate"] for entry in benchmarks.values()) / len(names), 0.1
            ),
        },
    }


def example_entry(records: Sequence[Record]) -> dict[str, Any]:
    samples = sorted({record.sample for record in records})
    scores = {(record.sample, record.view): record.score for record in records}
    paired = [name for name in samples if scores[name, "full"] is not None and scores[name, "crop"] is not None]
    pairs = [(scores[name, "full"], scores[name, "crop"]) for name in paired]
    levels = [sum(column) / len(pairs) for column in zip(*pairs, strict=True)]  # type: ignore[arg-type]
    categories = sorted({record.category for record in records})
    areas = sorted({record.evidence_area for record in records if record.evidence_area is not None})
    return {
        "n": len(samples),
        "clusters": len({record.cluster for record in records}),
        "records": len(records),
        "views": {view: example_view([one for one in records if one.view == view]) for view in ("full", "crop")},
        "gap": {
            **around(sum(crop - full for full, crop in pairs) / len(pairs), 0.1),  # type: ignore[operator]
            "p_value": 0.0021,
            "p_value_holm": 0.0042,
            "mde": 0.14,
            "se": 0.05,
            "method": "cluster-bootstrap",
            **dict(zip(("full", "crop"), levels, strict=True)),
            **{f"{view}_ci": around(level, 0.08)["ci"] for view, level in zip(("full", "crop"), levels, strict=True)},
            "n": len(pairs),
            "clusters": len({record.cluster for record in records if record.sample in paired}),
            "dropped": len(samples) - len(pairs),
        },
        "lost_in_full": example_lost(pairs),
        "pairs": {
            "both": pairs.count((1.0, 1.0)),
            "crop_only": pairs.count((0.0, 1.0)),
            "full_only": pairs.count((1.0, 0.0)),
            "neither": pairs.count((0.0, 0.0)),
        },
        "by_category": {
            name: {**example_group([one for one in records if one.category == name]), "exploratory": True}
            for name in categories
        },
        "by_evidence_area": [
            {"from": low, "to": high, **example_group([one for one in records if low <= one.evidence_area < high])}  # type: ignore[operator]
            for low, high in pairwise(areas)
        ],
        "notice": "",
    }


def example_lost(pairs: Sequence[tuple[float | None, float | None]]) -> dict[str, Any]:
    lost, kept = pairs.count((0.0, 1.0)), pairs.count((1.0, 1.0))
    return {**around(lost / (lost + kept), 0.12), "n": lost + kept, "clusters": lost + kept, "method": "cluster-t"}


def example_view(records: Sequence[Record]) -> dict[str, Any]:
    scores = [record.score for record in records if record.score is not None]
    mean = sum(scores) / len(scores)
    return {
        "n": len(records),
        "accuracy": mean,
        "ci": around(mean, 0.09)["ci"],
        "unparsed": sum(record.outcome == "unparsed" for record in records) / len(records),
        "failed": sum(record.outcome == "failed" for record in records) / len(records),
        "image_tokens_mean": sum(record.image_tokens or 0 for record in records) / len(records),
        "output_tokens_mean": 9.0,
        "flip_rate": None,
    }


def example_group(records: Sequence[Record]) -> dict[str, Any]:
    means = {}
    for view in ("full", "crop"):
        scores = [record.score for record in records if record.view == view and record.score is not None]
        means[view] = sum(scores) / len(scores) if scores else 0.0
    return {
        "n": len({record.sample for record in records}),
        "clusters": len({record.cluster for record in records}),
        "full": around(means["full"], 0.15),
        "crop": around(means["crop"], 0.12),
        "gap": around(means["crop"] - means["full"], 0.18, low=-1.0),
    }


def around(value: float, half: float, low: float = 0.0) -> dict[str, Any]:
    return {"estimate": value, "ci": [max(low, value - half), min(1.0, value + half)]}


def example_settings(benchmarks: Sequence[str]) -> dict[str, Any]:
    """The shape of `run.json`."""
    return {
        "schema_version": 3,
        "model": "example/small-vlm",
        "revision": "4f1c9a2",
        "pixels": {"max_pixels": 1003520},
        "generation": {"temperature": 0.0, "max_new_tokens": 64},
        "tasks": {
            name: {
                "benchmark": name,
                "card": {"title": f"The {name} benchmark", "licence": "Apache-2.0", "traps": ["none", "few"]},
                "fingerprint": f"sha256:{name}",
                "parameters": {"samples": 24, "difficulty": {"smallest": 8}},
                "prompt": "Which letter?\nAnswer with the letter.",
                "views": {"full": {}, "crop": {"region": "padded"}},
            }
            for name in benchmarks
        },
        "seeds": {"sampling": 0, "statistics": 0},
        "sessions": [
            {
                "command": "gapbench measure example/small-vlm --benchmark " + " --benchmark ".join(benchmarks),
                "versions": {"gapbench": "0.1.0", "torch": "2.9.0", "transformers": "5.19.0"},
                "hardware": {"device": "cpu", "threads": 2},
            }
        ],
    }
