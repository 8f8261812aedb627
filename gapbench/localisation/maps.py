"""Where the last prompt token looks: one attention map over the image per layer, for any model of transformers.

    maps = attention_maps(engine, image, "What does the small sign say?")
    maps.layers[22]         # shape (rows, columns) of the image's tokens, >= 0, sums to 1

Only the last row of attention is needed. It is computed beside the attention that the model uses, by a wrapper around
`AttentionInterface.get_interface`, in the layers of the language model: nothing is slower than usual, no layer needs
eager attention, and a map costs heads x length instead of heads x length x length numbers. The rows are those that
`output_attentions=True` gives under eager attention.

Limits: one image per prompt; models of transformers' attention interface only (code that ships with a model may have
its own). A processor that pads the image at the right or below by less than a token shifts boxes by as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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

INSTEAD = "Use --method grounding, which needs no look inside."
TILING = "crop_to_patches=false or do_image_splitting=false, if it has such a switch"


@dataclass(frozen=True)
class Maps:
    """Maps by layer, counted from 0, and the part of the image they cover, in fractions of its sides."""

    layers: Mapping[int, FloatMap]
    seen: Box


def attention_maps(engine: TransformersEngine, image: Image, text: str) -> Maps:
    """The maps of one prompt: mean over heads, restricted to the image's tokens, each summing to 1.

    Layers that do not see the image (a linear layer, a sliding window that ends before it) have none. Raises
    ModelError where tokens cannot be told or cannot be laid out as a grid, naming what was found.
    """
    loaded = engine.loaded
    inputs = place(engine.chat.batch([((image,), text)]), loaded.model)
    token = image_token_id(loaded)
    where = inputs["input_ids"][0] == token
    count = int(where.sum())
    if not count:
        raise ModelError(
            f"Model {loaded.name}: none of the prompt's {len(where)} tokens is the image's (id {token}), so there is "
            f"no map. {INSTEAD}"
        )
    grid = find_grid(inputs, count, image.size)
    names = ("do_center_crop", "do_pad", "crop_size", "size")
    own = {name: getattr(loaded.processor.image_processor, name, None) for name in names}
    seen = seen_part({**own, **engine.chat.processor_kwargs}, image.size, grid)
    layers: dict[int, FloatMap] = {}
    for layer, row in last_rows(loaded.model, inputs).items():
        values = row[where].double().cpu().numpy()
        if values.sum() > 0:
            layers[layer] = (values / values.sum()).reshape(grid)
    return Maps(layers, seen)


def last_rows(model: Any, inputs: Mapping[str, Any]) -> dict[int, Any]:
    """Attention of the prompt's last token by layer: tensors of shape (length,), the mean over heads."""
    import torch

    decoder = model.get_decoder()
    if not hasattr(decoder, "layers"):
        raise ModelError(f"{type(model).__name__}: its decoder {type(decoder).__name__} lists no `layers`. {INSTEAD}")
    layer_of = {id(part): number for number, layer in enumerate(decoder.layers) for part in layer.modules()}
    rows: dict[int, Any] = {}

    def watch(module: Any, name: str, query: Any, key: Any, *rest: Any, **settings: Any) -> None:
        if id(module) in layer_of:
            mask = rest[1] if len(rest) > 1 else settings.get("attention_mask")
            rows[layer_of[id(module)]] = _last_row(query, key, mask, name, settings)

    with torch.inference_mode(), _watched(watch):
        model(**inputs, use_cache=False, logits_to_keep=1)
    return rows


