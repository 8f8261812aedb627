"""Relative attention: where a model looks more for a question than for a general prompt. Transformers engine only.

    for key, boxes in locate(engine, requests, layers=(18, 19, 20)): ...

After ViCrop's "rel-att" (Zhang et al. 2025, "MLLMs Know Where to Look", arXiv:2502.17422), written anew: the attention
of the last prompt token to the image is divided by the same attention for a prompt that asks for a general description.
Square windows of several sizes then slide over this relative map, and the box is the window whose sum stands out most
from its neighbours. Differences from the paper:

- several layers are averaged, by default those between 40 and 80 % of the depth: layers that others picked by hand lie
  there (22 of 28 in Qwen2.5-VL-7B, 24 of 36 in Qwen3-VL);
- a uniform share is added to the denominator (`SMOOTHING`), so that dividing by almost nothing does not favour tokens
  that the general prompt hardly looks at;
- windows are fractions of the image instead of multiples of a model's input size, and at least two tokens a side.

Limits: a box is as coarse as the tokens. Evidence in two places gets a box in one of them. Each sample takes two
forward passes, or one if the sample before it has the same image.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gapbench.engines.chat import place
from gapbench.errors import ModelError, SettingError
from gapbench.localisation.maps import USE_GROUNDING, FloatMap, Maps, attention_maps, last_rows
from gapbench.localisation.result import NOT_ANSWERED, LocatedBoxes
from gapbench.types import Request
from gapbench.views.fills import plain

if TYPE_CHECKING:
    from PIL.Image import Image

    from gapbench.engines.transformers import TransformersEngine

GENERAL = "Write a general description of the image."
SMOOTHING = 1.0
"""Uniform shares (1 / tokens) added to the general map. On 200 validation questions of signs, `glance` finds 63 % of
the evidence with it and 51 % without, in windows of the same size."""
DEPTH = (0.4, 0.8)
"""The layers used by default, as fractions of the depth."""
WINDOWS = (1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3)
"""Sides of the windows, as fractions of the image's shorter side."""
MIN_TOKENS = 2
"""Smallest side of a window in tokens: a single token is too often an attention sink without meaning."""


@dataclass(frozen=True)
class Window:
    """Rows `top` to `bottom` and columns `left` to `right` (exclusive); `contrast` is how far its sum stands out."""

    top: int
    left: int
    bottom: int
    right: int
    contrast: float


def locate(
    engine: TransformersEngine, requests: Iterable[Request], layers: Sequence[int], works: bool = False
) -> Iterator[tuple[Hashable, LocatedBoxes]]:
    """The key and one box of each request, in order; a request that fails gets no box and a `reason`.

    Raises ModelError if the first request fails, since the others would fail too; not if `works` says that the model
    has already located a box.
    """
    general: tuple[Image, Maps] | None = None
    for request in requests:
        if request.error:
            yield request.key, LocatedBoxes(reason=f"{NOT_ANSWERED}: {request.error}")
            continue
        image = request.images[0]
        try:
            if general is None or general[0] is not image:
                general = image, attention_maps(engine, image, GENERAL)
            located = box_of(attention_maps(engine, image, request.prompt), general[1], layers, image.size)
        except Exception as error:  # from the processor, the model or a lack of memory
            ours = isinstance(error, ModelError)
            failure = str(error) if ours else f"{type(error).__name__}: {error}"
            if not works:
                text = failure if ours else f"Model {engine.loaded.name}: {failure}. {USE_GROUNDING}"
                raise ModelError(text) from error
            located = LocatedBoxes(reason=f"{NOT_ANSWERED}: {failure}")
        works = True
        yield request.key, located


