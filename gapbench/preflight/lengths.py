"""How long a task's prompts are, from the headers of its images: nothing is decoded, no model is loaded.

    for view in view_lengths(task, chat, Pixels(), image_token, Limits(32768, 128)):
        view.name, view.median.tokens, view.longest.tokens

Regions and views are those of `gapbench.measure`, applied to blank images of the stored sizes. The model's own
processor counts the tokens of the median and of the largest image, and of the longest text.

Limits: only the first `HEADERS` samples are looked at. "Largest" is by pixels within the bounds; an image of an extreme
shape may take more tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from gapbench.data.task import Task
from gapbench.engines.chat import Chat
from gapbench.engines.local import failure_details
from gapbench.errors import SampleError
from gapbench.preflight.diagnosis import Observation
from gapbench.types import Request, Sample
from gapbench.util.text import listed
from gapbench.views import boxes
from gapbench.views.fills import plain
from gapbench.views.images import stored_size
from gapbench.views.pixels import Budget, Pixels
from gapbench.views.prepare import PreparedSample, show, with_region
from gapbench.views.views import View

if TYPE_CHECKING:
    from PIL.Image import Image

HEADERS = 500
"""Samples of a task whose images' headers are read."""

FEW = 40
"""Samples of which other views than `full` and `crop` are made, which takes longer."""

TRIES, STEPS = 5, 8
"""Samples that are tried if a processor refuses images, and parts of a view's images by size whose ends are counted."""
SHRINK = 0.8
"""The factor between the bounds on pixels that are tried."""

Sizes = tuple[tuple[int, int], ...]
"""(width, height) of each image of a prompt, in pixels."""


@dataclass(frozen=True)
class PromptLength:
    """The sizes of a prompt's images within the pixel bounds, its tokens, and those of its images."""

    sample: Sample
    sizes: Sizes
    prompt: str
    tokens: int
    image_tokens: int


@dataclass(frozen=True)
class ViewLengths:
    """Prompts of a view: of the median image, of the largest image, and the longest of those that were counted.

    `shown` of `looked_at` samples can be shown; `reason` is why the first of the others cannot. `too_long` counts
    prompts longer than the context, `tight` those that leave less room than the longest answer; both are estimates by
    the size of the image and the length of the text. `fitting` bounds the pixels so that the longest fits (0: none).
    """

    name: str
    median: PromptLength
    largest: PromptLength
    longest: PromptLength
    shown: int
    looked_at: int
    reason: str = ""
    too_long: int = 0
    tight: int = 0
    fitting: int = 0


@dataclass(frozen=True)
class Limits:
    """The context in tokens, None if unknown, and the longest answer."""

    context: int | None
    answer: int


