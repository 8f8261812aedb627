"""Qwen3-VL at its published sizes with random weights, and drawn scenes at the sizes of photographs; no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

_VISION = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "patch_size": 16,
           "num_position_embeddings": 2304, "deepstack_visual_indexes": [5, 11, 17]}  # fmt: skip
_TEXT = {"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262144, "vocab_size": 151936}
_ROPE = {"rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True}


@dataclass(frozen=True)
class Scale:
    """What is built and measured.

    `models` have a text and a vision configuration each, `images` are (width, height) in pixels. `area` bounds the
    pixels of an image as the model's own processor does. `batches` are tried in turn until one fits into memory.
    `recipe` changes `lora-1gpu`.
    """

    device: str
    dtype: str
    models: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
    mrope: tuple[int, int, int]
    images: Mapping[str, tuple[int, int]]
    style: Mapping[str, Any]
    area: tuple[int, int]
    samples: Mapping[str, int]
    batches: Mapping[str, Sequence[int]]
    rounds: int
    new_tokens: int
    recipe: tuple[str, ...]


REAL = Scale(
    "cuda", "bfloat16",
    models={  # Qwen/Qwen3-VL-2B-Instruct and Qwen/Qwen3-VL-4B-Instruct, config.json
        "2B": ({**_TEXT, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
                "num_attention_heads": 16}, _VISION),
        "4B": ({**_TEXT, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
                "num_attention_heads": 32}, _VISION),
    },
    mrope=(24, 20, 20),
    images={"1344": (1344, 1344), "4K": (3840, 2160)},
    style={}, area=(65536, 16777216),
    samples={"1344": 8, "4K": 4}, batches={"1344": (4, 2, 1), "4K": (2, 1)},
    rounds=3, new_tokens=16,
    recipe=("prompts_per_step=2", "max_new_tokens=64"),
)  # fmt: skip
TINY = Scale(
    "cpu", "float32",
    models={"tiny": (
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 4096, "vocab_size": 600},
        {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 16,
         "num_position_embeddings": 64, "deepstack_visual_indexes": [0]},
    )},
    mrope=(4, 6, 6),
    images={"96": (96, 96), "wide": (192, 108)},
    style={"signs_min": 3, "signs_max": 5, "size_min": 12, "size_max": 40}, area=(4096, 65536),
    samples={"96": 4, "wide": 4}, batches={"96": (2,), "wide": (2,)},
    rounds=2, new_tokens=6,
    recipe=("prompts_per_step=2", "rollouts_per_prompt=2", "max_new_tokens=6"),
)  # fmt: skip


def build(scale: Scale, size: str, dtype: str = "") -> Any:
    """A model with random weights, made on its device, with its processor: a `gapbench.engines.models.Loaded`."""
    import tiny_models
    import torch
    import transformers as tf

    from gapbench.engines.models import Loaded

    text, vision = scale.models[size]
    tokenizer, ids = tiny_models.text_side("qwen3_vl", text["vocab_size"])
    tokenizer.model_max_length = text["max_position_embeddings"]
    grey = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    area = dict(zip(("shortest_edge", "longest_edge"), scale.area, strict=True))
    images = tf.Qwen2VLImageProcessor(patch_size=16, merge_size=2, temporal_patch_size=2, size=area, **grey)
    processor = tf.Qwen3VLProcessor(images, tokenizer, tf.Qwen3VLVideoProcessor(patch_size=16))
    processor.chat_template = tokenizer.chat_template
    config = tf.Qwen3VLConfig(
        text_config={**text, "rope_parameters": {**_ROPE, "mrope_section": list(scale.mrope)}},
        vision_config={**vision, "out_hidden_size": text["hidden_size"]},
        tie_word_embeddings=True,
        **{f"{name}_id": token for name, token in ids.items()},
    )
    dtype = dtype or scale.dtype
    torch.manual_seed(0)
    with torch.device(scale.device):
        model = tf.AutoModelForMultimodalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
        tiny_models.randomise(model, list(ids.values()))
    model.generation_config = tf.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return Loaded(f"random Qwen3-VL {size}", model, processor, scale.device, dtype)


def scenes(scale: Scale, image: str) -> Any:
    """The benchmark `signs` with images of this size: the upper part of square scenes, and one sample of each."""
    from gapbench.data import catalogue, signs
    from gapbench.data.benchmark import Benchmark

    width, height = scale.images[image]

    def upper(draw: Callable[[], Any]) -> Any:
        return draw().crop((0, 0, width, height))

    def make() -> Iterator[Any]:
        seen = set()
        for sample in signs.samples("train", 1000, canvas=width, **scale.style):
            if sample.boxes[0][3] <= height and sample.cluster not in seen:
                seen.add(sample.cluster)
                yield replace(sample, image=partial(upper, sample.image))

    return Benchmark("signs", catalogue.load("signs").card, make)
