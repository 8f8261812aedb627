"""Asks a model about parts of images, through any engine, and keeps every reading on disk until it is not needed.

    readings = Readings(engine, images, pixels, folder / "data.readings.jsonl")
    readings.ask([Ask(0, (0, 0, 64, 64), "List the signs.")], tokens=8)

An image is decoded once for all parts of it that are asked together, and each part is cut out when the engine takes it,
so that memory holds a few images whatever their number. What is on disk is not asked again, unless it failed.

Limits: a decoded image is as large as it is stored.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.errors import SampleError
from gapbench.runs import records
from gapbench.runs.session import run_loop
from gapbench.types import Answer, Box, Engine, Request, Sample
from gapbench.util.ahead import map_ahead
from gapbench.views import images as decoder
from gapbench.views.pixels import Pixels
from gapbench.views.regions import cut

if TYPE_CHECKING:
    from PIL.Image import Image

WORKERS = min(4, os.cpu_count() or 1)
NO_IMAGE = -1
"""In the place of an image's number: the prompt alone."""
NOWHERE = "there is no such place"
"""The error of a reading that was not asked for."""


@dataclass(frozen=True)
class Ask:
    """A prompt about a part of an image, given by its number; `box` is xyxy in pixels, None for the whole image.

    `most_pixels` bounds what is shown (0: the bounds of the call alone).
    """

    image: int
    box: Box | None
    prompt: str
    most_pixels: int = 0


@dataclass(frozen=True)
class PartReading:
    """What the model said. `confidence` and `cut_off` are those of `Answer`; `error` says why there is no answer."""

    text: str = ""
    confidence: float | None = None
    error: str = ""
    cut_off: bool = False

    def sure(self, least: float) -> bool:
        """Whether the confidence is at least this; an engine that says none is believed."""
        return not self.error and (self.confidence is None or self.confidence >= least)

    @property
    def failed(self) -> bool:
        """Whether the model was asked and gave no answer: nothing follows from that."""
        return bool(self.error) and self.error != NOWHERE

    def json(self) -> dict[str, Any]:
        """For the audit file."""
        return {"output": self.text, "confidence": self.confidence, "error": self.error}


COLUMNS = tuple(field.name for field in fields(PartReading))


@dataclass
class Readings:
    """See the module. `tokens` counts what the engine reported, and `said` is called with each answer's error."""

    engine: Engine
    images: Sequence[Sample]
    pixels: Pixels
    path: Path
    said: Callable[[str], None] = lambda error: None
    tokens: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._kept: dict[str, PartReading] = {}
        self._bytes = 0
        if self.path.exists():
            records.repair(self.path.parent, self.path.name)
            self._bytes = self.path.stat().st_size
            for line in records.read_lines(self.path, ("key", *COLUMNS)):
                if not line["error"]:  # a failed reading is no answer
                    self._kept[line["key"]] = PartReading(*(line[name] for name in COLUMNS))
        self._known = dict(self._kept)
        self._readable: dict[int, bool] = {}

    def ask(self, asks: Iterable[Ask], tokens: int) -> dict[Ask, PartReading]:
        """The reading of each, of at most so many tokens. Raises what the engine raises."""
        wanted = {ask: _key(self.images, ask) for ask in asks}
        pending = sorted((ask for ask, key in wanted.items() if key not in self._known), key=lambda ask: ask.image)
        if pending:
            self.engine.allow(tokens)
            with records.Writer(self.path.parent, self.path.name) as writer:

                def write(ask: Ask, answer: Answer) -> tuple[str, int]:
                    sure = None if answer.confidence is None else round(answer.confidence, 3)
                    reading = PartReading(answer.text, sure, answer.error, answer.cut_off)
                    self._known[wanted[ask]] = reading
                    writer.write({"key": wanted[ask], **vars(reading)})
                    self.tokens += Counter(
                        asked=1,
                        image=answer.image_tokens or 0,
                        prompt=answer.prompt_tokens or 0,
                        failed=bool(answer.error),
                    )
                    self.said(answer.error)
                    return answer.error, answer.output_tokens or 0

                run_loop(self.engine.generate(self._requests(pending)), write, nullcontext(lambda *_: None))
        return {ask: self._known[key] for ask, key in wanted.items()}

    def forget(self, keep: bool = False) -> None:
        """Drop what was read since the last call of it; with `keep` it stays on disk, for a call that goes on."""
        if not keep and self.path.exists():
            os.truncate(self.path, self._bytes)
        self._bytes = self.path.stat().st_size if self.path.exists() else 0
        self._known = dict(self._kept)

    def readable(self, number: int) -> bool:
        """Whether an image can be decoded."""
        if number not in self._readable:
            self._readable[number] = not _decoded(self.images, number)[1]
        return self._readable[number]

    def _requests(self, pending: Sequence[Ask]) -> Generator[Request, None, None]:
        groups = [(number, list(group)) for number, group in groupby(pending, key=lambda ask: ask.image)]
        with closing(map_ahead(lambda g: (_decoded(self.images, g[0]), g[1]), groups, WORKERS)) as decoded:
            for (image, error), asks in decoded:
                yield from self._of_image(image, error, asks)

    def _of_image(self, image: Image | None, error: str, asks: Sequence[Ask]) -> Iterator[Request]:
        for ask in asks:
            shown: tuple[Image, ...] = ()
            if image is not None:
                part = self.pixels.apply(image if ask.box is None else cut(image, ask.box))
                shown = (Pixels(None, ask.most_pixels).apply(part) if ask.most_pixels else part,)
            yield Request(ask, shown, ask.prompt, error)


def image_size(sample: Sample) -> tuple[int, int]:
    """(width, height) as the image is decoded. Raises SampleError."""
    if sample.upright:
        return decoder.decode(sample.image, sample.max_image_pixels, upright=True)[0].size
    return decoder.stored_size(sample.image)


def _decoded(images: Sequence[Sample], number: int) -> tuple[Image | None, str]:
    """The image, or why there is none; neither for a prompt without an image."""
    if number == NO_IMAGE:
        return None, ""
    sample = images[number]
    try:
        return decoder.decode(sample.image, sample.max_image_pixels, sample.upright)[0], ""
    except SampleError as error:
        return None, str(error)


def _key(images: Sequence[Sample], ask: Ask) -> str:
    named = "" if ask.image == NO_IMAGE else images[ask.image].id
    return hashlib.sha256(json.dumps([named, ask.box, ask.prompt, ask.most_pixels]).encode()).hexdigest()[:24]
