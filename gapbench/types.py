"""The data that flows through gapbench, as frozen dataclasses.

    from gapbench.types import Sample
    Sample(id="1", image="street.jpg", question="What does the small sign say?", answers=("STOP",),
           boxes=((810.0, 402.0, 846.0, 431.0),))

A benchmark is a `Card`, which describes it, and its `Sample`s. Each view of a sample becomes a `Request` to an
`Engine`, which returns an `Answer`. The scored answer is a `Record`, one line of `records.jsonl`; statistics and
reports know an answer only from its record. Nothing here imports torch, so statistics and reports load fast.
"""

from __future__ import annotations

import typing
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the decoded image. The box ends before column x1 and before row y1."""

BoxFormat = Literal[
    "xyxy", "xywh", "xyxy_normalised", "xywh_normalised", "xyxy_thousand", "xywh_thousand",
]  # fmt: skip
"""How a data set writes its boxes: two corners (xyxy) or a corner and a size (xywh), in pixels or, normalised, in
fractions of the image (0..1), or in thousandths of it (0..1000). The format is declared, never guessed from the
values."""

TOO_LONG, NO_BOX = "prompt-too-long", "no-evidence-box"
"""Rules of records without an answer: the prompt does not fit the model's context; the view needs a box that the data
do not have for this sample, which is no fault and no retry helps."""
Outcome = Literal["right", "wrong", "unparsed", "judge_failed", "failed"]
"""How an answer turned out.

- `right`, `wrong`: a rule, or the judge, decided.
- `unparsed`: no rule could read the answer.
- `failed`: the engine gave no answer.
- `judge_failed`: the judge gave no verdict on an unparsed answer. `records.jsonl` never holds this outcome; it appears
  when verdicts are read with the records (`gapbench.judging`).
"""

AnswerType = Literal["letter", "yes_no", "number", "text", "vqa", "anls"]
"""Which rules score an answer; `gapbench.scoring` explains each."""

Evidence = Literal["annotated", "model"]
"""Who drew the evidence boxes: people, for the benchmark (`annotated`), or a model, in a region file (`model`)."""

Role = Literal["evidence", "full-view", "hold-out", "training"]
"""What a benchmark is for.

