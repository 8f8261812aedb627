"""Attention maps equal those of eager attention and are laid out like the image, or are refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engines.loads import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_models import FAMILIES

from gapbench.engines.chat import place
from gapbench.errors import ModelError
from gapbench.localisation.maps import _last_row, attention_maps, find_grid, last_rows, seen_part

GRIDS_OF_100_BY_60 = {
    "qwen2_vl": (2, 4),
    "qwen2_5_vl": (2, 4),
    "qwen3_vl": (2, 3),
    "qwen3_5": (2, 3),
    "llava": (4, 4),
    "gemma3": (2, 2),
    "gemma4": (6, 10),
    "paligemma": (4, 4),
    "mistral3": (3, 4),
    "pixtral": (5, 8),
    "glm4v": (2, 4),
    "glm4v_moe": (2, 4),
    "glm46v": (2, 4),
    "lfm2_vl": (2, 3),
    "ovis2": (2, 2),
    "kimi_k25": (3, 4),
}
"""All other families cut the image into tiles."""
WITHOUT_LINEAR_LAYERS = {"qwen3_5": [1], "lfm2_vl": [0]}

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8))


@pytest.fixture
def engine(tiny: Callable[[str], Path]) -> Callable[..., Any]:
    return lambda family, **more: transformers.load(str(tiny(family)), **more)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_maps_that_sum_to_one_or_says_why_not(family: str, engine: Callable[..., Any]) -> None:
    if family not in GRIDS_OF_100_BY_60:
        with pytest.raises(ModelError, match=r"100 x 60 px becomes [235] tiles, whose tokens form no single grid"):
            attention_maps(engine(family), PICTURE, "What colour?")
        return
    maps = attention_maps(engine(family), PICTURE, "What colour?")
    assert sorted(maps.layers) == WITHOUT_LINEAR_LAYERS.get(family, [0, 1])
    for values in maps.layers.values():
        assert values.shape == GRIDS_OF_100_BY_60[family]
        assert values.min() >= 0
        assert values.sum() == pytest.approx(1)
        assert values.std() > 0, "the map is flat"


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_those_of_eager_attention(family: str, engine: Callable[..., Any]) -> None:
    loaded = engine(family, attn_implementation="eager")
    model = loaded.loaded.model
    inputs = place(loaded.chat.batch([((PICTURE,), "What colour?")]), model)
    with torch.inference_mode():  # first: once asked for attentions, Phi-4 answers differently for good (5.19)
        out = model(**inputs, use_cache=False, output_attentions=True)
    rows = last_rows(model, inputs)
    eager_rows = [a[0, :, -1].float().mean(0) for a in out.attentions if a is not None]
    assert len(eager_rows) == len(rows) >= 1
    for (_, row), eager_row in zip(sorted(rows.items()), eager_rows, strict=True):
        torch.testing.assert_close(row, eager_row, atol=1e-5, rtol=0)


def test_looking_changes_nothing(engine: Callable[..., Any]) -> None:
    looked = engine("qwen3_vl")
    model = looked.loaded.model
    inputs = place(looked.chat.batch([((PICTURE,), "What colour?")]), model)
    with torch.inference_mode():
        before = model(**inputs).logits
        last_rows(model, inputs)
        torch.testing.assert_close(model(**inputs).logits, before, atol=0, rtol=0)


@pytest.mark.parametrize(("family", "switch"), [("internvl", "crop_to_patches"), ("idefics3", "do_image_splitting")])
def test_tiling_can_be_turned_off(family: str, switch: str, engine: Callable[..., Any]) -> None:
    maps = attention_maps(engine(family, processor_kwargs={switch: False}), PICTURE, "What colour?")
    assert maps.layers[1].shape == (2, 2)


def test_a_cropped_centre_is_all_that_is_seen(engine: Callable[..., Any]) -> None:
    assert attention_maps(engine("llava"), PICTURE, "What colour?").seen == pytest.approx((0.2, 0, 0.8, 1))
    assert attention_maps(engine("paligemma"), PICTURE, "What colour?").seen == (0, 0, 1, 1), "stretched, not cropped"


def row(**more: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 4, 6, 8, generator=generator)
    key = torch.randn(1, 2, 6, 8, generator=generator)
    attention: torch.Tensor = _last_row(query, key, more.pop("mask", None), more.pop("name", "sdpa"), more)
    return attention


def test_a_sliding_window_hides_what_lies_before_it_with_a_mask_or_without() -> None:
    hidden = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    hidden[..., :4] = False
    windowed = row(sliding_window=2)
    assert windowed[:4].sum() == 0
    torch.testing.assert_close(windowed, row(mask=hidden))
    torch.testing.assert_close(windowed, row(mask=torch.zeros(1, 1, 6, 6).masked_fill(~hidden, -1e30)))
    torch.testing.assert_close(row(sliding_window=50), row())


def test_a_soft_cap_counts_where_the_model_applies_it() -> None:
    torch.testing.assert_close(row(softcap=0.5), row())
    assert (row(softcap=0.5, name="eager") - row()).abs().max() > 0.01


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))
def test_a_grid_of_patches_gives_the_grid_of_tokens(rows: int, columns: int, merge: int) -> None:
    grid = torch.tensor([[1, rows * merge, columns * merge]])
    assert find_grid({"image_grid_thw": grid}, rows * columns, (7, 9)) == (rows, columns)
    pixels = torch.zeros(1, 3, rows * merge, columns * merge)
    assert find_grid({"pixel_values": pixels}, rows * columns, (7, 9)) == (rows, columns)


@pytest.mark.parametrize(
    ("tokens", "size", "grid"), [(60, (100, 60), (6, 10)), (16, (50, 50), (4, 4)), (7, (700, 90), (1, 7))]
)
def test_without_a_grid_the_only_fitting_layout_is_taken(
    tokens: int, size: tuple[int, int], grid: tuple[int, int]
) -> None:
    assert find_grid({}, tokens, size) == grid


@pytest.mark.parametrize(
    ("inputs", "tokens", "size", "message"),
    [
        ({}, 12, (50, 50), "2 layouts fit"),
        ({}, 13, (50, 50), "0 layouts fit"),
        ({"image_grid_thw": [[1, 4, 6]]}, 7, (50, 50), "the processor reports [[1, 4, 6]]"),
        ({"image_grid_thw": [[2, 4, 6]]}, 6, (50, 50), "the processor reports [[2, 4, 6]]"),
        ({"image_grid_thw": [[1, 4, 6], [1, 4, 6]]}, 12, (50, 50), "becomes 2 tiles"),
    ],
)
def test_what_is_no_grid_is_refused(inputs: Any, tokens: int, size: tuple[int, int], message: str) -> None:
    with pytest.raises(ModelError) as error:
        find_grid({k: torch.tensor(v) for k, v in inputs.items()}, tokens, size)
    assert message in str(error.value)
    assert "--method grounding" in str(error.value)


def test_padding_to_another_shape_is_refused() -> None:
    with pytest.raises(ModelError, match="do_pad=false"):
        seen_part({"do_pad": True}, (300, 100), (8, 8))
    assert seen_part({"do_pad": True}, (300, 280), (8, 8)) == (0, 0, 1, 1)
    assert seen_part({"do_pad": False}, (300, 100), (8, 8)) == (0, 0, 1, 1)


def test_a_model_without_image_tokens_is_refused(engine: Callable[..., Any]) -> None:
    blind = engine("qwen3_vl")
    blind.loaded.model.config.image_token_id = 3  # the unknown token
    with pytest.raises(ModelError, match=r"none of the prompt's \d+ tokens is the image's \(id 3\)"):
        attention_maps(blind, PICTURE, "What colour?")
