"""Boxes from a model, for benchmarks without evidence boxes: `gapbench.locate`.

    located = gapbench.locate("glance", ["signs"], out="regions.jsonl", method="attention")
    print(located.text())
    gapbench.measure("glance", ["signs"], regions="regions.jsonl", out="runs/located")

There are two locators. `grounding` asks the model for a box (`gapbench.localisation.grounding`). `attention` takes the
box from the model's attention (`gapbench.localisation.attention`). If people marked the evidence of a benchmark,
`locate` compares its boxes with theirs (`gapbench.localisation.agreement`). Check this agreement before you trust a gap
from such boxes, because the gap depends on the model that made them. The region file gets one line per sample as soon
as it is located, and the same call after a kill continues.

Limits: a region lies in one image, so samples with several images get no region.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapbench.commands.measure import named_as_in
from gapbench.data.benchmark import fingerprint
from gapbench.data.task import Task, TaskSettings, make_tasks
from gapbench.engines import loading
from gapbench.engines.hardware import hardware
from gapbench.engines.options import Generation
from gapbench.errors import SettingError
from gapbench.localisation import attention, grounding, region_run
from gapbench.localisation.result import NOT_ANSWERED, Located, LocatedBoxes, summarise
from gapbench.runs import records
from gapbench.runs.lock import hold
from gapbench.runs.manifest import continue_or_start, earlier_manifest, make_manifest, new_session
from gapbench.runs.session import run_loop
from gapbench.types import Box, Engine, Request, Sample
from gapbench.util.files import write_json
from gapbench.util.progress import progress
from gapbench.views.pixels import Pixels
from gapbench.views.prefetch import Pending, prepared
from gapbench.views.prepare import PreparedSample
from gapbench.views.prompts import prompt
from gapbench.views.regions import padded
from gapbench.views.views import View

MARGINS = {"grounding": 1.5, "attention": 1.0}
"""The default factor by which a located box is enlarged. Boxes from attention are wide already."""

QUESTION_TEMPLATE = "{question}{options}"
"""The part of a sample that a grounding prompt quotes, without the instruction on how to word the answer."""


def locate(
    model: str,
    benchmarks: Sequence[str] | str,
    out: str | Path = "regions.jsonl",
    method: str = "attention",
    *,
    limit: int | None = None,
    margin: float | None = None,
    layers: str = "",
    coordinates: str = "thousand",
    largest: float = 0.8,
    engine: str = "auto",
    max_new_tokens: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    quiet: bool = True,
    command: str = "",
    **options: Any,
) -> Located:
    """Let `model` find the region of each sample, and write the boxes to `out` (.jsonl) for `measure(regions=…)`.

    `method` is `grounding` or `attention`. `grounding` takes `coordinates` (thousand, pixels or unit) and `largest`,
    the fraction of the image that a box may cover. `attention` takes `layers` such as "18-22", counted from 0 (default:
    the middle of the depth), and needs engine transformers because it reads the model's attention. `margin` >= 1
    enlarges boxes about their centre. The other settings are those of `gapbench.measure`.

    Raises GapbenchError subclasses whose message names the setting or file and the remedy. Boxes found before an error
    stay in `out`, and the next call does not look for them again.
    """
    from gapbench.engines import models

    layer_numbers = _check_settings(method, engine, margin, layers, coordinates, largest)
    path = Path(out)
    region_run.check(path)
    choice = loading.choose(model, engine, options, ("transformers",) if method == "attention" else loading.ENGINES)
    tasks, _ = make_tasks(benchmarks, TaskSettings(limit=limit), models.benchmark_defaults(model, choice.engine))
    pixels = Pixels(min_pixels, max_pixels)
    command = command or f"gapbench.locate({model!r}, {benchmarks!r}, {str(out)!r}, {method!r})"
    with hold(path.parent, command, path.name):
        tasks = named_as_in(earlier_manifest(region_run.manifest_of(path)), tasks)
        choice.announce(quiet)
        with closing(loading.load(model, choice, Generation(max_new_tokens), pixels)) as loaded:
            locator = (
                _by_attention(loaded, layer_numbers)
                if method == "attention"
                else _by_grounding(loaded, coordinates, largest)
            )
            factor = MARGINS[method] if margin is None else margin
            fields = {
                **loaded.info,
                **{"method": method, "margin": factor, **locator.settings},
                "tasks": {task.name: _entry(task) for task in tasks},
                "sessions": [new_session(command, hardware(), {**loaded.info, "engine_choice": choice.reason})],
            }
            samples = {task.name: task.samples for task in tasks}
            continue_or_start(region_run.manifest_of(path), path, make_manifest(fields), samples, fingerprint)
            with records.Writer(path.parent, path.name) as writer:
                lines = region_run.read_lines(path)
                _locate_pending(locator, factor, tasks, pixels, writer, lines, quiet)
        summary = {
            "schema_version": region_run.SCHEMA,
            "model": model,
            "method": method,
            "benchmarks": {task.name: summarise(task.name, task.samples, lines) for task in tasks},
        }
        write_json(path.with_suffix(".summary.json"), summary)
    return Located(path, summary)


def _entry(task: Task) -> dict[str, Any]:
    """The task's entry in the manifest: of prompts and views, nothing."""
    return {k: v for k, v in task.entry().items() if k in ("benchmark", "parameters", "samples", "fingerprint")}


