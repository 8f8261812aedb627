"""Attention maps of the last prompt token over the image, one per layer, for any model of transformers.

    maps = attention_maps(engine, image, "What does the small sign say?")
    maps.layers[22]         # shape (rows, columns) of the image's tokens, >= 0, sums to 1

Only the last row of attention is needed. A wrapper around `AttentionInterface.get_interface` computes it in the layers
of the language model, beside the attention that the model uses. So the model runs at its usual speed, no layer needs
eager attention, and a map costs heads x length instead of heads x length x length numbers. The rows equal those of
`output_attentions=True` under eager attention.

Limits: one image per prompt; models of transformers' attention interface only (code that ships with a model may bypass
it). A processor that pads the image on the right or below by less than a token shifts boxes by as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gapbench.engines.chat import place
from gapbench.engines.tokens import image_token_id
from gapbench.errors import ModelError
from gapbench.types import Box

if TYPE_CHECKING:
    from PIL.Image import Image

    from gapbench.engines.transformers import TransformersEngine

FloatMap = NDArray[np.float64]
Grid = tuple[int, int]

USE_GROUNDING = "Use --method grounding, which needs no attention maps."
TILING_SWITCHES = "crop_to_patches=false or do_image_splitting=false, if it has such a switch"


@dataclass(frozen=True)
class Maps:
    """Maps by layer (counted from 0), and `seen`, the part of the image they cover in fractions of its sides."""

    layers: Mapping[int, FloatMap]
    seen: Box


def attention_maps(engine: TransformersEngine, image: Image, text: str) -> Maps:
    """The maps of one prompt: mean over heads, restricted to the image's tokens, each with sum 1.

    Layers that do not see the image (a linear layer, a sliding window that does not reach it) have no map. Raises
    ModelError if the prompt has no image tokens or they cannot be laid out as a grid.
    """
    loaded = engine.loaded
    inputs = place(engine.chat.batch([((image,), text)]), loaded.model)
    token = image_token_id(loaded.model.config, loaded.processor)
    is_image = inputs["input_ids"][0] == token
    count = int(is_image.sum())
    if not count:
        fault = f"none of the prompt's {len(is_image)} tokens is the image's (id {token}), so there is no map"
        raise ModelError(f"Model {loaded.name}: {fault}. {USE_GROUNDING}")
    grid = find_grid(inputs, count, image.size)
    names = ("do_center_crop", "do_pad", "crop_size", "size")
    defaults = {name: getattr(loaded.processor.image_processor, name, None) for name in names}
    seen = seen_part({**defaults, **engine.chat.processor_kwargs}, image.size, grid)
    rows = {n: row[is_image].double().cpu().numpy() for n, row in last_rows(loaded.model, inputs).items()}
    return Maps({n: (row / row.sum()).reshape(grid) for n, row in rows.items() if row.sum() > 0}, seen)


def last_rows(model: Any, inputs: Mapping[str, Any]) -> dict[int, Any]:
    """Attention of the prompt's last token by layer: the mean over heads, as tensors of shape (length,)."""
    import torch
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    decoder = model.get_decoder()
    if not hasattr(decoder, "layers"):
        decoder_type = type(decoder).__name__
        raise ModelError(f"{type(model).__name__}: its decoder {decoder_type} lists no `layers`. {USE_GROUNDING}")
    layer_of = {id(part): number for number, layer in enumerate(decoder.layers) for part in layer.modules()}
    rows: dict[int, Any] = {}
    get_interface = ALL_ATTENTION_FUNCTIONS.get_interface

    def get_watched(name: str, default: Callable[..., Any]) -> Callable[..., Any]:
        attend = get_interface(name, default)

        def watched(module: Any, query: Any, key: Any, *rest: Any, **settings: Any) -> Any:
            if id(module) in layer_of:
                mask = rest[1] if len(rest) > 1 else settings.get("attention_mask")
                rows[layer_of[id(module)]] = _last_row(query, key, mask, name, settings)
            return attend(module, query, key, *rest, **settings)

        return watched

    ALL_ATTENTION_FUNCTIONS.get_interface = get_watched
    try:
        with torch.inference_mode():
            model(**inputs, use_cache=False, logits_to_keep=1)
    finally:
        del ALL_ATTENTION_FUNCTIONS.get_interface  # the wrapper hides the class's own method
    return rows


