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

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.data import catalogue
from gapbench.data.benchmark import Benchmark
from gapbench.engines import loading
from gapbench.engines.hardware import hardware
from gapbench.engines.options import Generation
from gapbench.errors import SettingError
from gapbench.localisation import attention, grounding, region_run
from gapbench.localisation.result import NOT_ANSWERED, Located, LocatedBoxes, summarise
from gapbench.runs import records
from gapbench.runs.manifest import new_session
from gapbench.types import Box, Engine, Request, Sample
from gapbench.util.files import write_json
from gapbench.util.interrupt import remember_interrupt
from gapbench.util.progress import progress
from gapbench.views.pixels import Pixels
from gapbench.views.prepare import PreparedSample, prepare
from gapbench.views.prompts import prompt, template_of
from gapbench.views.regions import padded

if TYPE_CHECKING:
    from gapbench.engines.transformers import TransformersEngine

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
    max_new_tokens: int = 128,
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

    specs = [benchmarks] if isinstance(benchmarks, str) else list(benchmarks)
    layer_numbers = _check_settings(method, engine, limit, margin, layers, coordinates, largest)
    path = Path(out)
    region_run.check(path)
    possible = ("transformers",) if method == "attention" else loading.ENGINES
    choice = loading.choose(model, engine, options, possible)
    loaded_benchmarks = catalogue.load_all(specs, models.benchmark_defaults(model, choice.engine))
    samples_by_benchmark = {b.name: b.samples(limit) for b in loaded_benchmarks}
    pixels = Pixels(min_pixels, max_pixels)
    loaded = loading.load(model, choice, Generation(max_new_tokens), pixels)
    factor = MARGINS[method] if margin is None else margin
    settings: dict[str, Any]
    if method == "attention":
        used_layers = attention.choose_layers(_transformers_engine(loaded), layer_numbers)
        settings = {"layers": list(used_layers), "general_prompt": attention.GENERAL,
                    "smoothing": attention.SMOOTHING, "windows": list(attention.WINDOWS)}  # fmt: skip
    else:
        settings = {"coordinates": coordinates, "largest": largest, "prompt": grounding.PROMPT}
    made_with = {**loaded.info, "method": method, "margin": factor, **settings}
    path.parent.mkdir(parents=True, exist_ok=True)
    with records.Writer(path.parent, path.name) as writer:
        lines = region_run.start_or_continue(
            path,
            made_with,
            loaded_benchmarks,
            samples_by_benchmark,
            new_session(command or f"gapbench.locate({model!r}, {specs!r}, {str(out)!r}, {method!r})", hardware()),
        )
        _locate_pending(
            loaded, pixels, method, settings, factor, loaded_benchmarks, samples_by_benchmark, writer, lines, quiet
        )
    summary = {
        "schema_version": region_run.SCHEMA,
        "model": model,
        "method": method,
        "benchmarks": {name: summarise(name, samples, lines) for name, samples in samples_by_benchmark.items()},
    }
    write_json(region_run.summary_of(path), summary)
    return Located(path, summary)


def _check_settings(
    method: str,
    engine: str,
    limit: int | None,
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
    if limit is not None and limit < 1:
        raise SettingError(f"--limit {limit}: expected at least 1.")
    if margin is not None and not 1 <= margin <= 100:
        raise SettingError(f"--margin {margin}: expected a factor of at least 1, such as 1.5.")
    if coordinates not in grounding.CONVENTIONS:
        raise SettingError(f"--coordinates {coordinates}: expected one of {', '.join(grounding.CONVENTIONS)}.")
    if not 0 < largest <= 1:
        raise SettingError(f"--largest {largest}: expected a fraction of the image, above 0 and at most 1.")
    if layers and method != "attention":
        raise SettingError(f"--layers {layers}: only --method attention reads layers.")
    return attention.parse_layers(layers)


def _transformers_engine(engine: Engine) -> TransformersEngine:
    """The same engine under its own type, which gives access to attention. `_check_settings` allows no other."""
    from gapbench.engines.transformers import TransformersEngine

    assert isinstance(engine, TransformersEngine)
    return engine


def _locate_pending(
    engine: Engine,
    pixels: Pixels,
    method: str,
    settings: Mapping[str, Any],
    margin: float,
    benchmarks: Sequence[Benchmark],
    samples_by_benchmark: Mapping[str, list[Sample]],
    writer: records.Writer,
    lines: list[dict[str, Any]],
    quiet: bool,
) -> None:
    """Locate every sample that has no line, and append its line to the file and to `lines`."""
    done = {(line["benchmark"], line["id"]) for line in lines}
    pending = [(b, s) for b in benchmarks for s in samples_by_benchmark[b.name] if (b.name, s.id) not in done]
    in_flight: dict[tuple[str, str], PreparedSample] = {}

    def requests() -> Iterator[Request]:
        prepared: PreparedSample | None = None
        last, sized = None, ()  # type: Any, tuple[Any, ...]
        for benchmark, sample in pending:
            prepared = in_flight[benchmark.name, sample.id] = prepare(sample, "union", prepared)
            error = prepared.error or ("the question is about several images" if len(prepared.images) > 1 else "")
            if method == "attention":
                text = prompt(sample, template_of(benchmark.card))
            else:
                size = pixels.target(prepared.size) if prepared.size else (0, 0)
                text = grounding.prompt_text(prompt(sample, QUESTION_TEMPLATE), settings["coordinates"], size)
            if prepared.image is not last:  # a shared image stays one object, which saves `attention` a pass
                last, sized = prepared.image, tuple(map(pixels.apply, prepared.images))
            yield Request((benchmark.name, sample.id), sized, text, error)

    if method == "attention":
        results = attention.locate(
            _transformers_engine(engine), requests(), settings["layers"], works=any(line["bboxes"] for line in lines)
        )
    else:
        results = grounding.locate(engine, requests(), settings["coordinates"], settings["largest"])
    with (
        progress(len(done) + len(pending), len(done), str(engine.info["model"]), quiet, "samples") as advance,
        remember_interrupt() as check_interrupt,
    ):
        for key, located in results:
            assert isinstance(key, tuple)
            name, sample_id = key
            origin = {"method": method, "model": str(engine.info["model"])}
            line = {"benchmark": name, "id": sample_id, **_boxes_entry(in_flight.pop(key), located, margin), **origin}
            writer.write(line)
            lines.append(line)
            advance(located.reason if located.reason.startswith(NOT_ANSWERED) else "")
            check_interrupt()


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