def _check_settings(
    method: str,
    engine: str,
    margin: float | None,
    layers: str,
    coordinates: str,
    largest: float,
) -> tuple[int, ...]:
    """The layer numbers in `layers`. Raises SettingError for any setting that is not valid."""
    if method not in MARGINS:
        raise SettingError(f"--method {method}: expected {' or '.join(MARGINS)}.")
    if method == "attention" and engine not in ("auto", "transformers"):
        raise SettingError(
            f"--method attention: it reads the model's attention, which --engine {engine} does not give. Pass --engine "
            "transformers, or --method grounding."
        )
    if margin is not None and not 1 <= margin <= 100:
        raise SettingError(f"--margin {margin}: expected a factor of at least 1, such as 1.5.")
    if coordinates not in grounding.CONVENTIONS:
        raise SettingError(f"--coordinates {coordinates}: expected one of {', '.join(grounding.CONVENTIONS)}.")
    if not 0 < largest <= 1:
        raise SettingError(f"--largest {largest}: expected a fraction of the image, above 0 and at most 1.")
    if layers and method != "attention":
        raise SettingError(f"--layers {layers}: only --method attention reads layers.")
    return attention.parse_layers(layers)


@dataclass(frozen=True)
class Locator:
    """A way to find regions.

    `settings` are kept in the manifest. `prompt` takes a task, a sample and the (width, height) of its image as sent.
    `locate` takes requests and whether an earlier session has located a box, and yields keys and boxes.
    """

    model: str
    method: str
    settings: Mapping[str, Any]
    prompt: Callable[[Task, Sample, tuple[int, int]], str]
    locate: Callable[[Iterator[Request], bool], Iterator[tuple[Hashable, LocatedBoxes]]]


def _by_attention(engine: Engine, layer_numbers: Sequence[int]) -> Locator:
    from gapbench.engines.transformers import TransformersEngine

    assert isinstance(engine, TransformersEngine), "_check_settings allows no other"
    layers = attention.choose_layers(engine, layer_numbers)
    settings = {"layers": list(layers), "general_prompt": attention.GENERAL, "smoothing": attention.SMOOTHING,
                "windows": list(attention.WINDOWS)}  # fmt: skip
    return Locator(
        str(engine.info["model"]),
        "attention",
        settings,
        lambda task, sample, size: task.prompt(sample),
        lambda requests, works: attention.locate(engine, requests, layers, works),
    )


def _by_grounding(engine: Engine, coordinates: str, largest: float) -> Locator:
    return Locator(
        str(engine.info["model"]),
        "grounding",
        {"coordinates": coordinates, "largest": largest, "prompt": grounding.PROMPT},
        lambda task, sample, size: grounding.prompt_text(prompt(sample, QUESTION_TEMPLATE), coordinates, size),
        lambda requests, works: grounding.locate(engine, requests, coordinates, largest),
    )


def _locate_pending(
    locator: Locator,
    margin: float,
    tasks: Sequence[Task],
    pixels: Pixels,
    writer: records.Writer,
    lines: list[dict[str, Any]],
    quiet: bool,
) -> None:
    """Locate every sample that has no line, and append its line to the file and to `lines`."""
    done = {(line["benchmark"], line["id"]) for line in lines}
    asked = [(task, sample) for task in tasks for sample in task.samples]
    pending = [
        Pending(task.name, sample, "union", "", ((View("full"), 0),))
        for task, sample in asked
        if (task.name, sample.id) not in done
    ]
    task_of = {task.name: task for task in tasks}
    in_flight: dict[tuple[str, str], PreparedSample] = {}
    works = any(line["bboxes"] for line in lines)

    def requests() -> Iterator[Request]:
        with closing(prepared(pending, pixels)) as prefetched:
            for ready in prefetched:
                (view,), item = ready.views, ready.pending
                in_flight[item.task, item.sample.id] = view.sample
                several = "the question is about several images" if len(view.images) > 1 else ""
                size = view.images[0].size if view.images else (0, 0)
                text = locator.prompt(task_of[item.task], item.sample, size)
                yield Request((item.task, item.sample.id), view.images, text, view.error or several, view.encoded)

    def write(key: tuple[str, str], located: LocatedBoxes) -> tuple[str, int]:
        entry = _boxes_entry(in_flight.pop(key), located, margin)
        line = {"benchmark": key[0], "id": key[1], **entry, "method": locator.method, "model": locator.model}
        writer.write(line)
        lines.append(line)
        return (located.reason if located.reason.startswith(NOT_ANSWERED) else ""), 0

    bar = progress(len(asked), len(asked) - len(pending), locator.model, quiet, "samples")
    run_loop(locator.locate(requests(), works), write, bar)


def _boxes_entry(prepared: PreparedSample, located: LocatedBoxes, margin: float) -> dict[str, Any]:
    """The sample's entry in the region file. `bboxes` are xyxy pixels of the decoded image."""
    boxes: list[Box] = []
    if prepared.size:
        width, height = prepared.size
        scaled = [(x0 * width, y0 * height, x1 * width, y1 * height) for x0, y0, x1, y1 in located.boxes]
        boxes = [padded([box], prepared.size, factor=margin, min_side=1) for box in scaled]
    return {
        "bboxes": [list(box) for box in boxes],
        "score": located.score,
        "reason": located.reason,
        "output": located.output,
        "image_size": list(prepared.size) if prepared.size else None,
        "image_hash": prepared.image_hash,
    }
