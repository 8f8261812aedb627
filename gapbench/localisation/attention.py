"""Relative attention: where a model looks for one question more than for none in particular. Transformers engine only.

    for key, found in locate(engine, requests, layers=(18, 19, 20)): ...

After ViCrop's "rel-att" (Zhang et al. 2025, "MLLMs Know Where to Look", arXiv:2502.17422), written anew: the attention
of the last prompt token to the image, divided by the same for a prompt that asks for a general description; then, of
square windows of several sizes, the one whose sum stands out most from its neighbours'. What differs from the paper:

- several layers are averaged, by default those between 40 and 80 % of the depth, where the layers that others picked by
  hand lie (22 of 28 in Qwen2.5-VL-7B, 24 of 36 in Qwen3-VL);
- a uniform share is added to the denominator (`SMOOTHING`), so that tokens which the general prompt hardly looks at do
  not win by a division by almost nothing;
- windows are fractions of the image instead of multiples of a model's input size, and at least two tokens a side.

Limits: a box is as coarse as the tokens; a question whose evidence lies in two places gets one of them. Two forward
passes per question, one where the image was that of the question before.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gapbench.errors import ModelError, SettingError
from gapbench.localisation.maps import INSTEAD, FloatMap, Maps, attention_maps, last_rows
from gapbench.localisation.result import NOT_ASKED, Found
from gapbench.types import Request

if TYPE_CHECKING:
    from gapbench.engines.transformers import TransformersEngine

GENERAL = "Write a general description of the image."
SMOOTHING = 1.0
"""Uniform shares (1 / tokens) added to the general map. On 200 validation questions of signs, `glance` finds 63 % of
the evidence with it and 51 % without, in windows of the same size."""
DEPTH = (0.4, 0.8)
WINDOWS = (1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3)
"""Sides of the windows, as fractions of the image's shorter side."""
LEAST = 2
"""Tokens a window has at least across: a single one is too often a sink of attention that means nothing."""


@dataclass(frozen=True)
class Window:
    """Rows `top` to `bottom` and columns `left` to `right` (exclusive), and by how much its sum stands out."""

    top: int
    left: int
    bottom: int
    right: int
    contrast: float


def locate(
    engine: TransformersEngine, requests: Iterable[Request], layers: Sequence[int], works: bool = False
) -> Iterator[tuple[Hashable, Found]]:
    """One box for each request, in order; what fails with one image is its `reason`.

    Raises ModelError if already the first fails, unless the model is known to work: then none is likely to succeed.
    """
    last: Any = None
    for request in requests:
        if request.error:
            yield request.key, Found(reason=f"{NOT_ASKED}: {request.error}")
            continue
        image = request.images[0]
        try:
            if image is not last:
                sent, last = engine.pixels.apply(image), None
                general = attention_maps(engine, sent, GENERAL)
                last = image
            found = box_of(attention_maps(engine, sent, request.prompt), general, layers, sent.size)
        except Exception as error:  # the processor's and the model's own, as well as memory
            if not works:
                if isinstance(error, ModelError):
                    raise
                raise ModelError(f"Model {engine.loaded.name}: {type(error).__name__}: {error}. {INSTEAD}") from error
            said = str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
            found = Found(reason=f"{NOT_ASKED}: {said}")
        works = True
        yield request.key, found


def box_of(asked: Maps, general: Maps, layers: Sequence[int], size: tuple[int, int]) -> Found:
    """The box of the window that stands out in the relative map; its score is the map's share inside of it."""
    blind = [n for n in layers if n not in asked.layers or n not in general.layers]
    if blind:
        return Found(reason="the image lies outside of the attention of some layers")
    relative = divide(*(np.mean([maps.layers[n] for n in layers], axis=0) for maps in (asked, general)))
    x0, y0, x1, y1 = asked.seen
    shown = ((x1 - x0) * size[0], (y1 - y0) * size[1])
    window = stand_out(relative, window_sizes(relative.shape, shown))
    if window is None:
        return Found(reason=f"a grid of {relative.shape[1]} x {relative.shape[0]} tokens is too coarse")
    if window.contrast <= 1e-9 * relative.sum():
        return Found(reason="the map is flat")
    rows, columns = relative.shape
    box = (
        x0 + (x1 - x0) * window.left / columns,
        y0 + (y1 - y0) * window.top / rows,
        x0 + (x1 - x0) * window.right / columns,
        y0 + (y1 - y0) * window.bottom / rows,
    )
    inside = relative[window.top : window.bottom, window.left : window.right].sum() / relative.sum()
    return Found((box,), score=round(float(inside), 6))