@contextmanager
def _watched(watch: Callable[..., None]) -> Iterator[None]:
    """Call `watch(module, implementation's name, query, key, ...)` before every attention of transformers."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as interface

    choose = interface.get_interface

    def chosen(name: str, default: Callable[..., Any]) -> Callable[..., Any]:
        attend = choose(name, default)

        def watched(module: Any, *given: Any, **settings: Any) -> Any:
            watch(module, name, *given, **settings)
            return attend(module, *given, **settings)

        return watched

    interface.get_interface = chosen
    try:
        yield
    finally:
        del interface.get_interface


def _last_row(query: Any, key: Any, mask: Any, name: str, settings: Mapping[str, Any]) -> Any:
    """Shape (length,). `query` is (1, heads, length, width), `key` may have fewer heads, which are shared."""
    import torch

    _, heads, _, width = query.shape
    shared, length = key.shape[1], key.shape[2]
    last = query[0, :, -1].float().view(shared, heads // shared, width)
    scaling = settings.get("scaling")
    logits = last @ key[0].float().transpose(1, 2) * (width**-0.5 if scaling is None else scaling)
    cap = settings.get("softcap")
    if cap and name != "sdpa":  # which leaves it out
        logits = cap * torch.tanh(logits / cap)
    if mask is not None and mask.dim() == 4:
        allowed = mask[0, :, -1:, :length]
        logits = logits.masked_fill(~allowed, -torch.inf) if allowed.dtype == torch.bool else logits + allowed.float()
    elif settings.get("sliding_window"):  # implementations without masks are told the window
        logits[..., : max(0, length - settings["sliding_window"])] = -torch.inf
    return logits.softmax(-1).mean((0, 1))


def find_grid(inputs: Mapping[str, Any], tokens: int, size: tuple[int, int]) -> Grid:
    """(rows, columns) of an image's tokens, from what the processor says or, failing that, from its aspect ratio.

    A grid of patches (`image_grid_thw`, `spatial_shapes`) or the tensor of pixels must be a whole multiple of the
    tokens' grid, the same along both sides. Otherwise exactly one way to lay out the tokens may fit `size` (width,
    height) to less than a token a side. Raises ModelError.
    """
    grids = [v.reshape(-1, v.shape[-1]) for k, v in inputs.items() if "grid" in k or "spatial_shapes" in k]
    tensors = [v.shape for k, v in inputs.items() if "pixel_values" in k and v.dim() >= 4 and v.shape[-3] in (1, 3)]
    tiles = [len(g) for g in grids] or [math.prod(shape[:-3]) for shape in tensors]
    if any(n > 1 for n in tiles):
        raise ModelError(
            f"An image of {size[0]} x {size[1]} px becomes {max(tiles)} tiles, whose tokens form no single grid. Turn "
            f"tiling off (--processor {TILING}), lower --max-pixels, or use --method grounding."
        )
    shapes = [[int(n) for n in g[0].tolist()] for g in grids] or [list(shape[-2:]) for shape in tensors]
    for *frames, height, width in shapes:
        cells, rest = divmod(height * width, tokens)
        side = math.isqrt(cells)
        fits = not rest and side * side == cells and height % side == width % side == 0
        if fits and all(n == 1 for n in frames):
            return height // side, width // side
    ways = [(rows, tokens // rows) for rows in range(1, tokens + 1) if tokens % rows == 0]
    ways = [] if shapes else [way for way in ways if _fits(way, size)]
    if len(ways) != 1:
        raise ModelError(
            f"An image of {size[0]} x {size[1]} px becomes {tokens} tokens, which cannot be laid out as a grid: the "
            f"processor says {shapes or 'nothing of a grid'}, and {len(ways)} ways fit the image's sides. {INSTEAD}"
        )
    return ways[0]


def _fits(grid: Grid, size: tuple[int, int]) -> bool:
    """Whether square tokens in this grid have the image's aspect ratio, to less than a token a side."""
    rows = math.sqrt(grid[0] * grid[1] * size[1] / size[0])
    return abs(grid[0] - rows) < 1 and abs(grid[1] - grid[0] * grid[1] / rows) < 1


def seen_part(processing: Mapping[str, Any], size: tuple[int, int], grid: Grid) -> Box:
    """The part of an image that is kept by an image processor with these settings, in fractions of the image's
    sides: less than all if it crops the centre. Raises ModelError if it pads to another aspect ratio."""
    keep, given = _sides(processing.get("crop_size")), _sides(processing.get("size"))
    if processing.get("do_center_crop") and "height" in keep and given:
        scale = given.get("shortest_edge", 0) / min(size)
        resized = (size[0] * scale, size[1] * scale) if scale else (given["width"], given["height"])
        x = max(0.0, 1 - keep["width"] / resized[0]) / 2
        y = max(0.0, 1 - keep["height"] / resized[1]) / 2
        return x, y, 1 - x, 1 - y
    if processing.get("do_pad") and not _fits(grid, size):
        raise ModelError(
            f"An image of {size[0]} x {size[1]} px becomes {grid[1]} x {grid[0]} tokens, padding included, and which "
            "ones lie on the image is not known. Pass --processor do_pad=false, or use --method grounding."
        )
    return 0.0, 0.0, 1.0, 1.0


def _sides(value: Any) -> dict[str, int]:
    if value is None:
        return {}
    pairs = dict(value) if isinstance(value, Mapping) else vars(value)
    return {k: v for k, v in pairs.items() if isinstance(v, int)}
