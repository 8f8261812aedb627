"""How long a task's prompts are, from the headers of its images: nothing is decoded, no model is loaded.

    for view in view_lengths(task, chat, Pixels(), image_token):
        view.name, view.median.image_tokens, view.largest.size

Regions and views are those of `gapbench.measure`, applied to blank images of the stored sizes. The model's own
processor counts the tokens of a blank image of the median and of the largest size.

Limits: only the first `HEADERS` samples are looked at. "Largest" is by pixels within the bounds; an image of an extreme
shape may take more tokens. The longest prompt is that of the largest image with the longest text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from gapbench.data.task import Task
from gapbench.engines.chat import Chat
from gapbench.errors import SampleError
from gapbench.preflight.diagnosis import Observation
from gapbench.types import Sample
from gapbench.util.text import listed
from gapbench.views import boxes
from gapbench.views.images import stored_size
from gapbench.views.pixels import Pixels
from gapbench.views.prepare import PreparedSample, show, with_region
from gapbench.views.views import View

if TYPE_CHECKING:
    from PIL.Image import Image

HEADERS = 500
"""Samples of a task whose images' headers are read."""

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
    """The prompts of the median and of the largest images of a view, and one of these images with the longest text.

    `shown` counts the samples that the view can show, of `looked_at`. `too_long` counts those whose prompt and answer
    exceed the context, if one was given; `fitting` is then a bound on pixels under which the longest fits (0: none).
    """

    name: str
    median: PromptLength
    largest: PromptLength
    longest: int
    shown: int
    looked_at: int
    too_long: int = 0
    fitting: int = 0


def view_lengths(
    task: Task, chat: Chat, pixels: Pixels, image_token: int | None, room: int | None = None
) -> list[ViewLengths]:
    """The lengths of each view that can show any sample. `room` is the longest prompt that leaves room for an answer.

    Raises what the processor raises for a blank image.
    """
    samples = task.samples[:HEADERS]
    stand_ins = [stand_in(sample, task.region) for sample in samples]
    found = []
    for view in task.views:
        shown = sorted(
            ((sizes, sample) for sample, case in zip(samples, stand_ins, strict=True)
             if (sizes := _shown_sizes(case, view, task.region, pixels))),
            key=lambda pair: sum(width * height for width, height in pair[0]),
        )  # fmt: skip
        if shown:
            found.append(_lengths(view.name, shown, task, chat, image_token, room, len(samples)))
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
    from PIL import Image as Pillow

    return Pillow.new("RGB", size, (128, 128, 128))


def length_of(chat: Chat, images: Sequence[Image], prompt: str, image_token: int | None) -> tuple[int, int]:
    """The tokens of a prompt, and those of its images (0 if the model has no token that stands for an image)."""
    ids = chat.batch([(images, prompt)])["input_ids"][0].tolist()
    return len(ids), 0 if image_token is None else ids.count(image_token)


def _shown_sizes(case: PreparedSample, view: View, policy: str, pixels: Pixels) -> Sizes:
    """The sizes of what a view shows; empty if it can show nothing."""
    own = view.policy(policy)
    sample = case if own == policy else with_region(case, own)
    width, height = pixels.target(sample.size) if sample.size else (0, 0)
    images = show(sample, view, "", width * height)[0].images
    try:
        return tuple(pixels.target(image.size) for image in images)
    except ValueError:
        return ()


def _lengths(
    name: str, shown: Sequence[tuple[Sizes, Sample]], task: Task, chat: Chat, image_token: int | None,
    room: int | None, looked_at: int,
) -> ViewLengths:  # fmt: skip
    def measured(pair: tuple[Sizes, Sample]) -> PromptLength:
        sizes, sample = pair
        prompt = task.prompt(sample)
        tokens, image_tokens = length_of(chat, [blank(size) for size in sizes], prompt, image_token)
        return PromptLength(sample, sizes, prompt, tokens, image_tokens)

    median, largest = measured(shown[len(shown) // 2]), measured(shown[-1])
    text = max((task.prompt(sample) for _, sample in shown), key=len)

    def with_longest_text(bound: int) -> int:
        images = [blank(Pixels(max_pixels=bound).target(size)) for size in largest.sizes]
        return length_of(chat, images, text, image_token)[0]

    pixels = max(width * height for width, height in largest.sizes)
    longest = max(median.tokens, largest.tokens, with_longest_text(pixels))
    if room is None or longest <= room:
        return ViewLengths(name, median, largest, longest, len(shown), looked_at)
    too_long = len(shown) - bisect_right(shown, room, key=lambda pair: measured(pair).tokens)  # by pixels, in order
    bounds = (int(pixels * SHRINK**step) // 1000 * 1000 for step in range(1, 30))
    fitting = next((bound for bound in bounds if bound and with_longest_text(bound) <= room), 0)
    return ViewLengths(name, median, largest, longest, len(shown), looked_at, too_long, fitting)


def against_context(lengths: Mapping[str, Sequence[ViewLengths]], answer: int, context: int | None) -> Observation:
    """Whether the longest prompt of any task, by name, leaves room in the context for an answer of so many tokens."""
    views = [(task, view) for task, of_task in lengths.items() for view in of_task]
    longest = max((view for _, view in views), key=lambda view: view.longest)
    need = f"longest prompt {longest.longest:,} tokens, longest answer {answer:,}"
    if context is None:
        remedy = (
            "If prompts are cut without a word, full images suffer most, and that looks like a gap. --max-model-len N."
        )
        return Observation("context", "warning", f"{need}; nothing says how long the model's context is", remedy)
    over = [f"{v.too_long:,} of {v.shown:,} prompts of {task} {v.name}" for task, v in views if v.too_long]
    if not over:
        return Observation("context", "ok", f"{need}, context {context:,}")
    fitting = min(view.fitting for _, view in views if view.too_long)
    remedy = "Lower --max-new-tokens, or use a model with a longer context."
    if fitting:
        remedy = f"--max-pixels {fitting}, which bounds the images of all views."
    return Observation("context", "fails", f"{need}, context {context:,}: {listed(over)} have no room", remedy)


def in_words(views: Sequence[ViewLengths]) -> str:
    """`full 8,185 tokens (3840 x 2160), at most 16,345 (7680 x 4320); crop 96 tokens (40 x 30), …`."""
    words = []
    for view in views:
        text = f"{view.name} {view.median.tokens:,} tokens ({_words(view.median.sizes)})"
        if (view.longest, view.largest.sizes) != (view.median.tokens, view.median.sizes):
            text += f", at most {view.longest:,} ({_words(view.largest.sizes)})"
        words.append(text)
    return "; ".join(words)


def _words(sizes: Sizes) -> str:
    words = [f"{width} x {height}" for width, height in sizes]
    return words[0] if len(words) == 1 else f"{len(words)} images, {listed(words, 2)}"


def spread(samples: Sequence[Sample], count: int, first: Iterable[Sample]) -> list[Sample]:
    """`count` samples: these `first`, then others evenly over all."""
    chosen = list({sample.id: sample for sample in first}.values())[:count]
    ids = {sample.id for sample in chosen}
    others = [sample for sample in samples if sample.id not in ids]
    missing = min(count - len(chosen), len(others))
    return chosen + [others[number * len(others) // missing] for number in range(missing)]