def divide(asked: FloatMap, general: FloatMap) -> FloatMap:
    """The relative map of two maps that sum to 1, smoothed."""
    return asked / (general + SMOOTHING / general.size)


def window_sizes(grid: tuple[int, ...], size: tuple[float, float]) -> list[tuple[int, int]]:
    """Windows as (rows, columns), square in pixels of an image of `size` (width, height), each once."""
    sizes = []
    for part in WINDOWS:
        side = part * min(size)
        tall, wide = (round(side * n / pixels) for n, pixels in zip(grid, size[::-1], strict=True))
        sizes.append((min(grid[0], max(LEAST, tall)), min(grid[1], max(LEAST, wide))))
    return list(dict.fromkeys(sizes))


def stand_out(values: FloatMap, sizes: Iterable[tuple[int, int]]) -> Window | None:
    """Of the best place of each window size, the one whose sum is furthest above the mean of the adjacent places'.

    Neither a window too small nor one too large for what it holds loses much when it moves by a token (the paper's
    heuristic). None if no window can move.
    """
    table = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    best: Window | None = None
    for tall, wide in sizes:
        sums = table[tall:, wide:] - table[:-tall, wide:] - table[tall:, :-wide] + table[:-tall, :-wide]
        if sums.size == 1:
            continue
        top, left = (int(n) for n in np.unravel_index(sums.argmax(), sums.shape))
        around = sums[max(0, top - 1) : top + 2, max(0, left - 1) : left + 2]
        contrast = float(sums[top, left] - (around.sum() - sums[top, left]) / (around.size - 1))
        if best is None or contrast > best.contrast:
            best = Window(top, left, top + tall, left + wide, contrast)
    return best


def parse_layers(text: str) -> tuple[int, ...]:
    """`18,20-22` -> (18, 20, 21, 22); empty is empty. Raises SettingError."""
    layers: list[int] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        numbers = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        first, last = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (1, 0)
        if first > last:
            raise SettingError(f"--layers {text}: {part!r} is no layer or range. Expected such as 22 or 18-22,24.")
        layers += range(first, last + 1)
    return tuple(sorted(set(layers)))


def choose_layers(engine: TransformersEngine, wanted: Sequence[int]) -> tuple[int, ...]:
    """The wanted layers, or those in the middle of the depth, among those that have attention maps.

    Found out by one forward pass over a grey image. Raises ModelError if none has a map, SettingError if a wanted one
    has none.
    """
    from PIL import Image

    from gapbench.engines.chat import place

    model, name = engine.loaded.model, engine.loaded.name
    grey = Image.new("RGB", (224, 224), (128, 128, 128))
    have = sorted(last_rows(model, place(engine.chat.batch([((grey,), GENERAL)]), model)))
    depth = len(model.get_decoder().layers)
    if not have:
        raise ModelError(f"Model {name}: none of its {depth} layers has attention that gapbench can read. {INSTEAD}")
    if lacking := [n for n in wanted if n not in have]:
        raise SettingError(
            f"--layers: {name} has no attention map in layer {', '.join(map(str, lacking))}. Its layers are 0 to "
            f"{depth - 1}; with a map are {', '.join(map(str, have))}."
        )
    middle = [n for n in have if DEPTH[0] <= (n + 0.5) / depth <= DEPTH[1]]
    nearest = min(have, key=lambda n: abs((n + 0.5) / depth - sum(DEPTH) / 2))
    return tuple(wanted) or tuple(middle) or (nearest,)
