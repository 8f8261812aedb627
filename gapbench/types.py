"""The data that flows through gapbench, as frozen dataclasses.

    from gapbench.types import Sample
    Sample(id="1", image="street.jpg", question="What does the small sign say?", answers=("STOP",),
           boxes=((810.0, 402.0, 846.0, 431.0),))

A `Sample` is what a benchmark asks, a `Record` is what a model answered, a `Card` is what is known about a
benchmark. Nothing here imports torch, so that statistics and reports stay light.
"""

from __future__ import annotations

import typing
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the decoded image; x1 and y1 are exclusive edges."""

BoxFormat = Literal["xyxy", "xywh", "xyxy_normalised", "xywh_normalised"]
"""How a data set writes its boxes. Declared, never guessed from the values."""

Outcome = Literal["right", "wrong", "unparsed", "judge_failed", "failed"]
"""`unparsed`: no rule could read the answer. `failed`: the engine gave no answer at all. `judge_failed`: a judge was
asked about an unparsed answer and gave no verdict; `records.jsonl` never holds it (see `gapbench.judging`)."""

AnswerType = Literal["letter", "yes_no", "number", "text", "vqa", "anls"]
"""Which family of rules decides an answer; see `gapbench.scoring`."""

Evidence = Literal["annotated", "model"]
"""Where evidence boxes come from: from people, with the benchmark; or from a model, in a region file."""

Role = Literal["evidence", "full-view", "hold-out", "training"]
"""What a benchmark is for: with evidence for both views; without boxes, unless a region file brings them; to see that
nothing else got worse; to train on."""


MetricName = Literal["accuracy", "category_mean", "nested_mean", "cluster_accuracy", "yes_f1", "yes_ratio"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)
"""The metrics a card or a protocol may name; `gapbench.analysis.metrics` computes them."""


@dataclass(frozen=True)
class Sample:
    """One question about one image, or about several (`more_images`, shown after `image` in their order).

    `image` is anything `gapbench.views.images.decode` reads: a path, encoded bytes, a Hub image dict, a PIL image, or a
    function that makes one, so that a benchmark of any size stays lazy; `crop_image` likewise, for a crop it ships.
    `answers` are the accepted answers: the option's letter for `letter`, any one of them for the other types.
    `boxes` are written in `box_format`, by default the card's: `xyxy` or `xywh` in pixels, `xyxy_normalised` or
    `xywh_normalised` in fractions of the image (0..1); they become xyxy pixels once its size is known. Samples with
    the same `cluster` (by default: the same image) are not independent and are one unit to the statistics.
    `category` may have two levels, as `2D/COCO`. `published` is the question as its authors' prompt words it, for
    protocols that ask exactly so. `max_image_pixels` raises Pillow's guard against decompression bombs for data that
    is known to be larger; 0 keeps it.
    """

    id: str
    image: Any
    question: str
    answers: tuple[str, ...]
    options: tuple[str, ...] = ()
    answer_type: AnswerType = "text"
    boxes: tuple[Box, ...] = ()
    box_format: BoxFormat | None = None
    category: str = ""
    cluster: str = ""
    crop_image: Any = None
    more_images: tuple[Any, ...] = ()
    published: str = ""
    max_image_pixels: int = 0
    evidence: Evidence = "annotated"


@dataclass(frozen=True)
class Protocol:
    """A named way to ask and to count, as somebody published it: the prompt's template (see `gapbench.views.prompts`),
    the headline metric (a name in `gapbench.analysis.metrics`), where both come from, and what we do differently."""

    prompt: str
    metric: str = "accuracy"
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class Card:
    """What is known about a benchmark; printed by `gapbench benchmarks show NAME`.

    `hub` is the Hub data set that is fetched at `revision`, only files that match `files`; empty where nothing is.
    `region` is the region policy its evidence calls for (see `gapbench.views.regions.REGIONS`); `box_format` holds for
    every sample that names none itself; `scoring` and `cluster` describe, in words, what the samples' fields do;
    `expected` maps a count's name (`samples`, `images`, `clusters`, `with evidence box`, a category) to its value and
    is verified by `gapbench benchmarks check`; `reference` maps a model to its published score; `metrics` are reported
    beside the accuracy (`gapbench.analysis.metrics`); `traps` are the ways this data has misled others. `restricted`
    says what the licence forbids, and is shown before data is fetched.
    """

    name: str
    title: str
    source: str
    licence: str
    role: Role = "evidence"
    hub: str = ""
    revision: str = ""
    files: tuple[str, ...] = ()
    split: str = ""
    region: str = "padded"
    box_format: BoxFormat = "xyxy"
    prompt: str = ""
    scoring: str = ""
    cluster: str = "image"
    notice: str = ""
    restricted: str = ""
    metrics: tuple[str, ...] = ()
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    expected: Mapping[str, int] = field(default_factory=dict)
    reference: Mapping[str, str] = field(default_factory=dict)
    traps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """One answer: one line of `records.jsonl`, and all that statistics and reports ever see of it.

    Keyed by (`benchmark`, `sample`, `view`, `repeat`). Sizes are (width, height) in pixels; areas are fractions of the
    full image in 0..1, or None without evidence boxes; `evidence` says who drew those (empty without any). `sent_size`
    is the first image's and `sent_pixels` the sum over all `images` shown. `score` is 0..1 (between the two only
    for `vqa` and `anls`) and None for `failed`. `rule` names the parsing rule that decided, `reason` why an answer is
    `unparsed` or `failed`. A judge's verdict changes these, the outcome and the score where records are read for
    numbers, never in the file.
    """

    benchmark: str
    sample: str
    view: str
    repeat: int
    outcome: Outcome
    score: float | None
    output: str
    parsed: str | None
    rule: str
    reason: str
    question: str
    options: tuple[str, ...]
    answers: tuple[str, ...]
    answer_type: AnswerType
    category: str
    cluster: str
    image_hash: str
    image_size: tuple[int, int] | None
    boxes: tuple[Box, ...]
    evidence: str
    evidence_area: float | None
    region_policy: str
    region: Box | None
    region_area: float | None
    images: int
    sent_size: tuple[int, int] | None
    sent_pixels: int | None
    image_tokens: int | None
    prompt_tokens: int | None
    output_tokens: int | None
    seconds: float | None


@dataclass(frozen=True)
class Request:
    """Images, if any, and the prompt that follows them; `key` comes back with the answer.

    A request with `error` is answered by it. `encoded` has each image's stored bytes, where they show exactly that
    image in a form that any server reads, and None for the others; empty where nobody looked for them.
    """

    key: Hashable
    images: tuple[Image, ...]
    prompt: str
    error: str = ""
    encoded: tuple[bytes | None, ...] = ()

    @property
    def pixels(self) -> int:
        """Width x height, summed over the images."""
        return sum(image.width * image.height for image in self.images)


@dataclass(frozen=True)
class Answer:
    """What came back. `error` is empty unless the engine gave no answer.

    `images` is how many were shown, `sent_size` the first one's (width, height) as handed to the processor,
    `sent_pixels` width x height summed over all; token counts are per answer, `image_tokens` over all images;
    `seconds` is the answer's share of its batch; `truncated` says that it was cut off at the limit of new tokens;
    `model` is who a server says answered.
    """

    text: str = ""
    images: int = 0
    sent_size: tuple[int, int] | None = None
    sent_pixels: int | None = None
    image_tokens: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float | None = None
    truncated: bool = False
    error: str = ""
    model: str = ""


class Engine(typing.Protocol):
    """What `gapbench.measure` needs of an engine.

    One that also has `waited` (seconds for which it had nothing to do but wait for requests) has them in `run.json`.
    """

    @property
    def info(self) -> Mapping[str, Any]:
        """What reproduces it: model, revision or hash, dtype, device, pixels, generation settings. JSON-ready."""
        ...

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
        """Answers in any order, one per request; `requests` is consumed lazily."""
        ...
