"""Boxes from the model itself, for benchmarks that have none: `gapbench.locate`.

    found = gapbench.locate("glance", ["signs"], out="regions.jsonl", method="attention")
    print(found.text())
    gapbench.measure("glance", ["signs"], regions="regions.jsonl", out="runs/located")

Two locators: `grounding` asks the model for a box (`gapbench.localisation.grounding`), `attention` looks where it looks
(`gapbench.localisation.attention`). On benchmarks whose evidence people have marked, the boxes are compared with theirs
(`gapbench.localisation.agreement`): do that before trusting a gap from such boxes, which depends on the model that made
them. One line is kept per question as it is found, and the same call after a kill goes on where it stopped.

Limits: regions lie in one image; questions about several have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from gapbench.data import catalogue
from gapbench.data.benchmark import Benchmark
from gapbench.engines import loading
from gapbench.engines.hardware import hardware
from gapbench.engines.loading import EngineOptions
from gapbench.errors import SettingError
from gapbench.localisation import attention, grounding
from gapbench.localisation import region_run as kept
from gapbench.localisation.result import NOT_ASKED, Found, Located, summarise
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
"""By what factor a located box is enlarged by default. Windows of attention are wide already."""

NEEDED = "{question}{options}"
"""What of a question a grounding prompt quotes: not how to word the answer."""


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
    engine: str = "transformers",
    max_new_tokens: int = 128,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    quiet: bool = True,
    command: str = "",
    **options: Unpack[EngineOptions],
) -> Located:
    """Let `model` find the region each question is about, and write them to `out` (.jsonl) for `measure(regions=…)`.

    `method` is `grounding` (with `coordinates`: thousand, pixels or unit, and `largest`, the fraction of the image a
    box may cover) or `attention` (with `layers` such as "18-22", counted from 0; default: the middle of the depth).
    `margin` >= 1 enlarges boxes about their centre. The other settings are those of `gapbench.measure`; `attention`
    looks into the model and needs engine transformers.

    Raises GapbenchError subclasses whose message names the setting or file and the remedy. What was found before an
    error stays in `out` and is not looked for again.
    """
    from gapbench.engines import models

    specs = [benchmarks] if isinstance(benchmarks, str) else list(benchmarks)
    wanted = _check_settings(method, engine, limit, margin, layers, coordinates, largest)
    place = Path(out)
    kept.check(place)
    loading.check(model, engine, **options)
    chosen = catalogue.load_all(specs, models.benchmark_defaults(model, engine))
    asked = {b.name: b.samples(limit) for b in chosen}
    pixels = Pixels(min_pixels, max_pixels)
    loaded = loading.load(
        model,
        engine,
        settings={"pixels": pixels, "max_new_tokens": max_new_tokens, "temperature": 0.0, "seed": 0},
        **options,
    )
    factor = MARGINS[method] if margin is None else margin
    settings: dict[str, Any]
    if method == "attention":
        layers_ = attention.choose_layers(_inside(loaded), wanted)
        settings = {"layers": list(layers_), "general_prompt": attention.GENERAL,
                    "smoothing": attention.SMOOTHING, "windows": list(attention.WINDOWS)}  # fmt: skip
    else:
        settings = {"coordinates": coordinates, "largest": largest, "prompt": grounding.PROMPT}
    made_with = {**loaded.info, "method": method, "margin": factor, **settings}
    place.parent.mkdir(parents=True, exist_ok=True)
    with records.Writer(place.parent, place.name) as writer:
        lines = kept.start_or_continue(
            place,
            made_with,
            chosen,
            asked,
            new_session(command or f"gapbench.locate({model!r}, {specs!r}, {str(out)!r}, {method!r})", hardware()),
        )
        _find(loaded, pixels, method, settings, factor, chosen, asked, writer, lines, quiet)
    summary = {"schema_version": kept.SCHEMA, "model": model, "method": method,
               "benchmarks": {b.name: summarise(b.name, asked[b.name], lines) for b in chosen}}  # fmt: skip
    write_json(kept.summary_of(place), summary)
    return Located(place, summary)


def _check_settings(
    method: str,
    engine: str,
    limit: int | None,
    margin: float | None,
    layers: str,
    coordinates: str,
    largest: float,
) -> tuple[int, ...]:
    """The layers asked for. Raises SettingError."""
    if method not in MARGINS:
        raise SettingError(f"--method {method}: expected {' or '.join(MARGINS)}.")
    if method == "attention" and engine != "transformers":
        raise SettingError(
            f"--method attention: it looks into the model, which --engine {engine} does not show. Pass --engine "
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
        raise SettingError(f"--layers {layers}: only --method attention looks into layers.")
    return attention.parse_layers(layers)


def _inside(engine: Engine) -> TransformersEngine:
    """The engine that shows its model's attention. Its `load` makes no other."""
    from gapbench.engines.transformers import TransformersEngine

    assert isinstance(engine, TransformersEngine)
    return engine


def _find(
    engine: Engine,
    pixels: Pixels,
    method: str,
    settings: Mapping[str, Any],
    margin: float,
    chosen: Sequence[Benchmark],
    asked: Mapping[str, list[Sample]],
    writer: records.Writer,
    lines: list[dict[str, Any]],
    quiet: bool,
) -> None:
    """Append a line for every question that has none, to the file and to `lines`."""
    done = {(line["benchmark"], line["id"]) for line in lines}
    todo = [(b, s) for b in chosen for s in asked[b.name] if (b.name, s.id) not in done]
    cases: dict[tuple[str, str], PreparedSample] = {}

    def requests() -> Iterator[Request]:
        case: PreparedSample | None = None
        for benchmark, sample in todo:
            case = cases[benchmark.name, sample.id] = prepare(sample, "union", case)
            error = case.error or ("the question is about several images" if len(case.images) > 1 else "")
            if method == "attention":
                text = prompt(sample, template_of(benchmark.card))
            else:
                size = pixels.target(case.size) if case.size else (0, 0)
                text = grounding.prompt_text(prompt(sample, NEEDED), settings["coordinates"], size)
            yield Request((benchmark.name, sample.id), case.images, text, error)

    if method == "attention":
        found_ = attention.locate(
            _inside(engine), requests(), settings["layers"], works=any(line["bboxes"] for line in lines)
        )
    else:
        found_ = grounding.locate(engine, requests(), settings["coordinates"], settings["largest"])
    with (
        progress(len(done) + len(todo), len(done), str(engine.info["model"]), quiet, "samples") as advance,
        remember_interrupt() as check_interrupt,
    ):
        for key, found in found_:
            assert isinstance(key, tuple)
            name, sample_id = key
            origin = {"method": method, "model": str(engine.info["model"])}
            line = {"benchmark": name, "id": sample_id, **_boxes(cases.pop(key), found, margin), **origin}
            writer.write(line)
            lines.append(line)
            advance(found.reason if found.reason.startswith(NOT_ASKED) else "")
            check_interrupt()


def _boxes(case: PreparedSample, found: Found, margin: float) -> dict[str, Any]:
    """What the region file keeps of one question; `bboxes` are xyxy pixels of the decoded image."""
    located: list[Box] = []
    if case.size:
        width, height = case.size
        scaled = [(x0 * width, y0 * height, x1 * width, y1 * height) for x0, y0, x1, y1 in found.boxes]
        located = [padded([box], case.size, factor=margin, min_side=1) for box in scaled]
    return {
        "bboxes": [list(box) for box in located],
        "score": found.score,
        "reason": found.reason,
        "output": found.output,
        "image_size": list(case.size) if case.size else None,
        "image_hash": case.image_hash,
    }