def box_of(specific: Maps, general: Maps, layers: Sequence[int], size: tuple[int, int]) -> LocatedBoxes:
    """The box of the window that stands out in the relative map; its score is the map's share inside the window."""
    if any(n not in maps.layers for maps in (specific, general) for n in layers):
        return LocatedBoxes(reason="the image lies outside of the attention of some layers")
    relative = relative_map(*(np.mean([maps.layers[n] for n in layers], axis=0) for maps in (specific, general)))
    x0, y0, x1, y1 = specific.seen
    seen_size = ((x1 - x0) * size[0], (y1 - y0) * size[1])
    window = best_window(relative, window_sizes(relative.shape, seen_size))
    if window is None:
        return LocatedBoxes(reason=f"a grid of {relative.shape[1]} x {relative.shape[0]} tokens is too coarse")
    if window.contrast <= 1e-9 * relative.sum():
        return LocatedBoxes(reason="the map is flat")
    rows, columns = relative.shape
    left, right = (x0 + (x1 - x0) * n / columns for n in (window.left, window.right))
    top, bottom = (y0 + (y1 - y0) * n / rows for n in (window.top, window.bottom))
    inside = relative[window.top : window.bottom, window.left : window.right].sum() / relative.sum()
    return LocatedBoxes(((left, top, right, bottom),), score=round(float(inside), 6))


def relative_map(specific: FloatMap, general: FloatMap) -> FloatMap:
    """The map of a question divided by the general map, smoothed; both sum to 1."""
    return specific / (general + SMOOTHING / general.size)


def window_sizes(grid: tuple[int, ...], size: tuple[float, float]) -> list[tuple[int, int]]:
    """Distinct window sizes as (rows, columns), square in pixels of an image of `size` (width, height)."""
    sizes = []
    for part in WINDOWS:
        side = part * min(size)
        tall, wide = (round(side * n / pixels) for n, pixels in zip(grid, size[::-1], strict=True))
        sizes.append((min(grid[0], max(MIN_TOKENS, tall)), min(grid[1], max(MIN_TOKENS, wide))))
    return list(dict.fromkeys(sizes))


def best_window(values: FloatMap, sizes: Iterable[tuple[int, int]]) -> Window | None:
    """The window whose sum is furthest above the mean sum of the adjacent places, or None if no window can move.

    Each size competes with its place of largest sum. The paper's heuristic: a window that is too small or too large
    for what it holds loses little when it moves by a token.
    """
    cumulative = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows: list[Window] = []
    for tall, wide in sizes:
        sums = cumulative[tall:, wide:] - cumulative[:-tall, wide:]
        sums = sums - cumulative[tall:, :-wide] + cumulative[:-tall, :-wide]
        if sums.size == 1:
            continue
        top, left = (int(n) for n in np.unravel_index(sums.argmax(), sums.shape))
        around = sums[max(0, top - 1) : top + 2, max(0, left - 1) : left + 2]
        contrast = float(sums[top, left] - (around.sum() - sums[top, left]) / (around.size - 1))
        windows.append(Window(top, left, top + tall, left + wide, contrast))
    return max(windows, key=lambda window: window.contrast, default=None)


def parse_layers(text: str) -> tuple[int, ...]:
    """`18,20-22` -> (18, 20, 21, 22); empty text gives no layers. Raises SettingError."""
    layers: list[int] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        numbers = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        first, last = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (1, 0)
        if first > last:
            raise SettingError(f"--layers {text}: {part!r} is no layer or range. Expected 22, or 18-22,24, or alike.")
        layers += range(first, last + 1)
    return tuple(sorted(set(layers)))


def choose_layers(engine: TransformersEngine, layers: Sequence[int]) -> tuple[int, ...]:
    """The requested `layers`, or by default those in the middle of the depth that have attention maps.

    One forward pass over a grey image shows which layers have a map. Raises ModelError if no layer has one,
    SettingError if a requested layer has none.
    """
    model, name = engine.loaded.model, engine.loaded.name
    mapped = sorted(last_rows(model, place(engine.chat.batch([((plain((224, 224)),), GENERAL)]), model)))
    depth = len(model.get_decoder().layers)
    if not mapped:
        raise ModelError(f"Model {name}: none of its {depth} layers has attention that can be read. {USE_GROUNDING}")
    if lacking := [n for n in layers if n not in mapped]:
        known = f"Its layers are 0 to {depth - 1}; those with a map are {', '.join(map(str, mapped))}."
        raise SettingError(f"--layers: {name} has no attention map in layer {', '.join(map(str, lacking))}. {known}")
    middle = [n for n in mapped if DEPTH[0] <= (n + 0.5) / depth <= DEPTH[1]]
    nearest = min(mapped, key=lambda n: abs((n + 0.5) / depth - sum(DEPTH) / 2))
    return tuple(layers) or tuple(middle) or (nearest,)