def view_lengths(task: Task, chat: Chat, pixels: Pixels, image_token: int | None, limits: Limits) -> list[ViewLengths]:
    """The lengths of each view that can show any of the first samples, in the order of the task's views."""
    samples = task.samples[:HEADERS]
    stand_ins = [stand_in(sample, task.region) for sample in samples]
    found = []
    for view in task.views:
        shown: list[tuple[Sizes, Sample]] = []
        reasons = []
        step = 1 if view.kind in ("full", "crop") else max(1, len(samples) // FEW)
        for sample, case in zip(samples[::step], stand_ins[::step], strict=True):
            sizes, reason = _shown_sizes(case, view, task.region, pixels)
            if not reason:
                shown.append((sizes, sample))
            else:
                reasons.append(f"{sample.id}: {reason}")
        shown.sort(key=lambda pair: _area(pair[0]))
        if measured := _Measured(task, chat, image_token, shown, reasons).lengths(view.name, limits):
            found.append(measured)
    return found


def stand_in(sample: Sample, policy: str) -> PreparedSample:
    """The sample, prepared with blank images of the stored sizes; without images if a header cannot be read."""
    try:
        images = tuple(blank(stored_size(source)) for source in (sample.image, *sample.more_images))
        crop = None if sample.crop_image is None else blank(stored_size(sample.crop_image))
    except SampleError as error:
        return PreparedSample(sample, policy, error=str(error))
    prepared = PreparedSample(replace(sample, crop_image=crop), policy, images, images[0].size)
    try:
        evidence, _ = boxes.normalise(sample.boxes, sample.box_format or "xyxy", images[0].size)
    except SampleError as error:
        return replace(prepared, region_error=str(error))
    return with_region(replace(prepared, boxes=evidence), policy)


@lru_cache(maxsize=8)
def blank(size: tuple[int, int]) -> Image:
    """A grey image of this size."""
    return plain(size)


def length_of(chat: Chat, images: Sequence[Image], prompt: str, image_token: int | None) -> tuple[int, int]:
    """The tokens of a prompt, and those of its images (0 if the model has no token that stands for an image)."""
    ids = chat.batch([(images, prompt)])["input_ids"][0].tolist()
    return len(ids), 0 if image_token is None else ids.count(image_token)


def _shown_sizes(case: PreparedSample, view: View, policy: str, pixels: Pixels) -> tuple[Sizes, str]:
    """The sizes of what a view shows; empty, with the reason, if it can show nothing."""
    own = view.policy(policy)
    sample = case if own == policy else with_region(case, own)
    budget = Budget(pixels.target(sample.size) if sample.size else None, pixels)
    shown, reason = show(sample, view, "", budget)
    try:
        return tuple(pixels.target(image.size) for image in shown.images), reason
    except ValueError as error:
        return (), str(error)


def _area(sizes: Sizes) -> int:
    return sum(width * height for width, height in sizes)


@dataclass(frozen=True)
class _Measured:
    """The samples that a view shows, smallest images first, and why it does not show the others."""

    task: Task
    chat: Chat
    image_token: int | None
    shown: list[tuple[Sizes, Sample]]
    reasons: list[str]

    def lengths(self, name: str, limits: Limits) -> ViewLengths | None:
        """None if no sample can be shown. Images that the processor refuses are left out, with its reason."""
        looked_at = len(self.shown) + len(self.reasons)
        largest = self._last(self.shown)
        median = self._last(self.shown[: len(self.shown) // 2 + 1])
        if largest is None or median is None:
            return None
        text = max((pair for pair in self.shown), key=lambda pair: len(self.task.prompt(pair[1])))
        longest = max((one for one in (median, largest, self._measure(text)) if one), key=lambda one: one.tokens)
        found = ViewLengths(name, median, largest, longest, len(self.shown), looked_at, next(iter(self.reasons), ""))
        if limits.context is None:
            return found
        texts = [len(self.chat.processor.tokenizer(self.task.prompt(sample))["input_ids"]) for _, sample in self.shown]
        around = longest.tokens - longest.image_tokens - max(texts)
        if largest.image_tokens + max(texts) + max(0, around) + limits.answer <= limits.context:
            return found
        tokens = [a + b + max(0, around) for a, b in zip(self._image_tokens(), texts, strict=True)]
        too_long = sum(count >= limits.context for count in tokens)
        tight = sum(count + limits.answer > limits.context for count in tokens)
        return replace(found, too_long=too_long, tight=tight, fitting=self._fitting(longest, limits) if tight else 0)

    def _count(self, pair: tuple[Sizes, Sample]) -> PromptLength:
        """The prompt of a sample. Raises whatever the processor raises at its images."""
        sizes, sample = pair
        prompt = self.task.prompt(sample)
        tokens, image_tokens = length_of(self.chat, [blank(size) for size in sizes], prompt, self.image_token)
        return PromptLength(sample, sizes, prompt, tokens, image_tokens)

    def _measure(self, pair: tuple[Sizes, Sample]) -> PromptLength | None:
        """The prompt of a sample; None, and one reason more, if the processor refuses its images."""
        try:
            return self._count(pair)
        except Exception as error:
            request = Request("", tuple(blank(size) for size in pair[0]), "")
            self.reasons.append(f"{pair[1].id}: the processor refuses {failure_details(request, error)}")
            self.shown.remove(pair)
            return None

    def _last(self, pairs: Sequence[tuple[Sizes, Sample]]) -> PromptLength | None:
        """The prompt of the last sample that the processor takes, of a few."""
        return next((one for pair in [*pairs][: -TRIES - 1 : -1] if (one := self._measure(pair))), None)

    def _image_tokens(self) -> list[int]:
        """The visual tokens of each sample: those of the next larger image of `STEPS` that are counted."""
        last, counted = len(self.shown) - 1, dict[int, int]()
        for place in {last * step // STEPS for step in range(STEPS + 1)}:
            with suppress(Exception):  # an image that the processor refuses has no tokens
                counted[place] = self._count(self.shown[place]).image_tokens
        tokens, following = [0] * (last + 1), 0
        for place in range(last, -1, -1):
            following = counted.get(place, following)
            tokens[place] = following
        return tokens

    def _fitting(self, longest: PromptLength, limits: Limits) -> int:
        """A bound on pixels under which the longest prompt and an answer fit the context; 0 if there is none."""
        pixels = max((width * height for width, height in longest.sizes), default=0)
        for bound in (int(pixels * SHRINK**step) // 1000 * 1000 for step in range(1, 30)):
            images = [blank(Pixels(max_pixels=bound).target(size)) for size in longest.sizes] if bound else []
            if images and length_of(self.chat, images, longest.prompt, None)[0] + limits.answer <= (
                limits.context or 0
            ):
                return bound
        return 0


def against_context(lengths: Mapping[str, Sequence[ViewLengths]], limits: Limits) -> Observation:
    """Whether the longest prompt of any task, by name, leaves room in the context for an answer."""
    views = [(task, view) for task, of_task in lengths.items() for view in of_task]
    tokens = max(view.longest.tokens for _, view in views)
    need = f"longest prompt {tokens:,} tokens, longest answer {limits.answer:,}"
    if limits.context is None:
        remedy = (
            "If prompts are cut without a word, full images suffer most, and that looks like a gap. --max-model-len N."
        )
        return Observation("context", "warning", f"{need}; nothing says how long the model's context is", remedy)
    found = f"{need}, context {limits.context:,}"
    too_long = [f"about {v.too_long:,} of {v.shown:,} in {task} {v.name}" for task, v in views if v.too_long]
    tight = [f"about {v.tight:,} of {v.shown:,} in {task} {v.name}" for task, v in views if v.tight]
    fitting = min((view.fitting for _, view in views if view.tight), default=0)
    remedy = "Lower --max-new-tokens, or use a model with a longer context."
    if fitting:
        remedy = f"--max-pixels {fitting}, which bounds the images of all views."
    if too_long:
        return Observation("context", "fails", f"{found}: too long are {listed(too_long)}", remedy)
    if tight:
        found += f": answers of full length have no room for {listed(tight)}, and would end early"
        return Observation("context", "warning", found, remedy)
    return Observation("context", "ok", found)


def in_words(views: Sequence[ViewLengths]) -> str:
    """`full 8,185 tokens (3840 x 2160), at most 16,345 (7680 x 4320); crop 96 tokens (40 x 30), …`."""
    words = []
    for view in views:
        text = f"{view.name} {view.median.tokens:,} tokens ({_words(view.median.sizes)})"
        if (view.longest.tokens, view.longest.sizes) != (view.median.tokens, view.median.sizes):
            text += f", at most {view.longest.tokens:,} ({_words(view.longest.sizes)})"
        words.append(text)
    return "; ".join(words)


def _words(sizes: Sizes) -> str:
    words = [f"{width} x {height}" for width, height in sizes]
    if len(words) < 2:
        return words[0] if words else "no image"
    return f"{len(words)} images, {listed(words, 2)}"


def spread(samples: Sequence[Sample], count: int, first: Iterable[Sample]) -> list[Sample]:
    """`count` samples: these `first`, then others evenly over all."""
    chosen = list({sample.id: sample for sample in first}.values())[:count]
    ids = {sample.id for sample in chosen}
    others = [sample for sample in samples if sample.id not in ids]
    missing = min(count - len(chosen), len(others))
    return chosen + [others[number * len(others) // missing] for number in range(missing)]
