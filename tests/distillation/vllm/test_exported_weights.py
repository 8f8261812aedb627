"""What vLLM is given while a model is trained is what its saved folder would hold: every name, every value."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distillation.small import Tiny, recipe, role
from gapbench.distillation.vllm.exported_weights import published_weights

# LLaVA's names in memory are not those of its folder; Qwen3-VL's head is tied; GLM-4.5V keeps its experts in one piece.
FAMILIES = ("llava", "qwen3_vl", "glm4v_moe")


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "adapters"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore:The following .*_pattern keys")  # of adapters around the router's experts
def test_weights_are_named_and_merged_as_in_a_saved_folder(tiny: Tiny, family: str, lora: bool, tmp_path: Path) -> None:
    model = role(tiny(family), recipe(lora=lora, lora_rank=4)).model
    torch.manual_seed(0)
    for param in model.parameters():  # as after some steps: an adapter adds nothing at the start
        if param.requires_grad:
            param.data += 0.05 * torch.randn_like(param)
    before = {name: param.clone() for name, param in model.state_dict().items()}
    found = {name: tensor.clone() for name, tensor in published_weights(model)}
    assert all(torch.equal(before[name], param) for name, param in model.state_dict().items()), "the model is untouched"

    whole = model.merge_and_unload() if lora else model
    whole.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert found.keys() == saved.keys() == load_file(tiny(family) / "model.safetensors").keys()
    for name, tensor in saved.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)
    source = load_file(tiny(family) / "model.safetensors")
    assert any(not torch.equal(saved[name], source[name]) for name in saved), "something was trained"


def test_an_adapter_on_half_precision_is_merged_in_full(tiny: Tiny) -> None:
    """Rounded once, by whoever is given it; merging in place and taking it back would round the base at every step."""
    model = role(tiny("qwen3_vl"), recipe(lora=True, lora_rank=4)).model
    base = model.get_base_model()
    projection = base.model.language_model.layers[0].self_attn.q_proj
    projection.base_layer.weight.data = projection.base_layer.weight.data.bfloat16()
    torch.nn.init.normal_(projection.lora_B["default"].weight, std=1e-4)
    found = dict(published_weights(model))["model.language_model.layers.0.self_attn.q_proj.weight"]
    added = found - projection.base_layer.weight.float()
    assert found.dtype == torch.float32
    torch.testing.assert_close(added, projection.get_delta_weight("default").float(), rtol=1e-3, atol=1e-8)
