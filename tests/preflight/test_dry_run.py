"""A dry run counts what a real pass allocates, for any family, without any weight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_models import FAMILIES

from gapbench.engines import models
from gapbench.engines.chat import make_chat, place
from gapbench.preflight.dry_run import backward, dry_run, without_data
from preflight.counting import profiled

EXPERTS = ("glm4v_moe", "kimi_k25")
"""Families whose layers of experts run without data in bfloat16 alone. On a CPU that takes much more."""
MORE_ON_A_CPU = ("gemma4", "idefics3", "smolvlm", "phi4_multimodal", *EXPERTS)
"""Families whose masks make PyTorch compute matrices of scores on a CPU, which a GPU's kernels do not; and experts."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dry_run_of_any_family_takes_what_a_real_one_takes(family: str, tiny: Callable[[str], Path]) -> None:
    """Up to the kernels' workspace and to integers, which are small beside a real model's activations."""
    folder = str(tiny(family))
    dtype = "bfloat16" if family in EXPERTS else "float32"
    bare = models.load_without_weights(folder, dtype=dtype)
    inputs = make_chat(bare).batch([((Image.new("RGB", (700, 500)),), "Which letter?")])
    placed = without_data(inputs, bare.model.dtype)
    with dry_run() as memory, torch.no_grad():
        dry = bare.model(**placed, use_cache=True, logits_to_keep=1)
    assert dry.logits.is_meta
    model = models.load(folder, dtype=dtype).model
    with profiled() as real, torch.no_grad():
        out = model(**place(inputs, model), use_cache=True, logits_to_keep=1)
    assert dry.logits.shape == out.logits.shape
    assert memory.peak <= 1.05 * real.bytes
    if family not in MORE_ON_A_CPU:
        assert memory.peak >= 0.8 * real.bytes


def test_what_is_freed_is_not_held_and_what_was_there_before_is_not_counted() -> None:
    before = torch.empty(1000, device="meta")
    with dry_run() as memory:
        first = before * 2
        second = first.view(10, 100) + 1
        assert (memory.live, memory.peak) == (8000, 8000), "a view takes nothing"
        del first
        assert (memory.live, memory.peak) == (4000, 8000)
        del second
    assert memory.live == 0


def test_integers_have_data_because_they_decide_shapes() -> None:
    values = torch.empty(6, 3, device="meta")
    mask = torch.tensor([True, False, True, True, False, False])
    with dry_run():
        assert values[mask].shape == (3, 3)
        assert torch.arange(4, device=values.device).tolist() == [0, 1, 2, 3]
        assert values[values.sum(1) > 0].shape == (6, 3), "a mask without data counts as true"


def test_attention_holds_no_matrix_of_scores() -> None:
    query = torch.empty(1, 2, 5000, 8, device="meta", requires_grad=True)
    with dry_run() as memory:
        out = torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
        assert memory.peak == 4 * (out.numel() + 2 * 5000)
        backward(out.sum())
    assert query.grad is not None


@pytest.mark.parametrize("trained", [True, False])
def test_autocast_keeps_one_half_precision_copy_of_a_trained_weight(trained: bool) -> None:
    layer = torch.nn.Linear(100, 100, bias=False, device="meta").requires_grad_(trained)
    inputs = torch.empty(1, 100, device="meta")
    with dry_run(torch.bfloat16) as memory:
        for _ in range(3):
            assert layer(inputs).dtype == torch.bfloat16
        assert memory.peak >= 100 * 100 * 2
        assert memory.live == (100 * 100 * 2 if trained else 0), "PyTorch keeps copies of trained weights alone"


def test_a_layer_that_is_computed_again_is_part_of_the_dry_run() -> None:
    from torch.utils.checkpoint import checkpoint

    layer, inputs = torch.nn.Linear(10, 10, device="meta"), torch.empty(3, 10, device="meta", requires_grad=True)
    with dry_run(torch.bfloat16):
        out = checkpoint(layer, inputs, use_reentrant=False)
        backward(out.float().sum())
    assert layer.weight.grad is not None