def _last_row(query: Any, key: Any, mask: Any, name: str, settings: Mapping[str, Any]) -> Any:
    """The last token's attention, shape (length,). `query` is (1, heads, length, width); `key` may share its heads."""
    import torch

    _, heads, _, width = query.shape
    shared, length = key.shape[1], key.shape[2]
    last = query[0, :, -1].float().view(shared, heads // shared, width)
    scaling = settings.get("scaling")
    logits = last @ key[0].float().transpose(1, 2) * (width**-0.5 if scaling is None else scaling)
    cap = settings.get("softcap")
    if cap and name != "sdpa":  # sdpa ignores the cap
        logits = cap * torch.tanh(logits / cap)
    if mask is not None and mask.dim() == 4:
        allowed = mask[0, :, -1:, :length]
        logits = logits.masked_fill(~allowed, -torch.inf) if allowed.dtype == torch.bool else logits + allowed.float()
    elif settings.get("sliding_window"):  # implementations without masks get the window instead
        logits[..., : max(0, length - settings["sliding_window"])] = -torch.inf
    return logits.softmax(-1).mean((0, 1))


def find_grid(inputs: Mapping[str, Any], tokens: int, size: tuple[int, int]) -> Grid:
    """(rows, columns) of an image's tokens, from the processor's output or, if that has no grid, the aspect ratio.

    The processor's grid of patches (`image_grid_thw`, `spatial_shapes`) or tensor of pixels must be the same whole
    multiple of the token grid along both sides. Without them, exactly one layout of the tokens must fit `size` (width,
    height) to less than a token a side. Raises ModelError otherwise.
    """
    grids = [v.reshape(-1, v.shape[-1]) for k, v in inputs.items() if "grid" in k or "spatial_shapes" in k]
    tensors = [v.shape for k, v in inputs.items() if "pixel_values" in k and v.dim() >= 4 and v.shape[-3] in (1, 3)]
    tiles = [len(g) for g in grids] or [math.prod(shape[:-3]) for shape in tensors]
    image = f"An image of {size[0]} x {size[1]} px"
    if any(n > 1 for n in tiles):
        remedy = f"Turn tiling off (--processor {TILING_SWITCHES}), lower --max-pixels, or use --method grounding."
        raise ModelError(f"{image} becomes {max(tiles)} tiles, whose tokens form no single grid. {remedy}")
    shapes = [[int(n) for n in g[0].tolist()] for g in grids] or [list(shape[-2:]) for shape in tensors]
    for *frames, height, width in shapes:
        cells, remainder = divmod(height * width, tokens)
        side = math.isqrt(cells)
        fits = not remainder and side * side == cells and height % side == width % side == 0
        if fits and all(n == 1 for n in frames):
            return height // side, width // side
    divisors = [] if shapes else [rows for rows in range(1, tokens + 1) if tokens % rows == 0]
    layouts = [(rows, tokens // rows) for rows in divisors if _fits((rows, tokens // rows), size)]
    if len(layouts) != 1:
        fault = f"the processor reports {shapes or 'no grid'}, and {len(layouts)} layouts fit the image's sides"
        raise ModelError(
            f"{image} becomes {tokens} tokens, which cannot be laid out as a grid: {fault}. {USE_GROUNDING}"
        )
    return layouts[0]


def _fits(grid: Grid, size: tuple[int, int]) -> bool:
    """Whether square tokens in this grid have the image's aspect ratio, to less than a token a side."""
    rows = math.sqrt(grid[0] * grid[1] * size[1] / size[0])
    return abs(grid[0] - rows) < 1 and abs(grid[1] - grid[0] * grid[1] / rows) < 1


def seen_part(processing: Mapping[str, Any], size: tuple[int, int], grid: Grid) -> Box:
    """The part of an image that remains with these settings of the image processor, in fractions of its sides.

    A processor that crops the centre leaves less than all of it. Raises ModelError if the processor pads the image to
    another aspect ratio.
    """
    crop, size_setting = (_sides(processing.get(name) or {}) for name in ("crop_size", "size"))
    if processing.get("do_center_crop") and "height" in crop and size_setting:
        scale = size_setting.get("shortest_edge", 0) / min(size)
        width, height = (s * scale for s in size) if scale else (size_setting["width"], size_setting["height"])
        x, y = max(0.0, 1 - crop["width"] / width) / 2, max(0.0, 1 - crop["height"] / height) / 2
        return x, y, 1 - x, 1 - y
    if processing.get("do_pad") and not _fits(grid, size):
        tokens = f"An image of {size[0]} x {size[1]} px becomes {grid[1]} x {grid[0]} tokens, padding included"
        remedy = "Pass --processor do_pad=false, or use --method grounding."
        raise ModelError(f"{tokens}, so gapbench cannot tell which tokens lie on the image. {remedy}")
    return 0.0, 0.0, 1.0, 1.0


def _sides(value: Any) -> dict[str, int]:
    pairs = dict(value) if isinstance(value, Mapping) else vars(value)
    return {k: v for k, v in pairs.items() if isinstance(v, int)}