- `evidence`: it has evidence boxes or its own crops, so both views are measured.
- `full-view`: it has neither, so only the full view is measured, unless a region file supplies boxes.
- `hold-out`: it shows whether a training made other abilities worse.
- `training`: it is training data.
"""

MetricName = Literal["accuracy", "category_mean", "nested_mean", "cluster_accuracy", "yes_f1", "yes_ratio"]
METRIC_NAMES: tuple[MetricName, ...] = get_args(MetricName)
"""The metrics that a card or a protocol may name. `gapbench.analysis.metrics` computes them."""


@dataclass(frozen=True)
class Sample:
    """One question about one or more images, with its options, accepted answers and evidence boxes.

    - `id`: unique within the benchmark.
    - `image`: a path, encoded bytes, a Hub image dict, a PIL image, or a function without arguments that returns one
      of these; `gapbench.views.images.decode` reads it. Paths and functions keep a large benchmark out of memory.
    - `more_images`: further images, shown after `image` in this order. Boxes refer to `image`.
    - `crop_image`: the crop that the benchmark supplies, if any, in any form that `image` may have.
    - `question`: the question's text, without options.
    - `published`: the question as the benchmark's authors word it in their prompt, for protocols that use that wording.
    - `options`: the texts of a multiple-choice question, in the order of their letters.
    - `answers`: the accepted answers. For `letter`, the letter of the right option; otherwise, any of them counts.
    - `answer_type`: which rules score the answer.
    - `boxes`: the evidence boxes, in the format `box_format` (by default the card's). They become `Box`es in pixels
      when the image is decoded and its size is known.
    - `evidence`: who drew the boxes.
    - `annotated`, `annotated_format`: the annotated boxes and their format, where a model's boxes have replaced them.
    - `boxes_in`: the (width, height) of the image in which a model drew them, if known. No other image is cropped.
    - `category`: a group of samples to report separately. It may have two levels, such as `2D/COCO`.
    - `cluster`: samples of one cluster are not independent, and statistics treat them as one unit. Samples of
      the same image form a cluster in any case.
    - `upright`: whether images are turned as their EXIF orientation says, because the boxes were drawn on the turned
      image. By default images are used as stored.
    - `max_image_pixels`: a higher limit for Pillow's guard against decompression bombs, for trusted data with very
      large images. 0 keeps Pillow's limit.
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
    boxes_in: tuple[int, int] | None = None
    annotated: tuple[Box, ...] = ()
    annotated_format: BoxFormat | None = None
    upright: bool = False


@dataclass(frozen=True)
class Protocol:
    """A published way to prompt a model and to compute the headline number.

    - `prompt`: the template (`gapbench.views.prompts`).
    - `metric`: the headline metric, one of `METRIC_NAMES`.
    - `source`: where prompt and metric are published.
    - `note`: what gapbench does differently.
    """

    prompt: str
    metric: str = "accuracy"
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class Published:
    """A score that was published for a model on a benchmark. Reports show it beside that model's own.

    - `model`: the model's name, as it was published. A run's model is this one if the last part of its name is equal.
    - `value`: in percent; a gap in points.
    - `source`: who published it.
    - `view`: `full`, `crop`, or `gap`, which is crop minus full.
    - `protocol`: the name of the card's protocol whose prompt it was measured with; empty if that is not known.
    - `metric`: one of `METRIC_NAMES`.
    - `part`: the category that it covers, or in words other samples than this benchmark has; empty for all samples.
    - `note`: what else is known of it.
    """

    model: str
    value: float
    source: str
    view: str = "full"
    protocol: str = ""
    metric: str = "accuracy"
    part: str = ""
    note: str = ""


@dataclass(frozen=True)
class Card:
    """The description of a benchmark; `gapbench benchmarks show NAME` prints it.

    - `name`, `title`, `source`, `licence`: text for readers. `source` says where the data comes from.
    - `role`: what the benchmark is for.
    - `hub`, `revision`, `files`, `split`: the Hub data set, its pinned commit, the patterns of the files to fetch, and
      the split. `hub` is empty if nothing is fetched.
    - `region`: the region policy that suits its evidence, such as `padded` (`gapbench.views.regions.REGIONS`).
    - `box_format`: the format of the boxes of every sample that declares none.
    - `prompt`: the template for a benchmark that needs its own (`gapbench.views.prompts`).
    - `scoring`, `cluster`: how answers are scored and which samples form a cluster, in words for readers. The fields
      of the samples decide.
    - `official`: the rule of the benchmark's own script (`gapbench.scoring.official`), under which every report shows
      the run besides gapbench's own rules. Empty if there is none that works without an LLM.
    - `notice`: a warning that every report shows.
    - `restricted`: what the licence forbids. It is shown before data is fetched.
    - `metrics`: metrics to report besides accuracy, from `METRIC_NAMES`.
    - `protocols`: published protocols by name, for `--protocol`.
    - `expected`: counts that `gapbench benchmarks check` verifies, by name: `samples`, `images`, `clusters`,
      `with evidence box`, a category, or known faults of the data (`repair: outside`, `oddity: equal options`).
    - `reference`: published scores. Texts by model, as in older benchmark files, are shown and not compared.
    - `traps`: ways in which this data has misled others.
    - `checked`: the real data with which the card was compared; empty if nobody has done so.
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
    official: str = ""
    notice: str = ""
    restricted: str = ""
    metrics: tuple[str, ...] = ()
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    expected: Mapping[str, int] = field(default_factory=dict)
    reference: tuple[Published, ...] | Mapping[str, str] = ()
    traps: tuple[str, ...] = ()
    checked: str = ""


@dataclass(frozen=True)
class Record:
    """One answer and its score: one line of `records.jsonl`, and all that statistics and reports read.

    `benchmark`, `sample`, `view` and `repeat` (from 0) identify it. Sizes are (width, height) in pixels. Areas are
    fractions of the full image in 0..1, and None without evidence boxes. Fields that are not listed here repeat the
    sample's.

    - `outcome`, `score`: the score is 0 or 1, for `vqa` and `anls` anything from 0 to 1, and None for `failed`.
    - `output`, `parsed`: the model's text without its thought, and the answer that a rule read in it.
    - `thought`: what the model thought before it answered; empty if it did not, or if a server hides it.
    - `cut_off`: whether generation stopped at the limit of new tokens or of the model's context.
    - `rule`, `reason`: the rule that decided, and why an answer is `unparsed` or `failed`. The rule of a failed answer
      is `prompt-too-long` if the prompt is longer than the model's context, `no-evidence-box` if the view needs a box
      and the data has none for this sample, else empty.
    - `image_hash`, `image_size`: a hash over the sample's images, and the size of the first one.
    - `boxes`: evidence boxes as `Box`es in pixels.
    - `evidence`: who drew the boxes; empty without evidence.
    - `annotated_boxes`: the annotated boxes in pixels, where `boxes` are a model's.
    - `region_policy`, `region`: how the region was chosen, and the smallest box around what the crop shows.
    - `evidence_area`, `region_area`: the area of the evidence boxes and of the region.
    - `images`, `sent_size`, `sent_pixels`: the number of images the model was shown, the size of the first one, and
      the sum of width x height over all.
    - `image_tokens`, `prompt_tokens`, `output_tokens`, `seconds`: as in `Answer`.
    - `evidence_tokens`: how many of the image tokens lie on the evidence: for each image the model was shown, its
      tokens times the share of it that evidence boxes cover. None if the tokens or the boxes are not known.

    A judge's verdict never changes the file: `gapbench.runs.judgements` applies it when records are read.
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
    thought: str = ""
    cut_off: bool = False
    evidence_tokens: float | None = None
    annotated_boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Request:
    """One prompt to a model, after its images if it has any.

    - `key`: identifies the request; the engine returns it with the answer.
    - `error`: why the images cannot be shown. The engine then returns this error as the answer, without a model.
    - `encoded`: each image's stored bytes if they hold exactly this image in a format that every server reads, else
      None. Empty if the caller has no stored bytes.
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
    """An engine's answer to one request.

    - `text`: the model's text.
    - `images`: how many images the model was shown.
    - `sent_size`: (width, height) of the first image, in pixels, as handed to the processor.
    - `sent_pixels`: width x height, summed over all images.
    - `image_tokens`: the sum over all images.
    - `prompt_tokens`, `output_tokens`: the counts for this answer.
    - `seconds`: this answer's share of the time of its batch.
    - `thought`: what the model thought before it answered; `text` holds none of it.
    - `cut_off`: whether generation stopped at the limit of new tokens or of the model's context.
    - `thought_cut_off`: whether it stopped before the thought ended, so that there is no answer.
    - `error`: why there is no answer; otherwise empty.
    - `too_long`: whether there is none because the prompt is longer than the model's context.
    - `model`: the model's name, as the server reports it.
    - `confidence`: the smallest probability of a token of the answer, the one that ends it included; None if the
      engine was not asked for it (`Generation.confidence`) or cannot say it.
    """

    text: str = ""
    images: int = 0
    sent_size: tuple[int, int] | None = None
    sent_pixels: int | None = None
    image_tokens: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float | None = None
    thought: str = ""
    cut_off: bool = False
    thought_cut_off: bool = False
    error: str = ""
    too_long: bool = False
    model: str = ""
    confidence: float | None = None


class Engine(typing.Protocol):
    """What the commands need of an engine. Images arrive within the run's pixel bounds: no engine resizes them."""

    @property
    def info(self) -> Mapping[str, Any]:
        """The engine's fields of the manifest (`gapbench.runs.manifest.Manifest`), JSON-ready."""
        ...

    @property
    def waited(self) -> float | None:
        """Seconds spent waiting for requests since the engine was loaded; None if it does not measure them."""
        ...

    @property
    def trouble(self) -> Mapping[str, Any]:
        """Retries and faults since the engine was loaded, JSON-ready; empty if it has none to report."""
        ...

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
        """Yield (key, answer) for each request, in any order. `requests` is consumed lazily."""
        ...

    def allow(self, max_new_tokens: int) -> None:
        """Let answers be this long, in tokens, from now on."""
        ...

    def close(self) -> None:
        """Free the model and end what `load` started. Nothing can be generated afterwards."""
        ...
