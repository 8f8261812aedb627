"""The parts of `glance` before training: tokenizer, processor and a small Qwen3-VL with fresh weights.

    tokenizer = build_tokenizer()
    processor, model = build_processor(tokenizer), build_model(tokenizer, seed=0)

`save_pretrained` writes all of them and the Auto classes read them, as for any checkpoint of the family.
"""

from __future__ import annotations

from typing import Any

from gapbench.data import signs
from gapbench.views.prompts import SUFFIXES

PATCH, MERGE, CANVAS = 8, 2, signs.SMALL.canvas
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
MEANINGS = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "vision_bos_token": "<|vision_start|>",
            "vision_eos_token": "<|vision_end|>"}  # fmt: skip
TEMPLATE = (
    "{%- for message in messages -%}{{- '<|im_start|>' + message.role + '\\n' -}}"
    "{%- if message.content is string -%}{{- message.content -}}"
    "{%- else -%}{%- for item in message.content -%}"
    "{%- if item.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- elif item.type == 'text' -%}{{- item.text -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{{- '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
LIST_REQUEST = "List the signs."
MROPE = {"mrope_section": [6, 5, 5], "mrope_interleaved": True}


def build_tokenizer() -> Any:
    """Byte-level BPE over the words of `signs`: it encodes any text, and each of these words is one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    words = [*signs.COLOURS, *signs.LETTERS, *signs.SHAPES]
    corpus = [
        *(f"Which letter is on the {c} sign?\nWhat shape is the {c} sign?" for c in signs.COLOURS),
        *(f"What colour is the sign with the letter {v}?\nassistant\nuser\n" for v in signs.LETTERS),
        *SUFFIXES.values(), *words, *(f" {w}" for w in words), LIST_REQUEST,
    ]  # fmt: skip
    tokenizer.train_from_iterator(corpus * 20, trainer)
    # One token for the sentence at the end of every prompt saves ten positions per turn of training.
    tokenizer.add_tokens(["\n" + SUFFIXES["text"]])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[0],
        extra_special_tokens=MEANINGS,
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def build_processor(tokenizer: Any) -> Any:
    """A Qwen3-VL processor that enlarges small crops to about the pixels of a scene, as those of large models do."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    settings: dict[str, Any] = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        # The lower bound is slightly below a scene: at exactly 96 x 96 some square crops would be rounded up to 112.
        "size": {"shortest_edge": 94 * 94, "longest_edge": 112 * 112},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**settings),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**settings),
        chat_template=TEMPLATE,
    )


def build_model(tokenizer: Any, seed: int) -> Any:
    """The model with fresh weights: the text part is 128 wide and 4 deep, the vision part 96 wide and 4 deep."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    def token(name: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(name))

    torch.manual_seed(seed)
    ends = {"eos_token_id": token("<|im_end|>"), "pad_token_id": token("<|endoftext|>")}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,  # the smallest that vLLM runs on a CPU
            "max_position_embeddings": 1024,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **MROPE},
            "tie_word_embeddings": True,
            "bos_token_id": None,
            **ends,
        },
        vision_config={
            "depth": 4,
            "hidden_size": 96,
            "intermediate_size": 288,
            "num_heads": 4,
            "in_channels": 3,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "out_hidden_size": 128,
            "num_position_embeddings": (CANVAS // PATCH) ** 2,
            "deepstack_visual_indexes": [1],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.update(**ends, do_sample=False)
    return model
